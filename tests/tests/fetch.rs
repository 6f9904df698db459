//! Every transport, every compression: the same system comes out.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;

use tests::oci::{Layout, skopeo_copy};
use tests::{Aci, Cmd, Compression, Host, OciImage, Registry, Rootfs};

/// Two layers: the upper one changes a file, removes one and replaces a
/// directory, so that a layer lost or in the wrong order is seen.
fn image(compression: Compression) -> OciImage {
    let lower = Rootfs::busybox()
        .file("etc/greeting", 0o644, "from the lower layer")
        .file("etc/removed", 0o644, "still here")
        .dir("srv", 0o755)
        .file("srv/old", 0o644, "old");
    let upper = Rootfs::new()
        .file("etc/greeting", 0o644, "from the upper layer")
        .file("etc/.wh.removed", 0o644, "")
        .dir("srv", 0o755)
        .file("srv/.wh..wh..opq", 0o644, "")
        .file("srv/new", 0o644, "new");
    OciImage::new(vec![lower.tar(""), upper.tar("")], &["/bin/sh", "-c", LOOK])
        .compressed(compression)
}

const LOOK: &str = "cat /etc/greeting; echo; ls /etc/removed 2>/dev/null; ls /srv; echo $IMAGE";
const SEEN: &str = "from the upper layer\nnew\noci\n";

/// Fetches it, finds it listed once and runs it.
fn fetch_and_run(host: &Host, reference: &str) -> String {
    let id = host.fetch(reference);
    let listed = host
        .rkt(["image", "list", "--format=json"])
        .run()
        .ok()
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["id"], id.as_str(), "{listed}");
    host.rkt(["run", "--net=none", &id]).run().ok().prints(SEEN);
    id
}

fn layout(host: &Host, compression: Compression) -> Layout {
    image(compression).write(&host.images().join("layout"), "1.0")
}

fn from_oci_layout(compression: Compression) {
    let host = Host::new();
    let layout = layout(&host, compression);
    assert_eq!(fetch_and_run(&host, &layout.reference()), layout.id());
}

fn from_oci_archive(compression: Compression) {
    let host = Host::new();
    let layout = layout(&host, compression);
    let file = host.path().join("image.tar");
    layout.copy_exactly_to(&format!("oci-archive:{}:1.0", file.display()));
    let id = fetch_and_run(&host, &format!("oci-archive:{}:1.0", file.display()));
    assert_eq!(id, layout.id(), "the archive holds the same manifest");
}

fn from_a_registry(compression: Compression) {
    let host = Host::new();
    let registry = Registry::start();
    let layout = layout(&host, compression);
    layout.copy_exactly_to(&registry.reference("some/app:1.0"));
    let id = fetch_and_run(&host, &registry.reference("some/app:1.0"));
    assert_eq!(id, layout.id(), "the registry holds the same manifest");
    let by_digest = registry.reference(&format!("some/app@{}", layout.manifest));
    assert_eq!(host.fetch(&by_digest), id);
}

fn from_an_aci(compression: Compression) {
    let host = Host::new();
    let rootfs = Rootfs::busybox().file("etc/greeting", 0o644, "hello");
    let aci = Aci::new("example.com/app", &["/bin/cat", "/etc/greeting"], rootfs);
    let file = aci.write(&host.images(), "app", compression);
    let id = host.fetch(&file.to_string_lossy());
    assert_eq!(id, aci.id());
    host.rkt(["run", "--net=none", "example.com/app"])
        .run()
        .ok()
        .prints("hello");
}

macro_rules! table {
    ($($source:ident: $($name:ident $compression:ident),+;)+) => {
        $(mod $source {
            $(#[test] fn $name() { super::$source(tests::Compression::$compression); })+
        })+
    };
}

table! {
    from_oci_layout: plain Plain, gzip Gzip, zstd Zstd;
    from_oci_archive: plain Plain, gzip Gzip, zstd Zstd;
    from_a_registry: plain Plain, gzip Gzip, zstd Zstd;
    from_an_aci: plain Plain, gzip Gzip, zstd Zstd, xz Xz, bzip2 Bzip2;
}

#[test]
fn from_a_docker_archive() {
    let host = Host::new();
    let file = host.path().join("image.tar");
    layout(&host, Compression::Gzip)
        .copy_to(&format!("docker-archive:{}:some/app:1.0", file.display()));
    fetch_and_run(&host, &format!("docker-archive:{}", file.display()));
}

#[test]
fn from_a_docker_archive_by_tag() {
    let host = Host::new();
    let file = host.path().join("image.tar");
    layout(&host, Compression::Gzip)
        .copy_to(&format!("docker-archive:{}:some/app:1.0", file.display()));
    fetch_and_run(
        &host,
        &format!("docker-archive:{}:some/app:1.0", file.display()),
    );
}

/// Docker's schema 2 manifest instead of OCI's, as most registries still serve.
#[test]
fn from_a_registry_with_docker_manifests() {
    let host = Host::new();
    let registry = Registry::start();
    let layout = layout(&host, Compression::Gzip);
    Cmd::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--format=v2s2"])
        .args(["--dest-tls-verify=false", &layout.reference()])
        .arg(registry.reference("some/app:1.0"))
        .run()
        .ok();
    let id = fetch_and_run(&host, &registry.reference("some/app:1.0"));
    assert_ne!(id, layout.id(), "another manifest is another image");
}

/// umoci unpacks, changes and repacks: real whiteouts by a real tool.
#[test]
fn from_umoci() {
    let host = Host::new();
    let dir = host.images().join("umoci");
    let lower = Rootfs::busybox()
        .file("etc/greeting", 0o644, "from the lower layer")
        .file("etc/removed", 0o644, "still here")
        .dir("srv", 0o755)
        .file("srv/old", 0o644, "old");
    OciImage::new(vec![lower.tar("")], &["/bin/sh", "-c", LOOK]).write(&dir, "1.0");
    let bundle = host.path().join("bundle");
    let image = format!("{}:1.0", dir.display());
    Cmd::new("umoci")
        .args(["unpack", "--image", &image])
        .arg(&bundle)
        .run()
        .ok();
    fs::write(bundle.join("rootfs/etc/greeting"), "from the upper layer").unwrap();
    fs::remove_file(bundle.join("rootfs/etc/removed")).unwrap();
    fs::remove_file(bundle.join("rootfs/srv/old")).unwrap();
    fs::write(bundle.join("rootfs/srv/new"), "new").unwrap();
    Cmd::new("umoci")
        .args(["repack", "--image", &image])
        .arg(&bundle)
        .run()
        .ok();
    fetch_and_run(&host, &format!("oci:{image}"));
}

/// A list of platforms: ours is taken.
#[test]
fn an_index_gives_the_image_for_this_platform() {
    let host = Host::new();
    let registry = Registry::start();
    let layout = layout(&host, Compression::Gzip);
    let path = layout.dir.join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut ours = index["manifests"][0].clone();
    ours["platform"] = serde_json::json!({"os": "linux", "architecture": tests::oci::ARCHITECTURE});
    ours.as_object_mut().unwrap().remove("annotations");
    // The other platform's manifest is never asked for, so it need not exist.
    let mut other = ours.clone();
    other["platform"] = serde_json::json!({"os": "linux", "architecture": "s390x"});
    other["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    let nested = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [other, ours],
    }))
    .unwrap();
    let digest = tests::sha256(&nested);
    fs::write(layout.blob(&format!("sha256:{digest}")), &nested).unwrap();
    index["manifests"][0]["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
    index["manifests"][0]["digest"] = format!("sha256:{digest}").into();
    index["manifests"][0]["size"] = nested.len().into();
    fs::write(&path, serde_json::to_vec(&index).unwrap()).unwrap();
    assert_eq!(fetch_and_run(&host, &layout.reference()), layout.id());
    drop(registry);
}

#[test]
fn a_short_id_is_printed_without_full() {
    let host = Host::new();
    let layout = layout(&host, Compression::Gzip);
    let out = host.unsigned(["fetch", &layout.reference()]).run().ok();
    assert_eq!(out.text(), &layout.id()[.."sha256-".len() + 32]);
    host.rkt(["run", "--net=none", out.text()])
        .run()
        .ok()
        .prints(SEEN);
}

#[test]
fn several_images_are_printed_in_order() {
    let host = Host::new();
    let layout = layout(&host, Compression::Gzip);
    let aci = Aci::busybox("example.com/app", &["/bin/true"]);
    let file = aci.write(&host.images(), "app", Compression::Plain);
    host.unsigned([
        "fetch",
        "--full",
        &file.to_string_lossy(),
        &layout.reference(),
    ])
    .run()
    .ok()
    .prints(&format!("{}\n{}\n", aci.id(), layout.id()));
}

/// Layers that the store has are neither asked for nor stored again.
#[test]
fn a_shared_layer_is_fetched_once() {
    let host = Host::new();
    let registry = Registry::start();
    let base = OciImage::busybox(&["/bin/true"]);
    let first = base.write(&host.images().join("first"), "1");
    first.copy_exactly_to(&registry.reference("first:1"));
    let top = Rootfs::new().file("top", 0o644, "top");
    let second = base
        .clone()
        .layer(&top)
        .write(&host.images().join("second"), "1");
    second.copy_exactly_to(&registry.reference("second:1"));
    host.fetch(&registry.reference("first:1"));
    // Gone from the registry, still in the store.
    fs::remove_file(registry.blob(&second.layers[0])).unwrap();
    host.fetch(&registry.reference("second:1"));
}

#[test]
fn a_stored_image_is_not_fetched_again() {
    let host = Host::new();
    let registry = Registry::start();
    let layout = layout(&host, Compression::Gzip);
    let reference = registry.reference("some/app:1.0");
    layout.copy_exactly_to(&reference);
    host.fetch(&reference);
    drop(registry);
    host.unsigned(["run", "--net=none", &reference])
        .run()
        .ok()
        .prints(SEEN);
    host.unsigned(["run", "--net=none", "--pull-policy=never", &reference])
        .run()
        .ok()
        .prints(SEEN);
    // The words of rkt 1.x.
    let out = host
        .unsigned(["run", "--net=none", "--store-only", &reference])
        .run()
        .ok();
    assert_eq!(out.stdout, SEEN, "{out}");
    assert!(
        out.stderr
            .contains("Flag --store-only has been deprecated, please use --pull-policy=never"),
        "{out}"
    );
    for verb in ["run", "prepare", "fetch"] {
        let words = [verb, "--store-only", "--no-store", &reference];
        let out = host.unsigned(words).run().code_is(254);
        let says = "both --store-only and --no-store specified";
        assert!(out.stderr.contains(says), "{out}");
        host.unsigned([verb, "--no-store", &reference])
            .run()
            .code_is(254);
    }
    host.unsigned(["fetch", "--store-only", &reference])
        .run()
        .ok();
    let out = host
        .unsigned(["fetch", "--pull-policy=update", &reference])
        .run();
    assert_eq!(
        out.code(),
        Some(254),
        "update asks the registry, which is gone: {out}"
    );
}

#[test]
fn run_fetches_what_is_not_stored() {
    let host = Host::new();
    let registry = Registry::start();
    layout(&host, Compression::Zstd).copy_exactly_to(&registry.reference("some/app:1.0"));
    host.unsigned(["run", "--net=none", &registry.reference("some/app:1.0")])
        .run()
        .ok()
        .prints(SEEN);
}

#[test]
fn a_tag_that_moved_is_followed_by_update() {
    let host = Host::new();
    let registry = Registry::start();
    let reference = registry.reference("some/app:1.0");
    let first = image(Compression::Gzip).write(&host.images().join("one"), "1");
    first.copy_exactly_to(&reference);
    assert_eq!(host.fetch(&reference), first.id());
    let second = OciImage::busybox(&["/bin/echo", "second"]).write(&host.images().join("two"), "1");
    skopeo_copy(&[], &second.reference(), &reference);
    assert_eq!(host.fetch(&reference), second.id());
    host.unsigned(["run", "--net=none", &reference])
        .run()
        .ok()
        .prints("second\n");
}
