//! A body that survives its connection.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::blocking::Response;
use reqwest::header::CONTENT_RANGE;

/// Broken connections in a row that brought next to nothing.
const MAX_FAILURES: u32 = 5;
/// What is more than next to nothing.
const PROGRESS: u64 = 64 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 250 });

/// A server that sends less than this in [`PATIENCE`] holds us up on purpose
/// or by accident; another connection may do better.
const MIN_BYTES: u64 = 16 * 1024;
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 60_000 });

/// All of a document, which must not take longer than this.
const DOCUMENT_DEADLINE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 120 });

/// A document, whole; `None` if it has more than `limit` bytes.
///
/// # Errors
/// The connection broke, or the server trickles.
pub(crate) fn read_document(mut body: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let until = Instant::now() + DOCUMENT_DEADLINE;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = match body.read(&mut buffer) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if n == 0 {
            return Ok(Some(bytes));
        }
        bytes.extend_from_slice(&buffer[..n]);
        if bytes.len() as u64 > limit {
            return Ok(None);
        }
        if Instant::now() > until {
            let slow = "the server sends next to nothing";
            return Err(io::Error::new(io::ErrorKind::TimedOut, slow));
        }
    }
}

/// Why there are no more bytes just now.
pub(crate) enum OpenError {
    /// The connection could not be made or broke: another one may do.
    Passing(io::Error),
    /// The server said no, and will say so again.
    Final(io::Error),
}

/// The bytes behind a URL. When the connection breaks, or the body ends before
/// `size` bytes came, the rest is asked for. Where no size is known the end of
/// the body is believed.
///
/// `open` asks for the bytes from an offset on.
pub(crate) struct Resuming<F> {
    open: F,
    size: Option<u64>,
    position: u64,
    current: Option<Response>,
    failures: u32,
    /// Where the last attempt began.
    attempt_from: u64,
    window: (Instant, u64),
}

impl<F: FnMut(u64) -> Result<Response, OpenError>> Resuming<F> {
    pub(crate) fn new(size: Option<u64>, first: Response, open: F) -> Self {
        Self {
            open,
            size,
            position: 0,
            current: Some(first),
            failures: 0,
            attempt_from: 0,
            window: (Instant::now(), 0),
        }
    }

    fn is_complete(&self) -> bool {
        self.size.is_some_and(|size| self.position >= size)
    }

    /// Asks for the rest.
    fn reopen(&mut self) -> Result<(), OpenError> {
        let mut response = (self.open)(self.position)?;
        let skip = start_of(&response, self.position).map_err(OpenError::Final)?;
        io::copy(&mut (&mut response).take(skip), &mut io::sink()).map_err(OpenError::Passing)?;
        self.attempt_from = self.position;
        self.window = (Instant::now(), self.position);
        self.current = Some(response);
        Ok(())
    }

    fn attempt(&mut self, buf: &mut [u8]) -> Result<usize, OpenError> {
        let response = match &mut self.current {
            Some(response) => response,
            None => {
                self.reopen()?;
                return self.attempt(buf);
            }
        };
        let n = response.read(buf).map_err(OpenError::Passing)?;
        self.position += n as u64;
        if n == 0 && self.size.is_some_and(|size| self.position < size) {
            return Err(OpenError::Passing(io::ErrorKind::UnexpectedEof.into()));
        }
        let (since, from) = self.window;
        if since.elapsed() > PATIENCE {
            if self.position - from < MIN_BYTES && !self.is_complete() && n > 0 {
                let slow = "the server sends next to nothing";
                // What was read just now must not be lost: it is delivered,
                // and the next attempt starts behind it.
                self.current = None;
                self.count_failure(&io::Error::new(io::ErrorKind::TimedOut, slow))
                    .map_err(OpenError::Final)?;
                return Ok(n);
            }
            self.window = (Instant::now(), self.position);
        }
        Ok(n)
    }

    /// Fails once there were too many failures.
    fn count_failure(&mut self, error: &io::Error) -> io::Result<()> {
        if self.position - self.attempt_from >= PROGRESS {
            self.failures = 0;
        }
        // Whether or not the next attempt gets as far as a body, it begins here.
        self.attempt_from = self.position;
        self.failures += 1;
        if self.failures >= MAX_FAILURES {
            let position = self.position;
            let of = self
                .size
                .map(|size| format!(" of {size}"))
                .unwrap_or_default();
            return Err(io::Error::new(
                error.kind(),
                format!("the connection broke at byte {position}{of}, repeatedly: {error}"),
            ));
        }
        Ok(())
    }
}

/// Bytes to skip so that the body continues at `position`.
fn start_of(response: &Response, position: u64) -> io::Result<u64> {
    match response.status() {
        StatusCode::OK => Ok(position), // ranges are optional
        StatusCode::PARTIAL_CONTENT => {
            let range = response.headers().get(CONTENT_RANGE);
            let start = range
                .and_then(|v| v.to_str().ok())
                .and_then(|v| v.strip_prefix("bytes "))
                .and_then(|v| v.split('-').next())
                .and_then(|v| v.parse::<u64>().ok());
            match start {
                Some(start) if start == position => Ok(0),
                _ => Err(io::Error::other("the server continues at another byte")),
            }
        }
        status => Err(io::Error::other(format!("the server answers {status}"))),
    }
}

impl<F: FnMut(u64) -> Result<Response, OpenError>> Read for Resuming<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let error = match self.attempt(buf) {
                Ok(n) => return Ok(n),
                Err(OpenError::Final(error)) => return Err(error),
                Err(OpenError::Passing(error)) => error,
            };
            self.current = None;
            if self.is_complete() {
                return Err(error); // all there; the end was not clean
            }
            self.count_failure(&error)?;
            std::thread::sleep(FIRST_PAUSE * 2_u32.pow(self.failures - 1));
        }
    }
}
