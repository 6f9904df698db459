//! Which of an image's builds fits this machine.

use std::fmt;

/// Operating system, architecture and variant in OCI (Go) spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64`, `arm`, …
    pub arch: String,
    /// `v6`, `v7`, `v8` for the ARM family.
    pub variant: Option<String>,
}

impl Platform {
    /// The machine this program was built for.
    pub fn host() -> Self {
        let (arch, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None), // s390x, riscv64: the same in both spellings
        };
        Self {
            os: "linux".to_owned(),
            arch: arch.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// The value of an appc image's `arch` label for this platform, where
    /// appc has one. Source: appc specification, "Image Manifest Schema".
    pub fn appc_arch(&self) -> Option<&'static str> {
        match (self.arch.as_str(), self.variant.as_deref()) {
            ("amd64", _) => Some("amd64"),
            ("386", _) => Some("i386"),
            ("arm64", _) => Some("aarch64"),
            ("arm", Some("v7")) => Some("armv7l"),
            ("arm", _) => Some("armv6l"),
            ("ppc64le", _) => Some("ppc64le"),
            ("s390x", _) => Some("s390x"),
            _ => None,
        }
    }

    /// How well an offer fits: `None` not at all, larger is better. An offer
    /// that names no variant fits every one; an older ARM variant runs on a
    /// newer machine.
    pub(crate) fn fitness(&self, os: &str, arch: &str, variant: Option<&str>) -> Option<u8> {
        if os != self.os || arch != self.arch {
            return None;
        }
        let level = |v: &str| v.strip_prefix('v').and_then(|n| n.parse::<u8>().ok());
        match (self.variant.as_deref(), variant) {
            (own, offered) if own == offered => Some(u8::MAX),
            (_, None) => Some(1),
            (None, Some("v1")) => Some(1), // amd64/v1 is plain amd64
            (Some(own), Some(offered)) => {
                let (own, offered) = (level(own)?, level(offered)?);
                (offered <= own).then_some(offered.saturating_add(1))
            }
            (None, Some(_)) => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(variant: &str) -> Platform {
        Platform {
            os: "linux".into(),
            arch: "arm".into(),
            variant: Some(variant.into()),
        }
    }

    #[test]
    fn the_newest_variant_that_still_runs_fits_best() {
        let v7 = arm("v7");
        let score = |variant| v7.fitness("linux", "arm", variant);
        assert!(score(Some("v7")) > score(Some("v6")));
        assert!(score(Some("v6")) > score(Some("v5")));
        assert!(score(Some("v5")) > score(None));
        assert_eq!(score(Some("v8")), None);
        assert_eq!(v7.fitness("windows", "arm", None), None);
        assert_eq!(v7.fitness("linux", "amd64", None), None);
    }

    #[test]
    fn appc_spells_architectures_its_own_way() {
        assert_eq!(arm("v7").appc_arch(), Some("armv7l"));
        assert_eq!(arm("v6").appc_arch(), Some("armv6l"));
        assert!(Platform::host().appc_arch().is_some());
    }
}
