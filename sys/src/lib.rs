//! The kernel, spoken to in one place.
//!
//! The only crate that may be `unsafe`. Each module is a family of system
//! calls that neither std nor rustix offers safely; descriptors go in as
//! `BorrowedFd` and come out as `OwnedFd`, close-on-exec. No policy lives here.

#![allow(unsafe_code)]

pub mod descriptors;
pub mod device_filter;
pub mod mount_attributes;
pub mod netlink;
pub mod network;
pub mod process;
pub mod seccomp;
pub mod signals;
pub mod user_namespace;
pub mod verity;
pub mod writeback;
