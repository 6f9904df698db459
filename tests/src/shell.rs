//! Pods of one app that is a shell: what most tests of a running pod need.

use std::fs;

use crate::cmd::eventually;
use crate::{Aci, Cmd, Host, Output};

/// The image `example.com/sh`, whose exec is `/bin/sh -c`.
pub fn image() -> Aci {
    Aci::busybox("example.com/sh", &["/bin/sh", "-c"])
}

/// A host with that image.
pub fn host() -> Host {
    let host = Host::new();
    host.fetch_aci(&image());
    host
}

/// Pod flags, then what the shell in the one app runs.
pub fn pod(host: &Host, flags: &[&str], script: &str) -> Cmd {
    let mut words = vec!["run", "--net=none"];
    words.extend(flags);
    words.extend(["example.com/sh", "--", script]);
    host.rkt(words)
}

/// The same with flags of the app, run to its end.
pub fn app(host: &Host, flags: &[&str], script: &str) -> Output {
    let mut words = vec!["run", "--net=none", "example.com/sh"];
    words.extend(flags);
    words.extend(["--", script]);
    host.rkt(words).run()
}

/// The process of an app that runs, as soon as it is known.
#[track_caller]
pub fn app_pid(host: &Host, uuid: &str, app: &str) -> i32 {
    let file = host
        .data()
        .join(format!("pods/run/{uuid}/apps/{app}/status"));
    let read = || -> Option<i64> {
        let status: serde_json::Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        status["pid"].as_i64()
    };
    eventually("the app's process to be known", || read().is_some());
    i32::try_from(read().unwrap()).unwrap()
}

/// A script that must succeed.
#[track_caller]
pub fn sh(host: &Host, script: &str) -> Output {
    pod(host, &[], script).run().ok()
}

/// UUID of a pod that ran a script to its end, whatever that was.
pub fn ran(host: &Host, script: &str) -> String {
    pod(host, &[], script).run();
    host.last_uuid()
}

/// UUID of a detached pod that runs a script.
#[track_caller]
pub fn detached(host: &Host, script: &str) -> String {
    pod(host, &["--detach"], script)
        .run()
        .ok()
        .text()
        .to_owned()
}

/// UUID of a prepared pod that will run a script.
#[track_caller]
pub fn prepared(host: &Host, script: &str) -> String {
    let words = ["prepare", "--quiet", "example.com/sh", "--", script];
    host.rkt(words).run().ok().text().to_owned()
}
