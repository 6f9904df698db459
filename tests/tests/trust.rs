//! The trust policy: rules, pins, keys of cosign and identities. Signatures are
//! cosign's and gpg's own, or of an authority made by openssl; registries are
//! real.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::sigstore::{self, Attachment, Wish};
use tests::{Aci, Compression, Cosign, Gpg, Host, OciImage, Output, Registry, Sigstore};

/// Writes a policy of these rules and gives its file.
fn policy(host: &Host, rules: &Value) -> PathBuf {
    let file = host.config().join("trust.d/policy.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text = json!({"rktKind": "trust", "rktVersion": "v1", "rules": rules});
    fs::write(&file, text.to_string()).unwrap();
    file
}

fn signed_by(prefix: &str, signer: &Value) -> Value {
    json!([{"prefix": prefix, "level": "signed-by", "signers": [signer]}])
}

fn fetch(host: &Host, reference: &str) -> Output {
    host.rkt(["fetch", "--full", reference]).run()
}

/// The record's verification of the one stored image.
fn verification(host: &Host) -> Value {
    let images = host
        .rkt(["image", "list", "--format=json"])
        .run()
        .ok()
        .json();
    assert_eq!(images.as_array().unwrap().len(), 1, "{images}");
    images[0]["verification"].clone()
}

fn aci(host: &Host, name: &str, says: &str) -> PathBuf {
    Aci::busybox(name, &["/bin/echo", says]).write(&host.images(), "app", Compression::Gzip)
}

mod rules {
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
}

mod pins {
    use super::*;

    fn pinned() -> (Host, PathBuf) {
        let host = Host::new();
        policy(&host, &json!([{"prefix": "", "level": "pinned"}]));
        let layout = host.images().join("app");
        (host, layout)
    }

    #[test]
    fn a_change_is_refused_until_it_is_accepted() {
        let (host, dir) = pinned();
        let one = OciImage::busybox(&["/bin/echo", "one"]).write(&dir, "1");
        fetch(&host, &one.reference())
            .ok()
            .prints(&format!("{}\n", one.id()));
        assert_eq!(verification(&host)["by"], "pinned");
        fetch(&host, &one.reference()).ok();

        fs::remove_dir_all(&dir).unwrap();
        let two = OciImage::busybox(&["/bin/echo", "two"]).write(&dir, "1");
        for option in ["none", "image"] {
            host.rkt(["--insecure-options", option, "fetch", &two.reference()])
                .run()
                .fails(
                    254,
                    "fetch",
                    &["not the image that is pinned", "rkt trust accept"],
                );
        }
        // The refusal tells the very command that helps.
        let refusal = fetch(&host, &two.reference()).stderr;
        let (_, command) = refusal.split_once("`rkt ").unwrap();
        let (command, _) = command.split_once('`').unwrap();
        host.rkt(command.split(' ')).run().ok();
        fetch(&host, &two.reference()).ok();
        let pins = host
            .rkt(["trust", "list", "--format=json"])
            .run()
            .ok()
            .json();
        assert_eq!(pins["pins"][0]["id"], *two.id());
        // What was pinned is refused in its turn.
        fs::remove_dir_all(&dir).unwrap();
        OciImage::busybox(&["/bin/echo", "one"]).write(&dir, "1");
        fetch(&host, &one.reference()).fails(254, "fetch", &["not the image that is pinned"]);
    }

    #[test]
    fn acis_and_docker_archives_are_pinned_alike() {
        let (host, dir) = pinned();
        let file = aci(&host, "example.com/app", "one");
        fetch(&host, &file.to_string_lossy()).ok();
        aci(&host, "example.com/app", "two");
        fetch(&host, &file.to_string_lossy()).fails(254, "fetch", &["pinned"]);

        let archive = host.images().join("saved.tar");
        let reference = format!("docker-archive:{}", archive.display());
        let save = |says: &str| {
            let _ = fs::remove_file(&archive);
            let _ = fs::remove_dir_all(&dir);
            let image = OciImage::busybox(&["/bin/echo", says]).write(&dir, "1");
            image.copy_to(&format!("{reference}:example.com/saved:1"));
        };
        save("one");
        fetch(&host, &reference).ok();
        save("two");
        fetch(&host, &reference).fails(254, "fetch", &["pinned"]);
    }

    #[test]
    fn of_many_fetches_at_once_one_image_is_pinned() {
        let (host, dir) = pinned();
        let layouts: Vec<String> = (0..4)
            .map(|n| {
                let dir = dir.join(n.to_string()).join("app");
                let image = OciImage::busybox(&["/bin/echo", &n.to_string()]);
                image.write(&dir, "1").reference()
            })
            .collect();
        let running: Vec<_> = layouts
            .iter()
            .map(|layout| host.rkt(["fetch", layout]).spawn())
            .collect();
        let codes: Vec<_> = running.into_iter().map(|r| r.wait().code()).collect();
        let good = codes.iter().filter(|c| **c == Some(0)).count();
        assert_eq!(good, 1, "{codes:?}");
        verification(&host);
    }

    #[test]
    fn accept_wants_a_whole_id() {
        let (host, _) = pinned();
        host.rkt(["trust", "accept", "example.com/app", "sha256-12"])
            .run()
            .fails(254, "accept", &["whole ID"]);
    }
}

mod keys {
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
            let image =
                OciImage::busybox(&["/bin/echo", "hello"]).write(&host.images().join("l"), "1");
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
            let place =
                &mut manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"];
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
}

mod identities {
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
        let theirs: Value =
            serde_json::from_slice(&fs::read(other.trusted_root()).unwrap()).unwrap();
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
            let mut bundle: Value =
                serde_json::from_str(annotations[log].as_str().unwrap()).unwrap();
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
}

mod import {
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
}

mod sites {
    use super::*;
    use std::collections::BTreeMap;
    use tests::web::serve_files;
    use tests::{Ca, Cmd, Proxy, Web};

    /// `https://example.com` with an ACI signed by Ada, her key, and a page that
    /// says where both are.
    struct Site {
        host: Host,
        ada: tests::Key,
        ca: Ca,
        web: Web,
        proxy: Proxy,
        _gpg: Gpg,
    }

    impl Site {
        fn new() -> Self {
            let host = Host::new();
            let gpg = Gpg::new();
            let ada = gpg.key("Ada <ada@example.com>");
            let file = Aci::busybox("example.com/app", &["/bin/echo", "hello"]).write(
                &host.images(),
                "app",
                Compression::Gzip,
            );
            let signature = gpg.sign(&ada, &file);
            let page = r#"<meta name="ac-discovery" content="example.com https://example.com/app.{ext}">
                <meta name="ac-discovery-pubkeys" content="example.com https://example.com/key.asc">"#;
            let files: BTreeMap<String, Vec<u8>> = [
                ("/app", page.as_bytes().to_vec()),
                ("/app.aci", fs::read(&file).unwrap()),
                ("/app.aci.asc", fs::read(signature).unwrap()),
                ("/key.asc", fs::read(&ada.public).unwrap()),
            ]
            .into_iter()
            .map(|(path, bytes)| (path.to_owned(), bytes))
            .collect();
            let ca = Ca::new();
            let web = Web::start_tls(&ca, &["example.com"], move |seen, reply| {
                serve_files(&files, seen, reply);
            });
            Self {
                host,
                ada,
                ca,
                proxy: Proxy::to(&web),
                web,
                _gpg: gpg,
            }
        }

        fn rkt(&self, words: &[&str]) -> Cmd {
            self.host
                .rkt(words)
                .env("SSL_CERT_FILE", self.ca.certificate())
                .env("HTTPS_PROXY", self.proxy.url())
        }

        fn trusted(&self) -> Vec<String> {
            tests::leaks::names(&self.host.config().join("trustedkeys/prefix.d/example.com"))
        }
    }

    #[test]
    fn keys_come_from_urls_and_from_the_site_of_a_name() {
        let url = "https://example.com/key.asc";
        for words in [
            &["--prefix=example.com", url][..],
            &["--prefix=example.com/app"],
        ] {
            let site = Site::new();
            let out = site
                .rkt(&["trust", "--skip-fingerprint-review"])
                .args(words)
                .run()
                .ok();
            assert!(out.stderr.contains(url), "{out}");
            assert!(out.stdout.contains("without fingerprint review"), "{out}");
            let found = tests::leaks::files(&site.host.config().join("trustedkeys"));
            assert_eq!(found.len(), 1, "{found:?}");
            site.rkt(&["fetch", "example.com/app"]).run().ok();
        }
    }

    #[test]
    fn keys_are_shown_before_they_are_trusted() {
        let site = Site::new();
        let out = site.rkt(&["trust", "--prefix=example.com/app"]).run();
        let out = out.code_is(254);
        assert!(out.stderr.contains("lack of tty"), "{out}");
        let shown = out.stdout.replace(' ', "");
        assert!(shown.contains(&site.ada.fingerprint), "{out}");
        assert_eq!(site.trusted(), Vec::<String>::new());
        // Nor by a fetch that nobody watches.
        site.rkt(&["fetch", "example.com/app"]).run().code_is(254);
        site.host.assert_store_is_empty();
        assert_eq!(site.trusted(), Vec::<String>::new());
    }

    #[test]
    fn a_fetch_trusts_keys_from_https_if_it_is_told_to() {
        let site = Site::new();
        site.rkt(&["--trust-keys-from-https", "fetch", "example.com/app"])
            .run()
            .ok();
        assert_eq!(site.trusted(), [site.ada.fingerprint.to_lowercase()]);
        assert!(site.web.paths().iter().any(|p| p == "/key.asc"));
    }

    #[test]
    fn plain_http_has_to_be_allowed() {
        let site = Site::new();
        let words = ["trust", "--prefix=example.com", "--skip-fingerprint-review"];
        let url = "http://example.com/key.asc";
        site.rkt(&words)
            .arg(url)
            .run()
            .fails(254, "trust", &["plain text"]);
        // Allowed, it is asked for: this site speaks TLS only.
        let out = site.rkt(&words).args(["--insecure-allow-http", url]).run();
        let out = out.code_is(254);
        assert!(!out.stderr.contains("plain text"), "{out}");
        assert_eq!(site.trusted(), Vec::<String>::new());
    }
}
