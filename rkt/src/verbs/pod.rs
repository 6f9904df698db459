//! `rkt pod …`: pods that are declared in files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use similar::{ChangeTag, TextDiff};

use crate::cli::{Context, Simple};
use crate::declared::{self, Checked, PodFile, Units};
use crate::failure::{FAILURE, Failure, Outcome};
use crate::output;

/// Where systemd keeps what generators made when it was loaded last.
const LOADED: &str = "/run/systemd/generator";

#[derive(Debug, Args)]
#[command(
    about = "check files that declare pods",
    override_usage = "rkt pod check [FILE…]",
    after_help = "\
FILE is a pod file (.pod), a pod manifest (.json) or a Kubernetes Pod (.yaml); without FILE: every
declared pod. Prints FILE:LINE (of a Pod: FILE: PATH) and what is wrong there; nothing when all is right.

EXAMPLES:
    rkt pod check ./web.pod && sudo cp web.pod /etc/rkt/pods/ && sudo systemctl daemon-reload
    rkt pod check --lenient ./web.yaml"
)]
pub(crate) struct Check {
    /// For the unit in the place of a pod whose file was wrong when systemd
    /// loaded it: fails always
    #[arg(long, hide = true)]
    loaded: bool,
    /// What of a Kubernetes Pod is not supported is told and left out
    #[arg(long)]
    lenient: bool,
    /// Pod files
    #[arg(value_name = "FILE", hide = true)]
    files: Vec<PathBuf>,
}

impl Simple for Check {
    fn run(self, _: &Context) -> Outcome {
        let mut right = true;
        for file in pods(&self.files)? {
            match file.units(Checked::Values, self.lenient) {
                Ok(units) => warn(&units),
                Err(problems) => {
                    eprintln!("{problems}");
                    right = false;
                }
            }
        }
        if self.loaded && right {
            return Err(Failure::new(
                "the file was wrong when systemd loaded it and is right now: run systemctl \
                 daemon-reload and start the unit again",
            ));
        }
        Ok(if right {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FAILURE)
        })
    }
}

#[derive(Debug, Args)]
#[command(
    about = "show the units that declared pods make, and how they differ from what systemd has loaded",
    override_usage = "rkt pod show [--diff] [FILE | NAME …]",
    after_help = "EXAMPLES:\n    rkt pod show web\n    rkt pod show ./web.pod\n    rkt pod show --diff"
)]
pub(crate) struct Show {
    /// Only what differs from the units that systemd has loaded
    #[arg(long)]
    diff: bool,
    /// What of a Kubernetes Pod is not supported is told and left out
    #[arg(long)]
    lenient: bool,
    /// Pod files, or names of declared pods
    #[arg(value_name = "FILE", hide = true)]
    files: Vec<PathBuf>,
}

impl Simple for Show {
    fn run(self, _: &Context) -> Outcome {
        let mut text = String::new();
        let mut right = true;
        for file in pods(&self.files)? {
            let units = match file.units(Checked::Values, self.lenient) {
                Ok(units) => units,
                Err(problems) => {
                    eprintln!("{problems}");
                    right = false;
                    continue;
                }
            };
            warn(&units);
            for unit in &units.units {
                let loaded = loaded(&unit.name)?;
                if !self.diff {
                    text.push_str(&format!("# {}\n{}\n", unit.name, unit.text));
                }
                match loaded {
                    None => text.push_str(&format!("# {}: not loaded by systemd\n", unit.name)),
                    Some(old) if old == unit.text => {}
                    Some(old) => text.push_str(&difference(&unit.name, &old, &unit.text)),
                }
            }
        }
        output::say(&text);
        Ok(if right {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FAILURE)
        })
    }
}

fn warn(units: &Units) {
    for warning in &units.warnings {
        eprintln!("warning: {warning}");
    }
}

/// The files that are named, by path or by the name of a declared pod; all
/// declared ones when none is named.
fn pods(named: &[PathBuf]) -> Result<Vec<PodFile>, Failure> {
    let directories: Vec<PathBuf> = declared::DIRECTORIES.map(PathBuf::from).into();
    let all = || {
        declared::all(&directories)
            .map_err(|e| Failure::because("cannot look for declared pods", e))
    };
    if named.is_empty() {
        return all();
    }
    let find = |named: &PathBuf| {
        let is_path = named.extension().is_some() || named.components().count() > 1;
        if is_path {
            let path = std::path::absolute(named)?;
            return Ok(declared::of_path(&path, &directories)?);
        }
        let name = named.to_string_lossy();
        all()?
            .into_iter()
            .find(|pod| pod.name == name)
            .ok_or_else(|| {
                Failure::new(format!(
                    "no pod {name:?} is declared in {}",
                    declared::DIRECTORIES.join(", ")
                ))
            })
    };
    named.iter().map(find).collect()
}

fn loaded(unit: &str) -> Result<Option<String>, Failure> {
    let path = Path::new(LOADED).join(unit);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::because(format!("cannot read {path:?}"), e)),
    }
}

fn difference(name: &str, loaded: &str, made: &str) -> String {
    let mut text = format!("# {name}: differs from what systemd has loaded (-)\n");
    for change in TextDiff::from_lines(loaded, made).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        text.push_str(&format!("{sign}{change}"));
    }
    text
}
