//! Images on their way out, and back in through other tools.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use manifests::digest::{Algorithm, Digest};
use manifests::image_id::ImageId;
use serde_json::{Value, json};

use super::archive::Archive;
use super::{TestStore, draft, file_of, is_root, run, skipped};
use crate::hash::digest_of;
use crate::{ImageRecord, LayerKind, OciObjects, Stack, StoreError};

fn sha256(bytes: &[u8]) -> Digest {
    digest_of(Algorithm::Sha256, bytes)
}

/// An image as the registry has it; `packed` is what its manifest calls the
/// one layer.
fn commit_oci(test: &TestStore, tar: &[u8], packed: Option<&Digest>) -> ImageRecord {
    let diff_id = sha256(tar);
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {"Cmd": ["/a"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    })
    .to_string();
    let (kind, layer) = match packed {
        Some(packed) => ("application/vnd.oci.image.layer.v1.tar+gzip", packed),
        None => ("application/vnd.oci.image.layer.v1.tar", &diff_id),
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": sha256(config.as_bytes()), "size": config.len(),
        },
        "layers": [{"mediaType": kind, "digest": layer, "size": tar.len()}],
        "annotations": {"b": "2", "a": "1"},
    })
    .to_string();
    let staging = test.store.stage().unwrap();
    let object = |bytes: &str| {
        let mut writer = staging.object(Algorithm::Sha256).unwrap();
        writer.write_all(bytes.as_bytes()).unwrap();
        writer.finish(None).unwrap().digest
    };
    let oci = OciObjects {
        manifest: object(&manifest),
        config: object(&config),
        stop_signal: None,
    };
    let mut writer = staging.layer(Algorithm::Sha256, LayerKind::Oci).unwrap();
    writer.write_all(tar).unwrap();
    let layer = writer.finish(None).unwrap();
    let id = ImageId::new(oci.manifest.clone());
    let mut draft = draft(id, Stack::flat(vec![layer]), Vec::new());
    draft.oci = Some(oci);
    staging.commit(draft).unwrap()
}

fn commit_aci(test: &TestStore, tar: &[u8]) -> ImageRecord {
    let staging = test.store.stage().unwrap();
    let mut writer = staging.layer(Algorithm::Sha512, LayerKind::Aci).unwrap();
    writer.write_all(tar).unwrap();
    let layer = writer.finish(None).unwrap();
    let id = ImageId::new(layer.object.digest.clone());
    let draft = draft(id, Stack::flat(vec![layer]), Vec::new());
    staging.commit(draft).unwrap()
}

fn aci() -> Vec<u8> {
    Archive::new()
        .file("manifest", b"{\"acKind\": \"ImageManifest\"}")
        .dir("rootfs")
        .file("rootfs/file", b"hello")
        .finish()
}

fn layer() -> Vec<u8> {
    Archive::new().dir("d").file("d/file", b"hello").finish()
}

fn json_of(path: &std::path::Path) -> Value {
    serde_json::from_slice(&file_of(path)).unwrap()
}

#[test]
fn an_aci_leaves_as_it_came() {
    let test = TestStore::new();
    let image = commit_aci(&test, &aci());
    let mut out = Vec::new();
    test.store.export_aci(&image, &mut out).unwrap();
    assert_eq!(out, aci());
    let manifest = test.store.manifest_bytes(&image).unwrap();
    assert_eq!(manifest, b"{\"acKind\": \"ImageManifest\"}");
    let error = test
        .store
        .export_archive(&image, "x", &mut out)
        .unwrap_err();
    assert!(matches!(error, StoreError::OtherKind { .. }), "{error}");
}

#[test]
fn uncompressed_layers_leave_with_their_own_manifest() {
    let test = TestStore::new();
    let image = commit_oci(&test, &layer(), None);
    let dir = test.scratch("layout");
    fs::create_dir(&dir).unwrap();
    let exported = test.store.export_layout(&image, "v1", &dir).unwrap();
    assert!(exported.original);
    assert_eq!(exported.manifest, *image.id.digest());
    let error = test.store.export_aci(&image, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, StoreError::OtherKind { .. }), "{error}");
}

#[test]
fn compressed_layers_leave_with_a_manifest_that_is_true() {
    let test = TestStore::new();
    let image = commit_oci(&test, &layer(), Some(&sha256(b"gzip")));
    let dir = test.scratch("layout");
    fs::create_dir(&dir).unwrap();
    let exported = test.store.export_layout(&image, "v1", &dir).unwrap();
    assert!(!exported.original);
    let index = json_of(&dir.join("index.json"));
    assert_eq!(
        index["manifests"][0]["digest"],
        exported.manifest.to_string()
    );
    let blobs = dir.join("blobs/sha256");
    let manifest = json_of(&blobs.join(exported.manifest.hex()));
    assert_eq!(manifest["annotations"], json!({"a": "1", "b": "2"}));
    let config = image.oci.unwrap().config;
    assert_eq!(manifest["config"]["digest"], config.to_string());
    for blob in fs::read_dir(&blobs).unwrap() {
        let path = blob.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(sha256(&file_of(&path)).hex(), name);
    }
    assert_eq!(fs::read_dir(&blobs).unwrap().count(), 3);
}

#[test]
fn other_tools_take_what_leaves() {
    let test = TestStore::new();
    let image = commit_oci(&test, &layer(), Some(&sha256(b"gzip")));
    let here = test.scratch("");
    fs::create_dir(test.scratch("layout")).unwrap();
    let layout = test.scratch("layout");
    test.store.export_layout(&image, "v1", &layout).unwrap();
    let mut archive = fs::File::create(test.scratch("image.tar")).unwrap();
    test.store
        .export_archive(&image, "v1", &mut archive)
        .unwrap();
    let has = |program| {
        std::process::Command::new(program)
            .arg("--version")
            .output()
            .is_ok()
    };
    if has("skopeo") {
        for from in ["oci:layout:v1", "oci-archive:image.tar:v1"] {
            let said = run("skopeo", &["inspect", from], &here);
            let said: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(said["Layers"], json!([sha256(&layer())]), "{from}");
            let to = format!("dir:{}", from.split(':').next().unwrap());
            run("skopeo", &["copy", "-q", from, &to], &here);
        }
    } else {
        skipped("no skopeo");
    }
    if has("umoci") && is_root() {
        run(
            "umoci",
            &["unpack", "--image", "layout:v1", "bundle"],
            &here,
        );
        assert_eq!(file_of(&test.scratch("bundle/rootfs/d/file")), b"hello");
    } else {
        skipped("no umoci, or not root");
    }
}

#[test]
fn the_same_image_makes_the_same_archive() {
    let test = TestStore::new();
    let image = commit_oci(&test, &layer(), Some(&sha256(b"gzip")));
    let export = || {
        let mut out = Vec::new();
        test.store.export_archive(&image, "v1", &mut out).unwrap();
        out
    };
    assert_eq!(export(), export());
}

#[test]
fn what_is_damaged_does_not_leave() {
    let test = TestStore::unsealed();
    let oci = commit_oci(&test, &layer(), None);
    let aci = commit_aci(&test, &aci());
    for image in [&oci, &aci] {
        let object = &image.rootfs.layers[0].digest;
        let path = test.store.dirs.object(object);
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"H", 600).unwrap();
    }
    let error = test.store.export_aci(&aci, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, StoreError::DamagedObject { .. }), "{error}");
    let error = test
        .store
        .export_archive(&oci, "x", &mut Vec::new())
        .unwrap_err();
    assert!(matches!(error, StoreError::DamagedObject { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&oci.rootfs.layers[0].digest.to_string())
    );
}

/// `extract` is the image alone, `render` what its apps see.
#[test]
fn an_image_is_extracted_without_its_dependencies() {
    if !is_root() {
        return;
    }
    let test = TestStore::new();
    let staging = test.store.stage().unwrap();
    let stage = |tar: &[u8]| {
        let mut writer = staging.layer(Algorithm::Sha512, LayerKind::Aci).unwrap();
        writer.write_all(tar).unwrap();
        writer.finish(None).unwrap()
    };
    let base = Archive::new()
        .file("manifest", b"{}")
        .dir("rootfs")
        .file("rootfs/base", b"base")
        .finish();
    let (base, top) = (stage(&base), stage(&aci()));
    let id = ImageId::new(top.object.digest.clone());
    let stack = Stack {
        dependencies: vec![Stack::flat(vec![base])],
        layers: vec![top],
        path_whitelist: vec!["/base".to_owned()],
    };
    let image = staging.commit(draft(id, stack, Vec::new())).unwrap();
    let dir = |name: &str| {
        let path = test.scratch(name);
        fs::create_dir(&path).unwrap();
        fs::File::open(path).unwrap()
    };
    test.store.extract(&image, dir("alone").as_fd()).unwrap();
    test.store.render(&image, dir("whole").as_fd()).unwrap();
    let exists = |name: &str| test.scratch(name).exists();
    assert!(exists("alone/file") && !exists("alone/base"));
    assert!(!exists("whole/file") && exists("whole/base"));
}
