//! `rkt app update`: other limits for an app that runs.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::path::Path;

use tests::cmd::eventually;
use tests::shell::host;
use tests::{Host, Output};

/// A running pod of one app with these flags.
fn running(host: &Host, flags: &[&str]) -> String {
    let mut words = vec!["run", "--net=none", "--detach", "example.com/sh"];
    words.extend(flags);
    words.extend(["--", "sleep 1000"]);
    host.rkt(words).run().ok().text().to_owned()
}

fn update(host: &Host, uuid: &str, flags: &[&str]) -> Output {
    let words = ["app", "update", uuid, "--app=sh"];
    host.rkt(words).args(flags).run()
}

/// What the app's cgroup says in the first of these files that is there.
fn limit(host: &Host, uuid: &str, files: &[&str]) -> String {
    let record = host.data().join("pods/run").join(uuid).join("cgroup");
    let record = fs::read_to_string(record).unwrap();
    let mut found = record.lines().flat_map(|pod| {
        let app = Path::new(pod).join("sh");
        files.iter().map(move |file| app.join(file))
    });
    let file = found.find(|file| file.exists());
    let file = file.unwrap_or_else(|| panic!("none of {files:?} in {record}"));
    fs::read_to_string(file).unwrap().trim().to_owned()
}

fn memory(host: &Host, uuid: &str) -> String {
    limit(host, uuid, &["memory.limit_in_bytes", "memory.max"])
}

fn manifest(host: &Host, uuid: &str) -> String {
    let out = host.rkt(["cat-manifest", "--pretty-print=false", uuid]);
    out.run().ok().text().to_owned()
}

fn stop(host: &Host, uuid: &str) {
    host.rkt(["stop", uuid]).run().ok();
    eventually("the pod is over", || host.state(uuid) == "exited");
}

#[test]
fn limits_change_while_the_app_runs_and_are_told() {
    let host = host();
    let uuid = running(&host, &["--memory=64Mi", "--cpu=500m"]);
    let process = |uuid: &str| host.listed(uuid)["started_at"].clone();
    let started = process(&uuid);
    assert_eq!(memory(&host, &uuid), (64 << 20).to_string());
    update(&host, &uuid, &["--memory=128Mi", "--cpu=1500m"]).ok();
    assert_eq!(memory(&host, &uuid), (128 << 20).to_string());
    let quota = limit(&host, &uuid, &["cpu.cfs_quota_us", "cpu.max"]);
    assert_eq!(quota.split(' ').next(), Some("150000"));
    // It is the same process, and the manifest tells the new limits.
    assert_eq!(process(&uuid), started);
    let text = manifest(&host, &uuid);
    assert!(
        text.contains("\"128Mi\"") && !text.contains("\"64Mi\""),
        "{text}"
    );
    assert!(text.contains("\"1500m\""), "{text}");
    // What is not named stays.
    update(&host, &uuid, &["--memory=96Mi"]).ok();
    assert_eq!(limit(&host, &uuid, &["cpu.cfs_quota_us", "cpu.max"]), quota);
    assert_eq!(memory(&host, &uuid), (96 << 20).to_string());
    // Who enters is an app's process still.
    host.rkt(["enter", &uuid, "/bin/true"]).run().ok();
    stop(&host, &uuid);
}

#[test]
fn what_cannot_be_set_changes_nothing() {
    let host = host();
    let uuid = running(&host, &["--memory=64Mi"]);
    let before = manifest(&host, &uuid);
    let refused = |flags: &[&str], words: &[&str]| {
        let out = update(&host, &uuid, flags);
        assert_eq!(out.code(), Some(254), "{out}");
        for word in words {
            assert!(out.stderr.contains(word), "{word}: {out}");
        }
        assert_eq!(manifest(&host, &uuid), before);
        assert_eq!(memory(&host, &uuid), (64 << 20).to_string());
    };
    refused(&[], &["must provide a limit"]);
    refused(&["--memory=16"], &["memory limit of 16 bytes too low"]);
    refused(&["--memory=lots"], &["--memory"]);
    refused(&["--cpu-shares=1"], &["--cpu-shares"]);
    // cgroup v1 has an app in the hierarchies only that it was started in.
    if Path::new("/sys/fs/cgroup/cpu/cpu.shares").exists() {
        let words = ["app \"sh\"", "cpu", "started without"];
        refused(&["--memory=80Mi", "--cpu=500m"], &words);
    }
    let words = ["app", "update", &uuid, "--app=other", "--memory=80Mi"];
    host.rkt(words)
        .run()
        .fails(254, "update", &["nonexistent app \"other\""]);
    stop(&host, &uuid);
    let out = update(&host, &uuid, &["--memory=80Mi"]);
    assert!(out.stderr.contains("isn't currently running"), "{out}");
}
