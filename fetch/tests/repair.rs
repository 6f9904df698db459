//! Damaged objects, fetched again from where their image came.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use common::{Registry, World, aci, aci_manifest, busybox_layout, skopeo};
use image_store::{BackendChoice, ImageRecord};
use manifests::digest::Digest;

fn object(world: &World, digest: &Digest) -> PathBuf {
    let objects = world.path("data/store/objects");
    let hex = digest.hex();
    objects
        .join(digest.algorithm().as_str())
        .join(&hex[..2])
        .join(hex)
}

/// One bit, somewhere in the middle.
fn flip(world: &World, digest: &Digest) {
    let path = object(world, digest);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let mut byte = [0];
    let at = file.metadata().unwrap().len() / 2;
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

fn damaged(world: &World, image: &ImageRecord) -> Vec<Digest> {
    let found = world.store.verifier().verify(image).unwrap();
    found.into_iter().map(|damage| damage.object).collect()
}

/// Damages every object but `not`, alone and all together, and repairs it.
fn is_repaired(world: &World, image: &ImageRecord, not: Option<&Digest>) {
    let objects: Vec<Digest> = image.objects().into_iter().cloned().collect();
    let objects: Vec<Digest> = objects.into_iter().filter(|o| Some(o) != not).collect();
    let before = world.store.image(&image.id).unwrap();
    let layers: Vec<&Digest> = image.rootfs.layers().map(|l| &l.digest).collect();
    for object in &objects {
        flip(world, object);
        assert_eq!(damaged(world, image), std::slice::from_ref(object));
        let (fetcher, told) = world.fetcher("image");
        fetcher.repair(image, std::slice::from_ref(object)).unwrap();
        let transferred = told.layers.lock().unwrap().len();
        assert_eq!(transferred, usize::from(layers.contains(&object)));
        assert_eq!(damaged(world, image), []);
    }
    for object in &objects {
        fs::remove_file(self::object(world, object)).unwrap();
    }
    assert_eq!(damaged(world, image), objects);
    let (fetcher, _) = world.fetcher("image");
    fetcher.repair(image, &objects).unwrap();
    assert_eq!(damaged(world, image), []);
    assert_eq!(world.store.image(&image.id).unwrap(), before);
    assert!(world.staged().is_empty());
}

#[test]
fn every_object_comes_back_from_every_origin() {
    let made = World::new();
    let layout = made.path("layout");
    busybox_layout(&layout);
    let source = format!("oci:{}:1.0", layout.display());
    let archive = format!("oci-archive:{}:1.0", made.path("a.tar").display());
    let saved = format!("docker-archive:{}", made.path("saved.tar").display());
    let registry = Registry::start();
    let remote = registry.reference("team/app:1.0");
    skopeo(&[&source, &archive]);
    skopeo(&[&source, &format!("{saved}:example.com/app:2")]);
    skopeo(&[&source, &remote]);
    for origin in [&source, &archive, &remote] {
        let world = World::new();
        let image = world.fetch(origin);
        is_repaired(&world, &image, None);
    }
    let world = World::new();
    let image = world.fetch(&saved);
    // Its manifest was written here.
    let own = &image.oci.as_ref().unwrap().manifest;
    is_repaired(&world, &image, Some(own));
    flip(&world, own);
    let error = world
        .fetcher("image")
        .0
        .repair(&image, std::slice::from_ref(own));
    let error = error.unwrap_err().to_string();
    assert!(error.contains(&own.to_string()), "{error}");
}

#[test]
fn an_aci_comes_back_from_its_file() {
    let world = World::new();
    let file = world.path("app.aci");
    aci(&file, &aci_manifest("example.com/app"), "gzip");
    let image = world.fetch(file.to_str().unwrap());
    is_repaired(&world, &image, None);
}

/// A tag that moved does not matter, another layout in the place does.
#[test]
fn only_the_same_image_repairs() {
    let world = World::new();
    let layout = world.path("layout");
    busybox_layout(&layout);
    let source = format!("oci:{}:1.0", layout.display());
    let registry = Registry::start();
    let remote = registry.reference("team/app:1.0");
    skopeo(&[&source, &remote]);
    let image = world.fetch(&remote);
    let from_layout = World::new();
    from_layout.fetch(&source);

    let other = world.path("other");
    busybox_layout(&other);
    let other_source = format!("oci:{}:1.0", other.display());
    skopeo(&[&other_source, &remote]);
    is_repaired(&world, &image, None);

    fs::rename(&layout, world.path("away")).unwrap();
    fs::rename(&other, &layout).unwrap();
    let layer = image.rootfs.layers[0].digest.clone();
    flip(&from_layout, &layer);
    let stored = from_layout.store.image(&image.id).unwrap().unwrap();
    let error = from_layout
        .fetcher("image")
        .0
        .repair(&stored, std::slice::from_ref(&layer));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("another image there now"), "{error}");
    assert_eq!(damaged(&from_layout, &stored), [layer]);
    assert!(from_layout.staged().is_empty());
}

/// What is mounted shows the old bytes; the next start must not.
#[test]
fn the_next_mount_shows_what_was_repaired() {
    let world = World::new();
    let file = world.path("app.aci");
    aci(&file, &aci_manifest("example.com/app"), "gzip");
    let image = world.fetch(file.to_str().unwrap());
    let layer = image.rootfs.layers[0].digest.clone();
    flip(&world, &layer);
    let busybox = || {
        let mounted = world.store.mount(&image, BackendChoice::Auto).unwrap();
        if let Some(reason) = &mounted.fallback {
            eprintln!("skipped: {reason}");
            return None;
        }
        Some(fs::read(mounted.path.join("bin/busybox")).unwrap())
    };
    let good = fs::read("/bin/busybox").unwrap();
    let Some(bad) = busybox() else {
        return;
    };
    assert!(bad != good, "the flipped bit is in the file");
    world.fetcher("image").0.repair(&image, &[layer]).unwrap();
    assert!(busybox().unwrap() == good);
}
