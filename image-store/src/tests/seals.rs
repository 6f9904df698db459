//! fs-verity. The host's kernel need not have it; a guest's in `tests` does.

use std::fs;
use std::path::Path;

use manifests::config::Verity;
use manifests::digest::{Algorithm, Digest};

use super::archive::Archive;
use super::{TestStore, file_of, is_root, skipped};
use crate::{BackendChoice, StoreError};

fn layer() -> Vec<u8> {
    Archive::new().file("file", b"hello").finish()
}

/// Whether files there can be sealed.
fn can_seal(dir: &Path) -> bool {
    let probe = dir.join("probe");
    fs::write(&probe, "x").unwrap();
    let sealed = crate::seal::seal(&probe, Verity::BestEffort).unwrap();
    fs::remove_file(probe).unwrap();
    sealed.is_some()
}

#[test]
fn what_cannot_be_sealed_is_refused_where_seals_are_required() {
    let mut test = TestStore::new();
    if can_seal(&test.scratch("")) {
        return skipped("files can be sealed here");
    }
    let image = test.commit(&[&layer()]).unwrap();
    assert!(!image.is_sealed());
    test.store = test.store.clone().with_verity(Verity::Required);
    let error = test.store.mount(&image, BackendChoice::Tree).unwrap_err();
    assert!(matches!(error, StoreError::NotSealed { .. }), "{error}");
    assert!(
        error.to_string().contains("--verity=best-effort"),
        "{error}"
    );
    let error = test.commit(&[&layer(), &layer()]).unwrap_err();
    assert!(matches!(error, StoreError::NotSealable { .. }), "{error}");
    assert_eq!(test.store.images().unwrap().len(), 1);
}

/// A record that says more than the files do.
#[test]
fn a_seal_that_is_missing_is_noticed() {
    let mut test = TestStore::new();
    if can_seal(&test.scratch("")) {
        return skipped("files can be sealed here");
    }
    let mut image = test.commit(&[&layer()]).unwrap();
    image.index.verity = Some(Digest::from_bytes(Algorithm::Sha256, &[7; 32]));
    let error = test.store.mount(&image, BackendChoice::Tree).unwrap_err();
    assert!(
        matches!(&error, StoreError::DamagedObject { object, .. } if *object == image.index.digest),
        "{error}"
    );
    if is_root() {
        test.store = test.store.clone().with_verity(Verity::Off);
        test.store.mount(&image, BackendChoice::Tree).unwrap();
    }
}

#[test]
fn what_is_sealed_stays_as_it_was() {
    let mut test = TestStore::new();
    if !can_seal(&test.scratch("")) {
        return skipped("no fs-verity here (tests/tests/guest_rkt.rs has it)");
    }
    test.store = test.store.clone().with_verity(Verity::Required);
    let image = test.commit(&[&layer()]).unwrap();
    assert!(image.is_sealed());
    let tar = test.store.dirs.object(&image.rootfs.layers[0].digest);
    assert!(fs::File::options().write(true).open(&tar).is_err());
    if let Some(mounted) = test.mount(&image, BackendChoice::Auto) {
        assert_eq!(file_of(&mounted.path.join("file")), b"hello");
    }
    let copy = fs::read(&tar).unwrap();
    fs::remove_file(&tar).unwrap();
    fs::write(&tar, copy).unwrap();
    let error = test.store.mount(&image, BackendChoice::Auto).unwrap_err();
    assert!(error.to_string().contains("no longer sealed"), "{error}");
}
