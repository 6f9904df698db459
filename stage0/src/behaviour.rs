//! How an app behaves while its pod runs, as annotations of the pod manifest's
//! app say it: when it is started again, when it is ready, how it is asked to
//! stop, what is behind its standard descriptors.
//!
//! Source of the stream names: rkt's pod reference, "Attach and app stdio";
//! the others stand beside them.

use std::time::Duration;

use image_store::ImageRecord;
use manifests::appc::RuntimeApp;
use manifests::engine::{Input, Output, Readiness, Restart, Streams};
use nix::libc;
use nix::sys::signal::Signal;

use crate::prepare::PrepareError;

/// Annotation with the restart policy.
pub const RESTART: &str = "coreos.com/rkt/stage2/restart";
/// Annotation that says when the app is ready.
pub const READY: &str = "coreos.com/rkt/stage2/ready";
/// Annotation with the signal that asks the app to stop.
pub const STOP_SIGNAL: &str = "coreos.com/rkt/stage2/stop-signal";
/// Annotation with the seconds from that signal to SIGKILL.
pub const STOP_TIMEOUT: &str = "coreos.com/rkt/stage2/stop-timeout";
/// Annotation with what is behind standard input.
pub const STDIN: &str = "coreos.com/rkt/stage2/stdin";
/// Annotation with what is behind standard output.
pub const STDOUT: &str = "coreos.com/rkt/stage2/stdout";
/// Annotation with what is behind standard error.
pub const STDERR: &str = "coreos.com/rkt/stage2/stderr";

/// Annotation that says whether the app may speak to the service manager of
/// the whole pod: `unit` or `none`.
pub const NOTIFY_ACCESS: &str = "coreos.com/rkt/stage2/notify-access";
/// Annotation with the names of the credentials that the app gets, joined by
/// commas; `*` are all.
pub const CREDENTIALS: &str = "coreos.com/rkt/stage2/credentials";
/// Annotation with the names of the passed sockets that the app gets, joined
/// by commas; `*` are all that no port of an app asks for.
pub const SOCKETS: &str = "coreos.com/rkt/stage2/sockets";

/// Annotation of an image whose app speaks sd_notify(3).
const NOTIFIES: &str = "appc.io/executor/supports-systemd-notify";

/// What asks an app to stop, where nothing else is said.
const TERM: i32 = libc::SIGTERM;

/// Seconds from there to SIGKILL, where nothing else is said.
const GRACE: u32 = 10;

/// How an app behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// Whether it is started again.
    pub restart: Restart,
    /// When it is ready.
    pub ready: Readiness,
    /// Number of the signal that asks it to stop.
    pub stop_signal: i32,
    /// Seconds from that signal to SIGKILL.
    pub stop_timeout: u32,
    /// What is behind its standard descriptors.
    pub streams: Streams,
    /// Whether it may speak to the service manager, if that is said.
    pub speaks: Option<bool>,
    /// The credentials that it gets, if that is said.
    pub credentials: Option<Names>,
}

/// Things that have names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// All there are.
    All,
    /// These.
    Of(Vec<String>),
}

impl Names {
    /// Reads names joined by commas, or `*`.
    fn parse(text: &str) -> Self {
        match text.trim() {
            "*" => Self::All,
            text => {
                let names = text.split(',').map(str::trim);
                Self::Of(names.filter(|n| !n.is_empty()).map(str::to_owned).collect())
            }
        }
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            restart: Restart::default(),
            ready: Readiness::default(),
            stop_signal: TERM,
            stop_timeout: GRACE,
            streams: Streams::default(),
            speaks: None,
            credentials: None,
        }
    }
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
        let of_image = image
            .oci
            .as_ref()
            .and_then(|oci| oci.stop_signal.as_deref());
        let stop_signal = match said(STOP_SIGNAL).or(of_image) {
            Some(text) => parse_signal(text).map_err(|reason| bad(STOP_SIGNAL, reason))?,
            None => TERM,
        };
        let stop_timeout = match said(STOP_TIMEOUT) {
            Some(text) => text.parse().map_err(|_| {
                let reason = format!("{text:?} is not a number of seconds");
                bad(STOP_TIMEOUT, reason)
            })?,
            None => GRACE,
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
        let speaks = match said(NOTIFY_ACCESS) {
            Some("unit") => Some(true),
            Some("none") => Some(false),
            Some(other) => {
                let reason = format!("{other:?} is none of unit, none");
                return Err(bad(NOTIFY_ACCESS, reason));
            }
            None => None,
        };
        Ok(Self {
            restart,
            ready,
            stop_signal,
            stop_timeout,
            streams,
            speaks,
            credentials: said(CREDENTIALS).map(Names::parse),
        })
    }
}

/// The passed sockets that an app gets by name, if that is said.
pub(crate) fn sockets(app: &RuntimeApp) -> Option<Names> {
    let said = app.annotations.iter().find(|a| a.name == *SOCKETS)?;
    Some(Names::parse(&said.value))
}

/// Reads a signal: a name with or without `SIG`, `SIGRTMIN+N`, `SIGRTMAX-N`, or
/// a number (signal(7); the forms that OCI's `StopSignal` may have).
///
/// # Errors
/// What would be one.
pub fn parse_signal(text: &str) -> Result<i32, String> {
    let none = || format!("{text:?} is not a signal, as SIGTERM, SIGRTMIN+3 and 15 are");
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    if let Ok(number) = text.parse::<i32>() {
        return (1..=last)
            .contains(&number)
            .then_some(number)
            .ok_or_else(none);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str| match rest {
        "" => Some(0),
        rest => rest.trim_start_matches(['+', '-']).parse::<i32>().ok(),
    };
    let real_time = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest).and_then(|n| first.checked_add(n))
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest).and_then(|n| last.checked_sub(n))
    } else {
        let known = format!("SIG{name}").parse::<Signal>();
        return known.map(|signal| signal as i32).map_err(|_| none());
    };
    real_time
        .filter(|number| (first..=last).contains(number))
        .ok_or_else(none)
}

/// The seconds of a grace period, rounded up.
///
/// # Errors
/// When there are more than a year's.
pub fn grace_seconds(grace: Duration) -> Result<u32, String> {
    const YEAR: u64 = 365 * 24 * 60 * 60;
    let started = u64::from(grace.subsec_nanos() > 0);
    let seconds = grace.as_secs().saturating_add(started);
    u32::try_from(seconds)
        .ok()
        .filter(|_| seconds <= YEAR)
        .ok_or_else(|| "longer than a year".to_owned())
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
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("SIGINT", libc::SIGINT),
            ("int", libc::SIGINT),
            ("9", 9),
            ("SIGRTMIN+3", libc::SIGRTMIN() + 3),
            ("RTMAX-1", libc::SIGRTMAX() - 1),
            ("SIGRTMIN", libc::SIGRTMIN()),
        ] {
            assert_eq!(parse_signal(text), Ok(number), "{text}");
        }
        for text in [
            "",
            "0",
            "65",
            "-1",
            "SIG",
            "SIGHUB",
            "SIGRTMIN+99",
            "RTMINx",
        ] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
        assert_eq!(grace_seconds(Duration::from_millis(1500)), Ok(2));
        assert!(grace_seconds(Duration::MAX).is_err());
    }

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
