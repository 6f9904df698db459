//! A pod from prepare to garbage: states, formats, and who may do what when.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::shell::{host, prepared, ran};
use tests::{Cmd, Host, Running};

fn start(host: &Host) -> (Running, String) {
    let mut running = host
        .rkt([
            "run",
            "--net=none",
            "example.com/sh",
            "--",
            "echo ready; sleep 30",
        ])
        .spawn();
    running.wait_for("ready");
    let uuid = host.last_uuid();
    (running, uuid)
}

fn directory(host: &Host, uuid: &str) -> String {
    let found: Vec<String> = host
        .pod_directories()
        .into_iter()
        .filter(|p| p.ends_with(uuid))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].split('/').next().unwrap().to_owned()
}

#[test]
fn prepare_prints_the_uuid_last_and_runs_nothing() {
    let host = host();
    let out = host
        .rkt(["prepare", "example.com/sh", "--", "echo ran"])
        .run()
        .ok();
    let uuid = out.last_line().to_owned();
    assert_eq!(uuid.len(), 36, "{out}");
    assert!(!out.stdout.contains("ran"), "{out}");
    assert_eq!(directory(&host, &uuid), "prepared");
    assert_eq!(host.state(&uuid), "prepared");
    host.assert_no_pod_leaks();
}

#[test]
fn a_prepared_pod_runs_once() {
    let host = host();
    let uuid = prepared(&host, "echo ran $AC_APP_NAME; exit 4");
    host.rkt(["run-prepared", "--net=none", &uuid[..8]])
        .run()
        .code_is(4)
        .prints("ran sh\n");
    assert_eq!(host.state(&uuid), "exited");
    host.rkt(["run-prepared", "--net=none", &uuid]).run().fails(
        254,
        "run-prepared",
        &[&uuid, "is not prepared"],
    );
}

#[test]
fn a_prepared_pod_keeps_what_prepare_was_told() {
    let host = host();
    let uuid = host
        .rkt(["prepare", "--quiet", "--set-env=A=pod", "example.com/sh"])
        .args([
            "--user=app",
            "--group=app",
            "--name=first",
            "--environment=B=app",
        ])
        .args([
            "--",
            "echo $A $B $(id -u)",
            "---",
            "example.com/sh",
            "--name=second",
        ])
        .args(["--", "echo $A $(id -u)"])
        .run()
        .ok()
        .text()
        .to_owned();
    let out = host.rkt(["run-prepared", "--net=none", &uuid]).run().ok();
    let mut lines: Vec<&str> = out.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[first] pod app 1000", "[second] pod 0"], "{out}");
}

#[test]
fn two_cannot_run_one_prepared_pod() {
    let host = host();
    let uuid = prepared(&host, "echo won; sleep 0.5");
    let both: Vec<Running> = (0..2)
        .map(|_| host.rkt(["run-prepared", "--net=none", &uuid]).spawn())
        .collect();
    let codes: Vec<Option<i32>> = both.into_iter().map(|r| r.wait().code()).collect();
    assert!(
        codes == [Some(0), Some(254)] || codes == [Some(254), Some(0)],
        "{codes:?}"
    );
}

#[test]
fn uuid_file_save_holds_the_uuid_alone() {
    let host = host();
    let file = host.path().join("uuid");
    let flag = format!("--uuid-file-save={}", file.display());
    host.rkt(["run", "--net=none", &flag, "example.com/sh", "--", "true"])
        .run()
        .ok();
    let uuid = fs::read_to_string(&file).unwrap();
    assert_eq!(uuid.len(), 36, "{uuid:?}");
    assert_eq!(host.state(&uuid), "exited");
    let flag = format!("--uuid-file={}", file.display());
    host.rkt(["rm", &flag])
        .run()
        .ok()
        .prints(&format!("\"{uuid}\"\n"));
}

mod status {
    use super::*;

    fn keys(host: &Host, uuid: &str) -> Vec<String> {
        let out = host.rkt(["status", uuid]).run().ok();
        out.stdout
            .lines()
            .map(|l| {
                l.split_once('=')
                    .unwrap_or_else(|| panic!("{out}"))
                    .0
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn tells_a_running_pod() {
        let host = host();
        let (running, uuid) = start(&host);
        // What the reference does not know stands behind.
        assert_eq!(
            keys(&host, &uuid)[..6],
            ["state", "created", "started", "networks", "pid", "exited"]
        );
        let out = host.rkt(["status", &uuid]).run().ok();
        assert!(out.stdout.contains("state=running\n"), "{out}");
        assert!(out.stdout.contains("exited=false\n"), "{out}");
        let pid: u32 = out
            .stdout
            .lines()
            .find_map(|l| l.strip_prefix("pid="))
            .and_then(|p| p.parse().ok())
            .unwrap();
        // PID 1 of the pod, as the host sees it.
        let namespace_pid = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = namespace_pid
            .lines()
            .find(|l| l.starts_with("NSpid:"))
            .unwrap();
        assert!(line.trim_end().ends_with("\t1"), "{line}");
        drop(running);
    }

    #[test]
    fn tells_an_exited_pod_with_each_apps_code() {
        let host = host();
        host.rkt(["run", "--net=none"])
            .args(["example.com/sh", "--name=a", "--", "exit 0", "---"])
            .args(["example.com/sh", "--name=b", "--", "sleep 0.2; exit 3"])
            .run()
            .code_is(3);
        let uuid = host.last_uuid();
        let out = host.rkt(["status", &uuid]).run().ok();
        for line in [
            "state=exited",
            "exited=true",
            "app-a=0",
            "app-b=3",
            "app-a-state=exited",
            "app-b-state=exited",
        ] {
            assert!(out.stdout.lines().any(|l| l == line), "no {line}: {out}");
        }
        for key in ["app-a-started", "app-a-finished", "app-b-finished"] {
            assert!(keys(&host, &uuid).iter().any(|k| k == key), "{key}: {out}");
        }
    }

    #[test]
    fn waits_for_the_end() {
        let host = host();
        let (running, uuid) = start(&host);
        host.rkt(["status", "--wait=200ms", &uuid]).run().fails(
            254,
            "status",
            &["error waiting for pod to finish"],
        );
        let waiting = host.rkt(["status", "--wait", &uuid]).spawn();
        running.signal(Signal::SIGTERM);
        running.wait();
        let out = waiting.wait().ok();
        assert!(out.stdout.contains("state=exited\n"), "{out}");
    }

    #[test]
    fn waits_until_it_is_ready() {
        let host = host();
        let (_running, uuid) = start(&host);
        let out = host.rkt(["status", "--wait-ready=10s", &uuid]).run().ok();
        assert!(out.stdout.contains("state=running\n"), "{out}");
    }

    #[test]
    fn speaks_json() {
        let host = host();
        let uuid = ran(&host, "exit 3");
        let pod = host
            .rkt(["status", "--format=json", &uuid])
            .run()
            .ok()
            .json();
        assert_eq!(pod["name"], uuid.as_str());
        assert_eq!(pod["state"], "exited");
        assert_eq!(pod["app_names"], serde_json::json!(["sh"]));
        assert_eq!(pod["apps"][0]["name"], "sh");
        assert_eq!(pod["apps"][0]["state"], "exited");
        assert_eq!(pod["apps"][0]["exit_code"], 3);
        let seconds = pod["created_at"].as_i64().unwrap();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert!(
            (0..120).contains(&(i64::try_from(now).unwrap() - seconds)),
            "{pod}"
        );
        assert!(pod["started_at"].as_i64().unwrap() >= seconds, "{pod}");
        let nanoseconds = pod["apps"][0]["created_at"].as_i64().unwrap();
        assert_eq!(nanoseconds / 1_000_000_000, seconds, "{pod}");
        let pretty = host
            .rkt(["status", "--format=json-pretty", &uuid])
            .run()
            .ok();
        assert!(pretty.stdout.starts_with("{\n\t\""), "{pretty}");
        assert_eq!(pretty.json(), pod);
    }

    #[test]
    fn a_uuid_that_is_none_is_named() {
        let host = host();
        ran(&host, "true");
        host.rkt(["status", "ffffffff"]).run().fails(
            254,
            "status",
            &["no matches found for \"ffffffff\""],
        );
        host.rkt(["status", "--format=xml", &host.last_uuid()])
            .run()
            .fails(254, "status", &["xml"]);
    }

    #[test]
    fn an_ambiguous_uuid_says_how_many() {
        let host = host();
        let uuids: Vec<String> = (0..20).map(|_| prepared(&host, "true")).collect();
        let count = |c: char| uuids.iter().filter(|u| u.starts_with(c)).count();
        let (first, n) = "0123456789abcdef"
            .chars()
            .map(|c| (c, count(c)))
            .max_by_key(|(_, n)| *n)
            .unwrap();
        host.rkt(["status", &first.to_string()]).run().fails(
            254,
            "status",
            &["ambiguous uuid", &format!("{n} matches")],
        );
    }
}

mod list {
    use super::*;

    fn row(host: &Host, flags: &[&str], uuid: &str) -> Vec<String> {
        let out = host.rkt(["list", "--no-legend"]).args(flags).run().ok();
        let line = out
            .stdout
            .lines()
            .find(|l| l.starts_with(&uuid[..8]))
            .unwrap_or_else(|| panic!("{uuid} is not listed: {out}"));
        line.split('\t')
            .filter(|c| !c.is_empty())
            .map(|c| c.trim().to_owned())
            .collect()
    }

    #[test]
    fn has_the_references_columns() {
        let host = host();
        let uuid = ran(&host, "true");
        let out = host.rkt(["list"]).run().ok();
        let header: Vec<&str> = out
            .stdout
            .lines()
            .next()
            .unwrap()
            .split('\t')
            .filter(|c| !c.is_empty())
            .map(str::trim)
            .collect();
        assert_eq!(
            header,
            [
                "UUID",
                "APP",
                "IMAGE NAME",
                "STATE",
                "CREATED",
                "STARTED",
                "NETWORKS"
            ]
        );
        let cells = row(&host, &[], &uuid);
        assert_eq!(
            cells[..4],
            [&uuid[..8], "sh", "example.com/sh:1.0.0", "exited"],
            "{cells:?}"
        );
        assert!(cells[4].ends_with("ago") || cells[4] == "now", "{cells:?}");
        let full = row(&host, &["--full"], &uuid);
        assert_eq!(full[0], uuid);
        assert!(full[3].starts_with("sha512-"), "{full:?}");
    }

    #[test]
    fn tells_every_state() {
        let host = host();
        let (running, alive) = start(&host);
        let prepared = prepared(&host, "true");
        let exited = ran(&host, "true");
        for (uuid, state) in [
            (&alive, "running"),
            (&prepared, "prepared"),
            (&exited, "exited"),
        ] {
            assert_eq!(row(&host, &[], uuid)[3], state);
        }
        host.rkt(["gc", "--mark-only"]).run().ok();
        assert_eq!(row(&host, &[], &exited)[3], "exited garbage");
        drop(running);
    }

    #[test]
    fn has_one_row_for_each_app() {
        let host = host();
        host.rkt(["run", "--net=none"])
            .args(["example.com/sh", "--name=a", "--", "true", "---"])
            .args(["example.com/sh", "--name=b", "--", "true"])
            .run()
            .ok();
        let out = host.rkt(["list", "--no-legend"]).run().ok();
        let lines: Vec<&str> = out.stdout.lines().collect();
        assert_eq!(lines.len(), 2, "{out}");
        assert!(lines[0].starts_with(&host.last_uuid()[..8]), "{out}");
        assert!(
            lines[1].starts_with(['\t', ' ']),
            "the pod stands on its first row only: {out}"
        );
    }

    #[test]
    fn speaks_json() {
        let host = host();
        host.rkt(["list", "--format=json"]).run().ok();
        let uuid = ran(&host, "exit 2");
        let pod = host.listed(&uuid);
        assert_eq!(pod["state"], "exited");
        assert_eq!(pod["apps"][0]["exit_code"], 2);
        let image = pod["apps"][0]["image_id"].as_str().unwrap();
        assert!(image.starts_with("sha512-"), "{pod}");
    }

    /// One broken pod must not hide the others.
    #[test]
    fn a_damaged_pod_hides_nothing() {
        let host = host();
        let good = ran(&host, "true");
        let bad = ran(&host, "true");
        fs::write(
            host.data().join(format!("pods/run/{bad}/pod")),
            "{ not json",
        )
        .unwrap();
        let out = host.rkt(["list"]).run().ok();
        assert!(out.stdout.contains(&good[..8]), "{out}");
        assert!(
            format!("{out}").contains(&bad[..8]),
            "the broken one is told of: {out}"
        );
    }
}

mod stop {
    use super::*;

    const STUBBORN: &str = "trap '' TERM; echo ready; while :; do sleep 0.05; done";

    fn start_script(host: &Host, script: &str) -> (Running, String) {
        let mut running = host
            .rkt(["run", "--net=none", "example.com/sh", "--", script])
            .spawn();
        running.wait_for("ready");
        let uuid = host.last_uuid();
        (running, uuid)
    }

    #[test]
    fn asks_the_apps_to_end_and_prints_the_pod() {
        let host = host();
        let (running, uuid) = start_script(
            &host,
            "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
        );
        host.rkt(["stop", &uuid[..8]])
            .run()
            .ok()
            .prints(&format!("\"{uuid}\"\n"));
        let out = running.wait().ok();
        assert!(out.stdout.contains("bye"), "{out}");
        host.rkt(["stop", &uuid])
            .run()
            .ok()
            .prints(&format!("pod \"{uuid}\" is already stopped\n"));
        host.assert_no_pod_leaks();
    }

    #[test]
    fn by_force_kills_who_does_not_listen() {
        let host = host();
        let (running, uuid) = start_script(&host, STUBBORN);
        host.rkt(["stop", "--force", &uuid]).run().ok();
        running.wait();
        assert_eq!(host.state(&uuid), "exited");
        host.rkt(["gc", "--grace-period=0s"]).run().ok();
        host.assert_no_pods();
        host.assert_no_pod_leaks();
    }

    #[test]
    fn refuses_what_never_ran_and_goes_on_with_the_others() {
        let host = host();
        let prepared = prepared(&host, "true");
        let (running, uuid) = start(&host);
        let out = host
            .rkt(["stop", "--force", &prepared, &uuid])
            .run()
            .code_is(254);
        let wanted = format!("pod \"{prepared}\" is not running");
        assert!(out.stderr.contains(&wanted), "{out}");
        assert!(out.stderr.contains("failed to stop 1 pod(s)"), "{out}");
        assert_eq!(out.stdout, format!("\"{uuid}\"\n"), "{out}");
        running.wait();
        host.rkt(["stop", "--uuid-file=/nosuch"]).run().code_is(1);
    }
}

mod rm {
    use super::*;

    #[test]
    fn removes_what_is_over_and_prints_it() {
        let host = host();
        let (exited, prepared) = (ran(&host, "true"), prepared(&host, "true"));
        let out = host.rkt(["rm", &exited, &prepared]).run().ok();
        let printed: Vec<&str> = out.stdout.lines().collect();
        assert_eq!(
            printed,
            [format!("\"{exited}\""), format!("\"{prepared}\"")],
            "{out}"
        );
        host.assert_no_pods();
    }

    #[test]
    fn refuses_a_running_pod() {
        let host = host();
        let (mut running, uuid) = start(&host);
        let out = host.rkt(["rm", &uuid]).run().code_is(254);
        assert!(
            out.stderr
                .contains(&format!("pod \"{uuid}\" is currently running")),
            "{out}"
        );
        assert!(running.is_running());
        assert_eq!(host.state(&uuid), "running");
    }

    #[test]
    fn removes_the_others_when_one_fails() {
        let host = host();
        let (_running, alive) = start(&host);
        let exited = ran(&host, "true");
        let out = host.rkt(["rm", &alive, &exited]).run().code_is(254);
        assert_eq!(out.stdout, format!("\"{exited}\"\n"), "{out}");
        assert!(
            out.stderr.contains("failed to remove one or more pods"),
            "{out}"
        );
    }
}

mod gc {
    use super::*;

    #[test]
    fn marks_then_waits_out_the_grace() {
        let host = host();
        let uuid = ran(&host, "true");
        let out = host.rkt(["gc"]).run().ok();
        assert!(
            out.stderr
                .contains(&format!("moving pod \"{uuid}\" to garbage")),
            "{out}"
        );
        assert_eq!(directory(&host, &uuid), "exited-garbage");
        assert_eq!(host.state(&uuid), "exited garbage");
        let out = host.rkt(["gc"]).run().ok();
        assert!(
            out.stderr
                .contains("not removed: still within grace period"),
            "{out}"
        );
        let out = host.rkt(["gc", "--grace-period=0s"]).run().ok();
        assert!(
            out.stdout
                .contains(&format!("Garbage collecting pod \"{uuid}\"")),
            "{out}"
        );
        host.assert_no_pods();
    }

    #[test]
    fn leaves_the_living_alone() {
        let host = host();
        let (mut running, uuid) = start(&host);
        let prepared = prepared(&host, "true");
        host.rkt(["gc", "--grace-period=0s"]).run().ok();
        assert!(running.is_running());
        assert_eq!(host.state(&uuid), "running");
        assert_eq!(host.state(&prepared), "prepared");
        host.rkt(["gc", "--expire-prepared=0s", "--grace-period=0s"])
            .run()
            .ok();
        assert_eq!(host.pod_directories(), [format!("run/{uuid}")]);
    }

    #[test]
    fn can_be_run_twice_at_once() {
        let host = host();
        for _ in 0..10 {
            ran(&host, "true");
        }
        let both: Vec<Running> = (0..4)
            .map(|_| host.rkt(["gc", "--grace-period=0s"]).spawn())
            .collect();
        for gc in both {
            gc.wait().ok();
        }
        host.rkt(["gc", "--grace-period=0s"]).run().ok();
        host.assert_no_pods();
    }

    /// What a start of another boot left cannot be alive.
    #[test]
    fn sweeps_other_boots_staging() {
        let host = host();
        let left = host
            .data()
            .join("store/staging/00000000-0000-0000-0000-000000000000/x");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("layer"), "half").unwrap();
        host.rkt(["gc"]).run().ok();
        assert!(!left.exists());
    }
}

#[test]
fn the_pod_manifest_is_the_users_truth() {
    let host = host();
    let uuid = prepared(&host, "true");
    let text = fs::read(host.data().join(format!("pods/prepared/{uuid}/pod"))).unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(manifest["acKind"], "PodManifest");
    assert_eq!(manifest["apps"][0]["name"], "sh");
    assert_eq!(
        manifest["apps"][0]["app"]["exec"],
        serde_json::json!(["/bin/sh", "-c", "true"])
    );
}

#[test]
fn verbs_may_be_shortened_and_are_explained() {
    let host = host();
    let uuid = ran(&host, "true");
    host.rkt(["stat", &uuid]).run().ok();
    let out = host.rkt(["frobnicate"]).run().code_is(254);
    assert!(
        out.stderr.contains("unknown command \"frobnicate\""),
        "{out}"
    );
    let out = host.rkt(["version"]).run().ok();
    assert!(out.stdout.starts_with("rkt Version: "), "{out}");
    assert!(out.stdout.contains("appc Version: 0.8.11"), "{out}");
    for verb in [
        "run",
        "prepare",
        "run-prepared",
        "fetch",
        "list",
        "status",
        "rm",
        "gc",
        "image",
        "trust",
    ] {
        let out = host.rkt([verb, "--help"]).run().ok();
        assert!(out.stdout.len() > 100, "{out}");
    }
    let out = Cmd::new(tests::host::binary("rkt")).run().code_is(2);
    assert!(out.stderr.contains("missing command"), "{out}");
}

#[test]
fn bash_completes_the_pods_that_the_verb_is_for() {
    let host = host();
    let (waits, ended) = (prepared(&host, "true"), ran(&host, "true"));
    let script = host.path().join("completion");
    let text = host.rkt(["completion", "bash"]).run().ok().stdout;
    fs::write(&script, text).unwrap();
    let path = tests::host::binary("rkt");
    let complete = |words: &[&str]| {
        let dir = format!("--dir={}", host.data().display());
        let line = format!(
            "PATH={}:$PATH; source {}; COMP_WORDS=(rkt {dir} {} ''); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _rkt_and_names rkt '' status; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            path.parent().unwrap().display(),
            script.display(),
            words.join(" "),
        );
        let out = Cmd::new("bash").args(["-c", &line]).run().ok();
        let lines: Vec<String> = out.stdout.lines().map(str::to_owned).collect();
        lines
    };
    let has = |words: &[&str], uuid: &String| complete(words).contains(uuid);
    assert!(has(&["run-prepared"], &waits) && !has(&["run-prepared"], &ended));
    assert!(has(&["export"], &ended) && !has(&["export"], &waits));
    assert!(has(&["status"], &ended) && has(&["rm"], &waits));
    assert!(has(&["run"], &"example.com/sh:1.0.0".to_owned()));
}
