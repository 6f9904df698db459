//! Pods declared in files: `web.pod` is the service `web.service`.
//!
//! A pod file is a unit file of systemd with two more kinds of section, `[Pod]`
//! and `[App NAME]`. Their keys are the flags of `rkt run`, so a declared pod
//! is nothing but a command line that is kept in a file, and the command
//! line's own parser says whether a value is right. What stands in `[Unit]`,
//! `[Service]` and `[Install]` goes into the service as it is.
//!
//! ```text
//! find: /etc/rkt/pods/web.pod ─► line: rkt run … ─► units: web.service
//!       + web.pod.d/*.conf             rkt fetch …         web-fetch.service
//! ```

mod find;
mod keys;
mod line;
mod service;
mod units;

use std::path::PathBuf;

use manifests::unit_file::{SyntaxError, UnitFile};

pub(crate) use find::{DIRECTORIES, all, of_path};
pub(crate) use units::{Units, broken};

/// A pod file with its drop-ins.
#[derive(Debug)]
pub(crate) struct PodFile {
    /// `web` of `web.pod`.
    pub(crate) name: String,
    /// The file itself.
    pub(crate) path: PathBuf,
    /// Its drop-ins, in the order in which they count.
    pub(crate) drop_ins: Vec<PathBuf>,
}

/// Everything that is wrong with a pod file: at least one thing.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub(crate) struct Problems(Vec<Problem>);

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// The file, a key or a value.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// The file cannot be read.
    #[error("{}: {cause}", .path.display())]
    Unread {
        path: PathBuf,
        cause: std::io::Error,
    },
    /// The file as a whole.
    #[error("{}: {reason}", .path.display())]
    Whole { path: PathBuf, reason: String },
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl PodFile {
    /// The units that this file makes.
    ///
    /// # Errors
    /// Everything that is wrong with the file, each with its line.
    pub(crate) fn units(&self, checked: Checked) -> Result<Units, Problems> {
        let unit = self.read()?;
        let line = line::CommandLine::of(&unit, &self.path)?;
        if checked == Checked::Values {
            line.check(&unit, &self.path)?;
        }
        Ok(Units::new(self, &unit, &line))
    }

    fn read(&self) -> Result<UnitFile, Problem> {
        let mut unit = UnitFile::default();
        for path in std::iter::once(&self.path).chain(&self.drop_ins) {
            let text = std::fs::read_to_string(path).map_err(|cause| Problem::Unread {
                path: path.clone(),
                cause,
            })?;
            unit.add(&path.to_string_lossy(), &text)?;
        }
        Ok(unit)
    }
}

/// How closely a file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Sections and keys. What is wrong with a value, `rkt run` says when the
    /// unit is started.
    Keys,
    /// The values as well.
    Values,
}
