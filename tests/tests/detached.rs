//! Pods that outlive the command that started them, and their logs.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::os::fd::AsRawFd;
use std::process::Stdio;

use tests::shell::{detached, host};
use tests::{Cmd, Host, Output};

fn detach(host: &Host, flags: &[&str], script: &str) -> Cmd {
    let mut words = vec!["run", "--detach", "--net=none"];
    words.extend(flags);
    words.extend(["example.com/sh", "--", script]);
    host.rkt(words)
}

fn supervisor(host: &Host, uuid: &str) -> i32 {
    let file = host.data().join("pods/run").join(uuid).join("ppid");
    let text = fs::read_to_string(file).unwrap();
    let process: serde_json::Value = serde_json::from_str(&text).unwrap();
    process["pid"].as_i64().unwrap().try_into().unwrap()
}

fn wait(host: &Host, uuid: &str) -> Output {
    host.rkt(["status", "--wait=30s", uuid]).run().ok()
}

fn logs(host: &Host, flags: &[&str], uuid: &str) -> Output {
    let words = ["logs"].iter().chain(flags).copied().chain([uuid]);
    host.rkt(words).run().ok()
}

mod starting {
    use super::*;

    #[test]
    fn prints_the_uuid_when_the_app_runs_and_leaves_nothing_of_the_caller() {
        let host = host();
        // A descriptor that a careless shell would hand down.
        let careless = fs::File::open("/etc/passwd").unwrap();
        nix::fcntl::fcntl(
            &careless,
            nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
        )
        .unwrap();
        let uuid = detached(&host, "echo here; sleep 60");
        assert_eq!((uuid.len(), uuid.as_str()), (36, host.last_uuid().as_str()));
        assert_eq!(host.state(&uuid), "running");
        let pid = supervisor(&host, &uuid);
        let proc = format!("/proc/{pid}");
        let stat = fs::read_to_string(format!("{proc}/stat")).unwrap();
        let fields: Vec<i32> = stat.rsplit_once(')').unwrap().1[3..]
            .split(' ')
            .take(5)
            .map(|field| field.parse().unwrap())
            .collect();
        let [parent, group, session, terminal] = fields[..4] else {
            unreachable!()
        };
        assert_ne!(parent, std::process::id() as i32);
        assert_eq!((group, session, terminal), (pid, pid, 0), "{stat}");
        let pod = host
            .data()
            .canonicalize()
            .unwrap()
            .join("pods/run")
            .join(&uuid);
        assert_eq!(fs::read_link(format!("{proc}/cwd")).unwrap(), pod);
        for entry in fs::read_dir(format!("{proc}/fd")).unwrap() {
            let link = fs::read_link(entry.unwrap().path()).unwrap();
            let text = link.to_string_lossy().into_owned();
            let own = text == "/dev/null"
                || link.starts_with(&pod)
                || ["pipe:", "socket:", "anon_inode:", "/sys/fs/cgroup"]
                    .iter()
                    .any(|kind| text.starts_with(kind));
            assert!(own, "the supervisor holds {text}");
        }
        drop(careless);
        host.rkt(["stop", "--force", &uuid]).run().ok();
        host.assert_no_pod_leaks();
    }

    #[test]
    fn several_apps_run_when_it_returns() {
        let host = host();
        let out = host
            .rkt([
                "run",
                "--detach",
                "--net=none",
                "example.com/sh",
                "--name=a",
            ])
            .args([
                "--",
                "sleep 60",
                "---",
                "example.com/sh",
                "--name=b",
                "--",
                "sleep 61",
            ])
            .run()
            .ok();
        let uuid = out.text().to_owned();
        let listed = host.listed(&uuid);
        for app in listed["apps"].as_array().unwrap() {
            assert_eq!(app["state"], "running", "{listed}");
        }
        host.rkt(["stop", &uuid]).run().ok();
        wait(&host, &uuid);
    }

    #[test]
    fn a_program_that_is_missing_is_told_at_once() {
        let host = host();
        let out = detach(&host, &[], "true").run().ok();
        wait(&host, out.text());
        host.rkt([
            "run",
            "--detach",
            "--net=none",
            "example.com/sh",
            "--exec=/bin/nosuch",
        ])
        .run()
        .fails(203, "run", &["did not start", "/bin/nosuch"]);
        let uuid = host.last_uuid();
        assert_eq!(host.state(&uuid), "exited");
    }

    #[test]
    fn a_pod_that_cannot_be_made_is_told() {
        let host = host();
        detach(&host, &["--interactive"], "true")
            .run()
            .fails(254, "run", &["cannot be detached"]);
        detach(&host, &["--log-size=1"], "true")
            .run()
            .fails(254, "run", &["--log-size=16Mi"]);
        host.assert_no_pod_leaks();
    }

    #[test]
    fn a_prepared_pod_too() {
        let host = host();
        let out = host
            .rkt([
                "prepare",
                "--quiet",
                "example.com/sh",
                "--",
                "echo said; exit 3",
            ])
            .run()
            .ok();
        let uuid = out.text().to_owned();
        host.rkt(["run-prepared", "--detach", "--net=none", &uuid])
            .run()
            .ok()
            .prints(&format!("{uuid}\n"));
        let status = wait(&host, &uuid);
        assert!(status.stdout.contains("app-sh=3\n"), "{status}");
        logs(&host, &[], &uuid).prints("said\n");
    }

    #[test]
    fn its_callers_pipes_are_not_held() {
        let host = host();
        // Cmd::run waits for the end of both pipes, and fails if they stay open.
        let uuid = detached(&host, "exec sleep 60");
        let mut command = detach(&host, &[], "sleep 60").into_command();
        let (reader, writer) = std::io::pipe().unwrap();
        let fd = writer.as_raw_fd();
        let status = command
            .stdout(writer)
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success() && fd > 2);
        drop(command);
        let said = std::io::read_to_string(reader).unwrap();
        assert_eq!(said.trim().len(), 36);
        host.rkt(["stop", "--force", &uuid, said.trim()]).run().ok();
        host.assert_no_pod_leaks();
    }
}

mod reading {
    use super::*;

    #[test]
    fn both_streams_in_order_with_times_and_as_json() {
        let host = host();
        let uuid = detached(
            &host,
            "echo one; sleep .1; echo two >&2; sleep .1; printf three",
        );
        wait(&host, &uuid);
        logs(&host, &[], &uuid[..8]).prints("one\ntwo\nthree\n");
        logs(&host, &["--lines=1"], &uuid).prints("three\n");
        let timed = logs(&host, &["--timestamps"], &uuid);
        for (line, text) in timed.stdout.lines().zip(["one", "two", "three"]) {
            let (time, rest) = line.split_once(' ').unwrap();
            assert!(time.ends_with('Z') && time.len() == 30, "{timed}");
            assert_eq!(rest, text);
        }
        let json = logs(&host, &["--format=json"], &uuid);
        let lines: Vec<serde_json::Value> = json
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[1]["stream"], "stderr");
        assert_eq!(
            (&lines[2]["message"], &lines[2]["app"]),
            (&"three".into(), &"sh".into())
        );
        let second = lines[1]["time"].as_str().unwrap();
        let since = format!("--since={second}");
        logs(&host, &[&since], &uuid).prints("two\nthree\n");
        logs(&host, &["--since=1h"], &uuid).prints("one\ntwo\nthree\n");
    }

    #[test]
    fn several_apps_are_told_apart_and_one_can_be_asked_for() {
        let host = host();
        let out = host
            .rkt([
                "run",
                "--detach",
                "--net=none",
                "example.com/sh",
                "--name=a",
            ])
            .args(["--", "echo A", "---", "example.com/sh", "--name=b", "--"])
            .arg("sleep .2; echo B")
            .run()
            .ok();
        let uuid = out.text().to_owned();
        wait(&host, &uuid);
        logs(&host, &[], &uuid).prints("[a] A\n[b] B\n");
        logs(&host, &["--app=b"], &uuid).prints("B\n");
        host.rkt(["logs", "--app=c", &uuid])
            .run()
            .fails(254, "logs", &["no app \"c\"", "a, b"]);
    }

    #[test]
    fn following_ends_with_the_pod() {
        let host = host();
        let uuid = detached(&host, "for i in 1 2 3 4 5; do echo $i; sleep .1; done");
        logs(&host, &["--follow"], &uuid).prints("1\n2\n3\n4\n5\n");
    }

    #[test]
    fn no_line_is_lost_and_the_files_stay_small() {
        let host = host();
        let script = "i=0; while [ $i -lt 40000 ]; do echo line number $i; i=$((i+1)); done";
        let all = detached(&host, script);
        let few = detach(&host, &["--log-size=128Ki"], script).run().ok();
        let few = few.text().to_owned();
        let followed = logs(&host, &["--follow"], &all);
        assert_eq!(followed.stdout.lines().count(), 40000);
        wait(&host, &few);
        let kept = logs(&host, &[], &few);
        let first = kept.stdout.lines().next().unwrap();
        let first: usize = first.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(first > 30000, "{first}");
        let expected: Vec<String> = (first..40000).map(|i| format!("line number {i}")).collect();
        assert!(kept.stdout.lines().eq(expected), "a gap in what was kept");
        let app = host.data().join("pods/run").join(&few).join("apps/sh");
        for file in ["log", "log.1"] {
            assert!(fs::metadata(app.join(file)).unwrap().len() <= 64 << 10);
        }
    }

    #[test]
    fn a_pod_in_the_foreground_keeps_none() {
        let host = host();
        host.rkt(["run", "--net=none", "example.com/sh", "--", "echo x"])
            .run()
            .ok();
        host.rkt(["logs", &host.last_uuid()]).run().fails(
            254,
            "logs",
            &["keeps no logs", "--detach"],
        );
    }
}
