//! What a pod's files say.
//!
//! Any of them may be missing (the pod is younger or was cut short) or damaged
//! (a full disk, a person). Every question has its own answer, so one bad file
//! never hides what the others say. Those of a pod that runs are not synced, as
//! it does not outlive its boot; what a power cut leaves of it may be empty
//! files, which are told apart from damage ([`PodError::Unwritten`]).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use manifests::appc::PodManifest;
use manifests::cni::net_info::{self, NetInfo};
use manifests::engine::{
    self, AppStatus, CGROUP_FILE, Logs, PID_FILE, PPID_FILE, Process, READY_FILE, STATUS_FILE,
};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use serde::Deserialize;

use super::{Pod, PodError};

/// The pod manifest's file in the pod directory. Its modification time is the
/// pod's birthday: whoever changes the manifest gives it back the old one. (The
/// original had a file of its own for that, which every start would pay for.)
pub const MANIFEST: &str = "pod";
/// Directory with one directory per app.
pub const APPS: &str = "apps";

/// No file of ours is nearly as long; a longer one is not read to its end.
const LONGEST: usize = 16 << 20;

/// Most files of ours are shorter, and are read by one call.
const USUAL: usize = 16 << 10;

impl Pod {
    /// The pod manifest.
    ///
    /// # Errors
    /// If it is missing, cannot be read, or is no valid manifest.
    pub fn manifest(&self) -> Result<PodManifest, PodError> {
        let damaged = |reason: String| PodError::Damaged {
            uuid: self.uuid(),
            file: MANIFEST.to_owned(),
            reason,
        };
        let bytes = self
            .read(MANIFEST)?
            .ok_or_else(|| damaged("it is missing".to_owned()))?;
        PodManifest::from_slice(&bytes).map_err(|e| damaged(e.to_string()))
    }

    /// The unit of systemd in whose cgroup its apps are; `None` if they are not
    /// in one, or the pod has not run.
    ///
    /// # Errors
    /// If the file that says so cannot be read.
    pub fn unit(&self) -> Result<Option<String>, PodError> {
        let Some(bytes) = self.read(CGROUP_FILE)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let cgroup = text.lines().next().map(Path::new);
        let unit = cgroup.and_then(Path::parent).and_then(Path::file_name);
        let unit = unit.map(|name| name.to_string_lossy().into_owned());
        Ok(unit.filter(|name| name.ends_with(".service") || name.ends_with(".scope")))
    }

    /// Where what its apps write is kept; `None` if it is not, or the pod has
    /// not run.
    ///
    /// # Errors
    /// If the file that says so cannot be read.
    pub fn logs(&self) -> Result<Option<Logs>, PodError> {
        #[derive(Deserialize)]
        struct Engine {
            logs: Option<Logs>,
        }
        let Some(bytes) = self.read(engine::FILE)? else {
            return Ok(None);
        };
        let engine: Engine = serde_json::from_slice(&bytes).map_err(|e| PodError::Damaged {
            uuid: self.uuid(),
            file: engine::FILE.to_owned(),
            reason: e.to_string(),
        })?;
        Ok(engine.logs)
    }

    /// When it was prepared; `None` while it has no manifest.
    ///
    /// # Errors
    /// What stopped us from looking.
    pub fn created(&self) -> Result<Option<SystemTime>, PodError> {
        self.modified(MANIFEST)
    }

    /// When stage1 had started it; `None` if it never was.
    ///
    /// # Errors
    /// What stopped us from looking.
    pub fn started(&self) -> Result<Option<SystemTime>, PodError> {
        match self.modified(PID_FILE)? {
            None => self.modified(PPID_FILE),
            time => Ok(time),
        }
    }

    /// When it came to where it stands.
    ///
    /// # Errors
    /// What stopped us from looking.
    pub fn changed(&self) -> Result<SystemTime, PodError> {
        let stat = fstat(self.dir()).map_err(PodError::io("look at", self.path()))?;
        Ok(time(stat.st_ctime, stat.st_ctime_nsec))
    }

    /// The pod's PID 1.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn init(&self) -> Result<Option<Process>, PodError> {
        self.json(PID_FILE)
    }

    /// The process that supervises the pod.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn supervisor(&self) -> Result<Option<Process>, PodError> {
        self.json(PPID_FILE)
    }

    /// Whether all its apps have been ready once.
    ///
    /// # Errors
    /// What stopped us from looking.
    pub fn is_ready(&self) -> Result<bool, PodError> {
        Ok(self.modified(READY_FILE)?.is_some())
    }

    /// What became of an app; `None` if it was not started yet.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn app_status(&self, app: &str) -> Result<Option<AppStatus>, PodError> {
        self.json(&format!("{APPS}/{app}/{STATUS_FILE}"))
    }

    /// The networks that it has joined; none before it ran.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn networks(&self) -> Result<Vec<NetInfo>, PodError> {
        Ok(self.json(net_info::FILE)?.unwrap_or_default())
    }

    fn json<T: serde::de::DeserializeOwned>(&self, file: &str) -> Result<Option<T>, PodError> {
        let Some(bytes) = self.read(file)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| PodError::Damaged {
                uuid: self.uuid(),
                file: file.to_owned(),
                reason: e.to_string(),
            })
    }

    fn modified(&self, file: &str) -> Result<Option<SystemTime>, PodError> {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(self.dir(), file, flags) {
            Ok(stat) => Ok(Some(time(stat.st_mtime, stat.st_mtime_nsec))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(PodError::io("look at", self.path().join(file))(e)),
        }
    }

    /// The bytes of a file below the pod directory, at least one; `None` if
    /// there is no such file.
    fn read(&self, file: &str) -> Result<Option<Vec<u8>>, PodError> {
        let read = || -> Result<Option<Vec<u8>>, Errno> {
            let fd = match open_below(self.dir(), file) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => return Ok(None),
                Err(e) => return Err(e),
            };
            let mut bytes = Vec::with_capacity(USUAL);
            loop {
                bytes.reserve(USUAL);
                let room = bytes.capacity() - bytes.len();
                let length = rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut bytes))?;
                // Of a regular file, less than was asked for is the rest of it.
                if length < room || bytes.len() > LONGEST {
                    return Ok(Some(bytes));
                }
            }
        };
        match read() {
            Ok(Some(bytes)) if bytes.is_empty() => Err(PodError::Unwritten {
                uuid: self.uuid(),
                file: file.to_owned(),
            }),
            Ok(read) => Ok(read),
            Err(e) => Err(PodError::io("read", self.path().join(file))(e)),
        }
    }
}

fn open_below(dir: impl AsFd, file: &str) -> Result<OwnedFd, Errno> {
    // Nothing in a pod directory that we read is a link: whoever put one there
    // wants us to read something else.
    openat2(
        dir,
        file,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
}

fn time(seconds: i64, nanoseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(seconds.unsigned_abs(), nanoseconds as u32)
}
