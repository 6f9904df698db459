//! OCI and docker images, from every place they come from.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;

use common::{Registry, World, busybox_layout, skopeo, update};
use fetch::{PullPolicy, Request};
use image_store::BackendChoice;
use manifests::trust::Vouched;

/// The layers' digests, bottom to top.
fn layers(record: &image_store::ImageRecord) -> Vec<String> {
    record
        .rootfs
        .layers()
        .map(|l| l.digest.to_string())
        .collect()
}

#[test]
fn one_image_is_the_same_wherever_it_comes_from() {
    let world = World::new();
    let layout = world.path("layout");
    busybox_layout(&layout);
    let from_layout = world.fetch(&format!("oci:{}:1.0", layout.display()));
    assert_eq!(from_layout.rootfs.layers().count(), 3);
    assert_eq!(from_layout.manifest.name.as_str(), "layout");
    assert_eq!(from_layout.manifest.label("version"), Some("1.0"));
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(from_layout.id.digest().to_string(), digest);
    assert_eq!(
        from_layout.verification.by,
        Vouched::Nothing {
            allowed_by: "--insecure-options=image".to_owned()
        }
    );

    for backend in [BackendChoice::Auto, BackendChoice::Tree] {
        let mounted = world.store.mount(&from_layout, backend).unwrap();
        let read = |name: &str| fs::read(mounted.path.join(name));
        assert_eq!(read("etc/release").unwrap(), b"three\n", "{backend:?}");
        assert_eq!(read("etc/new").unwrap(), b"new\n", "{backend:?}");
        assert!(read("etc/name").is_err(), "{backend:?}");
        assert!(read("bin/busybox").unwrap() == fs::read("/bin/busybox").unwrap());
    }

    let source = format!("oci:{}:1.0", layout.display());
    let archive = format!("oci-archive:{}", world.path("a.tar").display());
    skopeo(&[&source, &format!("{archive}:1.0")]);
    assert_eq!(world.fetch(&archive).id, from_layout.id);

    let saved = format!("docker-archive:{}", world.path("saved.tar").display());
    skopeo(&[&source, &format!("{saved}:example.com/team/app:2")]);
    let from_saved = world.fetch(&saved);
    assert_eq!(layers(&from_saved), layers(&from_layout));
    assert_eq!(from_saved.manifest.name.as_str(), "example.com/team/app");
    assert_eq!(from_saved.manifest.label("version"), Some("2"));

    let registry = Registry::start();
    let remote = registry.reference("team/app:1.0");
    skopeo(&[&source, &remote]);
    let (result, told) = world.fetch_with(&remote, "image", &update());
    let from_registry = result.unwrap();
    assert_eq!(from_registry.id, from_layout.id);
    assert_eq!(told.summary(), (0, 3), "all layers were there already");
    let by_digest = registry.reference(&format!("team/app@{digest}"));
    assert_eq!(world.fetch(&by_digest).id, from_layout.id);
    assert!(world.staged().is_empty());
}

#[test]
fn docker_manifests_and_zstd_layers_are_read() {
    let world = World::new();
    let layout = world.path("layout");
    busybox_layout(&layout);
    let source = format!("oci:{}:1.0", layout.display());
    let registry = Registry::start();
    let wanted = layers(&world.fetch(&source));
    for (tag, options) in [
        ("docker", &["--format=v2s2"][..]),
        ("zstd", &["--dest-compress-format=zstd", "--format=oci"]),
    ] {
        let remote = registry.reference(&format!("app:{tag}"));
        skopeo(&[options, &[&source, &remote]].concat());
        let other = World::new();
        let (result, told) = other.fetch_with(&remote, "image", &update());
        assert_eq!(layers(&result.unwrap()), wanted, "{tag}");
        assert!(told.summary().0 > 100_000 && told.summary().1 == 0, "{tag}");
    }
}

#[test]
fn indexes_give_the_image_for_this_platform() {
    let world = World::new();
    let layout = world.path("layout");
    busybox_layout(&layout);
    let registry = Registry::start();
    let source = format!("oci:{}:1.0", layout.display());
    // The registry refuses an index whose manifests it does not have.
    skopeo(&[&source, &registry.reference("app:amd")]);
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    index["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
    let mut own = index["manifests"][0].clone();
    let host = manifests::platform::Platform::host();
    own["platform"] = serde_json::json!({"os": "linux", "architecture": host.architecture});
    let mut other = own.clone();
    other["platform"]["architecture"] = "mips64le".into();
    index["manifests"] = vec![other.clone(), own].into();
    let put = |tag: &str, index: &serde_json::Value| {
        let url = format!("http://127.0.0.1:{}/v2/app/manifests/{tag}", registry.port);
        let kind = "Content-Type: application/vnd.oci.image.index.v1+json";
        common::run(
            "curl",
            std::process::Command::new("curl").args([
                "-fsS",
                "-X",
                "PUT",
                "-H",
                kind,
                "-d",
                &index.to_string(),
                &url,
            ]),
        );
    };
    put("many", &index);
    let record = world.fetch(&registry.reference("app:many"));
    assert_eq!(
        record.id.digest().to_string(),
        index["manifests"][1]["digest"].as_str().unwrap()
    );
    index["manifests"] = vec![other].into();
    put("foreign", &index);
    let other = World::new();
    let error = other.refused(&registry.reference("app:foreign"), "image");
    assert!(
        error.contains("no image for linux/") && error.contains("mips64le"),
        "{error}"
    );
}

#[test]
fn the_pull_policy_says_who_is_asked() {
    let world = World::new();
    let layout = world.path("layout");
    busybox_layout(&layout);
    let registry = Registry::start();
    let remote = registry.reference("app:1");
    skopeo(&[&format!("oci:{}:1.0", layout.display()), &remote]);
    let get = |pull_policy| {
        let signature = None;
        let request = Request {
            pull_policy,
            signature,
        };
        world.fetch_with(&remote, "image", &request).0
    };
    let error = get(PullPolicy::Never).unwrap_err().to_string();
    assert!(error.contains("--pull-policy=never"), "{error}");
    let id = get(PullPolicy::New).unwrap().id;
    drop(registry);
    assert_eq!(get(PullPolicy::New).unwrap().id, id);
    assert_eq!(get(PullPolicy::Never).unwrap().id, id);
    let error = get(PullPolicy::Update).unwrap_err().to_string();
    assert!(error.contains("cannot reach 127.0.0.1"), "{error}");
    // Another reference to the same bytes: its id.
    let prefix = id.short(12);
    assert_eq!(world.fetch(&prefix).id, id);
}

#[test]
fn oci_images_need_the_option() {
    let world = World::new();
    let layout = world.path("layout");
    busybox_layout(&layout);
    let error = world.refused(&format!("oci:{}", layout.display()), "none");
    assert!(error.contains("--insecure-options=image"), "{error}");
}

#[test]
fn damage_is_named_and_nothing_is_kept() {
    let registry = Registry::start();
    let world = World::new();
    let layout = world.path("layout");
    busybox_layout(&layout);
    let source = format!("oci:{}:1.0", layout.display());
    let remote = registry.reference("app:1");
    skopeo(&[&source, &remote]);

    let read = |digest: &str| -> serde_json::Value {
        let hex = digest.trim_start_matches("sha256:");
        let bytes = fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let manifest = read(index["manifests"][0]["digest"].as_str().unwrap());
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let hex = layer.trim_start_matches("sha256:");

    for blob in [registry.blob(hex), layout.join("blobs/sha256").join(hex)] {
        let reference = if blob.starts_with(&layout) {
            &source
        } else {
            &remote
        };
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&blob)
            .unwrap();
        let size = file.metadata().unwrap().len();
        let mut byte = [0];
        file.read_exact_at(&mut byte, size / 2).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], size / 2).unwrap();
        let error = world.refused(reference, "image");
        assert!(
            error.contains(layer) && error.contains("damaged or forged"),
            "{error}"
        );
        file.set_len(size / 2).unwrap();
        let error = world.refused(reference, "image");
        assert!(error.contains(layer), "{error}");
    }
    fs::write(layout.join("index.json"), "{ not json").unwrap();
    let error = world.refused(&source, "image");
    assert!(
        error.contains("index.json") && error.contains("malformed"),
        "{error}"
    );
    let error = world.refused("oci:/nosuch", "image");
    assert!(
        error.contains("/nosuch") && error.contains("No such file"),
        "{error}"
    );
}

#[test]
fn the_same_image_can_be_fetched_by_many_at_once() {
    let world = World::new();
    let layout = world.path("layout");
    busybox_layout(&layout);
    let reference = format!("oci:{}:1.0", layout.display());
    let ids: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| world.fetch(&reference).id))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(world.store.images().unwrap().len(), 1);
    let record = world.store.image(&ids[0]).unwrap().unwrap();
    assert!(world.store.verifier().verify(&record).unwrap().is_empty());
    assert!(world.staged().is_empty());
}
