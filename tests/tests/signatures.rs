//! OpenPGP: what is let in, and what the refusal says. Keys and signatures are
//! gpg's own.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::path::PathBuf;

use tests::{Aci, Compression, Gpg, Host, Key, OciImage};

/// A host, a key, and `app.aci` of `example.com/app`, not signed yet.
struct Signed {
    host: Host,
    gpg: Gpg,
    key: Key,
    aci: Aci,
    file: PathBuf,
}

impl Signed {
    fn new() -> Self {
        let host = Host::new();
        let gpg = Gpg::new();
        let key = gpg.key("Ada <ada@example.com>");
        let aci = Aci::busybox("example.com/app", &["/bin/echo", "hello"]);
        let file = aci.write(&host.images(), "app", Compression::Gzip);
        Self {
            host,
            gpg,
            key,
            aci,
            file,
        }
    }

    fn trust(&self, prefix: &str, key: &Key) {
        self.host
            .rkt([
                "trust",
                &format!("--prefix={prefix}"),
                "--skip-fingerprint-review",
                &key.public.to_string_lossy(),
            ])
            .run()
            .ok();
    }

    fn fetch(&self) -> tests::Output {
        self.host
            .rkt(["fetch", "--full", &self.file.to_string_lossy()])
            .run()
    }

    /// The fetch must fail with one line that has these words, and leave nothing.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        self.fetch().fails(254, "fetch", words);
        self.host.assert_store_is_empty();
    }
}

#[test]
fn a_good_signature_is_accepted_and_shown() {
    let s = Signed::new();
    s.trust("example.com/app", &s.key);
    s.gpg.sign(&s.key, &s.file);
    let out = s.fetch().ok();
    assert_eq!(out.text(), s.aci.id());
    assert!(out.stderr.contains("signature verified"), "{out}");
    assert!(out.stderr.contains("Ada <ada@example.com>"), "{out}");
    // Stored as verified: no option is needed to run it.
    s.host
        .rkt(["run", "--net=none", "example.com/app"])
        .run()
        .ok()
        .prints("hello\n");
}

#[test]
fn a_binary_signature_and_an_rsa_key_work_too() {
    let s = Signed::new();
    let rsa = s.gpg.key_with("Ron <ron@example.com>", "rsa3072", &[]);
    s.trust("example.com", &rsa);
    s.gpg.sign_with(&rsa, &s.file, &[]);
    s.fetch().ok();
}

#[test]
fn a_signature_elsewhere_is_found_by_the_flag() {
    let s = Signed::new();
    s.trust("example.com/app", &s.key);
    let signature = s.gpg.sign(&s.key, &s.file);
    let elsewhere = s.host.path().join("elsewhere.sig");
    fs::rename(signature, &elsewhere).unwrap();
    let flag = format!("--signature={}", elsewhere.display());
    s.host
        .rkt(["fetch", &s.file.to_string_lossy(), &flag])
        .run()
        .ok();
}

#[test]
fn a_root_key_is_good_for_every_name() {
    let s = Signed::new();
    s.host
        .rkt([
            "trust",
            "--root",
            "--skip-fingerprint-review",
            &s.key.public.to_string_lossy(),
        ])
        .run()
        .ok();
    s.gpg.sign(&s.key, &s.file);
    s.fetch().ok();
}

#[test]
fn unsigned_is_refused_with_both_ways_out() {
    let s = Signed::new();
    s.trust("example.com/app", &s.key);
    s.refused(&[
        "app.aci",
        "signature",
        "rkt trust",
        "--insecure-options=image",
    ]);
}

#[test]
fn unsigned_is_accepted_when_asked_for() {
    let s = Signed::new();
    assert_eq!(s.host.fetch(&s.file.to_string_lossy()), s.aci.id());
}

#[test]
fn a_key_that_nobody_trusts_is_refused() {
    let s = Signed::new();
    s.gpg.sign(&s.key, &s.file);
    s.refused(&["example.com/app", "rkt trust"]);
}

#[test]
fn another_prefix_does_not_count() {
    let s = Signed::new();
    s.trust("example.com/other", &s.key);
    s.trust("example.com/ap", &s.key);
    s.trust("example.org", &s.key);
    s.gpg.sign(&s.key, &s.file);
    s.refused(&["example.com/app", "rkt trust"]);
}

#[test]
fn a_signature_by_another_key_is_refused() {
    let s = Signed::new();
    let mallory = s.gpg.key("Mallory <mallory@example.com>");
    s.trust("example.com/app", &s.key);
    s.gpg.sign(&mallory, &s.file);
    s.refused(&["example.com/app", &mallory.fingerprint[24..]]);
}

#[test]
fn a_signature_of_other_bytes_is_refused() {
    let s = Signed::new();
    s.trust("example.com/app", &s.key);
    s.gpg.sign(&s.key, &s.file);
    // A different, valid image under the same name.
    Aci::busybox("example.com/app", &["/bin/echo", "evil"]).write(
        &s.host.images(),
        "app",
        Compression::Gzip,
    );
    s.refused(&["signature"]);
}

#[test]
fn a_flipped_byte_is_refused() {
    let s = Signed::new();
    s.trust("example.com/app", &s.key);
    let plain = s.aci.write(&s.host.images(), "app", Compression::Plain);
    s.gpg.sign(&s.key, &plain);
    let mut bytes = fs::read(&plain).unwrap();
    // Inside busybox's own bytes, so that the tar itself stays sound.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&plain, bytes).unwrap();
    s.refused(&["signature"]);
}

#[test]
fn an_expired_key_is_refused() {
    let s = Signed::new();
    let old = s.gpg.expired_key("Old <old@example.com>");
    s.gpg.sign_in_2020(&old, &s.file);
    // The keystore may refuse it at once; if not, the fetch must.
    s.host
        .rkt([
            "trust",
            "--prefix=example.com/app",
            "--skip-fingerprint-review",
            &old.public.to_string_lossy(),
        ])
        .run();
    s.fetch().fails(254, "fetch", &[]);
    s.host.assert_store_is_empty();
}

#[test]
fn a_revoked_key_is_refused() {
    let s = Signed::new();
    s.gpg.sign(&s.key, &s.file);
    s.gpg.revoke(&s.key);
    s.host
        .rkt([
            "trust",
            "--prefix=example.com/app",
            "--skip-fingerprint-review",
            &s.key.public.to_string_lossy(),
        ])
        .run();
    s.fetch().fails(254, "fetch", &[]);
    s.host.assert_store_is_empty();
}

#[test]
fn a_signature_that_is_none_is_refused() {
    let s = Signed::new();
    s.trust("example.com/app", &s.key);
    fs::write(s.file.with_extension("aci.asc"), "not a signature").unwrap();
    s.refused(&["app.aci.asc"]);
}

#[test]
fn an_image_that_calls_itself_otherwise_is_refused() {
    let s = Signed::new();
    s.trust("example.com/app", &s.key);
    let file = Aci::busybox("example.org/app", &["/bin/true"]).write(
        &s.host.images(),
        "app",
        Compression::Gzip,
    );
    s.gpg.sign(&s.key, &file);
    s.refused(&["example.org/app", "rkt trust"]);
}

#[test]
fn an_unsigned_oci_image_is_refused_with_the_way_out() {
    let host = Host::new();
    let layout = OciImage::busybox(&["/bin/true"]).write(&host.images().join("l"), "1");
    host.rkt(["fetch", &layout.reference()]).run().fails(
        254,
        "fetch",
        &["signature", "--insecure-options=image"],
    );
    host.assert_store_is_empty();
}

mod trust {
    use super::*;

    #[test]
    fn says_what_it_trusts_for_what() {
        let s = Signed::new();
        let out = s
            .host
            .rkt([
                "trust",
                "--prefix=example.com/app",
                "--skip-fingerprint-review",
                &s.key.public.to_string_lossy(),
            ])
            .run()
            .ok();
        assert!(
            out.stdout
                .contains("Added key for prefix \"example.com/app\""),
            "{out}"
        );
        let stored = s.host.config().join("trustedkeys/prefix.d/example.com/app");
        let name = s.key.fingerprint.to_lowercase();
        assert_eq!(
            tests::leaks::names(&stored),
            [name],
            "the keystore's layout"
        );
    }

    /// Without a terminal nobody can say yes.
    #[test]
    fn asks_only_where_somebody_can_answer() {
        let s = Signed::new();
        let out = s
            .host
            .rkt([
                "trust",
                "--prefix=example.com/app",
                &s.key.public.to_string_lossy(),
            ])
            .run()
            .code_is(254);
        assert!(out.stderr.contains("--skip-fingerprint-review"), "{out}");
        assert!(tests::leaks::files(&s.host.config().join("trustedkeys")).is_empty());
    }

    #[test]
    fn shows_the_fingerprint_and_takes_the_answer() {
        for (answer, kept) in [("no\n", 0), ("yes\n", 1)] {
            let s = Signed::new();
            let cmd = s.host.rkt([
                "trust",
                "--prefix=example.com/app",
                &s.key.public.to_string_lossy(),
            ]);
            let mut pty = tests::pty::Pty::spawn(cmd);
            pty.wait_for("yes/no");
            assert!(
                pty.screen().replace(' ', "").contains(&s.key.fingerprint),
                "{}",
                pty.screen()
            );
            pty.type_in(answer);
            assert_eq!(pty.wait(), Some(0), "{}", pty.screen());
            let keys = tests::leaks::files(&s.host.config().join("trustedkeys"));
            assert_eq!(keys.len(), kept, "after {answer:?}: {keys:?}");
        }
    }

    #[test]
    fn refuses_a_file_that_is_no_key() {
        let s = Signed::new();
        let file = s.host.path().join("key");
        fs::write(&file, "not a key").unwrap();
        s.host
            .rkt([
                "trust",
                "--prefix=example.com",
                "--skip-fingerprint-review",
                &file.to_string_lossy(),
            ])
            .run()
            .fails(254, "trust", &[&file.to_string_lossy()]);
        assert!(tests::leaks::files(&s.host.config().join("trustedkeys")).is_empty());
    }

    #[test]
    fn needs_to_know_for_what() {
        let s = Signed::new();
        let out = s
            .host
            .rkt([
                "trust",
                "--skip-fingerprint-review",
                &s.key.public.to_string_lossy(),
            ])
            .run()
            .code_is(254);
        assert!(
            out.stderr.contains("--root") && out.stderr.contains("--prefix"),
            "{out}"
        );
    }
}
