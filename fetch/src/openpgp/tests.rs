//! Against signatures and keys made by the real gpg.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::*;

/// A GnuPG home of its own.
struct Gpg(TempDir);

impl Gpg {
    fn new() -> Self {
        Self(
            tempfile::Builder::new()
                .prefix("gpg")
                .tempdir_in("/tmp")
                .unwrap(),
        )
    }

    fn run(&self, args: &[&str]) -> Vec<u8> {
        let output: Output = Command::new("gpg")
            .env("GNUPGHOME", self.0.path())
            .args([
                "--batch",
                "--yes",
                "--no-tty",
                "--passphrase",
                "",
                "--pinentry-mode",
                "loopback",
            ])
            .args(args)
            .output()
            .expect("gpg runs (Debian package gnupg)");
        assert!(
            output.status.success(),
            "gpg {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// A new key and its fingerprint.
    fn key(&self, options: &[&str], user: &str, usage: &str, expires: &str) -> String {
        let mut args = options.to_vec();
        args.extend(["--quick-gen-key", user, "ed25519", usage, expires]);
        self.run(&args);
        self.fingerprints(user)[0].clone()
    }

    fn fingerprints(&self, user: &str) -> Vec<String> {
        let listing = self.run(&[
            "--with-colons",
            "--fingerprint",
            "--fingerprint",
            "--list-keys",
            user,
        ]);
        String::from_utf8(listing)
            .unwrap()
            .lines()
            .filter_map(|l| l.strip_prefix("fpr:::::::::"))
            .map(|f| f.trim_end_matches(':').to_lowercase())
            .collect()
    }

    fn export(&self, user: &str) -> Certificate {
        let bytes = self.run(&["--armor", "--export", user]);
        Certificate::read_all(&bytes).unwrap().swap_remove(0)
    }

    fn sign(&self, options: &[&str], bytes: &[u8]) -> Vec<u8> {
        let file = self.0.path().join("signed");
        std::fs::write(&file, bytes).unwrap();
        let mut args = options.to_vec();
        args.extend(["--output", "-", "--detach-sign", path(&file)]);
        self.run(&args)
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // The agent would outlive its home; if it cannot be asked to go, it
        // notices by itself.
        let _ = Command::new("gpgconf")
            .env("GNUPGHOME", self.0.path())
            .args(["--kill", "all"])
            .status();
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

struct Ring(Certificate);

impl AsRef<Certificate> for Ring {
    fn as_ref(&self) -> &Certificate {
        &self.0
    }
}

fn now() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u32::try_from(now.as_secs()).unwrap()
}

/// The fingerprint of the key that vouches.
fn judge(signature: &[u8], bytes: &[u8], keys: &[&Certificate]) -> Result<String, SignatureError> {
    judge_at(signature, bytes, keys, now())
}

fn judge_at(
    signature: &[u8],
    bytes: &[u8],
    keys: &[&Certificate],
    now: u32,
) -> Result<String, SignatureError> {
    let keys: Vec<_> = keys.iter().map(|k| Ring((*k).clone())).collect();
    let mut running = Signatures::parse(signature)?.start()?;
    for piece in bytes.chunks(7) {
        running.update(piece);
    }
    let key = running.finish().judge(&keys, now)?;
    Ok(key.0.fingerprint())
}

const IMAGE: &[u8] = b"the bytes of an image";

#[test]
fn good_signatures_hold_armored_and_binary() {
    let gpg = Gpg::new();
    let fingerprint = gpg.key(&[], "Ann <ann@example.com>", "default", "never");
    let key = gpg.export("ann");
    assert_eq!(key.fingerprint(), fingerprint);
    assert_eq!(key.identities(), ["Ann <ann@example.com>"]);
    for options in [&[][..], &["--armor"], &["--digest-algo", "SHA256"]] {
        let signature = gpg.sign(options, IMAGE);
        assert_eq!(judge(&signature, IMAGE, &[&key]), Ok(fingerprint.clone()));
    }
    let again = Certificate::read_all(key.to_armored().unwrap().as_bytes()).unwrap();
    assert_eq!(again[0].fingerprint(), fingerprint);
}

#[test]
fn other_bytes_and_other_keys_are_told_apart() {
    let gpg = Gpg::new();
    let ann = gpg.key(&[], "Ann <ann@example.com>", "sign", "never");
    gpg.key(&[], "Bob <bob@example.com>", "sign", "never");
    let (ann_key, bob_key) = (gpg.export("ann"), gpg.export("bob"));
    let signature = gpg.sign(&["-u", &ann], IMAGE);
    assert_eq!(
        judge(&signature, IMAGE, &[&bob_key, &ann_key]),
        Ok(ann.clone())
    );
    assert_eq!(
        judge(&signature, b"other bytes", &[&ann_key]),
        Err(SignatureError::Bad {
            fingerprint: ann.clone()
        })
    );
    assert_eq!(
        judge(&signature, IMAGE, &[&bob_key]),
        Err(SignatureError::UnknownKey { issuers: vec![ann] })
    );
    assert!(judge(&signature, IMAGE, &[]).is_err());
}

#[test]
fn one_good_signature_among_several_suffices() {
    let gpg = Gpg::new();
    let ann = gpg.key(&[], "Ann <ann@example.com>", "sign", "never");
    let bob = gpg.key(&[], "Bob <bob@example.com>", "sign", "never");
    let signatures = gpg.sign(&["-u", &ann, "-u", &bob], IMAGE);
    assert_eq!(judge(&signatures, IMAGE, &[&gpg.export("bob")]), Ok(bob));
}

#[test]
fn expired_keys_and_signatures_vouch_for_nothing() {
    let gpg = Gpg::new();
    let old = ["--faked-system-time", "20200101T000000"];
    let fingerprint = gpg.key(&old, "Old <old@example.com>", "sign", "30d");
    let key = gpg.export("old");
    let signature = gpg.sign(&old, IMAGE);
    let error = judge(&signature, IMAGE, &[&key]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the signature's key {fingerprint} expired on 2020-01-31")
    );
    // While it lasted, it was good.
    let then = 1_578_000_000;
    assert_eq!(judge_at(&signature, IMAGE, &[&key], then), Ok(fingerprint));

    let gpg = Gpg::new();
    gpg.key(&old, "Ann <ann@example.com>", "sign", "never");
    let limited = gpg.sign(&[&old[..], &["--default-sig-expire", "5d"]].concat(), IMAGE);
    let error = judge(&limited, IMAGE, &[&gpg.export("ann")]).unwrap_err();
    assert!(
        error.to_string().ends_with("expired on 2020-01-06"),
        "{error}"
    );
}

#[test]
fn signatures_from_the_future_are_refused() {
    let gpg = Gpg::new();
    gpg.key(&[], "Ann <ann@example.com>", "sign", "never");
    let signature = gpg.sign(&["--faked-system-time", "20990101T000000"], IMAGE);
    let error = judge(&signature, IMAGE, &[&gpg.export("ann")]).unwrap_err();
    assert!(matches!(error, SignatureError::Future { .. }), "{error}");
}

#[test]
fn revoked_keys_vouch_for_nothing() {
    let gpg = Gpg::new();
    let fingerprint = gpg.key(&[], "Ann <ann@example.com>", "sign", "never");
    let signature = gpg.sign(&[], IMAGE);
    // gpg made the revocation along with the key; a colon guards it.
    let revocation = gpg.0.path().join(format!(
        "openpgp-revocs.d/{}.rev",
        fingerprint.to_uppercase()
    ));
    let text = std::fs::read_to_string(&revocation)
        .unwrap()
        .replace(":-----", "-----");
    std::fs::write(&revocation, text).unwrap();
    gpg.run(&["--import", path(&revocation)]);
    let error = judge(&signature, IMAGE, &[&gpg.export("ann")]).unwrap_err();
    let fault = KeyFault::Revoked;
    assert_eq!(error, SignatureError::Key { fingerprint, fault });
}

#[test]
fn a_signing_subkey_speaks_for_its_primary_key() {
    let gpg = Gpg::new();
    let primary = gpg.key(&[], "Ann <ann@example.com>", "cert", "never");
    gpg.run(&["--quick-add-key", &primary, "ed25519", "sign", "never"]);
    let subkey = gpg.fingerprints("ann")[1].clone();
    let key = gpg.export("ann");
    assert_eq!(key.subkey_fingerprints(), std::slice::from_ref(&subkey));
    let signature = gpg.sign(&["-u", &format!("{subkey}!")], IMAGE);
    assert_eq!(judge(&signature, IMAGE, &[&key]), Ok(primary.clone()));

    // Taken back: `revkey` on the selected subkey, confirmed, without reason.
    let mut edit = Command::new("gpg")
        .env("GNUPGHOME", gpg.0.path())
        .args([
            "--no-tty",
            "--command-fd",
            "0",
            "--passphrase",
            "",
            "--pinentry-mode",
            "loopback",
        ])
        .args(["--edit-key", "ann"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(
        &mut edit.stdin.take().unwrap(),
        b"key 1\nrevkey\ny\n0\n\ny\nsave\n",
    )
    .unwrap();
    assert!(edit.wait().unwrap().success());
    let error = judge(&signature, IMAGE, &[&gpg.export("ann")]).unwrap_err();
    let fault = KeyFault::Revoked;
    assert_eq!(
        error,
        SignatureError::Key {
            fingerprint: primary,
            fault
        }
    );
}

#[test]
fn forgeable_hashes_and_other_files_are_refused() {
    let gpg = Gpg::new();
    gpg.key(&[], "Ann <ann@example.com>", "sign", "never");
    let weak = gpg.sign(
        &["--digest-algo", "SHA1", "--allow-weak-digest-algos"],
        IMAGE,
    );
    let error = judge(&weak, IMAGE, &[&gpg.export("ann")]).unwrap_err();
    assert!(error.to_string().contains("can be forged"), "{error}");
    let text = gpg.sign(&["--textmode"], IMAGE);
    let error = judge(&text, IMAGE, &[&gpg.export("ann")]).unwrap_err();
    assert!(error.to_string().contains("gpg --detach-sign"), "{error}");

    let good = gpg.sign(&["--armor"], IMAGE);
    for bad in [&b""[..], b"hello", &good[..good.len() / 2], &[0xff; 40]] {
        let error = judge(bad, IMAGE, &[&gpg.export("ann")]).unwrap_err();
        assert!(
            matches!(
                error,
                SignatureError::Malformed(_) | SignatureError::Bad { .. }
            ),
            "{error}"
        );
    }
}

mod rubbish {
    //! Envelopes that were damaged on their way, or on purpose. `PROPTEST_CASES`
    //! for more than the usual number.

    use std::sync::LazyLock;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const SIGNED: &[u8] = b"what was signed";

    /// A key, and envelopes by it: armored and not, of one signature and of two.
    static REAL: LazyLock<(Vec<Ring>, Vec<Vec<u8>>)> = LazyLock::new(|| {
        let gpg = Gpg::new();
        gpg.key(&[], "a@example.com", "sign", "never");
        gpg.key(&[], "b@example.com", "sign", "never");
        let both = ["-u", "a@example.com", "-u", "b@example.com"];
        let envelopes = [
            gpg.sign(&["--armor"], SIGNED),
            gpg.sign(&[], SIGNED),
            gpg.sign(&both, SIGNED),
            gpg.run(&["--armor", "--export", "a@example.com"]),
            gpg.run(&["--export", "a@example.com"]),
        ];
        let ring = vec![Ring(gpg.export("a@example.com"))];
        (ring, envelopes.to_vec())
    });

    fn judge(envelope: &[u8], bytes: &[u8]) -> bool {
        let started = Signatures::parse(envelope).and_then(Signatures::start);
        let Ok(mut signed) = started else {
            return false;
        };
        signed.update(bytes);
        signed.finish().judge(&REAL.0, now()).is_ok()
    }

    fn damaged(mut bytes: Vec<u8>, damage: &[(Index, u8)], cut: Index, twice: bool) -> Vec<u8> {
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if twice {
            let from = cut.index(bytes.len());
            bytes.extend_from_within(from..);
        } else {
            bytes.truncate(cut.index(bytes.len() * 4).max(1));
        }
        bytes
    }

    fn cases() -> ProptestConfig {
        let asked = std::env::var("PROPTEST_CASES").ok();
        ProptestConfig::with_cases(asked.and_then(|n| n.parse().ok()).unwrap_or(400))
    }

    proptest! {
        #![proptest_config(cases())]

        /// An error or an answer; and whatever an envelope became, it vouches for
        /// no other bytes.
        #[test]
        fn damaged_envelopes_do_not_panic_and_vouch_for_nothing_else(
            which in any::<Index>(),
            damage in vec((any::<Index>(), any::<u8>()), 0..6),
            cut in any::<Index>(),
            twice in any::<bool>(),
        ) {
            let envelope = which.get(&REAL.1).clone();
            let envelope = damaged(envelope, &damage, cut, twice);
            judge(&envelope, SIGNED);
            prop_assert!(!judge(&envelope, b"something else"));
            if let Ok(keys) = Certificate::read_all(&envelope) {
                for key in keys {
                    key.identities();
                    key.fingerprint();
                }
            }
        }

        #[test]
        fn noise_does_not_panic(noise in vec(any::<u8>(), 0..600), armored in any::<bool>()) {
            let mut envelope = noise;
            if armored {
                let text = format!(
                    "-----BEGIN PGP SIGNATURE-----\n\n{}\n-----END PGP SIGNATURE-----\n",
                    envelope.iter().map(|b| char::from(b'0' + b % 74)).collect::<String>(),
                );
                envelope = text.into_bytes();
            }
            prop_assert!(!judge(&envelope, SIGNED));
            let _ = Certificate::read_all(&envelope);
        }
    }

    /// The envelopes above are good ones before they are damaged.
    #[test]
    fn undamaged_envelopes_vouch() {
        assert!(REAL.1[..3].iter().all(|envelope| judge(envelope, SIGNED)));
    }
}
