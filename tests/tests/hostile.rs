//! Registries that lie, stall and never end. Each must cost one clear line, and
//! leave nothing in the store.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tests::web::{Reply, Seen, configure};
use tests::{Ca, Cmd, Compression, Host, Proxy, Rootfs, Web, sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image's documents and layer, to be served as they are or otherwise.
#[derive(Clone)]
struct Image {
    manifest: Value,
    blobs: BTreeMap<String, Vec<u8>>,
    layer: String,
    config: String,
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

impl Image {
    fn new() -> Self {
        Self::of(&Rootfs::busybox().tar(""), Compression::Gzip)
    }

    fn of(tar: &[u8], compression: Compression) -> Self {
        let layer = compression.pack(tar);
        let config = serde_json::to_vec(&json!({
            "os": "linux", "architecture": tests::oci::ARCHITECTURE,
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
        }))
        .unwrap();
        let descriptor = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor(LAYER, &layer)],
        });
        Self {
            manifest,
            layer: digest(&layer),
            config: digest(&config),
            blobs: [(digest(&layer), layer), (digest(&config), config)].into(),
        }
    }

    fn document(&self) -> Vec<u8> {
        serde_json::to_vec(&self.manifest).unwrap()
    }

    /// As an honest registry would.
    fn serve(&self, seen: &Seen, reply: &mut Reply<'_>) {
        if seen.path.starts_with("/v2/app/manifests/") {
            let kind = self.manifest["mediaType"].as_str().unwrap_or(MANIFEST);
            return reply.send("200 OK", &[("Content-Type", kind)], &self.document());
        }
        let blob = seen.path.rsplit('/').next().and_then(|d| self.blobs.get(d));
        match blob {
            Some(bytes) => reply.send("200 OK", &[], bytes),
            None => reply.not_found(),
        }
    }
}

/// A registry that serves the image, except where `lie` answers.
fn registry(
    image: Image,
    lie: impl Fn(&Seen, &mut Reply<'_>) -> bool + Send + Sync + 'static,
) -> Web {
    Web::start(move |seen, reply| {
        if !lie(seen, reply) {
            image.serve(seen, reply);
        }
    })
}

fn honest(_: &Seen, _: &mut Reply<'_>) -> bool {
    false
}

fn fetch(host: &Host, web: &Web, name: &str) -> Cmd {
    host.unsigned([
        "fetch",
        "--full",
        &format!("docker://{}/{name}", web.host()),
    ])
}

#[track_caller]
fn refused(web: &Web, name: &str, words: &[&str]) {
    let host = Host::new();
    fetch(&host, web, name).run().fails(254, "fetch", words);
    host.assert_store_is_empty();
}

/// Whether this asks for the blob.
fn is_blob(seen: &Seen, digest: &str) -> bool {
    seen.path.ends_with(&format!("/blobs/{digest}"))
}

#[test]
fn the_honest_registry_is_believed() {
    let host = Host::new();
    let image = Image::new();
    let id = fetch(&host, &registry(image.clone(), honest), "app:1")
        .run()
        .ok();
    assert_eq!(id.text(), format!("sha256-{}", sha256(&image.document())));
}

mod lies {
    use super::*;

    #[test]
    fn about_the_digest_of_the_manifest() {
        let wanted = format!("app@sha256:{}", "ab".repeat(32));
        refused(
            &registry(Image::new(), honest),
            &wanted,
            &["digest", "damaged or forged", "127.0.0.1"],
        );
    }

    #[test]
    fn about_the_bytes_of_a_layer_or_configuration() {
        let image = Image::new();
        for (what, name) in [(&image.layer, "layer"), (&image.config, "sha256")] {
            let (what, mut bytes) = (what.clone(), image.blobs[what].clone());
            let last = bytes.len() - 1;
            bytes[last / 2] ^= 1;
            let lie = move |seen: &Seen, reply: &mut Reply<'_>| {
                let here = is_blob(seen, &what);
                if here {
                    reply.send("200 OK", &[], &bytes);
                }
                here
            };
            refused(
                &registry(image.clone(), lie),
                "app:1",
                &[name, "damaged or forged"],
            );
        }
    }

    #[test]
    fn about_the_size_of_a_layer() {
        let honest_size = Image::new().manifest["layers"][0]["size"].as_u64().unwrap();
        let mut image = Image::new();
        image.manifest["layers"][0]["size"] = (honest_size - 1).into();
        refused(
            &registry(image.clone(), honest),
            "app:1",
            &["layer", "more than the"],
        );
        // A byte that never comes is asked for, and then given up.
        image.manifest["layers"][0]["size"] = (honest_size + 1).into();
        refused(&registry(image, honest), "app:1", &["layer"]);
    }

    #[test]
    fn about_what_the_layer_unpacks_to() {
        let mut image = Image::new();
        let other = Image::of(
            &Rootfs::new().file("x", 0o644, "x").tar(""),
            Compression::Gzip,
        );
        image.manifest["layers"] = other.manifest["layers"].clone();
        image.blobs.extend(other.blobs);
        refused(&registry(image, honest), "app:1", &["layer", "digest"]);
    }

    #[test]
    fn about_media_types() {
        let image = Image::new();
        for kind in [
            "text/html",
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        ] {
            let document = image.document();
            let lie = move |seen: &Seen, reply: &mut Reply<'_>| {
                let here = seen.path.contains("/manifests/");
                if here {
                    reply.send("200 OK", &[("Content-Type", kind)], &document);
                }
                here
            };
            let host = Host::new();
            let web = registry(image.clone(), lie);
            let out = fetch(&host, &web, "app:1").run();
            if out.code() != Some(0) {
                out.fails(254, "fetch", &["manifest"]);
                host.assert_store_is_empty();
            }
        }
        // How a layer is packed is seen, whatever it is called.
        let mut zstd = Image::of(&Rootfs::busybox().tar(""), Compression::Zstd);
        zstd.manifest["layers"][0]["mediaType"] = LAYER.into();
        let host = Host::new();
        fetch(&host, &registry(zstd, honest), "app:1").run().ok();
    }

    #[test]
    fn a_page_instead_of_a_manifest() {
        let lie = |seen: &Seen, reply: &mut Reply<'_>| {
            let page = b"<html>Please log in</html>";
            reply.send("200 OK", &[("Content-Type", "text/html")], page);
            seen.method == "GET"
        };
        refused(
            &registry(Image::new(), lie),
            "app:1",
            &["manifest", "127.0.0.1"],
        );
    }
}

mod too_much {
    use super::*;

    /// Only as much is read as is needed to know.
    #[test]
    fn an_endless_manifest() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let lie = move |seen: &Seen, reply: &mut Reply<'_>| {
            if !seen.path.contains("/manifests/") {
                return false;
            }
            reply.start("200 OK", &[("Content-Type", MANIFEST)], None);
            while reply.raw(&[b' '; 65536]) {
                counted.fetch_add(65536, Ordering::Relaxed);
            }
            true
        };
        refused(
            &registry(Image::new(), lie),
            "app:1",
            &["manifest of more than"],
        );
        assert!(sent.load(Ordering::Relaxed) < 64 << 20);
    }

    #[test]
    fn a_manifest_of_100_mb() {
        let lie = move |seen: &Seen, reply: &mut Reply<'_>| {
            let here = seen.path.contains("/manifests/");
            if here {
                let body = vec![b' '; 100 << 20];
                reply.send("200 OK", &[("Content-Type", MANIFEST)], &body);
            }
            here
        };
        refused(
            &registry(Image::new(), lie),
            "app:1",
            &["manifest of more than"],
        );
    }

    /// Refused before a single one is asked for.
    #[test]
    fn ten_thousand_layers() {
        let mut image = Image::new();
        let layer = image.manifest["layers"][0].clone();
        image.manifest["layers"] = vec![layer; 10_000].into();
        let web = registry(image, honest);
        refused(&web, "app:1", &["10000 layers", "1024"]);
        assert!(web.paths().iter().all(|p| p.contains("/manifests/")));
    }

    #[test]
    fn an_endless_layer() {
        let image = Image::new();
        let layer = image.layer.clone();
        let lie = move |seen: &Seen, reply: &mut Reply<'_>| {
            if !is_blob(seen, &layer) {
                return false;
            }
            reply.start("200 OK", &[], None);
            while reply.raw(&[0; 65536]) {}
            true
        };
        refused(&registry(image, lie), "app:1", &["layer", "more than the"]);
    }

    /// A configuration that claims to be large is not even asked for.
    #[test]
    fn a_configuration_of_a_gigabyte() {
        let mut image = Image::new();
        image.manifest["config"]["size"] = (1_u64 << 30).into();
        let web = registry(image, honest);
        refused(&web, "app:1", &["configuration"]);
        assert!(web.paths().iter().all(|p| p.contains("/manifests/")));
    }

    #[test]
    fn indexes_that_lead_to_each_other() {
        let lie = |seen: &Seen, reply: &mut Reply<'_>| {
            // Every index names another one, that it makes up.
            let n: usize = seen.path.rsplit("n").next().unwrap().parse().unwrap_or(0);
            let kind = "application/vnd.oci.image.index.v1+json";
            let index = |depth: usize| {
                let mut inner = json!({"schemaVersion": 2, "mediaType": kind, "manifests": []});
                for _ in 0..depth {
                    let bytes = serde_json::to_vec(&inner).unwrap();
                    inner = json!({"schemaVersion": 2, "mediaType": kind, "manifests": [{
                        "mediaType": kind, "digest": digest(&bytes), "size": bytes.len(),
                        "platform": {"os": "linux", "architecture": tests::oci::ARCHITECTURE},
                    }]});
                }
                serde_json::to_vec(&inner).unwrap()
            };
            let all: Vec<Vec<u8>> = (0..10).map(index).collect();
            let wanted = all.iter().find(|i| seen.path.ends_with(&digest(i)));
            let body = wanted.unwrap_or(&all[9 - n.min(9)]);
            reply.send("200 OK", &[("Content-Type", kind)], body);
            true
        };
        refused(
            &registry(Image::new(), lie),
            "app:1",
            &["nested more than 4 deep"],
        );
    }
}

mod redirects {
    use super::*;

    fn with_login(host: &Host, registry: &str) {
        let content = json!({"rktKind": "dockerAuth", "rktVersion": "v1",
            "registries": [registry], "credentials": {"user": "ann", "password": "secret"}});
        configure(&host.config(), "auth.d", "r", &content);
    }

    /// Blobs lie elsewhere; who we are here is nobody's business there.
    #[test]
    fn credentials_stay_at_home() {
        let image = Image::new();
        let elsewhere = registry(image.clone(), honest);
        let (target, config) = (elsewhere.host(), image.config.clone());
        let home = registry(image, move |seen, reply| {
            if seen.header("authorization").is_none() {
                let headers = [("WWW-Authenticate", "Basic realm=\"r\"")];
                reply.send("401 Unauthorized", &headers, b"");
                return true;
            }
            let blob = seen.path.contains("/blobs/") && !is_blob(seen, &config);
            if blob {
                reply.redirect(&format!("http://{target}{}", seen.path));
            }
            blob
        });
        let host = Host::new();
        with_login(&host, &home.host());
        fetch(&host, &home, "app:1").run().ok();
        assert!(
            home.seen()
                .iter()
                .any(|s| s.header("authorization").is_some())
        );
        assert_eq!(elsewhere.seen().len(), 1);
        assert_eq!(elsewhere.seen()[0].header("authorization"), None);
    }

    #[test]
    fn from_tls_to_plain_text_they_are_not_followed() {
        let host = Host::new();
        let ca = Ca::new();
        let image = Image::new();
        let web = Web::start_tls(&ca, &["example.com"], move |seen, reply| {
            if seen.path.contains("/blobs/") {
                return reply.redirect(&format!("http://example.com{}", seen.path));
            }
            image.serve(seen, reply);
        });
        host.unsigned(["fetch", "docker://example.com/app:1"])
            .env("SSL_CERT_FILE", ca.certificate())
            .env("HTTPS_PROXY", Proxy::to(&web).url())
            .run()
            .fails(
                254,
                "fetch",
                &["example.com", "plain text", "--insecure-options=http"],
            );
        host.assert_store_is_empty();
    }

    #[test]
    fn to_files_or_in_circles_they_are_not_followed() {
        for target in ["file:///etc/passwd", "gopher://localhost/"] {
            let lie = move |_: &Seen, reply: &mut Reply<'_>| {
                reply.redirect(target);
                true
            };
            let web = registry(Image::new(), lie);
            let host = Host::new();
            let out = fetch(&host, &web, "app:1").run().code_is(254);
            assert_eq!(out.stderr.lines().count(), 1, "{out}");
            host.assert_store_is_empty();
        }
        let lie = |seen: &Seen, reply: &mut Reply<'_>| {
            reply.redirect(&seen.path);
            true
        };
        refused(
            &registry(Image::new(), lie),
            "app:1",
            &["too many redirects"],
        );
    }
}

mod tls {
    use super::*;

    /// No falling back to plain HTTP for a server that has the wrong name.
    #[test]
    fn a_certificate_for_another_name() {
        let host = Host::new();
        let ca = Ca::new();
        let image = Image::new();
        let web = Web::start_tls(&ca, &["example.org"], move |seen, reply| {
            image.serve(seen, reply)
        });
        host.unsigned(["fetch", &format!("docker://{}/app:1", web.host())])
            .env("SSL_CERT_FILE", ca.certificate())
            .run()
            .fails(254, "fetch", &[&web.host(), "certificate"]);
        host.assert_store_is_empty();
        assert_eq!(web.paths(), Vec::<String>::new());
    }
}

mod disconnects {
    use super::*;

    /// Every connection breaks after another quarter; the layer comes whole.
    #[test]
    fn at_every_quarter_the_layer_continues() {
        for ranges in [true, false] {
            let image = Image::new();
            let (layer, bytes) = (image.layer.clone(), image.blobs[&image.layer].clone());
            let round = Mutex::new(0);
            let lie = move |seen: &Seen, reply: &mut Reply<'_>| {
                if !is_blob(seen, &layer) {
                    return false;
                }
                *round.lock().unwrap() += 1;
                let until = bytes.len() * (*round.lock().unwrap()).min(4) / 4;
                match seen.range_from().filter(|_| ranges) {
                    Some(from) => {
                        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                        let headers = [("Content-Range", range.as_str())];
                        let left = (bytes.len() - from) as u64;
                        reply.start("206 Partial Content", &headers, Some(left));
                        reply.raw(&bytes[from..until]);
                    }
                    None => {
                        reply.start("200 OK", &[], Some(bytes.len() as u64));
                        reply.raw(&bytes[..until]);
                    }
                }
                true
            };
            let host = Host::new();
            let web = registry(image, lie);
            fetch(&host, &web, "app:1").run().ok();
        }
    }

    /// One that never gets further than a quarter is given up.
    #[test]
    fn always_at_the_same_byte_it_is_given_up() {
        let image = Image::new();
        let (layer, bytes) = (image.layer.clone(), image.blobs[&image.layer].clone());
        let lie = move |seen: &Seen, reply: &mut Reply<'_>| {
            let here = is_blob(seen, &layer);
            if here {
                reply.start("200 OK", &[], Some(bytes.len() as u64));
                reply.raw(&bytes[..bytes.len() / 4]);
            }
            here
        };
        refused(
            &registry(image, lie),
            "app:1",
            &["layer", "the connection broke at byte", "repeatedly"],
        );
    }

    #[test]
    fn a_server_that_is_busy_is_asked_again() {
        let tries = AtomicUsize::new(0);
        let lie = move |_: &Seen, reply: &mut Reply<'_>| {
            let busy = tries.fetch_add(1, Ordering::Relaxed) < 2;
            if busy {
                reply.send("429 Too Many Requests", &[("Retry-After", "1")], b"");
            }
            busy
        };
        let host = Host::new();
        fetch(&host, &registry(Image::new(), lie), "app:1")
            .run()
            .ok();
    }

    #[test]
    fn a_server_that_stays_broken_is_given_up() {
        let lie = |_: &Seen, reply: &mut Reply<'_>| {
            reply.send("503 Service Unavailable", &[], b"");
            true
        };
        refused(
            &registry(Image::new(), lie),
            "app:1",
            &["503", "after 5 attempts", "try again later"],
        );
    }
}
