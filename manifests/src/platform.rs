//! Operating systems and processors, in appc's words and in OCI's.
//!
//! Source: appc specification, "Image Manifest Schema" (labels); the reference
//! library's longer list is what counts. OCI takes Go's names (`GOOS`,
//! `GOARCH`, variant), OCI image specification, "image-index.md".

/// A platform in Go's and OCI's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `linux`, `freebsd`, …
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, …
    pub variant: Option<String>,
}

/// Why labels or a platform mean nothing to the other side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// An operating system that appc does not name.
    #[error("unknown os {os:?}: expected one of linux, freebsd, darwin")]
    UnknownOs {
        /// What was said.
        os: String,
    },
    /// An architecture that appc does not name for that operating system.
    #[error("unknown arch {arch:?} for os {os:?}: expected one of {known}")]
    UnknownArch {
        /// The operating system.
        os: String,
        /// What was said.
        arch: String,
        /// What could have been said.
        known: String,
    },
    /// A pair without a counterpart on the other side.
    #[error("{0} has no counterpart among the {1} platforms")]
    NoCounterpart(String, &'static str),
}

const KNOWN: [(&str, &[&str]); 3] = [
    (
        "linux",
        &[
            "amd64",
            "i386",
            "aarch64",
            "aarch64_be",
            "armv6l",
            "armv7l",
            "armv7b",
            "ppc64",
            "ppc64le",
            "s390x",
        ],
    ),
    ("freebsd", &["amd64", "i386", "arm"]),
    ("darwin", &["x86_64", "i386"]),
];

/// os and architecture in Go's words, os and arch in appc's. The variant is
/// left out: it depends on more than the pair.
const PAIRS: [(&str, &str, &str); 12] = [
    ("linux", "amd64", "amd64"),
    ("linux", "386", "i386"),
    ("linux", "arm64", "aarch64"),
    ("linux", "arm", "armv6l"),
    ("linux", "ppc64", "ppc64"),
    ("linux", "ppc64le", "ppc64le"),
    ("linux", "s390x", "s390x"),
    ("freebsd", "amd64", "amd64"),
    ("freebsd", "386", "i386"),
    ("freebsd", "arm", "arm"),
    ("darwin", "amd64", "x86_64"),
    ("darwin", "386", "i386"),
];

/// Checks the `os` label, and the `arch` label if there is one. Names are
/// exact.
///
/// # Errors
/// Unknown names, with those that are known.
pub fn check_labels(os: &str, arch: Option<&str>) -> Result<(), PlatformError> {
    let Some((_, known)) = KNOWN.iter().find(|(name, _)| *name == os) else {
        return Err(PlatformError::UnknownOs { os: os.to_owned() });
    };
    match arch {
        Some(arch) if !known.contains(&arch) => Err(PlatformError::UnknownArch {
            os: os.to_owned(),
            arch: arch.to_owned(),
            known: known.join(", "),
        }),
        _ => Ok(()),
    }
}

impl Platform {
    /// The platform this program runs on.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "powerpc64" => ("ppc64", None),
            other => (other, None),
        };
        Self {
            os: std::env::consts::OS.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// The `os` and `arch` labels of an image for this platform.
    ///
    /// # Errors
    /// [`PlatformError::NoCounterpart`] if appc has no word for it.
    pub fn to_labels(&self) -> Result<(&'static str, &'static str), PlatformError> {
        let none = || PlatformError::NoCounterpart(self.to_string(), "appc");
        let pair =
            |(os, arch, _): &&(&str, &str, &str)| *os == self.os && *arch == self.architecture;
        let (os, _, arch) = PAIRS.iter().find(pair).ok_or_else(none)?;
        match (*os, *arch, self.variant.as_deref()) {
            ("linux", "armv6l", Some("v7" | "7")) => Ok((os, "armv7l")),
            // Older than any label, so no promise could be kept.
            ("linux", "armv6l", Some("v5" | "5")) => Err(none()),
            ("linux", "armv6l", Some("v8" | "8")) => Ok((os, "armv7l")),
            _ => Ok((os, arch)),
        }
    }

    /// The platform that these labels mean.
    ///
    /// # Errors
    /// Labels that are unknown, or that OCI has no word for.
    pub fn from_labels(os: &str, arch: &str) -> Result<Self, PlatformError> {
        check_labels(os, Some(arch))?;
        let platform = |architecture: &str, variant: Option<&str>| Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        };
        match (os, arch) {
            ("linux", "armv7l") => return Ok(platform("arm", Some("v7"))),
            ("linux", "armv6l") | ("freebsd", "arm") => return Ok(platform("arm", Some("v6"))),
            _ => {}
        }
        let pair = |(o, _, a): &&(&str, &str, &str)| *o == os && *a == arch;
        match PAIRS.iter().find(pair) {
            Some((_, architecture, _)) => Ok(platform(architecture, None)),
            None => Err(PlatformError::NoCounterpart(format!("{os}/{arch}"), "OCI")),
        }
    }

    /// Whether a host of this platform runs programs built for `image`, and
    /// how well they fit: the greater, the better. The variants of arm are
    /// ordered; a newer processor runs what was built for an older one.
    pub fn fits(&self, image: &Platform) -> Option<u32> {
        if self.os != image.os || self.architecture != image.architecture {
            return None;
        }
        let level = |p: &Platform| match p.variant.as_deref() {
            None => None,
            Some(v) => v.trim_start_matches('v').parse::<u32>().ok(),
        };
        match (self.architecture.as_str(), &image.variant) {
            // The image is for any processor of the kind.
            (_, None) => Some(1),
            ("arm" | "arm64" | "amd64", Some(_)) => {
                // x86-64 has levels as well; level 1 is what every one can do.
                let base = if self.architecture == "arm64" { 8 } else { 1 };
                let (host, wanted) = (level(self).unwrap_or(base), level(image)?);
                (wanted <= host).then_some(1 + wanted)
            }
            (_, variant) => (*variant == self.variant).then_some(2),
        }
    }
}

impl std::str::FromStr for Platform {
    type Err = String;

    /// `OS/ARCH[/VARIANT]`; the architecture also in the words of appc and of
    /// the kernel (`aarch64`, `x86_64`).
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut parts = s.split('/');
        let (os, arch) = (parts.next().unwrap_or_default(), parts.next());
        let (variant, rest) = (parts.next(), parts.next());
        let word =
            |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let arch = arch.unwrap_or_default();
        if !word(os) || !word(arch) || variant.is_some_and(|v| !word(v)) || rest.is_some() {
            return Err(format!(
                "{s:?} is no platform: expected OS/ARCHITECTURE[/VARIANT], for instance linux/arm64"
            ));
        }
        let named = match arch {
            "x86_64" => Self {
                os: os.to_owned(),
                architecture: "amd64".to_owned(),
                variant: None,
            },
            _ => Self::from_labels(os, arch).unwrap_or_else(|_| Self {
                os: os.to_owned(),
                architecture: arch.to_owned(),
                variant: None,
            }),
        };
        Ok(Self {
            variant: variant.map(str::to_owned).or(named.variant.clone()),
            ..named
        })
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    #[test]
    fn every_pair_comes_back() {
        for (os, architecture, arch) in PAIRS {
            let there = platform(os, architecture, None);
            assert_eq!(there.to_labels(), Ok((os, arch)));
            let back = Platform::from_labels(os, arch).unwrap();
            assert_eq!(
                (back.os.as_str(), back.architecture.as_str()),
                (os, architecture)
            );
        }
        let v7 = platform("linux", "arm", Some("v7"));
        assert_eq!(v7.to_labels(), Ok(("linux", "armv7l")));
        assert_eq!(Platform::from_labels("linux", "armv7l"), Ok(v7));
        assert_eq!(
            platform("linux", "arm64", Some("v8")).to_labels(),
            Ok(("linux", "aarch64"))
        );
    }

    #[test]
    fn platforms_are_read_as_people_write_them() {
        let read = |s: &str| s.parse::<Platform>();
        assert_eq!(read("linux/arm64"), Ok(platform("linux", "arm64", None)));
        assert_eq!(read("linux/aarch64"), Ok(platform("linux", "arm64", None)));
        assert_eq!(read("linux/x86_64"), Ok(platform("linux", "amd64", None)));
        let v7 = platform("linux", "arm", Some("v7"));
        assert_eq!(read("linux/arm/v7"), Ok(v7.clone()));
        assert_eq!(read("linux/armv7l"), Ok(v7));
        assert_eq!(
            read("linux/riscv64"),
            Ok(platform("linux", "riscv64", None))
        );
        for wrong in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/am d64"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_has_no_word_is_an_error() {
        assert!(platform("linux", "riscv64", None).to_labels().is_err());
        assert!(platform("windows", "amd64", None).to_labels().is_err());
        assert!(platform("linux", "arm", Some("v5")).to_labels().is_err());
        assert!(Platform::from_labels("linux", "armv7b").is_err());
        assert!(Platform::from_labels("linux", "arm64").is_err());
        assert!(check_labels("linux", Some("S390x")).is_err());
        assert!(check_labels("", None).is_err());
    }

    #[test]
    fn a_newer_arm_runs_older_programs_and_prefers_its_own() {
        let host = platform("linux", "arm", Some("v7"));
        let fit = |variant| host.fits(&platform("linux", "arm", variant));
        assert!(fit(Some("v7")) > fit(Some("v6")));
        assert!(fit(Some("v6")) > fit(None));
        assert_eq!(fit(Some("v8")), None);
        let host = platform("linux", "arm64", None);
        assert!(host.fits(&platform("linux", "arm64", Some("v8"))).is_some());
        assert_eq!(host.fits(&platform("linux", "amd64", None)), None);
        let host = platform("linux", "amd64", None);
        assert_eq!(host.fits(&platform("linux", "amd64", Some("v3"))), None);
    }
}
