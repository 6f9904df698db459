//! Files and directories that take their name when they are complete.
//!
//! They are made beside their place under another name; what stood there
//! before is gone only when the new one stands there.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::{NamedTempFile, TempDir};

use crate::failure::Failure;

/// A file in the making.
pub(crate) struct NewFile {
    file: NamedTempFile,
    target: PathBuf,
    overwrite: bool,
}

impl NewFile {
    /// # Errors
    /// The place is taken and must not be overwritten, is not a regular file's,
    /// or cannot be written to. `exists` says the first.
    pub(crate) fn new(
        target: &Path,
        overwrite: bool,
        exists: &'static str,
    ) -> Result<Self, Failure> {
        // The file a link leads to is meant, not the link.
        let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
        match target.symlink_metadata() {
            Ok(_) if !overwrite => return Err(Failure::new(exists)),
            Ok(there) if !there.is_file() => {
                return Err(Failure::new(format!(
                    "cannot overwrite {target:?}: it is no regular file"
                )));
            }
            _ => {}
        }
        let file = tempfile::Builder::new()
            .prefix(".rkt-export-")
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(parent(&target))
            .map_err(|e| Failure::because(format!("cannot create {target:?}"), e))?;
        Ok(Self {
            file,
            target,
            overwrite,
        })
    }

    /// The directory the file will stand in.
    pub(crate) fn directory(&self) -> PathBuf {
        parent(&self.target).to_owned()
    }

    /// Where to write.
    pub(crate) fn file(&mut self) -> &mut fs::File {
        self.file.as_file_mut()
    }

    /// Gives the file its name.
    pub(crate) fn publish(self, exists: &'static str) -> Result<(), Failure> {
        let target = self.target;
        let failed = |e| Failure::because(format!("cannot write {target:?}"), e);
        self.file.as_file().sync_all().map_err(failed)?;
        let renamed = if self.overwrite {
            self.file.persist(&target)
        } else {
            self.file.persist_noclobber(&target)
        };
        match renamed {
            Ok(_) => Ok(()),
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::new(exists)),
            Err(e) => Err(failed(e.error)),
        }
    }
}

/// A directory in the making.
pub(crate) struct NewDir {
    dir: TempDir,
    target: PathBuf,
    overwrite: bool,
}

const DIR_EXISTS: &str = "output directory exists (try --overwrite)";

impl NewDir {
    /// `data_dir` must survive whatever is overwritten.
    ///
    /// # Errors
    /// The place is taken and must not be overwritten, is `/`, holds the data
    /// directory or a mount, or cannot be written to.
    pub(crate) fn new(target: &Path, overwrite: bool, data_dir: &Path) -> Result<Self, Failure> {
        let target = match target.canonicalize() {
            Ok(target) => target,
            Err(e) if e.kind() == io::ErrorKind::NotFound => std::path::absolute(target)
                .map_err(|e| Failure::because(format!("cannot use {target:?}"), e))?,
            Err(e) => return Err(Failure::because(format!("cannot use {target:?}"), e)),
        };
        if target == Path::new("/") {
            return Err(Failure::new(
                "this would delete your root filesystem. Refusing.",
            ));
        }
        if let Ok(there) = target.symlink_metadata() {
            if !overwrite {
                return Err(Failure::new(DIR_EXISTS));
            }
            check_replaceable(&target, there.is_dir(), data_dir)?;
        }
        let dir = tempfile::Builder::new()
            .prefix(".rkt-export-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(parent(&target))
            .map_err(|e| Failure::because(format!("cannot create {target:?}"), e))?;
        Ok(Self {
            dir,
            target,
            overwrite,
        })
    }

    /// Where the directory is until it is published.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The same, open.
    pub(crate) fn open(&self) -> Result<OwnedFd, Failure> {
        let dir = fs::File::open(self.path());
        let dir = dir.map_err(|e| Failure::because(format!("cannot open {:?}", self.path()), e))?;
        Ok(dir.into())
    }

    /// Gives the directory its name and removes what had it before.
    pub(crate) fn publish(self) -> Result<(), Failure> {
        let target = self.target;
        let failed = |e: io::Error| Failure::because(format!("cannot write {target:?}"), e);
        let made = fs::File::open(self.dir.path()).map_err(failed)?;
        rustix::fs::syncfs(made.as_fd()).map_err(|e| failed(e.into()))?;
        let rename = |flags| renameat_with(CWD, self.dir.path(), CWD, &target, flags);
        match rename(RenameFlags::NOREPLACE) {
            Ok(()) => {
                // Nothing has the temporary name any more.
                let _ = self.dir.keep();
                return Ok(());
            }
            Err(rustix::io::Errno::EXIST) if self.overwrite => {}
            Err(rustix::io::Errno::EXIST) => return Err(Failure::new(DIR_EXISTS)),
            Err(e) => return Err(failed(e.into())),
        }
        rename(RenameFlags::EXCHANGE).map_err(|e| failed(e.into()))?;
        self.dir.close().map_err(|e| {
            Failure::because(
                format!("{target:?} is complete, but what it replaces could not be removed"),
                e,
            )
        })
    }
}

fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Deleting goes through mounts, and takes the store if it is in there.
fn check_replaceable(target: &Path, is_dir: bool, data_dir: &Path) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::new(format!("cannot overwrite {target:?}: {why}")));
    if !is_dir {
        return refuse("it is no directory");
    }
    if data_dir.starts_with(target) || target.starts_with(data_dir) {
        return refuse("it is part of rkt's data directory, or contains it");
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|e| Failure::because("cannot read /proc/self/mountinfo", e))?;
    let holds_a_mount = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .any(|point| Path::new(&unescape(point)).starts_with(target));
    if holds_a_mount {
        return refuse("something is mounted in it; unmount it first");
    }
    Ok(())
}

/// proc_pid_mountinfo(5): blanks and backslashes are octal escapes.
fn unescape(point: &str) -> String {
    point
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<impl Sized, Failure>) -> String {
        match result {
            Ok(_) => "it worked".to_owned(),
            Err(failure) => failure.text(false),
        }
    }

    #[test]
    fn a_directory_is_there_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().unwrap();
        let (target, data) = (scratch.path().join("out"), Path::new("/nowhere/data"));
        let make = |text: &str, overwrite| -> Result<(), Failure> {
            let new = NewDir::new(&target, overwrite, data)?;
            fs::write(new.path().join("file"), text).unwrap();
            new.publish()
        };
        drop(NewDir::new(&target, false, data).ok().unwrap());
        assert!(!target.exists());
        make("1", false).ok().unwrap();
        assert_eq!(message(make("2", false)), DIR_EXISTS);
        make("3", true).ok().unwrap();
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "3");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_must_not_be_deleted_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path().canonicalize().unwrap().join("data");
        fs::create_dir_all(data.join("store")).unwrap();
        let refusal = |target: &Path| message(NewDir::new(target, true, &data));
        assert!(refusal(Path::new("/")).contains("Refusing"));
        assert!(refusal(Path::new("/usr/..")).contains("Refusing"));
        for target in [scratch.path(), &data, &data.join("store")] {
            assert!(refusal(target).contains("data directory"), "{target:?}");
        }
        assert!(refusal(Path::new("/dev")).contains("mounted"));
        assert!(refusal(Path::new("/etc/passwd")).contains("no directory"));
    }

    #[test]
    fn a_file_replaces_files_only() {
        let scratch = tempfile::tempdir().unwrap();
        let target = scratch.path().join("out");
        NewFile::new(&target, false, "there")
            .ok()
            .unwrap()
            .publish("there")
            .ok()
            .unwrap();
        assert_eq!(message(NewFile::new(&target, false, "there")), "there");
        NewFile::new(&target, true, "there")
            .ok()
            .unwrap()
            .publish("there")
            .ok()
            .unwrap();
        assert!(
            message(NewFile::new(Path::new("/dev/null"), true, "")).contains("no regular file")
        );
        assert!(message(NewFile::new(scratch.path(), true, "")).contains("no regular file"));
    }
}
