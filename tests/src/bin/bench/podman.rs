//! Podman, with storage that is the benchmark's own.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tests::{Host, OciImage};

/// A busybox that runs `true`.
pub(crate) const IMAGE: &str = "localhost/rkt-bench:1";

/// The words that every call begins with.
pub(crate) fn words(host: &Host, runtime: Option<&str>) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![
        "podman".into(),
        "--root".into(),
        host.path().join("podman").into(),
        "--runroot".into(),
        host.path().join("podman-run").into(),
    ];
    words.extend(runtime.map(|r| format!("--runtime={r}").into()));
    words
}

/// Puts [`IMAGE`] into podman's storage with skopeo: podman itself takes an OCI
/// layout only below a directory without capital letters.
pub(crate) fn image(host: &Host) -> Result<(), String> {
    let layout = OciImage::busybox(&["/bin/true"]).write(&host.images().join("podman"), "1");
    let storage = format!(
        "containers-storage:[overlay@{}+{}]{IMAGE}",
        host.path().join("podman").display(),
        host.path().join("podman-run").display(),
    );
    let out = Command::new("skopeo")
        .args([
            "--insecure-policy",
            "copy",
            "--quiet",
            &layout.reference(),
            &storage,
        ])
        .output()
        .map_err(|e| format!("cannot run skopeo: {e}"))?;
    if out.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).trim().to_owned())
    }
}

/// A configuration file by which podman sets no resource limits.
pub(crate) fn without_rlimits(host: &Host) -> PathBuf {
    configuration(host, "containers.conf", "")
}

/// A configuration file by which podman's networks are made by `backend`.
pub(crate) fn with_networks_by(host: &Host, backend: &str) -> PathBuf {
    let networks = host.path().join(format!("podman-networks-{backend}"));
    fs::create_dir_all(&networks).unwrap();
    // Both would take the same otherwise, and both are there at once.
    let subnet = match backend {
        "netavark" => "10.90.0.0/16",
        _ => "10.91.0.0/16",
    };
    let more = format!(
        "[network]\nnetwork_backend={backend:?}\ndefault_subnet={subnet:?}\nnetwork_config_dir={:?}\n",
        networks.display().to_string()
    );
    configuration(host, &format!("containers-{backend}.conf"), &more)
}

fn configuration(host: &Host, name: &str, more: &str) -> PathBuf {
    let file = host.path().join(name);
    fs::write(&file, format!("[containers]\ndefault_ulimits=[]\n{more}")).unwrap();
    file
}

/// Takes away all that podman has.
pub(crate) fn cleanup(host: &Host) {
    // It waits for ever for what it cannot kill.
    let _ = Command::new("timeout")
        .arg("30")
        .args(words(host, Some("runc")))
        .args(["system", "reset", "--force"])
        .output();
}
