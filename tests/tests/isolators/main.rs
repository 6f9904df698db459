//! Every isolator and every flag about isolation, a row each: the app itself
//! asks the kernel what it may do, and the test compares.
//!
//! A row stands in one of the groups below. [`complete`] fails when rkt learns
//! a flag or an isolator that has no row. The whole table runs on the host, as
//! it is, and by `guest_rkt.rs` in a guest with cgroup v2.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

mod complete;
mod files;
mod pod;
mod resources;
mod rights;
mod seccomp;
mod specs;
mod table;

use table::{Row, check};

/// A group's name, which is also that of its snapshot, and its rows.
type Group = (&'static str, fn() -> Vec<Row>);

const GROUPS: [Group; 5] = [
    ("rights", rights::rows),
    ("seccomp", seccomp::rows),
    ("resources", resources::rows),
    ("files", files::rows),
    ("pod", pod::rows),
];

fn group(name: &str) {
    let (_, rows) = GROUPS.iter().find(|(group, _)| *group == name).unwrap();
    check(name, rows());
}

#[test]
fn rights_of_the_process() {
    group("rights");
}

#[test]
fn system_calls() {
    group("seccomp");
}

#[test]
fn shares_of_the_machine() {
    group("resources");
}

#[test]
fn files_volumes_and_devices() {
    group("files");
}

#[test]
fn the_pod_around() {
    group("pod");
}
