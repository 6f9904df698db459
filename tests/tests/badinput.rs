//! What happens when the input is wrong: one line that names the thing and the
//! reason, the right exit code, and nothing left behind.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;

use serde_json::{Value, json};
use tests::oci::Layout;
use tests::rootfs::Entry;
use tests::{Aci, Compression, Host, OciImage, Registry, Rootfs, sha256};

/// Fetching must fail with one line that has these words, and leave no trace.
#[track_caller]
fn refused(host: &Host, reference: &str, words: &[&str]) {
    host.unsigned(["fetch", reference])
        .run()
        .fails(254, "fetch", words);
    host.assert_store_is_empty();
    host.assert_no_pod_leaks();
}

/// `rkt run` of it must fail the same way and make no pod.
#[track_caller]
fn not_run(host: &Host, reference: &str, words: &[&str]) {
    host.unsigned(["run", "--net=none", reference])
        .run()
        .fails(254, "run", words);
    host.assert_no_pods();
    host.assert_no_pod_leaks();
}

mod hostile_tar {
    use super::*;

    /// The entries after busybox must make the layer unacceptable, in an OCI
    /// layer and in an ACI alike.
    #[track_caller]
    fn refused_in_both(entries: Rootfs, words: &[&str]) {
        let mut rootfs = Rootfs::busybox();
        rootfs.entries.extend(entries.entries);
        let host = Host::new();
        let layout = OciImage::new(vec![rootfs.tar("")], &["/bin/true"])
            .write(&host.images().join("layout"), "1");
        refused(&host, &layout.reference(), words);
        let aci = Aci::new("example.com/hostile", &["/bin/true"], rootfs).write(
            &host.images(),
            "hostile",
            Compression::Plain,
        );
        refused(&host, &aci.to_string_lossy(), words);
        not_run(&host, &layout.reference(), words);
    }

    #[test]
    fn dot_dot_in_a_name() {
        refused_in_both(
            Rootfs::new().file("etc/../../../../tmp/rkt-escaped", 0o644, "x"),
            &["..", "tmp/rkt-escaped"],
        );
        assert!(!fs::exists("/tmp/rkt-escaped").unwrap());
    }

    #[test]
    fn an_absolute_name() {
        let host = Host::new();
        let rootfs = Rootfs::busybox().file("/tmp/rkt-escaped", 0o644, "x");
        let layout = OciImage::new(vec![rootfs.tar("")], &["/bin/true"])
            .write(&host.images().join("layout"), "1");
        refused(
            &host,
            &layout.reference(),
            &["/tmp/rkt-escaped", "absolute"],
        );
        assert!(!fs::exists("/tmp/rkt-escaped").unwrap());
    }

    #[test]
    fn a_hard_link_out() {
        refused_in_both(
            Rootfs::new().hardlink("etc/shadow", "../../../../etc/shadow"),
            &["etc/shadow"],
        );
    }

    #[test]
    fn a_hard_link_to_nothing() {
        refused_in_both(
            Rootfs::new().hardlink("etc/x", "etc/nosuch"),
            &["etc/x", "etc/nosuch"],
        );
    }

    #[test]
    fn a_file_below_a_file() {
        refused_in_both(
            Rootfs::new()
                .file("etc/x", 0o644, "x")
                .file("etc/x/y", 0o644, "y"),
            &["etc/x"],
        );
    }

    #[test]
    fn a_file_through_a_link_of_the_same_layer() {
        refused_in_both(
            Rootfs::new()
                .symlink("out", "/tmp")
                .file("out/rkt-escaped", 0o644, "x"),
            &["out/rkt-escaped"],
        );
        assert!(!fs::exists("/tmp/rkt-escaped").unwrap());
    }

    #[test]
    fn a_hard_link_to_a_directory() {
        refused_in_both(Rootfs::new().hardlink("etc/d", "bin"), &["etc/d"]);
    }

    #[test]
    fn a_header_with_a_wrong_checksum() {
        let host = Host::new();
        let mut tar = Rootfs::busybox().tar("");
        tar[3] ^= 1;
        let layout =
            OciImage::new(vec![tar], &["/bin/true"]).write(&host.images().join("layout"), "1");
        refused(&host, &layout.reference(), &["checksum"]);
    }

    #[test]
    fn a_tar_cut_short() {
        let host = Host::new();
        let mut tar = Rootfs::busybox().tar("");
        tar.truncate(tar.len() / 2);
        let layout = OciImage::new(vec![tar.clone()], &["/bin/true"])
            .write(&host.images().join("layout"), "1");
        refused(&host, &layout.reference(), &["truncated"]);
    }

    #[test]
    fn a_file_of_absurd_size() {
        let host = Host::new();
        let mut tar = Rootfs::busybox().tar("");
        tar.truncate(tar.len() - 1024);
        let mut header = tar::Header::new_gnu();
        header.set_path("huge").unwrap();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(1 << 60);
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend([0; 1024]);
        let layout =
            OciImage::new(vec![tar], &["/bin/true"]).write(&host.images().join("layout"), "1");
        refused(&host, &layout.reference(), &["huge"]);
    }

    #[test]
    fn aci_without_manifest_or_rootfs() {
        let host = Host::new();
        for (name, tar, word) in [
            ("no-manifest", Rootfs::busybox().tar("rootfs/"), "manifest"),
            (
                "no-rootfs",
                Rootfs::new()
                    .file(
                        "manifest",
                        0o644,
                        serde_json::to_vec(&Aci::busybox("a/b", &["/x"]).manifest).unwrap(),
                    )
                    .tar(""),
                "rootfs",
            ),
        ] {
            let file = host.images().join(format!("{name}.aci"));
            fs::write(&file, tar).unwrap();
            refused(&host, &file.to_string_lossy(), &[word]);
        }
    }

    /// Not hostile: later entries replace earlier ones, as in every tar.
    #[test]
    fn a_duplicate_in_an_oci_layer_replaces() {
        let host = Host::new();
        let rootfs =
            Rootfs::busybox()
                .file("etc/twice", 0o644, "first")
                .file("etc/twice", 0o644, "second");
        let id = host.fetch_oci(
            &OciImage::new(vec![rootfs.tar("")], &["/bin/cat", "/etc/twice"]),
            "1",
        );
        host.rkt(["run", "--net=none", &id])
            .run()
            .ok()
            .prints("second");
    }

    /// Not hostile either: an absolute link stays inside the root.
    #[test]
    fn links_that_point_out_stay_in() {
        let host = Host::new();
        let rootfs = Rootfs::busybox()
            .file("etc/inside", 0o644, "inside")
            .symlink("up", "../../../../etc/inside")
            .symlink("abs", "/etc/inside");
        let aci = Aci::new("example.com/links", &["/bin/cat", "/up", "/abs"], rootfs);
        host.fetch_aci(&aci);
        host.rkt(["run", "--net=none", "example.com/links"])
            .run()
            .ok()
            .prints("insideinside");
    }
}

mod archive {
    use super::*;

    #[test]
    fn compressed_bytes_cut_short() {
        for compression in [
            Compression::Gzip,
            Compression::Zstd,
            Compression::Xz,
            Compression::Bzip2,
        ] {
            let host = Host::new();
            let file = Aci::busybox("example.com/app", &["/bin/true"]).write(
                &host.images(),
                "app",
                compression,
            );
            let mut bytes = fs::read(&file).unwrap();
            bytes.truncate(bytes.len() / 2);
            fs::write(&file, bytes).unwrap();
            refused(&host, &file.to_string_lossy(), &["app.aci"]);
        }
    }

    #[test]
    fn not_an_archive() {
        let host = Host::new();
        let file = host.images().join("text.aci");
        fs::write(&file, "this is no archive".repeat(100)).unwrap();
        refused(&host, &file.to_string_lossy(), &["text.aci"]);
        fs::write(&file, "").unwrap();
        refused(&host, &file.to_string_lossy(), &["text.aci"]);
    }

    #[test]
    fn a_file_that_is_not_there() {
        let host = Host::new();
        refused(
            &host,
            "/nosuch/app.aci",
            &["/nosuch/app.aci", "no such file"],
        );
        refused(&host, "oci:/nosuch", &["/nosuch"]);
        refused(&host, "oci-archive:/nosuch.tar", &["/nosuch.tar"]);
        refused(&host, "docker-archive:/nosuch.tar", &["/nosuch.tar"]);
    }

    #[test]
    fn manifests_that_are_none() {
        let valid = Aci::busybox("example.com/app", &["/bin/true"]);
        let field = |key: &str, value: Value| {
            let mut manifest = valid.manifest.clone();
            manifest[key] = value;
            serde_json::to_vec(&manifest).unwrap()
        };
        for (what, manifest, word) in [
            ("not JSON", b"{ not json".to_vec(), "manifest"),
            ("empty", Vec::new(), "manifest"),
            ("a pod's", field("acKind", "PodManifest".into()), "acKind"),
            ("badly named", field("name", "Not A Name".into()), "name"),
            (
                "for another system",
                field(
                    "labels",
                    json!([{"name": "os", "value": "freebsd"}, {"name": "arch", "value": "riscv"}]),
                ),
                "riscv",
            ),
            (
                "with a relative working directory",
                field(
                    "app",
                    json!({"exec": ["/x"], "user": "0", "group": "0", "workingDirectory": "x"}),
                ),
                "workingDirectory",
            ),
        ] {
            let host = Host::new();
            let file = host.images().join("app.aci");
            fs::write(&file, valid.tar_with_manifest(&manifest)).unwrap();
            let out = host.unsigned(["fetch", &file.to_string_lossy()]).run();
            assert_eq!(out.code(), Some(254), "{what}: {out}");
            out.fails(254, "fetch", &[word]);
            host.assert_store_is_empty();
        }
    }
}

mod layout {
    use super::*;

    fn layout(host: &Host) -> Layout {
        OciImage::busybox(&["/bin/true"]).write(&host.images().join("layout"), "1")
    }

    #[test]
    fn a_tag_that_is_not_there() {
        let host = Host::new();
        let dir = layout(&host).dir;
        refused(&host, &format!("oci:{}:nosuch", dir.display()), &["nosuch"]);
    }

    #[test]
    fn a_layer_that_is_missing() {
        let host = Host::new();
        let layout = layout(&host);
        fs::remove_file(layout.blob(&layout.layers[0])).unwrap();
        refused(&host, &layout.reference(), &[&layout.layers[0][7..19]]);
    }

    #[test]
    fn a_layer_with_other_bytes() {
        let host = Host::new();
        let layout = layout(&host);
        let other = Compression::Gzip.pack(&Rootfs::busybox().file("x", 0o644, "x").tar(""));
        fs::write(layout.blob(&layout.layers[0]), other).unwrap();
        refused(&host, &layout.reference(), &[&layout.layers[0][7..19]]);
    }

    #[test]
    fn a_layer_with_bytes_appended() {
        let host = Host::new();
        let layout = layout(&host);
        let blob = layout.blob(&layout.layers[0]);
        let mut bytes = fs::read(&blob).unwrap();
        bytes.extend(b"more");
        fs::write(blob, bytes).unwrap();
        refused(&host, &layout.reference(), &[&layout.layers[0][7..19]]);
    }

    #[test]
    fn a_manifest_with_other_bytes() {
        let host = Host::new();
        let layout = layout(&host);
        let blob = layout.blob(&layout.manifest);
        let mut bytes = fs::read(&blob).unwrap();
        bytes.push(b'\n');
        fs::write(blob, bytes).unwrap();
        refused(&host, &layout.reference(), &[&layout.manifest[7..19]]);
    }

    /// Puts a changed configuration (and a manifest that names it) in place.
    fn with_config(layout: &Layout, change: impl FnOnce(&mut Value)) {
        let read = |d: &str| -> Value {
            serde_json::from_slice(&fs::read(layout.blob(d)).unwrap()).unwrap()
        };
        let put = |value: &Value| {
            let bytes = serde_json::to_vec(value).unwrap();
            let digest = format!("sha256:{}", sha256(&bytes));
            fs::write(layout.blob(&digest), &bytes).unwrap();
            (digest, bytes.len())
        };
        let mut manifest = read(&layout.manifest);
        let mut config = read(manifest["config"]["digest"].as_str().unwrap());
        change(&mut config);
        let (digest, size) = put(&config);
        manifest["config"]["digest"] = digest.into();
        manifest["config"]["size"] = size.into();
        let (digest, size) = put(&manifest);
        let index = layout.dir.join("index.json");
        let mut value: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
        value["manifests"][0]["digest"] = digest.into();
        value["manifests"][0]["size"] = size.into();
        fs::write(index, serde_json::to_vec(&value).unwrap()).unwrap();
    }

    /// Each blob is what its digest says, but the layer is not what the
    /// configuration says.
    #[test]
    fn a_wrong_diff_id() {
        let host = Host::new();
        let layout = layout(&host);
        let wrong = "1".repeat(64);
        with_config(&layout, |c| {
            c["rootfs"]["diff_ids"][0] = format!("sha256:{wrong}").into()
        });
        refused(&host, &layout.reference(), &["111111"]);
    }

    #[test]
    fn more_diff_ids_than_layers() {
        let host = Host::new();
        let layout = layout(&host);
        with_config(&layout, |c| {
            let first = c["rootfs"]["diff_ids"][0].clone();
            c["rootfs"]["diff_ids"].as_array_mut().unwrap().push(first);
        });
        refused(&host, &layout.reference(), &["layers"]);
    }

    #[test]
    fn another_architecture() {
        let host = Host::new();
        let layout = layout(&host);
        with_config(&layout, |c| c["architecture"] = "s390x".into());
        refused(&host, &layout.reference(), &["s390x"]);
    }

    #[test]
    fn files_that_are_not_json() {
        let host = Host::new();
        let layout = layout(&host);
        fs::write(layout.dir.join("index.json"), "{ not json").unwrap();
        refused(&host, &layout.reference(), &["index.json"]);
        fs::remove_file(layout.dir.join("index.json")).unwrap();
        refused(&host, &layout.reference(), &["index.json"]);
    }
}

mod registry {
    use super::*;

    #[test]
    fn an_unknown_name_or_tag() {
        let host = Host::new();
        let registry = Registry::start();
        OciImage::busybox(&["/bin/true"])
            .write(&host.images().join("layout"), "1")
            .copy_to(&registry.reference("app:1"));
        refused(&host, &registry.reference("nosuch:1"), &["nosuch"]);
        refused(&host, &registry.reference("app:nosuch"), &["app:nosuch"]);
        let digest = format!("sha256:{}", "2".repeat(64));
        refused(
            &host,
            &registry.reference(&format!("app@{digest}")),
            &["222222"],
        );
    }

    #[test]
    fn nobody_listening() {
        let host = Host::new();
        let registry = Registry::start();
        let reference = registry.reference("app:1");
        drop(registry);
        refused(&host, &reference, &["127.0.0.1"]);
        not_run(&host, &reference, &["127.0.0.1"]);
    }

    #[test]
    fn a_blob_damaged_on_its_disk() {
        let host = Host::new();
        let registry = Registry::start();
        let layout = OciImage::busybox(&["/bin/true"]).write(&host.images().join("layout"), "1");
        layout.copy_to(&registry.reference("app:1"));
        let blob = registry.blob(&layout.layers[0]);
        let mut bytes = fs::read(&blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        fs::write(&blob, &bytes).unwrap();
        refused(
            &host,
            &registry.reference("app:1"),
            &[&layout.layers[0][7..19]],
        );
        bytes.truncate(middle);
        fs::write(&blob, &bytes).unwrap();
        refused(
            &host,
            &registry.reference("app:1"),
            &[&layout.layers[0][7..19]],
        );
    }
}

mod command_line {
    use super::*;

    #[test]
    fn references_that_are_none() {
        let host = Host::new();
        for reference in [
            "docker://",
            "docker://UPPER/case",
            "oci:",
            "app:1:2",
            "/etc/passwd",
            "sha512-0",
            "http://example.com/app",
        ] {
            let out = host.unsigned(["run", "--net=none", reference]).run();
            assert_eq!(out.code(), Some(254), "{reference}: {out}");
            assert_eq!(out.stderr.lines().count(), 1, "{reference}: {out}");
        }
        host.assert_no_pods();
    }

    #[test]
    fn an_image_that_is_nowhere() {
        let host = Host::new();
        not_run(
            &host,
            "sha512-0123456789abcdef",
            &["sha512-0123456789abcdef"],
        );
        host.unsigned([
            "run",
            "--net=none",
            "--pull-policy=never",
            "example.com/nosuch",
        ])
        .run()
        .fails(254, "run", &["example.com/nosuch"]);
        host.assert_no_pods();
    }

    #[test]
    fn flags_that_are_wrong() {
        let host = Host::new();
        host.fetch_aci(&Aci::busybox("example.com/app", &["/bin/true"]));
        for (words, word) in [
            (&["run", "--nosuch", "example.com/app"][..], "--nosuch"),
            (&["run", "--net", "none", "example.com/nosuch"], "none"),
            (&["run"], "image"),
            (
                &["run", "--net=none", "--exec=/x", "example.com/app"],
                "--exec",
            ),
            (
                &["run", "--net=none", "example.com/app", "example.com/app"],
                "app",
            ),
            (
                &["run", "--net=none", "example.com/app", "--name=Not_A_Name"],
                "Not_A_Name",
            ),
            (&["--insecure-options=imaeg", "list"], "imaeg"),
            (&["status"], "UUID"),
            (&["status", "--wait=soon", "x"], "soon"),
        ] {
            let out = host.rkt(words).run();
            assert_eq!(out.code(), Some(254), "{words:?}: {out}");
            assert!(
                out.stderr.contains(word),
                "{words:?} must say {word:?}: {out}"
            );
        }
        host.assert_no_pods();
    }

    #[test]
    fn an_image_that_names_no_program() {
        let host = Host::new();
        let mut aci = Aci::busybox("example.com/data", &[]);
        aci.manifest.as_object_mut().unwrap().remove("app");
        host.fetch_aci(&aci);
        host.rkt(["run", "--net=none", "example.com/data"])
            .run()
            .fails(254, "run", &["no app section", "--exec"]);
        host.assert_no_pods();
        host.rkt(["run", "--net=none", "example.com/data", "--exec=/bin/true"])
            .run()
            .ok();
    }

    #[test]
    fn an_oci_image_without_a_command() {
        let host = Host::new();
        let id = host.fetch_oci(&OciImage::busybox(&[]), "1");
        let out = host.rkt(["run", "--net=none", &id]).run().code_is(254);
        assert!(out.stderr.contains("--exec"), "{out}");
        host.assert_no_pods();
    }

    /// The cause chain is there for those who ask.
    #[test]
    fn debug_shows_the_chain() {
        let host = Host::new();
        let out = host
            .unsigned(["--debug", "fetch", "/nosuch/app.aci"])
            .run()
            .code_is(254);
        assert!(out.stderr.contains("└─"), "{out}");
    }
}

/// A device or fifo in an image is a file like any other, and reading the
/// image never opens it.
#[test]
fn special_files_are_stored_not_opened() {
    let host = Host::new();
    let rootfs = Rootfs::busybox()
        .entry(Entry::new("fifo", tar::EntryType::Fifo, 0o644))
        .char_device("console", 5, 1);
    host.fetch_aci(&Aci::new(
        "example.com/special",
        &["/bin/stat", "-c", "%F", "/fifo", "/console"],
        rootfs,
    ));
    host.rkt(["run", "--net=none", "example.com/special"])
        .run()
        .ok()
        .prints("fifo\ncharacter special file\n");
}
