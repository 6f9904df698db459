//! `rkt generator`: what systemd calls to turn pod files into units.
//!
//! systemd executes `/usr/lib/systemd/system-generators/rkt-generator NORMAL
//! EARLY LATE`, a link to rkt, when it boots and at each `daemon-reload`, and
//! waits for it. Values of keys are left to `rkt run`, so that two hundred
//! files cost no time that anybody notices. Source: systemd.generator(7).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::cli::{Context, Simple};
use crate::declared::{self, Checked, Units};
use crate::failure::{Failure, Outcome};

#[derive(Debug, Args)]
#[command(
    about = "make units of the declared pods (systemd calls it)",
    override_usage = "rkt generator NORMAL [EARLY LATE]"
)]
pub(crate) struct Generator {
    /// Look here for pod files instead
    #[arg(long, value_name = "DIRECTORY")]
    pods: Vec<PathBuf>,
    /// Where the units go
    #[arg(value_name = "NORMAL", hide = true)]
    normal: PathBuf,
    /// Not used
    #[arg(value_name = "EARLY LATE", hide = true)]
    rest: Vec<PathBuf>,
}

impl Simple for Generator {
    fn run(self, context: &Context) -> Outcome {
        let directories = if self.pods.is_empty() {
            declared::DIRECTORIES.map(PathBuf::from).into()
        } else {
            self.pods
        };
        let files = declared::all(&directories)
            .map_err(|e| Failure::because("cannot look for declared pods", e))?;
        let mut code = ExitCode::SUCCESS;
        for file in files {
            let units = file.units(Checked::Keys, false).unwrap_or_else(|problems| {
                for problem in problems.to_string().lines() {
                    context.tell(problem);
                }
                declared::broken(&file, &problems)
            });
            for warning in &units.warnings {
                context.tell(&format!("warning: {warning}"));
            }
            // One pod's name that cannot be written is no reason to lose the
            // others.
            if let Err(e) = write(&self.normal, &units) {
                let path = file.path.display();
                context.tell(&format!("cannot make the units of {path}: {e}"));
                code = ExitCode::FAILURE;
            }
        }
        Ok(code)
    }
}

/// Each file appears whole: it is written under another name first.
fn write(directory: &Path, units: &Units) -> io::Result<()> {
    for unit in &units.units {
        let staged = directory.join(format!(".{}.new", unit.name));
        let written = fs::write(&staged, &unit.text)
            .and_then(|()| fs::rename(&staged, directory.join(&unit.name)));
        if let Err(e) = written {
            let _ = fs::remove_file(&staged);
            return Err(e);
        }
    }
    for (link, target) in &units.links {
        let link = directory.join(link);
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent)?;
        }
        match std::os::unix::fs::symlink(target, &link) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    Ok(())
}
