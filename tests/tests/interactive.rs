//! An app on the caller's terminal.

use nix::sys::signal::Signal;
use tests::pty::Pty;
use tests::{Aci, Cmd, Host};

fn shell(host: &Host) -> Cmd {
    host.fetch_aci(&Aci::busybox("example.com/sh", &["/bin/sh"]));
    host.rkt([
        "run",
        "--net=none",
        "--interactive",
        "example.com/sh",
        "--environment=PS1=ready# ",
    ])
}

#[test]
fn a_shell_works_as_on_the_host() {
    let host = Host::new();
    let mut pty = Pty::spawn(shell(&host));
    pty.wait_for("ready# ");
    assert!(
        !pty.is_cooked(),
        "the caller's terminal must be raw meanwhile"
    );
    pty.type_in("tty; test -t 0 && test -t 1 && test -t 2 && echo three\\ ttys\n");
    pty.wait_for("three ttys");
    assert!(pty.screen().contains("/dev/pts/"), "{}", pty.screen());
    pty.type_in("exit 6\n");
    assert_eq!(pty.wait(), Some(6), "{}", pty.screen());
    assert!(pty.is_cooked(), "the terminal was not put back");
}

#[test]
fn control_c_reaches_the_app_alone() {
    let host = Host::new();
    let mut pty = Pty::spawn(shell(&host));
    pty.wait_for("ready# ");
    pty.type_in("sleep 100\n");
    std::thread::sleep(std::time::Duration::from_millis(200));
    pty.type_in("\x03");
    pty.type_in("echo still $((40+2))\n");
    pty.wait_for("still 42");
    pty.type_in("exit 0\n");
    assert_eq!(pty.wait(), Some(0), "{}", pty.screen());
}

#[test]
fn job_control_works() {
    let host = Host::new();
    let mut pty = Pty::spawn(shell(&host));
    pty.wait_for("ready# ");
    pty.type_in("set -m; sleep 100\n");
    std::thread::sleep(std::time::Duration::from_millis(200));
    pty.type_in("\x1a");
    pty.wait_for("Stopped");
    // The shell warns of stopped jobs at the first exit only.
    pty.type_in("kill -KILL %1; exit 0\n");
    pty.type_in("exit 0\n");
    assert_eq!(pty.wait(), Some(0), "{}", pty.screen());
}

#[test]
fn the_window_size_follows() {
    let host = Host::new();
    let mut pty = Pty::spawn(shell(&host));
    pty.wait_for("ready# ");
    pty.type_in("stty size\n");
    pty.wait_for("24 80");
    pty.resize(41, 133);
    std::thread::sleep(std::time::Duration::from_millis(200));
    pty.type_in("stty size\n");
    pty.wait_for("41 133");
    pty.type_in("exit 0\n");
    assert_eq!(pty.wait(), Some(0), "{}", pty.screen());
}

#[test]
fn the_terminal_is_put_back_when_the_pod_is_stopped() {
    let host = Host::new();
    let pty = Pty::spawn(shell(&host));
    pty.wait_for("ready# ");
    for (pid, _) in host.processes() {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
    }
    tests::cmd::eventually("the terminal to be cooked again", || pty.is_cooked());
}

#[test]
fn only_one_app_can_have_the_terminal() {
    let host = Host::new();
    host.fetch_aci(&Aci::busybox("example.com/sh", &["/bin/sh"]));
    host.rkt(["run", "--net=none", "--interactive"])
        .args(["example.com/sh", "--name=a", "example.com/sh", "--name=b"])
        .run()
        .fails(254, "run", &["interactive option only supports one image"]);
    host.assert_no_pods();
}
