//! An app with the caller's terminal.

#![allow(clippy::unwrap_used)] // In tests, helpers included.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use common::{Pod, Running};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use serde_json::json;

fn terminal() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
    (master, slave)
}

#[test]
fn an_interactive_app_has_a_terminal_of_its_own() {
    let pod = Pod::new()
        .app(
            "app",
            &[
                "sh",
                "-c",
                "tty; stty size; stat -c %t:%T /dev/console; read x; echo got $x; exit 6",
            ],
            |_| {},
        )
        .with(|pod| pod.manifest["interactive"] = json!(true));
    let (master, slave) = terminal();
    let size = Winsize {
        ws_row: 33,
        ws_col: 77,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&slave, size).unwrap();
    let before = tcgetattr(&slave).unwrap();
    let copy = || Stdio::from(slave.try_clone().unwrap());
    let mut command = pod.command();
    command.stdin(copy()).stdout(copy()).stderr(copy());
    let running = Running::of(command);
    let mut master = File::from(master);
    let mut said = String::new();
    let mut hear = |until: &str| {
        while !said.contains(until) {
            let mut bytes = [0; 256];
            let length = master.read(&mut bytes).unwrap();
            said.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        said.clone()
    };
    let first = hear("88:0");
    assert!(first.contains("/dev/pts/0\r\n33 77\r\n88:0"), "{first:?}");
    master.write_all(b"hello\r").unwrap();
    let mut hear = |until: &str| {
        while !said.contains(until) {
            let mut bytes = [0; 256];
            let length = master.read(&mut bytes).unwrap();
            said.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    };
    hear("got hello");
    assert_eq!(running.end().code, Some(6));
    let after = tcgetattr(&slave).unwrap();
    assert_eq!(
        before.local_modes, after.local_modes,
        "the terminal was not restored"
    );
}

#[test]
fn an_app_hears_when_the_callers_terminal_goes_away() {
    let pod = Pod::new()
        .app(
            "app",
            &["sh", "-c", "echo ready; read x; sleep 100"],
            |_| {},
        )
        .with(|pod| pod.manifest["interactive"] = json!(true));
    let (master, slave) = terminal();
    let copy = || Stdio::from(slave.try_clone().unwrap());
    let mut command = pod.command();
    command.stdin(copy()).stdout(copy()).stderr(copy());
    let running = Running::of(command);
    pod.started("app");
    drop((slave, master));
    assert_eq!(running.end().code, Some(libc::SIGHUP));
}

/// CVE-2025-52565: an image whose `/dev/console` is a link to a file of procfs.
#[test]
fn a_console_that_is_a_link_is_refused() {
    let pod = Pod::new()
        .app("app", &["true"], |spec| {
            // No tmpfs on /dev: the image's own directory is used.
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.retain(|m| m["destination"] != json!("/dev"));
        })
        .with(|pod| pod.manifest["interactive"] = json!(true));
    std::os::unix::fs::symlink(
        "/proc/sys/kernel/core_pattern",
        pod.image().join("dev/console"),
    )
    .unwrap();
    let (_master, slave) = terminal();
    let copy = || Stdio::from(slave.try_clone().unwrap());
    let output = pod.command().stdin(copy()).stdout(copy()).output().unwrap();
    assert_eq!(output.status.code(), Some(254));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        err.contains("cannot mount the terminal on /dev/console"),
        "{err}"
    );
}

#[test]
fn without_a_terminal_an_interactive_app_reads_the_callers_input() {
    let pod = Pod::new()
        .app("app", &["cat"], |_| {})
        .with(|pod| pod.manifest["interactive"] = json!(true));
    let mut child = pod.command().stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"through\n");
    assert!(output.status.success());
}

#[test]
fn an_app_that_is_not_interactive_never_has_the_callers_terminal() {
    let pod = Pod::script(
        "tty; readlink /proc/self/fd/0; readlink /proc/self/fd/1; echo > /dev/tty || echo none",
    );
    let (master, slave) = terminal();
    let copy = || Stdio::from(slave.try_clone().unwrap());
    let mut command = pod.command();
    command.stdin(copy()).stdout(copy()).stderr(copy());
    assert_eq!(Running::of(command).end().code, Some(0));
    drop(slave);
    let mut bytes = [0; 1024];
    let length = File::from(master).read(&mut bytes).unwrap();
    let said = String::from_utf8_lossy(&bytes[..length]);
    assert!(
        said.contains("not a tty") && said.contains("/dev/null") && said.contains("pipe:"),
        "{said}"
    );
    assert!(said.contains("none"), "{said}");
}
