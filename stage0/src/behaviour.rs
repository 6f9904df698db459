//! How an app behaves while its pod runs, as annotations of the pod manifest's
//! app say it: when it is started again, when it is ready, what is behind its
//! standard descriptors.
//!
//! Source of the stream names: rkt's pod reference, "Attach and app stdio";
//! the others stand beside them.

use image_store::ImageRecord;
use manifests::appc::RuntimeApp;
use manifests::engine::{Input, Output, Readiness, Restart, Streams};

use crate::prepare::PrepareError;

/// Annotation with the restart policy.
pub const RESTART: &str = "coreos.com/rkt/stage2/restart";
/// Annotation that says when the app is ready.
pub const READY: &str = "coreos.com/rkt/stage2/ready";
/// Annotation with what is behind standard input.
pub const STDIN: &str = "coreos.com/rkt/stage2/stdin";
/// Annotation with what is behind standard output.
pub const STDOUT: &str = "coreos.com/rkt/stage2/stdout";
/// Annotation with what is behind standard error.
pub const STDERR: &str = "coreos.com/rkt/stage2/stderr";

/// Annotation of an image whose app speaks sd_notify(3).
const NOTIFIES: &str = "appc.io/executor/supports-systemd-notify";

/// How an app behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// Whether it is started again.
    pub restart: Restart,
    /// When it is ready.
    pub ready: Readiness,
    /// What is behind its standard descriptors.
    pub streams: Streams,
}

impl Behaviour {
    /// What the app's annotations say, and where they say nothing the image's.
    ///
    /// # Errors
    /// [`PrepareError::Behaviour`] for a word that is none.
    pub(crate) fn of(app: &RuntimeApp, image: &ImageRecord) -> Result<Self, PrepareError> {
        let said = |name: &'static str| {
            let annotation = app.annotations.iter().find(|a| a.name == *name);
            annotation.map(|a| a.value.as_str())
        };
        let bad = |name: &'static str, reason: String| PrepareError::Behaviour {
            app: app.name.to_string(),
            annotation: name,
            reason,
        };
        let restart = match said(RESTART) {
            Some(text) => text
                .parse()
                .map_err(|e: manifests::engine::BadRestart| bad(RESTART, e.to_string()))?,
            None => Restart::No,
        };
        let notifies = image
            .manifest
            .annotation(NOTIFIES)
            .is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "True" | "TRUE"));
        let ready = match said(READY) {
            Some(text) => text
                .parse()
                .map_err(|e: manifests::engine::BadReadiness| bad(READY, e.to_string()))?,
            None if notifies => Readiness::Notify,
            None => Readiness::Started,
        };
        let output = |name| {
            said(name).map_or(Ok(Output::Log), |text| {
                parse_output(text).map_err(|reason| bad(name, reason))
            })
        };
        let streams = Streams {
            input: match said(STDIN) {
                Some(text) => parse_input(text).map_err(|reason| bad(STDIN, reason))?,
                None => Input::Null,
            },
            output: output(STDOUT)?,
            error: output(STDERR)?,
        };
        let streams = one_terminal(streams).ok_or_else(|| {
            let reason = "a terminal is behind all three streams or none".to_owned();
            bad(STDIN, reason)
        })?;
        Ok(Self {
            restart,
            ready,
            streams,
        })
    }
}

/// Reads what is behind standard input.
///
/// # Errors
/// The words that there are.
pub fn parse_input(text: &str) -> Result<Input, String> {
    match text {
        "null" => Ok(Input::Null),
        "stream" => Ok(Input::Stream),
        "tty" => Ok(Input::Tty),
        "interactive" => Err("interactive is what --interactive of the pod does".to_owned()),
        _ => Err(format!("{text:?} is none of null, stream, tty")),
    }
}

/// Reads what is behind standard output or error.
///
/// # Errors
/// The words that there are.
pub fn parse_output(text: &str) -> Result<Output, String> {
    match text {
        "log" => Ok(Output::Log),
        "null" => Ok(Output::Null),
        "stream" => Ok(Output::Stream),
        "tty" => Ok(Output::Tty),
        "interactive" => Err("interactive is what --interactive of the pod does".to_owned()),
        _ => Err(format!("{text:?} is none of log, null, stream, tty")),
    }
}

/// Makes a terminal of all three when one of them is and nothing is said of
/// the others.
fn one_terminal(streams: Streams) -> Option<Streams> {
    let Streams {
        input,
        output,
        error,
    } = streams;
    let any = input == Input::Tty || output == Output::Tty || error == Output::Tty;
    if !any {
        return Some(streams);
    }
    let fits = matches!(input, Input::Tty | Input::Null)
        && [output, error]
            .iter()
            .all(|o| matches!(o, Output::Tty | Output::Log));
    fits.then_some(Streams {
        input: Input::Tty,
        output: Output::Tty,
        error: Output::Tty,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_behind_all_streams() {
        let tty = |input, output, error| {
            one_terminal(Streams {
                input,
                output,
                error,
            })
        };
        let all = tty(Input::Tty, Output::Tty, Output::Tty).unwrap();
        assert_eq!(tty(Input::Tty, Output::Log, Output::Log), Some(all));
        assert_eq!(tty(Input::Null, Output::Tty, Output::Log), Some(all));
        assert_eq!(tty(Input::Stream, Output::Tty, Output::Log), None);
        assert_eq!(tty(Input::Tty, Output::Stream, Output::Log), None);
        assert!(parse_input("log").is_err() && parse_output("interactive").is_err());
    }
}
