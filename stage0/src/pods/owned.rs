//! A pod whose exclusive lock this process holds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use uuid::Uuid;

use super::{Place, Pod, PodError, Pods, State, remove};

/// The right to move, fill and delete one pod. Dropping it gives the lock back;
/// a pod this process made is also removed, unless it was [`kept`](Self::keep).
#[derive(Debug)]
pub struct OwnedPod {
    pods: Pods,
    uuid: Uuid,
    place: Place,
    dir: OwnedFd,
    half_made: bool,
}

/// A sampling reader holds a shared lock for microseconds; one that is stopped
/// by a debugger in just these must not stop us for ever.
const READERS_PATIENCE: Duration = Duration::from_secs(2);

/// Takes the exclusive lock unless another process has it.
fn lock(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    let deadline = Instant::now() + READERS_PATIENCE;
    loop {
        match flock(dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => {}
            Err(e) => return Err(e),
        }
        // Where a shared lock can be had, only readers are in the way.
        match flock(dir, FlockOperation::NonBlockingLockShared) {
            Ok(()) => flock(dir, FlockOperation::Unlock)?,
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(e) => return Err(e),
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

impl OwnedPod {
    /// A new pod in [`Place::Embryo`], locked and empty.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn create(pods: &Pods) -> Result<Self, PodError> {
        // Between mkdir and the lock, gc may take a newborn for a leftover.
        for _ in 0..16 {
            let uuid = Uuid::new_v4();
            let path = pods.path(Place::Embryo, uuid);
            let mkdir = || rustix::fs::mkdir(&path, Mode::from_raw_mode(0o750));
            match mkdir() {
                Err(Errno::NOENT) => {
                    pods.make_places()
                        .map_err(PodError::io("create", &pods.dir))?;
                    mkdir()
                }
                other => other,
            }
            .map_err(PodError::io("create", &path))?;
            match Self::take(pods, Place::Embryo, uuid) {
                Ok(mut pod) => {
                    pod.half_made = true;
                    return Ok(pod);
                }
                Err(PodError::Gone(_) | PodError::Busy { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Err(PodError::NoPeace(pods.place(Place::Embryo)))
    }

    /// Locks the pod that stands in `place`.
    ///
    /// # Errors
    /// [`PodError::Gone`] if it is not there (any more), [`PodError::Busy`] if
    /// another process holds it.
    pub fn take(pods: &Pods, place: Place, uuid: Uuid) -> Result<Self, PodError> {
        let path = pods.path(place, uuid);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Err(PodError::Gone(uuid)),
            Err(e) => return Err(PodError::io("open", path)(e)),
        };
        if !lock(dir.as_fd()).map_err(PodError::io("lock", &path))? {
            return Err(PodError::Busy {
                uuid,
                state: State::of(place, true),
            });
        }
        // It may have been renamed while we opened and locked it.
        if !pods
            .stands_at(place, uuid, dir.as_fd())
            .map_err(PodError::io("look at", path))?
        {
            return Err(PodError::Gone(uuid));
        }
        Ok(Self {
            pods: pods.clone(),
            uuid,
            place,
            dir,
            half_made: false,
        })
    }

    /// The pod's UUID.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The data directory it belongs to.
    pub(super) fn data_dir(&self) -> &Path {
        self.pods.dir.parent().unwrap_or(&self.pods.dir)
    }

    /// Its directory now; another after [`move_to`](Self::move_to).
    pub fn path(&self) -> PathBuf {
        self.pods.path(self.place, self.uuid)
    }

    /// Its directory when it will have come to `place`.
    pub fn path_in(&self, place: Place) -> PathBuf {
        self.pods.path(place, self.uuid)
    }

    /// Its directory, whatever it is called.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The pod as others see it.
    ///
    /// # Errors
    /// What stops us from looking.
    pub fn look(&self) -> Result<Pod, PodError> {
        self.pods.sample(self.uuid)
    }

    /// Renames the directory into its next place.
    ///
    /// # Errors
    /// What `rename(2)` says.
    ///
    /// # Panics
    /// If the life cycle has no such step.
    pub fn move_to(&mut self, next: Place) -> Result<(), PodError> {
        assert!(
            self.place.may_become(next),
            "a pod in {:?} never becomes {next:?}",
            self.place
        );
        let from = self.path();
        let to = self.pods.path(next, self.uuid);
        match rustix::fs::rename(&from, &to) {
            Err(Errno::NOENT) if from.exists() => {
                // An older layout, or somebody tidied up an empty directory.
                self.pods
                    .make_places()
                    .map_err(PodError::io("create", &self.pods.dir))?;
                rustix::fs::rename(&from, &to)
            }
            other => other,
        }
        .map_err(PodError::io("move", from))?;
        self.place = next;
        Ok(())
    }

    /// The pod is complete: dropping this value no longer removes it.
    pub fn keep(&mut self) {
        self.half_made = false;
    }

    /// Deletes the directory with everything below it. What is mounted in it
    /// is left alone and makes this fail.
    ///
    /// # Errors
    /// If something could not be deleted; the rest is still there, in
    /// [`Place::Garbage`], for the next attempt.
    pub fn delete(mut self) -> Result<(), PodError> {
        self.half_made = false;
        self.delete_now()
    }

    fn delete_now(&mut self) -> Result<(), PodError> {
        // Out of sight first, so that a crash half-way shows no torn pod.
        if self.place == Place::Run {
            self.move_to(Place::ExitedGarbage)?;
        }
        if self.place != Place::Garbage {
            self.move_to(Place::Garbage)?;
        }
        crate::ranges::release(self.uuid, &self.path())
            .map_err(|e| PodError::io("free the ids of", self.path())(std::io::Error::other(e)))?;
        remove::tree(&self.path())
    }

    /// The lock's descriptor, for the process that takes over the pod; the pod
    /// is kept.
    pub fn into_lock(mut self) -> OwnedFd {
        self.half_made = false;
        // `Drop` forbids moving the field out; a second descriptor of the same
        // open file holds the same lock.
        match self.dir.try_clone() {
            Ok(fd) => fd,
            Err(e) => unreachable!("one more descriptor was to be had a moment ago: {e}"),
        }
    }
}

impl Drop for OwnedPod {
    fn drop(&mut self) {
        // The error that brought us here is the one to tell; what cannot be
        // deleted now is in garbage/, where gc finds it.
        if self.half_made {
            let _ = self.delete_now();
        }
    }
}

impl Pods {
    /// Does this open directory (still) stand in `place` under this UUID?
    pub(super) fn stands_at(
        &self,
        place: Place,
        uuid: Uuid,
        dir: BorrowedFd<'_>,
    ) -> Result<bool, Errno> {
        let there = match rustix::fs::lstat(self.path(place, uuid)) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(e) => return Err(e),
        };
        let here = rustix::fs::fstat(dir)?;
        Ok((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino))
    }
}
