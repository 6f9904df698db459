//! Credential helpers: `docker-credential-NAME get`, the registry on standard
//! input, a JSON object on standard output.
//!
//! Source: the credential helper protocol in docker's command-line reference,
//! "Credential helpers".

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use manifests::config::{Password, UserPassword};
use serde::Deserialize;

use super::{CredentialsError, Login};

/// A helper may ask a key ring or a server, not a person.
const DEADLINE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });

/// A secret and what surrounds it.
const MAX_ANSWER: u64 = 64 * 1024;

/// What a helper says.
pub(super) enum Answer {
    /// The login.
    Login(Login),
    /// That it knows none.
    Unknown,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Secret {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: Password,
}

/// The user name by which helpers say that the secret is an identity token.
const IDENTITY: &str = "<token>";

/// Runs the helper that `file` calls `name`.
pub(super) fn ask(name: &str, registry: &str, file: &Path) -> Result<Answer, CredentialsError> {
    let program = format!("docker-credential-{name}");
    let error = |reason: String| CredentialsError::Helper {
        program: program.clone(),
        registry: registry.to_owned(),
        path: file.to_owned(),
        reason,
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(error("that is no name of a program".to_owned()));
    }
    let (succeeded, stdout, stderr) = run(&program, registry).map_err(|e| error(e.to_string()))?;
    if !succeeded {
        // Helpers print this on either stream, and fail.
        let said = format!("{stdout}{stderr}");
        if said.contains("credentials not found") {
            return Ok(Answer::Unknown);
        }
        let first = stdout
            .lines()
            .chain(stderr.lines())
            .find(|l| !l.trim().is_empty());
        let first = first
            .unwrap_or("it says nothing")
            .replace(char::is_control, " ");
        return Err(error(first.chars().take(200).collect()));
    }
    // The answer holds a secret: the parser's words are enough.
    let secret: Secret = serde_json::from_str(&stdout)
        .map_err(|e| error(format!("its answer is no credentials (line {})", e.line())))?;
    if secret.secret.reveal().is_empty() {
        return Ok(Answer::Unknown);
    }
    Ok(Answer::Login(match secret.username.as_str() {
        IDENTITY => Login::Identity(secret.secret),
        user => Login::Password(UserPassword {
            user: user.to_owned(),
            password: secret.secret,
        }),
    }))
}

/// Whether it succeeded, and what it wrote.
fn run(program: &str, input: &str) -> io::Result<(bool, String, String)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => io::Error::new(e.kind(), "it is not in the PATH"),
            _ => e,
        })?;
    let result = converse(&mut child, input);
    if result.is_err() {
        // It may have ended by itself; then there is nothing to kill.
        let _ = child.kill();
        let _ = child.wait();
    }
    result
}

fn converse(child: &mut Child, input: &str) -> io::Result<(bool, String, String)> {
    let until = Instant::now() + DEADLINE;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read fails with its own words.
        let _ = stdin.write_all(input.as_bytes());
    }
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it takes too long");
    let mut texts = Vec::new();
    for pipe in [stdout, stderr] {
        match pipe.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(text) => texts.push(text?),
            Err(RecvTimeoutError::Timeout) => return Err(late()),
            Err(RecvTimeoutError::Disconnected) => texts.push(String::new()),
        }
    }
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > until => return Err(late()),
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let stderr = texts.pop().unwrap_or_default();
    Ok((status.success(), texts.pop().unwrap_or_default(), stderr))
}

fn reader(
    pipe: Option<impl Read + Send + 'static>,
) -> std::sync::mpsc::Receiver<io::Result<String>> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = pipe.map_or(Ok(0), |p| p.take(MAX_ANSWER).read_to_string(&mut text));
        // Nobody waits any more once the deadline has passed.
        let _ = send.send(read.map(|_| text));
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_is_a_program_of_the_path_and_nothing_else() {
        let error = |name: &str| match ask(name, "x", Path::new("/f")) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{name:?} was run"),
        };
        assert!(error("../../bin/sh").contains("no name of a program"));
        assert!(error("").contains("no name of a program"));
        assert!(error("x y").contains("no name of a program"));
        assert!(error("surely-not-there").contains("not in the PATH"));
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let begin = Instant::now();
        // Not through `ask`: the name is a program that every machine has.
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let error = converse(&mut child, "x").unwrap_err();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() < DEADLINE * 3);
    }
}
