use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// A working directory `/here` with two files.
struct Here;

impl Surroundings for Here {
    fn is_file(&self, path: &Path) -> bool {
        [Path::new("plain"), Path::new("an:odd.aci")].contains(&path)
    }
    fn absolute(&self, path: &Path) -> PathBuf {
        Path::new("/here").join(path)
    }
}

fn canonical(text: &str) -> Result<String, ReferenceError> {
    Reference::parse_in(text, &Here).map(|r| r.to_string())
}

#[test]
fn every_form_has_one_canonical_spelling() {
    let d = format!("sha256:{}", "ab".repeat(32));
    for (given, expected) in [
        ("sha512-ab12", "sha512-ab12"),
        ("sha256-00", "sha256-00"),
        (
            "docker://busybox",
            "docker://registry-1.docker.io/library/busybox:latest",
        ),
        (
            "docker:busybox:1.36",
            "docker://registry-1.docker.io/library/busybox:1.36",
        ),
        (
            "docker://docker.io/team/app",
            "docker://registry-1.docker.io/team/app:latest",
        ),
        (
            "docker://localhost:5000/app",
            "docker://localhost:5000/app:latest",
        ),
        ("docker://localhost/app", "docker://localhost/app:latest"),
        ("docker://[::1]:5000/a/b_c:x", "docker://[::1]:5000/a/b_c:x"),
        (
            "docker://quay.io/a/b:TAG_1.0-x",
            "docker://quay.io/a/b:TAG_1.0-x",
        ),
        ("oci:layout", "oci:/here/layout"),
        ("oci:/abs/layout:v1:x", "oci:/abs/layout:v1:x"),
        ("oci-archive:x.tar:latest", "oci-archive:/here/x.tar:latest"),
        ("docker-archive:./x.tar", "docker-archive:/here/./x.tar"),
        ("file:///a%20b.aci", "/a b.aci"),
        ("https://example.com/x/y.aci", "https://example.com/x/y.aci"),
        ("/abs/x.aci", "/abs/x.aci"),
        ("./x.aci", "/here/./x.aci"),
        ("x.aci", "/here/x.aci"),
        ("an:odd.aci", "an:odd.aci"), // a scheme is looked for first
        ("example.com/app", "example.com/app"),
        ("app:1.0", "app:1.0"),
        (
            "example.com/app:1.0,os=linux,arch=amd64",
            "example.com/app:1.0,arch=amd64,os=linux",
        ),
        ("example.com/app,version=1.0", "example.com/app:1.0"),
        ("sha512-tool", "sha512-tool"),
        (
            "cimd:docker:v=0:busybox",
            "docker://registry-1.docker.io/library/busybox:latest",
        ),
        (
            "cimd:appc:v=0:example.com/app?version=1&os=linux",
            "example.com/app:1,os=linux",
        ),
        (
            "cimd:appc:v=0:docker?version=1",
            "cimd:appc:v=0:docker?version=1",
        ),
        ("cimd:aci-archive:v=0:file%3A%2F%2F%2Fx.aci", "/x.aci"),
    ] {
        assert_eq!(canonical(given).as_deref(), Ok(expected), "{given}");
    }
    assert_eq!(
        canonical(&format!("docker://quay.io/a/b:tag@{d}")),
        Ok(format!("docker://quay.io/a/b@{d}"))
    );
}

#[test]
fn mistakes_are_named() {
    for (given, expected) in [
        ("", "must not be empty"),
        ("sha512-a", "too short"),
        ("sha256-".to_owned().leak() as &str, "too short"),
        ("docker://", "is no repository name"),
        ("docker://UPPER/x", "is no repository name"),
        ("docker://a..b/x", "is no host name"),
        ("docker://h.x/../etc", "is no repository name"),
        ("docker://h.x:port/a", "no valid port"),
        ("docker://h.x:+80/a", "no valid port"),
        ("docker://h.x/a:", "is no tag"),
        ("docker://h.x/a@sha256:12", "hexadecimal digits"),
        ("docker://[::1/a", "closing bracket"),
        ("oci:", "expected oci:PATH[:REF]"),
        ("docker-archive::x", "expected docker-archive:PATH[:REF]"),
        ("plain", "must end in .aci"),
        ("/etc/passwd", "must end in .aci"),
        ("https://example.com/x.tar", "must end in .aci"),
        ("https://u:p@example.com/x.aci", "auth.d"),
        ("http:/x.aci", "expected //"),
        ("file:x.aci", "file:///ABSOLUTE"),
        ("file:///%zz.aci", "percent escape"),
        ("app:1:2", "at most once"),
        ("app,os=linux:1,arch", "without a value"),
        ("app,arch:1", "only right after the app name"),
        ("app:1,version=2", "given twice"),
        ("UPPER", "is not an AC identifier"),
        ("a//b", "is not an AC identifier"),
        ("cimd:rpm:v=0:x", "type must be"),
        ("cimd:appc:v=1:x", "known version"),
        ("cimd:appc", "expected cimd:"),
        ("cimd:aci-archive:v=0:docker%3A%2F%2Fx", "URL of an ACI"),
    ] {
        let error = canonical(given).expect_err(given).to_string();
        assert!(error.contains(expected), "{given}: {error}");
    }
    let long = format!("sha256-{}", "0".repeat(65));
    assert!(
        canonical(&long)
            .unwrap_err()
            .to_string()
            .contains("too long")
    );
}

proptest! {
    /// Whatever is typed, parsing ends, and what it accepts is canonical.
    #[test]
    fn parsing_never_panics_and_is_idempotent(text in "\\PC{0,60}") {
        if let Ok(reference) = Reference::parse_in(&text, &Here) {
            let again = Reference::parse_canonical(&reference.to_string());
            prop_assert_eq!(again, Ok(reference));
        }
    }

    #[test]
    fn near_misses_do_not_panic_either(
        text in "(docker://|docker:|oci:|cimd:appc:v=0:|https://|file://|sha512-)?[a-z0-9A-Z:/@.,=_%?&\\[\\]-]{0,40}(\\.aci)?"
    ) {
        if let Ok(reference) = Reference::parse_in(&text, &Here) {
            let again = Reference::parse_canonical(&reference.to_string());
            prop_assert_eq!(again, Ok(reference));
        }
    }

    /// Nothing that passes as a registry reference can change the URL's shape.
    #[test]
    fn a_registry_reference_stays_inside_its_url(text in "[a-z0-9A-Z:/@.%?#_\\[\\]-]{1,40}") {
        if let Ok(docker) = DockerReference::parse(&text) {
            prop_assert!(!docker.repository().contains(['?', '#', '%', '@']));
            prop_assert!(!docker.repository().split('/').any(|c| c.is_empty() || c.starts_with('.')));
            prop_assert!(!docker.registry().contains(['/', '?', '#', '@', '%']));
        }
    }
}
