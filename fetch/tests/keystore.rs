//! The keystore's layers, scopes and files.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::Gpg;
use fetch::keystore::{Keystore, KeystoreError, Scope};
use fetch::openpgp::Certificate;
use manifests::appc::AcIdentifier;
use tempfile::TempDir;

struct Dirs(TempDir);

impl Dirs {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn store(&self) -> Keystore {
        Keystore::new(&self.0.path().join("usr"), &self.0.path().join("etc"))
    }

    /// The vendor's keys are written by the vendor's packages.
    fn vendor(&self) -> Keystore {
        Keystore::new(&self.0.path().join("nowhere"), &self.0.path().join("usr"))
    }
}

fn name(text: &str) -> AcIdentifier {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Scope {
    Scope::Prefix(name(text))
}

fn trusted(store: &Keystore, image: &str) -> Vec<(String, String)> {
    let keys = store.keys_for(&name(image)).unwrap();
    let mut keys: Vec<_> = keys
        .iter()
        .map(|k| {
            (
                k.certificate.identities()[0].clone(),
                k.scope.prefix().to_owned(),
            )
        })
        .collect();
    keys.sort();
    keys
}

fn key(user: &str) -> Certificate {
    Gpg::new().key(user)
}

#[test]
fn keys_count_for_their_prefix_and_below() {
    let dirs = Dirs::new();
    let store = dirs.store();
    store.add(&Scope::Root, &key("Root")).unwrap();
    store.add(&prefix("example.com/app"), &key("App")).unwrap();
    store.add(&prefix("example.com"), &key("Site")).unwrap();
    let pair = |user: &str, prefix: &str| (user.to_owned(), prefix.to_owned());
    let (root, app, site) = (
        pair("Root", ""),
        pair("App", "example.com/app"),
        pair("Site", "example.com"),
    );
    assert_eq!(
        trusted(&store, "example.com/app"),
        [app.clone(), root.clone(), site.clone()]
    );
    assert_eq!(
        trusted(&store, "example.com/app/worker"),
        [app, root.clone(), site.clone()]
    );
    assert_eq!(trusted(&store, "example.com/apple"), [root.clone(), site]);
    assert_eq!(trusted(&store, "example.org/app"), [root]);
    assert_eq!(store.all().unwrap().len(), 3);
}

#[test]
fn an_empty_file_masks_the_vendors_key() {
    let dirs = Dirs::new();
    let vendor = key("Vendor");
    dirs.vendor().add(&Scope::Root, &vendor).unwrap();
    dirs.vendor()
        .add(&prefix("example.com"), &key("Other"))
        .unwrap();
    let store = dirs.store();
    assert_eq!(trusted(&store, "example.com/app").len(), 2);
    let mask = dirs.0.path().join("etc/trustedkeys/root.d");
    fs::create_dir_all(&mask).unwrap();
    fs::write(mask.join(vendor.fingerprint()), "").unwrap();
    assert_eq!(trusted(&store, "example.com/app").len(), 1);
    assert!(trusted(&store, "example.org/app").is_empty());
}

#[test]
fn files_are_named_after_their_key_and_readable() {
    let dirs = Dirs::new();
    let store = dirs.store();
    let (ann, bob) = (key("Ann"), key("Bob"));
    let file = store.add(&prefix("example.com/app"), &ann).unwrap();
    assert!(file.ends_with(format!(
        "etc/trustedkeys/prefix.d/example.com/app/{}",
        ann.fingerprint()
    )));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&file), 0o644);
    assert_eq!(mode(file.parent().unwrap()), 0o755);
    assert_eq!(
        store.add(&prefix("example.com/app"), &ann).unwrap(),
        file,
        "again is fine"
    );

    fs::write(&file, bob.to_armored().unwrap()).unwrap();
    let error = store.keys_for(&name("example.com/app")).unwrap_err();
    assert!(matches!(error, KeystoreError::Mismatch { .. }), "{error}");
    assert!(
        error.to_string().contains("fingerprint mismatch"),
        "{error}"
    );
    fs::write(&file, "no key").unwrap();
    let error = store.keys_for(&name("example.com/app")).unwrap_err();
    assert!(error.to_string().contains(&ann.fingerprint()), "{error}");
    assert!(
        store
            .keys_for(&name("example.com/other"))
            .unwrap()
            .is_empty()
    );
}
