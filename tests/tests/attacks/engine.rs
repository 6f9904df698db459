//! The engine's own program, written to from inside (CVE-2019-5736).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tests::{Host, probe};

use crate::walls::{held_by, run};

/// A copy of the engine for the attack, that the pod is run by.
fn victim(host: &Host) -> PathBuf {
    let path = host.path().join("rkt-stage1");
    fs::copy(host.program("rkt-stage1"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The mode is what a running program's file can be robbed of at once; its
/// bytes, as soon as nobody executes it.
fn is_changed(path: &Path) -> bool {
    path.metadata().unwrap().permissions().mode() & 0o7777 != 0o755
}

/// By an app that may do everything, through the pod's PID 1.
#[test]
fn cve_2019_5736_by_an_app() {
    held_by(&["Program"], |host| {
        let engine = victim(host);
        let host_flag = format!("--stage1-path={}", engine.display());
        let pod = ["--insecure-options=all-run", &host_flag];
        let question = "call chmod /proc/1/exe 0x1ff";
        let out = run(host, &pod, &[], &[question])
            .env("RKT_WITHOUT_PROTECTIONS_PROGRAM", &engine)
            .run();
        let answers = probe::answers(out);
        let changed = is_changed(&engine);
        let expected = if changed { "ok" } else { "EROFS" };
        assert_eq!(answers[question], expected);
        changed
    });
}

/// By an app that lies in wait for whoever enters it.
#[test]
fn cve_2019_5736_by_enter() {
    held_by(&["Program"], |host| {
        let engine = victim(host);
        let pod = ["--insecure-options=all-run"];
        let mut waiting = run(host, &pod, &[], &["status Uid", "seize 5"]).spawn();
        tests::cmd::eventually("the pod to run", || {
            host.state(&host.last_uuid()) == "running"
        });
        let uuid = host.last_uuid();
        while waiting.is_running() {
            host.plain_rkt(["enter", &uuid, "/probe", "status Uid"])
                .env("RKT_WITHOUT_PROTECTIONS_PROGRAM", &engine)
                .run();
        }
        let answers = probe::answers(waiting.wait());
        assert_eq!(
            answers["seize 5"] == "ok",
            is_changed(&engine),
            "{answers:?}"
        );
        is_changed(&engine)
    });
}

/// The engine is no program of the app's, by whatever name.
#[test]
fn cve_2019_5736_as_the_apps_program() {
    let host = Host::new();
    run(&host, &[], &["--exec=/proc/self/exe"], &[])
        .run()
        .fails(203, "run", &["/proc/self/exe"]);
    run(&host, &[], &["--exec=/proc/1/exe"], &[])
        .run()
        .fails(203, "run", &["/proc/1/exe"]);
}
