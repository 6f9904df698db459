//! What an app sees and what its caller gets: the pod as the reference
//! promises it.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;

use nix::sys::signal::Signal;
use tests::shell::{app, host, pod, sh};
use tests::{Aci, Cmd, Host, OciImage, Output, Rootfs};

const NAMESPACES: [&str; 6] = ["pid", "mnt", "ipc", "uts", "cgroup", "net"];

fn namespaces(host: &Host, net: &str) -> Vec<(String, bool)> {
    let script = "for n in pid mnt ipc uts cgroup net; do readlink /proc/self/ns/$n; done";
    let out = host
        .rkt(["run", net, "example.com/sh", "--", script])
        .run()
        .ok();
    let inside: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(inside.len(), NAMESPACES.len(), "{out}");
    NAMESPACES
        .iter()
        .zip(inside)
        .map(|(name, inside)| {
            let outside = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            ((*name).to_owned(), outside.to_str() == Some(inside))
        })
        .collect()
}

#[test]
fn every_namespace_is_the_pods_own() {
    let host = host();
    for (name, shared) in namespaces(&host, "--net=none") {
        assert!(!shared, "the {name} namespace is the host's");
    }
}

#[test]
fn net_host_shares_the_network_and_nothing_else() {
    let host = host();
    for (name, shared) in namespaces(&host, "--net=host") {
        assert_eq!(shared, name == "net", "namespace {name}");
    }
}

#[test]
fn net_none_has_loopback_up_and_nothing_else() {
    let host = host();
    let out = sh(
        &host,
        "ls /sys/class/net; ping -c1 -W1 127.0.0.1 >/dev/null && echo up",
    );
    assert_eq!(out.stdout, "lo\nup\n", "{out}");
}

#[test]
fn apps_share_pid_ipc_uts_and_network() {
    let host = host();
    let script =
        "for n in pid ipc uts net mnt cgroup; do readlink /proc/self/ns/$n; done >/dev/stderr";
    let out = host
        .rkt(["run", "--net=none"])
        .args(["example.com/sh", "--name=a", "--", script, "---"])
        .args(["example.com/sh", "--name=b", "--", script])
        .run()
        .ok();
    let of = |app: &str| -> Vec<String> {
        let prefix = format!("[{app}] ");
        out.stderr
            .lines()
            .filter_map(|l| l.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect()
    };
    let (a, b) = (of("a"), of("b"));
    assert_eq!((a.len(), b.len()), (6, 6), "{out}");
    assert_eq!(a[..4], b[..4], "pid, ipc, uts and net are the pod's");
    assert_ne!(a[4], b[4], "the mount namespace is the app's");
    assert_ne!(a[5], b[5], "the cgroup namespace is the app's");
}

#[test]
fn pid_1_is_the_pods_init() {
    let host = host();
    let out = sh(&host, "echo $$; cat /proc/1/comm");
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_ne!(lines[0], "1", "{out}");
    assert_ne!(lines[1], "sh", "{out}");
}

#[test]
fn orphans_are_reaped() {
    let host = host();
    let out = sh(
        &host,
        "(sh -c 'sleep 0.05 & exit') ; sleep 0.3; for s in /proc/[0-9]*/stat; do cat $s; done 2>/dev/null",
    );
    assert!(!out.stdout.contains(" Z "), "a zombie is left: {out}");
}

#[test]
fn the_host_name_is_the_pods() {
    let host = host();
    let out = sh(&host, "hostname");
    assert_eq!(out.text(), format!("rkt-{}", host.last_uuid()));
    pod(&host, &["--hostname=tern"], "hostname")
        .run()
        .ok()
        .prints("tern\n");
}

mod environment {
    use super::*;

    fn env(out: &Output) -> Vec<String> {
        let mut lines: Vec<String> = out.stdout.lines().map(str::to_owned).collect();
        lines.retain(|l| {
            !["PWD=", "SHLVL=", "_="]
                .iter()
                .any(|own| l.starts_with(own))
        });
        lines.sort();
        lines
    }

    #[test]
    fn the_default_is_exactly_this() {
        let host = host();
        let out = pod(&host, &[], "env").env("CALLER", "leaks").run().ok();
        assert_eq!(
            env(&out),
            [
                "AC_APP_NAME=sh",
                "HOME=/root",
                "LOGNAME=root",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "SHELL=/bin/sh",
                "USER=root",
            ]
        );
    }

    #[test]
    fn later_ranks_win() {
        let host = Host::new();
        let file = host.path().join("env");
        fs::write(&file, "# a comment\n; another\n\nD=file\nE=file\n").unwrap();
        let image = Aci::busybox("example.com/sh", &["/bin/sh", "-c"]).app(
            "environment",
            serde_json::json!([
                {"name": "B", "value": "image"},
                {"name": "C", "value": "image"},
                {"name": "D", "value": "image"},
                {"name": "E", "value": "image"},
            ]),
        );
        host.fetch_aci(&image);
        let file = format!("--set-env-file={}", file.display());
        let out = host
            .rkt([
                "run",
                "--net=none",
                "--inherit-env",
                &file,
                "--set-env=E=flag",
            ])
            .args([
                "example.com/sh",
                "--environment=C=app",
                "--environment=D=app",
            ])
            .args(["--environment=E=app", "--", "echo $A $B $C $D $E"])
            .env("A", "caller")
            .env("B", "caller")
            .run()
            .ok();
        assert_eq!(out.text(), "caller image app file flag");
    }

    #[test]
    fn a_key_set_twice_is_an_error() {
        let host = host();
        pod(&host, &["--set-env=A=1", "--set-env=A=2"], "env")
            .run()
            .code_is(254);
        host.assert_no_pods();
    }
}

#[test]
fn arguments_go_to_the_image_they_follow() {
    let host = Host::new();
    host.fetch_aci(&Aci::busybox("example.com/echo", &["/bin/echo", "image"]));
    host.rkt([
        "run",
        "--net=none",
        "example.com/echo",
        "--",
        "--net=host",
        "",
        "x y",
    ])
    .run()
    .ok()
    .prints("image --net=host x y\n");
    host.rkt([
        "run",
        "--net=none",
        "example.com/echo",
        "--exec=/bin/printf",
        "--",
        "%s|",
        "a",
        "b",
    ])
    .run()
    .ok()
    .prints("a|b|");
}

#[test]
fn working_directory() {
    let host = host();
    sh(&host, "pwd").prints("/\n");
    app(&host, &["--working-dir=/home/app"], "pwd")
        .ok()
        .prints("/home/app\n");
}

#[test]
fn users_and_groups_come_from_the_image() {
    let host = host();
    for (flags, expected) in [
        (&["--user=app", "--group=app"][..], "1000 1000 1000"),
        (&["--user=1000", "--group=2000"], "1000 2000 2000"),
        (&["--user=4242", "--group=4243"], "4242 4243 4243"),
        (&["--user=/home/app", "--group=/home/app"], "1000 1000 1000"),
        (
            &["--user=app", "--group=app", "--supplementary-gids=2000,7"],
            "1000 1000 1000 7 2000",
        ),
    ] {
        let out = app(
            &host,
            flags,
            "echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | sort -n -k1,1 | uniq)",
        )
        .ok();
        let mut words: Vec<&str> = out.text().split(' ').collect();
        let mut wanted: Vec<&str> = expected.split(' ').collect();
        words[2..].sort_unstable();
        wanted[2..].sort_unstable();
        assert_eq!(words, wanted, "{flags:?}: {out}");
    }
}

#[test]
fn an_unknown_user_is_named() {
    let host = host();
    app(&host, &["--user=nosuch"], "true").fails(254, "run", &["nosuch", "/etc/passwd"]);
    host.assert_no_pods();
}

mod status {
    use super::*;

    #[test]
    fn the_apps_code_is_the_commands() {
        let host = host();
        for code in [0, 1, 7, 203, 255] {
            pod(&host, &[], &format!("exit {code}")).run().code_is(code);
        }
    }

    #[test]
    fn death_by_signal_is_the_signals_number() {
        let host = host();
        pod(&host, &[], "kill -KILL $$").run().code_is(9);
        pod(&host, &[], "kill -SEGV $$").run().code_is(11);
    }

    /// The first app that fails ends the pod; the others are stopped.
    #[test]
    fn the_first_failure_is_the_pods() {
        let host = host();
        let out = host
            .rkt(["run", "--net=none"])
            .args(["example.com/sh", "--name=good", "--", "exit 0", "---"])
            .args([
                "example.com/sh",
                "--name=stays",
                "--",
                "trap 'echo told; exit 0' TERM; while :; do sleep 0.05; done",
                "---",
            ])
            .args(["example.com/sh", "--name=bad", "--", "sleep 0.3; exit 5"])
            .run()
            .code_is(5);
        assert!(out.stdout.contains("[stays] told"), "{out}");
    }

    #[test]
    fn a_success_lets_the_others_go_on() {
        let host = host();
        let out = host
            .rkt(["run", "--net=none"])
            .args(["example.com/sh", "--name=first", "--", "exit 0", "---"])
            .args([
                "example.com/sh",
                "--name=second",
                "--",
                "sleep 0.3; echo done",
            ])
            .run()
            .ok();
        out.prints("[second] done\n");
    }

    #[test]
    fn a_missing_program_is_203_and_named() {
        let host = host();
        app(&host, &["--exec=/bin/nosuch"], "x").fails(203, "run", &["/bin/nosuch"]);
        app(&host, &["--exec=/etc/passwd"], "x").fails(203, "run", &["/etc/passwd"]);
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        let host = Host::new();
        let rootfs = Rootfs::busybox().file("bin/script", 0o755, "#!/bin/nosuch\n");
        host.fetch_aci(&Aci::new("example.com/script", &["/bin/script"], rootfs));
        host.rkt(["run", "--net=none", "example.com/script"])
            .run()
            .fails(203, "run", &["/bin/script", "interpreter"]);
    }
}

mod output {
    use super::*;

    #[test]
    fn one_app_writes_straight_through() {
        let host = host();
        let out = sh(&host, "echo out; echo err >&2; printf 'no newline'");
        assert_eq!((&*out.stdout, &*out.stderr), ("out\nno newline", "err\n"));
    }

    #[test]
    fn several_apps_are_told_apart() {
        let host = host();
        let out = host
            .rkt(["run", "--net=none"])
            .args([
                "example.com/sh",
                "--name=a",
                "--",
                "echo one; echo bad >&2; printf end",
                "---",
            ])
            .args(["example.com/sh", "--name=b", "--", "echo two"])
            .run()
            .ok();
        let mut lines: Vec<&str> = out.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["[a] end", "[a] one", "[b] two"], "{out}");
        assert_eq!(out.stderr, "[a] bad\n", "{out}");
    }

    #[test]
    fn nothing_is_lost_at_the_end() {
        let host = host();
        let script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done";
        let out = host
            .rkt(["run", "--net=none"])
            .args(["example.com/sh", "--name=a", "--", script, "---"])
            .args(["example.com/sh", "--name=b", "--", script])
            .run()
            .ok();
        for app in ["a", "b"] {
            let prefix = format!("[{app}] ");
            let numbers: Vec<usize> = out
                .stdout
                .lines()
                .filter_map(|l| l.strip_prefix(&prefix)?.parse().ok())
                .collect();
            assert!(
                numbers.iter().copied().eq(0..20000),
                "{app} lost or mixed lines"
            );
        }
    }

    #[test]
    fn a_reader_that_left_does_not_wedge_the_pod() {
        let host = host();
        let line = pod(&host, &[], "yes | head -n 100000; exit 3").line();
        let out = Cmd::new("sh")
            .args(["-c", &format!("{} | head -n 1", shell_quote(&line))])
            .env("RKT_TEST_HOST", host.path())
            .run()
            .ok();
        assert_eq!(out.text(), "y");
    }

    /// The words of these tests' command lines hold no quotes; the script does
    /// hold spaces, and stands last.
    fn shell_quote(line: &str) -> String {
        let (words, script) = line.split_once(" -- ").unwrap();
        format!("{words} -- '{script}'")
    }
}

#[test]
fn stdin_is_empty_unless_interactive() {
    let host = host();
    pod(&host, &[], "cat; echo end")
        .stdin("words")
        .run()
        .ok()
        .prints("end\n");
    pod(&host, &["--interactive"], "cat; echo end")
        .stdin("words ")
        .run()
        .ok()
        .prints("words end\n");
}

mod signals {
    use super::*;

    const LOOP: &str = "while :; do sleep 0.02; done";

    #[test]
    fn are_forwarded() {
        let host = host();
        for (signal, name) in [
            (Signal::SIGHUP, "HUP"),
            (Signal::SIGUSR1, "USR1"),
            (Signal::SIGUSR2, "USR2"),
        ] {
            let mut running = pod(
                &host,
                &[],
                &format!("trap 'echo got; exit 42' {name}; echo ready; {LOOP}"),
            )
            .spawn();
            running.wait_for("ready");
            running.signal(signal);
            let out = running.wait().code_is(42);
            assert!(out.stdout.contains("got"), "{name}: {out}");
        }
    }

    #[test]
    fn term_and_int_stop_the_pod_in_order() {
        let host = host();
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut running = pod(
                &host,
                &[],
                &format!("trap 'echo stopping; exit 0' TERM; echo ready; {LOOP}"),
            )
            .spawn();
            running.wait_for("ready");
            running.signal(signal);
            let out = running.wait();
            assert!(out.stdout.contains("stopping"), "{signal}: {out}");
            host.assert_no_pod_leaks();
        }
    }
}

#[test]
fn an_oci_image_runs_as_its_configuration_says() {
    let host = Host::new();
    let mut image = OciImage::busybox(&["-c", "echo $0 $IMAGE $(pwd) $(id -u)"]);
    image.config["Entrypoint"] = serde_json::json!(["/bin/sh"]);
    image.config["User"] = "app:app".into();
    image.config["WorkingDir"] = "/home/app".into();
    let id = host.fetch_oci(&image, "1.0");
    host.rkt(["run", "--net=none", &id])
        .run()
        .ok()
        .prints("/bin/sh oci /home/app 1000\n");
}

/// Sixteen at once: no start disturbs another.
#[test]
fn many_pods_start_at_once() {
    let host = host();
    let running: Vec<_> = (0..16)
        .map(|i| pod(&host, &[], &format!("echo {i}")).spawn())
        .collect();
    for (i, pod) in running.into_iter().enumerate() {
        pod.wait().ok().prints(&format!("{i}\n"));
    }
    host.assert_no_pod_leaks();
}

#[test]
fn an_unprivileged_user_is_refused_with_the_reason() {
    let host = host();
    // The program must be reachable for that user, wherever the tree lies. By
    // cp: a child of another test might hold it open for writing if we did it.
    let program = host.path().join("rkt");
    let copy = Cmd::new("cp").arg(tests::host::binary("rkt"));
    copy.arg(&program).run().ok();
    make_passable(host.path());
    for words in [
        &["run", "example.com/sh"][..],
        &["prepare", "example.com/sh"],
        &["run-prepared", "12345678"],
        &["rm", "12345678"],
        &["gc"],
    ] {
        Cmd::new(&program)
            .user(65534, 65534)
            .arg(format!("--dir={}", host.data().display()))
            .args(words)
            .run()
            .fails(254, words[0], &["cannot run as unprivileged user"]);
    }
}

fn make_passable(dir: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}
