//! The walls against known attacks, by name, so that a test can see an attack
//! succeed without its wall: an attack that fails shows nothing as long as
//! nobody knows that it could have succeeded.
//!
//! In a stage1 that is for anything but that, [`is_left_out`] is the constant
//! `false`, and what stands behind it is not in the program. One that is built
//! with the feature `without-protections` asks the environment variable
//! `RKT_WITHOUT_PROTECTIONS`, a list of names joined by commas. `./build` does
//! not know that feature, and `tests/tests/attacks` looks into what it builds.

/// A wall; its name in the variable is the variant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// The engine is executed from a read-only mount (CVE-2019-5736).
    Program,
    /// Nothing is mounted inside procfs, and nothing else in its place
    /// (CVE-2019-16884).
    ProcTargets,
    /// The kernel's file systems are where their path says, and not at the end
    /// of a link (CVE-2019-19921).
    ProcLinks,
    /// The target of a mount is looked up once, inside the root
    /// (CVE-2021-30465).
    MountTargets,
    /// What covers masked files is the host's null device (CVE-2025-31133).
    NullDevice,
    /// The terminal is put on `/dev/console` itself (CVE-2025-52565).
    Console,
    /// What is written into procfs reaches the kernel (CVE-2025-52881).
    PrivateProc,
    /// The working directory is inside the root (CVE-2024-21626).
    WorkingDirectory,
    /// Nothing is inheritable (CVE-2022-29162).
    Inheritable,
    /// The caller's session keyring stays the caller's.
    Keyring,
    /// The caller's terminal, and the session around it, stay the caller's.
    Terminal,
    /// A volume keeps the restrictions of the host's mount that it is from.
    VolumeFlags,
    /// An init that starts nothing any more has no privileges that an app
    /// which may trace it could use.
    IdleInit,
    /// The environment that the pod was started with is not in its init.
    Environment,
    /// The app's cgroup is the root of the hierarchies that it can mount, so
    /// the host's release agent is not in them (CVE-2022-0492).
    CgroupNamespace,
    /// An entered program has the app's capabilities (CVE-2019-10144).
    EnterCapabilities,
    /// An entered program has the app's filter (CVE-2019-10145).
    EnterFilter,
    /// An entered program is in the app's cgroups (CVE-2019-10147).
    EnterCgroups,
}

/// Whether a test wants to go without this one.
#[cfg(not(feature = "without-protections"))]
#[inline(always)]
pub const fn is_left_out(_: Protection) -> bool {
    false
}

/// Whether a test wants to go without this one.
#[cfg(feature = "without-protections")]
pub fn is_left_out(protection: Protection) -> bool {
    let names = std::env::var("RKT_WITHOUT_PROTECTIONS").unwrap_or_default();
    let name = format!("{protection:?}");
    names.split(',').any(|one| one == name)
}

/// Executes the program that `RKT_WITHOUT_PROTECTIONS_PROGRAM` names, with the
/// same arguments, from where it is: what stage0 prevents.
#[cfg(feature = "without-protections")]
pub fn execute_where_it_is() {
    use std::os::unix::process::CommandExt;
    const VARIABLE: &str = "RKT_WITHOUT_PROTECTIONS_PROGRAM";
    if !is_left_out(Protection::Program) {
        return;
    }
    if let Some(program) = std::env::var_os(VARIABLE) {
        let error = std::process::Command::new(&program)
            .args(std::env::args_os().skip(1))
            .env_remove(VARIABLE)
            .exec();
        panic!("cannot execute {program:?}: {error}");
    }
}
