//! ACIs and their signatures, made by the real tar and the real gpg.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod common;

use std::fs;

use common::{Gpg, World, aci, aci_manifest, update};
use fetch::keystore::Scope;
use fetch::{PullPolicy, Request};
use manifests::trust::Vouched;

fn prefix(name: &str) -> Scope {
    Scope::Prefix(name.parse().unwrap())
}

#[test]
fn every_compression_gives_the_same_id() {
    let world = World::new();
    let file = world.path("app.aci");
    let mut ids = Vec::new();
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain.aci");
    aci(&plain, &aci_manifest("example.com/app"), "");
    for program in ["", "gzip", "bzip2", "xz", "zstd"] {
        match program {
            "" => {
                fs::copy(&plain, &file).unwrap();
            }
            program => {
                let script = format!("{program} -c <{} >{}", plain.display(), file.display());
                common::run(
                    program,
                    std::process::Command::new("sh").args(["-c", &script]),
                );
            }
        }
        ids.push(world.fetch(file.to_str().unwrap()).id);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let request = Request {
        pull_policy: PullPolicy::New,
        ..update()
    };
    let by_name = world.fetch_with("example.com/app:1.0", "none", &request).0;
    assert_eq!(by_name.unwrap().id, ids[0]);
    assert_eq!(world.store.images().unwrap().len(), 1);
}

#[test]
fn a_signed_aci_is_let_in_and_the_record_says_by_whom() {
    let world = World::new();
    let gpg = Gpg::new();
    let key = gpg.key("Ann <ann@example.com>");
    world.keystore.add(&prefix("example.com"), &key).unwrap();
    let file = world.path("app.aci");
    aci(&file, &aci_manifest("example.com/app"), "gzip");
    gpg.sign("ann", &file);
    let (result, told) = world.fetch_with(file.to_str().unwrap(), "none", &update());
    let verified = Vouched::OpenPgp {
        fingerprint: key.fingerprint(),
        identities: vec!["Ann <ann@example.com>".to_owned()],
        prefix: "example.com".to_owned(),
    };
    assert_eq!(result.unwrap().verification.by, verified);
    let notes = told.notes.lock().unwrap().clone();
    assert_eq!(notes, ["signature verified: Ann <ann@example.com>"]);
    // Looking away later does not make it unverified.
    assert_eq!(
        world.fetch(file.to_str().unwrap()).verification.by,
        verified
    );
}

#[test]
fn refusals_say_what_to_do() {
    let gpg = Gpg::new();
    let key = gpg.key("Ann <ann@example.com>");
    let world = World::new();
    let file = world.path("app.aci");
    let reference = file.to_str().unwrap();
    aci(&file, &aci_manifest("example.com/app"), "gzip");
    let contains = |error: String, words: &[&str]| {
        for word in words {
            assert!(error.contains(word), "{word:?} is missing: {error}");
        }
    };

    let error = world.refused(reference, "none");
    contains(
        error,
        &["app.aci.asc", "rkt trust", "--insecure-options=image"],
    );

    gpg.sign("ann", &file);
    let error = world.refused(reference, "none");
    let fingerprint = key.fingerprint();
    contains(error, &[&fingerprint, "rkt trust --prefix example.com/app"]);

    world.keystore.add(&prefix("example.com/ap"), &key).unwrap();
    world.keystore.add(&prefix("example.org"), &key).unwrap();
    let error = world.refused(reference, "none");
    contains(
        error,
        &[
            "Ann <ann@example.com>",
            "example.org",
            "not for example.com/app",
        ],
    );

    world.keystore.add(&Scope::Root, &key).unwrap();
    let signature = world.path("app.aci.asc");
    let good = fs::read(&signature).unwrap();
    fs::write(&signature, "no signature").unwrap();
    contains(
        world.refused(reference, "none"),
        &["app.aci.asc", "no valid signatures"],
    );

    fs::write(&signature, &good).unwrap();
    aci(&file, &aci_manifest("example.com/app"), "bzip2");
    contains(
        world.refused(reference, "none"),
        &["does not match", "tampered"],
    );
}

#[test]
fn a_signature_elsewhere_is_named_by_the_request() {
    let world = World::new();
    let gpg = Gpg::new();
    world
        .keystore
        .add(&Scope::Root, &gpg.key("Ann <ann@example.com>"))
        .unwrap();
    let file = world.path("app.aci");
    aci(&file, &aci_manifest("example.com/app"), "");
    gpg.sign("ann", &file);
    let elsewhere = world.path("elsewhere");
    fs::rename(world.path("app.aci.asc"), &elsewhere).unwrap();
    let request = Request {
        signature: Some(elsewhere),
        ..update()
    };
    let (result, _) = world.fetch_with(file.to_str().unwrap(), "none", &request);
    assert!(matches!(
        result.unwrap().verification.by,
        Vouched::OpenPgp { .. }
    ));
}

#[test]
fn what_is_no_aci_is_refused() {
    let world = World::new();
    let file = world.path("app.aci");
    let reference = file.to_str().unwrap();
    for (bytes, word) in [(&b""[..], "truncated"), (&[0x1f, 0x8b, 8, 0, 1], "gzip")] {
        fs::write(&file, bytes).unwrap();
        let error = world.refused(reference, "image");
        assert!(error.contains("app.aci"), "{error}");
        assert!(error.contains(word), "{word}: {error}");
    }
    aci(&file, "{ not json", "");
    assert!(world.refused(reference, "image").contains("manifest"));
    aci(&file, &aci_manifest("example.com/app"), "gzip");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(
        world
            .refused(reference, "image")
            .contains("gzip data is damaged")
    );
    let error = world.refused("/nosuch/app.aci", "none");
    assert!(
        error.contains("/nosuch/app.aci") && error.contains("No such file"),
        "{error}"
    );
}

/// Neither must wait for somebody to write into it.
#[test]
fn a_fifo_is_refused_at_once() {
    let world = World::new();
    let fifo = world.path("app.aci");
    common::run("coreutils", std::process::Command::new("mkfifo").arg(&fifo));
    for scheme in ["", "oci-archive:", "docker-archive:"] {
        let error = world.refused(&format!("{scheme}{}", fifo.display()), "image");
        assert!(error.contains("no regular file"), "{error}");
    }
}

#[test]
fn dependencies_are_taken_from_the_store() {
    let world = World::new();
    let base = world.path("base.aci");
    aci(&base, &aci_manifest("example.com/base"), "");
    let top = world.path("top.aci");
    let manifest = aci_manifest("example.com/top").replacen(
        "\"app\":",
        r#""dependencies":[{"imageName":"example.com/base","labels":[{"name":"version","value":"1.0"}]}],"app":"#,
        1,
    );
    aci(&top, &manifest, "");
    let error = world.refused(top.to_str().unwrap(), "image");
    assert!(error.contains("depends on example.com/base:1.0"), "{error}");
    let base = world.fetch(base.to_str().unwrap());
    let top = world.fetch(top.to_str().unwrap());
    let digests: Vec<_> = top.rootfs.layers().map(|l| &l.digest).collect();
    assert_eq!(digests, [base.id.digest(), top.id.digest()]);
}
