//! The `<meta>` tags of a page, and nothing else of it.
//!
//! Pages are read as browsers read them as far as it matters here: tags
//! anywhere, in any case, with any quotes; but not in comments, scripts and
//! styles, where text only looks like tags.

/// Elements whose content is no markup.
const RAW: [&str; 3] = ["script", "style", "textarea"];

/// The `name` and `content` of every `<meta>` tag that has both, in the order
/// of the page.
pub(super) fn meta_tags(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let (name, after) = tag_name(rest);
        if name.is_empty() {
            continue;
        }
        let (attributes, after) = attributes(after);
        rest = after;
        if RAW.contains(&name.as_str()) {
            rest = behind_end_tag(rest, &name);
        }
        if name == "meta" {
            let value = |wanted: &str| {
                let found = attributes.iter().find(|(name, _)| name == wanted);
                found.map(|(_, value)| value.clone())
            };
            if let (Some(name), Some(content)) = (value("name"), value("content")) {
                found.push((name, content));
            }
        }
    }
    found
}

fn tag_name(text: &str) -> (String, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(text.len());
    (text[..end].to_ascii_lowercase(), &text[end..])
}

fn behind_end_tag<'a>(text: &'a str, name: &str) -> &'a str {
    let end = format!("</{name}");
    let lower = text.to_ascii_lowercase();
    lower.find(&end).map_or("", |at| &text[at..])
}

/// The attributes up to the end of the tag, and what follows it.
fn attributes(text: &str) -> (Vec<(String, String)>, &str) {
    let mut attributes = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            return (attributes, after);
        }
        if rest.is_empty() {
            return (attributes, rest);
        }
        let ends_name = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/');
        // An attribute may begin with anything, even an equals sign.
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(_, c)| ends_name(*c))
            .map_or(rest.len(), |(at, _)| at);
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let Some(value) = rest.strip_prefix('=') else {
            attributes.push((name, String::new()));
            continue;
        };
        let (value, after) = attribute_value(value.trim_start());
        attributes.push((name, value));
        rest = after;
    }
}

fn attribute_value(text: &str) -> (String, &str) {
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote) {
            return match quoted.split_once(quote) {
                Some((value, after)) => (unescape(value), after),
                None => (unescape(quoted), ""),
            };
        }
    }
    let end = text
        .find(|c: char| c.is_ascii_whitespace() || c == '>')
        .unwrap_or(text.len());
    (unescape(&text[..end]), &text[end..])
}

/// The few escapes that addresses need.
fn unescape(text: &str) -> String {
    let mut out = text.to_owned();
    let escapes = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#34;", "\""),
        ("&#123;", "{"),
        ("&#125;", "}"),
        // The last, so that nothing is unescaped twice.
        ("&amp;", "&"),
    ];
    for (escape, character) in escapes {
        out = out.replace(escape, character);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_found_as_pages_write_them() {
        let page = r#"<!DOCTYPE html><HTML><head>
            <meta charset=utf-8>
            <META Content='a &amp; b' NAME=one />
            <!-- <meta name="hidden" content="x"> -->
            <script>if (1 < 2) { "<meta name='hidden' content='x'>" }</script>
            <meta name="two" content="a > b"><body>1 < 2 <meta
              name="three"
              content="late">"#;
        let found = meta_tags(page);
        let found: Vec<_> = found
            .iter()
            .map(|(n, c)| (n.as_str(), c.as_str()))
            .collect();
        assert_eq!(
            found,
            [("one", "a & b"), ("two", "a > b"), ("three", "late")]
        );
    }

    proptest! {
        #[test]
        fn any_page_ends(page in "(<meta|<script|<!--|-->|[ a-z<>=\"'/&]|ä){0,60}") {
            meta_tags(&page);
        }
    }
}
