//! A large image from a registry on loopback, into an empty store each time;
//! beside the peers, and beside the arithmetic alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::host::find_binary;
use tests::{Cmd, Host, Registry};

use crate::arithmetic;
use crate::contender::{Arena, Contender, peak_memory};
use crate::image::{CACHE, Packing, publish};
use crate::report::{Report, Row};

/// Measures everybody: times of both packings, a second fetch of what is there,
/// and the largest process.
pub(crate) fn run(rounds: usize) -> Vec<Report> {
    let arena = Arena::new();
    let registry = Registry::start_in(Path::new(CACHE));
    let mut reports = Vec::new();
    for packing in [Packing::Gzip, Packing::Zstd] {
        let reference = registry.reference(packing.tag());
        let blobs = publish(&reference, packing);
        reports.push(first(&arena, &reference, &blobs, packing, rounds));
        if packing == Packing::Gzip {
            reports.push(again(&arena, &reference, rounds));
        }
        reports.push(memory(&reference, packing));
    }
    reports
}

/// A fetcher.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Rkt,
    Podman,
    Skopeo,
}

impl Who {
    const ALL: [Self; 3] = [Self::Rkt, Self::Podman, Self::Skopeo];

    fn name(self) -> &'static str {
        match self {
            Self::Rkt => RKT,
            Self::Podman => "podman pull",
            Self::Skopeo => "skopeo copy to oci:",
        }
    }

    fn note(self) -> String {
        let version = |program: &str| {
            let said = Cmd::new(program).arg("--version").run().stdout;
            said.split_whitespace().nth(2).unwrap_or("?").to_owned()
        };
        match self {
            Self::Rkt => "verified, stored, indexed: ready to run".into(),
            Self::Podman => format!("{}: verified, unpacked: ready to run", version("podman")),
            Self::Skopeo => format!("{}: verified, as it came: not unpacked", version("skopeo")),
        }
    }

    fn contender(self, host: &Host, reference: &str) -> Result<Contender, String> {
        let into = host.path().join("into").display().to_string();
        Ok(match self {
            Self::Rkt => {
                find_binary("rkt")?;
                let words = ["--insecure-options=image", "fetch", reference];
                let command = host.plain_rkt(words).into_command();
                let words = std::iter::once(command.get_program()).chain(command.get_args());
                Contender::new(RKT, words.map(ToOwned::to_owned).collect::<Vec<_>>())
            }
            Self::Podman => {
                let run = host.path().join("run").display().to_string();
                let plain = reference.trim_start_matches("docker://");
                let words = ["podman", "--root", &into, "--runroot", &run, "pull"];
                let more = ["--quiet", "--tls-verify=false", plain];
                Contender::new(self.name(), words.into_iter().chain(more))
            }
            Self::Skopeo => {
                let to = format!("oci:{into}:1");
                let words = ["skopeo", "--insecure-policy", "copy", "--quiet"];
                let more = ["--src-tls-verify=false", reference, &to];
                Contender::new(self.name(), words.into_iter().chain(more))
            }
        })
    }

    /// Untimed, after it has written below the host's directory.
    fn clean_up(self, host: &Host) {
        if self == Self::Podman {
            let root = host.path().join("into").display().to_string();
            let words = ["--root", &root, "system", "reset", "--force"];
            Cmd::new("podman").args(words).run();
        }
    }
}

const RKT: &str = "rkt fetch";
const ARITHMETIC: &str = "arithmetic";

/// Rows of samples, or why there are none, as they come round by round.
struct Rows(Vec<(&'static str, String, Samples)>);

type Samples = Result<Vec<f64>, String>;

impl Rows {
    fn new(names: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let empty = |(name, note)| (name, note, Ok(Vec::new()));
        Self(names.into_iter().map(empty).collect())
    }

    /// One more sample of each that has not failed.
    fn round(&mut self, mut measure: impl FnMut(usize) -> Result<f64, String>) {
        for (at, (_, _, samples)) in self.0.iter_mut().enumerate() {
            if let Ok(so_far) = samples {
                match measure(at) {
                    Ok(sample) => so_far.push(sample),
                    Err(why) => *samples = Err(why),
                }
            }
        }
    }

    fn into_report(self, title: String, unit: &'static str) -> Report {
        let mut report = Report {
            title,
            unit,
            base: RKT,
            rows: Vec::new(),
            missing: Vec::new(),
        };
        for (name, note, samples) in self.0 {
            let name = name.to_owned();
            match samples {
                Ok(samples) => report.rows.push(Row {
                    name,
                    samples,
                    note,
                }),
                Err(why) => report.missing.push((name, why)),
            }
        }
        report
    }
}

fn everybody() -> impl Iterator<Item = (&'static str, String)> {
    Who::ALL.into_iter().map(|who| (who.name(), who.note()))
}

fn first(
    arena: &Arena,
    reference: &str,
    blobs: &[PathBuf],
    packing: Packing,
    rounds: usize,
) -> Report {
    let arithmetic = (
        ARITHMETIC,
        "the floor: both hashes, inflating and one write, on all cores, in this program".to_owned(),
    );
    let mut rows = Rows::new(everybody().chain([arithmetic]));
    for _ in 0..rounds {
        rows.round(|at| {
            let host = Host::new();
            // What the last contender wrote shall not be written back in this one's time.
            nix::unistd::sync();
            let Some(who) = Who::ALL.get(at) else {
                return Ok(arithmetic::run(blobs, packing, host.path()).as_secs_f64());
            };
            let took = arena.time(&who.contender(&host, reference)?);
            who.clean_up(&host);
            took.map(|took| took.as_secs_f64())
        });
    }
    let title = format!(
        "fetch of a 4-layer {} image, 0.94 GB in 36,700 files, from loopback",
        packing.name()
    );
    rows.into_report(title, "s")
}

/// Fetches what is there already.
fn again(arena: &Arena, reference: &str, rounds: usize) -> Report {
    let hosts: Vec<Host> = Who::ALL.iter().map(|_| Host::new()).collect();
    let mut rows = Rows::new(everybody().take(2).map(|(name, _)| (name, String::new())));
    let once = |at: usize| -> Result<Duration, String> {
        arena.time(&Who::ALL[at].contender(&hosts[at], reference)?)
    };
    rows.round(|at| once(at).map(|took| took.as_secs_f64()));
    // That was the first time.
    for (_, _, samples) in &mut rows.0 {
        if let Ok(samples) = samples {
            samples.clear();
        }
    }
    for _ in 0..rounds.max(5) {
        rows.round(|at| once(at).map(|took| took.as_secs_f64() * 1e3));
    }
    for (who, host) in Who::ALL.iter().zip(&hosts) {
        who.clean_up(host);
    }
    rows.into_report("the same again: nothing has changed".into(), "ms")
}

fn memory(reference: &str, packing: Packing) -> Report {
    let mut rows = Rows::new(everybody().map(|(name, _)| (name, String::new())));
    rows.round(|at| {
        let host = Host::new();
        let peak = peak_memory(&Who::ALL[at].contender(&host, reference)?);
        Who::ALL[at].clean_up(&host);
        peak.map(|kib| kib / 1024.0)
    });
    let title = format!(
        "peak resident memory of the largest process, {} image",
        packing.name()
    );
    rows.into_report(title, "MiB")
}
