//! Where Debian packages come from: the mirror that the host's own apt uses.
//!
//! The guests' recipes name no mirror. The host's sources are read, never
//! changed; other suites are taken from the same mirror by an apt with
//! directories of its own.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Unobtainable, cache};
use crate::Cmd;

/// Keys that Debian's archives are signed with (package debian-archive-keyring).
pub(super) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Fetches files by apt's own methods, proxies and all.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// The address of a mirror that has `suite`: `$RKT_GUEST_MIRROR`, or the
/// host's.
pub(super) fn with_suite(suite: &str) -> Result<String, Unobtainable> {
    let mirror = match std::env::var("RKT_GUEST_MIRROR") {
        Ok(mirror) => mirror,
        Err(_) => of_host()?,
    };
    let mirror = mirror.trim_end_matches('/').to_owned();
    let dir = cache::run_directory();
    let release = dir.path().join("InRelease");
    let seen = Cmd::new(APT_HELPER)
        .args([
            "-o",
            "Acquire::Retries=0",
            "-o",
            "Acquire::http::Timeout=10",
        ])
        .args([
            "download-file",
            &format!("{mirror}/dists/{suite}/InRelease"),
        ])
        .arg(&release)
        .run();
    if release.is_file() {
        return Ok(mirror);
    }
    Err(Unobtainable(format!(
        "no guest is in the cache and the Debian mirror of this host does not hand out {suite}: {}",
        seen.stderr
            .trim()
            .lines()
            .last()
            .unwrap_or("apt-helper said nothing")
    )))
}

fn of_host() -> Result<String, Unobtainable> {
    let codename = fs::read_to_string("/etc/os-release")
        .ok()
        .as_deref()
        .and_then(codename)
        .unwrap_or_default();
    source_files()
        .iter()
        .filter_map(|file| Some((file, fs::read_to_string(file).ok()?)))
        .find_map(|(file, text)| {
            if file.extension().is_some_and(|e| e == "sources") {
                in_deb822(&text, &codename)
            } else {
                in_list(&text, &codename)
            }
        })
        .ok_or_else(|| {
            Unobtainable(
                "no Debian mirror in /etc/apt/sources.list and sources.list.d; \
                 name one in RKT_GUEST_MIRROR"
                    .into(),
            )
        })
}

fn source_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "list" || e == "sources"))
        .collect();
    files.sort();
    files.insert(0, Path::new("/etc/apt/sources.list").to_owned());
    files
}

fn codename(os_release: &str) -> Option<String> {
    if !os_release.lines().any(|l| l.trim() == "ID=debian") {
        return None;
    }
    let value = os_release
        .lines()
        .find_map(|l| l.strip_prefix("VERSION_CODENAME="))?;
    Some(value.trim_matches('"').to_owned())
}

/// sources.list(5), one-line style: `deb [options] URI SUITE COMPONENT…`.
fn in_list(text: &str, suite: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let rest = line.trim().strip_prefix("deb ")?.trim();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let uri = words.next()?;
        (words.next()? == suite && words.any(|w| w == "main")).then(|| uri.to_owned())
    })
}

/// sources.list(5), deb822 style: stanzas of `Field: value`.
fn in_deb822(text: &str, suite: &str) -> Option<String> {
    let text: String = text
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| format!("{l}\n"))
        .collect();
    text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            stanza.lines().find_map(|l| {
                let (key, value) = l.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let has = |name: &str, word: &str| {
            field(name).is_some_and(|v| v.split_whitespace().any(|w| w == word))
        };
        let enabled = field("Enabled").is_none_or(|v| v.eq_ignore_ascii_case("yes"));
        if enabled && has("Types", "deb") && has("Suites", suite) && has("Components", "main") {
            field("URIs")?.split_whitespace().next().map(str::to_owned)
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_of_either_source_style_is_found() {
        let list = "# deb http://no.example/debian bookworm main\n\
                    deb http://security.example/debian bookworm-security main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian bookworm main contrib\n";
        assert_eq!(
            in_list(list, "bookworm").unwrap(),
            "http://a.example/debian"
        );
        assert_eq!(in_list(list, "trixie"), None);

        let stanzas = "Types: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n\
                       \nTypes: deb deb-src\n# a comment\nURIs: http://b.example/debian http://c.example/debian\n\
                       Suites: bookworm bookworm-updates\nComponents: main\n";
        assert_eq!(
            in_deb822(stanzas, "bookworm").unwrap(),
            "http://b.example/debian"
        );
        assert_eq!(in_deb822(stanzas, "sid"), None);
    }

    #[test]
    fn only_debian_has_a_debian_mirror() {
        assert_eq!(
            codename("ID=debian\nVERSION_CODENAME=trixie\n").unwrap(),
            "trixie"
        );
        assert_eq!(
            codename("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n"),
            None
        );
    }
}
