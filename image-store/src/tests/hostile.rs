//! Archives that lie, escape or end too soon: one clear error that names the
//! entry, and nothing published.

use std::io::Write;

use manifests::digest::Algorithm;

use super::archive::{Archive, Header};
use super::properties::scan;
use super::{TestStore, file_of, is_root};
use crate::{BackendChoice, Keep, LayerKind};

/// Every way in which a single OCI layer, or the second of two, is refused.
#[test]
fn each_is_refused_with_its_reason() {
    let long = "x".repeat(300);
    let deep = "d/".repeat(600);
    let oversized = Header::new(b'x', "PaxHeaders/x").size(1 << 40);
    let hidden_data = Header::new(b'5', "d").size(512);
    let mut base256 = Header::new(b'0', "f");
    base256.put(124, &[0xff; 12]);
    let mut not_octal = Header::new(b'0', "f");
    not_octal.put(108, b"12x45678");
    let mut wrong_sum = Header::new(b'0', "f").sealed();
    wrong_sum[0] = b'g';
    let map = |at: u64, len: u64, real: u64| {
        let mut header = Header::new(b'S', "sparse").size(512);
        header.put(257, b"ustar  \0");
        header.put(386, format!("{at:011o}\0{len:011o}\0").as_bytes());
        header.put(483, format!("{real:011o}\0").as_bytes());
        Archive::new().member(header, &[1; 512])
    };
    let a = Archive::new;
    let table: Vec<(&str, Archive, &[&str])> = vec![
        (
            "absolute",
            a().file("/etc/passwd", b"x"),
            &["\"/etc/passwd\"", "absolute"],
        ),
        (
            "parent",
            a().file("a/../../b", b"x"),
            &["\"a/../../b\"", "\"..\""],
        ),
        ("empty name", a().file("", b"x"), &["empty name"]),
        (
            "NUL",
            a().pax(b'x', &[("path", b"a\0b")]).file("x", b""),
            &["NUL"],
        ),
        (
            "long name",
            a().gnu_long(b'L', &long).file("x", b""),
            &["255 bytes"],
        ),
        (
            "too deep",
            a().gnu_long(b'L', &deep).dir("x"),
            &["512 directories"],
        ),
        (
            "through a symlink",
            a().symlink("lib", "/etc").file("lib/passwd", b"x"),
            &["\"lib/passwd\"", "symlink \"lib\""],
        ),
        (
            "through a relative symlink, two levels up",
            a().symlink("a", "..").dir("b").file("a/b/c", b"x"),
            &["\"a/b/c\"", "symlink \"a\""],
        ),
        (
            "through a file",
            a().file("bin", b"x").file("bin/sh", b"x"),
            &["\"bin/sh\"", "\"bin\" is not a directory"],
        ),
        (
            "link to nothing",
            a().hard_link("a", "b"),
            &["\"a\"", "\"b\", which does not exist"],
        ),
        (
            "link outside",
            a().hard_link("a", "../../etc/shadow"),
            &["\"a\"", "\"../../etc/shadow\"", "\"..\""],
        ),
        (
            "link to an absolute path",
            a().hard_link("a", "/etc/shadow"),
            &["\"a\"", "absolute"],
        ),
        (
            "link through a symlink",
            a().symlink("s", "/etc").hard_link("a", "s/shadow"),
            &["\"a\"", "does not exist"],
        ),
        (
            "link to a directory",
            a().dir("d").hard_link("a", "d"),
            &["directory \"d\""],
        ),
        (
            "a root that is none",
            a().symlink("./", "/etc"),
            &["must be a directory"],
        ),
        ("empty symlink", a().symlink("s", ""), &["\"s\"", "empty"]),
        (
            "whiteout of ..",
            a().file("a/.wh...", b""),
            &["malformed whiteout"],
        ),
        (
            "whiteout of nothing",
            a().file(".wh.", b""),
            &["malformed whiteout"],
        ),
        (
            "whiteout as directory",
            a().file(".wh.a/b", b""),
            &["malformed whiteout"],
        ),
        ("no header", a().raw(&[b'x'; 512]), &["not a tar header"]),
        ("wrong checksum", a().raw(&wrong_sum), &["not a tar header"]),
        (
            "lone zero block",
            a().raw(&[0; 512]).file("f", b""),
            &["lone zero block"],
        ),
        (
            "negative size",
            a().member(base256, b""),
            &["\"f\"", "size is not valid"],
        ),
        (
            "no number",
            a().member(not_octal, b""),
            &["\"f\"", "uid is not valid"],
        ),
        (
            "id that means nobody",
            a().pax(b'x', &[("uid", b"4294967295")]).file("f", b""),
            &["\"f\"", "uid"],
        ),
        (
            "impossible device",
            a().member(Header::new(b'3', "null").device(1 << 13, 0), b""),
            &["\"null\"", "device"],
        ),
        (
            "directory with data",
            a().member(hidden_data, &[0; 512]),
            &["\"d\"", "512 bytes of data"],
        ),
        (
            "another volume",
            a().member(Header::new(b'M', "m"), b""),
            &["'M'"],
        ),
        (
            "endless PAX header",
            a().member(oversized, b""),
            &["1099511627776 bytes"],
        ),
        (
            "PAX record without end",
            a().member(Header::new(b'x', "p").size(9), b"99 path=x"),
            &["PAX header"],
        ),
        (
            "PAX header and then nothing",
            a().pax(b'x', &[("path", b"y")]),
            &["belongs to nothing"],
        ),
        (
            "oversized attribute",
            a().pax(b'x', &[("SCHILY.xattr.user.x", &[b'v'; 70_000])])
                .file("f", b""),
            &["\"f\"", "\"user.x\" is too long"],
        ),
        (
            "damaged access control list",
            a().pax(b'x', &[("SCHILY.xattr.system.posix_acl_access", b"x")])
                .file("f", b""),
            &["\"f\"", "access control list"],
        ),
        (
            "sparse beyond its end",
            map(512, 512, 600),
            &["\"sparse\"", "beyond the end"],
        ),
        (
            "sparse unaligned",
            map(100, 512, 4096),
            &["\"sparse\"", "whole blocks"],
        ),
        (
            "sparse of another size",
            map(0, 1024, 4096),
            &["\"sparse\"", "add up"],
        ),
    ];
    let test = TestStore::new();
    for (what, archive, expected) in table {
        let layer = archive.finish();
        let error = test.commit(&[&layer]).expect_err(what).to_string();
        for part in expected {
            assert!(error.contains(part), "{what}: {part:?} is not in {error:?}");
        }
        assert_eq!(error.lines().count(), 1, "{what}: {error}");
    }
    assert!(test.store.images().unwrap().is_empty());
    assert!(test.store.names().unwrap().is_empty());
    assert_eq!(test.store.gc(&Keep::default()).unwrap().removed_objects, 0);
}

#[test]
fn an_aci_has_its_own_rules() {
    let a = Archive::new;
    let good = || a().file("manifest", b"{}").dir("rootfs");
    let table: Vec<(&str, Archive, &str)> = vec![
        ("no manifest", a().dir("rootfs"), "no file \"manifest\""),
        (
            "no rootfs",
            a().file("manifest", b"{}").file("rootfs/a", b""),
            "no directory",
        ),
        (
            "stranger",
            good().file("rootfsx/a", b""),
            "only \"manifest\" and \"rootfs\"",
        ),
        (
            "two manifests",
            good().file("./manifest", b"{}"),
            "second entry",
        ),
        ("two roots", good().dir("rootfs/"), "second entry"),
        (
            "two files",
            good().file("rootfs/a", b"1").file("rootfs//a", b"2"),
            "second entry",
        ),
        (
            "two directories",
            good().dir("rootfs/d").dir("rootfs/./d/"),
            "second entry",
        ),
        (
            "file and link",
            good()
                .file("rootfs/a", b"")
                .hard_link("rootfs/a", "rootfs/a"),
            "second",
        ),
        (
            "manifest is a link",
            a().symlink("manifest", "x").dir("rootfs"),
            "must be a regular",
        ),
        (
            "link from outside",
            good().hard_link("rootfs/a", "manifest"),
            "only \"manifest\"",
        ),
        (
            "link to later",
            good()
                .hard_link("rootfs/a", "rootfs/b")
                .file("rootfs/b", b""),
            "exist",
        ),
        (
            "huge manifest",
            a().member(Header::new(b'0', "manifest").size(100 << 20), b""),
            "a manifest of 104857600 bytes",
        ),
    ];
    let test = TestStore::new();
    for (what, archive, expected) in table {
        let staging = test.store.stage().unwrap();
        let mut writer = staging.layer(Algorithm::Sha512, LayerKind::Aci).unwrap();
        let _ = writer.write_all(&archive.finish());
        let error = writer.finish(None).expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
    let archive = a()
        .dir("./")
        .dir("rootfs")
        .file("rootfs/.wh.kept", b"an ordinary file here")
        .file("rootfs/dir/rootfs", b"x")
        .file("rootfs/manifest", b"not this one")
        .file("manifest", b"{ }")
        .finish();
    let staging = test.store.stage().unwrap();
    let mut writer = staging.layer(Algorithm::Sha512, LayerKind::Aci).unwrap();
    writer.write_all(&archive).unwrap();
    let layer = writer.finish(None).unwrap();
    assert_eq!(layer.aci_manifest.unwrap(), b"{ }");
}

/// Cut anywhere, an ACI is refused; an OCI layer is, too, except between two
/// members, where its digest tells.
#[test]
fn truncation_is_noticed_at_every_byte() {
    let whole = Archive::new()
        .file("manifest", b"{}")
        .dir("rootfs")
        .gnu_long(b'L', "rootfs/a")
        .file("x", b"12345")
        .pax(b'x', &[("path", b"rootfs/b")])
        .file("x", &[7; 600])
        .unfinished();
    let marker = whole.len();
    let whole = [&whole[..], &[0; 1024]].concat();
    let refused = |error: String, length: usize| {
        assert!(error.contains("truncated"), "{length}: {error}");
    };
    for length in 0..marker + 512 {
        let error = scan(&whole[..length], 4096, LayerKind::Aci).unwrap_err();
        refused(error.to_string(), length);
    }
    let test = TestStore::new();
    let staging = test.store.stage().unwrap();
    for length in (0..marker + 512).step_by(97) {
        let mut writer = staging.layer(Algorithm::Sha512, LayerKind::Aci).unwrap();
        writer.write_all(&whole[..length]).unwrap();
        refused(writer.finish(None).unwrap_err().to_string(), length);
    }
    for length in [marker + 512, marker + 1024] {
        let mut writer = staging.layer(Algorithm::Sha512, LayerKind::Aci).unwrap();
        writer.write_all(&whole[..length]).unwrap();
        writer.finish(None).unwrap();
    }
    let mut writer = staging.layer(Algorithm::Sha256, LayerKind::Oci).unwrap();
    writer.write_all(&whole[..1536]).unwrap();
    let expected = staging_digest(&whole);
    let error = writer.finish(Some(&expected)).unwrap_err().to_string();
    assert!(error.contains("digest mismatch"), "{error}");
}

/// The same, when the archive is in the store already and cut there.
#[test]
fn a_stored_tar_that_was_cut_is_noticed() {
    let layer = Archive::new().file("a", &[1; 2000]).finish();
    let test = TestStore::unsealed();
    let image = test.commit(&[&layer]).unwrap();
    let digest = &image.index.devices[0];
    let path = test.store.dirs.object(digest);
    for length in [100, 512, 700, 2047] {
        std::fs::write(&path, &layer[..length]).unwrap();
        let error = test.store.scan_layer(digest, LayerKind::Oci).unwrap_err();
        assert!(error.to_string().contains("truncated"), "{length}: {error}");
    }
}

/// As umoci before 0.5 writes them: no end marker, and the last member is not
/// filled up to a whole block. The kernel cannot read a part of a block, so it
/// is unpacked.
#[test]
fn an_oci_layer_may_end_with_its_last_byte() {
    let whole = Archive::new()
        .file("a", &[1; 2000])
        .file("b", b"the end")
        .finish();
    let end = 512 + 2048 + 512 + 7;
    for length in [end, end + 1, end + 505, end + 505 + 100] {
        let test = TestStore::new();
        let image = test.commit(&[&whole[..length]]).unwrap();
        let digest = &image.index.devices[0];
        test.store.scan_layer(digest, LayerKind::Oci).unwrap();
        if is_root() {
            let mounted = test.store.mount(&image, BackendChoice::Auto).unwrap();
            assert_eq!(file_of(&mounted.path.join("b")), b"the end");
            let unpacked = mounted.fallback.unwrap_or_default();
            let whole = length.is_multiple_of(512);
            assert!(
                whole || unpacked.contains("middle of a block"),
                "{unpacked}"
            );
        }
    }
    let test = TestStore::new();
    let error = test.commit(&[&whole[..end - 1]]).unwrap_err();
    assert!(error.to_string().contains("truncated"), "{error}");
}

fn staging_digest(bytes: &[u8]) -> manifests::digest::Digest {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(bytes);
    manifests::digest::Digest::from_bytes(Algorithm::Sha256, &hash)
}
