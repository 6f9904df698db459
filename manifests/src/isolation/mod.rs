//! What an app may do by default, and what its isolators make of it.
//!
//! ```text
//!   isolators ──▶ capabilities ──▶ bounding set
//!            └──▶ seccomp ──▶ a list of calls, groups expanded
//! ```
//!
//! Source: appc specification, "Linux Isolators"; rkt's defaults. Only what
//! can be decided without looking at a host is here; stage0 turns it into an
//! OCI runtime specification.

mod capabilities;
mod paths;
mod seccomp;
mod syscalls;

pub use capabilities::{ALL_CAPABILITIES, DEFAULT_CAPABILITIES, bounding_set};
pub use paths::{DEFAULT_DEVICES, DeviceRule, HIDDEN_PATHS, READ_ONLY_PATHS};
pub use seccomp::{Seccomp, default_allowed, default_denied, seccomp};

/// Why isolators cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsolationError {
    /// Not the name of a capability.
    #[error("unknown capability {0:?} (expected a name as CAP_KILL, see capabilities(7))")]
    UnknownCapability(String),
    /// Two that contradict each other.
    #[error("cannot have both {0} and {1}")]
    Conflict(&'static str, &'static str),
    /// Two of which there may be one.
    #[error("too many {0} isolators specified")]
    Repeated(&'static str),
    /// A list of allowed calls that allows nothing, or of denied calls that
    /// denies everything: no program could even start.
    #[error("the {0} leaves no system call to the app")]
    NothingAllowed(&'static str),
    /// A list of denied calls in which nothing was understood.
    #[error("the {0} names no system call")]
    NothingNamed(&'static str),
}
