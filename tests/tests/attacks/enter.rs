//! `rkt enter` gives a program no more than its app has.

use tests::{Host, Running};

use crate::walls::{held_by, run};

/// A pod with these flags that stays, and what a program that is entered into
/// it answers.
fn entered(host: &Host, flags: &[&str], question: &str) -> (Running, String) {
    let mut pod = run(host, &[], flags, &["directory", "stay"]).spawn();
    pod.wait_for("}");
    let uuid = host.last_uuid();
    let out = host.plain_rkt(["enter", &uuid, "/probe", question]).run();
    let answer = tests::probe::answers(out)[question]
        .as_str()
        .unwrap()
        .to_owned();
    (pod, answer)
}

#[test]
fn cve_2019_10144_capabilities() {
    held_by(&["EnterCapabilities"], |host| {
        let (_pod, got) = entered(host, &["--caps-retain=CAP_KILL"], "status CapBnd");
        got != "0000000000000020"
    });
}

#[test]
fn cve_2019_10145_filter() {
    held_by(&["EnterFilter"], |host| {
        let flags = ["--seccomp=mode=remove,errno=EXDEV,getpid"];
        let (_pod, got) = entered(host, &flags, "call getpid");
        assert!(["ok", "EXDEV"].contains(&got.as_str()), "{got}");
        got == "ok"
    });
}

#[test]
fn cve_2019_10147_cgroups() {
    held_by(&["EnterCgroups"], |host| {
        let (_pod, got) = entered(host, &["--memory=32Mi"], "hog 64");
        assert!(["ok", "SIGKILL"].contains(&got.as_str()), "{got}");
        got == "ok"
    });
}
