//! As much HTTP/1.1 as the metadata service speaks: one request a connection,
//! bodies with a length.
//!
//! Heads are parsed by `httparse`; what is beyond the limits or takes too long
//! ends the connection.

use std::io::{self, Read, Write};

/// Longest head of a request.
const HEAD: usize = 16 << 10;

/// Longest body: a pod manifest.
const BODY: usize = 4 << 20;

/// Most header fields.
const FIELDS: usize = 64;

/// A request, read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// The path, percent-encoded as it came, without the query.
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: Vec<u8>,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// A status and nothing else.
    pub(super) fn status(status: u16) -> Self {
        Self {
            status,
            kind: TEXT,
            body: Vec::new(),
        }
    }

    /// Plain text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self {
            status: 200,
            kind: TEXT,
            body: text.into().into_bytes(),
        }
    }

    /// JSON.
    pub(super) fn json(body: Vec<u8>) -> Self {
        Self {
            status: 200,
            kind: "application/json",
            body,
        }
    }

    /// Writes it, and that the connection ends here.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            413 => "Content Too Large",
            _ => "Error",
        };
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.status,
            self.kind,
            self.body.len()
        );
        to.write_all(&[head.as_bytes(), &self.body].concat())?;
        to.flush()
    }
}

const TEXT: &str = "text/plain; charset=us-ascii";

/// Reads a request. The error is the status to answer with; without one the
/// other side is gone and nothing is to be answered.
pub(super) fn read(from: &mut impl Read) -> Result<Request, Option<u16>> {
    let mut bytes = Vec::new();
    loop {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(&bytes) {
            Ok(httparse::Status::Complete(head)) => {
                let length = body_length(parsed.headers)?;
                let target = parsed.path.unwrap_or("/");
                let (path, query) = target.split_once('?').unwrap_or((target, ""));
                let mut request = Request {
                    method: parsed.method.unwrap_or_default().to_owned(),
                    path: path.to_owned(),
                    query: query.to_owned(),
                    body: bytes.split_off(head),
                };
                while request.body.len() < length {
                    more(from, &mut request.body)?;
                }
                request.body.truncate(length);
                return Ok(request);
            }
            Ok(httparse::Status::Partial) if bytes.len() < HEAD => more(from, &mut bytes)?,
            _ => return Err(Some(400)),
        }
    }
}

fn body_length(fields: &[httparse::Header<'_>]) -> Result<usize, Option<u16>> {
    let mut length = 0;
    for field in fields {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Some(400));
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(field.value).ok();
            length = text.and_then(|t| t.trim().parse().ok()).ok_or(Some(400))?;
        }
    }
    if length > BODY {
        return Err(Some(413));
    }
    Ok(length)
}

fn more(from: &mut impl Read, bytes: &mut Vec<u8>) -> Result<(), Option<u16>> {
    let mut chunk = [0; 4096];
    match from.read(&mut chunk) {
        Ok(0) | Err(_) => Err(None),
        Ok(length) => {
            bytes.extend_from_slice(&chunk[..length]);
            Ok(())
        }
    }
}

/// Sends a request and gives the status and the body of the answer.
pub(super) fn ask(
    mut stream: impl Read + Write,
    method: &str,
    target: &str,
    body: &[u8],
) -> io::Result<(u16, Vec<u8>)> {
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: rkt\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    match parsed.parse(&answer) {
        Ok(httparse::Status::Complete(head)) => {
            let status = parsed.code.ok_or_else(bad)?;
            Ok((status, answer.split_off(head)))
        }
        _ => Err(bad()),
    }
}

/// The value of a field of a form (`application/x-www-form-urlencoded`) or a
/// query; none if it is missing or badly encoded.
pub(super) fn field(form: &str, name: &str) -> Option<String> {
    form.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key)? == name).then(|| decode(value))?
    })
}

/// Undoes percent-encoding, with `+` for a blank.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || (rest.next()? as char).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes one at a time, as a slow or hostile client does.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else {
                return Ok(0);
            };
            buf[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    #[test]
    fn a_request_is_read_however_it_arrives() {
        let text = b"POST /t/x?a=b HTTP/1.1\r\nhost: h\r\nCONTENT-length: 3\r\n\r\nabcdef";
        let expected = Request {
            method: "POST".into(),
            path: "/t/x".into(),
            query: "a=b".into(),
            body: b"abc".into(),
        };
        assert_eq!(read(&mut Drip(text)).unwrap(), expected);
        assert_eq!(read(&mut &text[..]).unwrap(), expected);
    }

    #[test]
    fn what_is_no_request_has_its_status() {
        let long = [b"GET /".as_slice(), &[b'a'; HEAD * 2]].concat();
        let fields = "a: b\r\n".repeat(FIELDS + 1);
        for (text, status) in [
            (b"\x16\x03\x01".to_vec(), Some(400)),
            (
                b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n".to_vec(),
                Some(400),
            ),
            (
                b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
                Some(400),
            ),
            (
                b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n".to_vec(),
                Some(413),
            ),
            (
                format!("GET / HTTP/1.1\r\n{fields}\r\n").into_bytes(),
                Some(400),
            ),
            (long, Some(400)),
            (
                b"GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc".to_vec(),
                None,
            ),
            (b"GET / HT".to_vec(), None),
            (Vec::new(), None),
        ] {
            assert_eq!(read(&mut text.as_slice()).unwrap_err(), status, "{text:?}");
        }
    }

    #[test]
    fn forms_are_decoded() {
        let form = "content=a+b%26c%3D%c3%a9&uuid=&signature=x%2B%2F%3D";
        assert_eq!(field(form, "content").unwrap(), "a b&c=\u{e9}");
        assert_eq!(field(form, "uuid").unwrap(), "");
        assert_eq!(field(form, "signature").unwrap(), "x+/=");
        assert_eq!(field(form, "nosuch"), None);
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert_eq!(field(bad, "a"), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_fall(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _any = read(&mut bytes.as_slice());
            let _any = decode(&String::from_utf8_lossy(&bytes));
        }
    }
}
