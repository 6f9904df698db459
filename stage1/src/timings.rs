//! When each phase of a start began, for whoever measures.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::time::{ClockId, clock_gettime};

/// Where the phases are written, if anybody asked.
#[derive(Debug, Default)]
pub struct Timings(Option<File>);

impl Timings {
    /// Writes to this descriptor, or nowhere.
    pub fn new(to: Option<OwnedFd>) -> Self {
        Self(to.map(File::from))
    }

    /// Notes that a phase begins now: `{"phase":NAME,"at":NANOSECONDS}` on
    /// the monotonic clock, one write a line, so that the pod's processes can
    /// share the file. A reader that went away is no reason to stop.
    pub fn mark(&self, phase: &str) {
        if let Some(mut file) = self.0.as_ref() {
            let now = clock_gettime(ClockId::Monotonic);
            let at = now.tv_sec * 1_000_000_000 + now.tv_nsec;
            let line = format!("{{\"phase\":\"{phase}\",\"at\":{at}}}\n");
            let _gone = file.write_all(line.as_bytes());
        }
    }
}
