//! Policies of containers' tools.

use super::*;

fn containers_policy(host: &Host) -> PathBuf {
    let file = host.path().join("policy.json");
    let text = json!({
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {
                "open.example.com": [{"type": "insecureAcceptAnything"}],
                "gpg.example.com": [{"type": "signedBy", "keyType": "GPGKeys",
                                     "keyPath": "/etc/pki/key.gpg"}],
                "signed.example.com/team": [{"type": "sigstoreSigned", "keyPath": "/k.pub"}],
            },
            "docker-daemon": {"": [{"type": "insecureAcceptAnything"}]},
        },
    });
    fs::write(&file, text.to_string()).unwrap();
    file
}

#[test]
fn a_containers_policy_becomes_rules() {
    let host = Host::new();
    let file = containers_policy(&host);
    let file = file.to_string_lossy();
    let dry = host.rkt(["trust", "import", "--dry-run", &file]).run().ok();
    assert_eq!(dry.json()["rules"].as_array().unwrap().len(), 4);
    assert!(!host.config().join("trust.d").exists());

    let out = host.rkt(["trust", "import", &file]).run().ok();
    assert!(out.stdout.contains("Imported 4 rules"), "{out}");
    assert!(out.stderr.contains("gpg.example.com"), "{out}");
    assert!(out.stderr.contains("simple signing"), "{out}");
    let explain = |name: &str| host.rkt(["trust", "explain", name]).run().ok().stdout;
    assert!(explain("docker://open.example.com/a").contains("anything"));
    assert!(explain("docker://gpg.example.com/a").contains("reject"));
    assert!(explain("docker://signed.example.com/team/a").contains("/k.pub"));
    assert!(explain("example.org/a").contains("reject"));
    // Again, over itself; but not beside it.
    host.rkt(["trust", "import", &file]).run().ok();
    let out = host.rkt(["trust", "import", "--name=again", &file]).run();
    let out = out.code_is(254);
    assert!(out.stderr.contains("already a rule"), "{out}");
}

#[test]
fn fulcio_becomes_a_trust_root_that_works() {
    let host = Host::new();
    let sigstore = Sigstore::new();
    let repository = "registry.example.com/team/app";
    let image = sigstore::layout(&host.images().join("l"), &format!("{repository}:1"));
    let wish = Wish::default();
    let payload = sigstore::payload(repository, &image.manifest);
    let signature = sigstore.sign(&payload, &wish);
    let annotations = sigstore.annotations(&payload, &signature, &wish);
    sigstore::attach(
        &image.dir,
        &image.manifest,
        &Attachment::Tagged(payload, annotations),
    );
    let file = host.path().join("policy.json");
    let text = json!({
        "default": [{"type": "reject"}],
        "transports": {"docker": {repository: [{
            "type": "sigstoreSigned",
            "fulcio": {"caPath": sigstore.file("ca.pem"),
                       "oidcIssuer": "https://accounts.example.com",
                       "subjectEmail": "ci@example.com"},
            "rekorPublicKeyPath": sigstore.file("log.pub"),
            "signedIdentity": {"type": "matchRepository"},
        }]}},
    });
    fs::write(&file, text.to_string()).unwrap();
    host.rkt(["trust", "import", &file.to_string_lossy()])
        .run()
        .ok();
    fetch(&host, &image.reference()).ok();
    assert_eq!(verification(&host)["subject"], "ci@example.com");
}

#[test]
fn what_is_no_policy_is_refused() {
    let host = Host::new();
    let file = host.path().join("policy.json");
    fs::write(&file, "{\n\"default\": 1}").unwrap();
    host.rkt(["trust", "import", &file.to_string_lossy()])
        .run()
        .fails(254, "import", &["policy.json", "line 2"]);
}
