//! Other limits for an app that runs.
//!
//! ```text
//! manifest + wishes ──▶ stage1 writes the cgroups ──▶ engine's file ──▶ manifest
//! ```
//!
//! What the kernel refuses is written nowhere. A crash between the steps leaves
//! limits that are in force and not told; the same command again tells them.

use manifests::appc::Isolator;
use manifests::engine::{self, APP_FILE};
use oci_spec::runtime::{LinuxResources, Spec};
use serde_json::json;

use super::guests::{GuestError, lock_manifest, read_json, running, write_json, write_manifest};
use crate::pods::{APPS, Pod};
use crate::prepare::manifest::override_isolators;
use crate::prepare::request::Overrides;
use crate::prepare::{self, PrepareError};
use crate::spec;
use crate::stage1::Stage1;

use image_store::Store;

/// Sets the limits of `wishes` (memory, processors) in the running app.
///
/// # Errors
/// [`GuestError`]: the pod does not run, has no such app, or the host cannot
/// set the limit; then nothing has changed.
pub fn update(
    pod: &Pod,
    app: &str,
    wishes: &Overrides,
    store: &Store,
    stage1: &Stage1,
    tell: &mut dyn FnMut(&str),
) -> Result<(), GuestError> {
    let _lock = lock_manifest(pod)?;
    let pod = running(pod)?;
    let mut manifest = pod.manifest()?;
    let place = manifest.apps.iter().position(|known| known.name == *app);
    let place = place.ok_or_else(|| GuestError::NoApp(app.to_owned()))?;
    let mut section = match manifest.apps[place].app.clone() {
        Some(section) => section,
        None => {
            let images = prepare::find_images(&manifest, store)?;
            let section = images.into_iter().nth(place).and_then(|i| i.manifest.app);
            section.ok_or_else(|| GuestError::NoApp(app.to_owned()))?
        }
    };
    let mut warnings = Vec::new();
    let mut limits = |isolators: &[Isolator]| spec::changeable(app, isolators, &mut warnings);
    let old = limits(&section.isolators).map_err(super::StartError::from)?;
    override_isolators(&mut section.isolators, wishes)?;
    let new = limits(&section.isolators).map_err(super::StartError::from)?;
    for warning in warnings {
        tell(&format!("warning: {warning}"));
    }
    let path = pod.path();
    let text = json!({"old": old, "new": new}).to_string();
    stage1
        .ask(
            &["update", &pod.uuid().to_string(), app],
            &path,
            text.as_bytes(),
        )
        .map_err(|e| GuestError::Refused(e.to_string()))?;
    let own = path.join(APPS).join(app).join(APP_FILE);
    if own.exists() {
        let mut written: engine::App = read_json(&own)?;
        replace(&mut written.spec, &new);
        publish(&own, &written)?;
    } else {
        let file = path.join(engine::FILE);
        let mut written: engine::Pod = read_json(&file)?;
        for known in written.apps.iter_mut().filter(|known| known.name == app) {
            replace(&mut known.spec, &new);
        }
        publish(&file, &written)?;
    }
    manifest.apps[place].app = Some(section);
    write_manifest(&pod, &manifest)
}

fn replace(spec: &mut Spec, new: &LinuxResources) {
    let Some(mut linux) = spec.linux().clone() else {
        return;
    };
    let mut resources = linux.resources().clone().unwrap_or_default();
    resources
        .set_memory(*new.memory())
        .set_cpu(new.cpu().clone());
    linux.set_resources(Some(resources));
    spec.set_linux(Some(linux));
}

/// In one step: `enter` may read it at any time.
fn publish(path: &std::path::Path, value: &impl serde::Serialize) -> Result<(), GuestError> {
    let staged = path.with_extension("new");
    write_json(&staged, value)?;
    std::fs::rename(&staged, path).map_err(PrepareError::io("write", path))?;
    Ok(())
}
