//! Pods whose apps come and go while they run.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::json;
use tests::cmd::eventually;
use tests::{Aci, Host, Output, Running};

fn host() -> Host {
    let host = Host::new();
    host.fetch_aci(&Aci::busybox("example.com/sh", &["/bin/sh", "-c"]));
    host
}

/// A running pod without apps.
struct Sandbox<'a> {
    host: &'a Host,
    uuid: String,
    supervisor: Running,
}

impl<'a> Sandbox<'a> {
    fn new(host: &'a Host, flags: &[&str]) -> Self {
        let file = host
            .path()
            .join(format!("uuids/sandbox-{}", host.pod_directories().len()));
        let supervisor = host
            .rkt(["app", "sandbox", "--net=none"])
            .args(flags)
            .arg(format!("--uuid-file-save={}", file.display()))
            .spawn();
        eventually("the UUID", || fs::read(&file).is_ok_and(|b| b.len() == 36));
        let uuid = fs::read_to_string(file).unwrap();
        host.rkt(["status", "--wait-ready=20s", &uuid]).run().ok();
        Self {
            host,
            uuid,
            supervisor,
        }
    }

    fn add(&self, name: &str, flags: &[&str], script: &str) -> Output {
        self.host
            .rkt(["app", "add", &self.uuid, "example.com/sh"])
            .arg(format!("--name={name}"))
            .args(flags)
            .args(["--", script])
            .run()
    }

    fn app(&self, verb: &str, name: &str) -> Output {
        self.host
            .rkt(["app", verb, &self.uuid, &format!("--app={name}")])
            .run()
    }

    fn list(&self) -> String {
        let out = self
            .host
            .rkt(["app", "list", "--no-legend", &self.uuid])
            .run()
            .ok();
        let words: Vec<&str> = out.stdout.split_whitespace().collect();
        words.join(" ")
    }

    fn path(&self) -> PathBuf {
        self.host.data().join("pods/run").join(&self.uuid)
    }

    fn stop(self) -> Output {
        self.host.rkt(["stop", &self.uuid]).run().ok();
        self.supervisor.wait()
    }
}

#[test]
fn apps_come_and_go() {
    let host = host();
    let mut pod = Sandbox::new(&host, &[]);
    assert_eq!(pod.list(), "");
    pod.add("one", &[], "echo first; exec sleep 1000").ok();
    assert_eq!(pod.list(), "one created");
    pod.app("start", "one").ok();
    pod.supervisor.wait_for("[one] first");
    assert_eq!(pod.list(), "one running");
    // To start what runs changes nothing.
    pod.app("start", "one").ok();
    pod.add("two", &["--user=1000"], "echo second; exit 3").ok();
    pod.app("start", "two").ok();
    pod.supervisor.wait_for("[two] second");
    eventually("its end", || pod.list() == "one running two exited");
    let two = pod.app("status", "two").ok();
    assert!(two.stdout.contains("\nexit_code=3\n"), "{two}");
    // A failure ends nobody else. The app can be started again.
    pod.app("start", "two").ok();
    pod.app("stop", "one").ok();
    eventually("both ends", || pod.list() == "one exited two exited");
    pod.app("stop", "one")
        .fails(254, "stop", &["\"one\" is not running"]);
    pod.app("rm", "two").ok();
    assert_eq!(pod.list(), "one exited");
    assert!(!pod.path().join("apps/two").exists());
    pod.app("start", "one").ok();
    assert_eq!(pod.list(), "one running");
    let uuid = pod.uuid.clone();
    pod.stop().ok();
    assert_eq!(host.state(&uuid), "exited");
    host.assert_no_pod_leaks();
}

#[test]
fn an_added_app_has_the_walls_of_any_app() {
    let host = host();
    let mut pod = Sandbox::new(&host, &["--hostname=tern"]);
    let script = "hostname; cat /etc/hostname; ls /proc/self/fd | tr '\\n' ' '; echo; \
        grep -E 'CapBnd|Seccomp:|NoNew' /proc/self/status; \
        for n in pid ipc uts net; do readlink /proc/self/ns/$n; done; \
        cat /proc/self/cgroup; stat -c '%a %n' /tmp; echo end; exec sleep 1000";
    pod.add("a", &["--memory=32M"], script).ok();
    pod.app("start", "a").ok();
    pod.supervisor.wait_for("[a] end");
    let added = pod.supervisor.stdout();
    // The same app in a pod of its own.
    let mut plain = host
        .rkt([
            "run",
            "--net=none",
            "--hostname=tern",
            "example.com/sh",
            "--name=a",
        ])
        .args(["--memory=32M", "--", script])
        .spawn();
    plain.wait_for("end");
    let own = plain.stdout();
    let facts = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|l| l.trim_start_matches("[a] ").to_owned());
        lines.filter(|l| !l.contains(":[")).collect()
    };
    assert_eq!(facts(&added), facts(&own));
    // It shares what apps of a pod share, and is in cgroups of the pod.
    pod.add(
        "b",
        &[],
        "for n in pid ipc uts net; do readlink /proc/self/ns/$n; done; \
        echo x >/dev/shm/x; echo end; exec sleep 1000",
    )
    .ok();
    pod.app("start", "b").ok();
    pod.supervisor.wait_for("[b] end");
    let all = pod.supervisor.stdout();
    let namespaces = |app: &str| -> Vec<String> {
        let lines = all.lines().filter_map(|l| l.strip_prefix(app));
        lines
            .filter(|l| l.contains(":["))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(namespaces("[a] ").len(), 4, "{all}");
    assert_eq!(namespaces("[a] "), namespaces("[b] "));
    host.rkt(["enter", "--app=a", &pod.uuid, "cat", "/dev/shm/x"])
        .run()
        .ok()
        .prints("x\n");
    let eat = "exec dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null";
    let out = host
        .rkt(["enter", "--app=a", &pod.uuid, "sh", "-c", eat])
        .run();
    assert_eq!(out.signal(), Some(9), "{out}");
    pod.stop().ok();
}

#[test]
fn an_added_app_has_its_volumes_handlers_and_policy() {
    let host = host();
    let handlers = json!([
        {"name": "pre-start", "exec": ["/bin/sh", "-c", "echo pre >>/data/order"]},
        {"name": "post-stop", "exec": ["/bin/sh", "-c", "echo post >>/data/order"]},
    ]);
    host.fetch_aci(
        &Aci::busybox("example.com/full", &["/bin/sh", "-c"])
            .app("eventHandlers", handlers)
            .app("mountPoints", json!([{"name": "data", "path": "/data"}])),
    );
    let pod = Sandbox::new(&host, &[]);
    host.rkt(["app", "add", &pod.uuid, "example.com/full", "--name=full"])
        .args(["--restart=on-failure:1", "--", "exit 6"])
        .run()
        .ok();
    pod.app("start", "full").ok();
    let restarted = || {
        let out = host
            .rkt(["app", "status", &pod.uuid, "--app=full", "--format=json"])
            .run()
            .ok()
            .json();
        out["restarts"] == 1 && out["state"] == "exited"
    };
    eventually("two failures", restarted);
    let order = pod.path().join("volumes/full-data/order");
    let both = "pre\npost\npre\npost\n";
    eventually("the handlers", || {
        fs::read_to_string(&order).unwrap() == both
    });
    pod.stop().ok();
}

#[test]
fn what_is_wrong_is_said_and_changes_nothing() {
    let host = host();
    let pod = Sandbox::new(&host, &[]);
    pod.add("a", &[], "exit 0").ok();
    pod.add("a", &[], "exit 0")
        .fails(254, "add", &["multiple apps with name a"]);
    pod.app("start", "b")
        .fails(254, "start", &["nonexistent app \"b\""]);
    pod.app("rm", "b")
        .fails(254, "rm", &["nonexistent app \"b\""]);
    pod.app("status", "b")
        .fails(1, "status", &["cannot find app \"b\""]);
    pod.add("c", &["--exec=/no/such"], "x").ok();
    pod.app("start", "c").fails(254, "start", &["/no/such"]);
    assert_eq!(pod.list(), "a created c exited");
    host.rkt(["app", "add", &pod.uuid, "example.com/none"])
        .run()
        .code_is(254);
    let mut plain = host
        .rkt([
            "run",
            "--net=none",
            "example.com/sh",
            "--",
            "echo up; exec sleep 1000",
        ])
        .spawn();
    plain.wait_for("up");
    let uuid = host.last_uuid();
    eventually("it to be known", || {
        host.rkt(["status", &uuid]).run().stdout.contains("pid=")
    });
    host.rkt(["app", "add", &uuid, "example.com/sh"])
        .run()
        .fails(254, "add", &["immutable pod"]);
    host.rkt(["app", "stop", &uuid, "--app=sh"])
        .run()
        .fails(254, "stop", &["immutable"]);
    pod.stop().ok();
}

#[test]
fn what_a_dead_command_left_makes_room() {
    let host = host();
    let pod = Sandbox::new(&host, &[]);
    // Killed before the manifest was written.
    fs::create_dir_all(pod.path().join("apps/a/upper/etc")).unwrap();
    fs::write(pod.path().join("apps/a/app.json"), "{").unwrap();
    assert_eq!(pod.list(), "");
    pod.add("a", &[], "exec sleep 1000").ok();
    pod.app("start", "a").ok();
    assert_eq!(pod.list(), "a running");
    pod.stop().ok();
}

#[test]
fn commands_at_once_take_turns() {
    let host = host();
    let pod = Sandbox::new(&host, &[]);
    let adding: Vec<Running> = (0..8)
        .map(|n| {
            host.rkt(["app", "add", &pod.uuid, "example.com/sh"])
                .arg(format!("--name=app{n}"))
                .args(["--", "exec sleep 1000"])
                .spawn()
        })
        .collect();
    for command in adding {
        command.wait().ok();
    }
    let starting: Vec<Running> = (0..8)
        .map(|n| {
            host.rkt(["app", "start", &pod.uuid, &format!("--app=app{n}")])
                .spawn()
        })
        .collect();
    for command in starting {
        command.wait().ok();
    }
    assert_eq!(pod.list().matches("running").count(), 8, "{}", pod.list());
    pod.stop().ok();
    host.assert_no_pod_leaks();
}

#[test]
fn a_killed_supervisor_takes_added_apps_along() {
    let host = host();
    let pod = Sandbox::new(&host, &[]);
    pod.add("a", &["--restart=always"], "exec sleep 1000").ok();
    pod.app("start", "a").ok();
    let status = fs::read(pod.path().join("apps/a/status")).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    let process = format!("/proc/{}", status["pid"]);
    pod.supervisor.signal(Signal::SIGKILL);
    eventually("the app to die", || !Path::new(&process).exists());
    eventually("the pod to be over", || host.state(&pod.uuid) == "exited");
    host.rkt(["app", "start", &pod.uuid, "--app=a"])
        .run()
        .fails(254, "start", &["isn't currently running"]);
    host.rkt(["app", "rm", &pod.uuid, "--app=a"]).run().ok();
    assert_eq!(pod.list(), "");
    host.rkt(["gc", "--grace-period=0s"]).run().ok();
    host.assert_no_pod_leaks();
}
