//! From a specification's seccomp section to the program the kernel runs.
//!
//! libseccomp takes milliseconds for a filter of three hundred system calls,
//! as much as the whole rest of a start, so a program is kept under the hash
//! of what it was made from. Only root can write there, and who is root need
//! not forge a filter.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator,
};
use sha2::{Digest, Sha256};
use sys::seccomp::{FilterFlags, Program};

use crate::error::{Error, Result};

mod compact;

/// What we keep until the host restarts; others may look.
const RUN: &str = "/run/rkt";

/// Where compiled filters are kept; others may not.
const CACHE: &str = "/run/rkt/seccomp";

/// Changed when another program is made from the same section.
const FORMAT: &[u8] = b"rkt seccomp 2\0";

/// A compiled filter.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The program.
    pub program: Program,
    /// How to install it.
    pub flags: FilterFlags,
}

impl Filter {
    /// Compiles the section, or takes the program from the cache. None when
    /// it allows everything.
    pub(super) fn compile(section: &LinuxSeccomp) -> Result<Option<Self>> {
        if section.default_action() == LinuxSeccompAction::ScmpActAllow
            && section.syscalls().iter().flatten().count() == 0
        {
            return Ok(None);
        }
        let flags = flags(section)?;
        let cached = cache_file(section);
        if let Some(program) = cached.as_deref().and_then(load) {
            return Ok(Some(Self { program, flags }));
        }
        let long = build(section)?;
        let bytes = compact::compact(&long).unwrap_or(long);
        if let Some(file) = cached {
            // A full or read-only /run only costs the next start its time.
            let _kept = store(&file, &bytes);
        }
        let program =
            Program::from_bytes(&bytes).map_err(Error::system("use", "the compiled filter"))?;
        Ok(Some(Self { program, flags }))
    }
}

fn flags(section: &LinuxSeccomp) -> Result<FilterFlags> {
    let mut flags = FilterFlags::empty();
    for flag in section.flags().iter().flatten() {
        flags |= match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => FilterFlags::LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => FilterFlags::TSYNC,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FilterFlags::SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                return Err(refused("linux.seccomp.flags", flag.to_string()));
            }
        };
    }
    if section.listener_path().is_some() {
        return Err(refused("linux.seccomp.listenerPath", String::new()));
    }
    Ok(flags)
}

fn refused(field: &'static str, value: String) -> Error {
    Error::Refused {
        field,
        value,
        reason: "this engine does not support it",
    }
}

fn cache_file(section: &LinuxSeccomp) -> Option<PathBuf> {
    let mut hash = Sha256::new();
    hash.update(FORMAT);
    hash.update(std::env::consts::ARCH);
    serde_json::to_writer(&mut hash, section).ok()?;
    let mut name = String::with_capacity(64);
    for byte in hash.finalize() {
        name.push(char::from_digit(u32::from(byte >> 4), 16)?);
        name.push(char::from_digit(u32::from(byte & 15), 16)?);
    }
    Some(Path::new(CACHE).join(name))
}

/// A kept program; none when there is none, or none to be trusted.
fn load(file: &Path) -> Option<Program> {
    let mut opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(file)
        .ok()?;
    let about = opened.metadata().ok()?;
    if about.uid() != 0 || about.mode() & 0o022 != 0 {
        return None;
    }
    let mut bytes = Vec::with_capacity(about.size() as usize);
    opened.read_to_end(&mut bytes).ok()?;
    Program::from_bytes(&bytes).ok()
}

fn store(file: &Path, bytes: &[u8]) -> io::Result<()> {
    for (directory, mode) in [(RUN, 0o755), (CACHE, 0o700)] {
        match DirBuilder::new().mode(mode).create(directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    let staged = file.with_extension(std::process::id().to_string());
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&staged)?;
    let written = out
        .write_all(bytes)
        .and_then(|()| fs::rename(&staged, file));
    if written.is_err() {
        fs::remove_file(&staged)?;
    }
    written
}

/// Compiles the section with libseccomp.
fn build(section: &LinuxSeccomp) -> Result<Vec<u8>> {
    let failed = |source| Error::Seccomp { source };
    let default = action(section.default_action(), section.default_errno_ret())?;
    let mut filter = ScmpFilterContext::new(default).map_err(failed)?;
    // no_new_privs is the specification's business, not the filter's.
    filter.set_ctl_nnp(false).map_err(failed)?;
    // A tree instead of a list: the kernel evaluates the filter for each of
    // its system calls when it is installed, and then at each call.
    filter.set_ctl_optimize(2).map_err(failed)?;
    for &named in section.architectures().iter().flatten() {
        let named = architecture(named)?;
        if !filter.is_arch_present(named).map_err(failed)? {
            filter.add_arch(named).map_err(failed)?;
        }
    }
    for rule in section.syscalls().iter().flatten() {
        let todo = action(rule.action(), rule.errno_ret())?;
        if todo == default {
            continue;
        }
        let args = rule.args().as_deref().unwrap_or_default();
        for name in rule.names() {
            // A call that this machine or this libseccomp does not know
            // cannot be made either; the default action is for the unknown.
            let Ok(call) = ScmpSyscall::from_name(name) else {
                continue;
            };
            add(&mut filter, todo, call, args).map_err(failed)?;
        }
    }
    export(&filter)
}

/// Through a file, for libseccomp exports to memory from 2.6 on only.
fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>> {
    let unread = || Error::attempt("read", "the compiled filter");
    let file = rustix::fs::memfd_create(c"seccomp", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|e| unread().because(e))?;
    filter
        .export_bpf(&file)
        .map_err(|source| Error::Seccomp { source })?;
    let mut file = fs::File::from(file);
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(|e| unread().because(e))?;
    Ok(bytes)
}

/// One argument cannot be compared twice in one rule, so several comparisons
/// of one are one rule each, as runc and crun do it.
fn add(
    filter: &mut ScmpFilterContext,
    todo: ScmpAction,
    call: ScmpSyscall,
    args: &[LinuxSeccompArg],
) -> std::result::Result<(), libseccomp::error::SeccompError> {
    if args.is_empty() {
        filter.add_rule(todo, call)?;
        return Ok(());
    }
    let comparisons: Vec<_> = args.iter().map(comparison).collect();
    let mut indices: Vec<_> = args.iter().map(LinuxSeccompArg::index).collect();
    indices.sort_unstable();
    if indices.windows(2).any(|pair| pair[0] == pair[1]) {
        for one in comparisons {
            filter.add_rule_conditional(todo, call, &[one])?;
        }
    } else {
        filter.add_rule_conditional(todo, call, &comparisons)?;
    }
    Ok(())
}

fn comparison(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    use LinuxSeccompOperator as Op;
    let (op, value) = match arg.op() {
        Op::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        Op::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        Op::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        Op::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        Op::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        Op::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        // The specification's value is the mask and its second the datum.
        Op::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(arg.value()),
            arg.value_two().unwrap_or(0),
        ),
    };
    ScmpArgCompare::new(arg.index() as u32, op, value)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction> {
    use LinuxSeccompAction as A;
    let errno = errno.unwrap_or(libc::EPERM as u32);
    Ok(match action {
        A::ScmpActKill | A::ScmpActKillThread => ScmpAction::KillThread,
        A::ScmpActKillProcess => ScmpAction::KillProcess,
        A::ScmpActTrap => ScmpAction::Trap,
        A::ScmpActErrno => ScmpAction::Errno(errno as i32),
        A::ScmpActTrace => ScmpAction::Trace(errno as u16),
        A::ScmpActLog => ScmpAction::Log,
        A::ScmpActAllow => ScmpAction::Allow,
        A::ScmpActNotify => {
            return Err(refused("linux.seccomp.action", "SCMP_ACT_NOTIFY".into()));
        }
    })
}

fn architecture(named: Arch) -> Result<ScmpArch> {
    Ok(match named {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        other => return Err(refused("linux.seccomp.architectures", other.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(json: &str) -> LinuxSeccomp {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_filter_that_allows_all_is_none() {
        let all = section(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
        assert!(Filter::compile(&all).unwrap().is_none());
    }

    #[test]
    fn unknown_calls_are_left_to_the_default() {
        let filter = section(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],
                "syscalls":[{"names":["read","no_such_call"],"action":"SCMP_ACT_ALLOW"}]}"#,
        );
        let bytes = build(&filter).unwrap();
        Program::from_bytes(&bytes).unwrap();
    }

    #[test]
    fn two_comparisons_of_one_argument_are_two_rules() {
        let filter = section(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["personality"],
                "action":"SCMP_ACT_ERRNO","errnoRet":38,"args":[
                {"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]}]}"#,
        );
        Program::from_bytes(&build(&filter).unwrap()).unwrap();
    }

    #[test]
    fn what_needs_a_listener_is_refused() {
        let notify = section(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mount"],
                "action":"SCMP_ACT_NOTIFY"}]}"#,
        );
        let line = build(&notify).unwrap_err().line();
        assert!(line.contains("SCMP_ACT_NOTIFY"), "{line}");
    }

    #[test]
    fn other_sections_have_other_files() {
        let one = section(r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#);
        let two = section(r#"{"defaultAction":"SCMP_ACT_KILL"}"#);
        assert_ne!(cache_file(&one), cache_file(&two));
        assert_eq!(cache_file(&one), cache_file(&one));
    }
}
