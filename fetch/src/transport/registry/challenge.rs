//! `WWW-Authenticate`: how a registry wants to be asked.
//!
//! Sources: RFC 9110, section 11.6.1; Docker registry token specification.

/// One challenge of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Lower-case: `bearer`, `basic`.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter, by its lower-case name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(n, _)| n == name)?;
        Some(&found.1)
    }

    /// The challenges in a header's value; what does not parse ends the list.
    pub(super) fn parse_all(header: &str) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        let mut rest = header.trim_start_matches([' ', '\t', ',']);
        while !rest.is_empty() {
            let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
            if end == 0 {
                break;
            }
            let (word, after) = rest.split_at(end);
            let after = after.trim_start_matches([' ', '\t']);
            match (after.strip_prefix('='), challenges.last_mut()) {
                (Some(value), Some(challenge)) => {
                    let (value, left) = parse_value(value.trim_start_matches([' ', '\t']));
                    challenge
                        .parameters
                        .push((word.to_ascii_lowercase(), value));
                    rest = left;
                }
                (Some(_), None) => break,
                (None, _) => {
                    challenges.push(Self {
                        scheme: word.to_ascii_lowercase(),
                        parameters: Vec::new(),
                    });
                    rest = after;
                }
            }
            rest = rest.trim_start_matches([' ', '\t', ',']);
        }
        challenges
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// A token or a quoted string, and what follows it.
fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            c if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_headers_are_read() {
        let all = Challenge::parse_all(
            r#"Bearer realm="https://auth.example.com/token",service="a, \"b\"",scope=x, Basic realm="r""#,
        );
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].scheme, "bearer");
        assert_eq!(
            all[0].parameter("realm"),
            Some("https://auth.example.com/token")
        );
        assert_eq!(all[0].parameter("service"), Some(r#"a, "b""#));
        assert_eq!(all[0].parameter("scope"), Some("x"));
        assert_eq!(all[1].scheme, "basic");
        assert_eq!(Challenge::parse_all("realm=x"), []);
        assert_eq!(Challenge::parse_all("Basic")[0].parameter("realm"), None);
    }

    proptest! {
        #[test]
        fn any_header_ends(header in "\\PC{0,80}") {
            Challenge::parse_all(&header);
        }
    }
}
