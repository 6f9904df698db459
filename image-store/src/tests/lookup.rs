//! The way back from names, and fetches that share work.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use manifests::digest::{Algorithm, Digest};

use super::TestStore;
use super::archive::Archive;
use crate::claim::claim;
use crate::{ImageRecord, Keep};

/// The appc name of every image of these tests.
const APP: &str = "example.com/test";

fn layer(text: &str) -> Vec<u8> {
    Archive::new().file("file", text.as_bytes()).finish()
}

fn ids(images: &[ImageRecord]) -> Vec<String> {
    images.iter().map(|i| i.id.to_string()).collect()
}

/// Files and directories below `store/lookup`.
fn hints(test: &TestStore) -> Vec<String> {
    let listed = super::run(
        "find",
        &["-mindepth", "2", "-printf", "%P\n"],
        &test.data("lookup"),
    );
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn names_lead_to_images_and_back() {
    let test = TestStore::new();
    let a = test.commit_named(&[&layer("a")], &["one", "two"]).unwrap();
    let b = test.commit_named(&[&layer("b")], &["three"]).unwrap();
    let mut both = ids(&[a.clone(), b.clone()]);
    both.sort();
    assert_eq!(ids(&test.store.images_of_app(APP).unwrap()), both);
    assert!(
        test.store
            .images_of_app("example.com/other")
            .unwrap()
            .is_empty()
    );
    assert_eq!(test.store.names_of(&a.id).unwrap(), ["one", "two"]);

    // A name moves.
    test.commit_named(&[&layer("b")], &["two"]).unwrap();
    assert_eq!(test.store.names_of(&a.id).unwrap(), ["one"]);
    assert_eq!(test.store.names_of(&b.id).unwrap(), ["three", "two"]);

    test.store.remove(&a.id, &Keep::default()).unwrap();
    assert_eq!(test.store.find_name("one").unwrap(), None);
    assert_eq!(test.store.find_name("two").unwrap(), Some(b.id.clone()));
    assert_eq!(
        ids(&test.store.images_of_app(APP).unwrap()),
        [b.id.to_string()]
    );
    test.store.remove(&b.id, &Keep::default()).unwrap();
    assert_eq!(hints(&test), Vec::<String>::new());
}

/// A store of an older version has none of this, and a crash leaves too much.
#[test]
fn what_is_missing_is_made_and_what_leads_nowhere_goes() {
    let test = TestStore::new();
    let a = test.commit_named(&[&layer("a")], &["one"]).unwrap();
    fs::remove_dir_all(test.data("lookup")).unwrap();
    assert_eq!(
        ids(&test.store.images_of_app(APP).unwrap()),
        [a.id.to_string()]
    );
    assert_eq!(test.store.names_of(&a.id).unwrap(), ["one"]);
    let b = test.commit_named(&[&layer("b")], &["two"]).unwrap();
    assert_eq!(test.store.images_of_app(APP).unwrap().len(), 2);
    assert_eq!(test.store.names_of(&a.id).unwrap(), ["one"]);

    let entries = hints(&test);
    // As after a removal that was killed, and a hint that was lost.
    fs::remove_file(test.store.dirs.image(&a.id)).unwrap();
    fs::remove_dir_all(test.data(&format!("lookup/names/{}", b.id))).unwrap();
    assert_eq!(
        ids(&test.store.images_of_app(APP).unwrap()),
        [b.id.to_string()]
    );
    test.store.gc(&Keep::default()).unwrap();
    assert_eq!(test.store.names_of(&b.id).unwrap(), ["two"]);
    let left: Vec<_> = entries
        .into_iter()
        .filter(|entry| !entry.contains(&a.id.to_string()))
        .collect();
    let mut now = hints(&test);
    now.sort();
    let mut left = left;
    left.sort();
    assert_eq!(now, left);
}

#[test]
fn an_image_gets_another_name_without_being_read() {
    let test = TestStore::unsealed();
    let image = test.commit_named(&[&layer("a")], &["one"]).unwrap();
    // Would be found by whoever read the layer.
    fs::write(test.store.dirs.object(&image.index.devices[0]), "no tar").unwrap();
    let whole = test.store.whole_image(&image.id).unwrap().unwrap();
    let staging = test.store.stage().unwrap();
    let amended = staging.amend(whole, vec!["two".to_owned().into()]).unwrap();
    assert_eq!(amended.index, image.index);
    assert_eq!(test.store.names_of(&image.id).unwrap(), ["one", "two"]);

    fs::remove_file(test.store.dirs.object(&image.index.digest)).unwrap();
    assert_eq!(test.store.whole_image(&image.id).unwrap(), None);
}

#[test]
fn a_layer_is_claimed_by_one_and_awaited_by_others() {
    let test = TestStore::new();
    let digest = Digest::from_bytes(Algorithm::Sha256, &[9; 32]);
    let other = Digest::from_bytes(Algorithm::Sha256, &[1; 32]);
    let holder = test.store.stage().unwrap();
    holder
        .claim([&digest], &mut |_| panic!("nobody has it"))
        .unwrap();

    // Who has no patience goes on alone, and is told whom it did not wait for.
    let mut told = Vec::new();
    let none = claim(&test.store, &digest, Duration::ZERO, &mut |a| told.push(a)).unwrap();
    assert!(none.is_none());
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].object, digest);
    assert_eq!(told[0].process, Some(std::process::id()));

    let dropped = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let staging = test.store.stage().unwrap();
            let mut told = 0;
            staging
                .claim([&digest, &other], &mut |_| told += 1)
                .unwrap();
            assert!(dropped.load(Ordering::SeqCst), "it did not wait");
            assert_eq!(told, 1);
        });
        std::thread::sleep(Duration::from_millis(100));
        dropped.store(true, Ordering::SeqCst);
        drop(holder);
        second.join().unwrap();
    });
    let boot = test.store.dirs.staging_of_this_boot().unwrap();
    assert_eq!(fs::read_dir(boot).unwrap().count(), 0);
}

/// What was being fetched is stored by the time the wait is over.
#[test]
fn whoever_waited_for_a_layer_finds_it() {
    let test = TestStore::new();
    let tar = layer("a");
    let digest = Digest::from_bytes(
        Algorithm::Sha256,
        &<sha2::Sha256 as sha2::Digest>::digest(&tar),
    );
    let holder = test.store.stage().unwrap();
    holder.claim([&digest], &mut |_| {}).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let staging = test.store.stage().unwrap();
            staging.claim([&digest], &mut |_| {}).unwrap();
            assert!(test.store.has_object(&digest));
        });
        test.commit(&[&tar]).unwrap();
        second.join().unwrap();
    });
}
