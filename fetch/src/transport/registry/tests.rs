//! Against servers that are slow, broken or lying.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use manifests::config::{Config, UserPassword};
use manifests::digest::Algorithm;

use super::*;
use crate::credentials::Anonymous;
use crate::stream::Verified;

/// A request as the server saw it; header names in lower case.
#[derive(Debug, Clone)]
struct Seen {
    path: String,
    headers: BTreeMap<String, String>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A web server of one thread; it ends with the test.
struct Server {
    port: u16,
    seen: Receiver<Seen>,
}

impl Server {
    /// `reply` writes the whole answer; the connection is closed behind it.
    fn start(mut reply: impl FnMut(&Seen, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, seen) = channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let Some(request) = read_request(&stream) else {
                    // A client that tries TLS first.
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                    continue;
                };
                let _ = sender.send(request.clone());
                reply(&request, &mut stream);
            }
        });
        Self { port, seen }
    }

    fn registry(&self) -> Registry {
        self.registry_of("app:1", Arc::new(Anonymous))
    }

    fn registry_of(&self, name: &str, credentials: Arc<dyn Credentials>) -> Registry {
        let reference = DockerReference::parse(&format!("127.0.0.1:{}/{name}", self.port)).unwrap();
        let access = Access {
            checks: Checks::default(),
            credentials,
        };
        Registry::new(&reference, &access)
    }

    /// A login for this server.
    fn login(&self) -> Arc<dyn Credentials> {
        let mut config = Config::default();
        let login = UserPassword {
            user: "ann".to_owned(),
            password: "secret".into(),
        };
        config
            .docker_auth
            .insert(format!("127.0.0.1:{}", self.port), login);
        Arc::new(config)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.try_iter().collect()
    }
}

fn read_request(stream: &TcpStream) -> Option<Seen> {
    let mut first = [0];
    stream.peek(&mut first).ok()?;
    if !first[0].is_ascii_uppercase() {
        return None;
    }
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines
        .take_while(|l| !l.is_empty())
        .filter_map(|l| {
            let (name, value) = l.split_once(':')?;
            Some((name.to_lowercase(), value.trim().to_owned()))
        })
        .collect();
    Some(Seen { path, headers })
}

/// A complete answer.
fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    );
    // The client may have gone; then nobody misses the answer.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

const OK: &str = "200 OK";

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: "application/octet-stream".to_owned(),
        digest: digest_of(Algorithm::Sha256, bytes),
        size: bytes.len() as u64,
    }
}

/// Reads a blob as an import does.
fn fetch(registry: &Registry, blob: &Descriptor) -> Result<Vec<u8>, String> {
    let body = registry.blob(blob).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    Verified::new(body, registry.origin(), blob.digest.clone(), blob.size)
        .read_to_end(&mut bytes)
        .map_err(|e| e.to_string())?;
    Ok(bytes)
}

fn root(registry: &Registry) -> Result<Vec<u8>, String> {
    registry.root().map(|r| r.bytes).map_err(|e| e.to_string())
}

#[test]
fn a_loopback_registry_may_speak_plain_http() {
    let server = Server::start(|_, s| answer(s, OK, "Content-Type: x/y\r\n", b"{}"));
    let registry = server.registry();
    let root = registry.root().unwrap();
    assert_eq!(
        (root.bytes.as_slice(), root.media_type.as_deref()),
        (&b"{}"[..], Some("x/y"))
    );
    let seen = server.seen();
    assert_eq!(seen[0].path, "/v2/app/manifests/1");
    assert!(seen[0].header("accept").unwrap().contains("image.index.v1"));
    assert_eq!(
        seen[0].header("user-agent"),
        Some(concat!("rkt/", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn plain_http_elsewhere_needs_the_option() {
    let permits = |allow_plain, url: &str| {
        let skip_tls = false;
        let client = Client::new(Checks {
            skip_tls,
            allow_plain,
            ..Checks::default()
        });
        client.permits(&Url::parse(url).unwrap())
    };
    for (url, loopback) in [
        ("http://127.0.0.1:5000/", true),
        ("http://127.1.2.3/", true),
        ("http://[::1]:5000/", true),
        ("http://localhost/", true),
        ("http://localhost.example.com/", false),
        ("http://192.0.2.1/", false),
        ("http://example.com/", false),
    ] {
        assert_eq!(permits(false, url), loopback, "{url}");
        assert!(permits(true, url), "{url}");
    }
    assert!(permits(false, "https://example.com/"));
    assert!(!permits(true, "file:///etc/passwd"));
}

#[test]
fn a_registry_that_lies_about_a_digest_is_found_out() {
    let server = Server::start(|_, s| answer(s, OK, "", b"other"));
    let blob = descriptor(b"wants");
    let error = fetch(&server.registry(), &blob).unwrap_err();
    assert!(error.contains(&blob.digest.to_string()), "{error}");
    assert!(error.contains("damaged or forged"), "{error}");
    let by_digest = format!("app@{}", blob.digest);
    let error = root(&server.registry_of(&by_digest, Arc::new(Anonymous))).unwrap_err();
    assert!(error.contains("damaged or forged"), "{error}");
}

#[test]
fn endless_bodies_end() {
    let server = Server::start(|_, s| {
        let _ = s.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while s.write_all(&[b' '; 65536]).is_ok() {}
    });
    let registry = server.registry();
    let error = fetch(&registry, &descriptor(b"short")).unwrap_err();
    assert!(error.contains("more than the 5 bytes"), "{error}");
    let error = root(&registry).unwrap_err();
    assert!(error.contains("a manifest of more than"), "{error}");
}

#[test]
fn broken_transfers_continue_where_they_broke() {
    for ranges in [true, false] {
        let bytes: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
        let blob = descriptor(&bytes);
        let whole = bytes.clone();
        let mut calls = 0;
        let server = Server::start(move |seen, s| {
            calls += 1;
            let from: usize = match seen.header("range") {
                Some(r) if ranges => r["bytes=".len()..].trim_end_matches('-').parse().unwrap(),
                _ => 0,
            };
            let size = whole.len();
            let head = match from {
                0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"),
                _ => format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{size}\r\n\r\n",
                    size - from,
                    size - 1
                ),
            };
            let _ = s.write_all(head.as_bytes());
            // A little further each time, then the line goes dead.
            let end = size.min(calls * size / 4);
            let _ = s.write_all(&whole[from.min(end)..end]);
        });
        let got = fetch(&server.registry(), &blob).unwrap();
        assert!(got == bytes, "ranges: {ranges}");
        let seen = server.seen();
        assert_eq!(seen.len(), 4, "{seen:?}");
        assert!(
            seen[1..].iter().all(|s| s.header("range").is_some()),
            "{seen:?}"
        );
    }
}

#[test]
fn a_transfer_that_never_gets_further_fails() {
    let server = Server::start(|_, s| {
        let _ = s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc");
    });
    let error = fetch(&server.registry(), &descriptor(&[7; 100])).unwrap_err();
    assert!(
        error.contains("broke at byte 3 of 100, repeatedly"),
        "{error}"
    );
}

/// Much came at first, but what never comes again is given up all the same.
#[test]
fn a_server_that_goes_away_in_the_middle_is_given_up() {
    let mut calls = 0;
    let server = Server::start(move |_, s| {
        calls += 1;
        let head = match calls {
            1 => "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n",
            _ => "HTTP/1.1 500 ", // and the line goes dead
        };
        let _ = s.write_all(head.as_bytes());
        if calls == 1 {
            let _ = s.write_all(&[7; 100_000]);
        }
    });
    let error = fetch(&server.registry(), &descriptor(&[7; 200_000])).unwrap_err();
    assert!(
        error.contains("broke at byte 100000 of 200000, repeatedly"),
        "{error}"
    );
}

#[test]
fn a_server_that_continues_elsewhere_is_not_believed() {
    let mut calls = 0;
    let server = Server::start(move |_, s| {
        calls += 1;
        if calls == 1 {
            let _ = s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
        } else {
            answer(
                s,
                "206 Partial Content",
                "Content-Range: bytes 1-8/9\r\n",
                b"xxxxxxxx",
            );
        }
    });
    let error = fetch(&server.registry(), &descriptor(b"abcdefghi")).unwrap_err();
    assert!(error.contains("continues at another byte"), "{error}");
}

#[test]
fn a_busy_server_is_asked_again_and_a_dead_one_given_up() {
    let mut calls = 0;
    let server = Server::start(move |_, s| {
        calls += 1;
        match calls {
            1 => answer(s, "503 Service Unavailable", "", b""),
            2 => answer(s, "429 Too Many Requests", "Retry-After: 0\r\n", b""),
            _ => answer(s, OK, "", b"{}"),
        }
    });
    assert_eq!(root(&server.registry()).unwrap(), b"{}");
    let server = Server::start(|_, s| answer(s, "502 Bad Gateway", "", b""));
    let error = root(&server.registry()).unwrap_err();
    assert!(
        error.contains("answers 502 Bad Gateway, even after 5 attempts"),
        "{error}"
    );
}

#[test]
fn a_token_is_fetched_with_the_login_and_used() {
    let server = Server::start(move |seen, s| {
        let host = seen.header("host").unwrap().to_owned();
        match (
            seen.path.split('?').next().unwrap(),
            seen.header("authorization"),
        ) {
            ("/token", Some("Basic YW5uOnNlY3JldA==")) => {
                answer(s, OK, "", br#"{"token":"t0"}"#);
            }
            ("/token", _) => answer(s, "401 Unauthorized", "", b""),
            (_, Some("Bearer t0")) => answer(s, OK, "", b"{}"),
            _ => {
                let challenge = format!(
                    "WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"reg\"\r\n"
                );
                answer(s, "401 Unauthorized", &challenge, b"");
            }
        }
    });
    let registry = server.registry_of("app:1", server.login());
    assert_eq!(root(&registry).unwrap(), b"{}");
    assert_eq!(root(&registry).unwrap(), b"{}");
    let paths: Vec<_> = server.seen().into_iter().map(|s| s.path).collect();
    assert_eq!(
        paths,
        [
            "/v2/app/manifests/1",
            "/token?service=reg&scope=repository%3Aapp%3Apull",
            "/v2/app/manifests/1",
            "/v2/app/manifests/1", // the token is kept
        ]
    );
    let error = root(&server.registry()).unwrap_err();
    assert!(error.contains("put them into auth.d"), "{error}");
}

#[test]
fn basic_authentication_is_answered() {
    let server = Server::start(|seen, s| match seen.header("authorization") {
        Some("Basic YW5uOnNlY3JldA==") => answer(s, OK, "", b"{}"),
        _ => answer(
            s,
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"x\"\r\n",
            b"",
        ),
    });
    assert_eq!(
        root(&server.registry_of("app:1", server.login())).unwrap(),
        b"{}"
    );
    let error = root(&server.registry()).unwrap_err();
    assert!(error.contains("refuses app:1"), "{error}");
    assert!(error.contains("put credentials into auth.d"), "{error}");
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let elsewhere = Server::start(|_, s| answer(s, OK, "", b"{}"));
    let target = format!("http://localhost:{}/blob", elsewhere.port);
    let server = Server::start(move |seen, s| match seen.header("authorization") {
        Some(_) => answer(
            s,
            "307 Temporary Redirect",
            &format!("Location: {target}\r\n"),
            b"",
        ),
        None => answer(
            s,
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"x\"\r\n",
            b"",
        ),
    });
    let registry = server.registry_of("app:1", server.login());
    assert_eq!(root(&registry).unwrap(), b"{}");
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), None, "{seen:?}");
}

#[test]
fn redirects_stay_where_the_user_allows_it() {
    let server = Server::start(|seen, s| {
        let target = match seen.path.contains("/manifests/") {
            true => "http://example.com/m",
            false => "/round/and/round",
        };
        answer(s, "302 Found", &format!("Location: {target}\r\n"), b"");
    });
    let error = root(&server.registry()).unwrap_err();
    assert!(
        error.contains("example.com would be asked in plain text"),
        "{error}"
    );
    let error = fetch(&server.registry(), &descriptor(b"x")).unwrap_err();
    assert!(error.contains("too many redirects"), "{error}");
}

#[test]
fn refusals_are_told_in_the_registrys_words() {
    let server = Server::start(|_, s| {
        let body =
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest \u001b[31munknown"}]}"#;
        answer(s, "404 Not Found", "", body);
    });
    let error = root(&server.registry()).unwrap_err();
    let host = format!("127.0.0.1:{}", server.port);
    assert_eq!(
        error,
        format!("{host} has no app:1 (it says: manifest  [31munknown)")
    );
    let server = Server::start(|_, s| {
        let schema_1 = format!("Content-Type: {SCHEMA_1}prettyjws\r\n");
        answer(s, OK, &schema_1, b"{}");
    });
    let error = root(&server.registry()).unwrap_err();
    assert!(error.contains("schema 1"), "{error}");
}

#[test]
fn nobody_listening_is_said_with_the_host() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let reference = DockerReference::parse(&format!("127.0.0.1:{port}/app")).unwrap();
    let access = Access {
        checks: Checks::default(),
        credentials: Arc::new(Anonymous),
    };
    let error = root(&Registry::new(&reference, &access)).unwrap_err();
    assert!(
        error.starts_with(&format!("cannot reach 127.0.0.1:{port}: ")),
        "{error}"
    );
    assert!(
        error.to_lowercase().contains("connection refused"),
        "{error}"
    );
}

/// Byte by byte, for ever: heads, documents and layers alike.
#[test]
fn servers_that_trickle_are_given_up() {
    fn trickle(stream: &mut TcpStream) {
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    }
    let head = Server::start(|_, stream| trickle(stream));
    let error = root(&head.registry()).unwrap_err();
    assert!(error.contains("127.0.0.1"), "{error}");

    let document = Server::start(|_, stream| {
        let start = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
        let _ = stream.write_all(start.as_bytes());
        trickle(stream);
    });
    let error = root(&document.registry()).unwrap_err();
    assert!(error.contains("next to nothing"), "{error}");
    let blob = descriptor(&vec![b' '; 1_000_000]);
    let error = fetch(&document.registry(), &blob).unwrap_err();
    assert!(error.contains("next to nothing"), "{error}");
}
