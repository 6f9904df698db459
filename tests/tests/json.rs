//! What programs read: the keys that are printed are those that `JSON.md`
//! documents, and those that it says are always there are there.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::shell::{self, host};
use tests::{Host, Output};

/// A key as documented: whether it is always there.
type Shape = BTreeMap<String, bool>;

/// The table below a heading of `JSON.md`.
fn documented(heading: &str) -> Shape {
    let text = include_str!("../../JSON.md");
    let section = text
        .split("\n## ")
        .find(|section| section.lines().next() == Some(heading))
        .unwrap_or_else(|| panic!("JSON.md has no section {heading:?}"));
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let shape: Shape = rows
        .map(|row| {
            let mut cells = row.split('|').skip(1).map(str::trim);
            let key = cells.next().unwrap().trim_matches('`').to_owned();
            (key, cells.next() == Some("always"))
        })
        .collect();
    assert!(!shape.is_empty(), "{heading}");
    shape
}

/// The documented key that a key of an object is.
fn name(key: &str, value: &Value) -> [String; 3] {
    let with = |tail: &str| format!("{key}{tail}");
    match value {
        Value::Array(items) if items.iter().any(Value::is_object) => {
            [with("[].*"), with("[]"), String::new()]
        }
        Value::Array(_) => [with("[]"), with("[].*"), String::new()],
        Value::Object(_) => [with(".*"), String::new(), String::new()],
        _ => [key.to_owned(), String::new(), String::new()],
    }
}

/// Each of the objects has keys that are documented, and all that are always
/// there. What was seen goes to `seen`.
#[track_caller]
fn assert_shape(heading: &str, objects: &[Value], seen: &mut BTreeSet<String>) {
    let shape = documented(heading);
    assert!(!objects.is_empty(), "{heading}: nothing was printed");
    for object in objects {
        let keys: BTreeSet<String> = object
            .as_object()
            .unwrap_or_else(|| panic!("{heading}: no object: {object}"))
            .iter()
            .map(|(key, value)| {
                let names = name(key, value);
                let known = names.iter().find(|name| shape.contains_key(*name));
                known
                    .unwrap_or_else(|| panic!("{heading}: {key} is not in JSON.md: {object}"))
                    .clone()
            })
            .collect();
        for (key, always) in &shape {
            assert!(
                !always || keys.contains(key),
                "{heading}: no {key}: {object}"
            );
        }
        seen.extend(keys);
    }
}

fn json(host: &Host, words: &[&str]) -> Value {
    let words = words.iter().copied().chain(["--format=json"]);
    let out: Output = host.rkt(words).run().ok();
    // Indented it says the same.
    out.json()
}

fn array(value: &Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

#[test]
fn pods_and_apps_are_told_as_documented() {
    let host = host();
    let (mut pods, mut apps) = (BTreeSet::new(), BTreeSet::new());
    let volume = "--volume=v,kind=empty";
    let flags = ["--detach", volume];
    let failing = "test -e /ran || { touch /ran; exit 5; }; exec sleep 1000";
    let words = [
        "example.com/sh",
        "--mount=volume=v,target=/v",
        "--restart=on-failure",
    ];
    let labels = ["--user-label=a=b", "--user-annotation=c=d"];
    host.rkt(["run", "--net=none"])
        .args(flags)
        .args(words)
        .args(labels)
        .args(["--", failing])
        .run()
        .ok();
    let running = host.last_uuid();
    tests::cmd::eventually("the second start", || {
        json(&host, &["status", &running])["apps"][0]["restarts"] == 1
    });
    shell::app(
        &host,
        &["--memory=32M"],
        "exec dd if=/dev/zero of=/dev/null bs=200M count=1",
    );
    shell::app(&host, &["--exec=/no/such"], "x");
    shell::prepared(&host, "true");
    let broken = shell::ran(&host, "true");
    let manifest = host.data().join("pods/run").join(&broken).join("pod");
    std::fs::write(manifest, "{").unwrap();
    // Its errors are told besides.
    let listed = host.rkt(["list", "--format=json"]).run().json();
    let mut told = array(&listed);
    told.extend([&running, &broken].map(|uuid| json(&host, &["status", uuid])));
    assert_shape("rkt list, rkt status", &told, &mut pods);
    let of_pods: Vec<Value> = told.iter().flat_map(|pod| array(&pod["apps"])).collect();
    assert_shape("rkt app list, rkt app status", &of_pods, &mut apps);
    let listed = json(&host, &["app", "list", &running]);
    assert_shape("rkt app list, rkt app status", &array(&listed), &mut apps);
    let one = json(&host, &["app", "status", "--app=sh", &running]);
    assert_shape("rkt app list, rkt app status", &[one], &mut apps);
    for key in ["created_at", "started_at", "errors[]"] {
        assert!(pods.contains(key), "{key}: {pods:?}");
    }
    for key in [
        "last_exit.*",
        "restarts",
        "ready",
        "exit_code",
        "signal",
        "oom_killed",
        "error",
        "verification.*",
        "mounts[].*",
        "user_labels.*",
        "user_annotations.*",
        "finished_at",
    ] {
        assert!(apps.contains(key), "{key}: {apps:?}");
    }
    host.rkt(["rm", "--force", &running, &broken]).run().ok();
}

#[test]
fn images_networks_trust_and_versions_are_told_as_documented() {
    let host = host();
    let mut seen = BTreeSet::new();
    let mut check = |heading: &str, value: Value| {
        let objects = match value {
            Value::Array(all) => all,
            one => vec![one],
        };
        assert_shape(heading, &objects, &mut seen);
    };
    check("rkt image list", json(&host, &["image", "list"]));
    check(
        "rkt image verify",
        json(&host, &["image", "verify", "--all"]),
    );
    check("rkt network list", json(&host, &["network", "list"]));
    check("rkt trust list", json(&host, &["trust", "list"]));
    check("rkt version", json(&host, &["version"]));
    let uuid = shell::detached(&host, "echo out; echo err >&2");
    host.rkt(["status", "--wait=20s", &uuid]).run().ok();
    let logs = host.rkt(["logs", "--format=json", &uuid]).run().ok();
    let lines = logs
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).unwrap());
    check("rkt logs", Value::Array(lines.collect()));
}

#[test]
fn indented_it_says_the_same() {
    let host = host();
    shell::ran(&host, "true");
    for words in [
        &["list"][..],
        &["image", "list"],
        &["network", "list"],
        &["version"],
    ] {
        let plain = json(&host, words);
        let words = words.iter().copied().chain(["--format=json-pretty"]);
        let pretty = host.rkt(words).run().ok();
        assert_eq!(pretty.json(), plain);
        assert!(pretty.stdout.contains("\n\t"), "{pretty}");
    }
    // Manifests are, unless one does not want it.
    let uuid = host.last_uuid();
    for (flag, indented) in [(None, true), (Some("--pretty-print=false"), false)] {
        let out = host.rkt(["cat-manifest", &uuid]).args(flag).run().ok();
        assert_eq!(out.stdout.contains("\n\t"), indented, "{out}");
        let out = host.rkt(["config"]).args(flag).run().ok();
        assert_eq!(out.stdout.contains("\n\t"), indented, "{out}");
    }
    let out = host.rkt(["list", "--format=yaml"]).run();
    out.fails(254, "list", &["Invalid format option: yaml"]);
    let empty = Host::new();
    assert_eq!(json(&empty, &["list"]), json!([]));
}
