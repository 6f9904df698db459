//! Signatures by identities: certificates and transparency logs.

use super::*;

const REPOSITORY: &str = "registry.example.com/team/app";

/// A layout with an unsigned image, and who could sign it.
struct World {
    host: Host,
    sigstore: Sigstore,
    image: tests::oci::Layout,
    index: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let host = Host::new();
        let sigstore = Sigstore::new();
        let image = sigstore::layout(&host.images().join("l"), &format!("{REPOSITORY}:1"));
        let index = fs::read(image.dir.join("index.json")).unwrap();
        let this = Self {
            host,
            sigstore,
            image,
            index,
        };
        this.trust("ci@example.com", &this.sigstore.trusted_root());
        this
    }

    fn trust(&self, subject: &str, root: &Path) {
        let signer = json!({
            "type": "identity", "subject": subject,
            "issuer": "https://accounts.example.com", "trustRoot": root,
        });
        policy(&self.host, &signed_by("registry.example.com", &signer));
    }

    /// Attaches nothing but this.
    fn attach(&self, attachment: &Attachment) {
        fs::write(self.image.dir.join("index.json"), &self.index).unwrap();
        sigstore::attach(&self.image.dir, &self.image.manifest, attachment);
    }

    fn tagged(&self, wish: &Wish) -> (Vec<u8>, Value) {
        let payload = sigstore::payload(REPOSITORY, &self.image.manifest);
        let signature = self.sigstore.sign(&payload, wish);
        let annotations = self.sigstore.annotations(&payload, &signature, wish);
        (payload, annotations)
    }

    fn attach_tagged(&self, wish: &Wish) {
        let (payload, annotations) = self.tagged(wish);
        self.attach(&Attachment::Tagged(payload, annotations));
    }

    #[track_caller]
    fn refused(&self, words: &[&str]) {
        fetch(&self.host, &self.image.reference()).fails(254, "fetch", words);
        self.host.assert_store_is_empty();
    }

    #[track_caller]
    fn accepted(&self) {
        fetch(&self.host, &self.image.reference()).ok();
        let seen = verification(&self.host);
        assert_eq!(seen["by"], "identity");
        assert_eq!(seen["issuer"], "https://accounts.example.com");
        assert_eq!(seen["logged"], 1_714_564_800);
        self.host.rkt(["image", "rm", &self.image.id()]).run().ok();
    }
}

#[test]
fn a_certified_and_logged_signature_is_let_in() {
    let w = World::new();
    w.refused(&["no signature", "ci@example.com"]);
    w.attach_tagged(&Wish::default());
    w.accepted();
    let bundle = w.sigstore.bundle(&w.image.manifest, &Wish::default());
    w.attach(&Attachment::Referrer(bundle));
    w.accepted();
}

#[test]
fn names_are_matched_whole_and_by_stars() {
    let w = World::new();
    let uri = "https://example.com/team/app/release.yml@refs/tags/v1.2";
    w.attach_tagged(&Wish {
        subject: format!("URI:{uri}"),
        ..Wish::default()
    });
    let root = w.sigstore.trusted_root();
    for (subject, good) in [
        (uri, true),
        ("https://example.com/team/app/*@refs/tags/v*", true),
        ("https://example.com/team/app/*@refs/heads/*", false),
        ("https://example.com/team/app", false),
        ("ci@example.com", false),
    ] {
        w.trust(subject, &root);
        match good {
            true => w.accepted(),
            false => w.refused(&["release.yml", "does not name"]),
        }
    }
}

#[test]
fn certificates_that_do_not_hold_are_refused() {
    let w = World::new();
    let good = Wish::default;
    for (wish, words) in [
        (
            Wish {
                issuer: "https://elsewhere.example.com".to_owned(),
                ..good()
            },
            "elsewhere.example.com",
        ),
        (
            Wish {
                valid: ("20240501121000Z", "20240501122000Z"),
                ..good()
            },
            "not valid when the signature was made",
        ),
        (
            Wish {
                valid: ("20240501110000Z", "20240501111000Z"),
                ..good()
            },
            "not valid when the signature was made",
        ),
        (
            Wish {
                usage: "serverAuth",
                ..good()
            },
            "not for signing code",
        ),
        (
            Wish {
                promised: false,
                ..good()
            },
            "no log promised",
        ),
    ] {
        w.attach_tagged(&wish);
        w.refused(&[words]);
        w.attach(&Attachment::Referrer(
            w.sigstore.bundle(&w.image.manifest, &wish),
        ));
        w.refused(&[words]);
    }
}

#[test]
fn authorities_and_logs_must_be_those_of_the_trust_root() {
    let w = World::new();
    w.attach_tagged(&Wish::default());
    let ours: Value =
        serde_json::from_slice(&fs::read(w.sigstore.trusted_root()).unwrap()).unwrap();
    let other = Sigstore::new();
    let theirs: Value = serde_json::from_slice(&fs::read(other.trusted_root()).unwrap()).unwrap();
    let file = w.host.path().join("root.json");
    for (part, words) in [
        ("tlogs", "log that the trust root does not name"),
        ("ctlogs", "none of its SCTs"),
        ("certificateAuthorities", "trust root issued it"),
    ] {
        let mut root = ours.clone();
        root[part] = theirs[part].clone();
        fs::write(&file, root.to_string()).unwrap();
        w.trust("ci@example.com", &file);
        w.refused(&[words]);
    }
    // Trusted at another time.
    let mut root = ours.clone();
    root["tlogs"][0]["publicKey"]["validFor"] = json!({"end": "2022-01-01T00:00:00Z"});
    fs::write(&file, root.to_string()).unwrap();
    w.refused(&["not to be trusted at the entry's time"]);
    // A log may not be left out; one of certificates may.
    let mut root = ours.clone();
    root["ctlogs"] = json!([]);
    fs::write(&file, root.to_string()).unwrap();
    w.accepted();
    fs::write(&file, "{\n\"tlogs\": 1}").unwrap();
    w.refused(&["root.json", "line 2"]);
    w.trust("ci@example.com", Path::new("/nonexistent.json"));
    w.refused(&["/nonexistent.json"]);
}

#[test]
fn what_was_changed_afterwards_does_not_hold() {
    let w = World::new();
    let wish = Wish::default();
    let (payload, good) = w.tagged(&wish);
    let log = "dev.sigstore.cosign/bundle";
    let with_log = |change: &dyn Fn(&mut Value)| {
        let mut annotations = good.clone();
        let mut bundle: Value = serde_json::from_str(annotations[log].as_str().unwrap()).unwrap();
        change(&mut bundle);
        annotations[log] = json!(bundle.to_string());
        annotations
    };
    let without = |name: &str| {
        let mut annotations = good.clone();
        annotations.as_object_mut().unwrap().remove(name);
        annotations
    };
    let entry_of_another = {
        let (_, other) = w.tagged(&wish);
        let mut annotations = good.clone();
        annotations[log] = other[log].clone();
        annotations
    };
    for (annotations, words) in [
        (without("dev.sigstore.cosign/certificate"), "certificate"),
        (without(log), "in no transparency log"),
        (
            with_log(&|b| b["Payload"]["integratedTime"] = json!(1_714_564_900)),
            "not signed by the log",
        ),
        (
            with_log(&|b| b["SignedEntryTimestamp"] = json!("AAAA")),
            "not signed by the log",
        ),
        (with_log(&|b| b["Payload"] = json!(1)), "malformed"),
        (entry_of_another, "about another signature"),
    ] {
        w.attach(&Attachment::Tagged(payload.clone(), annotations));
        w.refused(&[words]);
    }
    // The same signature over another payload.
    let mut other = payload.clone();
    other.push(b' ');
    w.attach(&Attachment::Tagged(other, good.clone()));
    w.refused(&["bytes were changed"]);
    // Under another name.
    let payload = sigstore::payload("registry.example.com/other", &w.image.manifest);
    let signature = w.sigstore.sign(&payload, &wish);
    let annotations = w.sigstore.annotations(&payload, &signature, &wish);
    w.attach(&Attachment::Tagged(payload, annotations));
    w.refused(&["registry.example.com/other"]);
}

#[test]
fn bundles_that_were_changed_do_not_hold() {
    let w = World::new();
    let good = w.sigstore.bundle(&w.image.manifest, &Wish::default());
    let entry = "/verificationMaterial/tlogEntries/0";
    let proof = "/verificationMaterial/tlogEntries/0/inclusionProof";
    for (place, value, words) in [
        (
            format!("{proof}/hashes/0"),
            json!("AAAA"),
            "inclusion proof",
        ),
        (format!("{proof}/logIndex"), json!("0"), "does not hold"),
        (format!("{proof}/treeSize"), json!("3"), "inclusion proof"),
        (
            format!("{proof}/checkpoint/envelope"),
            json!("x"),
            "checkpoint",
        ),
        (
            format!("{entry}/inclusionProof"),
            Value::Null,
            "no inclusion proof",
        ),
        (
            format!("{entry}/inclusionPromise"),
            Value::Null,
            "no signed time",
        ),
        (
            format!("{entry}/integratedTime"),
            json!("1714564801"),
            "not signed by",
        ),
        (
            "/dsseEnvelope/signatures/0/sig".to_owned(),
            json!("AAAA"),
            "not by a key",
        ),
        ("/dsseEnvelope".to_owned(), Value::Null, "not one signature"),
        ("/mediaType".to_owned(), json!("text/plain"), "media type"),
    ] {
        let mut bundle = good.clone();
        *bundle.pointer_mut(&place).unwrap() = value;
        w.attach(&Attachment::Referrer(bundle));
        w.refused(&[words]);
    }
    // Of another image.
    let other = format!("sha256:{}", "0".repeat(64));
    let bundle = w.sigstore.bundle(&other, &Wish::default());
    w.attach(&Attachment::Referrer(bundle));
    w.refused(&["for another image"]);
    // Cut short.
    let text = good.to_string();
    w.attach(&Attachment::Referrer(json!(text[..text.len() / 2])));
    w.refused(&["malformed"]);
    w.attach(&Attachment::Referrer(good));
    w.accepted();
}

/// The real cosign must agree that our authority's signatures are such.
#[test]
fn cosign_takes_the_same_signature() {
    let Some(cosign) = Cosign::obtain() else {
        return;
    };
    let host = Host::new();
    let registry = Registry::start();
    let sigstore = Sigstore::new();
    let name = registry.reference("team/app").replace("docker://", "");
    let image = sigstore::layout(&host.images().join("l"), &format!("{name}:1"));
    let payload = sigstore::payload(&name, &image.manifest);
    let wish = Wish::default();
    let signature = sigstore.sign(&payload, &wish);
    let annotations = sigstore.annotations(&payload, &signature, &wish);
    sigstore::attach(
        &image.dir,
        &image.manifest,
        &Attachment::Tagged(payload, annotations),
    );
    let tag = format!("{}.sig", image.manifest.replace(':', "-"));
    for (from, to) in [(format!("{name}:1"), "1"), (tag.clone(), tag.as_str())] {
        tests::oci::skopeo_copy(
            &["--preserve-digests"],
            &format!("oci:{}:{from}", image.dir.display()),
            &registry.reference(&format!("team/app:{to}")),
        );
    }
    let root = sigstore.file("ca.pem");
    cosign
        .cosign(&["verify", "--offline", "--allow-http-registry"])
        .args([
            "--allow-insecure-registry",
            "--certificate-identity=ci@example.com",
        ])
        .args(["--certificate-oidc-issuer=https://accounts.example.com"])
        .arg(format!("{name}:1"))
        .env("SIGSTORE_ROOT_FILE", &root)
        .env("SIGSTORE_REKOR_PUBLIC_KEY", sigstore.file("log.pub"))
        .env("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", sigstore.file("ct.pub"))
        .run()
        .ok();
    let signer = json!({
        "type": "identity", "subject": "ci@example.com",
        "issuer": "https://accounts.example.com", "trustRoot": sigstore.trusted_root(),
    });
    policy(&host, &signed_by(&name, &signer));
    fetch(&host, &registry.reference("team/app:1")).ok();
    assert_eq!(verification(&host)["by"], "identity");
}
