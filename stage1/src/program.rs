//! Finding an app's program, and saying why it cannot be executed.
//!
//! Runs in the app's root, in its working directory. The kernel's `ENOENT`
//! has three causes; a person needs to know which.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use crate::error::{Error, Result};
use crate::plan::Process;

/// The path to execute.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::NotExecutable`].
pub fn find(process: &Process) -> Result<CString> {
    let name = Path::new(OsStr::from_bytes(process.argv[0].as_bytes()));
    if process.search.is_empty() {
        check(name).map_err(|reason| match reason {
            Unusable::Absent => Error::NotFound {
                program: name.display().to_string(),
                searched: process.cwd.display().to_string(),
            },
            Unusable::Because(reason) => not_executable(name, reason),
        })?;
        return Ok(process.argv[0].clone());
    }
    let mut unusable = None;
    for directory in &process.search {
        let path = directory.join(name);
        match check(&path) {
            Ok(()) => {
                return CString::new(path.into_os_string().into_vec())
                    .map_err(|_| not_executable(name, "its path holds a NUL byte".into()));
            }
            Err(Unusable::Absent) => {}
            // As a shell does: go on looking, but remember.
            Err(Unusable::Because(reason)) => {
                unusable.get_or_insert((path, reason));
            }
        }
    }
    match unusable {
        Some((path, reason)) => Err(not_executable(&path, reason)),
        None => Err(Error::NotFound {
            program: name.display().to_string(),
            searched: join(&process.search),
        }),
    }
}

fn join(directories: &[PathBuf]) -> String {
    let names: Vec<_> = directories.iter().map(|d| d.to_string_lossy()).collect();
    names.join(":")
}

fn not_executable(path: &Path, reason: String) -> Error {
    Error::NotExecutable {
        program: path.display().to_string(),
        reason,
    }
}

enum Unusable {
    Absent,
    Because(String),
}

fn check(path: &Path) -> std::result::Result<(), Unusable> {
    let because = |reason: &str| Unusable::Because(reason.to_owned());
    // No magic links: `/proc/self/exe` would be the engine's own binary.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    let file = match opened.map_err(io::Error::from) {
        Ok(file) => file,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Err(Unusable::Absent);
        }
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
            return Err(because("its symbolic links lead nowhere"));
        }
        Err(e) => return Err(Unusable::Because(e.kind().to_string())),
    };
    let stat = rustix::fs::fstat(&file).map_err(|e| Unusable::Because(e.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(because("it is not a regular file"));
    }
    if stat.st_mode & 0o111 == 0 {
        return Err(because("its mode has no execute permission"));
    }
    Ok(())
}

/// Why the kernel did not execute a file that [`find`] found.
pub fn explain(program: &CString, error: io::Error) -> Error {
    let path = Path::new(OsStr::from_bytes(program.as_bytes()));
    let reason = match error.raw_os_error() {
        Some(libc::ENOENT) => match interpreter(path) {
            Some(name) => format!("its interpreter {name:?} is missing"),
            None => "it is gone".to_owned(),
        },
        Some(libc::ENOEXEC) => {
            "it is no program for this machine, and no script with a #! line".to_owned()
        }
        Some(libc::EACCES) => "permission denied for the app's user".to_owned(),
        _ => error.to_string(),
    };
    not_executable(path, reason)
}

/// What a script's first line or an ELF file's program header names.
fn interpreter(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let mut head = [0; 256];
    let length = file.read(&mut head).ok()?;
    let head = &head[..length];
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&b| b == b'\n').next()?.trim_ascii();
        let name = line.split(|&b| b == b' ' || b == b'\t').next()?;
        return Some(String::from_utf8_lossy(name).into_owned());
    }
    elf_interpreter(&file, head)
}

/// `PT_INTERP` of a little-endian 64-bit ELF file (elf(5)); others get the
/// general words.
fn elf_interpreter(file: &File, head: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let number = |bytes: &[u8], at: usize, size: usize| -> Option<u64> {
        let field = bytes.get(at..at + size)?;
        Some(
            field
                .iter()
                .rev()
                .fold(0, |n, &byte| (n << 8) | u64::from(byte)),
        )
    };
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (offset, size, count) = (
        number(head, 32, 8)?,
        number(head, 54, 2)?,
        number(head, 56, 2)?,
    );
    for index in 0..count {
        let mut header = [0; 56];
        let at = offset.checked_add(index.checked_mul(size)?)?;
        file.read_exact_at(&mut header, at).ok()?;
        if number(&header, 0, 4)? == PT_INTERP {
            let mut name = vec![0; usize::try_from(number(&header, 32, 8)?.min(4096)).ok()?];
            file.read_exact_at(&mut name, number(&header, 8, 8)?).ok()?;
            name.retain(|&byte| byte != 0);
            return String::from_utf8(name).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_cannot_be_executed_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let told = |path: &Path| match check(path) {
            Ok(()) => "usable".to_owned(),
            Err(Unusable::Absent) => "absent".to_owned(),
            Err(Unusable::Because(reason)) => reason,
        };
        assert_eq!(told(&file("ok", "", 0o755)), "usable");
        assert_eq!(
            told(&file("data", "", 0o644)),
            "its mode has no execute permission"
        );
        assert_eq!(told(dir.path()), "it is not a regular file");
        assert_eq!(told(&dir.path().join("none")), "absent");
        assert_eq!(
            told(Path::new("/proc/self/exe")),
            "its symbolic links lead nowhere"
        );
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        fs::write(&script, "#! /no/such/sh -e\n").unwrap();
        assert_eq!(interpreter(&script).as_deref(), Some("/no/such/sh"));
        let elf = interpreter(Path::new("/bin/ls")).unwrap();
        assert!(elf.contains("ld-linux"), "{elf}");
    }
}
