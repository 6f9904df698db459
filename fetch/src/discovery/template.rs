//! `https://example.com/{os}/{name}-{version}.{ext}`
//!
//! Source: appc specification, "Image Discovery". Plain substitution, nothing
//! is percent-encoded: the slashes of a name stay.

use crate::reference::AppName;

/// The template with its placeholders filled in; `None` if one of them has no
/// value. `labels` are those that were asked for, with the defaults for this
/// machine; `version` is `latest` where nobody said one.
pub(super) fn render(
    template: &str,
    name: &AppName,
    labels: &[(&str, &str)],
    extension: &str,
) -> Option<String> {
    let value = |placeholder: &str| match placeholder {
        // A label of this name says nothing.
        "name" => Some(name.name().as_str()),
        "ext" => Some(extension),
        other => labels
            .iter()
            .find(|(label, _)| *label == other)
            .map(|(_, value)| *value)
            .or((other == "version").then_some("latest")),
    };
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (placeholder, after) = after.split_once('}')?;
        out.push_str(before);
        out.push_str(value(placeholder)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(name: &str, template: &str) -> Option<String> {
        let name = AppName::parse(name).unwrap();
        let labels: Vec<_> = name
            .labels()
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        render(template, &name, &labels, "aci")
    }

    /// The specification's examples.
    #[test]
    fn templates_are_filled_in_or_skipped() {
        assert_eq!(
            rendered(
                "example.com/reduce-worker:1.0.0,os=linux,arch=amd64",
                "https://storage.example.com/{os}/{arch}/{name}-{version}.{ext}"
            )
            .as_deref(),
            Some("https://storage.example.com/linux/amd64/example.com/reduce-worker-1.0.0.aci")
        );
        assert_eq!(
            rendered(
                "example.com/myapp",
                "https://storage.example.com/{name}-{version}.{ext}"
            )
            .as_deref(),
            Some("https://storage.example.com/example.com/myapp-latest.aci")
        );
        let needs_os = "https://storage.example.com/{name}-{version}-{os}-{arch}.{ext}";
        assert_eq!(rendered("example.com/myapp:1.0.0", needs_os), None);
        assert_eq!(
            rendered(
                "example.com/myapp,channel=beta",
                "https://x/{channel}.{ext}"
            )
            .as_deref(),
            Some("https://x/beta.aci")
        );
        assert_eq!(rendered("example.com/myapp", "https://x/{name"), None);
        assert_eq!(
            rendered("example.com/a", "https://x/{name}").as_deref(),
            Some("https://x/example.com/a")
        );
    }
}
