//! Which kernel can do what: the table that the engine's and the store's
//! fallbacks are built on. A row that changes is news, good or bad.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs;
use std::path::Path;

use tests::Cmd;
use tests::guest::{Debian, Guest, Kernel};

/// Feature, then whether 6.1, 6.12 and 6.18 have it.
const TABLE: [(&str, [bool; 3]); 14] = [
    ("erofs-files", [false, true, true]),
    ("erofs-several-files", [false, true, true]),
    ("erofs-files-on-tmpfs", [false, false, false]),
    ("erofs-several-loops", [true, true, true]),
    ("fs-verity", [true, true, true]),
    ("overlay-volatile", [true, true, true]),
    ("overlay-layers-one-by-one", [false, true, true]),
    ("overlay-verity", [false, true, true]),
    ("overlay-on-idmapped-erofs", [true, true, true]),
    ("idmapped-ext4", [true, true, true]),
    ("idmapped-erofs", [true, true, true]),
    ("idmapped-tmpfs", [false, true, true]),
    ("idmapped-overlay", [false, false, false]),
    ("cgroup-kill", [true, true, true]),
];

fn assert_table(column: usize, kernel: Kernel) {
    // Its mount(8) knows id-mapping; Debian 12's does not.
    let Some(guest) = Guest::qemu_with(kernel, Debian::Trixie) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("tree")).unwrap();
    fs::write(at("tree/hello"), "hello from a file\n").unwrap();
    let mkfs = |image: &str, options: &[&str]| {
        Cmd::new("mkfs.erofs")
            .args(options)
            .arg(at(image))
            .arg(at("tree"))
            .run()
            .ok();
    };
    mkfs("one.erofs", &["--quiet"]);
    let data = format!("--blobdev={}", at("data").display());
    mkfs("index.erofs", &["--quiet", "--chunksize=4096", &data]);

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/kernel-features");
    let out = ["one.erofs", "index.erofs", "data"]
        .iter()
        .fold(guest, |guest, name| {
            guest.file(&format!("/in/{name}"), &at(name))
        })
        .run(&fs::read_to_string(script).unwrap())
        .ok();
    let found: Vec<(&str, bool)> = out
        .stdout
        .lines()
        .map(|l| l.split_once('=').unwrap())
        .map(|(name, has)| (name, has == "yes"))
        .collect();
    let wanted = TABLE.map(|(name, has)| (name, has[column]));
    assert_eq!(found, wanted, "{out}");
}

#[test]
fn linux_6_1_has_what_the_table_says() {
    assert_table(0, Kernel::V6_1);
}

#[test]
fn linux_6_12_has_what_the_table_says() {
    assert_table(1, Kernel::V6_12);
}

#[test]
fn linux_6_18_has_what_the_table_says() {
    assert_table(2, Kernel::V6_18);
}
