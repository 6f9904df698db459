//! What a plan has to know of the host it is made for.
//!
//! The init of a pod to which an app is added sees nothing of the host: the
//! supervisor looks, and tells it.

use oci_spec::runtime::{LinuxSeccomp, Process};

use super::process::{ExecLabel, exec_label};
use super::seccomp::Filter;
use crate::error::Result;

/// The host, as a plan asks it.
pub trait Host {
    /// The compiled filter of a section, none when it allows everything.
    ///
    /// # Errors
    /// When it cannot be compiled.
    fn filter(&self, section: &LinuxSeccomp) -> Result<Option<Filter>>;

    /// How the process's label is given to it.
    ///
    /// # Errors
    /// When no module of the kernel would heed it.
    fn exec_label(&self, process: &Process) -> Result<Option<ExecLabel>>;

    /// The names of the v1 hierarchies; none where everything is on v2.
    ///
    /// # Errors
    /// When they cannot be read.
    fn legacy_hierarchies(&self) -> Result<Option<Vec<String>>>;
}

/// The host where this process sees it.
#[derive(Debug)]
pub struct ThisHost;

impl Host for ThisHost {
    fn filter(&self, section: &LinuxSeccomp) -> Result<Option<Filter>> {
        Filter::compile(section)
    }

    fn exec_label(&self, process: &Process) -> Result<Option<ExecLabel>> {
        exec_label(process)
    }

    fn legacy_hierarchies(&self) -> Result<Option<Vec<String>>> {
        crate::cgroup::legacy_hierarchies()
    }
}

/// The host as somebody told of it.
#[derive(Debug)]
pub struct Told {
    /// The filter of the one app that it is told for.
    pub filter: Option<Filter>,
    /// The label of its process.
    pub exec_label: Option<ExecLabel>,
    /// The v1 hierarchies.
    pub legacy: Option<Vec<String>>,
}

impl Host for Told {
    fn filter(&self, _: &LinuxSeccomp) -> Result<Option<Filter>> {
        Ok(self.filter.clone())
    }

    fn exec_label(&self, _: &Process) -> Result<Option<ExecLabel>> {
        Ok(self.exec_label.clone())
    }

    fn legacy_hierarchies(&self) -> Result<Option<Vec<String>>> {
        Ok(self.legacy.clone())
    }
}
