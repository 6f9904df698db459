//! What the supervisor knows of an app, and tells in its status.

use std::os::fd::OwnedFd;

use manifests::engine::{AppStatus, Readiness};

use super::notify;
use crate::error::Result;
use crate::plan;

/// What is known of an app.
#[derive(Debug)]
pub(super) struct AppRecord {
    pub(super) name: String,
    pub(super) status: AppStatus,
    pub(super) ready: Readiness,
    /// It may speak to the service manager.
    pub(super) speaks: bool,
    /// Where it says that it is ready, and what else it has to say.
    pub(super) notify: Option<OwnedFd>,
    /// It has been ready once.
    pub(super) reached: bool,
    /// Nothing of it will run any more.
    pub(super) over: bool,
    /// How often the kernel had killed a process of its for want of memory
    /// when it was started last.
    pub(super) oom_kills: u64,
}

impl AppRecord {
    pub(super) fn new(app: &plan::App) -> Result<Self> {
        Ok(Self {
            name: app.name.clone(),
            status: AppStatus::default(),
            notify: notify::open(app)?,
            ready: app.ready.clone(),
            speaks: app.speaks,
            reached: false,
            over: false,
            oom_kills: 0,
        })
    }
}
