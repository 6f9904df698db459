//! Attacks that have worked on container runtimes, by the names under which
//! they were published, each shown to work when the wall against it is gone.
//!
//! An attack is made twice. On the built programs it must fail. Then either
//! the user takes the wall away (`--insecure-options`, `--net=host`), or the
//! engine is one that a test can take walls out of (`tests/unprotected`,
//! `stage1/src/protection.rs`): now it must succeed, or it proves nothing.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

mod engine;
mod enter;
mod kernel;
mod mounts;
mod process;
mod walls;
