//! The engine: a pod while it runs.
//!
//!     rkt run ──exec──▶ supervisor ──clone──▶ init ──clone──▶ app
//!                        (host)               (PID 1)         (own mounts)
//!
//! [`plan`] looks at everything, before there is anything to undo.
//! [`supervisor`] holds the pod's lock and cgroups, outside the pod.
//! [`init`] holds the pod's namespaces, inside it.
//! [`app`] turns a clone of the init into an app: [`rootfs`], [`identity`].
//!
//! [`enter`] brings a program in beside an app.
//! [`attach`] brings the caller to an app's streams.
//! [`network`] joins the pod to networks from the host's side, meanwhile.
//!
//! The engine knows pods, OCI runtime specifications and CNI configurations,
//! nothing of images, stores or where a configuration was found: it is handed
//! everything in `engine.json` ([`manifests::engine`]).
//!
//! Invariants: one thread in every process; every path inside an app's root
//! is looked up with that root as its limit ([`resolve`]); no descriptor of
//! ours reaches an app's program.
//!
//! Absent on purpose: an async runtime, and memory: supervisor and init
//! together hold less than 1 MiB while their pod idles.

#![forbid(unsafe_code)]

pub mod app;
pub mod attach;
pub mod cgroup;
pub mod enter;
pub mod error;
pub mod identity;
pub mod idle;
pub mod init;
pub mod mounting;
pub mod network;
pub mod parcel;
pub mod plan;
pub mod program;
pub mod protection;
pub mod record;
pub mod resolve;
pub mod rootfs;
pub mod signals;
pub mod stdio;
pub mod supervisor;
pub mod timings;
pub mod update;
pub mod users;
pub mod wire;
