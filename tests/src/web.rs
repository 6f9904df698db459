//! Web servers of our own, kind and hostile: what they answer is up to the
//! test, and what they were asked is written down.
//!
//! Each answer ends its connection. TLS is spoken with a certificate for the
//! names that the test wants, signed by a [`Ca`] that the test makes with the
//! real openssl; a [`Proxy`] leads every name to one server, so that
//! `https://example.com` can be asked without leaving the machine.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::Cmd;

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, `POST`, …
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// As far as `content-length` says.
    pub body: String,
}

impl Seen {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The host the client meant.
    pub fn host(&self) -> &str {
        self.header("host").unwrap_or_default()
    }

    /// The first byte of a range that was asked for.
    pub fn range_from(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

/// An answer on its way to the client: bytes as they are.
pub struct Reply<'a>(&'a mut dyn Write);

impl Reply<'_> {
    /// A whole answer with the length of its body. That the client went away is
    /// the test's wish.
    pub fn send(&mut self, status: &str, headers: &[(&str, &str)], body: &[u8]) {
        self.start(status, headers, Some(body.len() as u64));
        self.raw(body);
    }

    /// The head of an answer, with any length that shall be claimed.
    pub fn start(&mut self, status: &str, headers: &[(&str, &str)], length: Option<u64>) {
        let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = length {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        self.raw(format!("{head}\r\n").as_bytes());
    }

    /// Bytes; `false` if nobody takes them any more.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.0
            .write_all(bytes)
            .and_then(|()| self.0.flush())
            .is_ok()
    }

    /// Nothing is there.
    pub fn not_found(&mut self) {
        self.send("404 Not Found", &[], b"nothing here\n");
    }

    /// Look there.
    pub fn redirect(&mut self, to: &str) {
        self.send("307 Temporary Redirect", &[("Location", to)], b"");
    }
}

type Handler = dyn Fn(&Seen, &mut Reply<'_>) + Send + Sync;

/// A server on a free loopback port.
pub struct Web {
    port: u16,
    tls: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Web {
    /// Speaks plain HTTP.
    pub fn start(handler: impl Fn(&Seen, &mut Reply<'_>) + Send + Sync + 'static) -> Self {
        Self::serve(None, Arc::new(handler))
    }

    /// Speaks TLS with a certificate for `names` (host names or addresses).
    pub fn start_tls(
        ca: &Ca,
        names: &[&str],
        handler: impl Fn(&Seen, &mut Reply<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(ca.server(names, None)), Arc::new(handler))
    }

    /// As [`Web::start_tls`], for clients that show a certificate of the same CA.
    pub fn start_mutual_tls(
        ca: &Ca,
        names: &[&str],
        handler: impl Fn(&Seen, &mut Reply<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(ca.server(names, Some(ca))), Arc::new(handler))
    }

    fn serve(tls: Option<Arc<ServerConfig>>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let web = Self {
            port,
            tls: tls.is_some(),
            seen: Arc::clone(&seen),
        };
        // The threads end with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, handler) = (tls.clone(), Arc::clone(&handler));
                let seen = Arc::clone(&seen);
                thread::spawn(move || {
                    // A client that goes away early is part of many tests.
                    let _ = converse(stream, tls, &*handler, &seen);
                });
            }
        });
        web
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.host())
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Every request so far; what comes later is counted anew.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The paths that were asked for so far, in order.
    pub fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|s| s.path).collect()
    }
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

fn converse(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    handler: &Handler,
    seen: &Mutex<Vec<Seen>>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let socket = stream.try_clone()?;
    let mut connection: Box<dyn Connection> = match tls {
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(connection, stream))
        }
        None => Box::new(stream),
    };
    let request = read_request(&mut *connection);
    if let Ok(request) = request {
        seen.lock().unwrap().push(request.clone());
        handler(&request, &mut Reply(&mut *connection));
        let _ = connection.flush();
    } else {
        // A client that tries TLS first.
        let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    // A close with unread bytes would reset what was sent.
    let _ = socket.shutdown(Shutdown::Write);
    let mut rest = [0; 4096];
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    while let Ok(1..) = (&socket).read(&mut rest) {}
    Ok(())
}

fn read_request(stream: &mut dyn Connection) -> io::Result<Seen> {
    // Byte by byte: nothing behind the head may be swallowed by a buffer.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head.len() > 65536 || (head.len() == 1 && !head[0].is_ascii_uppercase()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|l| l.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok(Seen {
        method,
        path,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Answers from a list of files by path; with `ETag`s, ranges and conditions as
/// a real server.
pub fn serve_files(files: &BTreeMap<String, Vec<u8>>, seen: &Seen, reply: &mut Reply<'_>) {
    let path = seen.path.split('?').next().unwrap_or_default();
    let Some(bytes) = files.get(path) else {
        return reply.not_found();
    };
    let etag = format!("\"{}\"", &crate::sha256(bytes)[..16]);
    let headers = [("ETag", etag.as_str())];
    if seen.header("if-none-match") == Some(&etag) {
        return reply.start("304 Not Modified", &headers, None);
    }
    match seen.range_from() {
        Some(from) if from <= bytes.len() => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            let headers = [("ETag", etag.as_str()), ("Content-Range", range.as_str())];
            reply.send("206 Partial Content", &headers, &bytes[from..]);
        }
        _ => reply.send("200 OK", &headers, bytes),
    }
}

/// A certificate authority of the test's own.
pub struct Ca {
    dir: TempDir,
}

impl Default for Ca {
    fn default() -> Self {
        Self::new()
    }
}

impl Ca {
    /// A new one.
    pub fn new() -> Self {
        let ca = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        openssl_req(&[
            "-x509".into(),
            "-days=2".into(),
            "-subj=/CN=test CA".into(),
            "-addext=basicConstraints=critical,CA:TRUE".into(),
            format!("-keyout={}", ca.path("ca.key")),
            format!("-out={}", ca.path("ca.pem")),
        ]);
        ca
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Its certificate, for those who shall trust it (`SSL_CERT_FILE`, `ca` of
    /// a host's configuration).
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for host names or addresses, and its key.
    pub fn issue(&self, names: &[&str]) -> (PathBuf, PathBuf) {
        let alternatives: Vec<String> = names
            .iter()
            .map(|name| match name.parse::<std::net::IpAddr>() {
                Ok(_) => format!("IP:{name}"),
                Err(_) => format!("DNS:{name}"),
            })
            .collect();
        let file = |ending: &str| self.path(&format!("{}.{ending}", names[0]));
        openssl_req(&[
            "-x509".into(),
            "-days=2".into(),
            format!("-subj=/CN={}", names[0]),
            format!("-CA={}", self.path("ca.pem")),
            format!("-CAkey={}", self.path("ca.key")),
            "-addext=basicConstraints=critical,CA:FALSE".into(),
            format!("-addext=subjectAltName={}", alternatives.join(",")),
            format!("-keyout={}", file("key")),
            format!("-out={}", file("pem")),
        ]);
        (file("pem").into(), file("key").into())
    }

    fn server(&self, names: &[&str], clients: Option<&Self>) -> Arc<ServerConfig> {
        // Somebody in this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (certificate, key) = self.issue(names);
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let builder = ServerConfig::builder();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = rustls::RootCertStore::empty();
                let root = CertificateDer::from_pem_file(ca.certificate()).unwrap();
                roots.add(root).unwrap();
                let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots));
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

/// `openssl req`, its options written as `-name=value`.
fn openssl_req(options: &[String]) {
    let mut words = vec![
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ];
    words.push("-nodes");
    for option in options {
        match option.split_once('=') {
            Some((name, value)) => words.extend([name, value]),
            None => words.push(option),
        }
    }
    Cmd::new("openssl").args(words).run().ok();
}

/// An HTTP proxy that leads every name to the same server.
pub struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Leads everything to `web`.
    pub fn to(web: &Web) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (target, log) = (web.port, Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                thread::spawn(move || tunnel(stream, target, &log));
            }
        });
        Self { port, asked }
    }

    /// For `HTTPS_PROXY`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `HOST:PORT` of every tunnel so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn tunnel(client: TcpStream, target: u16, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let host = line.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    log.lock().unwrap().push(host);
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).ok()?;
    }
    let server = TcpStream::connect(("127.0.0.1", target)).ok()?;
    let mut answer = client.try_clone().ok()?;
    answer
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .ok()?;
    let (mut up, mut to_server) = (reader, server.try_clone().ok()?);
    thread::spawn(move || {
        let _ = io::copy(&mut up, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut &server, &mut answer);
    let _ = answer.shutdown(Shutdown::Write);
    Some(())
}

/// Writes a configuration file of the machine.
pub fn configure(config: &Path, directory: &str, name: &str, content: &serde_json::Value) {
    let dir = config.join(directory);
    fs::create_dir_all(&dir).unwrap();
    let text = serde_json::to_vec_pretty(content).unwrap();
    fs::write(dir.join(format!("{name}.json")), text).unwrap();
}
