//! Documents with one thing wrong, or everything: an error or a value, never
//! a panic, and a value can always be written and read again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use manifests::appc::{ImageManifest, PodManifest};
use manifests::oci::{Config, Document};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What stands somewhere else.
fn other_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[-a-z0-9/:.~]{0,12}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([null, {}, [], "", 0])),
    ]
}

/// Every place in the document.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(inner, &format!("{at}/{name}"), out);
            }
        }
        Value::Array(elements) => {
            for (index, inner) in elements.iter().enumerate() {
                places(inner, &format!("{at}/{index}"), out);
            }
        }
        _ => {}
    }
}

fn changed(document: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let document: Value = serde_json::from_slice(document).unwrap();
    let mut all = Vec::new();
    places(&document, "", &mut all);
    (prop::sample::select(all), other_value()).prop_map(move |(place, value)| {
        let mut document = document.clone();
        *document.pointer_mut(&place).unwrap() = value;
        serde_json::to_vec(&document).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn image_manifests(bytes in changed(include_bytes!("vectors/image-full-valid.json"))) {
        if let Ok(manifest) = ImageManifest::from_slice(&bytes) {
            manifest.validate().unwrap();
            let written = serde_json::to_vec(&manifest).unwrap();
            prop_assert_eq!(ImageManifest::from_slice(&written).unwrap(), manifest);
        }
    }

    #[test]
    fn pod_manifests(bytes in changed(include_bytes!("vectors/pod-full-valid.json"))) {
        if let Ok(manifest) = PodManifest::from_slice(&bytes) {
            manifest.validate().unwrap();
            let written = serde_json::to_vec(&manifest).unwrap();
            prop_assert_eq!(PodManifest::from_slice(&written).unwrap(), manifest);
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ImageManifest::from_slice(&bytes);
        let _ = Document::from_slice(&bytes, None);
        let _ = Config::from_slice(&bytes);
    }
}
