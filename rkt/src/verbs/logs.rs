//! `rkt logs`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use manifests::log::time_text;
use serde::Serialize;
use stage0::logs::{self, Line, LogReader};
use stage0::pods::{Pod, PodError};
use uuid::Uuid;

use crate::cli::{self, Context, Simple};
use crate::failure::{FAILURE, Failure, Outcome};
use crate::output::Format;

#[derive(Debug, Args)]
#[command(
    about = "print what the apps of a pod wrote",
    long_about = "Print what the apps of a detached pod (rkt run --detach), or of one that runs as a \
        unit of systemd, wrote to their standard output and error, in the order of the times. Of a \
        pod with several apps each line begins with the app's name.\n\n\
        Where journald runs it is the journal that is read (rkt status says logs=journal), by \
        journalctl, also when the pod is gone. Its fields are RKT_POD_UUID, RKT_APP, RKT_IMAGE, \
        RKT_IMAGE_ID and RKT_STREAM; SYSLOG_IDENTIFIER is the app.\n\n\
        With --format=json each line is an object: \"time\" (RFC 3339), \"app\", \"stream\" \
        (stdout or stderr) and \"message\".",
    after_help = "EXAMPLES:\n    rkt logs 5bc080ca\n    rkt logs --follow --since=10m 5bc080ca\n    \
        rkt logs --app=web --lines=20 --timestamps 5bc080ca\n    \
        rkt logs --format=json 5bc080ca | jq -r .message\n    \
        journalctl --follow RKT_IMAGE=example.com/web:1.0 --priority=err"
)]
pub(crate) struct Logs {
    #[command(flatten)]
    pod: super::OnePod,
    /// Only these apps
    #[arg(long, value_name = "NAME")]
    app: Vec<String>,
    /// Go on until the pod has ended
    #[arg(long)]
    follow: bool,
    /// Only what was written since this time (RFC 3339), or so long ago
    #[arg(long, value_name = "TIME|DURATION", value_parser = since)]
    since: Option<SystemTime>,
    /// Only the last lines, so many
    #[arg(long, value_name = "N")]
    lines: Option<usize>,
    /// Begin each line with its time
    #[arg(long)]
    timestamps: bool,
    /// json
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Between two looks at the files of a pod that is followed.
const PERIOD: Duration = Duration::from_millis(100);

fn since(word: &str) -> Result<SystemTime, String> {
    if let Ok(time) = word.parse::<jiff::Timestamp>() {
        return Ok(time.into());
    }
    let ago = cli::duration(word).map_err(|_| {
        format!("{word:?} is neither a time (2024-05-01T12:00:00Z) nor a duration (10m)")
    })?;
    Ok(SystemTime::now()
        .checked_sub(ago)
        .unwrap_or(SystemTime::UNIX_EPOCH))
}

impl Simple for Logs {
    fn run(self, context: &Context) -> Outcome {
        let format = Format::check(self.format.as_deref())?;
        if format == Format::JsonPretty {
            return Err(Failure::new(
                "Invalid format option: json-pretty (each line of a log is a line of JSON)",
            ));
        }
        let typed = self.pod.typed(FAILURE)?;
        let pod = match context.pod(&typed) {
            Ok(pod) => pod,
            Err(failure) => {
                return match logs::find_gone(&typed)? {
                    Some((uuid, apps)) => self.print_gone(uuid, &apps, format),
                    None => Err(failure),
                };
            }
        };
        let all: Vec<String> = {
            let manifest = pod.manifest()?;
            manifest.apps.iter().map(|a| a.name.to_string()).collect()
        };
        let apps = self.apps(pod.uuid(), &all)?;
        let printer = self.printer(apps, format);
        let reader = LogReader::open(&pod, &printer.apps)?.ok_or_else(|| {
            Failure::new(format!(
                "pod \"{}\" keeps no logs: they are kept of pods that were started with --detach, \
                 or whose unit writes to the journal",
                pod.uuid()
            ))
        })?;
        ended(self.print(pod, reader, &printer))
    }
}

fn ended(printed: Result<(), Stop>) -> Outcome {
    match printed {
        // Whoever read it has seen enough (`rkt logs | head`).
        Err(Stop::Reader) | Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Stop::Failure(failure)) => Err(failure),
    }
}

/// Why there is nothing more to print.
enum Stop {
    Reader,
    Failure(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

impl Logs {
    /// What the journal has of a pod that is gone.
    fn print_gone(&self, uuid: Uuid, all: &[String], format: Format) -> Outcome {
        let printer = self.printer(self.apps(uuid, all)?, format);
        let mut reader = LogReader::of_journal(uuid, &printer.apps);
        ended(self.print_read(&mut reader, &printer, (true, true)))
    }

    fn printer(&self, apps: Vec<String>, format: Format) -> Printer {
        Printer {
            labelled: apps.len() > 1,
            timestamps: self.timestamps,
            json: format == Format::Json,
            apps,
        }
    }

    /// Those of the apps that are asked for, in the pod's order.
    fn apps(&self, uuid: Uuid, all: &[String]) -> Result<Vec<String>, Failure> {
        if let Some(unknown) = self.app.iter().find(|name| !all.contains(name)) {
            return Err(Failure::new(format!(
                "pod \"{uuid}\" has no app {unknown:?}; it has {}",
                all.join(", ")
            )));
        }
        let wanted = |name: &String| self.app.is_empty() || self.app.contains(name);
        Ok(all.iter().filter(|name| wanted(name)).cloned().collect())
    }

    fn print(&self, mut pod: Pod, mut reader: LogReader, printer: &Printer) -> Result<(), Stop> {
        let mut first = true;
        loop {
            // Looked at before the files, so that they are complete when it was over.
            let over = !self.follow || pod.state().is_over();
            self.print_read(&mut reader, printer, (first, over))?;
            first = false;
            if over {
                return Ok(());
            }
            std::thread::sleep(PERIOD);
            pod = match pod.again() {
                Ok(pod) => pod,
                Err(PodError::Gone(_)) => return Ok(()),
                Err(e) => return Err(e.into()),
            };
        }
    }
}

impl Logs {
    /// Prints what is read at once, which is the first and the last that is.
    fn print_read(
        &self,
        reader: &mut LogReader,
        printer: &Printer,
        (first, last): (bool, bool),
    ) -> Result<(), Stop> {
        let since = self.since.map_or(0, nanoseconds);
        let mut lines = reader.read(last)?;
        lines.retain(|line| line.time >= since);
        let skipped = match self.lines {
            Some(wanted) if first => lines.len().saturating_sub(wanted),
            _ => 0,
        };
        printer.print(&lines[skipped..]).map_err(|_| Stop::Reader)
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

struct Printer {
    apps: Vec<String>,
    labelled: bool,
    timestamps: bool,
    json: bool,
}

/// A line as JSON.
#[derive(Serialize)]
struct Message<'a> {
    time: String,
    app: &'a str,
    stream: &'static str,
    message: std::borrow::Cow<'a, str>,
}

impl Printer {
    fn print(&self, lines: &[Line]) -> io::Result<()> {
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        for line in lines {
            let app = self.apps.get(line.app).map_or("", String::as_str);
            if self.json {
                let message = Message {
                    time: time_text(line.time),
                    app,
                    stream: line.stream.as_str(),
                    message: String::from_utf8_lossy(&line.text),
                };
                serde_json::to_writer(&mut stdout, &message)?;
            } else {
                if self.timestamps {
                    write!(stdout, "{} ", time_text(line.time))?;
                }
                if self.labelled {
                    write!(stdout, "[{app}] ")?;
                }
                stdout.write_all(&line.text)?;
            }
            stdout.write_all(b"\n")?;
        }
        stdout.flush()
    }
}
