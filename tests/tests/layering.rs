//! The house's one structural rule: arrows between our crates point down only,
//! and the engine in a pod stays small.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Which of our crates each of our crates may use directly.
const ALLOWED: &[(&str, &[&str])] = &[
    (
        "rkt",
        &["stage0", "fetch", "image-store", "manifests", "sys"],
    ),
    ("stage0", &["image-store", "manifests", "sys", "systemd"]),
    ("fetch", &["image-store", "manifests", "sys"]),
    ("image-store", &["manifests", "sys"]),
    ("stage1", &["manifests", "sys", "systemd"]),
    ("manifests", &[]),
    ("sys", &[]),
    ("systemd", &[]),
];

/// What never belongs into a process that lives as long as a pod.
const TOO_HEAVY_FOR_STAGE1: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "hyper",
    "reqwest",
    "ureq",
    "rustls",
    "openssl",
    "native-tls",
    "clap",
    "zbus",
];

fn metadata() -> Value {
    // What only other systems need was never downloaded here.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .args(["--filter-platform", &host])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"),
        ])
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_slice(&out.stdout).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Package id to its resolved normal (not build, not dev) dependencies' ids.
fn graph(metadata: &Value) -> BTreeMap<&str, Vec<&str>> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    nodes
        .iter()
        .map(|node| {
            let deps = node["deps"].as_array().unwrap().iter().filter(|dep| {
                let kinds = dep["dep_kinds"].as_array().unwrap();
                kinds.iter().any(|k| k["kind"].is_null())
            });
            (text(&node["id"]), deps.map(|d| text(&d["pkg"])).collect())
        })
        .collect()
}

#[test]
fn arrows_point_down_only() {
    let metadata = metadata();
    let packages: Vec<&Value> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["source"].is_null())
        .collect();
    let ours: BTreeSet<&str> = packages.iter().map(|p| text(&p["name"])).collect();
    for package in &packages {
        let name = text(&package["name"]);
        if name == "tests" {
            continue; // above everything; nothing may use it (checked by the others' rows)
        }
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(crate_name, _)| *crate_name == name)
            .unwrap_or_else(|| panic!("crate {name} has no row in ALLOWED: where does it stand?"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = text(&dependency["name"]);
            assert!(
                !ours.contains(on) || allowed.contains(&on),
                "{name} must not depend on {on}; it may use {allowed:?}"
            );
        }
    }
    for (name, _) in ALLOWED {
        assert!(ours.contains(name), "crate {name} is gone: remove its row");
    }
}

#[test]
fn stage1_brings_nothing_heavy_into_the_pod() {
    let metadata = metadata();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (text(&p["id"]), text(&p["name"])))
        .collect();
    let graph = graph(&metadata);
    let start = names.iter().find(|(_, n)| **n == "stage1").unwrap().0;
    let mut seen = BTreeSet::new();
    let mut todo = vec![*start];
    while let Some(id) = todo.pop() {
        if seen.insert(id) {
            todo.extend(&graph[id]);
        }
    }
    assert!(seen.len() > 3, "stage1's dependencies were not resolved");
    for id in seen {
        let name = names[id];
        assert!(
            !TOO_HEAVY_FOR_STAGE1.contains(&name),
            "stage1 reaches {name}; see `cargo tree -p stage1 -i {name}`"
        );
    }
}

/// `unsafe` is allowed where the kernel is spoken to and nowhere else.
#[test]
fn unsafe_code_lives_in_sys_only() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut todo: Vec<std::path::PathBuf> = [
        "rkt",
        "stage0",
        "stage1",
        "fetch",
        "image-store",
        "manifests",
        "tests",
    ]
    .iter()
    .map(|d| std::path::Path::new(root).join(d))
    .collect();
    // Spelt in two halves so that this file does not find itself.
    let keyword = concat!("un", "safe ");
    let mut read = 0;
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                read += 1;
                let source = std::fs::read_to_string(&path).unwrap();
                let guilty = source.lines().position(|line| {
                    let code = line.split("//").next().unwrap_or_default();
                    ["{", "fn ", "impl "]
                        .iter()
                        .any(|after| code.contains(&format!("{keyword}{after}")))
                        || code.contains(concat!("allow(un", "safe_code"))
                });
                assert!(
                    guilty.is_none(),
                    "{}:{} uses {keyword}code; only the crate `sys` may",
                    path.display(),
                    guilty.unwrap() + 1
                );
            }
        }
    }
    assert!(read > 10, "found no sources below {root}");
}

/// Every outside crate has its reason in ARCHITECTURE.md.
#[test]
fn every_dependency_has_its_reason() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let architecture = std::fs::read_to_string(format!("{root}/ARCHITECTURE.md")).unwrap();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let missing: BTreeSet<&str> = packages
        .iter()
        .filter(|p| p["source"].is_null())
        .flat_map(|p| p["dependencies"].as_array().unwrap())
        .filter(|d| !d["source"].is_null())
        .map(|d| text(&d["name"]))
        .filter(|name| !architecture.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md, \"Dependencies\", gives no reason for {missing:?}"
    );
}
