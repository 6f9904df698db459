//! Records, names, removal, collection and damage.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Barrier;
use std::time::Duration;

use manifests::digest::{Algorithm, Digest};

use super::archive::Archive;
use super::{TestStore, is_root};
use crate::{BackendChoice, Keep, LayerKind, StoreError};

fn layer(text: &str) -> Vec<u8> {
    Archive::new().file("file", text.as_bytes()).finish()
}

fn objects(test: &TestStore) -> usize {
    walk(&test.data("objects"))
}

fn walk(dir: &std::path::Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let count = |entry: fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => walk(&entry.path()),
        false => 1,
    };
    entries.map(|entry| count(entry.unwrap())).sum()
}

#[test]
fn opening_makes_nothing_and_an_absent_store_is_empty() {
    let test = TestStore::new();
    assert!(test.store.images().unwrap().is_empty());
    assert!(test.store.find_name("x").unwrap().is_none());
    assert!(test.store.names().unwrap().is_empty());
    let id = manifests::image_id::ImageId::new(absent());
    assert!(test.store.image(&id).unwrap().is_none());
    assert_eq!(test.store.gc(&Keep::default()).unwrap().removed_objects, 0);
    assert!(!test.data("").exists());
}

fn absent() -> Digest {
    format!("sha256:{}", "0".repeat(64)).parse().unwrap()
}

#[test]
fn a_commit_is_found_by_id_prefix_and_name() {
    let test = TestStore::new();
    let names = ["docker://h:5000/app:1.0", "example.com/app"];
    let image = test.commit_named(&[&layer("a")], &names).unwrap();
    assert_eq!(test.store.image(&image.id).unwrap().as_ref(), Some(&image));
    for name in names {
        assert_eq!(test.store.find_name(name).unwrap(), Some(image.id.clone()));
    }
    assert_eq!(test.store.names().unwrap()[&image.id], names);
    assert_eq!(test.store.find_id(&image.id.short(2)).unwrap(), image.id);
    for bad in ["sha256-", "sha256-a", "md5-aa", "sha256-AA", "aa", ""] {
        let error = test.store.find_id(bad).unwrap_err();
        assert!(matches!(error, StoreError::BadPrefix(_)), "{bad}: {error}");
    }
    let missing = test.store.find_id("sha512-00").unwrap_err();
    assert!(matches!(missing, StoreError::ImageNotFound(_)));

    let other = test.commit_named(&[&layer("b")], &names[..1]).unwrap();
    assert_eq!(
        test.store.find_name(names[0]).unwrap(),
        Some(other.id.clone())
    );
    assert_eq!(test.store.names().unwrap()[&image.id], names[1..]);
}

#[test]
fn an_ambiguous_prefix_lists_its_candidates() {
    let test = TestStore::new();
    // Of seventeen images two begin with the same digit, but a prefix has two:
    // so copy a record instead of trying for long.
    let image = test.commit(&[&layer("a")]).unwrap();
    let hex = image.id.digest().hex();
    let twin = format!("sha256-{}{}", &hex[..8], "0".repeat(56));
    fs::copy(
        test.store.dirs.image(&image.id),
        test.data("images").join(&twin),
    )
    .unwrap();
    let error = test
        .store
        .find_id(&image.id.short(8))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("ambiguous") && error.contains(&image.id.short(12)),
        "{error}"
    );
    // The twin's record tells that it is not the twin's.
    let damaged = test.store.images().unwrap();
    assert_eq!(damaged.iter().filter(|r| r.is_err()).count(), 1);
    fs::remove_file(test.data("images").join(twin)).unwrap();
}

#[test]
fn a_wrong_digest_publishes_nothing() {
    let test = TestStore::new();
    let staging = test.store.stage().unwrap();
    let mut writer = staging.object(Algorithm::Sha256).unwrap();
    writer.write_all(b"{}").unwrap();
    let error = writer.finish(Some(&absent())).unwrap_err();
    assert!(
        matches!(error, StoreError::DigestMismatch { size: 2, .. }),
        "{error}"
    );
    drop(staging);
    assert_eq!(objects(&test), 0);
    assert_eq!(walk(&test.data("staging")), 0);
}

#[test]
fn a_record_names_only_what_exists() {
    let test = TestStore::new();
    let staging = test.store.stage().unwrap();
    let mut writer = staging.layer(Algorithm::Sha256, LayerKind::Oci).unwrap();
    writer.write_all(&layer("a")).unwrap();
    let layer = writer.finish(None).unwrap();
    let id = manifests::image_id::ImageId::new(layer.object.digest.clone());
    let mut draft = super::draft(id, crate::Stack::flat(vec![layer]), Vec::new());
    draft.oci = Some(crate::OciObjects {
        manifest: absent(),
        config: absent(),
        stop_signal: None,
    });
    let error = staging.commit(draft).unwrap_err();
    assert!(matches!(error, StoreError::MissingObject(_)), "{error}");
    assert!(test.store.images().unwrap().is_empty());
    assert_eq!(objects(&test), 0);
}

#[test]
fn removal_takes_what_nobody_else_uses() {
    let test = TestStore::new();
    let shared = layer("shared");
    let one = test
        .commit_named(&[&shared, &layer("1")], &["one"])
        .unwrap();
    let two = test
        .commit_named(&[&shared, &layer("2")], &["two"])
        .unwrap();
    assert_eq!(objects(&test), 5);
    let report = test.store.remove(&one.id, &Keep::default()).unwrap();
    assert_eq!((report.removed_objects, report.left), (2, vec![]));
    assert!(report.freed_bytes > 0);
    assert_eq!(test.store.find_name("one").unwrap(), None);
    assert!(test.store.verifier().verify(&two).unwrap().is_empty());
    let again = test.store.remove(&one.id, &Keep::default()).unwrap_err();
    assert!(matches!(again, StoreError::ImageNotFound(_)), "{again}");
    test.store.remove(&two.id, &Keep::default()).unwrap();
    assert_eq!(objects(&test), 0);
}

#[test]
fn a_sweep_waits_for_no_fetch_and_takes_nothing_from_it() {
    let test = TestStore::new();
    let image = test.commit(&[&layer("a")]).unwrap();
    let digest = image.index.devices[0].clone();
    let staging = test.store.stage().unwrap();
    // Between these two the record goes, and only the staging keeps the object.
    assert!(test.store.has_object(&digest));
    let report = test.store.remove(&image.id, &Keep::default()).unwrap();
    assert!(
        report.left[0].contains("in use by a fetch"),
        "{:?}",
        report.left
    );
    let reused = staging.stored_layer(&digest, LayerKind::Oci).unwrap();
    let stack = crate::Stack::flat(vec![reused]);
    let again = staging
        .commit(super::draft(image.id.clone(), stack, Vec::new()))
        .unwrap();
    assert_eq!(again.index, image.index);
    assert!(test.store.verifier().verify(&again).unwrap().is_empty());
    test.store.remove(&image.id, &Keep::default()).unwrap();
    assert_eq!(objects(&test), 0);
}

#[test]
fn staging_of_the_dead_is_swept() {
    let test = TestStore::new();
    let staging = test.store.stage().unwrap();
    let mut writer = staging.object(Algorithm::Sha256).unwrap();
    writer.write_all(&[1; 1000]).unwrap();
    writer.flush().unwrap();
    // What a killed process leaves: its directory, but not its lock.
    let abandoned = staging.path().with_file_name("abandoned");
    fs::create_dir(&abandoned).unwrap();
    fs::write(abandoned.join("0"), [1; 1000]).unwrap();
    let other_boot = test.data("staging/00000000-0000-0000-0000-000000000000/x");
    fs::create_dir_all(other_boot.join("tree/deep")).unwrap();
    let report = test.store.gc(&Keep::default()).unwrap();
    assert_eq!(
        report.removed_staging, 1,
        "only the other boot's: {report:?}"
    );
    assert!(staging.path().exists() && !other_boot.exists());
    drop((staging, writer));
    let report = test.store.gc(&Keep::default()).unwrap();
    assert_eq!((report.removed_staging, report.freed_bytes), (1, 1000));
    assert!(!abandoned.exists());
}

#[test]
fn names_that_a_killed_removal_left_are_swept() {
    let test = TestStore::new();
    let image = test.commit_named(&[&layer("a")], &["app"]).unwrap();
    fs::remove_file(test.store.dirs.image(&image.id)).unwrap();
    assert_eq!(test.store.find_name("app").unwrap(), Some(image.id));
    test.store.gc(&Keep::default()).unwrap();
    assert_eq!(test.store.find_name("app").unwrap(), None);
    assert_eq!(objects(&test), 0);
}

#[test]
fn damage_is_named_exactly_and_repaired_alone() {
    let test = TestStore::unsealed();
    let image = test.commit(&[&layer("a"), &layer("b")]).unwrap();
    let victim = image.index.devices[0].clone();
    let bytes = fs::read(test.store.dirs.object(&victim)).unwrap();
    assert!(test.store.verifier().verify(&image).unwrap().is_empty());

    let path = test.store.dirs.object(&victim);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"X", 512).unwrap();
    let damage = test.store.verifier().verify(&image).unwrap();
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].object, victim);
    assert!(damage[0].what.contains("digest"), "{:?}", damage[0]);

    let repair = || {
        let staging = test.store.stage().unwrap();
        let mut writer = staging.object(Algorithm::Sha256).unwrap();
        writer.write_all(&bytes).unwrap();
        let object = writer.finish(Some(&victim)).unwrap();
        staging.replace(&[object]).unwrap();
    };
    repair();
    assert!(test.store.verifier().verify(&image).unwrap().is_empty());

    fs::remove_file(&path).unwrap();
    let damage = test.store.verifier().verify(&image).unwrap();
    assert_eq!(damage[0].what, "missing");
    let error = test.store.mount(&image, BackendChoice::Tree).unwrap_err();
    assert!(matches!(error, StoreError::MissingObject(_)), "{error}");
    if is_root() {
        let error = test.store.mount(&image, BackendChoice::Auto).unwrap_err();
        assert!(matches!(error, StoreError::MissingObject(_)), "{error}");
    }
    repair();
    assert!(test.store.verifier().verify(&image).unwrap().is_empty());
}

#[test]
fn a_damaged_index_is_not_taken_for_an_old_kernel() {
    if !is_root() {
        return;
    }
    let test = TestStore::unsealed();
    let image = test.commit(&[&layer("a")]).unwrap();
    let path = test.store.dirs.object(&image.index.digest);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 4], 1024).unwrap();
    match test.store.mount(&image, BackendChoice::Auto) {
        Err(StoreError::DamagedIndex { .. }) => {}
        Ok(mounted) => super::skipped(&mounted.fallback.expect("a mount of a damaged index")),
        Err(other) => panic!("{other}"),
    }
    let index = path;
    fs::remove_file(index).unwrap();
}

#[test]
fn a_damaged_record_stops_the_sweep_and_can_be_removed() {
    let test = TestStore::new();
    let good = test.commit(&[&layer("a")]).unwrap();
    let bad = test.commit(&[&layer("b")]).unwrap();
    fs::write(test.store.dirs.image(&bad.id), b"{ \"id\": 7").unwrap();
    let error = test.store.image(&bad.id).unwrap_err().to_string();
    assert!(
        error.contains("rkt image rm") && error.contains(&bad.id.to_string()),
        "{error}"
    );
    let listed = test.store.images().unwrap();
    assert_eq!(listed.iter().filter(|r| r.is_ok()).count(), 1);
    let report = test.store.gc(&Keep::default()).unwrap();
    assert_eq!(report.removed_objects, 0);
    assert!(report.left[0].contains("damaged"), "{:?}", report.left);
    let report = test.store.remove(&bad.id, &Keep::default()).unwrap();
    assert_eq!(report.removed_objects, 2);
    assert!(test.store.verifier().verify(&good).unwrap().is_empty());
}

#[test]
fn the_same_image_committed_by_many_at_once() {
    let test = TestStore::new();
    let (a, b) = (layer("a"), layer("b"));
    let layers: [&[u8]; 2] = [&a, &b];
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (test, barrier) = (&test, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for round in 0..4 {
                    let name = format!("name-{n}-{round}");
                    let image = test.commit_named(&layers, &[&name]).unwrap();
                    assert!(test.store.verifier().verify(&image).unwrap().is_empty());
                }
            });
        }
    });
    assert_eq!(test.store.images().unwrap().len(), 1);
    assert_eq!(
        test.store.names().unwrap().values().next().unwrap().len(),
        32
    );
    assert_eq!(objects(&test), 3);
}

/// Commits, removals and sweeps of overlapping images, at once: no error but
/// "not there", and in the end no record without its objects.
#[test]
fn fetches_removals_and_sweeps_at_once() {
    let test = TestStore::new();
    let layers: Vec<Vec<u8>> = (0..4).map(|n| layer(&n.to_string())).collect();
    std::thread::scope(|scope| {
        for n in 0..4_usize {
            let (test, layers) = (&test, &layers);
            scope.spawn(move || {
                for round in 0..12 {
                    let pick = [&*layers[(n + round) % 4], &*layers[round % 4]];
                    let image = test.commit(&pick).unwrap();
                    if round % 3 == n % 3 {
                        match test.store.remove(&image.id, &Keep::default()) {
                            Ok(_) | Err(StoreError::ImageNotFound(_)) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
            });
        }
        let test = &test;
        scope.spawn(move || {
            for _ in 0..10 {
                test.store.gc(&Keep::default()).unwrap();
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    });
    for image in test.store.images().unwrap() {
        let image = image.unwrap();
        assert_eq!(
            test.store.verifier().verify(&image).unwrap(),
            [],
            "{}",
            image.id
        );
        test.store.remove(&image.id, &Keep::default()).unwrap();
    }
    assert_eq!(objects(&test), 0);
}

#[test]
fn trees_are_pinned_by_who_holds_them_and_by_pods() {
    if !is_root() {
        return;
    }
    let test = TestStore::new();
    let image = test.commit(&[&layer("a")]).unwrap();
    let tree = test.store.mount(&image, BackendChoice::Tree).unwrap();
    assert!(tree.fallback.is_none());
    let again = test.store.mount(&image, BackendChoice::Tree).unwrap();
    assert_eq!(tree.path, again.path);
    drop(again);
    // An image that stays keeps its tree.
    assert_eq!(test.store.gc(&Keep::default()).unwrap().removed_trees, 0);
    let report = test.store.remove(&image.id, &Keep::default()).unwrap();
    assert!(report.left[0].contains("in use"), "{:?}", report.left);
    assert!(tree.path.join("file").exists());
    let path = tree.path.clone();
    drop(tree);
    let keep = Keep {
        pods: [image.id.clone()].into(),
    };
    assert_eq!(test.store.gc(&keep).unwrap().removed_trees, 0);
    assert_eq!(test.store.gc(&Keep::default()).unwrap().removed_trees, 1);
    assert!(!path.exists());
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let test = TestStore::new();
    let disk = test.scratch("disk");
    fs::create_dir(&disk).unwrap();
    let size = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
    let target = disk.to_str().unwrap();
    super::run("mount", &[&size[..], &[target]].concat(), &test.scratch(""));
    let small = crate::Store::open(&disk.join("data"));
    let body = vec![7; 4 << 20];
    let archive = Archive::new().file("big", &body).finish();
    let staging = small.stage().unwrap();
    let mut writer = staging.layer(Algorithm::Sha256, LayerKind::Oci).unwrap();
    let written = writer.write_all(&archive).unwrap_err().to_string();
    let error = writer.finish(None).unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert_eq!(written, error.to_string());
    assert!(written.contains("rkt gc"), "{written}");
    drop(staging);
    assert_eq!(walk(&disk.join("data")), 0);
    super::run("umount", &[target], &test.scratch(""));
}

#[test]
fn two_data_directories_do_not_share_mounts() {
    if !is_root() {
        return;
    }
    let (one, two) = (TestStore::new(), TestStore::new());
    let archive = layer("a");
    let first = one.commit(&[&archive]).unwrap();
    let second = two.commit(&[&archive]).unwrap();
    assert_eq!(first.id, second.id);
    let (Some(a), Some(b)) = (
        one.mount(&first, BackendChoice::Auto),
        two.mount(&second, BackendChoice::Auto),
    ) else {
        return;
    };
    assert_ne!(a.path, b.path);
    assert_ne!(super::device_of(&a.root), super::device_of(&b.root));
}

#[test]
fn the_disk_usage_tells_shared_from_unique() {
    let test = TestStore::new();
    let (base, one, two) = (layer("base"), layer("one"), layer("two"));
    let first = test.commit(&[&base, &one]).unwrap();
    let second = test.commit(&[&base, &two]).unwrap();
    let images = [first, second];
    let usage = test.store.usage(&images).unwrap();
    let blocks = |digest: &Digest| {
        use std::os::unix::fs::MetadataExt;
        let path = test.store.dirs.object(digest);
        path.metadata().unwrap().blocks() * 512
    };
    let shared = blocks(&images[0].rootfs.layers[0].digest);
    assert!(shared > 0);
    assert_eq!(usage.shared, shared);
    for (image, usage) in images.iter().zip(&usage.images) {
        let unique = blocks(&image.rootfs.layers[1].digest) + blocks(&image.index.digest);
        assert_eq!((usage.unique, usage.shared), (unique, shared));
    }
    assert_eq!(usage.unreferenced, 0);
    // Without its record, an image's own objects are nobody's.
    fs::remove_file(test.store.dirs.image(&images[1].id)).unwrap();
    let left = test.store.usage(&images[..1]).unwrap();
    assert_eq!(left.unreferenced, usage.images[1].unique);
    assert_eq!(left.images[0].shared, 0);
    assert_eq!(left.objects, usage.objects);
}

/// The figures of the budget, with 1,000 images; run it with
/// `cargo test --release -p image-store -- --ignored --nocapture a_thousand`.
#[test]
#[ignore = "a measurement"]
fn a_thousand_images_are_listed_and_removed_quickly() {
    use std::time::Instant;
    let test = TestStore::new();
    let base = layer("base");
    let mut images = Vec::new();
    for number in 0..1000 {
        let own = layer(&number.to_string());
        let name = format!("docker://registry.example.com/team/app:{number}");
        images.push(test.commit_named(&[&base, &own], &[&name]).unwrap());
    }
    let time = |what: &str, act: &dyn Fn(usize)| {
        let mut times: Vec<Duration> = (0..9)
            .map(|round| {
                let start = Instant::now();
                act(round);
                start.elapsed()
            })
            .collect();
        times.sort();
        eprintln!("{what}: {:?} (median of 9)", times[4]);
        times[4]
    };
    let store = &test.store;
    let list = time("list", &|_| {
        let names = store.names().unwrap();
        let records = store.images().unwrap();
        assert_eq!((names.len(), records.len()), (1000, 1000));
    });
    let remove = time("remove", &|round| {
        store.remove(&images[round].id, &Keep::default()).unwrap();
    });
    let limit = Duration::from_millis(50);
    assert!(list < limit && remove < limit, "{list:?} {remove:?}");
}
