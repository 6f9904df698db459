//! What the flags of `run` and `prepare` do to a pod, seen from inside the app
//! and in the pod's manifest. Environment, users and working directory are in
//! `run.rs`.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;

use serde_json::{Value, json};
use tests::{Aci, Host, Output};

fn host() -> (Host, String) {
    let host = Host::new();
    let id = host.fetch_aci(
        &Aci::busybox("example.com/sh", &["/bin/sh", "-c"])
            .app("mountPoints", json!([{"name": "data", "path": "/data"}]))
            .app("userAnnotations", json!({"image": "yes"}))
            .app("userLabels", json!({"image": "yes"}))
            .app("environment", json!([{"name": "FROM", "value": "image"}])),
    );
    (host, id)
}

/// Pod flags, app flags and the script of the one app.
fn run(host: &Host, pod: &[&str], app: &[&str], script: &str) -> Output {
    let words = ["run", "--net=none"]
        .iter()
        .chain(pod)
        .chain(&["example.com/sh"]);
    let words = words.chain(app).copied().chain(["--", script]);
    host.rkt(words).run()
}

fn manifest(host: &Host, uuid: &str) -> Value {
    host.rkt(["cat-manifest", uuid]).run().ok().json()
}

#[test]
fn annotations_and_labels() {
    let (host, _) = host();
    let flags = [
        "--annotation=example.com/a=1",
        "--user-annotation=mine=2",
        "--user-label=team=b c",
    ];
    run(&host, &[], &flags, "true").ok();
    let uuid = host.last_uuid();
    let app = &manifest(&host, &uuid)["apps"][0];
    let annotation = json!({"name": "example.com/a", "value": "1"});
    assert!(
        app["annotations"].as_array().unwrap().contains(&annotation),
        "{app}"
    );
    assert_eq!(app["app"]["userAnnotations"], json!({"mine": "2"}));
    assert_eq!(app["app"]["userLabels"], json!({"team": "b c"}));
    let listed = &host.listed(&uuid)["apps"][0];
    assert_eq!(listed["user_labels"], json!({"team": "b c"}));
    run(&host, &[], &[], "true").ok();
    let app = &manifest(&host, &host.last_uuid())["apps"][0]["app"];
    assert_eq!(
        app["userLabels"],
        json!({"image": "yes"}),
        "the image's stay"
    );
    run(&host, &[], &["--annotation=Not An Identifier=x"], "true").code_is(254);
}

#[test]
fn volumes_and_mounts() {
    let (host, _) = host();
    let shared = host.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "hello\n").unwrap();
    let volume = format!("--volume=data,kind=host,source={}", shared.display());
    run(
        &host,
        &[&volume],
        &[],
        "cat /data/file; echo back > /data/new",
    )
    .ok()
    .prints("hello\n");
    assert_eq!(fs::read_to_string(shared.join("new")).unwrap(), "back\n");
    let read_only = format!("{volume},readOnly=true");
    run(&host, &[&read_only], &[], "touch /data/x").code_is(1);
    // For every app, and for one, which wins at the same place.
    let other = "--volume=other,kind=empty,mode=0711,uid=5,gid=6";
    let mounts = ["--mount=volume=data,target=/m"];
    let out = host
        .rkt([
            "run",
            "--net=none",
            &volume,
            other,
            mounts[0],
            "example.com/sh",
            "--name=a",
        ])
        .args([
            "--mount=volume=other,target=/m",
            "--",
            "stat -c '%a %u %g' /m",
            "---",
        ])
        .args(["example.com/sh", "--name=b", "--", "cat /m/file"])
        .run()
        .ok();
    assert!(out.stdout.contains("[a] 711 5 6\n"), "{out}");
    assert!(out.stdout.contains("[b] hello\n"), "{out}");
    run(&host, &[], &["--mount=volume=nosuch,target=/m"], "true").fails(
        254,
        "run",
        &["dangling mount point \"/m\"", "\"nosuch\" not found"],
    );
    run(&host, &[&volume, &volume], &[], "true").fails(
        254,
        "run",
        &["duplicate volume name \"data\""],
    );
}

#[test]
fn the_root_can_be_read_only() {
    let (host, _) = host();
    run(&host, &[], &["--readonly-rootfs=true"], "touch /x").code_is(1);
    run(&host, &[], &["--readonly-rootfs=false"], "touch /x").ok();
    let volume = "--volume=data,kind=empty";
    run(
        &host,
        &[volume],
        &["--readonly-rootfs=true"],
        "touch /data/x",
    )
    .ok();
}

#[test]
fn isolators() {
    let (host, _) = host();
    let flags = [
        "--memory=64M",
        "--cpu=500m",
        "--cpu-shares=512",
        "--oom-score-adj=77",
        "--caps-retain=CAP_KILL,CAP_CHOWN",
        "--seccomp=mode=remove,errno=EPERM,mkdir,mkdirat",
    ];
    let script = "cat /proc/self/oom_score_adj; grep CapBnd /proc/self/status; mkdir /x 2>&1";
    let out = run(&host, &[], &flags, script).code_is(1);
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(lines[0], "77", "{out}");
    assert!(lines[1].ends_with("0000000000000021"), "{out}");
    assert!(lines[2].contains("not permitted"), "{out}");
    let isolators = &manifest(&host, &host.last_uuid())["apps"][0]["app"]["isolators"];
    let names: Vec<&str> = isolators
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["name"].as_str().unwrap())
        .collect();
    for name in [
        "resource/memory",
        "resource/cpu",
        "os/linux/cpu-shares",
        "os/linux/oom-score-adj",
    ] {
        assert!(names.contains(&name), "{isolators}");
    }
    let both = ["--caps-retain=CAP_KILL", "--caps-remove=CAP_CHOWN"];
    run(&host, &[], &both, "true").fails(254, "run", &["cannot use both"]);
}

#[test]
fn environment_of_one_app_and_of_all() {
    let (host, _) = host();
    let file = host.path().join("env");
    fs::write(&file, "# comment\nFROM_FILE=file\nFROM=file\n").unwrap();
    let from_file = format!("--set-env-file={}", file.display());
    let show = "echo $FROM $FROM_FILE $INHERITED";
    run(&host, &[], &[], show).ok().prints("image\n");
    run(&host, &[], &["--environment=FROM=app"], show)
        .ok()
        .prints("app\n");
    run(&host, &[&from_file], &["--environment=FROM=app"], show)
        .ok()
        .prints("file file\n");
    run(
        &host,
        &[&from_file, "--set-env=FROM=set"],
        &["--environment=FROM=app"],
        show,
    )
    .ok()
    .prints("set file\n");
    host.rkt([
        "run",
        "--net=none",
        "--inherit-env",
        "example.com/sh",
        "--",
        show,
    ])
    .env("INHERITED", "caller")
    .env("FROM", "caller")
    .run()
    .ok()
    .prints("image caller\n");
}

#[test]
fn flags_need_an_image_before_them() {
    let (host, _) = host();
    for flag in [
        "--exec=/bin/sh",
        "--name=x",
        "--user=0",
        "--environment=A=b",
        "--memory=64M",
    ] {
        let out = host
            .rkt(["run", "--net=none", flag, "example.com/sh"])
            .run()
            .code_is(254);
        assert!(out.stderr.contains("must follow an image"), "{flag}: {out}");
    }
    let out = host.rkt(["run", "--net=none"]).run().code_is(254);
    assert!(
        out.stderr.contains("must provide at least one image"),
        "{out}"
    );
    let twice = [
        "run",
        "--net=none",
        "example.com/sh",
        "--",
        "true",
        "---",
        "example.com/sh",
    ];
    host.rkt(twice)
        .run()
        .fails(254, "run", &["multiple apps with name sh", "--name"]);
}

mod a_pod_manifest {
    use super::*;

    fn write(host: &Host, manifest: &Value) -> String {
        let file = host.path().join("pod.json");
        fs::write(&file, serde_json::to_vec_pretty(manifest).unwrap()).unwrap();
        format!("--pod-manifest={}", file.display())
    }

    fn example(id: &str) -> Value {
        json!({
            "acVersion": "0.8.11", "acKind": "PodManifest",
            "apps": [
                {"name": "first", "image": {"id": id},
                 "app": {"exec": ["/bin/sh", "-c", "echo one $X; cat /v/f"], "user": "0", "group": "0",
                         "environment": [{"name": "X", "value": "2"}]},
                 "mounts": [{"volume": "v", "path": "/v"}],
                 "annotations": [{"name": "a", "value": "b"}]},
                {"name": "second", "image": {"id": id},
                 "app": {"exec": ["/bin/sh", "-c", "id -u"], "user": "7", "group": "7"}},
            ],
            "volumes": [{"name": "v", "kind": "host", "source": "/etc", "readOnly": true}],
            "annotations": [{"name": "pod", "value": "mine"}],
        })
    }

    #[test]
    fn is_run_to_the_letter() {
        let (host, id) = host();
        let mut pod = example(&id);
        let source = host.path().join("v");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("f"), "volume\n").unwrap();
        pod["volumes"][0]["source"] = source.to_str().unwrap().into();
        let flag = write(&host, &pod);
        let out = host.rkt(["run", "--net=none", &flag]).run().ok();
        for line in ["[first] one 2", "[first] volume", "[second] 7"] {
            assert!(out.stdout.lines().any(|l| l == line), "{line}: {out}");
        }
        let uuid = host.last_uuid();
        let stored = host.data().join("pods/run").join(&uuid).join("pod");
        let given = fs::read(host.path().join("pod.json")).unwrap();
        assert_eq!(fs::read(stored).unwrap(), given, "stored as it was given");
        assert_eq!(manifest(&host, &uuid)["annotations"][0]["value"], "mine");
        let uuid = host
            .rkt(["prepare", "--quiet", &flag])
            .run()
            .ok()
            .text()
            .to_owned();
        host.rkt(["run-prepared", "--net=none", &uuid]).run().ok();
    }

    #[test]
    fn goes_with_nothing_that_changes_it() {
        let (host, id) = host();
        let flag = write(&host, &example(&id));
        for more in [
            "example.com/sh",
            "--volume=v,kind=empty",
            "--set-env=A=b",
            "--inherit-env",
            "--pull-policy=never",
            "--mount=volume=v,target=/x",
        ] {
            host.rkt(["run", "--net=none", &flag, more]).run().fails(
                254,
                "run",
                &["conflicting flags set with --pod-manifest"],
            );
        }
    }

    #[test]
    fn that_cannot_be_run_says_why() {
        let (host, id) = host();
        let mut twice = example(&id);
        twice["apps"][1]["name"] = "first".into();
        let mut unknown = example(&id);
        unknown["apps"][0]["image"]["id"] = format!("sha512-{}", "0".repeat(128)).into();
        let mut kind = example(&id);
        kind["acKind"] = "ImageManifest".into();
        for (pod, says) in [
            (twice, "first"),
            (unknown, "sha512-000000000000"),
            (kind, "acKind"),
        ] {
            let flag = write(&host, &pod);
            host.rkt(["run", "--net=none", &flag])
                .run()
                .fails(254, "run", &[says]);
        }
        host.rkt(["run", "--net=none", "--pod-manifest=/nosuch"])
            .run()
            .fails(254, "run", &["/nosuch", "no such file"]);
        host.assert_no_pods();
    }
}

#[test]
fn the_uuid_is_saved_before_anything_can_fail() {
    let (host, _) = host();
    let file = host.path().join("uuid");
    let flag = format!("--uuid-file-save={}", file.display());
    run(&host, &[&flag], &["--exec=/nosuch"], "x").code_is(203);
    let saved = fs::read_to_string(&file).unwrap();
    assert_eq!((saved.len(), host.state(&saved).as_str()), (36, "exited"));
    let by_file = format!("--uuid-file={}", file.display());
    for verb in ["status", "cat-manifest", "stop", "rm"] {
        host.rkt([verb, &by_file]).run().ok();
        if verb != "rm" {
            let out = host.rkt([verb, &by_file, &saved]).run().code_is(254);
            assert!(out.stderr.contains("not both"), "{out}");
        }
    }
    host.assert_no_pods();
}
