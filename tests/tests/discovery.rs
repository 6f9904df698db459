//! ACIs from web servers: by URL, by name, and what they are built on. TLS is
//! real, its certificate authority the test's own; signatures are gpg's.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tests::web::{Reply, Seen, serve_files};
use tests::{Aci, Ca, Cmd, Compression, Gpg, Host, Key, Output, Proxy, Rootfs, Web};

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A site `example.com` with files, and a host that reaches it.
struct Site {
    host: Host,
    files: Files,
    web: Web,
    ca: Ca,
    proxy: Proxy,
    gpg: Gpg,
    key: Key,
}

impl Site {
    fn new() -> Self {
        Self::answering(serve_files)
    }

    /// A site whose answers are the test's own, made of its files.
    fn answering(
        answer: impl Fn(&BTreeMap<String, Vec<u8>>, &Seen, &mut Reply<'_>) + Send + Sync + 'static,
    ) -> Self {
        let files = Files::default();
        let ca = Ca::new();
        let shared = Arc::clone(&files);
        let web = Web::start_tls(
            &ca,
            &["example.com", "cdn.example.com"],
            move |seen, reply| {
                let files = shared.lock().unwrap().clone();
                answer(&files, seen, reply);
            },
        );
        let gpg = Gpg::new();
        let key = gpg.key("Ada <ada@example.com>");
        Self {
            host: Host::new(),
            proxy: Proxy::to(&web),
            files,
            web,
            ca,
            gpg,
            key,
        }
    }

    fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.files
            .lock()
            .unwrap()
            .insert(path.to_owned(), bytes.into());
    }

    /// An ACI, and its signature beside it.
    fn publish(&self, path: &str, aci: &Aci, compression: Compression) {
        let bytes = compression.pack(&aci.tar());
        let file = self.host.images().join("publish.aci");
        fs::write(&file, &bytes).unwrap();
        let signature = self.gpg.sign(&self.key, &file);
        self.put(path, bytes);
        self.put(&format!("{path}.asc"), fs::read(signature).unwrap());
    }

    /// The page of `example.com` says that its images lie there, by name,
    /// version, os and arch.
    fn announce(&self, page: &str) {
        self.put(
            page,
            r#"<html><head><meta name="ac-discovery" content="example.com
            https://cdn.example.com/{os}/{arch}/{name}-{version}.{ext}"></head></html>"#
                .replace('\n', " ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        );
    }

    /// Where [`Site::announce`] leads for an image.
    fn place(name: &str, version: &str) -> String {
        let arch = tests::image::ARCHITECTURE;
        format!("/linux/{arch}/{name}-{version}.aci")
    }

    fn trust(&self, prefix: &str) {
        let key = self.key.public.to_string_lossy().into_owned();
        let prefix = format!("--prefix={prefix}");
        let words = ["trust", &prefix, "--skip-fingerprint-review", &key];
        self.host.rkt(words).run().ok();
    }

    fn online(&self, rkt: Cmd) -> Cmd {
        rkt.env("SSL_CERT_FILE", self.ca.certificate())
            .env("HTTPS_PROXY", self.proxy.url())
    }

    fn fetch(&self, name: &str) -> Output {
        self.online(self.host.rkt(["fetch", "--full", name])).run()
    }

    fn fetch_unsigned(&self, name: &str) -> Output {
        self.online(self.host.unsigned(["fetch", "--full", name]))
            .run()
    }

    #[track_caller]
    fn refused(&self, name: &str, words: &[&str]) {
        self.fetch(name).fails(254, "fetch", words);
        self.host.assert_store_is_empty();
    }

    /// As [`Site::refused`], after signatures of other images were told to be
    /// good.
    #[track_caller]
    fn refused_at_last(&self, name: &str, words: &[&str]) {
        let out = self.fetch(name).code_is(254);
        let last = out.stderr.lines().last().unwrap().to_lowercase();
        for word in words {
            assert!(last.contains(&word.to_lowercase()), "{word:?}: {out}");
        }
    }
}

fn hello() -> Aci {
    Aci::busybox("example.com/app", &["/bin/echo", "hello"])
}

mod by_url {
    use super::*;

    const URL: &str = "https://example.com/images/app.aci";
    const PATH: &str = "/images/app.aci";

    #[test]
    fn signed_and_in_every_compression() {
        for compression in Compression::ALL {
            let site = Site::new();
            site.trust("example.com/app");
            site.publish(PATH, &hello(), compression);
            let out = site.fetch(URL).ok();
            assert_eq!(out.text(), hello().id(), "{compression:?}");
            assert!(out.stderr.contains("Ada <ada@example.com>"), "{out}");
            assert_eq!(site.web.paths(), ["/images/app.aci.asc", PATH]);
            assert_eq!(site.proxy.asked()[0], "example.com:443");
            site.host
                .rkt(["run", "--net=none", URL])
                .run()
                .ok()
                .prints("hello\n");
        }
    }

    #[test]
    fn without_a_signature_or_with_another_key_it_is_refused() {
        let site = Site::new();
        site.publish(PATH, &hello(), Compression::Gzip);
        site.refused(URL, &["unknown key", "rkt trust --prefix example.com/app"]);
        site.trust("example.com/other");
        site.refused(URL, &["example.com/other", "not for example.com/app"]);
        site.files.lock().unwrap().remove("/images/app.aci.asc");
        site.refused(URL, &["no signature", "app.aci.asc"]);
        site.fetch_unsigned(URL).ok();
    }

    #[test]
    fn what_is_not_there_is_said() {
        let site = Site::new();
        site.fetch_unsigned(URL).fails(
            254,
            "fetch",
            &["nothing at https://example.com/images/app.aci"],
        );
        site.host.assert_store_is_empty();
    }

    /// One question, whose answer is that nothing has changed.
    #[test]
    fn an_unchanged_image_costs_one_question() {
        let site = Site::new();
        site.trust("example.com");
        site.publish(PATH, &hello(), Compression::Gzip);
        site.fetch(URL).ok();
        site.web.take_seen();
        let out = site.fetch(URL).ok();
        assert_eq!(out.text(), hello().id());
        let seen = site.web.take_seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        assert!(seen[0].header("if-none-match").is_some());
        // Changed, it comes anew, and so does its signature.
        let changed = Aci::busybox("example.com/app", &["/bin/echo", "changed"]);
        site.publish(PATH, &changed, Compression::Gzip);
        assert_eq!(site.fetch(URL).ok().text(), changed.id());
        assert_eq!(site.web.take_seen().len(), 2);
    }

    #[test]
    fn while_it_is_fresh_nobody_is_asked() {
        let site = Site::answering(|files, seen, reply| match files.get(&seen.path) {
            Some(bytes) => reply.send("200 OK", &[("Cache-Control", "max-age=3600")], bytes),
            None => reply.not_found(),
        });
        site.trust("example.com");
        site.publish(PATH, &hello(), Compression::Gzip);
        site.fetch(URL).ok();
        site.web.take_seen();
        assert_eq!(site.fetch(URL).ok().text(), hello().id());
        assert_eq!(site.web.take_seen(), []);
    }

    /// What was let in without a signature is looked at when one is wanted.
    #[test]
    fn a_stored_image_that_nobody_verified_is_not_good_enough() {
        let site = Site::new();
        site.publish(PATH, &hello(), Compression::Gzip);
        site.fetch_unsigned(URL).ok();
        site.fetch(URL).fails(254, "fetch", &["unknown key"]);
        site.trust("example.com");
        site.fetch(URL).ok();
        let listed = site.host.rkt(["image", "list", "--format=json"]).run().ok();
        let text = listed.stdout.clone();
        assert!(text.contains("Ada"), "{text}");
    }

    /// A server that goes away at every quarter is asked for the rest.
    #[test]
    fn a_transfer_that_breaks_continues() {
        let site = Site::answering(|files, seen, reply| {
            let Some(bytes) = files.get(&seen.path) else {
                return reply.not_found();
            };
            let from = seen.range_from().unwrap_or(0);
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            let headers = [("ETag", "\"1\""), ("Content-Range", range.as_str())];
            let status = if from == 0 {
                "200 OK"
            } else {
                "206 Partial Content"
            };
            reply.start(status, &headers, Some((bytes.len() - from) as u64));
            let until = (from + bytes.len() / 4 + 1).min(bytes.len());
            reply.raw(&bytes[from..until]);
        });
        site.publish(PATH, &hello(), Compression::Plain);
        assert_eq!(site.fetch_unsigned(URL).ok().text(), hello().id());
        let ranges: Vec<_> = site
            .web
            .seen()
            .iter()
            .filter_map(Seen::range_from)
            .collect();
        assert_eq!(ranges.len(), 3, "{ranges:?}");
    }

    /// Two versions are not glued together.
    #[test]
    fn a_change_in_the_middle_of_a_transfer_is_noticed() {
        let site = Site::answering(|files, seen, reply| {
            let bytes = &files[&seen.path];
            match seen.range_from() {
                None => {
                    reply.start("200 OK", &[("ETag", "\"1\"")], Some(bytes.len() as u64));
                    reply.raw(&bytes[..bytes.len() / 2]);
                }
                Some(from) => {
                    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                    let headers = [("ETag", "\"2\""), ("Content-Range", range.as_str())];
                    reply.send("206 Partial Content", &headers, &bytes[from..]);
                }
            }
        });
        site.publish(PATH, &hello(), Compression::Plain);
        site.fetch_unsigned(URL)
            .fails(254, "fetch", &["changed while it was downloaded"]);
        site.host.assert_store_is_empty();
    }

    /// A server may still be busy with the signature.
    #[test]
    fn a_signature_that_comes_later_is_waited_for() {
        let busy = Mutex::new(true);
        let site = Site::answering(move |files, seen, reply| {
            if seen.path.ends_with(".asc") && std::mem::take(&mut *busy.lock().unwrap()) {
                return reply.send("202 Accepted", &[], b"");
            }
            serve_files(files, seen, reply);
        });
        site.trust("example.com");
        site.publish(PATH, &hello(), Compression::Gzip);
        assert_eq!(site.fetch(URL).ok().text(), hello().id());
    }

    #[test]
    fn plain_http_needs_the_option_except_here() {
        let host = Host::new();
        let tar = hello().tar();
        let web = Web::start(move |_, reply| reply.send("200 OK", &[], &tar));
        assert_eq!(host.fetch(&web.url("/app.aci")), hello().id());
        host.unsigned(["fetch", "http://example.com/app.aci"])
            .run()
            .fails(254, "fetch", &["plain text", "--insecure-options=http"]);
    }

    #[test]
    fn a_certificate_for_another_name_is_refused() {
        let site = Site::new();
        site.publish(PATH, &hello(), Compression::Gzip);
        let other = "https://example.org/images/app.aci";
        site.fetch_unsigned(other)
            .fails(254, "fetch", &["example.org", "certificate"]);
        site.host.assert_store_is_empty();
        let words = ["--insecure-options=image,tls", "fetch", other];
        site.online(site.host.rkt(words)).run().ok();
    }

    #[test]
    fn an_unknown_authority_is_refused() {
        let site = Site::new();
        let another = Ca::new();
        site.online(site.host.unsigned(["fetch", URL]))
            .env("SSL_CERT_FILE", another.certificate())
            .run()
            .fails(254, "fetch", &["example.com", "certificate"]);
    }

    #[test]
    fn credentials_go_to_their_host_only() {
        let site = Site::answering(|files, seen, reply| {
            if seen.host() == "example.com" && seen.path.ends_with(".aci") {
                return reply.redirect(&format!("https://cdn.example.com{}", seen.path));
            }
            serve_files(files, seen, reply);
        });
        tests::web::configure(
            &site.host.config(),
            "auth.d",
            "site",
            &json!({"rktKind": "auth", "rktVersion": "v1", "domains": ["example.com"],
                    "type": "basic", "credentials": {"user": "ann", "password": "secret"}}),
        );
        site.trust("example.com");
        site.publish(PATH, &hello(), Compression::Gzip);
        site.fetch(URL).ok();
        let seen: Vec<_> = site
            .web
            .seen()
            .into_iter()
            .map(|s| {
                (
                    s.host().to_owned(),
                    s.header("authorization").map(str::to_owned),
                )
            })
            .collect();
        let basic = Some("Basic YW5uOnNlY3JldA==".to_owned());
        assert_eq!(
            seen,
            [
                ("example.com".to_owned(), basic.clone()),
                ("example.com".to_owned(), basic),
                ("cdn.example.com".to_owned(), None),
            ]
        );
    }

    #[test]
    fn an_endless_or_lying_server_is_given_up() {
        let host = Host::new();
        // Endless zeros are an ACI without anything in it.
        let endless = Web::start(|_, reply| {
            reply.start("200 OK", &[], None);
            while reply.raw(&[b'x'; 65536]) {}
        });
        host.unsigned(["fetch", &endless.url("/app.aci")])
            .run()
            .fails(254, "fetch", &["app.aci", "checksum"]);
        let short = Web::start(|_, reply| {
            reply.start("200 OK", &[], Some(1 << 30));
            reply.raw(&[0; 512]);
        });
        host.unsigned(["fetch", &short.url("/app.aci")])
            .run()
            .fails(254, "fetch", &["app.aci"]);
        let page = Web::start(|_, reply| reply.send("200 OK", &[], b"<html>Log in</html>"));
        host.unsigned(["fetch", &page.url("/app.aci")])
            .run()
            .fails(254, "fetch", &["app.aci"]);
        host.assert_store_is_empty();
    }
}

mod by_name {
    use super::*;

    #[test]
    fn the_page_of_the_name_leads_to_the_image() {
        let site = Site::new();
        site.trust("example.com/app");
        site.announce("/app");
        site.publish(
            &Site::place("example.com/app", "1.0.0"),
            &hello(),
            Compression::Xz,
        );
        let out = site.fetch("example.com/app:1.0.0").ok();
        assert_eq!(out.text(), hello().id());
        assert_eq!(site.web.paths()[0], "/app?ac-discovery=1");
        // The name is known now, without the network.
        site.host
            .rkt(["run", "--net=none", "example.com/app:1.0.0"])
            .run()
            .ok()
            .prints("hello\n");
    }

    /// Page and image: two questions, and nothing comes.
    #[test]
    fn unchanged_it_costs_two_questions() {
        let site = Site::new();
        site.trust("example.com");
        site.announce("/app");
        site.publish(
            &Site::place("example.com/app", "1.0.0"),
            &hello(),
            Compression::Gzip,
        );
        site.fetch("example.com/app:1.0.0").ok();
        site.web.take_seen();
        site.fetch("example.com/app:1.0.0").ok();
        assert_eq!(site.web.take_seen().len(), 2);
    }

    #[test]
    fn pages_above_are_asked_up_to_the_host() {
        let site = Site::new();
        let aci = Aci::busybox("example.com/team/app", &["/bin/echo", "hello"]);
        site.announce("/");
        site.publish(
            &Site::place("example.com/team/app", "latest"),
            &aci,
            Compression::Gzip,
        );
        assert_eq!(
            site.fetch_unsigned("example.com/team/app").ok().text(),
            aci.id()
        );
        let paths = site.web.paths();
        assert_eq!(
            paths[..3],
            [
                "/team/app?ac-discovery=1",
                "/team?ac-discovery=1",
                "/?ac-discovery=1"
            ]
        );
    }

    #[test]
    fn run_discovers_what_is_not_stored() {
        let site = Site::new();
        site.announce("/app");
        site.publish(
            &Site::place("example.com/app", "latest"),
            &hello(),
            Compression::Gzip,
        );
        let words = ["run", "--net=none", "example.com/app"];
        site.online(site.host.unsigned(words))
            .run()
            .ok()
            .prints("hello\n");
    }

    #[test]
    fn a_name_that_leads_nowhere_is_said() {
        let site = Site::new();
        site.refused(
            "example.com/nosuch",
            &["discovery failed", "example.com/nosuch", "nothing at"],
        );
        site.put("/app", "<html>no tags</html>");
        site.refused("example.com/app", &["discovery failed", "ac-discovery tag"]);
        site.announce("/app");
        site.refused("example.com/app", &["no signature"]);
        site.fetch_unsigned("example.com/app").fails(
            254,
            "fetch",
            &["nothing at https://cdn.example.com/linux"],
        );
    }

    /// Nobody may pass one image off as another.
    #[test]
    fn another_name_version_or_platform_is_refused() {
        let site = Site::new();
        site.announce("/app");
        site.trust("example.com");
        let place = Site::place("example.com/app", "2.0.0");
        site.publish(&place, &hello(), Compression::Gzip);
        site.refused(
            "example.com/app:2.0.0",
            &[
                "calls itself example.com/app,version=1.0.0",
                "version=2.0.0",
            ],
        );
        let other = Aci::busybox("example.com/other", &["/bin/true"]);
        site.publish(&place, &other, Compression::Gzip);
        site.refused("example.com/app:2.0.0", &["calls itself example.com/other"]);
        let mut foreign = hello();
        foreign.manifest["labels"][2]["value"] = "s390x".into();
        site.publish(
            &Site::place("example.com/app", "1.0.0"),
            &foreign,
            Compression::Gzip,
        );
        site.refused("example.com/app:1.0.0", &["calls itself", "arch=s390x"]);
    }

    /// Before the image is transferred.
    #[test]
    fn a_signer_that_nobody_knows_costs_no_transfer() {
        let site = Site::new();
        site.announce("/app");
        let place = Site::place("example.com/app", "latest");
        site.publish(&place, &hello(), Compression::Gzip);
        site.refused(
            "example.com/app",
            &["unknown key", "rkt trust --prefix example.com/app"],
        );
        assert!(!site.web.paths().contains(&place), "{:?}", site.web.paths());
    }

    #[test]
    fn a_template_that_needs_more_says_so() {
        let site = Site::new();
        site.put(
            "/app",
            r#"<meta name="ac-discovery" content="example.com https://cdn.example.com/{channel}.{ext}">"#,
        );
        site.refused("example.com/app", &["{channel}", "label"]);
        let mut aci = hello();
        let labels = aci.manifest["labels"].as_array_mut().unwrap();
        labels.push(json!({"name": "channel", "value": "beta"}));
        site.publish("/beta.aci", &aci, Compression::Gzip);
        site.fetch_unsigned("example.com/app,channel=beta").ok();
    }
}

mod dependencies {
    use super::*;

    /// An image of one file that is named after it, built on others.
    fn image(name: &str, dependencies: Value) -> Aci {
        let file = name.replace('/', "-");
        let rootfs = Rootfs::new()
            .dir("data", 0o755)
            .file(&format!("data/{file}"), 0o644, name)
            .file("data/last", 0o644, name);
        let mut aci = Aci::new(name, &["/bin/sh", "-c", "ls /data; cat /data/last"], rootfs);
        aci.manifest["dependencies"] = dependencies;
        aci
    }

    fn needs(names: &[&str]) -> Value {
        names
            .iter()
            .map(|name| json!({"imageName": name}))
            .collect()
    }

    fn site() -> Site {
        let site = Site::new();
        site.trust("example.com");
        site.announce("/");
        site
    }

    fn publish(site: &Site, aci: &Aci) {
        let name = aci.manifest["name"].as_str().unwrap();
        site.publish(&Site::place(name, "latest"), aci, Compression::Gzip);
    }

    fn base() -> Aci {
        let rootfs = Rootfs::busybox()
            .dir("data", 0o755)
            .file("data/base", 0o644, "base")
            .file("data/last", 0o644, "base");
        Aci::new("example.com/base", &["/bin/true"], rootfs)
    }

    /// app → [left → base, right → base]: everything is there, and the later
    /// one wins.
    #[test]
    fn a_tree_is_fetched_and_rendered_in_order() {
        let site = site();
        publish(&site, &base());
        publish(
            &site,
            &image("example.com/left", needs(&["example.com/base"])),
        );
        publish(
            &site,
            &image("example.com/right", needs(&["example.com/base"])),
        );
        let mut app = image(
            "example.com/app",
            needs(&["example.com/left", "example.com/right"]),
        );
        app.rootfs = Rootfs::new()
            .dir("data", 0o755)
            .file("data/app", 0o644, "app");
        publish(&site, &app);
        let out = site.fetch("example.com/app").ok();
        assert_eq!(out.text(), app.id());
        // Verified, each of them.
        assert_eq!(out.stderr.matches("signature verified").count(), 4, "{out}");
        site.host
            .rkt(["run", "--net=none", "example.com/app"])
            .run()
            .ok()
            .prints("app\nbase\nexample.com-left\nexample.com-right\nlast\nexample.com/right");
        // The base came once; no tar is stored twice.
        let base_place = Site::place("example.com/base", "latest");
        let asked = site
            .web
            .paths()
            .iter()
            .filter(|p| **p == base_place)
            .count();
        assert!(asked <= 2, "{:?}", site.web.paths());
    }

    #[test]
    fn a_circle_is_told() {
        let site = site();
        publish(&site, &image("example.com/a", needs(&["example.com/b"])));
        publish(&site, &image("example.com/b", needs(&["example.com/a"])));
        site.refused_at_last(
            "example.com/a",
            &["circle", "example.com/a → example.com/b → example.com/a"],
        );
    }

    #[test]
    fn an_id_a_size_and_labels_are_checked() {
        let site = site();
        publish(&site, &base());
        let wrong = format!("sha512-{}", "ab".repeat(64));
        let with = |extra: Value| {
            let mut dependency = json!({"imageName": "example.com/base"});
            dependency
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            image("example.com/app", json!([dependency]))
        };
        publish(&site, &with(json!({"imageID": wrong})));
        site.refused_at_last(
            "example.com/app",
            &["depends on example.com/base", "ID", &wrong],
        );
        publish(&site, &with(json!({"size": 7})));
        site.refused_at_last(
            "example.com/app",
            &["depends on example.com/base", "not the 7 that"],
        );
        publish(
            &site,
            &with(json!({"labels": [{"name": "version", "value": "9"}]})),
        );
        site.refused_at_last("example.com/app", &["depends on example.com/base:9"]);
        let packed = site.files.lock().unwrap()[&Site::place("example.com/base", "latest")].len();
        publish(
            &site,
            &with(json!({"imageID": base().id(), "size": packed})),
        );
        site.fetch("example.com/app").ok();
    }

    #[test]
    fn a_dependency_that_is_not_signed_is_refused() {
        let site = site();
        publish(&site, &base());
        publish(
            &site,
            &image("example.com/app", needs(&["example.com/base"])),
        );
        let signature = format!("{}.asc", Site::place("example.com/base", "latest"));
        let signature = site.files.lock().unwrap().remove(&signature).unwrap();
        site.refused_at_last(
            "example.com/app",
            &["depends on example.com/base", "no signature"],
        );
        // Nor is one that was let in without a look.
        site.fetch_unsigned("example.com/base").ok();
        site.fetch("example.com/app").code_is(254);
        site.refused_at_last("example.com/app", &["example.com/base", "never verified"]);
        site.put(
            &format!("{}.asc", Site::place("example.com/base", "latest")),
            signature,
        );
        site.fetch("example.com/app").ok();
    }

    /// A file's dependencies may come from the store alone.
    #[test]
    fn what_is_stored_needs_no_site() {
        let host = Host::new();
        host.fetch_aci(&base());
        host.fetch_aci(&image("example.com/app", needs(&["example.com/base"])));
        host.rkt(["run", "--net=none", "example.com/app"])
            .run()
            .ok()
            .prints("base\nexample.com-app\nlast\nexample.com/app");
        let file = image("example.com/lost", needs(&["localhost/nosuch"])).write(
            &host.images(),
            "lost",
            Compression::Plain,
        );
        host.unsigned(["fetch", &file.to_string_lossy()])
            .run()
            .fails(
                254,
                "fetch",
                &["depends on localhost/nosuch", "discovery failed"],
            );
    }

    #[test]
    fn a_path_whitelist_hides_the_rest_of_what_is_below() {
        let site = site();
        publish(&site, &base());
        let mut app = image("example.com/app", needs(&["example.com/base"]));
        let kept = [
            "/bin/sh",
            "/bin/ls",
            "/bin/cat",
            "/bin/busybox",
            "/data/last",
        ];
        app.manifest["pathWhitelist"] = json!(kept);
        publish(&site, &app);
        site.fetch("example.com/app").ok();
        site.host
            .rkt(["run", "--net=none", "example.com/app"])
            .run()
            .ok()
            .prints("last\nexample.com/app");
    }
}
