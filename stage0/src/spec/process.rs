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
        .set_selinux_label(selinux_label(app, pod)?)
        .set_apparmor_profile(apparmor_profile(app, pod)?);
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

/// The app's SELinux context; the pod's if it has none.
fn selinux_label(app: &ResolvedApp, pod: &PodFacts<'_>) -> Result<Option<String>, SpecError> {
    label(
        app,
        pod,
        ("SELinux", pod.host.selinux),
        |isolator| match isolator {
            Isolator::SeLinuxContext(context) => Some(context.to_string()),
            _ => None,
        },
    )
}

/// The app's AppArmor profile; the pod's if it has none.
fn apparmor_profile(app: &ResolvedApp, pod: &PodFacts<'_>) -> Result<Option<String>, SpecError> {
    label(
        app,
        pod,
        ("AppArmor", pod.host.apparmor),
        |isolator| match isolator {
            Isolator::AppArmorProfile(profile) => Some(profile.profile.clone()),
            _ => None,
        },
    )
}

/// Who asked for a label and ran without it would run with more rights than
/// was meant, so a host that cannot apply it is an error.
fn label(
    app: &ResolvedApp,
    pod: &PodFacts<'_>,
    (module, present): (&'static str, bool),
    of: impl Fn(&Isolator) -> Option<String>,
) -> Result<Option<String>, SpecError> {
    let find = |isolators: &[Isolator]| {
        let mut last_first = isolators.iter().rev();
        last_first.find_map(|i| of(i).map(|label| (label, i.name().to_owned())))
    };
    match find(&app.app.isolators).or_else(|| find(pod.isolators)) {
        Some((label, isolator)) if !present => Err(SpecError::NoSecurityModule {
            app: app.name.clone(),
            isolator,
            label,
            module,
        }),
        found => Ok(found.map(|(label, _)| label)),
    }
}
