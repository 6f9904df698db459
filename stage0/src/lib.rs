//! A pod before it runs: configuration, pod directories and their life cycle,
//! preparing, and the exec of stage1.
//!
//! Nothing of this crate lives while a pod lives. `run` writes what stage1
//! needs to know, hands over the pod's lock and becomes stage1; every other
//! command looks at directories and locks, does one thing and ends.

pub mod behaviour;
pub mod boot;
pub mod config;
pub mod enter;
pub mod export;
pub mod given;
pub mod images;
pub mod logs;
pub use systemd::journal;
pub mod metadata;
mod names;
pub mod networks;
pub mod pods;
pub mod prepare;
pub mod ranges;
pub mod resolved;
pub mod sockets;
pub mod spec;
pub mod stage1;
pub mod start;
pub mod stop;
