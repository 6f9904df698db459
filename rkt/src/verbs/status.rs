//! `rkt status`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use stage0::pods::{Pod, PodError, State};

use crate::cli::{Context, Simple, WaitTime};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Format};
use crate::report::{self, Detail, PodReport, PodState};

#[derive(Debug, Args)]
#[command(
    about = "tell the state of a pod",
    long_about = "Tell the state of a pod, one key=value a line: state, reason (if the pod did not \
        end by itself), created, started, networks, pid, exited, unit (of systemd, in which it \
        is), logs (where what its apps write is kept: journal or files); for each app its exit code \
        (app-NAME), its state, when it was started and ended, the signal that killed it, why it could not be started, its image and who \
        vouched for that.\n\n\
        With --format=json the object is that of rkt list, and each app has \"verification\".",
    after_help = "EXAMPLES:\n    rkt status 5bc080ca\n    rkt status --wait=10s 5bc080ca\n    rkt status --format=json-pretty 5bc080ca"
)]
pub(crate) struct Status {
    #[command(flatten)]
    pod: super::OnePod,
    /// Wait until the pod has ended, at most so long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true)]
    wait: WaitTime,
    /// Wait until every app of the pod has been ready, at most so long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true)]
    wait_ready: WaitTime,
    /// json or json-pretty
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Between two looks at a pod that nobody tells us about.
const PERIOD: Duration = Duration::from_millis(50);

/// Exit code when the file with the UUID cannot be read.
const UNREADABLE_UUID: u8 = 1;

impl Simple for Status {
    fn run(self, context: &Context) -> Outcome {
        let format = Format::check(self.format.as_deref())?;
        let typed = self.pod.typed(UNREADABLE_UUID)?;
        let mut pod = context.pod(&typed)?;
        pod = wait(
            pod,
            self.wait_ready,
            "error waiting for pod readiness",
            is_ready,
        )?;
        pod = wait(pod, self.wait, "error waiting for pod to finish", |pod| {
            pod.state().is_over()
        })?;
        let store = context.store()?;
        let report = PodReport::new(&pod, Detail::Verification(&store));
        match format {
            Format::Text => output::say(&text(&report)),
            Format::Json => output::json(&report, false)?,
            Format::JsonPretty => output::json(&report, true)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All its apps have been ready, or they will never be.
fn is_ready(pod: &Pod) -> bool {
    pod.state().is_over() || (pod.state() == State::Running && pod.is_ready().unwrap_or(false))
}

fn wait(
    mut pod: Pod,
    time: WaitTime,
    message: &str,
    done: impl Fn(&Pod) -> bool,
) -> Result<Pod, Failure> {
    let deadline = match time {
        WaitTime::No => return Ok(pod),
        WaitTime::Forever => None,
        WaitTime::AtMost(time) => Some(Instant::now() + time),
    };
    while !done(&pod) {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Failure::new(format!(
                "{message}: context deadline exceeded"
            )));
        }
        std::thread::sleep(PERIOD);
        pod = match pod.again() {
            Ok(pod) => pod,
            // Gone is over; what we saw last is all there is to tell.
            Err(PodError::Gone(_)) => return Ok(pod),
            Err(e) => return Err(e.into()),
        };
    }
    Ok(pod)
}

/// `key=value` lines, in the order of the reference; what it does not know
/// stands behind.
fn text(report: &PodReport) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}={value}");
    };
    line("state", report.state.as_str());
    if let Some(reason) = report.reason {
        line("reason", reason);
    }
    if let Some(created) = report.created_at {
        line("created", &output::absolute(created));
    }
    if let Some(started) = report.started_at {
        line("started", &output::absolute(started));
    }
    let running = report.state == PodState::Is(State::Running);
    let ran = matches!(report.state, PodState::Is(state) if running || state.has_exited());
    if running || report.state == PodState::Is(State::Exited) {
        line("networks", &report.networks(","));
    }
    if ran {
        if let Some(pid) = report.pid {
            line("pid", &pid.to_string());
        }
        let exited = matches!(
            report.state,
            PodState::Is(State::Exited | State::ExitedGarbage)
        );
        line("exited", if exited { "true" } else { "false" });
    }
    if ran && !running {
        for app in &report.apps {
            if let Some(code) = app.end.exit_code {
                line(&format!("app-{}", app.name), &code.to_string());
            }
        }
    }
    for app in &report.apps {
        let mut tell = |what: &str, value: &str| line(&format!("app-{}-{what}", app.name), value);
        tell("state", app.state.as_str());
        for (what, time) in [
            ("started", app.started_at),
            ("finished", app.end.finished_at),
        ] {
            let time = time.and_then(|nanos| u64::try_from(nanos).ok());
            if let Some(nanos) = time.filter(|_| ran) {
                let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
                tell(what, &output::absolute(time));
            }
        }
        if app.ready {
            tell("ready", "true");
        }
        if let Some(signal) = app.end.signal {
            let why = if app.end.oom_killed {
                " for want of memory"
            } else {
                ""
            };
            let key = format!("app-{}-killed", app.name);
            line(&key, &format!("signal {signal}{why}"));
        } else if app.end.oom_killed {
            let key = format!("app-{}-killed", app.name);
            line(&key, "a process of it, for want of memory");
        }
        if app.restarts > 0 {
            line(
                &format!("app-{}-restarts", app.name),
                &app.restarts.to_string(),
            );
        }
        if let Some(last) = &app.last_exit {
            line(&format!("app-{}-last-exit", app.name), &last.to_string());
        }
        if let Some(error) = &app.error {
            line(&format!("app-{}-error", app.name), error);
        }
        for limit in &app.unlimited {
            line(&format!("app-{}-unlimited", app.name), limit);
        }
    }
    if let Some(unit) = &report.unit {
        line("unit", unit);
    }
    if let Some(logs) = report.logs {
        line("logs", logs);
    }
    for app in &report.apps {
        line(&format!("image-{}", app.name), &app.image_id);
        let verified = match &app.verification {
            Some(verification) => report::verified_by(verification),
            None => "unknown (the image is no longer stored)".to_owned(),
        };
        line(&format!("verified-{}", app.name), &verified);
    }
    for error in &report.errors {
        line("error", error);
    }
    text
}
