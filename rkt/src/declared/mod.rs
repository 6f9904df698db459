//! Pods declared in files: `web.pod` is the service `web.service`.
//!
//! A pod file is a unit file of systemd with two more kinds of section, `[Pod]`
//! and `[App NAME]`. Their keys are the flags of `rkt run`, so a declared pod
//! is nothing but a command line that is kept in a file, and the command
//! line's own parser says whether a value is right. What stands in `[Unit]`,
//! `[Service]` and `[Install]` goes into the service as it is.
//!
//! Two other kinds of file declare pods as well: a pod manifest, `web.json`,
//! which is run as it is, and a Kubernetes Pod, `web.yaml`, which is translated
//! into a pod file. What they cannot say about the unit stands in drop-ins
//! (`web.yaml.d/*.conf`); if these do not say when it is started, it is at boot.
//!
//! ```text
//! find: /etc/rkt/pods/web.pod ─► line: rkt run … ─► units: web.service
//!       + web.pod.d/*.conf             rkt fetch …         web-fetch.service
//! ```

mod find;
mod keys;
mod kube;
mod line;
mod service;
mod units;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use manifests::appc::PodManifest;
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
    /// Files beside it that declare the same pod.
    rivals: Vec<PathBuf>,
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
    /// The units that this file makes. What of a Kubernetes Pod is not
    /// supported is wrong, or a warning of the units if `lenient` or if a
    /// drop-in says so.
    ///
    /// # Errors
    /// Everything that is wrong with the file, each with its place.
    pub(crate) fn units(&self, checked: Checked, lenient: bool) -> Result<Units, Problems> {
        if let Some(rival) = self.rivals.first() {
            let reason = format!("{} declares the same pod; keep one", rival.display());
            let path = self.path.clone();
            return Err(Problem::Whole { path, reason }.into());
        }
        let (unit, warnings) = self.read(lenient)?;
        let line = line::CommandLine::of(&unit, &self.path)?;
        if checked == Checked::Values {
            line.check(&unit, &self.path)?;
        }
        let mut units = Units::new(self, &unit, &line);
        units.warnings = warnings.iter().map(ToString::to_string).collect();
        Ok(units)
    }

    fn read(&self, lenient: bool) -> Result<(UnitFile, Vec<SyntaxError>), Problems> {
        let text = text_of(&self.path)?;
        let file = self.path.to_string_lossy();
        let mut warnings = Vec::new();
        let ending = self.path.extension().and_then(OsStr::to_str);
        let mut unit = match ending {
            Some("json") => self.of_manifest(&text)?,
            Some("yaml" | "yml") => {
                let lenient = lenient || self.is_lenient()?;
                let read = kube::translate(&file, &text, lenient)
                    .map_err(|wrong| Problems(wrong.into_iter().map(Problem::Syntax).collect()))?;
                warnings = read.warnings;
                read.unit
            }
            _ => UnitFile::parse(&file, &text).map_err(Problem::Syntax)?,
        };
        self.add_drop_ins(&mut unit)?;
        if matches!(ending, Some("json" | "yaml" | "yml"))
            && unit.get("Install").is_none()
            && !self.name.ends_with('@')
        {
            let install = "[Install]\nWantedBy=multi-user.target\n";
            unit.add(&file, install).map_err(Problem::Syntax)?;
        }
        Ok((unit, warnings))
    }

    /// A pod manifest says everything itself.
    fn of_manifest(&self, text: &str) -> Result<UnitFile, Problem> {
        if let Err(e) = PodManifest::from_slice(text.as_bytes()) {
            let (path, reason) = (self.path.clone(), e.to_string());
            return Err(Problem::Whole { path, reason });
        }
        let file = self.path.to_string_lossy();
        let line = format!("[Pod]\n{}={}\n", keys::MANIFEST, file.replace('%', "%%"));
        Ok(UnitFile::parse(&file, &line)?)
    }

    fn is_lenient(&self) -> Result<bool, Problem> {
        let mut drop_ins = UnitFile::default();
        self.add_drop_ins(&mut drop_ins)?;
        let said = drop_ins.get("Pod").and_then(|pod| pod.last(keys::LENIENT));
        Ok(said.is_some_and(|said| keys::boolean(&said.value) == Some(true)))
    }

    fn add_drop_ins(&self, unit: &mut UnitFile) -> Result<(), Problem> {
        for path in &self.drop_ins {
            unit.add(&path.to_string_lossy(), &text_of(path)?)?;
        }
        Ok(())
    }
}

fn text_of(path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path).map_err(|cause| Problem::Unread {
        path: path.to_owned(),
        cause,
    })
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
