//! `rkt attach`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use manifests::engine::{CONTROL_SOCKET, Input, Output, Streams};
use serde::Serialize;
use stage0::enter::{self, EnterError};
use stage0::pods::State;

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::output;

#[derive(Debug, Args)]
#[command(
    about = "connect to the streams or the terminal of an app",
    after_help = "\
The app must have been given them: --stdin=stream, --stdout=stream, --stderr=stream, --stdin=tty.
Everybody who is attached sees what the app writes from then on. From a terminal one detaches by
typing ^] three times; anything else that ends rkt attach detaches too, and the app runs on.

EXAMPLES:
    rkt attach 5bc080ca
    rkt attach --app=web --mode=stdout,stderr 5bc080ca
    rkt attach --mode=list 5bc080ca"
)]
pub(crate) struct Attach {
    #[command(flatten)]
    pod: super::OnePod,
    /// The app, when the pod has several
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// What to connect to: auto, list, or of stdin,stdout,stderr or tty,tty-in,tty-out
    #[arg(long, value_name = "MODE", default_value = "auto")]
    mode: String,
    /// The pod's supervisor [default: rkt-stage1 beside rkt]
    #[arg(long, value_name = "FILE")]
    stage1_path: Option<PathBuf>,
}

impl Simple for Attach {
    fn run(self, context: &Context) -> Outcome {
        check(&self.mode).map_err(|e| Failure::new(format!("invalid attach mode: {e}")))?;
        let pod = self.pod.find(context)?;
        if pod.state() != State::Running {
            return Err(EnterError::NotRunning(pod.uuid()).into());
        }
        let app = enter::choose(&pod, &pod.manifest()?, self.app.as_deref(), "attach")?;
        if self.mode == "list" {
            let socket = pod.path().join(CONTROL_SOCKET).display().to_string();
            output::json(&Endpoints::of(enter::streams(&pod, &app)?, &socket), true)?;
            return Ok(ExitCode::SUCCESS);
        }
        let stage1 = context.stage1(self.stage1_path.as_deref())?;
        let pod = enter::await_start(pod, &app)?;
        match enter::attach(&pod, &app, &self.mode, &stage1)? {}
    }
}

/// What there is to attach to, for programs.
#[derive(Debug, Serialize)]
struct Endpoints {
    version: u32,
    targets: Vec<Endpoint>,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    name: &'static str,
    domain: &'static str,
    address: String,
}

impl Endpoints {
    fn of(streams: Streams, socket: &str) -> Self {
        let mut names = Vec::new();
        match streams.input {
            Input::Tty => names.push("tty"),
            Input::Stream => names.push("stdin"),
            Input::Null => {}
        }
        for (name, output) in [("stdout", streams.output), ("stderr", streams.error)] {
            if output == Output::Stream {
                names.push(name);
            }
        }
        let target = |name| Endpoint {
            name,
            domain: "unix",
            address: socket.to_owned(),
        };
        Self {
            version: 1,
            targets: names.into_iter().map(target).collect(),
        }
    }
}

fn check(mode: &str) -> Result<(), String> {
    const STREAMS: [&str; 3] = ["stdin", "stdout", "stderr"];
    const TERMINAL: [&str; 3] = ["tty", "tty-in", "tty-out"];
    if matches!(mode, "auto" | "list") {
        return Ok(());
    }
    let words: Vec<&str> = mode.split(',').filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Err("mode must specify at least one endpoint to attach".to_owned());
    }
    for word in &words {
        if !STREAMS.contains(word) && !TERMINAL.contains(word) {
            return Err(format!("unknown endpoint {word:?}"));
        }
    }
    let streams = words.iter().any(|word| STREAMS.contains(word));
    match streams && words.iter().any(|word| TERMINAL.contains(word)) {
        true => Err(format!(
            "incompatible endpoints {mode:?}, cannot simultaneously attach TTY and streams"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn modes_are_streams_or_a_terminal() {
        for good in [
            "auto",
            "list",
            "stdin",
            "stdout,stderr",
            "tty",
            "tty-in,tty-out",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", ",", "stdio", "stdin,tty", "auto,stdin"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
