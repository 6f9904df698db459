//! Signatures by the real cosign (Debian 13's), offline: nothing is sent to a
//! transparency log.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Cmd, Output, guest};

/// cosign with a home of its own.
pub struct Cosign {
    program: PathBuf,
    home: TempDir,
}

/// A key pair.
pub struct CosignKey {
    secret: PathBuf,
    /// The PEM file.
    pub public: PathBuf,
}

impl Cosign {
    /// `None` when this machine cannot have it, which has been told as a
    /// skipped test.
    pub fn obtain() -> Option<Self> {
        let program = guest::program("cosign", "cosign")?;
        let home = tempfile::tempdir().unwrap();
        Some(Self { program, home })
    }

    /// Scratch space.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// `cosign` with these words.
    pub fn cosign(&self, words: &[&str]) -> Cmd {
        Cmd::new(&self.program)
            .env("HOME", self.home.path())
            .env("COSIGN_PASSWORD", "")
            .cwd(self.home.path())
            .args(words)
    }

    /// A key pair as `cosign generate-key-pair` makes it: ECDSA, P-256.
    pub fn key(&self, name: &str) -> CosignKey {
        let prefix = format!("--output-key-prefix={name}");
        self.cosign(&["generate-key-pair", &prefix]).run().ok();
        let file = |end: &str| self.home.path().join(format!("{name}.{end}"));
        CosignKey {
            secret: file("key"),
            public: file("pub"),
        }
    }

    /// Runs `cosign VERB` with this key on a registry's image.
    pub fn with_key(&self, key: &CosignKey, verb: &str, options: &[&str], image: &str) -> Output {
        self.cosign(&[verb, "--key", &key.secret.to_string_lossy()])
            .args(["--tlog-upload=false", "--yes"])
            .args(["--allow-http-registry", "--allow-insecure-registry"])
            .args(options)
            .arg(image.trim_start_matches("docker://"))
            .run()
            .ok()
    }

    /// Signs by the tag `sha256-DIGEST.sig`.
    pub fn sign(&self, key: &CosignKey, image: &str) {
        self.with_key(key, "sign", &[], image);
    }

    /// Attaches a bundle whose statement has this predicate type, as referrer.
    pub fn attach_bundle(&self, key: &CosignKey, predicate: &str, image: &str) {
        let file = self.home.path().join("predicate.json");
        std::fs::write(&file, "{}").unwrap();
        let options = [
            "--new-bundle-format",
            "--type",
            predicate,
            "--predicate",
            &file.to_string_lossy(),
        ];
        self.with_key(key, "attest", &options, image);
    }
}
