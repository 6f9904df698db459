//! What a fetch shows, for which platform it fetches, from what archives, and
//! what it keeps of an OCI image.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::json;
use tests::oci::Layout;
use tests::pty::Pty;
use tests::web::{Reply, Seen};
use tests::{Aci, Compression, Host, OciImage, Registry, Rootfs, Web, sha256};

fn two_layers(host: &Host) -> Layout {
    let top = Rootfs::new().file("top", 0o644, "top");
    OciImage::busybox(&["/bin/cat", "/top"])
        .layer(&top)
        .write(&host.images().join("layout"), "1")
}

mod progress {
    use super::*;

    #[test]
    fn without_a_terminal_each_finished_step_is_a_line() {
        let host = Host::new();
        let layout = two_layers(&host);
        let words = ["fetch", &layout.reference()];
        let out = host.unsigned(words).run().ok();
        let lines: Vec<&str> = out.stderr.lines().collect();
        assert_eq!(lines.len(), 3, "{out}");
        for layer in &layout.layers {
            let name = format!("fetch: layer {}: ", &layer[7..19]);
            let line = lines.iter().find(|l| l.starts_with(&name));
            assert!(line.unwrap().ends_with(" s"), "{out}");
        }
        assert!(lines[2].starts_with("fetch: image sha256-"), "{out}");
    }

    #[test]
    fn quiet_means_quiet() {
        let host = Host::new();
        let layout = two_layers(&host);
        let words = ["fetch", "--quiet", &layout.reference()];
        let out = host.unsigned(words).run().ok();
        assert_eq!(out.stderr, "");
    }

    /// A slow registry, so that there is something to see.
    #[test]
    fn a_terminal_shows_layers_and_their_total() {
        let host = Host::new();
        let layout = two_layers(&host);
        let dir = layout.dir.clone();
        let reply = move |seen: &Seen, reply: &mut Reply<'_>| {
            let digest = seen.path.rsplit('/').next().unwrap();
            let digest = if seen.path.contains("/manifests/") {
                &layout.manifest
            } else {
                digest
            };
            let hex = digest.trim_start_matches("sha256:");
            let bytes = fs::read(dir.join("blobs/sha256").join(hex)).unwrap();
            reply.start("200 OK", &[], Some(bytes.len() as u64));
            for part in bytes.chunks(bytes.len() / 8 + 1) {
                reply.raw(part);
                if bytes.len() > 100_000 {
                    std::thread::sleep(Duration::from_millis(150));
                }
            }
        };
        let web = Web::start(reply);
        let words = ["fetch", &format!("docker://{}/app:1", web.host())];
        let mut terminal = Pty::spawn(host.unsigned(words).env("TERM", "xterm"));
        assert_eq!(terminal.wait(), Some(0), "{}", terminal.screen());
        let screen = terminal.screen();
        for word in ["docker://127.0.0.1", "total", "iB/s", " in "] {
            assert!(screen.contains(word), "{word:?}: {screen}");
        }
    }

    #[test]
    fn the_service_manager_is_told() {
        let host = Host::new();
        let layout = two_layers(&host);
        let path = host.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let words = ["fetch", &layout.reference()];
        host.unsigned(words).env("NOTIFY_SOCKET", &path).run().ok();
        socket.set_nonblocking(true).unwrap();
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(n) = socket.recv(&mut buffer) {
            said.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
        let first = format!("STATUS=fetching {}", layout.reference());
        assert_eq!(said[0], first, "{said:?}");
        assert!(said.iter().all(|s| s.starts_with("STATUS=")), "{said:?}");
        assert!(
            said.last().unwrap().starts_with("STATUS=storing"),
            "{said:?}"
        );
    }
}

mod platforms {
    use super::*;

    /// A registry whose tag leads to an image for this machine and one for
    /// another, the latter in an index of its own.
    fn serve(host: &Host) -> (Web, Layout, Layout) {
        let ours = OciImage::busybox(&["/bin/echo", "ours"]).write(&host.images().join("a"), "1");
        let mut foreign = OciImage::busybox(&["/bin/echo", "theirs"]);
        foreign.more = json!({"architecture": "arm", "variant": "v7"});
        let theirs = foreign.write(&host.images().join("b"), "1");
        const INDEX: &str = "application/vnd.oci.image.index.v1+json";
        const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
        let entry = |kind: &str, bytes: &[u8], platform: serde_json::Value| {
            json!({"mediaType": kind, "digest": format!("sha256:{}", sha256(bytes)),
                   "size": bytes.len(), "platform": platform})
        };
        let index = |entries: Vec<serde_json::Value>| {
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
            serde_json::to_vec(&index).unwrap()
        };
        let arm = json!({"os": "linux", "architecture": "arm", "variant": "v7"});
        let read = |layout: &Layout| fs::read(layout.blob(&layout.manifest)).unwrap();
        let nested = index(vec![entry(MANIFEST, &read(&theirs), arm.clone())]);
        let here = json!({"os": "linux", "architecture": tests::oci::ARCHITECTURE});
        let root = index(vec![
            entry(INDEX, &nested, arm),
            entry(MANIFEST, &read(&ours), here),
        ]);
        let dirs = [ours.dir.clone(), theirs.dir.clone()];
        let web = Web::start(move |seen, reply| {
            let name = seen.path.rsplit('/').next().unwrap();
            let hex = name.trim_start_matches("sha256:");
            let blob = dirs
                .iter()
                .find_map(|d| fs::read(d.join("blobs/sha256").join(hex)).ok());
            let is_manifest = seen.path.contains("/manifests/");
            match (name, blob) {
                ("1", _) => reply.send("200 OK", &[("Content-Type", INDEX)], &root),
                (_, Some(bytes)) if is_manifest => {
                    reply.send("200 OK", &[("Content-Type", MANIFEST)], &bytes);
                }
                (_, Some(bytes)) => reply.send("200 OK", &[], &bytes),
                _ if hex == sha256(&nested) => {
                    reply.send("200 OK", &[("Content-Type", INDEX)], &nested);
                }
                _ => reply.not_found(),
            }
        });
        (web, ours, theirs)
    }

    #[test]
    fn another_platform_is_fetched_by_a_flag_and_does_not_take_the_name() {
        let host = Host::new();
        let (web, ours, theirs) = serve(&host);
        let reference = format!("docker://{}/app:1", web.host());
        let fetch = |platform: &str| {
            let flag = format!("--platform={platform}");
            let words = ["fetch", "--full", "--pull-policy=new", &flag, &reference];
            host.unsigned(words).run()
        };
        assert_eq!(fetch("linux/arm/v7").ok().text(), theirs.id());
        // The name still means what runs here.
        assert_eq!(host.fetch(&reference), ours.id());
        host.rkt(["run", "--net=none", &reference])
            .run()
            .ok()
            .prints("ours\n");
        assert_eq!(fetch("linux/arm/v7").ok().text(), theirs.id());
        let out = host.rkt(["image", "cat-manifest", &theirs.id()]).run().ok();
        let manifest = out.json();
        let labels = manifest["labels"].as_array().unwrap();
        assert!(
            labels.contains(&json!({"name": "arch", "value": "armv7l"})),
            "{labels:?}"
        );
        fetch("linux/s390x").fails(254, "fetch", &["linux/s390x"]);
        let wrong = fetch("s390x").code_is(254);
        assert!(wrong.stderr.contains("OS/ARCHITECTURE"), "{wrong}");
    }
}

mod archives {
    use super::*;

    #[test]
    fn compressed_ones_are_read_whatever_they_are_called() {
        for compression in [Compression::Gzip, Compression::Zstd, Compression::Xz] {
            let host = Host::new();
            let layout = two_layers(&host);
            let plain = host.path().join("plain.tar");
            for kind in ["oci-archive", "docker-archive"] {
                let _ = fs::remove_file(&plain);
                layout.copy_to(&format!("{kind}:{}:app:1", plain.display()));
                let packed = host.path().join(kind);
                fs::write(&packed, compression.pack(&fs::read(&plain).unwrap())).unwrap();
                let id = host.fetch(&format!("{kind}:{}", packed.display()));
                host.rkt(["run", "--net=none", &id])
                    .run()
                    .ok()
                    .prints("top");
            }
        }
    }

    #[test]
    fn a_damaged_one_is_said() {
        let host = Host::new();
        let layout = two_layers(&host);
        let plain = host.path().join("plain.tar");
        layout.copy_to(&format!("oci-archive:{}:app:1", plain.display()));
        let packed = host.path().join("packed.tar.gz");
        let mut bytes = Compression::Gzip.pack(&fs::read(&plain).unwrap());
        bytes.truncate(bytes.len() / 2);
        fs::write(&packed, bytes).unwrap();
        host.unsigned(["fetch", &format!("oci-archive:{}", packed.display())])
            .run()
            .fails(
                254,
                "fetch",
                &["cannot decompress", "packed.tar.gz", "gzip"],
            );
        host.assert_store_is_empty();
    }
}

/// Byte for byte, as the registry has them; and beside them the manifest in
/// appc's words.
#[test]
fn an_oci_image_keeps_its_documents_and_gets_a_manifest() {
    let host = Host::new();
    let registry = Registry::start();
    let mut image = OciImage::busybox(&["/bin/true"]);
    image.more = json!({"author": "Ann", "unknown": [1, 2]});
    image.config = json!({
        "Entrypoint": ["/bin/echo"], "Cmd": ["hello"], "User": "7:8", "WorkingDir": "srv",
        "Env": ["A=1", "B=x=y", "A=2"], "Volumes": {"/var/tmp": {}},
        "ExposedPorts": {"80/tcp": {}}, "Labels": {"team": "core"}, "Unknown": [1, 2],
    });
    let layout = image.write(&host.images().join("layout"), "1.0");
    layout.copy_exactly_to(&registry.reference("some/app:1.0"));
    let id = host.fetch(&registry.reference("some/app:1.0"));
    let manifest = fs::read(layout.blob(&layout.manifest)).unwrap();
    let parsed: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let config = parsed["config"]["digest"].as_str().unwrap();
    for digest in [layout.manifest.as_str(), config] {
        let hex = digest.trim_start_matches("sha256:");
        let object = host
            .data()
            .join("store/objects/sha256")
            .join(&hex[..2])
            .join(hex);
        assert_eq!(
            fs::read(object).unwrap(),
            fs::read(layout.blob(digest)).unwrap()
        );
    }
    let appc = host.rkt(["image", "cat-manifest", &id]).run().ok().json();
    let app = &appc["app"];
    assert_eq!(app["exec"], json!(["/bin/echo", "hello"]));
    assert_eq!((&app["user"], &app["group"]), (&json!("7"), &json!("8")));
    assert_eq!(app["workingDirectory"], "/srv");
    assert_eq!(
        app["environment"],
        json!([{"name": "A", "value": "2"}, {"name": "B", "value": "x=y"}])
    );
    assert_eq!(app["mountPoints"][0]["name"], "volume-var-tmp");
    assert_eq!(app["ports"][0]["name"], "80-tcp");
    assert_eq!(app["userLabels"], json!({"team": "core"}));
    let annotation = |name: &str| {
        let all = appc["annotations"].as_array().unwrap();
        let found = all.iter().find(|a| a["name"] == name);
        found.map(|a| a["value"].as_str().unwrap().to_owned())
    };
    assert_eq!(annotation("authors").as_deref(), Some("Ann"));
    assert_eq!(annotation("appc.io/docker/tag").as_deref(), Some("1.0"));
    assert_eq!(
        annotation("appc.io/docker/manifesthash").as_deref(),
        Some(layout.manifest.as_str())
    );
    assert_eq!(
        annotation("appc.io/docker/imageid").as_deref(),
        Some(config)
    );
    assert_eq!(
        annotation("appc.io/docker/entrypoint").as_deref(),
        Some(r#"["/bin/echo"]"#)
    );
}

/// The name of an ACI says its platform by labels.
#[test]
fn an_aci_for_another_machine_is_found_by_its_labels() {
    let host = Host::new();
    let mut foreign = Aci::busybox("example.com/app", &["/bin/true"]);
    foreign.manifest["labels"][2]["value"] = "s390x".into();
    let foreign_id = host.fetch_aci(&foreign);
    let ours = host.fetch_aci(&Aci::busybox("example.com/app", &["/bin/true"]));
    let find = |name: &str| {
        let words = ["fetch", "--full", "--pull-policy=never", name];
        host.rkt(words).run().ok().text().to_owned()
    };
    assert_eq!(find("example.com/app"), ours);
    assert_eq!(find("example.com/app,arch=s390x"), foreign_id);
}
