//! Other limits for an app that runs: `rkt app update`.
//!
//! Nobody in the pod is asked: limits are the cgroups', which the pod's record
//! names. The supervisor need not know, for it never sets them again.

use std::io::Read;

use manifests::engine::CGROUP_FILE;
use oci_spec::runtime::LinuxResources;
use serde::Deserialize;

use crate::cgroup;
use crate::error::{Error, Result};

/// What comes on standard input.
#[derive(Debug, Deserialize)]
struct Change {
    old: LinuxResources,
    new: LinuxResources,
}

/// Sets the limits of an app of the pod whose directory is the working
/// directory.
///
/// # Errors
/// [`Error`], when the kernel or the host refuses one; then all are as they
/// were.
pub fn run(app: &str) -> Result<()> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(Error::system("read", "the limits"))?;
    let Change { old, new } = serde_json::from_str(&text).map_err(|source| Error::Damaged {
        file: "limits",
        source,
    })?;
    let record =
        std::fs::read_to_string(CGROUP_FILE).map_err(Error::system("read", CGROUP_FILE))?;
    let set = |limits| cgroup::change(&record, app, limits);
    set(&new).map_err(|error| {
        // The first error is the one to tell; these were set before.
        let _old = set(&old);
        error.of_app(app)
    })
}
