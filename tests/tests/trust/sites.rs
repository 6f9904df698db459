//! Keys from URLs and from the site of a name.

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
