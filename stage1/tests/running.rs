//! What an app is given, what it says, and how it ends.

#![allow(clippy::unwrap_used)] // In tests, helpers included.

mod common;

use std::fs;

use common::Pod;
use serde_json::json;

#[test]
fn the_status_of_the_app_is_that_of_the_pod() {
    for (script, want) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -9 $$", 9),
        ("kill -15 $$", 15),
    ] {
        let outcome = Pod::script(script).run();
        assert_eq!(outcome.code, Some(want), "{script}: {outcome:?}");
        assert_eq!(outcome.err, "", "{script}");
    }
}

#[test]
fn an_app_gets_what_the_specification_says() {
    let pod = Pod::new().app(
        "app",
        &[
            "sh",
            "-c",
            "pwd; id -u; id -g; id -G; umask; env; hostname; cat; ulimit -n",
        ],
        |spec| {
            spec["process"]["cwd"] = json!("/tmp");
            spec["process"]["env"] = json!(["PATH=/bin", "A=b c"]);
            spec["process"]["user"] =
                json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 0o027});
            spec["process"]["rlimits"] =
                json!([{"type": "RLIMIT_NOFILE", "hard": 100, "soft": 64}]);
        },
    );
    let out = pod.output();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[..5], ["/tmp", "1000", "1001", "1001 5 7", "0027"]);
    assert!(
        lines.contains(&"A=b c") && lines.contains(&"PATH=/bin"),
        "{out}"
    );
    assert!(
        lines.contains(&format!("rkt-{}", pod.uuid).as_str()),
        "{out}"
    );
    assert_eq!(lines.last(), Some(&"64"));
}

#[test]
fn a_program_that_cannot_be_executed_is_203_and_says_why() {
    let pod = |argv: &[&str]| {
        Pod::new().app("app", argv, |_| {}).with(|pod| {
            let file = |name: &str, text: &str, mode: u32| {
                use std::os::unix::fs::PermissionsExt;
                let path = pod.image().join(name);
                fs::write(&path, text).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            };
            file("bin/data", "text", 0o644);
            file("bin/script", "#!/no/such/interpreter\n", 0o755);
            file("bin/noise", "no program", 0o755);
        })
    };
    for (argv, want) in [
        (
            &["nothing"][..],
            r#"run: app "app": unable to find "nothing" in "/bin""#,
        ),
        (
            &["/bin/nothing"],
            r#"run: app "app": unable to find "/bin/nothing" in "/""#,
        ),
        (
            &["/bin/data"],
            r#"run: app "app": cannot execute "/bin/data": its mode has no execute permission"#,
        ),
        (
            &["/bin"],
            r#"run: app "app": cannot execute "/bin": it is not a regular file"#,
        ),
        (
            &["script"],
            r#"run: app "app": cannot execute "/bin/script": its interpreter "/no/such/interpreter" is missing"#,
        ),
        (
            &["noise"],
            r#"run: app "app": cannot execute "/bin/noise": it is no program for this machine, and no script with a #! line"#,
        ),
        (
            &["/proc/self/exe"],
            r#"run: app "app": cannot execute "/proc/self/exe": its symbolic links lead nowhere"#,
        ),
    ] {
        let pod = pod(argv);
        let outcome = pod.run();
        assert_eq!(
            (outcome.code, outcome.err.trim_end()),
            (Some(203), want),
            "{argv:?}"
        );
        assert_eq!(pod.status("app")["exitCode"], json!(203));
    }
}

#[test]
fn an_app_without_a_path_looks_in_the_standard_places() {
    let pod = Pod::new().app("app", &["true"], |spec| spec["process"]["env"] = json!([]));
    assert_eq!(pod.run().code, Some(0));
}

#[test]
fn a_missing_working_directory_is_said() {
    let pod = Pod::new().app("app", &["true"], |spec| {
        spec["process"]["cwd"] = json!("/no/dir")
    });
    let outcome = pod.run();
    assert_eq!(outcome.code, Some(200));
    assert_eq!(
        outcome.err,
        "run: app \"app\": cannot use the working directory \"/no/dir\": No such file or directory\n"
    );
}

#[test]
fn the_record_tells_what_happened() {
    let pod = Pod::script("exit 3");
    pod.run();
    let status = pod.status("app");
    let (started, finished) = (status["started"].as_u64(), status["finished"].as_u64());
    assert!(started.unwrap() < finished.unwrap(), "{status}");
    assert_eq!(
        (&status["exitCode"], &status["pid"]),
        (&json!(3), &json!(null))
    );
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for file in ["pid", "ppid"] {
        let process = pod.record(file);
        assert!(process["pid"].as_i64().unwrap() > 1 && process["startTime"].is_u64());
        assert_eq!(process["bootId"], json!(boot.trim()));
    }
}

#[test]
fn lines_of_several_apps_are_labelled() {
    let pod = Pod::new()
        .app("one", &["sh", "-c", "echo a; echo b >&2"], |_| {})
        .app(
            "two",
            &["sh", "-c", "echo c; printf d 2>/dev/null || echo d"],
            |_| {},
        );
    let outcome = pod.run();
    let mut lines: Vec<_> = outcome.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[one] a", "[two] c", "[two] d"], "{outcome:?}");
    assert_eq!(outcome.err, "[one] b\n");
}

#[test]
fn a_single_apps_output_passes_untouched() {
    let outcome = Pod::script("echo out; echo err >&2").run();
    assert_eq!(
        (outcome.out.as_str(), outcome.err.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn the_first_app_that_fails_ends_the_pod() {
    let pod = Pod::new()
        .app(
            "lasting",
            &[
                "sh",
                "-c",
                "trap 'exit 0' TERM; while :; do sleep 0.01; done",
            ],
            |_| {},
        )
        .app("failing", &["sh", "-c", "sleep 0.2; exit 5"], |_| {});
    let outcome = pod.run();
    assert_eq!(outcome.code, Some(5), "{outcome:?}");
    assert_eq!(pod.status("lasting")["exitCode"], json!(0));
}

#[test]
fn an_app_that_succeeds_lets_the_others_go_on() {
    let pod = Pod::new().app("short", &["true"], |_| {}).app(
        "long",
        &["sh", "-c", "sleep 0.3; echo done"],
        |_| {},
    );
    assert_eq!(pod.output(), "[long] done\n");
}

#[test]
fn what_an_app_leaves_running_ends_with_it() {
    let pod = Pod::new()
        .app("short", &["sh", "-c", "sleep 77 & echo started"], |_| {})
        .app(
            "long",
            &["sh", "-c", "sleep 0.5; ps | grep -c '[s]leep 77'; true"],
            |_| {},
        );
    let out = pod.output();
    assert!(out.contains("[short] started\n"), "{out}");
    assert!(out.contains("[long] 0\n"), "{out}");
}

#[test]
fn apps_share_processes_and_network_but_not_files() {
    let pod = Pod::new()
        .app(
            "one",
            &[
                "sh",
                "-c",
                "touch /tmp/one; readlink /proc/self/ns/net; readlink /proc/self/ns/pid; sleep 0.3",
            ],
            |_| {},
        )
        .app(
            "two",
            &[
                "sh",
                "-c",
                "sleep 0.2; ls /tmp; readlink /proc/self/ns/net; readlink /proc/self/ns/pid",
            ],
            |_| {},
        );
    let out = pod.output();
    let of = |name: &str| -> Vec<&str> {
        out.lines()
            .filter_map(|line| line.strip_prefix(name))
            .collect()
    };
    assert_eq!(of("[one] "), of("[two] "), "{out}");
}

#[test]
fn handlers_run_before_and_after_as_root_in_the_apps_files() {
    let pod = Pod::new().full_app(
        "app",
        &[
            "sh",
            "-c",
            "cat /dev/shm-like 2>/dev/null; cat /tmp/before; echo main > /dev/from-main",
        ],
        |app| {
            app["preStart"] = json!(["/bin/sh", "-c", "id -u > /tmp/before; echo pre"]);
            app["postStop"] = json!(["/bin/sh", "-c", "cat /dev/from-main; id -u; echo post"]);
            app["spec"]["process"]["user"] = json!({"uid": 0, "gid": 0});
        },
    );
    assert_eq!(pod.output(), "pre\n0\nmain\n0\npost\n");
}

#[test]
fn a_failing_pre_start_handler_keeps_the_app_from_starting() {
    let pod = Pod::new().full_app("app", &["echo", "never"], |app| {
        app["preStart"] = json!(["/bin/sh", "-c", "exit 9"]);
    });
    let outcome = pod.run();
    assert_eq!(outcome.out, "");
    assert_ne!(outcome.code, Some(0));
    assert_eq!(
        outcome.err,
        "run: app \"app\": the pre-start handler exited with status 9\n"
    );
    assert_eq!(pod.status("app")["started"], json!(null));
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_started() {
    for (field, change) in [
        (
            "linux.sysctl \"kernel.core_pattern\"",
            json!({"linux": {"sysctl": {"kernel.core_pattern": "|/x"}}}),
        ),
        ("process.args", json!({"process": {"args": []}})),
        (
            "linux.namespaces \"user\"",
            json!({"linux": {"namespaces": [{"type": "user"}]}}),
        ),
    ] {
        let pod = Pod::new().app("web", &["true"], |spec| merge(spec, &change));
        let outcome = pod.run();
        assert_eq!(outcome.code, Some(254), "{field}");
        assert!(
            outcome.err.starts_with("run: app \"web\": "),
            "{}",
            outcome.err
        );
        assert!(outcome.err.contains(field), "{}", outcome.err);
        assert_eq!(outcome.err.lines().count(), 1, "{}", outcome.err);
        assert!(!pod.directory().join("pid").exists());
    }
}

#[test]
fn a_missing_volume_is_named_and_nothing_is_left() {
    let pod = Pod::new().app("web", &["true"], |spec| {
        spec["mounts"].as_array_mut().unwrap().push(
            json!({"destination": "/data", "type": "bind", "source": "/no/such", "options": ["rbind"]}),
        );
    });
    let outcome = pod.run();
    assert_eq!(outcome.code, Some(254));
    assert_eq!(
        outcome.err,
        "run: app \"web\": cannot mount /no/such on /data: No such file or directory\n"
    );
}

#[test]
fn a_status_that_cannot_be_written_is_told_and_the_pod_goes_on() {
    let pod = Pod::script("echo out; exit 4");
    fs::create_dir(pod.directory().join("apps/app/status")).unwrap();
    let outcome = pod.run();
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(4), "out\n"));
    assert!(
        outcome
            .err
            .starts_with("run: cannot write apps/app/status: "),
        "{outcome:?}"
    );
}

#[test]
fn a_damaged_pod_file_is_said() {
    let pod = Pod::script("true");
    let mut command = pod.command();
    fs::write(pod.directory().join("engine.json"), "{").unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(254));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        err.starts_with("run: the pod's engine.json is damaged: "),
        "{err}"
    );
}

fn merge(into: &mut serde_json::Value, from: &serde_json::Value) {
    match (into, from) {
        (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
            for (key, value) in from {
                merge(
                    into.entry(key.clone()).or_insert(serde_json::Value::Null),
                    value,
                );
            }
        }
        (into, from) => *into = from.clone(),
    }
}
