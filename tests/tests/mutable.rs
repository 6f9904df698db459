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
use tests::shell::host;
use tests::{Aci, Host, Output, Running};

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

mod volumes {
    use super::*;

    fn lines(pod: &mut Sandbox, app: &str) -> Vec<String> {
        let prefix = format!("[{app}] ");
        let all = pod.supervisor.stdout();
        let lines = all.lines().filter_map(|line| line.strip_prefix(&prefix));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn of_the_pod_are_shared_and_of_an_app_its_own() {
        let host = host();
        let source = host.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), "of the host\n").unwrap();
        let shared = ["--volume=shared,kind=empty,mode=1777"];
        let mut pod = Sandbox::new(&host, &shared);
        let own = format!(
            "--mnt-volume=name=own,kind=host,source={},target=/own,readOnly=true",
            source.display()
        );
        let add = |name: &str, mount: &str, script: &str| {
            let words = ["app", "add", mount, &pod.uuid, "example.com/sh"];
            host.rkt(words)
                .arg(format!("--name={name}"))
                .args(["--mount=volume=shared,target=/shared", "--", script])
                .run()
                .ok();
        };
        let script = "cat /own/file; touch /own/x || echo read-only; echo from a >/shared/a; \
            echo end; exec sleep 1000";
        add("a", &own, script);
        let scratch = "--mnt-volume=scratch,kind=empty,mode=0700,uid=5,target=/scratch";
        let script = "cat /shared/a; stat -c '%a %u' /scratch; touch /scratch/was-here; \
            ls /own 2>/dev/null; echo end; exec sleep 1000";
        add("b", scratch, script);
        for app in ["a", "b"] {
            pod.app("start", app).ok();
            pod.supervisor.wait_for(&format!("[{app}] end"));
        }
        assert_eq!(lines(&mut pod, "a"), ["of the host", "read-only", "end"]);
        assert_eq!(lines(&mut pod, "b"), ["from a", "700 5", "end"]);
        // What is mounted is told.
        let told = pod.app("status", "a").ok().stdout;
        let line = told
            .lines()
            .find_map(|l| l.strip_prefix("mounts="))
            .unwrap();
        let data = pod.path().canonicalize().unwrap();
        let expected = [
            format!(
                "{}:/shared:(read_only:false)",
                data.join("volumes/shared").display()
            ),
            format!("{}:/own:(read_only:true)", source.display()),
        ];
        assert_eq!(line.split(',').collect::<Vec<_>>(), expected);
        // A volume of an app alone goes with it, one of the pod stays.
        let volumes = pod.path().join("volumes");
        assert!(volumes.join("b-scratch/was-here").exists());
        pod.app("rm", "b").ok();
        assert!(!volumes.join("b-scratch").exists());
        assert!(volumes.join("shared/a").exists());
        pod.stop().ok();
    }

    #[test]
    fn that_are_not_there_are_named() {
        let host = host();
        let pod = Sandbox::new(&host, &[]);
        let add = |words: &[&str]| {
            let fixed = ["app", "add", &pod.uuid];
            host.rkt([&fixed[..], words].concat()).run()
        };
        let mount = "--mount=volume=none,target=/x";
        add(&["example.com/sh", mount]).fails(254, "add", &["/x", "\"none\" not found"]);
        let gone = "--mnt-volume=name=v,kind=host,source=/no/such,target=/x";
        add(&[gone, "example.com/sh"]).fails(254, "add", &["/no/such"]);
        add(&["--name=x", "example.com/sh"]).fails(254, "add", &["must follow its image"]);
        assert_eq!(pod.list(), "");
        assert!(!pod.path().join("apps/sh").exists());
        pod.stop().ok();
    }
}

#[test]
fn an_added_app_is_told_about_like_any() {
    let host = host();
    let flags = ["--user-label=tier=back", "--annotation=example.com/a=b"];
    let mut pod = Sandbox::new(&host, &flags);
    let words = [
        "--user-annotation=who=me",
        "--user-label=a=1",
        "--user-label=b=2",
    ];
    pod.add("a", &words, "echo up; exec sleep 1000").ok();
    pod.app("start", "a").ok();
    pod.supervisor.wait_for("[a] up");
    let told = pod.app("status", "a").ok();
    assert!(
        told.stdout
            .contains("\nuser_annotations=who=me\nuser_labels=a=1,b=2\nready=true\n"),
        "{told}"
    );
    let listed = host
        .rkt(["app", "list", "--format=json", &pod.uuid])
        .run()
        .ok();
    let one = host
        .rkt(["app", "status", "--app=a", "--format=json", &pod.uuid])
        .run()
        .ok()
        .json();
    let listed = listed.json()[0].clone();
    for key in ["name", "state", "image_id", "user_labels", "started_at"] {
        assert_eq!(listed[key], one[key], "{key}");
    }
    let manifest = host.rkt(["cat-manifest", &pod.uuid]).run().ok().json();
    assert_eq!(manifest["userLabels"], json!({"tier": "back"}));
    let annotation = json!({"name": "example.com/a", "value": "b"});
    assert!(
        manifest["annotations"]
            .as_array()
            .unwrap()
            .contains(&annotation)
    );
    pod.stop().ok();
}

#[test]
fn an_added_app_is_asked_to_stop_by_its_own_signal() {
    let host = host();
    let mut pod = Sandbox::new(&host, &[]);
    let script =
        "trap 'echo told; exit 5' USR1; trap '' TERM; echo up; while :; do sleep 0.1; done";
    pod.add("a", &["--stop-signal=SIGUSR1"], script).ok();
    let deaf = "trap '' TERM; echo up; while :; do sleep 0.1; done";
    pod.add("b", &["--stop-timeout=1s"], deaf).ok();
    for app in ["a", "b"] {
        pod.app("start", app).ok();
        pod.supervisor.wait_for(&format!("[{app}] up"));
    }
    pod.app("stop", "a").ok();
    assert!(pod.supervisor.stdout().contains("[a] told"));
    assert!(
        pod.app("status", "a")
            .ok()
            .stdout
            .contains("\nexit_code=5\n")
    );
    let since = std::time::Instant::now();
    pod.app("stop", "b").ok();
    let took = since.elapsed();
    assert!((800..5000).contains(&took.as_millis()), "{took:?}");
    assert!(pod.app("status", "b").ok().stdout.contains("\nsignal=9\n"));
    pod.stop().ok();
}

#[test]
fn a_pod_that_unpacks_unpacks_added_apps_too() {
    let host = host();
    let mut pod = Sandbox::new(&host, &["--no-overlay"]);
    pod.add("a", &[], "echo x >/new; echo up; exec sleep 1000")
        .ok();
    pod.app("start", "a").ok();
    pod.supervisor.wait_for("[a] up");
    assert!(pod.path().join("apps/a/rootfs/new").exists());
    pod.stop().ok();
}

#[test]
fn an_image_that_would_not_be_let_in_is_not_added() {
    let host = host();
    let pod = Sandbox::new(&host, &[]);
    let rules = json!({"rktKind": "trust", "rktVersion": "v1", "rules": [
        {"prefix": "example.com/sh", "level": "reject"},
    ]});
    fs::create_dir_all(host.config().join("trust.d")).unwrap();
    fs::write(host.config().join("trust.d/r.json"), rules.to_string()).unwrap();
    pod.add("a", &[], "exit 0").code_is(254);
    assert_eq!(pod.list(), "");
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

/// A file with the UUID stands for it wherever one is meant.
#[test]
fn the_uuid_may_be_in_a_file() {
    let host = host();
    let pod = Sandbox::new(&host, &[]);
    let file = host.path().join("uuid");
    fs::write(&file, format!(" {}\n", pod.uuid)).unwrap();
    let by_file = format!("--uuid-file={}", file.display());
    let rkt = |words: &[&str]| host.rkt(words.iter().copied()).run();
    let script = "echo x >/x; exec sleep 1000";
    rkt(&[
        "app",
        "add",
        &by_file,
        "example.com/sh",
        "--name=a",
        "--",
        script,
    ])
    .ok();
    rkt(&["app", "start", &by_file, "--app=a"]).ok();
    let list = rkt(&["app", "list", "--no-legend", &by_file]).ok();
    assert!(list.stdout.starts_with('a'), "{list}");
    let status = rkt(&["app", "status", &by_file, "--app=a"]).ok();
    assert!(status.stdout.contains("state=running"), "{status}");
    let enter = ["enter", "--app=a", &by_file, "echo", "in"];
    rkt(&enter).ok().prints("in\n");
    rkt(&["attach", "--mode=list", &by_file]).ok();
    rkt(&["status", &by_file]).ok();
    rkt(&["app", "stop", &by_file, "--app=a"]).ok();
    rkt(&["stop", &by_file]).ok();
    pod.supervisor.wait().ok();
    let image = host.path().join("a.aci");
    rkt(&["export", &by_file, &image.to_string_lossy()]).ok();
    assert!(image.exists());
    rkt(&["app", "rm", &by_file, "--app=a"]).ok();
    rkt(&["cat-manifest", &by_file]).ok();
    let prepared = tests::shell::prepared(&host, "echo ran");
    fs::write(&file, &prepared).unwrap();
    let words = ["run-prepared", "--net=none", &by_file];
    rkt(&words).ok().prints("ran\n");
    rkt(&["rm", &by_file]).ok();
    fs::remove_file(&file).unwrap();
    rkt(&["enter", &by_file, "true"]).fails(254, "enter", &["cannot read the UUID"]);
}
