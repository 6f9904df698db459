//! `rkt enter`: a program in an app that runs has what the app has, and
//! nothing more (CVE-2019-10144, -10145, -10147).
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;

use nix::sys::signal::Signal;
use tests::pty::Pty;
use tests::shell::{self, host};
use tests::{Cmd, Host, Running};

/// Prints `up` and stays.
const STAY: &str = "echo up; exec sleep 1000";

/// A pod of one app with these flags that runs until it is dropped.
fn pod(host: &Host, flags: &[&str]) -> Running {
    run(host, flags, STAY)
}

fn run(host: &Host, flags: &[&str], script: &str) -> Running {
    let mut words = vec!["run", "--net=none", "example.com/sh"];
    words.extend(flags);
    words.extend(["--", script]);
    let mut pod = host.rkt(words).spawn();
    pod.wait_for("up");
    pod
}

/// `rkt enter UUID sh -c SCRIPT` in the last pod.
fn enter(host: &Host, script: &str) -> Cmd {
    host.rkt(["enter", &host.last_uuid(), "sh", "-c", script])
}

fn app_pid(host: &Host) -> i32 {
    shell::app_pid(host, &host.last_uuid(), "sh")
}

/// What `/proc/PID/status` of the app says, to compare by.
fn rights(status: &str) -> Vec<String> {
    const FIELDS: [&str; 11] = [
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp:",
        "Seccomp_filters",
    ];
    status
        .lines()
        .filter(|line| FIELDS.iter().any(|field| line.starts_with(field)))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// Every right of an entered program is the app's.
fn rights_are_the_apps(flags: &[&str]) {
    let host = host();
    let _pod = pod(&host, flags);
    let its = fs::read_to_string(format!("/proc/{}/status", app_pid(&host))).unwrap();
    let out = enter(&host, "cat /proc/self/status").run().ok();
    assert_eq!(rights(&out.stdout).len(), 11, "{out}");
    assert_eq!(rights(&out.stdout), rights(&its), "{flags:?}");
}

#[test]
fn rights_are_those_of_a_root_app() {
    rights_are_the_apps(&[]);
}

#[test]
fn rights_are_those_of_a_user() {
    rights_are_the_apps(&["--user=1000", "--group=1001", "--supplementary-gids=7,8"]);
}

#[test]
fn cve_2019_10144_capabilities_are_limited() {
    rights_are_the_apps(&["--caps-retain=CAP_NET_BIND_SERVICE"]);
    let host = host();
    let _pod = pod(&host, &["--caps-remove=CAP_MKNOD"]);
    let out = enter(&host, "mknod /null c 1 3; mount -t tmpfs x /tmp; echo $?")
        .run()
        .ok();
    assert!(out.stderr.contains("not permitted"), "{out}");
    assert_ne!(out.text(), "0", "{out}");
}

#[test]
fn cve_2019_10145_the_filter_is_the_apps() {
    let host = host();
    let _pod = pod(&host, &["--seccomp=mode=remove,errno=EXDEV,mkdir,mkdirat"]);
    let out = enter(&host, "mkdir /x").run().code_is(1);
    assert!(out.stderr.contains("Invalid cross-device link"), "{out}");
}

#[test]
fn cve_2019_10147_limits_of_the_cgroup_hold() {
    let host = host();
    let _pod = pod(&host, &["--memory=32M"]);
    // Every cgroup of the program is the app's, in every hierarchy.
    let its = fs::read_to_string(format!("/proc/{}/cgroup", app_pid(&host))).unwrap();
    let mut child = enter(&host, "echo here; exec sleep 1000").spawn();
    child.wait_for("here");
    let sleeps = || in_pod(&host, "sleep\x001000\0");
    tests::cmd::eventually("both to sleep", || sleeps().len() == 2);
    for pid in sleeps() {
        let got = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert_eq!(got, its);
        assert!(got.contains(&host.last_uuid()), "{got}");
    }
    child.signal(Signal::SIGTERM);
    assert_eq!(child.wait().signal(), Some(15));
    // And they bite.
    let out = enter(
        &host,
        "exec dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null",
    )
    .run();
    assert_eq!(out.signal(), Some(9), "{out}");
}

/// Host processes in this pod's cgroups with this command line.
fn in_pod(host: &Host, line: &str) -> Vec<i32> {
    let uuid = host.last_uuid();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        if read("cgroup").contains(&uuid) && read("cmdline") == line {
            found.push(pid);
        }
    }
    found
}

#[test]
fn namespaces_are_the_apps() {
    let host = host();
    let _pod = pod(&host, &[]);
    let out = enter(
        &host,
        "for n in pid mnt ipc uts cgroup net; do readlink /proc/self/ns/$n; done; pwd",
    )
    .run()
    .ok();
    let its = ["pid", "mnt", "ipc", "uts", "cgroup", "net"].map(|name| {
        let link = fs::read_link(format!("/proc/{}/ns/{name}", app_pid(&host))).unwrap();
        link.to_string_lossy().into_owned()
    });
    let mut want = its.to_vec();
    want.push("/".to_owned());
    assert_eq!(out.stdout.lines().collect::<Vec<_>>(), want, "{out}");
}

#[test]
fn limits_come_from_the_pod_and_not_from_the_caller() {
    let host = host();
    let _pod = pod(&host, &[]);
    let its = fs::read_to_string(format!("/proc/{}/limits", app_pid(&host))).unwrap();
    let uuid = host.last_uuid();
    let inside = host
        .rkt(["enter", &uuid, "cat", "/proc/self/limits"])
        .line();
    // The caller's soft limits are others, and it is weighed more lightly.
    let out = Cmd::new("sh")
        .arg("-c")
        .arg(format!("ulimit -S -n 77; ulimit -S -s 4096; exec {inside}"))
        .run()
        .ok();
    assert_eq!(out.stdout, its, "{out}");
}

#[test]
fn the_environment_is_the_apps() {
    let host = host();
    let _pod = pod(&host, &["--environment=COLOUR=red"]);
    let out = host
        .rkt(["enter", &host.last_uuid(), "env"])
        .env("SECRET", "of the caller")
        .env("TERM", "dumb")
        .run()
        .ok();
    for line in ["COLOUR=red", "AC_APP_NAME=sh", "TERM=dumb"] {
        assert!(out.stdout.lines().any(|l| l == line), "{line}: {out}");
    }
    assert!(!out.stdout.contains("SECRET"), "{out}");
}

#[test]
fn descriptors_of_the_host_stay_outside() {
    let host = host();
    let _pod = pod(&host, &[]);
    let uuid = host.last_uuid();
    let line = host.rkt(["enter", &uuid, "ls", "/proc/self/fd"]).line();
    let out = Cmd::new("sh")
        .arg("-c")
        .arg(format!("exec 7</etc/passwd 9>/dev/null; exec {line}"))
        .run()
        .ok();
    // ls itself holds the directory it lists.
    assert_eq!(out.stdout, "0\n1\n2\n3\n", "{out}");
}

#[test]
fn input_output_and_statuses_pass() {
    let host = host();
    let _pod = pod(&host, &[]);
    enter(&host, "cat; echo told >&2; exit 7")
        .stdin("through\n")
        .run()
        .code_is(7)
        .prints("through\n");
    let out = enter(&host, "kill -TERM $$").run();
    assert_eq!(
        out.signal(),
        Some(15),
        "a signal is passed on as it is: {out}"
    );
    let out = host.rkt(["enter", &host.last_uuid(), "nosuch"]).run();
    out.fails(203, "enter", &["unable to find", "nosuch"]);
    enter(&host, "sleep 1000 >/dev/null 2>&1 & exit 0")
        .run()
        .ok();
}

#[test]
fn a_signal_reaches_the_program() {
    let host = host();
    let _pod = pod(&host, &[]);
    let mut child = enter(
        &host,
        "trap 'exit 9' TERM; echo set; while :; do sleep 0.1; done",
    )
    .spawn();
    child.wait_for("set");
    child.signal(Signal::SIGTERM);
    child.wait().code_is(9);
}

#[test]
fn a_terminal_is_the_pods_own() {
    let host = host();
    let _pod = pod(&host, &["--user=1000", "--environment=PS1=ready# "]);
    let mut pty = Pty::spawn(host.rkt(["enter", &host.last_uuid(), "/bin/sh"]));
    pty.wait_for("ready# ");
    assert!(!pty.is_cooked());
    pty.type_in("tty; stty size; echo $TERM; echo x >/dev/tty\n");
    pty.wait_for("/dev/pts/0");
    pty.wait_for("24 80");
    pty.resize(33, 99);
    std::thread::sleep(std::time::Duration::from_millis(200));
    pty.type_in("stty size\n");
    pty.wait_for("33 99");
    pty.type_in("sleep 100\n");
    std::thread::sleep(std::time::Duration::from_millis(200));
    pty.type_in("\x03echo still $((40+2))\n");
    pty.wait_for("still 42");
    // What is left behind on the terminal keeps nobody waiting.
    pty.type_in("sleep 1000 & exit 6\n");
    assert_eq!(pty.wait(), Some(6), "{}", pty.screen());
    assert!(pty.is_cooked(), "the terminal was not put back");
}

#[test]
fn a_pod_that_ends_takes_entered_programs_along() {
    let host = host();
    let pod = pod(&host, &[]);
    let mut child = enter(&host, "echo here; exec sleep 1000").spawn();
    child.wait_for("here");
    let uuid = host.last_uuid();
    host.rkt(["stop", "--force", &uuid]).run().ok();
    assert_eq!(child.wait().signal(), Some(9));
    drop(pod);
    host.rkt(["enter", &uuid, "true"])
        .run()
        .fails(254, "enter", &["isn't currently running"]);
}

#[test]
fn a_recycled_number_is_nobody() {
    let host = host();
    let _pod = pod(&host, &[]);
    let uuid = host.last_uuid();
    let file = host.data().join(format!("pods/run/{uuid}/apps/sh/status"));
    app_pid(&host);
    let text = fs::read_to_string(&file).unwrap();
    let mut status: serde_json::Value = serde_json::from_str(&text).unwrap();
    // The record's process is gone, and its number is ours now.
    status["pid"] = std::process::id().into();
    fs::write(&file, status.to_string()).unwrap();
    host.rkt(["enter", &uuid, "true"])
        .run()
        .fails(254, "enter", &["app \"sh\" is not running"]);
    fs::write(&file, text).unwrap();
}

#[test]
fn one_of_several_apps_must_be_named() {
    let host = host();
    let mut pod = host
        .rkt(["run", "--net=none"])
        .args(["example.com/sh", "--name=a", "--", STAY, "---"])
        .args(["example.com/sh", "--name=b", "--", STAY])
        .spawn();
    pod.wait_for("[b] up");
    let uuid = host.last_uuid();
    let out = host.rkt(["enter", &uuid, "true"]).run().code_is(254);
    assert!(out.stderr.contains("multiple apps:\n\ta\n\tb"), "{out}");
    assert!(out.stderr.contains("rkt enter --app="), "{out}");
    host.rkt(["enter", "--app=c", &uuid, "true"]).run().fails(
        254,
        "enter",
        &["no app \"c\"", "a, b"],
    );
    host.rkt([
        "app",
        "exec",
        "--app=b",
        &uuid,
        "sh",
        "-c",
        "echo $AC_APP_NAME",
    ])
    .run()
    .ok()
    .prints("b\n");
}

#[test]
fn nothing_writable_of_the_host_is_within_reach() {
    let host = host();
    // An app that may trace looks at every process that appears in its pod,
    // and tries to write to the program it runs and to its descriptors.
    let watch = "echo up; while :; do for p in /proc/[0-9]*; do \
        (echo x >>$p/exe) 2>/dev/null && echo WROTE $(readlink $p/exe); \
        r=$(readlink $p/root) && [ \"$r\" != / ] && echo ROOT $r; \
        done; done";
    let mut pod = run(
        &host,
        &["--caps-retain=CAP_SYS_PTRACE,CAP_DAC_OVERRIDE"],
        watch,
    );
    for _ in 0..30 {
        host.rkt(["enter", &host.last_uuid(), "/bin/true"])
            .run()
            .ok();
    }
    let said = pod.stdout();
    let bad: Vec<&str> = said
        .lines()
        .filter(|l| *l != "up" && !l.contains("WROTE /bin/busybox"))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}
