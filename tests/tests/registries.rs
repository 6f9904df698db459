//! Registries that want a login, TLS of their own, or have mirrors; platforms;
//! how often a registry is asked.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use tests::oci::{Layout, skopeo_copy};
use tests::web::{Reply, Seen, configure};
use tests::{Ca, Cmd, Host, OciImage, Registry, Web};

/// Hands requests on to a real registry, so that they can be counted.
fn front(registry: &Registry) -> impl Fn(&Seen, &mut Reply<'_>) + Send + Sync + use<> {
    let host = registry.host();
    move |seen, reply| forward(&host, seen, reply)
}

/// One request, one answer, by curl's grandfather: a socket.
fn forward(host: &str, seen: &Seen, reply: &mut Reply<'_>) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let mut request = format!(
        "{} {} HTTP/1.1\r\nConnection: close\r\n",
        seen.method, seen.path
    );
    for (name, value) in &seen.headers {
        match name.as_str() {
            "connection" => {}
            "host" => request.push_str(&format!("Host: {host}\r\n")),
            _ => request.push_str(&format!("{name}: {value}\r\n")),
        }
    }
    write!(stream, "{request}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    reply.raw(&answer);
}

fn image(host: &Host, text: &str) -> Layout {
    OciImage::busybox(&["/bin/echo", text]).write(&host.images().join(text), "1")
}

fn fetch(host: &Host, reference: &str) -> Cmd {
    host.unsigned(["fetch", "--full", reference])
}

#[test]
fn an_unchanged_image_costs_one_question() {
    let host = Host::new();
    let registry = Registry::start();
    let layout = image(&host, "hello");
    layout.copy_exactly_to(&registry.reference("some/app:1"));
    let web = Web::start(front(&registry));
    let reference = format!("docker://{}/some/app:1", web.host());
    let id = host.fetch(&reference);
    assert_eq!(id, layout.id());
    assert!(web.take_seen().len() > 1);
    assert_eq!(host.fetch(&reference), id);
    let seen = web.take_seen();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!(seen[0].path, "/v2/some/app/manifests/1");
}

/// Whoever wants a login gets one from where it is kept; nobody else does.
mod logins {
    use super::*;

    struct Guarded {
        host: Host,
        registry: Registry,
        id: String,
    }

    impl Guarded {
        /// A registry for `ann` with the password `secret`, with an image.
        fn new() -> Self {
            let host = Host::new();
            let registry = Registry::start_with_login("ann", "secret");
            let layout = image(&host, "hello");
            skopeo_copy(
                &["--preserve-digests", "--dest-creds=ann:secret"],
                &layout.reference(),
                &registry.reference("some/app:1"),
            );
            Self {
                id: layout.id(),
                host,
                registry,
            }
        }

        fn fetch(&self) -> Cmd {
            fetch(&self.host, &self.registry.reference("some/app:1"))
                .env("HOME", self.host.path())
                .env("XDG_RUNTIME_DIR", self.host.path().join("run"))
        }

        fn write(&self, file: &str, content: &Value) -> PathBuf {
            let path = self.host.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content.to_string()).unwrap();
            path
        }

        fn auths(&self) -> Value {
            json!({"auths": {self.registry.host(): {"auth": "YW5uOnNlY3JldA=="}}})
        }

        #[track_caller]
        fn works(&self, rkt: Cmd) {
            assert_eq!(rkt.run().ok().text(), self.id);
        }
    }

    #[test]
    fn nobody_is_refused_and_told_where_logins_go() {
        let guarded = Guarded::new();
        guarded.fetch().run().fails(
            254,
            "fetch",
            &["refuses", "some/app", "auth.d", "podman login"],
        );
        guarded.host.assert_store_is_empty();
    }

    #[test]
    fn the_configuration_knows_it() {
        let guarded = Guarded::new();
        let content = |password: &str| {
            json!({"rktKind": "dockerAuth", "rktVersion": "v1",
                   "registries": [guarded.registry.host()],
                   "credentials": {"user": "ann", "password": password}})
        };
        configure(&guarded.host.config(), "auth.d", "r", &content("wrong"));
        guarded.fetch().run().fails(
            254,
            "fetch",
            &["refuses", "check the name and the credentials"],
        );
        configure(&guarded.host.config(), "auth.d", "r", &content("secret"));
        guarded.works(guarded.fetch());
    }

    #[test]
    fn dockers_and_podmans_files_know_it() {
        for file in [
            ".docker/config.json",
            ".config/containers/auth.json",
            "run/containers/auth.json",
        ] {
            let guarded = Guarded::new();
            guarded.write(file, &guarded.auths());
            guarded.works(guarded.fetch());
        }
        let guarded = Guarded::new();
        let file = guarded.write("named.json", &guarded.auths());
        guarded.works(guarded.fetch().env("REGISTRY_AUTH_FILE", file));
    }

    /// What the real skopeo wrote at its login.
    #[test]
    fn skopeo_login_is_enough() {
        let guarded = Guarded::new();
        let file = guarded.host.path().join("auth.json");
        Cmd::new("skopeo")
            .args(["login", "--tls-verify=false", "--username=ann"])
            .args(["--password=secret", "--authfile"])
            .arg(&file)
            .arg(guarded.registry.host())
            .run()
            .ok();
        guarded.works(guarded.fetch().env("REGISTRY_AUTH_FILE", file));
    }

    /// A helper that answers for this registry only.
    #[test]
    fn a_credential_helper_knows_it() {
        let guarded = Guarded::new();
        let bin = guarded.host.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let helper = |script: &str| {
            let path = bin.join("docker-credential-test");
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let fetch = || guarded.fetch().env("PATH", &path);
        let registry = guarded.registry.host();
        helper(&format!(
            r#"read server; [ "$1" = get ] && [ "$server" = "{registry}" ] || exit 3
               echo '{{"ServerURL":"x","Username":"ann","Secret":"secret"}}'"#
        ));
        let file = ".docker/config.json";
        guarded.write(file, &json!({"credHelpers": {registry.as_str(): "test"}}));
        guarded.works(fetch());
        guarded.write(file, &json!({"credsStore": "test"}));
        guarded.works(fetch());
        helper("echo 'the key ring is locked' >&2; exit 1");
        fetch().run().fails(
            254,
            "fetch",
            &[
                "docker-credential-test",
                "config.json",
                "the key ring is locked",
            ],
        );
        helper("echo 'credentials not found in native keychain'; exit 1");
        fetch().run().fails(254, "fetch", &["refuses"]);
        guarded.write(file, &json!({"credsStore": "../../bin/sh"}));
        fetch().run().fails(254, "fetch", &["no name of a program"]);
    }

    /// A token server of its own, that believes the login or the identity.
    #[test]
    fn a_token_server_is_asked_with_the_scope() {
        let host = Host::new();
        let registry = Registry::start();
        let layout = image(&host, "hello");
        layout.copy_exactly_to(&registry.reference("some/app:1"));
        let behind = front(&registry);
        let web = Web::start(move |seen, reply| {
            let own = seen.host().to_owned();
            if seen.path.starts_with("/token") {
                let login = seen.header("authorization") == Some("Basic YW5uOnNlY3JldA==");
                let identity = seen.body.contains("refresh_token=long")
                    && seen.body.contains("scope=repository%3Asome%2Fapp%3Apull");
                return match login || identity {
                    true => reply.send("200 OK", &[], br#"{"access_token": "short"}"#),
                    false => reply.send("401 Unauthorized", &[], b""),
                };
            }
            if seen.header("authorization") != Some("Bearer short") {
                let challenge = format!(
                    r#"Bearer realm="http://{own}/token",service="s",scope="repository:some/app:pull""#
                );
                let headers = [("WWW-Authenticate", challenge.as_str())];
                return reply.send("401 Unauthorized", &headers, b"");
            }
            behind(seen, reply);
        });
        let reference = format!("docker://{}/some/app:1", web.host());
        let file = host.path().join("auth.json");
        let run = |entry: Value| {
            let content = json!({"auths": {web.host(): entry}});
            fs::write(&file, content.to_string()).unwrap();
            fetch(&host, &reference)
                .env("REGISTRY_AUTH_FILE", &file)
                .run()
        };
        run(json!({})).fails(254, "fetch", &["no token", "wants credentials"]);
        run(json!({"auth": "YW5uOndyb25n"})).fails(254, "fetch", &["refuses the credentials"]);
        assert_eq!(
            run(json!({"identitytoken": "long"})).ok().text(),
            layout.id()
        );
        let post = web.seen().into_iter().find(|s| s.method == "POST").unwrap();
        assert!(post.body.contains("grant_type=refresh_token"), "{post:?}");
        let out = run(json!({"auth": "YW5uOnNlY3JldA=="})).ok();
        assert_eq!(out.text(), layout.id());
        let asked = web
            .seen()
            .into_iter()
            .find(|s| s.path.starts_with("/token?"));
        let path = asked.unwrap().path;
        assert!(
            path.contains("scope=repository%3Asome%2Fapp%3Apull"),
            "{path}"
        );
    }
}

mod hosts {
    use super::*;

    fn hosts_d(host: &Host, name: &str, content: Value) {
        let mut content = content;
        content["rktVersion"] = "v1".into();
        configure(&host.config(), "hosts.d", name, &content);
    }

    #[test]
    fn a_registry_with_a_private_authority() {
        let host = Host::new();
        let ca = Ca::new();
        let (certificate, key) = ca.issue(&["127.0.0.1"]);
        let registry = Registry::start_tls(&certificate, &key);
        let layout = image(&host, "hello");
        layout.copy_exactly_to(&registry.reference("app:1"));
        let reference = registry.reference("app:1");
        fetch(&host, &reference)
            .run()
            .fails(254, "fetch", &["127.0.0.1", "certificate"]);
        let kind = |more: Value| {
            let mut content = json!({"rktKind": "host", "hosts": [registry.host()]});
            content
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            hosts_d(&host, "r", content);
        };
        kind(json!({"ca": host.path().join("nosuch.pem")}));
        fetch(&host, &reference)
            .run()
            .fails(254, "fetch", &["nosuch.pem", "hosts.d"]);
        let another = Ca::new();
        kind(json!({"ca": another.certificate()}));
        fetch(&host, &reference)
            .run()
            .fails(254, "fetch", &["certificate"]);
        host.assert_store_is_empty();
        kind(json!({"ca": ca.certificate()}));
        assert_eq!(fetch(&host, &reference).run().ok().text(), layout.id());
        kind(json!({"insecure": ["tls"]}));
        fetch(&host, &reference).run().ok();
    }

    #[test]
    fn a_registry_that_wants_a_client_certificate() {
        let host = Host::new();
        let ca = Ca::new();
        let registry = Registry::start();
        let layout = image(&host, "hello");
        layout.copy_exactly_to(&registry.reference("app:1"));
        let web = Web::start_mutual_tls(&ca, &["127.0.0.1"], front(&registry));
        let reference = format!("docker://{}/app:1", web.host());
        let mut content = json!({"rktKind": "host", "hosts": [web.host()], "ca": ca.certificate()});
        hosts_d(&host, "r", content.clone());
        fetch(&host, &reference)
            .run()
            .fails(254, "fetch", &[&web.host()]);
        let (certificate, key) = ca.issue(&["client"]);
        content["certificate"] = json!(certificate);
        content["key"] = json!(key);
        hosts_d(&host, "r", content);
        assert_eq!(fetch(&host, &reference).run().ok().text(), layout.id());
    }

    #[test]
    fn mirrors_are_asked_first_and_the_registry_at_last() {
        let host = Host::new();
        let mirror = Registry::start();
        let registry = Registry::start();
        let layout = image(&host, "hello");
        layout.copy_exactly_to(&mirror.reference("copies/app:1"));
        layout.copy_exactly_to(&registry.reference("app:1"));
        let other = image(&host, "other");
        other.copy_exactly_to(&registry.reference("other:1"));
        let (near, origin) = (Web::start(front(&mirror)), Web::start(front(&registry)));
        hosts_d(
            &host,
            "mirror",
            json!({"rktKind": "host", "hosts": [origin.host()],
                   "mirrors": ["127.0.0.1:1", format!("{}/copies", near.host())]}),
        );
        let reference = |name: &str| format!("docker://{}/{name}", origin.host());
        assert_eq!(host.fetch(&reference("app:1")), layout.id());
        assert_eq!(origin.paths(), Vec::<String>::new());
        assert!(
            near.paths()
                .iter()
                .all(|p| p.starts_with("/v2/copies/app/"))
        );
        // What the mirror does not have is the registry's to give.
        assert_eq!(host.fetch(&reference("other:1")), other.id());
        // A mirror that lost a blob has lost nothing that matters.
        host.rkt(["image", "rm", &layout.id()]).run().ok();
        host.rkt(["image", "rm", &other.id()]).run().ok();
        fs::remove_file(mirror.blob(&layout.layers[0])).unwrap();
        assert_eq!(host.fetch(&reference("app:1")), layout.id());
        // The image keeps the name that was typed.
        host.rkt(["run", "--net=none", &reference("app:1")])
            .run()
            .ok()
            .prints("hello\n");
    }

    #[test]
    fn a_name_without_a_host_goes_where_the_configuration_says() {
        let host = Host::new();
        let registry = Registry::start();
        let layout = image(&host, "hello");
        layout.copy_exactly_to(&registry.reference("app:1"));
        hosts_d(
            &host,
            "default",
            json!({"rktKind": "defaultRegistry", "registry": registry.host()}),
        );
        assert_eq!(host.fetch("docker://app:1"), layout.id());
        host.rkt(["run", "--net=none", "docker://app:1"])
            .run()
            .ok()
            .prints("hello\n");
        let listed = host.rkt(["config"]).run().ok();
        assert!(listed.stdout.contains("defaultRegistry"), "{listed}");
        let explain = |name: &str| host.rkt(["trust", "explain", name]).run().ok().stdout;
        let short = explain("docker://app:2");
        assert_eq!(short, explain(&registry.reference("app:2")));
    }
}
