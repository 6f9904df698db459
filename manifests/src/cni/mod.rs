//! CNI's words: network configurations and what plugins answer.
//!
//! ```text
//! net.d/*.conf, *.conflist ──parse──▶ NetworkConfig ──▶ plugin (built in, or executed)
//!                                                           │ prints
//!                                      CniResult ◀──parse── JSON of any version
//! ```
//!
//! A configuration keeps its keys as they were written, because an executed
//! plugin may know keys that we do not; the built-in plugins read theirs from
//! it by the types in [`plugins`], [`host_local`] and [`static_ipam`], and are
//! checked when the file is read, so that an error has a line.
//!
//! Source: the CNI specification, versions 0.1.0 to 1.1.0, and the manuals of
//! the reference plugins.

mod args;
mod config;
pub mod host_local;
pub mod net_info;
pub mod netd;
pub mod plugins;
mod position;
mod result;
pub mod static_ipam;
mod version;

pub use args::{Args, ArgsError};
pub use config::{ConfigError, NetworkConfig, Plugin};
pub use result::{CniError, CniResult, Dns, Interface, IpConfig, ResultError, Route};
pub use version::{UnknownVersion, Version};
