//! The process: who it is and what it may do.

use std::path::PathBuf;

use manifests::appc::Isolator;
use manifests::isolation::Seccomp;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process, User};

use super::{PodFacts, SpecError};
use crate::resolved::ResolvedApp;

/// The container's process.
pub(super) fn process(
    app: &ResolvedApp,
    pod: &PodFacts<'_>,
    bounding: &[Capability],
    filter: &Seccomp,
) -> Result<Process, SpecError> {
    if app.app.exec.is_empty() {
        return Err(SpecError::NoExec {
            app: app.name.clone(),
        });
    }
    let identity = &app.identity;
    let mut user = User::default();
    user.set_uid(identity.uid).set_gid(identity.gid);
    if !identity.groups.is_empty() {
        user.set_additional_gids(Some(identity.groups.clone()));
    }
    let environment = app.environment.iter();
    let environment = environment.map(|(name, value)| format!("{name}={value}"));
    let cwd = app.app.working_directory.as_deref().unwrap_or("/");
    let isolators = &app.app.isolators;
    let oom_score_adj = isolators.iter().rev().find_map(|i| match i {
        Isolator::OomScoreAdj(value) => Some(*value),
        _ => None,
    });

    let mut process = Process::default();
    process
        .set_terminal(Some(app.terminal))
        .set_user(user)
        .set_args(Some(app.app.exec.clone()))
        .set_env(Some(environment.collect()))
        .set_cwd(PathBuf::from(cwd))
        .set_capabilities(Some(capabilities(identity.uid, bounding)))
        .set_no_new_privileges(Some(no_new_privileges(app, filter)))
        .set_rlimits(None)
        .set_oom_score_adj(oom_score_adj)
        .set_selinux_label(selinux_label(app, pod))
        .set_apparmor_profile(apparmor_profile(app, pod));
    Ok(process)
}

/// Root may use what it can have; anyone else has to gain it by executing a
/// program that is privileged, and nothing is passed on by inheritance.
fn capabilities(uid: u32, bounding: &[Capability]) -> LinuxCapabilities {
    let all: Capabilities = bounding.iter().copied().collect();
    let held = match uid {
        0 => all.clone(),
        _ => Capabilities::new(),
    };
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(all))
        .set_effective(Some(held.clone()))
        .set_permitted(Some(held))
        .set_inheritable(Some(Capabilities::new()))
        .set_ambient(Some(Capabilities::new()));
    capabilities
}

/// A filter of an app that is not root must not be a means against the
/// privileged programs it may execute, so those lose their privileges.
fn no_new_privileges(app: &ResolvedApp, filter: &Seccomp) -> bool {
    let isolators = app.app.isolators.iter();
    let asked = isolators.filter(|i| matches!(i, Isolator::NoNewPrivileges(true)));
    let filtered = !matches!(filter, Seccomp::Off);
    asked.count() > 0 || (filtered && app.identity.uid != 0)
}

/// The app's label; the pod's if it has none.
fn selinux_label(app: &ResolvedApp, pod: &PodFacts<'_>) -> Option<String> {
    let label = |isolators: &[Isolator]| {
        isolators.iter().rev().find_map(|i| match i {
            Isolator::SeLinuxContext(context) => Some(context.to_string()),
            _ => None,
        })
    };
    let label = label(&app.app.isolators).or_else(|| label(pod.isolators));
    label.filter(|_| pod.host.selinux)
}

/// The app's profile; the pod's if it has none.
fn apparmor_profile(app: &ResolvedApp, pod: &PodFacts<'_>) -> Option<String> {
    let profile = |isolators: &[Isolator]| {
        isolators.iter().rev().find_map(|i| match i {
            Isolator::AppArmorProfile(profile) => Some(profile.profile.clone()),
            _ => None,
        })
    };
    let profile = profile(&app.app.isolators).or_else(|| profile(pod.isolators));
    profile.filter(|_| pod.host.apparmor)
}
