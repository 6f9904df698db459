//! Apps that are started again, that say when they are ready, and that end
//! badly: what the pod does, and what `rkt status` tells of it.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::cmd::eventually;
use tests::shell::{app_pid, host};
use tests::{Aci, Cmd, Host};

fn pod(host: &Host, flags: &[&str], script: &str) -> Cmd {
    let mut words = vec!["run", "--net=none", "example.com/sh", "--name=app"];
    words.extend(flags);
    words.extend(["--", script]);
    host.rkt(words)
}

/// The one app of a pod, as `rkt status --format=json` tells it.
fn app(host: &Host, uuid: &str) -> Value {
    let out = host.rkt(["status", "--format=json", uuid]).run().ok();
    out.json()["apps"][0].clone()
}

fn file(host: &Host, name: &str) -> bool {
    host.data()
        .join(format!("pods/run/{}/{name}", host.last_uuid()))
        .exists()
}

/// Counts its starts in a file, then does the rest.
fn counting(rest: &str) -> String {
    format!("echo x >>/count; {rest}")
}

mod restarts {
    use super::*;

    #[test]
    fn a_failing_app_is_started_again_so_often() {
        let host = host();
        let script = counting("echo $(wc -l </count); exit 7");
        let out = pod(&host, &["--restart=on-failure:2"], &script)
            .run()
            .code_is(7);
        assert_eq!(out.stdout, "1\n2\n3\n", "{out}");
        let app = app(&host, &host.last_uuid());
        assert_eq!(app["restarts"], 2, "{app}");
        assert_eq!(app["exit_code"], 7, "{app}");
        assert_eq!(app["last_exit"]["exit_code"], 7, "{app}");
        let text = host.rkt(["status", &host.last_uuid()]).run().ok();
        assert!(text.stdout.contains("\napp-app-restarts=2\n"), "{text}");
        assert!(
            text.stdout.contains("\napp-app-last-exit=status 7\n"),
            "{text}"
        );
    }

    #[test]
    fn an_app_that_recovers_is_no_failure() {
        let host = host();
        let script = counting("test $(wc -l </count) -ge 3");
        pod(&host, &["--restart=on-failure"], &script).run().ok();
        let app = app(&host, &host.last_uuid());
        assert_eq!(
            (&app["restarts"], &app["exit_code"]),
            (&json!(2), &json!(0))
        );
        // Neither does one that ended well run again.
        pod(&host, &["--restart=on-failure"], "exit 0").run().ok();
    }

    #[test]
    fn always_means_until_it_is_stopped_and_waits_longer_each_time() {
        let host = host();
        let started = Instant::now();
        let mut running = pod(&host, &["--restart=always"], &counting("echo again")).spawn();
        eventually("four starts", || running.stdout().lines().count() >= 4);
        // 100, 200 and 400 ms lie between them.
        assert!(started.elapsed() >= Duration::from_millis(700));
        let uuid = host.last_uuid();
        host.rkt(["stop", &uuid]).run().ok();
        running.wait().ok();
        assert_eq!(host.state(&uuid), "exited");
        assert!(app(&host, &uuid).get("restarting").is_none());
    }

    #[test]
    fn what_the_last_one_left_is_gone_before_the_next() {
        let host = host();
        // Each start leaves a child that ignores SIGTERM.
        let leave = "(trap '' TERM; exec sleep 1000) & test $(wc -l </count) -ge 3 || exit 1; \
            usleep 300000; pidof sleep | wc -w";
        let out = pod(&host, &["--restart=on-failure"], &counting(leave))
            .run()
            .ok();
        assert_eq!(out.text(), "1", "{out}");
    }

    #[test]
    fn handlers_run_each_time() {
        let host = host();
        let handlers = json!([
            {"name": "pre-start", "exec": ["/bin/sh", "-c", "echo pre >>/order"]},
            {"name": "post-stop", "exec": ["/bin/sh", "-c", "echo post >>/order"]},
        ]);
        host.fetch_aci(
            &Aci::busybox("example.com/handled", &["/bin/sh", "-c"])
                .app("eventHandlers", handlers)
                .app("user", json!("1000"))
                .app("group", json!("1000")),
        );
        // The handlers are root, though the app is not.
        let script = "tr '\\n' ' ' </order; grep -c pre /order | grep -q 2";
        let out = host
            .rkt(["run", "--net=none", "example.com/handled"])
            .args(["--restart=on-failure", "--", script])
            .run()
            .ok();
        assert_eq!(out.text(), "pre pre post pre", "{out}");
        let order = host.data().join(format!(
            "pods/run/{}/apps/handled/upper/order",
            host.last_uuid()
        ));
        assert_eq!(fs::read_to_string(order).unwrap(), "pre\npost\npre\npost\n");
    }

    #[test]
    fn one_that_gives_up_ends_the_pod() {
        let host = host();
        let out = host
            .rkt([
                "run",
                "--net=none",
                "example.com/sh",
                "--name=bad",
                "--restart=on-failure:1",
            ])
            .args(["--", "exit 4", "---", "example.com/sh", "--name=good"])
            .args(["--", "exec sleep 1000"])
            .run()
            .code_is(4);
        let pod = host.listed(&host.last_uuid());
        assert_eq!(pod["apps"][0]["restarts"], 1, "{out}");
        assert_eq!(pod["apps"][1]["signal"], 15, "{out}");
    }

    #[test]
    fn what_cannot_be_executed_is_tried_and_told() {
        let host = host();
        let out = host
            .rkt(["run", "--net=none", "example.com/sh", "--exec=/no/such"])
            .args(["--restart=on-failure:1"])
            .run()
            .code_is(203);
        assert_eq!(out.stderr.matches("/no/such").count(), 2, "{out}");
        host.rkt(["run", "--net=none", "example.com/sh", "--restart=sometimes"])
            .run()
            .code_is(254);
    }

    #[test]
    fn an_entered_program_finds_the_new_process() {
        let host = host();
        let script = counting("echo up; exec sleep 1000");
        let mut running = pod(&host, &["--restart=always"], &script).spawn();
        running.wait_for("up");
        let uuid = host.last_uuid();
        let enter = |script: &str| host.rkt(["enter", &uuid, "sh", "-c", script]).run();
        enter("kill -9 $(pidof sleep)");
        eventually("the second start", || {
            app(&host, &uuid)["restarts"] == 1 && app(&host, &uuid)["state"] == "running"
        });
        assert_eq!(app(&host, &uuid)["last_exit"]["signal"], 9);
        assert_eq!(enter("wc -l </count").ok().text(), "2");
    }
}

mod readiness {
    use super::*;

    #[test]
    fn a_started_app_is_ready() {
        let host = host();
        let _running = pod(&host, &[], "exec sleep 1000").spawn();
        let uuid = host.last_uuid();
        host.rkt(["status", "--wait-ready=20s", &uuid]).run().ok();
        assert!(file(&host, "ready"));
        assert_eq!(app(&host, &uuid)["ready"], true);
    }

    #[test]
    fn a_probe_says_when() {
        let host = host();
        let flags = ["--ready=exec:/bin/test -e /tmp/ready"];
        let mut running = pod(&host, &flags, "echo up; exec sleep 1000").spawn();
        running.wait_for("up");
        let uuid = host.last_uuid();
        host.rkt(["status", "--wait-ready=300ms", &uuid])
            .run()
            .fails(254, "status", &["readiness"]);
        assert!(!file(&host, "ready"));
        host.rkt(["enter", &uuid, "touch", "/tmp/ready"]).run().ok();
        host.rkt(["status", "--wait-ready=20s", &uuid]).run().ok();
        assert_eq!(app(&host, &uuid)["ready"], true);
    }

    #[test]
    fn an_app_says_when_by_itself() {
        let host = host();
        // busybox speaks no unix datagrams, so the test speaks for the app, by
        // the socket that it sees.
        let flags = ["--ready=notify", "--user=1000"];
        let mut running = pod(&host, &flags, "echo up; exec sleep 1000").spawn();
        running.wait_for("up");
        let uuid = host.last_uuid();
        let pid = app_pid(&host, &uuid, "app");
        let socket = format!("/proc/{pid}/root/run/systemd/notify");
        let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
        sender.send_to(b"STATUS=starting", &socket).unwrap();
        assert!(!file(&host, "ready"));
        sender
            .send_to(b"STATUS=here\nREADY=1\n", Path::new(&socket))
            .unwrap();
        host.rkt(["status", "--wait-ready=20s", &uuid]).run().ok();
        let environment = host.rkt(["enter", &uuid, "env"]).run().ok();
        assert!(
            environment
                .stdout
                .contains("NOTIFY_SOCKET=/run/systemd/notify\n"),
            "{environment}"
        );
    }
}

mod stopping {
    use super::*;
    use tests::OciImage;

    /// Says which signal it got, and ends.
    const EARS: &str = "for s in INT TERM USR1 USR2; do trap \"echo $s; exit 0\" $s; done; \
        echo up; while :; do sleep 0.05; done";

    #[test]
    fn an_image_says_by_which_signal_and_a_flag_otherwise() {
        let host = host();
        let mut image = OciImage::busybox(&["/bin/sh", "-c", EARS]);
        image.config["StopSignal"] = "SIGUSR1".into();
        let id = host.fetch_oci(&image, "ears");
        for (flags, signal) in [
            (&[][..], "USR1"),
            (&["--stop-signal=USR2"], "USR2"),
            (&["--stop-signal=2"], "INT"),
        ] {
            let words = [&["run", "--net=none", &id], flags].concat();
            let mut running = host.rkt(words).spawn();
            running.wait_for("up");
            host.rkt(["stop", &host.last_uuid()]).run().ok();
            let out = running.wait().ok();
            assert_eq!(out.stdout, format!("up\n{signal}\n"), "{out}");
        }
        let mut running = pod(&host, &[], EARS).spawn();
        running.wait_for("up");
        host.rkt(["stop", &host.last_uuid()]).run().ok();
        assert_eq!(running.wait().ok().stdout, "up\nTERM\n");
        pod(&host, &["--stop-signal=SIGNOT"], "true")
            .run()
            .code_is(254);
    }

    #[test]
    fn the_last_app_goes_first_each_in_its_own_time() {
        let host = host();
        let app = |name: &str, rest: &str| {
            let script = format!("trap 'sleep 0.2; echo {name}; exit 0' TERM; {rest}");
            format!("{script}; echo up-{name}; while :; do sleep 0.05; done")
        };
        let deaf = app("deaf", "trap '' TERM");
        let mut running = host
            .rkt(["run", "--net=none", "example.com/sh", "--name=one", "--"])
            .arg(app("one", ":"))
            .args(["---", "example.com/sh", "--name=deaf", "--stop-timeout=1s"])
            .args(["--", &deaf])
            .args(["---", "example.com/sh", "--name=three", "--"])
            .arg(app("three", ":"))
            .spawn();
        for name in ["one", "deaf", "three"] {
            running.wait_for(&format!("up-{name}"));
        }
        let since = Instant::now();
        let uuid = host.last_uuid();
        host.rkt(["stop", &uuid]).run().ok();
        let out = running.wait();
        assert!(since.elapsed() < Duration::from_secs(8), "{out}");
        let said: Vec<&str> = out.stdout.lines().filter(|l| !l.contains("up-")).collect();
        assert_eq!(said, ["[three] three", "[one] one"], "{out}");
        let status = host.rkt(["status", &uuid]).run().ok();
        assert!(
            status.stdout.contains("\napp-deaf-killed=signal 9\n"),
            "{status}"
        );
    }
}

mod limits_that_cannot_be_set {
    use super::*;
    use tests::skip::skipped;

    /// rkt where the controller `memory` is not mounted.
    fn without_memory(cmd: Cmd) -> Cmd {
        let command = cmd.into_command();
        let mut outer = Cmd::new("unshare")
            .args(["--mount", "sh", "-ec"])
            .arg("umount /sys/fs/cgroup/memory; exec \"$@\"")
            .arg("sh")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            outer = outer.env(name, value.unwrap_or_default());
        }
        outer
    }

    fn limited(host: &Host) -> bool {
        if !Path::new("/sys/fs/cgroup/memory").is_dir() {
            skipped("the memory controller is not mounted on its own");
            return false;
        }
        let memory = json!([{"name": "resource/memory", "value": {"limit": "64M"}}]);
        let aci = Aci::busybox("example.com/limited", &["/bin/sh", "-c"]).app("isolators", memory);
        host.fetch_aci(&aci);
        true
    }

    #[test]
    fn of_an_image_are_told_and_kept_in_mind() {
        let host = Host::new();
        if !limited(&host) {
            return;
        }
        let words = [
            "run",
            "--net=none",
            "example.com/limited",
            "--",
            "echo here",
        ];
        let out = without_memory(host.rkt(words)).run().ok();
        assert_eq!(out.stdout, "here\n", "{out}");
        let lost = "its image's memory limit 64M is not enforced (cgroup controller \"memory\"";
        let warning = format!("run: warning: app \"limited\": {lost}");
        assert!(out.stderr.contains(&warning), "{out}");
        let status = host.rkt(["status", &host.last_uuid()]).run().ok();
        let line = format!("\napp-limited-unlimited={lost}");
        assert!(status.stdout.contains(&line), "{status}");
        let app = app(&host, &host.last_uuid());
        assert!(
            app["unlimited"][0].as_str().unwrap().contains(lost),
            "{app}"
        );
        // Where it can be set, it is.
        let out = host.rkt(words).run().ok();
        assert_eq!(out.stderr, "", "{out}");
        assert!(
            super::app(&host, &host.last_uuid())
                .get("unlimited")
                .is_none()
        );
    }

    #[test]
    fn by_a_flag_are_refused_also_those_that_the_image_has() {
        let host = Host::new();
        if !limited(&host) {
            return;
        }
        for memory in ["--memory=64M", "--memory=32M"] {
            let words = [
                "run",
                "--net=none",
                "example.com/limited",
                memory,
                "--",
                "true",
            ];
            let out = without_memory(host.rkt(words)).run().code_is(254);
            let says = "this host has no such cgroup controller";
            assert!(out.stderr.contains(says), "{out}");
            for word in ["limited", "memory"] {
                assert!(out.stderr.contains(word), "{out}");
            }
        }
        host.assert_no_pod_leaks();
    }
}

mod bad_ends {
    use super::*;

    #[test]
    fn an_oom_kill_is_told() {
        let host = host();
        let eat = "exec dd if=/dev/zero of=/dev/null bs=200M count=1";
        let out = pod(&host, &["--memory=32M"], eat).run();
        assert_eq!(out.code(), Some(9), "{out}");
        let app = app(&host, &host.last_uuid());
        assert_eq!(
            (&app["oom_killed"], &app["signal"]),
            (&json!(true), &json!(9))
        );
        let text = host.rkt(["status", &host.last_uuid()]).run().ok();
        assert!(
            text.stdout.contains("signal 9 for want of memory"),
            "{text}"
        );
    }

    #[test]
    fn an_oom_kill_of_a_child_is_told() {
        let host = host();
        let eat = "dd if=/dev/zero of=/dev/null bs=200M count=1; exit 3";
        pod(&host, &["--memory=32M"], eat).run().code_is(3);
        let app = app(&host, &host.last_uuid());
        assert_eq!(
            (&app["oom_killed"], &app["exit_code"]),
            (&json!(true), &json!(3))
        );
    }

    #[test]
    fn only_the_run_that_was_oom_killed_says_so() {
        let host = host();
        let script = counting(
            "test $(wc -l </count) -ge 2 || exec dd if=/dev/zero of=/dev/null bs=200M count=1",
        );
        pod(&host, &["--memory=32M", "--restart=on-failure"], &script)
            .run()
            .ok();
        let app = app(&host, &host.last_uuid());
        assert!(app.get("oom_killed").is_none(), "{app}");
        assert_eq!(app["last_exit"]["oom_killed"], true, "{app}");
    }

    /// Forks until it is stopped; each child forks too. A limit of the pod's
    /// own keeps the machine usable.
    const BOMB: &str = "echo up; b() { b | b & }; b; while :; do sleep 1; done";

    #[test]
    fn an_app_that_forks_wildly_is_stopped() {
        let host = host();
        let mut running = pod(&host, &[], BOMB).spawn();
        running.wait_for("up");
        limit_processes(&host, 200);
        std::thread::sleep(Duration::from_millis(300));
        host.rkt(["stop", "--force", &host.last_uuid()]).run().ok();
        running.wait();
        host.assert_no_pod_leaks();
    }

    #[test]
    fn an_app_that_forks_wildly_is_cleared_away_for_its_restart() {
        let host = host();
        let script = counting(
            "test $(wc -l </count) -ge 2 && exit 0; until test -e /go; do sleep 0.05; done; \
             b() { b | b & }; b; sleep 0.3; exit 1",
        );
        let running = pod(&host, &["--restart=on-failure"], &script).spawn();
        let uuid = host.last_uuid();
        eventually("the app", || app(&host, &uuid)["state"] == "running");
        limit_processes(&host, 200);
        host.rkt(["enter", &uuid, "touch", "/go"]).run().ok();
        running.wait().ok();
        host.assert_no_pod_leaks();
    }

    fn limit_processes(host: &Host, most: u32) {
        let uuid = host.last_uuid();
        let record = host.data().join(format!("pods/run/{uuid}/cgroup"));
        eventually("the pod's cgroups", || record.exists());
        let cgroups = fs::read_to_string(record).unwrap();
        let limited = cgroups
            .lines()
            .filter(|dir| fs::write(Path::new(dir).join("pids.max"), most.to_string()).is_ok());
        assert_eq!(limited.count(), 1, "{cgroups}");
    }

    #[test]
    fn an_app_that_closes_its_descriptors_runs_on() {
        let host = host();
        let running = pod(&host, &[], "exec 0<&- 1>&- 2>&-; sleep 0.3; exit 5").spawn();
        running.wait().code_is(5);
    }

    #[test]
    fn a_killed_supervisor_takes_the_apps_along_and_gc_cleans() {
        let host = host();
        let mut running = pod(&host, &["--restart=always"], "echo up; exec sleep 1000").spawn();
        running.wait_for("up");
        let uuid = host.last_uuid();
        let pid = app_pid(&host, &uuid, "app");
        running.signal(Signal::SIGKILL);
        running.wait();
        eventually("the app to die", || {
            !Path::new(&format!("/proc/{pid}")).exists()
        });
        assert_eq!(host.state(&uuid), "exited");
        assert_eq!(app(&host, &uuid)["state"], "exited");
        assert!(app(&host, &uuid).get("restarting").is_none());
        host.rkt(["gc", "--grace-period=0s"]).run().ok();
        host.assert_no_pod_leaks();
        host.assert_no_pods();
    }

    #[test]
    fn a_killed_init_ends_the_pod_and_is_told() {
        let host = host();
        let mut running = pod(&host, &["--restart=always"], "echo up; exec sleep 1000").spawn();
        running.wait_for("up");
        let uuid = host.last_uuid();
        let file = host.data().join(format!("pods/run/{uuid}/pid"));
        eventually("PID 1 to be known", || file.exists());
        let init: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let init = i32::try_from(init["pid"].as_i64().unwrap()).unwrap();
        kill(Pid::from_raw(init), Signal::SIGKILL).unwrap();
        let out = running.wait().code_is(9);
        assert!(out.stderr.contains("init was killed by signal 9"), "{out}");
        let app = app(&host, &uuid);
        assert_eq!(
            (&app["state"], &app["signal"]),
            (&json!("exited"), &json!(9))
        );
        host.assert_no_pod_leaks();
    }
}
