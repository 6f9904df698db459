//! Pods in trouble: broken, cut off, fought over, and on disks that are full or
//! must not be written.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::Host;
use tests::cmd::eventually;
use tests::shell::{self, detached, host, prepared, ran};

fn directory(host: &Host, uuid: &str) -> PathBuf {
    let found = host
        .pod_directories()
        .into_iter()
        .find(|p| p.ends_with(uuid));
    host.data().join("pods").join(found.unwrap())
}

fn supervisor(host: &Host, uuid: &str) -> Pid {
    let text = fs::read_to_string(directory(host, uuid).join("ppid")).unwrap();
    let process: serde_json::Value = serde_json::from_str(&text).unwrap();
    Pid::from_raw(process["pid"].as_i64().unwrap() as i32)
}

fn row(host: &Host, uuid: &str) -> String {
    let out = host.rkt(["list", "--no-legend"]).run().ok();
    let row = out.stdout.lines().find(|line| line.starts_with(&uuid[..8]));
    row.unwrap_or_else(|| panic!("not listed: {out}"))
        .to_owned()
}

mod broken {
    use super::*;

    /// Every file of a pod, missing and damaged: it is listed with the reason,
    /// the others are as they were, and it can be removed.
    #[test]
    fn whatever_is_damaged_is_listed_and_removed() {
        let host = host();
        let good = ran(&host, "true");
        for file in [
            "pod",
            "engine.json",
            "ppid",
            "pid",
            "cgroup",
            "apps/sh/status",
        ] {
            for text in [None, Some(""), Some("{ not json"), Some("\u{0}\u{7}[]")] {
                let bad = ran(&host, "exit 3");
                let path = directory(&host, &bad).join(file);
                match text {
                    Some(text) => fs::write(&path, text).unwrap(),
                    None => fs::remove_file(&path).unwrap(),
                }
                let what = format!("{file} as {text:?}");
                let state = if file == "pod" { "broken" } else { "exited" };
                assert!(
                    row(&host, &bad).contains(state),
                    "{what}: {}",
                    row(&host, &bad)
                );
                assert!(row(&host, &good).contains("exited"), "{what}");
                let listed = host.listed(&bad);
                assert_eq!(listed["state"], state, "{what}");
                let reader = !matches!(file, "engine.json" | "cgroup" | "ppid");
                if reader && (text.is_some() || file == "pod") {
                    let errors = listed["errors"].to_string();
                    assert!(errors.contains(file), "{what}: {listed}");
                }
                host.rkt(["rm", "--force", &bad]).run().ok();
                assert!(!host.pod_directories().iter().any(|p| p.ends_with(&bad)));
            }
        }
        host.assert_no_pod_leaks();
    }

    #[test]
    fn what_is_no_directory_is_listed_and_removed() {
        let host = host();
        let good = ran(&host, "true");
        let runs = host.data().join("pods/run");
        let (file, link) = (
            "aaaaaaaa-0000-4000-8000-000000000001",
            "bbbbbbbb-0000-4000-8000-000000000001",
        );
        fs::write(runs.join(file), "").unwrap();
        std::os::unix::fs::symlink("/etc", runs.join(link)).unwrap();
        for bad in [file, link] {
            assert!(row(&host, bad).contains("broken"));
            assert!(host.listed(bad)["errors"][0].is_string());
            host.rkt(["status", bad]).run().fails(254, "status", &[bad]);
            host.rkt(["rm", "--force", bad])
                .run()
                .ok()
                .prints(&format!("\"{bad}\"\n"));
        }
        assert!(row(&host, &good).contains("exited"));
        assert!(fs::metadata("/etc/passwd").is_ok());
    }

    #[test]
    fn gc_takes_it_too() {
        let host = host();
        let bad = ran(&host, "true");
        fs::remove_file(directory(&host, &bad).join("pod")).unwrap();
        host.rkt(["gc", "--grace-period=0s"]).run().ok();
        host.assert_no_pods();
    }
}

mod cut_off {
    use super::*;

    #[test]
    fn a_killed_supervisor_is_told_and_cleaned_up() {
        let host = host();
        let uuid = detached(&host, "sleep 60");
        kill(supervisor(&host, &uuid), Signal::SIGKILL).unwrap();
        eventually("the pod's end", || host.state(&uuid) == "exited");
        let status = host.rkt(["status", &uuid]).run().ok();
        assert!(
            status.stdout.contains("reason=supervisor killed\n"),
            "{status}"
        );
        assert!(row(&host, &uuid).contains("exited: supervisor killed"));
        host.rkt(["rm", &uuid]).run().ok();
        host.assert_no_pod_leaks();
    }

    /// What a pod's directory looks like after the host lost power.
    #[test]
    fn a_restart_of_the_host_is_told_and_no_recycled_pid_believed() {
        let host = host();
        let uuid = detached(&host, "sleep 60");
        kill(supervisor(&host, &uuid), Signal::SIGKILL).unwrap();
        eventually("the pod's end", || host.state(&uuid) == "exited");
        let mut innocent = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        for file in ["pid", "ppid"] {
            let process = serde_json::json!({
                "pid": innocent.id(), "startTime": 1, "bootId": "00000000-0000-4000-8000-000000000000",
            });
            fs::write(directory(&host, &uuid).join(file), process.to_string()).unwrap();
        }
        assert!(row(&host, &uuid).contains("exited: host restarted"));
        assert_eq!(host.listed(&uuid)["reason"], "host restarted");
        host.rkt(["stop", "--force", &uuid]).run().ok();
        host.rkt(["rm", "--force", &uuid]).run().ok();
        assert!(
            innocent.try_wait().unwrap().is_none(),
            "a stranger was killed"
        );
        innocent.kill().unwrap();
        innocent.wait().unwrap();
    }

    #[test]
    fn a_stopped_starter_blocks_nobody() {
        let host = host();
        let fast = prepared(&host, "true");
        let mut stopped = None;
        // Somewhere between the making of the directory and the pod's life.
        for delay in [1, 3, 5, 8, 12] {
            let running = host
                .rkt(["run", "--net=none", "example.com/sh", "--", "sleep 60"])
                .spawn();
            std::thread::sleep(std::time::Duration::from_millis(delay));
            running.signal(Signal::SIGSTOP);
            host.rkt(["list"]).run().ok();
            host.rkt(["gc", "--grace-period=0s"]).run().ok();
            host.rkt(["status", &fast]).run().ok();
            running.signal(Signal::SIGCONT);
            stopped = Some(running);
        }
        drop(stopped);
    }
}

mod contended {
    use super::*;

    #[test]
    fn every_verb_refuses_the_states_that_are_not_its() {
        let host = host();
        let (prepared, running, exited) = (
            prepared(&host, "true"),
            detached(&host, "sleep 60"),
            ran(&host, "true"),
        );
        let refused = |words: &[&str], says: &[&str]| {
            host.rkt(words).run().fails(254, words[0], says);
        };
        for uuid in [&running, &exited] {
            refused(
                &["run-prepared", "--net=none", uuid],
                &[uuid, "is not prepared"],
            );
        }
        let out = host.rkt(["stop", &prepared]).run().code_is(254);
        assert!(out.stderr.contains("is not running"), "{out}");
        let out = host.rkt(["rm", &running]).run().code_is(254);
        assert!(out.stderr.contains("currently running"), "{out}");
        for uuid in [&prepared, &running] {
            refused(&["export", uuid, "/tmp/never.aci"], &["is not exited"]);
        }
        refused(&["logs", &prepared], &["keeps no logs"]);
        host.rkt(["stop", &exited])
            .run()
            .ok()
            .prints(&format!("pod \"{exited}\" is already stopped\n"));
        host.rkt(["rm", "--force", &running]).run().ok();
        host.assert_no_pod_leaks();
    }

    #[test]
    fn two_commands_on_one_pod_end_as_one() {
        let host = host();
        for _ in 0..8 {
            let uuid = ran(&host, "true");
            let both = [["rm", &uuid], ["rm", &uuid]].map(|words| host.rkt(words).spawn());
            let outs = both.map(tests::Running::wait);
            assert!(
                outs.iter().any(|out| out.code() == Some(0)),
                "{}{}",
                outs[0],
                outs[1]
            );
            assert!(!host.pod_directories().iter().any(|p| p.ends_with(&uuid)));
        }
        for _ in 0..4 {
            let uuid = detached(&host, "sleep 60");
            let both = [vec!["stop", "--force", &uuid], vec!["rm", "--force", &uuid]]
                .map(|words| host.rkt(words).spawn());
            let outs = both.map(tests::Running::wait);
            assert_eq!(outs[1].code(), Some(0), "{}{}", outs[0], outs[1]);
        }
        host.assert_no_pods();
        host.assert_no_pod_leaks();
    }

    /// Up to where `run-prepared` moves the pod, it can be killed and tried again.
    #[test]
    fn a_run_that_was_cut_off_can_be_tried_again() {
        let host = host();
        let uuid = prepared(&host, "true");
        for delay in [5, 10, 15, 20, 30] {
            let running = host.rkt(["run-prepared", "--net=none", &uuid]).spawn();
            std::thread::sleep(std::time::Duration::from_millis(delay));
            running.signal(Signal::SIGKILL);
            running.wait();
            if host.state(&uuid) != "prepared" {
                return;
            }
        }
        host.rkt(["run-prepared", "--net=none", &uuid]).run().ok();
    }

    #[test]
    fn gc_leaves_pods_that_start_alone() {
        let host = host();
        let starts: Vec<_> = (0..12)
            .map(|i| {
                let script = format!("echo {i}");
                let start = host
                    .rkt(["run", "--net=none", "example.com/sh", "--", &script])
                    .spawn();
                if i % 2 == 0 {
                    host.rkt(["gc", "--grace-period=0s", "--expire-prepared=0s"])
                        .run()
                        .ok();
                }
                (i, start)
            })
            .collect();
        for (i, start) in starts {
            start.wait().ok().prints(&format!("{i}\n"));
        }
    }
}

mod disks {
    use super::*;

    #[test]
    fn a_full_disk_is_told_and_leaves_nothing_half_made() {
        let host = Host::on_tmpfs("24M");
        host.fetch_aci(&shell::image());
        let exited = ran(&host, "true");
        let logging = detached(
            &host,
            "while :; do echo a line that fills the disk; sleep .01; done",
        );
        let ending = detached(&host, "sleep 2; exit 3");
        let filler = host.data().join("filler");
        let _full = fs::write(&filler, vec![0; 32 << 20]);
        for words in [
            &["run", "--net=none", "example.com/sh", "--", "true"][..],
            &["prepare", "example.com/sh", "--", "true"],
        ] {
            host.rkt(words)
                .run()
                .fails(254, words[0], &["no space left"]);
        }
        host.rkt(["list"]).run().ok();
        assert_eq!(host.state(&exited), "exited");
        assert_eq!(host.state(&logging), "running");
        // Its supervisor can neither write down the end nor say so in its log.
        eventually("the end of an app", || host.state(&ending) == "exited");
        let cgroups = fs::read_to_string(directory(&host, &ending).join("cgroup")).unwrap();
        for cgroup in cgroups.lines() {
            assert!(!PathBuf::from(cgroup).exists(), "left behind: {cgroup}");
        }
        host.rkt(["rm", &exited]).run().ok();
        host.rkt(["stop", "--force", &logging]).run().ok();
        fs::remove_file(filler).unwrap();
        host.rkt(["gc", "--grace-period=0s"]).run().ok();
        host.assert_no_pods();
    }

    #[test]
    fn on_a_read_only_disk_pods_can_be_looked_at() {
        let host = Host::on_tmpfs("32M");
        host.fetch_aci(&shell::image());
        let exited = ran(&host, "exit 4");
        let prepared = prepared(&host, "true");
        let remount = |flags: MsFlags| {
            let none: Option<&str> = None;
            mount(none, host.data(), none, MsFlags::MS_REMOUNT | flags, none).unwrap();
        };
        remount(MsFlags::MS_RDONLY);
        assert_eq!(host.listed(&exited)["apps"][0]["exit_code"], 4);
        assert_eq!(host.state(&prepared), "prepared");
        host.rkt(["cat-manifest", &exited]).run().ok();
        for words in [
            &["run", "--net=none", "example.com/sh", "--", "true"][..],
            &["run-prepared", "--net=none", &prepared],
            &["prepare", "example.com/sh", "--", "true"],
        ] {
            host.rkt(words)
                .run()
                .fails(254, words[0], &["read-only file system"]);
        }
        let out = host.rkt(["rm", &exited]).run().code_is(254);
        assert!(
            out.stderr.to_lowercase().contains("read-only file system"),
            "{out}"
        );
        let out = host.rkt(["gc"]).run();
        assert!(
            out.stderr.to_lowercase().contains("read-only file system"),
            "{out}"
        );
        remount(MsFlags::empty());
        host.rkt(["rm", &exited, &prepared]).run().ok();
    }
}
