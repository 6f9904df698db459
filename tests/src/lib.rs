//! What the end-to-end tests and the benchmarks stand on.
//!
//! ```text
//! Host ── a data directory, a configuration and a leak check of its own
//!  └─ rkt(args) ── Cmd ── run() ──▶ Output ── ok() / fails(…)
//!                      └─ spawn() ─▶ Running ── signal, kill, wait
//! Rootfs ──▶ Aci, OciImage        images of our own making, also broken ones
//! Guest ── nspawn, QEMU           Debian with systemd, other kernels, power cuts
//! probe                        what an app sees of its walls, from inside
//! Gpg, Cosign, Registry, Pty      real peers: gnupg, cosign, docker-registry, a terminal
//! Web, Ca, Proxy                  web servers that answer as a test wants
//! Sigstore ── openssl             an authority and logs of our own, for signatures by identity
//! ```
//!
//! A test never touches `/var/lib/rkt` or `/etc/rkt`, and a [`Host`] that goes
//! out of scope fails the test if anything of it is still mounted, running or
//! in a cgroup.
//!
//! Absent on purpose: any use of the crates under test to make their input.
//! What they read was written by someone else, as in life.
#![allow(
    clippy::unwrap_used,
    reason = "a test harness reports by panicking; the panic is the message"
)]

pub mod cmd;
pub mod cosign;
pub mod gpg;
pub mod guest;
pub mod host;
pub mod image;
pub mod leaks;
pub mod memory;
pub mod oci;
pub mod probe;
pub mod pty;
pub mod registry;
pub mod rootfs;
pub mod shell;
pub mod sigstore;
pub mod skip;
pub mod web;

pub use cmd::{Cmd, Output, Running};
pub use cosign::Cosign;
pub use gpg::{Gpg, Key};
pub use guest::{Debian, Disk, Guest, Kernel};
pub use host::Host;
pub use image::{Aci, Compression, sha256, sha512};
pub use oci::OciImage;
pub use registry::Registry;
pub use rootfs::Rootfs;
pub use sigstore::Sigstore;
pub use web::{Ca, Proxy, Web};
