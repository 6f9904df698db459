//! Stopping pods, and killing what runs them.

#![allow(clippy::unwrap_used)] // In tests, helpers included.

mod common;

use std::path::PathBuf;
use std::time::Instant;

use common::{Pod, alive, wait_for};
use serde_json::json;

const PATIENT: &str =
    "trap 'echo stopping; exit 0' TERM; touch /ready; while :; do sleep 0.01; done";
const DEAF: &str = "trap '' TERM; touch /ready; while :; do sleep 0.01; done";

#[test]
fn a_pod_is_asked_to_stop_by_its_stop_signal() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let pod = Pod::new().full_app(
            "app",
            &[
                "sh",
                "-c",
                "trap 'echo usr1; exit 4' USR1; touch /ready; while :; do sleep 0.01; done",
            ],
            |app| app["stopSignal"] = json!(10),
        );
        let running = pod.spawn();
        pod.ready("app");
        running.signal(signal);
        let outcome = running.end();
        assert_eq!(
            (outcome.code, outcome.out.as_str()),
            (Some(4), "usr1\n"),
            "{outcome:?}"
        );
    }
}

#[test]
fn an_app_that_does_not_listen_is_killed_after_its_grace() {
    let pod = Pod::new().full_app("app", &["sh", "-c", DEAF], |app| {
        app["stopTimeout"] = json!(1)
    });
    let running = pod.spawn();
    pod.ready("app");
    let asked = Instant::now();
    running.signal(libc::SIGTERM);
    let outcome = running.end();
    assert_eq!(outcome.code, Some(9), "{outcome:?}");
    assert!(asked.elapsed().as_millis() >= 900, "{:?}", asked.elapsed());
    assert_eq!(pod.cgroups(), Vec::<PathBuf>::new());
}

#[test]
fn asking_twice_kills() {
    let pod = Pod::new().full_app("app", &["sh", "-c", DEAF], |app| {
        app["stopTimeout"] = json!(100)
    });
    let running = pod.spawn();
    pod.ready("app");
    running.signal(libc::SIGTERM);
    std::thread::sleep(std::time::Duration::from_millis(50));
    running.signal(libc::SIGINT);
    assert_eq!(running.end().code, Some(9));
}

#[test]
fn apps_are_stopped_in_reverse_order() {
    let script =
        "trap 'sleep 0.1; echo over; exit 0' TERM; touch /ready; while :; do sleep 0.01; done";
    let pod = Pod::new().app("one", &["sh", "-c", script], |_| {}).app(
        "two",
        &["sh", "-c", script],
        |_| {},
    );
    let running = pod.spawn();
    pod.ready("one");
    pod.ready("two");
    running.signal(libc::SIGTERM);
    let outcome = running.end();
    assert_eq!(outcome.out, "[two] over\n[one] over\n", "{outcome:?}");
    assert_eq!(outcome.code, Some(0));
}

#[test]
fn other_signals_reach_the_apps() {
    for (name, signal) in [
        ("HUP", libc::SIGHUP),
        ("USR2", libc::SIGUSR2),
        ("QUIT", libc::SIGQUIT),
    ] {
        let script =
            format!("trap 'echo got; exit 0' {name}; touch /ready; while :; do sleep 0.01; done");
        let pod = Pod::script(&script);
        let running = pod.spawn();
        pod.ready("app");
        running.signal(signal);
        assert_eq!(running.end().out, "got\n", "{name}");
    }
}

#[test]
fn killing_the_supervisor_kills_the_pod_at_once() {
    let pod = Pod::script(DEAF);
    let running = pod.spawn();
    pod.ready("app");
    let app = pod.started("app");
    let init = wait_for("the record", || {
        pod.directory().join("pid").exists().then(|| pod.init())
    });
    running.signal(libc::SIGKILL);
    assert_eq!(running.end().signal, Some(libc::SIGKILL));
    wait_for("the pod to die", || {
        (!alive(app) && !alive(init)).then_some(())
    });
    // What is left for gc is on record.
    let recorded = std::fs::read_to_string(pod.directory().join("cgroup")).unwrap();
    for cgroup in pod.cgroups() {
        assert!(recorded.lines().any(|line| cgroup == *line), "{cgroup:?}");
    }
}

#[test]
fn killing_the_init_ends_the_pod_with_a_word() {
    let pod = Pod::script(DEAF);
    let running = pod.spawn();
    pod.ready("app");
    let app = pod.started("app");
    let init = wait_for("the record", || {
        pod.directory().join("pid").exists().then(|| pod.init())
    });
    sys::signals::send(init, libc::SIGKILL).unwrap();
    let outcome = running.end();
    assert_eq!(outcome.code, Some(9), "{outcome:?}");
    assert_eq!(
        outcome.err,
        "run: the pod's init was killed by signal 9, and its apps with it\n"
    );
    assert!(!alive(app));
    assert_eq!(pod.cgroups(), Vec::<PathBuf>::new());
    assert_eq!(pod.status("app")["signal"], json!(9));
}

#[test]
fn the_init_cannot_be_killed_from_inside() {
    let out = Pod::script("kill -9 1; kill -15 1; sleep 0.1; echo alive").output();
    assert_eq!(out, "alive\n");
}

#[test]
fn orphans_are_reaped_and_die_with_the_pod() {
    let pod = Pod::script("(sleep 0.05 &) ; (sleep 100 &) ; sleep 0.3; cat /proc/[0-9]*/stat");
    let out = pod.output();
    // Number, name in parentheses, state, parent.
    assert!(!out.contains(") Z "), "a zombie is left: {out}");
    let orphans = out.lines().filter(|line| line.contains("(sleep) S 1 "));
    assert_eq!(orphans.count(), 1, "{out}");
}

#[test]
fn stopping_runs_the_post_stop_handler() {
    let pod = Pod::new().full_app("app", &["sh", "-c", PATIENT], |app| {
        app["postStop"] = json!(["/bin/echo", "after"]);
    });
    let running = pod.spawn();
    pod.ready("app");
    running.signal(libc::SIGTERM);
    assert_eq!(running.end().out, "stopping\nafter\n");
}
