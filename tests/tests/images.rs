//! `rkt image list` and `rkt image rm`.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use tests::{Aci, Host, OciImage};

fn host() -> (Host, String, String) {
    let host = Host::new();
    let aci = host.fetch_aci(&Aci::busybox("example.com/sh", &["/bin/sh", "-c"]));
    let oci = host.fetch_oci(&OciImage::busybox(&["/bin/true"]), "1.0");
    (host, aci, oci)
}

fn ids(host: &Host) -> Vec<String> {
    let list = host
        .rkt(["image", "list", "--format=json"])
        .run()
        .ok()
        .json();
    let mut ids: Vec<String> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|i| i["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

#[test]
fn both_kinds_are_listed_alike() {
    let (host, aci, oci) = host();
    let out = host.rkt(["image", "list"]).run().ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    for column in ["ID", "NAME", "SIZE", "IMPORT TIME", "LAST USED"] {
        assert!(lines[0].contains(column), "no column {column}: {out}");
    }
    for id in [&aci, &oci] {
        let short = &id[..7 + 12];
        assert!(
            lines.iter().any(|l| l.starts_with(short)),
            "no {short}: {out}"
        );
    }
    assert!(out.stdout.contains("example.com/sh:1.0.0"), "{out}");
    let full = host
        .rkt(["image", "list", "--full", "--no-legend"])
        .run()
        .ok();
    assert_eq!(full.stdout.lines().count(), 2);
    assert!(
        full.stdout.contains(&aci) && full.stdout.contains(&oci),
        "{full}"
    );
    assert_eq!(ids(&host), [oci, aci]);
}

#[test]
fn an_empty_store_lists_nothing() {
    let host = Host::new();
    let out = host.rkt(["image", "list", "--no-legend"]).run().ok();
    assert_eq!(out.stdout, "");
}

#[test]
fn rm_takes_prefixes_and_names() {
    let (host, aci, oci) = host();
    let out = host.rkt(["image", "rm", &oci[..20]]).run().ok();
    assert!(
        out.stdout
            .contains(&format!("successfully removed aci for image: \"{oci}\"")),
        "{out}"
    );
    assert_eq!(ids(&host), [aci]);
    host.rkt(["image", "rm", "example.com/sh"]).run().ok();
    assert!(ids(&host).is_empty());
    host.rkt(["gc"]).run().ok();
    host.assert_store_is_empty();
}

#[test]
fn rm_of_an_unknown_image_says_so() {
    let (host, ..) = host();
    let out = host.rkt(["image", "rm", "sha512-0000"]).run();
    assert!(out.stderr.contains("sha512-0000"), "{out}");
    assert!(!out.stdout.contains("successfully"), "{out}");
    let out = host.rkt(["image", "rm"]).run().code_is(254);
    assert!(
        out.stderr.contains("must provide at least one image ID"),
        "{out}"
    );
    assert_eq!(ids(&host).len(), 2);
}

/// A layer that another image uses stays.
#[test]
fn rm_keeps_shared_layers() {
    let host = Host::new();
    let base = OciImage::busybox(&["/bin/echo", "base"]);
    let top = base
        .clone()
        .layer(&tests::Rootfs::new().file("top", 0o644, "top"));
    let base = host.fetch_oci(&base, "base");
    let top = host.fetch_oci(&top, "top");
    host.rkt(["image", "rm", &base]).run().ok();
    host.rkt(["gc"]).run().ok();
    host.rkt(["run", "--net=none", &top, "--exec=/bin/cat", "--", "/top"])
        .run()
        .ok()
        .prints("top");
}

/// A pod keeps reading an image that was removed under it.
#[test]
fn rm_does_not_disturb_a_running_pod() {
    let (host, aci, _) = host();
    let mut running = host
        .rkt(["run", "--net=none", "--interactive", "example.com/sh", "--"])
        .arg("echo ready; sleep 1; /bin/busybox cat /etc/group | head -n 1")
        .spawn();
    running.wait_for("ready");
    host.rkt(["image", "rm", &aci]).run();
    host.rkt(["gc"]).run().ok();
    let out = running.wait().ok();
    assert_eq!(out.stdout, "ready\nroot:x:0:\n", "{out}");
}

/// The layer of an image, as the store keeps it.
fn largest_object(host: &Host) -> std::path::PathBuf {
    let objects = tests::leaks::files(&host.data().join("store/objects"));
    let size = |file: &std::path::PathBuf| file.metadata().unwrap().len();
    objects.into_iter().max_by_key(size).unwrap()
}

/// Whatever the file system, sealed or not: another file takes the object's place.
fn damage(object: &std::path::Path) {
    let mut bytes = std::fs::read(object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(object).unwrap();
    std::fs::write(object, bytes).unwrap();
}

#[test]
fn verify_names_the_damaged_object_and_repairs_it_from_where_it_came() {
    let aci = Aci::busybox("example.com/sh", &["/bin/echo", "whole"]);
    let tar = aci.tar();
    let web = tests::Web::start(move |_, reply| reply.send("200 OK", &[], &tar));
    let oci = OciImage::busybox(&["/bin/echo", "whole"]);
    let registry = tests::Registry::start();
    for from in ["a URL", "a file", "a layout", "a registry"] {
        let host = Host::new();
        let layout = || oci.write(&host.images().join("layout"), "1");
        let reference = match from {
            "a URL" => web.url("/app.aci"),
            "a file" => {
                let file = aci.write(&host.images(), "sh", tests::Compression::Gzip);
                file.to_string_lossy().into_owned()
            }
            "a layout" => layout().reference(),
            _ => {
                let reference = registry.reference("app:1");
                layout().copy_exactly_to(&reference);
                reference
            }
        };
        let id = host.fetch(&reference);
        let object = largest_object(&host);
        damage(&object);
        let name = object.file_name().unwrap().to_string_lossy().into_owned();
        let out = host.rkt(["image", "verify", "--all"]).run().code_is(254);
        assert!(out.stderr.contains(&name), "{from}: {out}");
        let out = host
            .unsigned(["image", "verify", "--repair", &id])
            .run()
            .ok();
        assert!(out.stderr.contains("repaired"), "{from}: {out}");
        host.rkt(["image", "verify", "--all"]).run().ok();
        host.rkt(["run", "--net=none", &id])
            .run()
            .ok()
            .prints("whole\n");
    }
}

/// The sum of what is shown is what the store takes.
#[test]
fn du_tells_what_is_shared_and_what_a_removal_frees() {
    let host = Host::new();
    let own = |name: &str| tests::Rootfs::new().file(name, 0o644, vec![b'x'; 300_000]);
    let base = OciImage::busybox(&["/bin/true"]);
    let [one, two] = ["one", "two"].map(|name| {
        let image = base.clone().layer(&own(name));
        host.fetch_oci(&image, name)
    });
    let usage = || host.rkt(["image", "du", "--format=json"]).run().ok().json();
    let before = usage();
    let of = |usage: &serde_json::Value, id: &str| {
        let images = usage["images"].as_array().unwrap();
        let image = images.iter().find(|i| i["id"] == id).unwrap();
        (
            image["unique"].as_u64().unwrap(),
            image["shared"].as_u64().unwrap(),
        )
    };
    let (unique, shared) = of(&before, &one);
    assert!(unique >= 300_000 && shared > 500_000, "{before}");
    assert_eq!(of(&before, &two).1, shared);
    let objects = |usage: &serde_json::Value| usage["objects"].as_u64().unwrap();
    let sum = unique + of(&before, &two).0 + shared;
    assert_eq!(objects(&before), sum, "{before}");
    assert_eq!(before["unreferenced"], 0, "{before}");

    let table = host.rkt(["image", "du"]).run().ok();
    assert!(
        table.stdout.contains('#') && table.stdout.contains("--"),
        "{table}"
    );
    host.rkt(["image", "rm", &one]).run().ok();
    let after = usage();
    assert_eq!(objects(&before) - objects(&after), unique, "{after}");
    assert_eq!(of(&after, &two).1, 0, "nothing is shared any more: {after}");
}
