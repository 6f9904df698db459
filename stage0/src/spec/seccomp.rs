//! The filter of system calls, in OCI's words.

use manifests::isolation::{Seccomp, default_allowed, default_denied};
use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, LinuxSyscall,
};

use super::{SpecError, errno};
use crate::resolved::ResolvedApp;

/// The flags of clone(2) that make namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// Place of clone's flags among its arguments (clone(2), "C library/kernel
/// differences").
const FLAGS_ARGUMENT: usize = if cfg!(target_arch = "s390x") { 1 } else { 0 };

/// The section, absent when nothing is filtered.
pub(super) fn section(
    app: &ResolvedApp,
    filter: &Seccomp,
    capabilities: &[Capability],
) -> Result<Option<LinuxSeccomp>, SpecError> {
    let denial = |errno: &Option<String>| denial(app, errno.as_deref());
    let section = match filter {
        Seccomp::Off => return Ok(None),
        Seccomp::Allow { calls, errno } => {
            let default = denial(errno)?;
            section_of(
                default,
                vec![rule(calls.clone(), (Action::ScmpActAllow, None))],
            )
        }
        Seccomp::Deny { calls, errno } => {
            let denied = rule(calls.clone(), denial(errno)?);
            section_of((Action::ScmpActAllow, None), vec![denied])
        }
        Seccomp::Default { errno } => {
            let missing = (Action::ScmpActErrno, errno::number("ENOSYS"));
            let mut rules = default_rules(capabilities);
            rules.push(rule(owned(default_denied()), denial(errno)?));
            section_of(missing, rules)
        }
    };
    Ok(Some(section))
}

/// What becomes of a denied call: an error, or the end of the process.
fn denial(app: &ResolvedApp, errno: Option<&str>) -> Result<(Action, Option<u32>), SpecError> {
    let Some(name) = errno else {
        return Ok((Action::ScmpActKillProcess, None));
    };
    match errno::number(name) {
        Some(number) => Ok((Action::ScmpActErrno, Some(number))),
        None => Err(SpecError::UnknownErrno {
            app: app.name.clone(),
            errno: name.to_owned(),
        }),
    }
}

/// Without CAP_SYS_ADMIN there is one way left to a new namespace, and to the
/// kernel code behind it: clone with CLONE_NEWUSER. clone is allowed without
/// it; clone3, whose flags no filter can see, is missing, and C libraries then
/// fall back to clone.
fn default_rules(capabilities: &[Capability]) -> Vec<LinuxSyscall> {
    let allow = (Action::ScmpActAllow, None);
    if capabilities.contains(&Capability::SysAdmin) {
        return vec![rule(owned(default_allowed()), allow)];
    }
    let plain = default_allowed().filter(|call| !matches!(*call, "clone" | "clone3"));
    let flags = LinuxSeccompArgBuilder::default()
        .index(FLAGS_ARGUMENT)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        .value(NEW_NAMESPACES)
        .value_two(0_u64)
        .build()
        .expect("every field has a default");
    let mut clone = rule(vec!["clone".to_owned()], allow);
    clone.set_args(Some(vec![flags]));
    vec![rule(owned(plain), allow), clone]
}

fn owned(names: impl Iterator<Item = &'static str>) -> Vec<String> {
    names.map(str::to_owned).collect()
}

fn rule(names: Vec<String>, (action, errno): (Action, Option<u32>)) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names)
        .set_action(action)
        .set_errno_ret(errno);
    rule
}

fn section_of((default, errno): (Action, Option<u32>), rules: Vec<LinuxSyscall>) -> LinuxSeccomp {
    let mut section = LinuxSeccomp::default();
    section
        .set_default_action(default)
        .set_default_errno_ret(errno)
        .set_architectures(Some(architectures()))
        .set_syscalls(Some(rules));
    section
}

/// The processor's own calls, and those of the programs for its predecessors
/// that it runs as well.
fn architectures() -> Vec<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "aarch64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        _ => vec![Arch::ScmpArchNative],
    }
}
