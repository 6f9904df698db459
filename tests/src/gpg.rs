//! Keys and signatures by the real gpg, in a home of their own.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Cmd;

/// A GnuPG home; its agent is stopped when it goes.
pub struct Gpg {
    home: TempDir,
}

/// A key pair in a [`Gpg`] home.
pub struct Key {
    /// Upper-case fingerprint, 40 digits.
    pub fingerprint: String,
    /// The armored public key.
    pub public: PathBuf,
}

impl Default for Gpg {
    fn default() -> Self {
        Self::new()
    }
}

impl Gpg {
    /// An empty home.
    pub fn new() -> Self {
        // In /tmp: the agent's socket name must be short.
        let home = tempfile::Builder::new().prefix("gpg").tempdir().unwrap();
        Self { home }
    }

    fn gpg(&self) -> Cmd {
        Cmd::new("gpg")
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--batch", "--quiet", "--no-tty", "--pinentry-mode=loopback"])
            .args(["--passphrase", ""])
    }

    /// A new Ed25519 signing key for `user` (`Name <mail>`).
    pub fn key(&self, user: &str) -> Key {
        self.key_with(user, "ed25519", &[])
    }

    /// A key made by this algorithm (`rsa2048`, `ed25519` …) and further options,
    /// for instance `--faked-system-time`.
    pub fn key_with(&self, user: &str, algorithm: &str, options: &[&str]) -> Key {
        self.make_key(user, algorithm, options, "never")
    }

    /// A key that was valid for one day in 2020; signatures of that day included.
    pub fn expired_key(&self, user: &str) -> Key {
        self.make_key(user, "ed25519", &["--faked-system-time", DAY_IN_2020], "1d")
    }

    fn make_key(&self, user: &str, algorithm: &str, options: &[&str], expires: &str) -> Key {
        let out = self
            .gpg()
            .args(options)
            .args(["--status-fd=1", "--quick-generate-key", user, algorithm])
            .args(["sign", expires])
            .run()
            .ok();
        let fingerprint = out
            .stdout
            .lines()
            .find_map(|l| l.strip_prefix("[GNUPG:] KEY_CREATED P "))
            .unwrap_or_else(|| panic!("gpg made no key: {out}"))
            .trim()
            .to_owned();
        let public = self.home.path().join(format!("{fingerprint}.asc"));
        self.gpg()
            .arg("--armor")
            .arg("--output")
            .arg(&public)
            .args(["--export", &fingerprint])
            .run()
            .ok();
        Key {
            fingerprint,
            public,
        }
    }

    /// Signs `file` into `file.asc` (armored) and gives that name.
    pub fn sign(&self, key: &Key, file: &Path) -> PathBuf {
        self.sign_with(key, file, &["--armor"])
    }

    /// Signs with an [`Gpg::expired_key`] on the day it was valid.
    pub fn sign_in_2020(&self, key: &Key, file: &Path) -> PathBuf {
        self.sign_with(key, file, &["--armor", "--faked-system-time", DAY_IN_2020])
    }

    /// Signs `file` into `file.asc`; without `--armor` the signature is binary.
    pub fn sign_with(&self, key: &Key, file: &Path, options: &[&str]) -> PathBuf {
        let signature = PathBuf::from(format!("{}.asc", file.display()));
        self.gpg()
            .args(options)
            .args(["--yes", "--local-user", &key.fingerprint])
            .arg("--output")
            .arg(&signature)
            .arg("--detach-sign")
            .arg(file)
            .run()
            .ok();
        signature
    }

    /// Revokes the key and exports it again with the revocation.
    pub fn revoke(&self, key: &Key) {
        let certificate = self
            .home
            .path()
            .join(format!("openpgp-revocs.d/{}.rev", key.fingerprint));
        // gpg guards the certificate against accidents with a colon before the dashes.
        let text = std::fs::read_to_string(&certificate)
            .unwrap()
            .replace(":-----BEGIN", "-----BEGIN");
        self.gpg().arg("--import").stdin(text).run().ok();
        self.gpg()
            .args(["--armor", "--yes"])
            .arg("--output")
            .arg(&key.public)
            .args(["--export", &key.fingerprint])
            .run()
            .ok();
    }
}

/// In `gpg --faked-system-time` form: frozen, so that making and signing agree.
const DAY_IN_2020: &str = "20200102T120000!";

impl Drop for Gpg {
    fn drop(&mut self) {
        Cmd::new("gpgconf")
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--kill", "all"])
            .run();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// gpg itself must agree with what the tests take these keys for.
    #[test]
    fn gpg_says_what_the_signatures_are() {
        let gpg = Gpg::new();
        let file = gpg.home.path().join("file");
        std::fs::write(&file, "bytes").unwrap();
        let verdict = |signature: &Path| {
            gpg.gpg()
                .args(["--status-fd=1", "--verify"])
                .args([signature, file.as_path()])
                .run()
                .stdout
        };
        let key = gpg.key("Ada <ada@example.com>");
        assert!(verdict(&gpg.sign(&key, &file)).contains("GOODSIG"));
        let old = gpg.expired_key("Old <old@example.com>");
        assert!(verdict(&gpg.sign_in_2020(&old, &file)).contains("EXPKEYSIG"));
        let signature = gpg.sign(&key, &file);
        gpg.revoke(&key);
        assert!(verdict(&signature).contains("REVKEYSIG"));
    }
}
