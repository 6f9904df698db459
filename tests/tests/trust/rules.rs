//! Which rule counts, what it asks for, and how it is shown.

use super::*;

#[test]
fn the_longest_prefix_decides_wherever_the_image_comes_from() {
    let host = Host::new();
    let file = policy(
        &host,
        &json!([
            {"prefix": "", "level": "reject"},
            {"prefix": "example.com/open", "level": "anything"},
        ]),
    );
    let open = aci(&host, "example.com/open/app", "hello");
    fetch(&host, &open.to_string_lossy()).ok();
    let seen = verification(&host);
    assert_eq!(seen["by"], "nothing");
    assert_eq!(seen["rule"]["prefix"], "example.com/open");
    assert_eq!(seen["rule"]["level"], "anything");
    assert_eq!(seen["rule"]["file"], *file.to_string_lossy());
    assert!(seen["at"].as_u64().unwrap() > 1_700_000_000, "{seen}");

    // Not even the option helps against `reject`.
    let closed = aci(&host, "example.com/opened", "hello");
    let layout = OciImage::busybox(&["/bin/true"]).write(&host.images().join("l"), "1");
    for reference in [closed.display().to_string(), layout.reference()] {
        for option in ["none", "image"] {
            host.rkt(["--insecure-options", option, "fetch", &reference])
                .run()
                .fails(254, "fetch", &["rejected", "policy.json"]);
        }
    }
}

#[test]
fn a_rule_may_name_the_openpgp_keys() {
    let host = Host::new();
    let gpg = Gpg::new();
    let (ada, bob) = (
        gpg.key("Ada <ada@example.com>"),
        gpg.key("Bob <b@example.com>"),
    );
    for key in [&ada, &bob] {
        host.rkt(["trust", "--root", "--skip-fingerprint-review"])
            .arg(&key.public)
            .run()
            .ok();
    }
    policy(
        &host,
        &signed_by(
            "example.com",
            &json!({"type": "openpgp", "fingerprints": [ada.fingerprint]}),
        ),
    );
    let file = aci(&host, "example.com/app", "hello");
    gpg.sign(&bob, &file);
    fetch(&host, &file.to_string_lossy()).fails(254, "fetch", &["Bob", "not for"]);
    host.assert_store_is_empty();
    gpg.sign(&ada, &file);
    fetch(&host, &file.to_string_lossy()).ok();
    let seen = verification(&host);
    assert_eq!(seen["by"], "openpgp");
    assert_eq!(seen["rule"]["level"], "signed-by");
    // An OCI image has no such signature, and is told so.
    policy(&host, &signed_by("", &json!({"type": "openpgp"})));
    let layout = OciImage::busybox(&["/bin/true"]).write(&host.images().join("l"), "1");
    fetch(&host, &layout.reference()).fails(254, "fetch", &["OpenPGP", "OCI image"]);
}

#[test]
fn a_malformed_policy_stops_everything_with_file_and_line() {
    let host = Host::new();
    let file = policy(&host, &json!([]));
    let image = aci(&host, "example.com/app", "hello");
    for (text, words) in [
        (
            "{\"rktKind\": \"trust\",\n\"rktVersion\": \"v1\",\n\"rules\": [{\"prefix\": \"a\",\n\"levle\": \"reject\"}]}",
            ["levle", "line 4"],
        ),
        (
            "{\"rktKind\": \"trust\",\n\"rktVersion\": \"v1\",\n\"rules\": [{\"prefix\": \"a\", \"level\": \"maybe\"}]}",
            ["unknown level", "line 3"],
        ),
    ] {
        fs::write(&file, text).unwrap();
        for option in ["none", "image"] {
            host.rkt(["--insecure-options", option, "fetch"])
                .arg(&image)
                .run()
                .fails(254, "fetch", &["policy.json", words[0], words[1]]);
        }
    }
    host.assert_store_is_empty();
}

#[test]
fn a_stored_image_is_not_run_against_a_later_rule() {
    let host = Host::new();
    host.fetch(&aci(&host, "example.com/app", "hello").to_string_lossy());
    let run = || host.rkt(["run", "--net=none", "example.com/app"]).run();
    run().ok().prints("hello\n");
    policy(
        &host,
        &json!([{"prefix": "example.com", "level": "reject"}]),
    );
    run().fails(254, "run", &["rejected"]);
    policy(
        &host,
        &signed_by("example.com", &json!({"type": "openpgp"})),
    );
    run().fails(254, "run", &["unverified", "fetch it again", "policy.json"]);
    host.rkt([
        "--insecure-options=image",
        "run",
        "--net=none",
        "example.com/app",
    ])
    .run()
    .ok()
    .prints("hello\n");
    let prepared = host
        .rkt([
            "--insecure-options=image",
            "prepare",
            "--quiet",
            "example.com/app",
        ])
        .run()
        .ok();
    host.rkt(["run-prepared", "--net=none", prepared.text()])
        .run()
        .fails(254, "run-prepared", &["unverified"]);
    host.rkt(["rm", prepared.text()]).run().ok();
}

#[test]
fn list_and_explain_tell_what_counts() {
    let host = Host::new();
    let gpg = Gpg::new();
    let ada = gpg.key("Ada <ada@example.com>");
    host.rkt(["trust", "--prefix=example.com", "--skip-fingerprint-review"])
        .arg(&ada.public)
        .run()
        .ok();
    let file = policy(
        &host,
        &json!([
            {"prefix": "docker.io/library", "level": "pinned"},
            {"prefix": "example.com", "level": "signed-by", "signers": [{"type": "openpgp"}]},
        ]),
    );
    let fingerprint = ada.fingerprint.to_lowercase();
    let list = host.rkt(["trust", "list"]).run().ok().stdout;
    for word in [
        "registry-1.docker.io/library",
        "pinned",
        "example.com",
        &fingerprint,
    ] {
        assert!(list.contains(word), "{word}: {list}");
    }
    let listed = host
        .rkt(["trust", "list", "--format=json"])
        .run()
        .ok()
        .json();
    assert_eq!(listed["rules"].as_array().unwrap().len(), 2);
    assert_eq!(listed["keys"][0]["fingerprint"], *fingerprint);
    assert_eq!(listed["pins"], json!([]));

    let explain = |name: &str| host.rkt(["trust", "explain", name]).run().ok().stdout;
    let busybox = explain("docker://busybox");
    for word in [
        "library/busybox:latest",
        "pinned",
        &file.to_string_lossy(),
        "stored: no",
    ] {
        assert!(busybox.contains(word), "{word}: {busybox}");
    }
    let other = explain("example.org/app");
    assert!(other.contains("none; the keystore decides"), "{other}");

    host.fetch(&aci(&host, "example.com/app", "hello").to_string_lossy());
    let app = explain("example.com/app");
    for word in ["signed-by", "Ada", "verified by nobody", "refused"] {
        assert!(app.contains(word), "{word}: {app}");
    }
    let app = host.rkt(["trust", "explain", "--format=json", "example.com/app"]);
    let app = app.run().ok().json();
    assert_eq!(app["stored"]["verification"]["by"], "nothing");
    assert_eq!(app["rule"]["level"], "signed-by");
}

#[test]
fn a_users_own_configuration_says_nothing_about_trust() {
    let host = Host::new();
    let user = host.path().join("user");
    fs::create_dir_all(user.join("trust.d")).unwrap();
    fs::write(
        user.join("trust.d/a.json"),
        r#"{"rktKind": "trust", "rktVersion": "v1", "rules": [{"prefix": "", "level": "anything"}]}"#,
    )
    .unwrap();
    let flag = format!("--user-config={}", user.display());
    let image = aci(&host, "example.com/app", "hello");
    host.rkt([&flag, "fetch", &*image.to_string_lossy()])
        .run()
        .fails(254, "fetch", &["signature"]);
}
