//! Limits, on the cgroup version that this host has.

#![allow(clippy::unwrap_used)] // In tests, helpers included.

mod common;

use std::fs;

use common::{Pod, legacy};
use serde_json::{Value, json};

fn limited(script: &str, resources: Value) -> Pod {
    Pod::new().app("app", &["sh", "-c", script], |spec| {
        let into = spec["linux"]["resources"].as_object_mut().unwrap();
        into.extend(resources.as_object().unwrap().clone());
    })
}

#[test]
fn every_limit_is_what_the_kernel_holds() {
    let rows = [
        (
            json!({"memory": {"limit": 33554432}}),
            "memory",
            "memory.limit_in_bytes",
            "33554432",
            "memory.max",
            "33554432",
        ),
        (
            json!({"pids": {"limit": 17}}),
            "pids",
            "pids.max",
            "17",
            "pids.max",
            "17",
        ),
        (
            json!({"cpu": {"quota": 50000, "period": 100000}}),
            "cpu",
            "cpu.cfs_quota_us",
            "50000",
            "cpu.max",
            "50000 100000",
        ),
        (
            json!({"cpu": {"shares": 512}}),
            "cpu",
            "cpu.shares",
            "512",
            "cpu.weight",
            "20",
        ),
        (
            json!({"cpu": {"cpus": "0"}}),
            "cpuset",
            "cpuset.cpus",
            "0",
            "cpuset.cpus",
            "0",
        ),
    ];
    for (resources, controller, v1_file, v1, v2_file, v2) in rows {
        let (root, file, want) = match legacy(controller) {
            Some(root) => (root, v1_file, v1),
            None => ("/sys/fs/cgroup".into(), v2_file, v2),
        };
        let pod = limited("while :; do sleep 0.01; done", resources);
        let running = pod.spawn();
        let app = pod.started("app");
        let cgroup = root.join("rkt").join(&pod.uuid).join("app");
        let got = fs::read_to_string(cgroup.join(file)).unwrap();
        assert_eq!(got.trim(), want, "{file}");
        let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        assert!(
            members.lines().any(|line| line == app.to_string()),
            "{file}: {members}"
        );
        running.signal(libc::SIGTERM);
        running.end();
        assert!(!cgroup.exists());
    }
}

#[test]
fn a_fork_bomb_stops_at_its_limit() {
    let out = limited(
        "n=0; while [ $n -lt 30 ]; do sleep 1 & n=$((n+1)); done 2>/dev/null; echo $n",
        json!({"pids": {"limit": 8}}),
    )
    .run();
    assert_ne!(out.out, "30\n", "{out:?}");
}

#[test]
fn an_app_that_takes_too_much_memory_is_told_plainly() {
    let pod = limited(
        "x=a; while :; do x=$x$x; done",
        json!({"memory": {"limit": 8388608, "swap": 8388608}}),
    );
    let outcome = pod.run();
    assert_eq!(outcome.code, Some(9), "{outcome:?}");
    assert_eq!(pod.status("app")["oomKilled"], json!(true));
}

#[test]
fn a_limit_that_the_host_has_not_is_refused() {
    let pod = limited(
        "true",
        json!({"rdma": {"no_such_device": {"hcaHandles": 1}}}),
    );
    if fs::read_to_string("/proc/cgroups")
        .unwrap()
        .contains("rdma")
    {
        eprintln!("skipped: this kernel has the rdma controller");
        return;
    }
    let outcome = pod.run();
    assert_eq!(outcome.code, Some(254));
    assert!(
        outcome.err.contains("no such cgroup controller"),
        "{outcome:?}"
    );
}

#[test]
fn a_value_that_the_kernel_refuses_is_named_and_nothing_is_left() {
    let pod = limited("true", json!({"cpu": {"cpus": "4000-5000"}}));
    let outcome = pod.run();
    assert_eq!(outcome.code, Some(254), "{outcome:?}");
    assert!(
        outcome.err.contains("cpuset.cpus to \"4000-5000\""),
        "{outcome:?}"
    );
}

#[test]
fn a_hard_limit_that_cannot_be_raised_is_named() {
    let pod = Pod::new().app("app", &["true"], |spec| {
        spec["process"]["rlimits"] =
            json!([{"type": "RLIMIT_NOFILE", "hard": 1u64 << 40, "soft": 10}]);
    });
    let outcome = pod.run();
    assert_eq!(outcome.code, Some(254), "{outcome:?}");
    assert!(outcome.err.contains("Nofile"), "{outcome:?}");
}

#[test]
fn an_app_sees_its_own_cgroup_as_the_top() {
    let pod = Pod::new().app(
        "app",
        &["sh", "-c", "cat /proc/self/cgroup; ls -d /sys/fs/cgroup/*"],
        |spec| {
            spec["mounts"].as_array_mut().unwrap().push(json!(
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                 "options": ["ro", "nosuid", "nodev", "noexec"]}
            ));
        },
    );
    let out = pod.output();
    assert!(!out.contains(&pod.uuid), "{out}");
    assert!(out.contains("/sys/fs/cgroup/"), "{out}");
}
