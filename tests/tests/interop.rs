//! Images by other people's tools are read right, and our exports by them.
//!
//! docker's own archives are those of `podman save` and `buildah push`, which
//! write the same format; a real docker needs a daemon.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::oci::{ARCHITECTURE, Layout, skopeo_copy};
use tests::skip::skipped;
use tests::{Cmd, Compression, Host, OciImage, Rootfs, sha256};

/// What every image of these tests has to say.
const SAYS: &str = "made elsewhere\n";

fn has(program: &str) -> bool {
    let out = std::process::Command::new(program)
        .arg("--version")
        .output();
    match out {
        Ok(_) => true,
        Err(e) => {
            skipped(&format!("{program}: {e} (Debian package {program})"));
            false
        }
    }
}

/// A directory with busybox and a file that is asked for.
fn tree(dir: &Path) {
    Rootfs::busybox().file("said", 0o644, SAYS).unpack(dir);
}

/// Fetches it, runs it, and reads it again whole.
#[track_caller]
fn assert_runs(host: &Host, reference: &str) -> String {
    let id = host.fetch(reference);
    host.rkt(["run", "--net=none", &id]).run().ok().prints(SAYS);
    host.rkt(["image", "verify", &id]).run().ok();
    id
}

/// podman or buildah with a store of the test's own.
struct Containers {
    program: &'static str,
    root: PathBuf,
}

impl Containers {
    fn new(host: &Host, program: &'static str) -> Self {
        let root = host.path().join(program);
        fs::create_dir_all(&root).unwrap();
        Self { program, root }
    }

    fn run<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let dir = |name: &str| self.root.join(name);
        let out = Cmd::new(self.program)
            .args(["--storage-driver", "vfs", "--root"])
            .arg(dir("root"))
            .arg("--runroot")
            .arg(dir("run"))
            .args(words)
            // podman takes relative paths only if they have no capital letters.
            .cwd(self.root.parent().unwrap())
            .run()
            .ok();
        out.text().to_owned()
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        // They mount what they had in use.
        let root = self.root.join("root/vfs-containers");
        let _ = std::process::Command::new("umount").arg(root).output();
        let root = self.root.join("root");
        let _ = std::process::Command::new("umount").arg(root).output();
    }
}

#[test]
fn images_by_buildah() {
    if !has("buildah") {
        return;
    }
    let host = Host::new();
    let source = host.path().join("tree");
    tree(&source);
    let buildah = Containers::new(&host, "buildah");
    let container = buildah.run(["from", "scratch"]);
    buildah.run(["add", "--quiet", &container, source.to_str().unwrap(), "/"]);
    let config = [
        "config",
        "--cmd",
        "[\"/bin/cat\", \"/said\"]",
        "--env",
        "A=b",
        &container,
    ];
    buildah.run(config);
    buildah.run(["commit", "--quiet", &container, "made:1"]);
    let at = |name: &str| host.images().join(name).display().to_string();
    for (form, to) in [
        ("oci", format!("oci:{}:1", at("layout"))),
        ("oci-archive", format!("oci-archive:{}:1", at("oci.tar"))),
        (
            "docker-archive",
            format!("docker-archive:{}:made:1", at("docker.tar")),
        ),
    ] {
        buildah.run(["push", "--quiet", "made:1", &to]);
        let reference = match form {
            "docker-archive" => format!("docker-archive:{}", at("docker.tar")),
            _ => to,
        };
        assert_runs(&host, &reference);
    }
    // The manifest that Docker understands, instead of OCI's.
    let to = format!("oci-archive:{}:2", at("v2s2.tar"));
    buildah.run([
        "commit", "--quiet", "--format", "docker", &container, "made:2",
    ]);
    buildah.run(["push", "--quiet", "made:2", &to]);
    assert_runs(&host, &to);
}

#[test]
fn images_by_podman() {
    if !has("podman") {
        return;
    }
    let host = Host::new();
    let source = host.path().join("tree");
    tree(&source);
    let tar = host.path().join("rootfs.tar");
    Cmd::new("tar")
        .arg("-C")
        .arg(&source)
        .arg("-cf")
        .arg(&tar)
        .arg(".")
        .run()
        .ok();
    let podman = Containers::new(&host, "podman");
    let change = [
        "import",
        "--quiet",
        "--change",
        "CMD [\"/bin/cat\", \"/said\"]",
    ];
    podman.run(
        change
            .into_iter()
            .chain([tar.to_str().unwrap(), "localhost/made:1"]),
    );
    for format in ["docker-archive", "oci-archive"] {
        let file = host.images().join(format).display().to_string();
        podman.run([
            "save",
            "--quiet",
            "--format",
            format,
            "--output",
            &file,
            "localhost/made:1",
        ]);
        let id = assert_runs(&host, &format!("{format}:{file}"));
        host.rkt(["image", "rm", &id]).run().ok();
    }
}

/// umoci before 0.5 ends the layers of `insert` with the last byte of the last
/// file.
#[test]
fn layers_by_umoci_insert() {
    let host = Host::new();
    let dir = host.images().join("layout");
    OciImage::busybox(&["/bin/cat", "/said"]).write(&dir, "1");
    let file = host.path().join("said");
    fs::write(&file, SAYS).unwrap();
    Cmd::new("umoci")
        .args(["insert", "--image", &format!("{}:1", dir.display())])
        .arg(&file)
        .arg("/said")
        .run()
        .ok();
    assert_runs(&host, &format!("oci:{}:1", dir.display()));
}

#[test]
fn every_form_that_skopeo_writes() {
    let host = Host::new();
    let rootfs = Rootfs::busybox().file("said", 0o644, SAYS);
    let image = OciImage::new(vec![rootfs.tar("")], &["/bin/cat", "/said"]);
    let layout = image.write(&host.images().join("layout"), "1");
    let at = |name: &str| host.images().join(name).display().to_string();
    let forms: [(&[&str], String); 4] = [
        (
            &["--dest-compress-format=zstd", "--dest-compress"],
            format!("oci:{}:1", at("zstd")),
        ),
        (&["--dest-decompress"], format!("oci:{}:1", at("plain"))),
        (
            &["--dest-oci-accept-uncompressed-layers"],
            format!("oci:{}:1", at("as-it-is")),
        ),
        (&[], format!("docker-archive:{}:made:1", at("docker"))),
    ];
    for (options, to) in forms {
        skopeo_copy(options, &layout.reference(), &to);
        let reference = to.strip_suffix(":made:1").unwrap_or(&to);
        assert_runs(&host, reference);
    }
}

/// As ko, apko and Bazel's rules write them: one layer, no history, created at
/// the epoch, an entry point and next to nothing else, an index around it.
#[test]
fn an_image_as_ko_makes_them() {
    let host = Host::new();
    let dir = host.images().join("ko");
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let digest = sha256(bytes);
        fs::write(blobs.join(&digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()})
    };
    let json_bytes = |value: &Value| serde_json::to_vec(value).unwrap();
    let tar = Rootfs::new()
        .dir("ko-app", 0o755)
        .file("ko-app/busybox", 0o755, fs::read("/bin/busybox").unwrap())
        .file("said", 0o644, SAYS)
        .tar("");
    let layer = put(
        &Compression::Gzip.pack(&tar),
        "application/vnd.oci.image.layer.v1.tar+gzip",
    );
    let config = json!({
        "architecture": ARCHITECTURE,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "author": "github.com/ko-build/ko",
        "config": {"Entrypoint": ["/ko-app/busybox", "cat", "/said"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&tar))]},
    });
    let config = put(
        &json_bytes(&config),
        "application/vnd.oci.image.config.v1+json",
    );
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut manifest = put(
        &json_bytes(&manifest),
        "application/vnd.oci.image.manifest.v1+json",
    );
    manifest["platform"] = json!({"architecture": ARCHITECTURE, "os": "linux"});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    let root = put(
        &json_bytes(&index),
        "application/vnd.oci.image.index.v1+json",
    );
    let index = json!({"schemaVersion": 2, "manifests": [root]});
    fs::write(dir.join("index.json"), json_bytes(&index)).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert_runs(&host, &format!("oci:{}", dir.display()));
}

/// An image that came as it may leave, and one whose layers were compressed.
fn exported(host: &Host, compression: Compression, to: &str) -> Layout {
    let rootfs = Rootfs::busybox().file("said", 0o644, SAYS);
    let image = OciImage::new(vec![rootfs.tar("")], &["/bin/cat", "/said"]);
    let dir = host.images().join(format!("{compression:?}"));
    let layout = image.compressed(compression).write(&dir, "1");
    let id = host.fetch(&layout.reference());
    host.rkt(["image", "export", &id, to]).run().ok();
    layout
}

#[test]
fn exports_are_accepted_by_skopeo_umoci_and_podman() {
    let host = Host::new();
    for compression in [Compression::Plain, Compression::Gzip] {
        let name = format!("{compression:?}").to_lowercase();
        let at = |what: &str| host.path().join(format!("{what}-{name}"));
        let layout = format!("oci:{}:out", at("layout").display());
        let archive = format!("oci-archive:{}:out", at("archive.tar").display());
        let original = exported(&host, compression, &layout);
        exported(&host, compression, &archive);
        for from in [&layout, &archive] {
            let raw = Cmd::new("skopeo")
                .args(["inspect", "--raw", from])
                .run()
                .ok();
            let same = format!("sha256:{}", sha256(raw.stdout.as_bytes())) == original.manifest;
            assert_eq!(
                same,
                compression == Compression::Plain,
                "byte-exact: {from}"
            );
            // Reads and checks every blob, and packs them anew.
            let copy = format!("docker-archive:{}:a:b", at("copy.tar").display());
            skopeo_copy(&[], from, &copy);
            fs::remove_file(at("copy.tar")).unwrap();
        }
        let bundle = at("bundle");
        Cmd::new("umoci")
            .args(["unpack", "--image", layout.trim_start_matches("oci:")])
            .arg(&bundle)
            .run()
            .ok();
        let said = fs::read_to_string(bundle.join("rootfs/said")).unwrap();
        assert_eq!(said, SAYS);
        if has("podman") {
            let podman = Containers::new(&host, "podman");
            let id = podman.run(["pull", "--quiet", &format!("oci:layout-{name}:out")]);
            let config = podman.run(["inspect", "--format", "{{.Config.Cmd}}", &id]);
            assert_eq!(config, "[/bin/cat /said]");
        }
    }
}
