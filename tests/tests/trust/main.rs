//! The trust policy: rules, pins, keys of cosign and identities. Signatures are
//! cosign's and gpg's own, or of an authority made by openssl; registries are
//! real.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

mod identities;
mod import;
mod keys;
mod pins;
mod rules;
mod sites;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::sigstore::{self, Attachment, Wish};
use tests::{Aci, Compression, Cosign, Gpg, Host, OciImage, Output, Registry, Sigstore};

/// Writes a policy of these rules and gives its file.
fn policy(host: &Host, rules: &Value) -> PathBuf {
    let file = host.config().join("trust.d/policy.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text = json!({"rktKind": "trust", "rktVersion": "v1", "rules": rules});
    fs::write(&file, text.to_string()).unwrap();
    file
}

fn signed_by(prefix: &str, signer: &Value) -> Value {
    json!([{"prefix": prefix, "level": "signed-by", "signers": [signer]}])
}

fn fetch(host: &Host, reference: &str) -> Output {
    host.rkt(["fetch", "--full", reference]).run()
}

/// The record's verification of the one stored image.
fn verification(host: &Host) -> Value {
    let images = host
        .rkt(["image", "list", "--format=json"])
        .run()
        .ok()
        .json();
    assert_eq!(images.as_array().unwrap().len(), 1, "{images}");
    images[0]["verification"].clone()
}

fn aci(host: &Host, name: &str, says: &str) -> PathBuf {
    Aci::busybox(name, &["/bin/echo", says]).write(&host.images(), "app", Compression::Gzip)
}
