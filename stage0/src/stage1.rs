//! Finding stage1, and becoming it.

use std::convert::Infallible;
use std::ffi::CString;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use sys::mount_attributes::{Change, MountAttributes, set_mount_attributes};

/// Name of the program.
pub const PROGRAM: &str = "rkt-stage1";

/// Why there is no stage1 to become.
#[derive(Debug, thiserror::Error)]
pub enum Stage1Error {
    /// It is in none of the places where it should be.
    #[error("cannot find {PROGRAM} in {} (give its path: --stage1-path)", list(.0))]
    NotFound(Vec<PathBuf>),
    /// It is there, and cannot be used.
    #[error("cannot {what} {path:?}")]
    Io {
        /// In the infinitive.
        what: &'static str,
        /// The program.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("{path:?}")).collect();
    quoted.join(" or ")
}

/// A stage1 program, found and opened.
#[derive(Debug)]
pub struct Stage1 {
    path: PathBuf,
    /// A mount of its own, read-only and attached nowhere. Whoever gets at
    /// `/proc/PID/exe` of the supervisor or of the pod's init cannot write to
    /// the host's file through it, whatever privileges it has.
    program: OwnedFd,
}

impl Stage1 {
    /// Opens the program at `path`, or else the one beside rkt or in
    /// `../libexec/rkt`.
    ///
    /// # Errors
    /// If there is none, or none that can be opened.
    pub fn find(path: Option<&Path>) -> Result<Self, Stage1Error> {
        if let Some(path) = path {
            return Self::open(path).map_err(|e| failed("use", path, e));
        }
        let myself = std::env::current_exe().map_err(|e| failed("find", Path::new(PROGRAM), e))?;
        let dir = myself.parent().unwrap_or(Path::new("/"));
        let places = vec![dir.join(PROGRAM), dir.join("../libexec/rkt").join(PROGRAM)];
        for place in &places {
            match Self::open(place) {
                Ok(stage1) => return Ok(stage1),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed("use", place, e)),
            }
        }
        Err(Stage1Error::NotFound(places))
    }

    fn open(path: &Path) -> io::Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let program = open_tree(CWD, path, flags)?;
        let read_only = Change {
            set: MountAttributes::READ_ONLY,
            ..Change::default()
        };
        set_mount_attributes(program.as_fd(), c"", read_only)?;
        Ok(Self {
            path: path.to_owned(),
            program,
        })
    }

    /// The program's descriptor, which cannot be written through.
    pub(crate) fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// The program, to be run with these arguments beside us.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command =
            std::process::Command::new(format!("/proc/self/fd/{}", self.program.as_raw_fd()));
        command.arg0(PROGRAM).args(arguments);
        command
    }

    /// Whether this process executes the program now, as an app's process does
    /// until it becomes the app; none when there is no such process.
    pub(crate) fn is_executed_by(&self, pid: i32) -> Option<bool> {
        let ours = rustix::fs::fstat(&self.program).ok()?;
        let theirs = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        Some((theirs.dev(), theirs.ino()) == (ours.st_dev, ours.st_ino))
    }

    /// Runs the program in `directory` with `input` on its standard input.
    ///
    /// # Errors
    /// That it cannot be run; or all that it said when it failed, without its
    /// verb, one thing a line.
    pub(crate) fn ask(&self, arguments: &[&str], directory: &Path, input: &[u8]) -> io::Result<()> {
        let mut child = self
            .command(arguments)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            match pipe.write_all(input) {
                // What it says then is more telling.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
                other => other?,
            }
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = said
            .lines()
            .map(|line| line.split_once(": ").map_or(line, |(_, said)| said));
        Err(io::Error::other(lines.collect::<Vec<_>>().join("\n")))
    }

    /// Becomes the program, with these arguments, and with these variables
    /// added to our environment.
    ///
    /// # Errors
    /// What `execveat(2)` said.
    pub(crate) fn exec(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Infallible, Stage1Error> {
        let string =
            |bytes: &[u8]| CString::new(bytes).map_err(|e| failed("execute", &self.path, e.into()));
        let mut argv = vec![string(PROGRAM.as_bytes())?];
        for argument in arguments {
            argv.push(string(argument.as_bytes())?);
        }
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            if variables.iter().any(|(ours, _)| name == *ours) {
                continue;
            }
            let both = [name.as_bytes(), b"=", value.as_bytes()].concat();
            environment.push(string(&both)?);
        }
        for (name, value) in variables {
            environment.push(string(format!("{name}={value}").as_bytes())?);
        }
        nix::unistd::fexecve(&self.program, &argv, &environment)
            .map_err(|e| failed("execute", &self.path, e.into()))
    }
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> Stage1Error {
    Stage1Error::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_were_looked_at_are_told() {
        let error = Stage1Error::NotFound(vec!["/a/x".into(), "/b/x".into()]);
        assert_eq!(
            error.to_string(),
            "cannot find rkt-stage1 in \"/a/x\" or \"/b/x\" (give its path: --stage1-path)"
        );
    }

    #[test]
    fn nothing_can_be_written_through_an_opened_program() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: cloning a mount needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(PROGRAM);
        std::fs::write(&path, "program").unwrap();
        let stage1 = Stage1::find(Some(&path)).unwrap();
        use std::os::fd::AsRawFd;
        let through = format!("/proc/self/fd/{}", stage1.program.as_raw_fd());
        let error = std::fs::OpenOptions::new().write(true).open(through);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        assert!(Stage1::find(Some(&dir.path().join("nosuch"))).is_err());
    }
}
