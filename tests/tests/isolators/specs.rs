//! What the engine is ordered to do, row by row, against a file.
//!
//! A row's orders are told as what is other than for a plain app, and those
//! of a plain app in `plain.json`. When they change on purpose, `UPDATE_SNAPSHOTS=1 cargo nextest run -p tests --test
//! isolators` writes the files again; the change is then seen in review.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tests::Host;

/// The OCI runtime specification of the last pod's app in `engine.json`, what differs from run to run and from host
/// to host replaced by words.
pub(crate) fn of_pod(host: &Host) -> Value {
    let uuid = host.last_uuid();
    let states = ["run", "exited-garbage"].iter();
    let text = states
        .map(|state| host.data().join(format!("pods/{state}/{uuid}/engine.json")))
        .find_map(|file| fs::read_to_string(file).ok())
        .unwrap_or_else(|| panic!("pod {uuid} has no engine.json"));
    let text = text
        .replace(&uuid, "UUID")
        .replace(&*host.path().to_string_lossy(), "HOST")
        .replace("pods/run", "pods/STATE")
        .replace("pods/exited-garbage", "pods/STATE");
    let mut engine: Value = serde_json::from_str(&text).unwrap();
    let mut spec = engine["apps"][0]["spec"].take();
    // The questions.
    spec["process"]["args"] = Value::Null;
    let sets = spec["process"]["capabilities"].as_object_mut();
    for set in sets.into_iter().flat_map(Map::values_mut) {
        set.as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    let filter = spec["linux"]["seccomp"]["syscalls"].as_array_mut();
    for rule in filter.into_iter().flatten() {
        // Hundreds of them, on one line.
        let names = rule["names"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|name| name.as_str().unwrap()).collect();
        rule["names"] = names.join(" ").into();
    }
    let devices = spec["linux"]["resources"]["blockIO"].as_object_mut();
    for devices in devices.into_iter().flat_map(Map::values_mut) {
        let devices = devices.as_array_mut().unwrap();
        for device in devices.iter_mut() {
            device["major"] = "EVERY".into();
            device["minor"] = "EVERY".into();
        }
        devices.dedup();
    }
    name_ids(&mut spec);
    spec
}

/// The ids of a pod with users of its own are others each time.
fn name_ids(value: &mut Value) {
    const OTHERS: u64 = 1 << 16;
    match value {
        Value::Array(list) => list.iter_mut().for_each(name_ids),
        Value::Object(members) => {
            for (key, value) in members {
                let is_id = ["containerID", "hostID"].contains(&key.as_str());
                match value.as_u64() {
                    Some(OTHERS..) if is_id => *value = "FIRST".into(),
                    _ => name_ids(value),
                }
            }
        }
        _ => {}
    }
}

/// What of `b` is other than in `a`: objects member by member (`null` for one
/// that is gone), lists by what was added and removed.
pub(crate) fn difference(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let mut changes = Map::new();
            for key in a.keys().chain(b.keys()) {
                let (old, new) = (a.get(key), b.get(key));
                let change = match (old, new) {
                    (old, new) if old == new => continue,
                    (Some(old), Some(new)) => difference(old, new),
                    (_, new) => new.cloned().unwrap_or_default(),
                };
                changes.insert(key.clone(), change);
            }
            Value::Object(changes)
        }
        (Value::Array(a), Value::Array(b)) => match (a.as_slice(), b.as_slice()) {
            (a, b) if !a.iter().any(|item| b.contains(item)) => json!(b),
            (a, b) => {
                let without = |a: &[Value], b: &[Value]| -> Vec<Value> {
                    a.iter().filter(|item| !b.contains(item)).cloned().collect()
                };
                json!({"added": without(b, a), "removed": without(a, b)})
            }
        },
        _ => b.clone(),
    }
}

/// Where the files are.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/isolators/specs");

/// Whether the files are here. In a guest there are the programs and not the
/// repository; the orders do not depend on where they are given, and were
/// compared on the host.
pub(crate) fn are_here() -> bool {
    Path::new(DIRECTORY).exists()
}

/// Compares with `specs/GROUP.json`, where the files are.
pub(crate) fn compare(group: &str, got: &Value) -> Result<(), String> {
    if !are_here() {
        return Ok(());
    }
    let file = Path::new(DIRECTORY).join(format!("{group}.json"));
    let got = serde_json::to_string_pretty(got).unwrap() + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&file, &got).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    if got == expected {
        return Ok(());
    }
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{group}.json"));
    fs::write(&new, &got).unwrap();
    Err(format!(
        "the orders for the engine changed: diff {} {}",
        file.display(),
        new.display()
    ))
}
