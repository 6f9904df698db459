//! `rkt attach`: connecting to the streams and the terminal of an app.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::io::Write;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use tests::pty::Pty;
use tests::shell::host;
use tests::{Cmd, Host, Running};

/// A pod of one app with these flags, when it is ready.
fn pod(host: &Host, flags: &[&str], script: &str) -> Running {
    let mut words = vec!["run", "--net=none", "example.com/sh"];
    words.extend(flags);
    words.extend(["--", script]);
    let running = host.rkt(words).spawn();
    let uuid = host.last_uuid();
    host.rkt(["status", "--wait-ready=20s", &uuid]).run().ok();
    running
}

fn attach(host: &Host, flags: &[&str]) -> Cmd {
    let uuid = host.last_uuid();
    host.rkt(["attach"]).args(flags).arg(uuid)
}

/// One that is typed to bit by bit.
fn typing(cmd: Cmd) -> Child {
    let mut command: Command = cmd.into_command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

const ALL: [&str; 3] = ["--stdin=stream", "--stdout=stream", "--stderr=stream"];

/// Says back each line, on both streams; ends at `bye`.
const ECHO: &str = "while read l; do echo out $l; echo err $l >&2; test $l = bye && exit 4; done";

#[test]
fn streams_go_both_ways_and_to_everybody() {
    for flags in [&[][..], &["--user=1000"]] {
        let host = host();
        let pod = pod(&host, &[&ALL[..], flags].concat(), ECHO);
        let mut listener = attach(&host, &["--mode=stdout,stderr"]).spawn();
        let mut typist = typing(attach(&host, &["--mode=stdin,stdout"]));
        let mut keys = typist.stdin.take().unwrap();
        // Until both are there, lines are lost.
        tests::cmd::eventually("an echo", || {
            keys.write_all(b"hello\n").unwrap();
            listener.stdout().contains("out hello") && listener.stderr().contains("err hello")
        });
        keys.write_all(b"bye\n").unwrap();
        // The app's end is everybody's.
        let heard = listener.wait().ok();
        assert!(heard.stdout.ends_with("out bye\n"), "{heard}");
        assert!(heard.stderr.ends_with("err bye\n"), "{heard}");
        let typist = typist.wait_with_output().unwrap();
        assert!(typist.stdout.ends_with(b"out bye\n"), "{typist:?}");
        let out = pod.wait().code_is(4);
        assert_eq!(out.stdout, "", "{out}");
    }
}

#[test]
fn an_app_waits_for_nobody() {
    let host = host();
    let script = "dd if=/dev/zero bs=1M count=8 2>/dev/null; read l; exit 5";
    let pod = pod(&host, &["--stdin=stream", "--stdout=stream"], script);
    // Eight megabytes went by while nobody read. Who came and went leaves no
    // trace either.
    let gone = attach(&host, &[]).spawn();
    gone.signal(Signal::SIGKILL);
    gone.wait();
    attach(&host, &["--mode=stdin"]).stdin("go\n").run().ok();
    pod.wait().code_is(5);
}

#[test]
fn a_terminal_is_shared_and_left() {
    let host = host();
    let flags = ["--stdin=tty", "--environment=PS1=ready# "];
    let running = pod(&host, &flags, "exec sh -i");
    let mut pty = Pty::spawn(attach(&host, &[]));
    pty.type_in("\n");
    pty.wait_for("ready# ");
    assert!(!pty.is_cooked());
    pty.type_in("tty; stty size\n");
    pty.wait_for("/dev/pts/0");
    pty.wait_for("24 80");
    pty.resize(31, 97);
    std::thread::sleep(std::time::Duration::from_millis(200));
    pty.type_in("stty size\n");
    pty.wait_for("31 97");
    // Detaching leaves the app alone.
    pty.type_in("\x1d\x1d\x1d");
    assert_eq!(pty.wait(), Some(0), "{}", pty.screen());
    assert!(pty.is_cooked());
    let mut again = Pty::spawn(attach(&host, &["--mode=tty"]));
    again.type_in("echo still $((40+2))\n");
    again.wait_for("still 42");
    again.type_in("exit 6\n");
    assert_eq!(again.wait(), Some(0), "{}", again.screen());
    running.wait().code_is(6);
}

#[test]
fn what_there_is_is_listed_and_what_there_is_not_refused() {
    let host = host();
    let mut plain = pod(&host, &[], "exec sleep 1000");
    attach(&host, &[])
        .run()
        .fails(254, "attach", &["no stream"]);
    plain.is_running();
    let _pod = pod(
        &host,
        &["--stdout=stream", "--stderr=null"],
        "exec sleep 1000",
    );
    let list = attach(&host, &["--mode=list"]).run().ok().json();
    assert_eq!(list["targets"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["targets"][0]["name"], "stdout");
    attach(&host, &["--mode=stderr"])
        .run()
        .fails(254, "attach", &["no such stream"]);
    for (mode, words) in [
        ("stdio", "unknown endpoint"),
        (",", "at least one endpoint"),
        ("stdin,tty", "incompatible endpoints"),
    ] {
        attach(&host, &[&format!("--mode={mode}")]).run().fails(
            254,
            "attach",
            &["invalid attach mode", words],
        );
    }
    host.rkt([
        "run",
        "--net=none",
        "example.com/sh",
        "--stdin=tty",
        "--restart=always",
    ])
    .args(["--", "true"])
    .run()
    .fails(254, "run", &["terminal", "not started again"]);
    host.rkt([
        "run",
        "--net=none",
        "example.com/sh",
        "--stdin=tty",
        "--stdout=stream",
    ])
    .args(["--", "true"])
    .run()
    .fails(254, "run", &["all three streams or none"]);
}

#[test]
fn the_rest_is_logged_as_ever() {
    let host = host();
    let running = pod(
        &host,
        &["--stderr=stream"],
        "echo logged; echo lost >&2; sleep 0.3",
    );
    running.wait().ok().prints("logged\n");
}
