//! Every row of the vector files, run through the code that decides.
//!
//! `vectors.json` holds small inputs per type, `index.json` whole manifests.
//! Where a row's `reference` differs from its `valid`, the old library erred
//! and we follow `valid`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use manifests::appc::{
    AcIdentifier, AcName, AcVersion, App, ImageManifest, Isolator, Kind, PodManifest, Probe,
    Quantity, Volume,
};
use manifests::image_id::PartialImageId;
use serde_json::{Value, json};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn read(file: &str) -> Value {
    let bytes = std::fs::read(vectors().join(file)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// An image manifest with one more member.
fn image_with(member: &str, value: &Value) -> Result<(), String> {
    let manifest = json!({
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": "example.com/app",
        member: value,
    });
    manifest_verdict(&manifest)
}

fn manifest_verdict(manifest: &Value) -> Result<(), String> {
    let bytes = serde_json::to_vec(manifest).unwrap();
    let result = match Probe::from_slice(&bytes).map_err(|e| e.to_string())?.kind {
        Kind::Image => ImageManifest::from_slice(&bytes).map(drop),
        Kind::Pod => PodManifest::from_slice(&bytes).map(drop),
    };
    result.map_err(|e| e.to_string())
}

fn parsed<T: serde::de::DeserializeOwned>(input: &Value) -> Result<(), String> {
    serde_json::from_value::<T>(input.clone())
        .map(drop)
        .map_err(|e| e.to_string())
}

fn verdict(kind: &str, input: &Value) -> Result<(), String> {
    match kind {
        "acIdentifier" => parsed::<AcIdentifier>(input),
        "acName" => parsed::<AcName>(input),
        "acVersion" => parsed::<AcVersion>(input),
        "imageID" => parsed::<PartialImageId>(input),
        "quantity" => parsed::<Quantity>(input),
        "isolator" => parsed::<Isolator>(input),
        "volume" => parsed::<Volume>(input),
        "app" => parsed::<App>(input),
        "timestamp" => image_with("annotations", &json!([{"name": "created", "value": input}])),
        "annotations" | "labels" => image_with(kind, input),
        "manifest" => manifest_verdict(input),
        other => panic!("vectors.json has rows of a kind that nobody runs: {other}"),
    }
}

#[test]
fn every_small_vector_gets_its_verdict() {
    let all = read("vectors.json");
    let mut wrong = Vec::new();
    let mut rows = 0;
    for (kind, list) in all.as_object().unwrap() {
        if kind == "quantityValues" {
            continue;
        }
        for row in list.as_array().unwrap() {
            rows += 1;
            let got = verdict(kind, &row["input"]);
            if got.is_ok() != row["valid"].as_bool().unwrap() {
                wrong.push(format!("{kind} {row}: {got:?}"));
            }
        }
    }
    assert!(rows > 90, "only {rows} rows");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_quantity_has_its_value() {
    for row in read("vectors.json")["quantityValues"].as_array().unwrap() {
        let quantity: Quantity = row["input"].as_str().unwrap().parse().unwrap();
        assert_eq!(Some(quantity.units()), row["value"].as_i64(), "{row}");
        let milli = i64::try_from(quantity.milli()).unwrap();
        assert_eq!(Some(milli), row["milli"].as_i64(), "{row}");
        if let Some(canonical) = row["canonical"].as_str() {
            assert_eq!(quantity.to_string(), canonical, "{row}");
        }
    }
}

#[test]
fn every_manifest_gets_its_verdict() {
    let mut manifests = 0;
    for row in read("index.json").as_array().unwrap() {
        let Some(valid) = row["valid"].as_bool() else {
            continue;
        };
        manifests += 1;
        let got = manifest_verdict(&read(row["file"].as_str().unwrap()));
        assert_eq!(got.is_ok(), valid, "{row}: {got:?}");
    }
    assert_eq!(manifests, 8);
}

/// What was read is written again without loss: reading it again gives the
/// same value, and every member of the document is still there.
#[test]
fn valid_manifests_survive_the_round_trip() {
    for file in ["image-full-valid.json", "image-boundary-valid.json"] {
        let manifest: ImageManifest = serde_json::from_value(read(file)).unwrap();
        let written = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(
            ImageManifest::from_slice(&written).unwrap(),
            manifest,
            "{file}"
        );
    }
    let full = read("image-full-valid.json");
    let manifest: ImageManifest = serde_json::from_value(full.clone()).unwrap();
    assert_contains(&serde_json::to_value(&manifest).unwrap(), &full, "");

    let full = read("pod-full-valid.json");
    let pod: PodManifest = serde_json::from_value(full.clone()).unwrap();
    let written = serde_json::to_vec(&pod).unwrap();
    assert_eq!(PodManifest::from_slice(&written).unwrap(), pod);
    assert_contains(&serde_json::to_value(&pod).unwrap(), &full, "");
}

fn assert_contains(written: &Value, read: &Value, path: &str) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (name, value) in read {
                let inner = format!("{path}.{name}");
                assert_contains(written.get(name).unwrap_or(&Value::Null), value, &inner);
            }
        }
        (Value::Array(written), Value::Array(read)) => {
            assert_eq!(written.len(), read.len(), "{path}");
            for (index, (w, r)) in written.iter().zip(read).enumerate() {
                assert_contains(w, r, &format!("{path}[{index}]"));
            }
        }
        // Quantities are written in their canonical form.
        (Value::String(w), Value::String(r)) if w != r && path.ends_with("it") => {
            assert_eq!(w.parse::<Quantity>(), r.parse::<Quantity>(), "{path}");
        }
        _ => assert_eq!(written, read, "{path}"),
    }
}

#[test]
fn errors_name_the_field_and_the_value() {
    let message = |file| manifest_verdict(&read(file)).unwrap_err();
    assert_eq!(
        message("image-invalid-port-range.json"),
        "app.ports[0].count: 537 ports from 65000 on would go beyond 65535"
    );
    assert!(
        message("image-invalid-os-arch.json").starts_with("labels: unknown arch \"arm64\""),
        "{}",
        message("image-invalid-os-arch.json")
    );
    assert_eq!(
        message("pod-invalid-duplicate-app.json"),
        "apps[1]: \"web\" stands there already"
    );
    let typed = image_with("app", &json!({"user": 0, "group": "0"})).unwrap_err();
    assert_eq!(typed, "app.user: expected a string, found 0");
    let trailing = PodManifest::from_slice(b"{} x").unwrap_err();
    assert_eq!(trailing.to_string(), "not a JSON document");
}

#[test]
fn member_names_match_without_regard_to_case() {
    let app: App = serde_json::from_value(json!({
        "USER": "0", "Group": "0", "supplementarygids": [7], "exec": null,
    }))
    .unwrap();
    assert_eq!(app.supplementary_gids, [7]);
}

#[test]
fn a_manifest_made_by_hand_can_be_checked() {
    let mut manifest = ImageManifest::new("example.com/app".parse().unwrap());
    manifest.validate().unwrap();
    let mut app = App::new(vec!["/bin/true".to_owned()], "0", "0");
    app.working_directory = Some("srv".to_owned());
    manifest.app = Some(app);
    assert_eq!(
        manifest.validate().unwrap_err().to_string(),
        "app.workingDirectory: \"srv\" is not an absolute path"
    );
}
