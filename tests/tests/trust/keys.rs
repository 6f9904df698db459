//! Signatures by keys of cosign's.

use super::*;

/// A registry with an image, and cosign with a key that the policy names.
struct World {
    host: Host,
    registry: Registry,
    cosign: Cosign,
    key: tests::cosign::CosignKey,
    image: tests::oci::Layout,
}

impl World {
    fn new() -> Option<Self> {
        let cosign = Cosign::obtain()?;
        let host = Host::new();
        let registry = Registry::start();
        let image = OciImage::busybox(&["/bin/echo", "hello"]).write(&host.images().join("l"), "1");
        image.copy_exactly_to(&registry.reference("team/app:1"));
        let key = cosign.key("ours");
        let this = Self {
            host,
            registry,
            cosign,
            key,
            image,
        };
        this.trust(&this.key.public);
        Some(this)
    }

    fn trust(&self, public: &Path) {
        let signer = json!({"type": "key", "file": public});
        policy(&self.host, &signed_by("127.0.0.1", &signer));
        // The port is part of the name.
        let name = self.registry.reference("team");
        let name = name.trim_start_matches("docker://");
        policy(&self.host, &signed_by(name, &signer));
    }

    fn at_digest(&self, repository: &str) -> String {
        let repository = self.registry.reference(repository);
        format!("{repository}@{}", self.image.manifest)
    }

    fn fetch(&self, name: &str) -> Output {
        fetch(&self.host, &self.registry.reference(name))
    }

    fn refused(&self, name: &str, words: &[&str]) {
        self.fetch(name).fails(254, "fetch", words);
        self.host.assert_store_is_empty();
    }
}

#[test]
fn what_cosign_signed_is_let_in_and_nothing_else() {
    let Some(w) = World::new() else { return };
    w.refused("team/app:1", &["no signature", ".sig", "ours.pub"]);

    let other = w.cosign.key("other");
    w.cosign.sign(&other, &w.at_digest("team/app"));
    w.refused("team/app:1", &["not by a key that the policy names"]);

    w.cosign.sign(&w.key, &w.at_digest("team/app"));
    let out = w.fetch("team/app:1").ok();
    assert!(out.stderr.contains("signature verified"), "{out}");
    let seen = verification(&w.host);
    assert_eq!(seen["by"], "key");
    assert_eq!(seen["signed"], *w.image.manifest);
    assert_eq!(seen["rule"]["level"], "signed-by");
    let shown = w.host.rkt(["image", "list"]).run().ok().stdout;
    assert!(shown.contains("key "), "{shown}");
    let run = ["run", "--net=none", &w.registry.reference("team/app:1")];
    w.host.rkt(run).run().ok().prints("hello\n");
    let status = ["status", "--format=json", &w.host.last_uuid()];
    let status = w.host.rkt(status).run().ok().json();
    assert_eq!(status["apps"][0]["verification"], seen);

    // Another key in the policy: what was stored is not run any more.
    w.trust(&other.public);
    w.host
        .rkt(["run", "--net=none", &w.registry.reference("team/app:1")])
        .run()
        .fails(254, "run", &["signed by the key", "fetch it again"]);
    // And it is looked for anew: the other key did sign, too.
    w.fetch("team/app:1").ok();
    let again = verification(&w.host);
    assert_ne!(again["fingerprint"], seen["fingerprint"]);
}

#[test]
fn a_copy_elsewhere_is_another_name() {
    let Some(w) = World::new() else { return };
    w.cosign.sign(&w.key, &w.at_digest("team/app"));
    let tag = format!("{}.sig", w.image.manifest.replace(':', "-"));
    for tag in ["1", &tag] {
        tests::oci::skopeo_copy(
            &["--preserve-digests"],
            &w.registry.reference(&format!("team/app:{tag}")),
            &w.registry.reference(&format!("team/copy:{tag}")),
        );
    }
    w.refused("team/copy:1", &["team/app", "team/copy", "signedAs"]);
    let name = |path: &str| w.registry.reference(path).replace("docker://", "");
    let mut rules = signed_by(&name("team"), &json!({"type": "key", "file": w.key.public}));
    rules[0]["signedAs"] = json!(name("team/app"));
    policy(&w.host, &rules);
    w.fetch("team/copy:1").ok();
}

/// Debian's cosign imports no such keys; signatures by others it attaches.
#[test]
fn keys_of_other_kinds() {
    let Some(w) = World::new() else { return };
    let file = |name: &str| w.cosign.home().join(name).display().to_string();
    let openssl = |words: &[&str]| {
        tests::Cmd::new("openssl").args(words).run().ok();
    };
    let (key, public, raw, payload) = (file("pem"), file("pub"), file("raw"), file("payload"));
    let digest = |hash| ["dgst", hash, "-sign", &key, "-out", &raw, &payload];
    let p384 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
    let rsa = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"];
    let plain = [
        "pkeyutl", "-sign", "-rawin", "-inkey", &key, "-in", &payload,
    ];
    let plain = [&plain[..], &["-out", &raw]].concat();
    for (name, kind, sign) in [
        ("p384-sha256", &p384[..], &digest("-sha256")[..]),
        ("p384-sha384", &p384, &digest("-sha384")),
        ("rsa", &rsa, &digest("-sha256")),
        ("ed25519", &["-algorithm", "ED25519"], &plain),
    ] {
        openssl(&[&["genpkey", "-out", &key], kind].concat());
        openssl(&["pkey", "-pubout", "-in", &key, "-out", &public]);
        let repository = format!("team/{name}");
        let tagged = format!("{repository}:1");
        w.image.copy_exactly_to(&w.registry.reference(&tagged));
        let image = w.at_digest(&repository);
        let image = image.trim_start_matches("docker://");
        let insecure = ["--allow-http-registry", "--allow-insecure-registry"];
        let generate = [&["generate"], &insecure[..], &[image]].concat();
        fs::write(&payload, w.cosign.cosign(&generate).run().ok().stdout).unwrap();
        openssl(sign);
        openssl(&["base64", "-A", "-in", &raw, "-out", &file("signature")]);
        w.cosign
            .cosign(&["attach", "signature", "--payload", &payload])
            .args(["--signature", &file("signature")])
            .args(insecure)
            .arg(image)
            .run()
            .ok();
        w.trust(&w.key.public);
        w.refused(&tagged, &["not by a key"]);
        w.trust(Path::new(&public));
        w.fetch(&tagged).ok();
        w.host.rkt(["image", "rm", &w.image.id()]).run().ok();
    }
}

#[test]
fn bundles_count_if_they_say_signed() {
    let Some(w) = World::new() else { return };
    let image = w.at_digest("team/app");
    w.cosign
        .attach_bundle(&w.key, "https://example.com/scanned/v1", &image);
    w.refused("team/app:1", &["example.com/scanned", "not a signature"]);
    let other = w.cosign.key("other");
    let sign = "https://sigstore.dev/cosign/sign/v1";
    w.cosign.attach_bundle(&other, sign, &image);
    w.refused("team/app:1", &["not by a key"]);
    w.cosign.attach_bundle(&w.key, sign, &image);
    w.fetch("team/app:1").ok();
    assert_eq!(verification(&w.host)["by"], "key");
}

#[test]
fn signatures_among_the_referrers_of_the_first_form() {
    let Some(w) = World::new() else { return };
    let image = w.at_digest("team/app");
    let out = w
        .cosign
        .cosign(&["sign", "--key", "ours.key", "--tlog-upload=false", "--yes"])
        .args(["--allow-http-registry", "--allow-insecure-registry"])
        .args(["--registry-referrers-mode=oci-1-1"])
        .arg(image.trim_start_matches("docker://"))
        .env("COSIGN_EXPERIMENTAL", "1")
        .run()
        .ok();
    w.fetch("team/app:1").ok();
    assert_eq!(verification(&w.host)["by"], "key", "{out}");
}

/// The index may be signed, or the manifest that it leads to.
#[test]
fn index_and_platform_manifest_are_both_good_to_sign() {
    let Some(w) = World::new() else { return };
    let dir = w.host.images().join("multi");
    let image = OciImage::busybox(&["/bin/echo", "multi"]).write(&dir, "unused");
    let bytes = fs::read(image.blob(&image.manifest)).unwrap();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.manifest, "size": bytes.len(),
            "platform": {"os": "linux", "architecture": tests::oci::ARCHITECTURE},
        }],
    })
    .to_string();
    let digest = tests::sha256(index.as_bytes());
    fs::write(dir.join("blobs/sha256").join(&digest), &index).unwrap();
    let top = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": format!("sha256:{digest}"), "size": index.len(),
            "annotations": {"org.opencontainers.image.ref.name": "1"},
        }],
    });
    fs::write(dir.join("index.json"), top.to_string()).unwrap();
    let source = format!("oci:{}:1", dir.display());
    for (name, signed) in [
        ("a", format!("sha256:{digest}")),
        ("b", image.manifest.clone()),
    ] {
        let reference = w.registry.reference(&format!("team/{name}:1"));
        tests::oci::skopeo_copy(&["--all", "--preserve-digests"], &source, &reference);
        w.refused(&format!("team/{name}:1"), &["no signature"]);
        let at = format!("{}@{signed}", w.registry.reference(&format!("team/{name}")));
        w.cosign.sign(&w.key, &at);
        w.fetch(&format!("team/{name}:1")).ok();
        assert_eq!(verification(&w.host)["signed"], *signed);
        w.host.rkt(["image", "rm", &image.id()]).run().ok();
    }
}

#[test]
fn signatures_in_a_layout_count_offline() {
    let Some(w) = World::new() else { return };
    w.cosign.sign(&w.key, &w.at_digest("team/app"));
    let name = w.registry.reference("team/app").replace("docker://", "");
    let tag = format!("{}.sig", w.image.manifest.replace(':', "-"));
    let dir = w.host.images().join("mirror");
    for (from, to) in [("1", format!("{name}:1")), (&tag, tag.clone())] {
        tests::oci::skopeo_copy(
            &["--preserve-digests"],
            &w.registry.reference(&format!("team/app:{from}")),
            &format!("oci:{}:{to}", dir.display()),
        );
    }
    // As cosign saves it.
    let saved = w.host.images().join("saved");
    w.cosign
        .cosign(&[
            "save",
            "--allow-http-registry",
            "--allow-insecure-registry",
            "--dir",
        ])
        .arg(&saved)
        .arg(w.at_digest("team/app").trim_start_matches("docker://"))
        .run()
        .ok();
    drop(w.registry);
    policy(
        &w.host,
        &signed_by("", &json!({"type": "key", "file": w.key.public})),
    );
    let archive = w.host.images().join("mirror.tar");
    tests::Cmd::new("tar")
        .args(["-C", &dir.to_string_lossy(), "-cf"])
        .arg(&archive)
        .arg(".")
        .run()
        .ok();
    for reference in [
        format!("oci:{}:{name}:1", dir.display()),
        format!("oci-archive:{}:{name}:1", archive.display()),
        format!("oci:{}:{}", saved.display(), w.image.manifest),
    ] {
        fetch(&w.host, &reference).ok();
        assert_eq!(verification(&w.host)["by"], "key", "{reference}");
        w.host.rkt(["image", "rm", &w.image.id()]).run().ok();
    }
    // A docker archive has lost them.
    let lost = format!("docker-archive:{}", w.host.images().join("d.tar").display());
    w.image.copy_to(&format!("{lost}:a:1"));
    fetch(&w.host, &lost).fails(254, "fetch", &["docker archive", "cannot have"]);
}

#[test]
fn damaged_signatures_and_keys_are_told_apart() {
    let Some(w) = World::new() else { return };
    w.cosign.sign(&w.key, &w.at_digest("team/app"));
    let tag = format!("{}.sig", w.image.manifest.replace(':', "-"));
    let dir = w.host.images().join("mirror");
    for (from, to) in [("1", "1"), (tag.as_str(), tag.as_str())] {
        tests::oci::skopeo_copy(
            &["--preserve-digests"],
            &w.registry.reference(&format!("team/app:{from}")),
            &format!("oci:{}:{to}", dir.display()),
        );
    }
    let rule = |key: &Path| {
        policy(
            &w.host,
            &signed_by("", &json!({"type": "key", "file": key})),
        );
    };
    rule(&w.key.public);
    let reference = format!("oci:{}:1", dir.display());
    let good = fs::read_to_string(dir.join("index.json")).unwrap();
    // The same payload with another signature, cut or empty.
    let found = tests::Cmd::new("grep")
        .args(["-rl", "cosign/signature"])
        .arg(dir.join("blobs"))
        .run()
        .ok();
    let manifest = fs::read_to_string(found.text()).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    for (change, words) in [
        ("cut", "not by a key"),
        ("no base64 at all!", "malformed"),
        ("", "not by a key"),
    ] {
        let mut manifest = manifest.clone();
        let place = &mut manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"];
        let text = place.as_str().unwrap().to_owned();
        *place = json!(match change {
            "cut" => &text[..text.len() / 2 / 4 * 4],
            other => other,
        });
        put_signature(&dir, &good, &manifest);
        fetch(&w.host, &reference).fails(254, "fetch", &[words]);
        w.host.assert_store_is_empty();
    }
    // A payload about another image.
    let payload = sigstore::payload("a", &format!("sha256:{}", "0".repeat(64)));
    let digest = tests::sha256(&payload);
    fs::write(dir.join("blobs/sha256").join(&digest), &payload).unwrap();
    let mut other = manifest.clone();
    other["layers"][0]["digest"] = json!(format!("sha256:{digest}"));
    other["layers"][0]["size"] = json!(payload.len());
    put_signature(&dir, &good, &other);
    fetch(&w.host, &reference).fails(254, "fetch", &["for another image"]);
    // A payload that does not have its digest.
    fs::write(
        dir.join("blobs/sha256").join(&digest),
        vec![b' '; payload.len()],
    )
    .unwrap();
    fetch(&w.host, &reference).fails(254, "fetch", &["digest"]);
    fs::write(dir.join("index.json"), &good).unwrap();

    let broken = w.host.path().join("broken.pub");
    fs::write(&broken, "no key").unwrap();
    rule(&broken);
    fetch(&w.host, &reference).fails(254, "fetch", &["broken.pub", "PEM", "policy.json"]);
    rule(Path::new("/nonexistent.pub"));
    fetch(&w.host, &reference).fails(254, "fetch", &["/nonexistent.pub", "cannot read"]);
    rule(&w.cosign.home().join("ours.key"));
    fetch(&w.host, &reference).fails(254, "fetch", &["private key"]);
    w.host.assert_store_is_empty();
    rule(&w.key.public);
    fetch(&w.host, &reference).ok();
}

/// Replaces the signature's manifest in a layout.
fn put_signature(dir: &Path, index: &str, manifest: &Value) {
    let bytes = manifest.to_string();
    let digest = tests::sha256(bytes.as_bytes());
    fs::write(dir.join("blobs/sha256").join(&digest), &bytes).unwrap();
    let mut index: Value = serde_json::from_str(index).unwrap();
    for entry in index["manifests"].as_array_mut().unwrap() {
        let name = &entry["annotations"]["org.opencontainers.image.ref.name"];
        if name.as_str().is_some_and(|n| n.ends_with(".sig")) {
            entry["digest"] = json!(format!("sha256:{digest}"));
            entry["size"] = json!(bytes.len());
        }
    }
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
}
