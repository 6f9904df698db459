//! The kernel, spoken to in one place.
//!
//! The only crate that may be `unsafe`. Each module is a family of system
//! calls that neither std nor rustix offers safely; descriptors go in as
//! `BorrowedFd` and come out as `OwnedFd`, close-on-exec. No policy lives here.

#![allow(unsafe_code)]
