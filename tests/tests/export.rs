//! A pod's app, back as an image: what it wrote is in, what it deleted is not.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use serde_json::Value;
use tests::{Aci, Cmd, Host, Rootfs};

/// What the app does to its image, and what is to be seen of it.
const CHANGES: &str = "set -e
    echo new > /new
    rm /doomed
    rm -r /tree; mkdir /tree; echo again > /tree/again
    echo more >> /kept
    ln /kept /second
    ln -s /kept /link
    mknod /pipe p
    chown 12:34 /new; chmod 4750 /new
    long=/$(printf 'd%.0s' $(seq 60)); mkdir -p $long$long; echo deep > $long$long/$(printf 'f%.0s' $(seq 60))";

const SEEN: &str = "cat /new /kept /second /tree/again
    ls -A /tree; test ! -e /doomed; readlink /link; test -p /pipe
    stat -c '%a %u %g' /new; stat -c %h /kept
    cat /ddd*/ddd*/fff*; cat /untouched";

const EXPECTED: &str =
    "new\nold\nmore\nold\nmore\nagain\nagain\n/kept\n4750 12 34\n2\ndeep\nuntouched\n";

fn host() -> Host {
    let host = Host::new();
    let rootfs = Rootfs::busybox()
        .file("doomed", 0o644, b"x")
        .file("kept", 0o644, b"old\n")
        .file("untouched", 0o600, b"untouched\n")
        .dir("tree", 0o755)
        .file("tree/below", 0o644, b"x");
    host.fetch_aci(&Aci::new("example.com/sh", &["/bin/sh", "-c"], rootfs));
    host
}

fn changed(host: &Host, flags: &[&str]) -> String {
    let words = ["run", "--net=none"].iter().chain(flags).copied();
    host.rkt(words.chain(["example.com/sh", "--", CHANGES]))
        .run()
        .ok();
    host.last_uuid()
}

/// The exported image runs and shows what the app left.
fn runs(host: &Host, reference: &str) {
    host.rkt(["image", "rm", "example.com/sh"]).run().ok();
    let id = host.fetch(reference);
    host.rkt([
        "run",
        "--net=none",
        &id,
        "--exec=/bin/sh",
        "--",
        "-ec",
        SEEN,
    ])
    .run()
    .ok()
    .prints(EXPECTED);
}

#[test]
fn as_an_aci() {
    let host = host();
    let uuid = changed(&host, &[]);
    let file = host.path().join("out.aci");
    let file = file.to_str().unwrap();
    host.rkt(["export", &uuid, file]).run().ok().prints("");
    let manifest = Cmd::new("tar")
        .args(["-xzOf", file, "manifest"])
        .run()
        .ok()
        .json();
    assert_eq!(manifest["name"], "example.com/sh");
    host.rkt(["export", &uuid, file])
        .run()
        .fails(254, "export", &["--overwrite"]);
    host.rkt(["export", "--overwrite", &uuid[..8], file])
        .run()
        .ok();
    runs(&host, file);
}

#[test]
fn of_a_pod_without_overlay() {
    let host = host();
    let uuid = changed(&host, &["--no-overlay"]);
    let file = host.path().join("out.aci");
    host.rkt(["export", &uuid, file.to_str().unwrap()])
        .run()
        .ok();
    runs(&host, file.to_str().unwrap());
}

#[test]
fn as_an_oci_layout_that_other_tools_read() {
    let host = host();
    let uuid = changed(&host, &[]);
    host.rkt(["gc", "--mark-only"]).run().ok();
    let reference = format!("oci:{}:1.1", host.path().join("layout").display());
    host.rkt(["export", &uuid, &reference]).run().ok();
    let told: Value = Cmd::new("skopeo")
        .args(["inspect", "--config", &reference])
        .run()
        .ok()
        .json();
    assert_eq!(told["config"]["Entrypoint"][0], "/bin/sh", "{told}");
    runs(&host, &reference);
}

#[test]
fn as_an_oci_archive_of_one_app_of_several() {
    let host = host();
    let out = host
        .rkt([
            "run",
            "--net=none",
            "example.com/sh",
            "--name=a",
            "--",
            CHANGES,
            "---",
        ])
        .args(["example.com/sh", "--name=b", "--", "echo b > /b"])
        .run()
        .ok();
    drop(out);
    let uuid = host.last_uuid();
    let reference = format!("oci-archive:{}", host.path().join("out.tar").display());
    host.rkt(["export", &uuid, &reference])
        .run()
        .fails(254, "export", &["a, b", "--app="]);
    host.rkt(["export", "--app=c", &uuid, &reference])
        .run()
        .fails(254, "export", &["no app \"c\""]);
    host.rkt(["export", "--app=a", &uuid, &reference])
        .run()
        .ok();
    Cmd::new("skopeo").args(["inspect", &reference]).run().ok();
    runs(&host, &reference);
}

#[test]
fn only_to_what_is_an_image() {
    let host = host();
    let uuid = changed(&host, &[]);
    host.rkt(["export", &uuid, "out.tar"])
        .run()
        .fails(254, "export", &["extension must be .aci"]);
}
