//! Finding pods without standing in anybody's way.
//!
//! A sample is stale the moment it is taken, and every user of one must live
//! with that. But it is never *wrong*: the state it tells was the pod's state
//! at one moment between call and return.

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use manifests::image_id::ImageId;
use rustix::fs::{Dir, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use uuid::Uuid;

use super::{OwnedPod, Place, PodError, Pods, State};

/// A pod as it was when we looked. Holds its directory open, so its files can
/// be read even when it is renamed meanwhile; holds no lock.
#[derive(Debug)]
pub struct Pod {
    pods: Pods,
    uuid: Uuid,
    place: Place,
    state: State,
    dir: OwnedFd,
}

impl Pod {
    /// The pod's UUID.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// What it was doing.
    pub fn state(&self) -> State {
        self.state
    }

    /// Which directory it stood in.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Its directory, whatever it is called by now.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Path of its directory when we looked.
    pub fn path(&self) -> PathBuf {
        self.pods.path(self.place, self.uuid)
    }

    /// Keeps others from moving and deleting the pod as long as `self` lives;
    /// `false` if somebody has taken or moved it already.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn hold(&self) -> Result<bool, PodError> {
        let failed = || PodError::io::<Errno>("lock", self.path());
        match flock(&self.dir, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(e) => return Err(failed()(e)),
        }
        self.pods
            .stands_at(self.place, self.uuid, self.dir())
            .map_err(failed())
    }

    /// Takes the pod for this process, where it was seen.
    ///
    /// # Errors
    /// As [`OwnedPod::take`].
    pub fn take(&self) -> Result<OwnedPod, PodError> {
        OwnedPod::take(&self.pods, self.place, self.uuid)
    }

    /// Looks again.
    ///
    /// # Errors
    /// [`PodError::Gone`] if there is no such pod any more.
    pub fn again(&self) -> Result<Self, PodError> {
        self.pods.sample(self.uuid)
    }
}

/// A pod of a list.
#[derive(Debug)]
pub struct Listed {
    /// Its UUID.
    pub uuid: Uuid,
    /// The pod, or why it cannot be looked at.
    pub pod: Result<Pod, PodError>,
}

/// The beginning of a UUID as people type it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UuidPrefix(String);

impl UuidPrefix {
    /// Checks and lower-cases what was typed.
    ///
    /// # Errors
    /// If it is empty or cannot begin any UUID.
    pub fn new(typed: &str) -> Result<Self, PodError> {
        if typed.is_empty() {
            return Err(PodError::EmptyUuid);
        }
        let lower = typed.to_ascii_lowercase();
        let fits = lower.len() <= 36
            && lower.bytes().enumerate().all(|(i, b)| match i {
                8 | 13 | 18 | 23 => b == b'-',
                _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
            });
        if !fits {
            return Err(PodError::NotAUuid(typed.to_owned()));
        }
        Ok(Self(lower))
    }
}

impl fmt::Display for UuidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pods {
    /// The UUIDs that stand in `place`, unsorted. Entries that are no UUID are
    /// none of our business.
    ///
    /// # Errors
    /// If the directory exists and cannot be read.
    pub fn uuids(&self, place: Place) -> Result<Vec<Uuid>, PodError> {
        let path = self.place(place);
        let read = || -> Result<Vec<Uuid>, Errno> {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = match rustix::fs::open(&path, flags, Mode::empty()) {
                Ok(dir) => dir,
                Err(Errno::NOENT) => return Ok(Vec::new()),
                Err(e) => return Err(e),
            };
            let mut uuids = Vec::new();
            for entry in Dir::new(dir)? {
                if let Some(uuid) = parse_name(entry?.file_name().to_bytes()) {
                    uuids.push(uuid);
                }
            }
            Ok(uuids)
        };
        read().map_err(PodError::io("list", &path))
    }

    /// The pods that commands show, sorted by UUID, each once.
    ///
    /// # Errors
    /// The first place that cannot be listed. A pod that cannot be looked at
    /// is an `Err` of its own.
    pub fn list(&self) -> Result<Vec<Listed>, PodError> {
        let mut uuids = Vec::new();
        for place in Place::VISIBLE {
            uuids.extend(self.uuids(place)?.into_iter().map(|uuid| (uuid, place)));
        }
        // Seen twice means renamed while we listed: the later place is right.
        uuids.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        uuids.dedup_by_key(|(uuid, _)| *uuid);
        let mut pods = Vec::with_capacity(uuids.len());
        for (uuid, place) in uuids {
            let pod = match self.sample_from(place, uuid) {
                Ok(pod) if !Place::VISIBLE.contains(&pod.place) => continue,
                Err(PodError::Gone(_)) => continue,
                other => other,
            };
            pods.push(Listed { uuid, pod });
        }
        Ok(pods)
    }

    /// The images of all pods that exist. A pod whose manifest cannot be read
    /// has none that anybody could still mount.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn images(&self) -> Result<BTreeSet<ImageId>, PodError> {
        let pods = self
            .list()?
            .into_iter()
            .filter_map(|listed| listed.pod.ok());
        let apps = pods.filter_map(|pod| pod.manifest().ok());
        Ok(apps
            .flat_map(|manifest| manifest.apps)
            .filter_map(|app| app.image.id.full())
            .collect())
    }

    /// The one pod whose UUID starts like this.
    ///
    /// # Errors
    /// [`PodError::NoMatch`], [`PodError::Ambiguous`], or what stopped us from
    /// looking.
    pub fn find(&self, prefix: &UuidPrefix) -> Result<Pod, PodError> {
        if let Some(uuid) = parse_name(prefix.0.as_bytes()) {
            return match self.sample(uuid) {
                Ok(pod) if Place::VISIBLE.contains(&pod.place) => Ok(pod),
                Ok(_) | Err(PodError::Gone(_)) => Err(PodError::NoMatch(prefix.0.clone())),
                Err(e) => Err(e),
            };
        }
        self.sample(self.complete(prefix)?)
    }

    /// The one UUID that starts like this, of a pod or of what stands in the
    /// place of one.
    fn complete(&self, prefix: &UuidPrefix) -> Result<Uuid, PodError> {
        let mut matches = Vec::new();
        for place in Place::VISIBLE {
            for uuid in self.uuids(place)? {
                let fits = uuid
                    .hyphenated()
                    .encode_lower(&mut Uuid::encode_buffer())
                    .starts_with(&prefix.0);
                if fits && !matches.contains(&uuid) {
                    matches.push(uuid);
                }
            }
        }
        match matches.as_slice() {
            [] => Err(PodError::NoMatch(prefix.0.clone())),
            [uuid] => Ok(*uuid),
            several => Err(PodError::Ambiguous {
                count: several.len(),
            }),
        }
    }

    /// Removes what stands in the place of a pod and is no directory. Says
    /// whose place it was; none if the pod is one.
    ///
    /// # Errors
    /// As [`Self::find`], or what the kernel said.
    pub fn remove_stray(&self, prefix: &UuidPrefix) -> Result<Option<Uuid>, PodError> {
        let uuid = self.complete(prefix)?;
        for place in Place::VISIBLE {
            let path = self.path(place, uuid);
            match rustix::fs::unlink(&path) {
                Ok(()) => return Ok(Some(uuid)),
                Err(Errno::ISDIR | Errno::NOENT) => {}
                Err(e) => return Err(PodError::io("remove", path)(e)),
            }
        }
        Ok(None)
    }

    /// The pod with this UUID, wherever it is.
    ///
    /// # Errors
    /// [`PodError::Gone`] if it is nowhere.
    pub fn sample(&self, uuid: Uuid) -> Result<Pod, PodError> {
        self.sample_from(Place::Embryo, uuid)
    }

    /// Looks in `first` and what follows: pods only move forward.
    pub(super) fn sample_from(&self, first: Place, uuid: Uuid) -> Result<Pod, PodError> {
        for place in Place::ALL.into_iter().filter(|place| *place >= first) {
            let path = self.path(place, uuid);
            let pod = self
                .sample_at(place, uuid, &path)
                .map_err(PodError::io("look at", path))?;
            if let Some(pod) = pod {
                return Ok(pod);
            }
        }
        Err(PodError::Gone(uuid))
    }

    fn sample_at(&self, place: Place, uuid: Uuid, path: &Path) -> Result<Option<Pod>, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e),
        };
        let locked = match flock(&dir, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                flock(&dir, FlockOperation::Unlock)?;
                false
            }
            Err(Errno::WOULDBLOCK) => true,
            Err(e) => return Err(e),
        };
        // The lock was sampled after the open; the two make a state only if the
        // pod still stands there, for it never comes back to a place.
        if !self.stands_at(place, uuid, dir.as_fd())? {
            return Ok(None);
        }
        Ok(Some(Pod {
            pods: self.clone(),
            uuid,
            place,
            state: State::of(place, locked),
            dir,
        }))
    }
}

/// A directory name is a UUID only in the one spelling that we write.
fn parse_name(name: &[u8]) -> Option<Uuid> {
    let name = std::str::from_utf8(name).ok()?;
    let uuid = Uuid::try_parse(name).ok()?;
    (uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == name).then_some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> (tempfile::TempDir, Pods) {
        let tmp = tempfile::tempdir().unwrap();
        let pods = Pods::new(tmp.path());
        (tmp, pods)
    }

    #[test]
    fn what_is_typed_is_checked_before_anything_is_read() {
        assert!(matches!(UuidPrefix::new(""), Err(PodError::EmptyUuid)));
        for bad in [
            "x",
            "0123456789",
            "../etc",
            "01234567-0123-0123-0123-0123456789abc",
        ] {
            assert!(
                matches!(UuidPrefix::new(bad), Err(PodError::NotAUuid(_))),
                "{bad}"
            );
        }
        assert_eq!(
            UuidPrefix::new("ABCdef12-").unwrap().to_string(),
            "abcdef12-"
        );
    }

    #[test]
    fn an_empty_data_directory_has_no_pods() {
        let (_tmp, pods) = pods();
        assert!(pods.list().unwrap().is_empty());
        let error = pods.find(&UuidPrefix::new("ab").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "no matches found for \"ab\"");
    }

    #[test]
    fn states_follow_directory_and_lock() {
        let (_tmp, pods) = pods();
        let mut pod = OwnedPod::create(&pods).unwrap();
        let uuid = pod.uuid();
        let state = || pods.sample(uuid).unwrap().state();
        assert_eq!(state(), State::Embryo);
        assert!(pods.list().unwrap().is_empty());
        pod.move_to(Place::Prepare).unwrap();
        assert_eq!(state(), State::Preparing);
        pod.move_to(Place::Prepared).unwrap();
        assert_eq!(state(), State::Prepared);
        pod.move_to(Place::Run).unwrap();
        assert_eq!(state(), State::Running);
        let lock = pod.into_lock();
        assert_eq!(state(), State::Running);
        drop(lock);
        assert_eq!(state(), State::Exited);
        let mut pod = pods.sample(uuid).unwrap().take().unwrap();
        pod.move_to(Place::ExitedGarbage).unwrap();
        assert_eq!(state(), State::ExitedDeleting);
        pod.delete().unwrap();
        assert!(matches!(pods.sample(uuid), Err(PodError::Gone(_))));
    }

    #[test]
    fn a_half_made_pod_removes_itself() {
        let (_tmp, pods) = pods();
        let mut pod = OwnedPod::create(&pods).unwrap();
        pod.move_to(Place::Prepare).unwrap();
        std::fs::write(pod.path().join("pod"), "{").unwrap();
        let uuid = pod.uuid();
        drop(pod);
        assert!(matches!(pods.sample(uuid), Err(PodError::Gone(_))));
    }

    #[test]
    fn prefixes_must_be_unambiguous() {
        let (_tmp, pods) = pods();
        pods.make_places().unwrap();
        for (place, uuid) in [
            (Place::Run, "aa000000-0000-4000-8000-000000000001"),
            (Place::Prepared, "aa000000-0000-4000-8000-000000000002"),
            (Place::Garbage, "ab000000-0000-4000-8000-000000000003"),
        ] {
            std::fs::create_dir(pods.place(place).join(uuid)).unwrap();
        }
        std::fs::create_dir(pods.place(Place::Run).join("not-a-pod")).unwrap();
        let find = |typed: &str| pods.find(&UuidPrefix::new(typed).unwrap());
        assert_eq!(
            find("aa").unwrap_err().to_string(),
            "ambiguous uuid, 2 matches"
        );
        assert!(matches!(find("ab"), Err(PodError::NoMatch(_))));
        let full = "AA000000-0000-4000-8000-000000000001";
        assert_eq!(find(full).unwrap().state(), State::Exited);
        assert_eq!(pods.list().unwrap().len(), 2);
    }

    #[test]
    fn a_pod_that_is_held_cannot_be_taken() {
        let (_tmp, pods) = pods();
        let mut pod = OwnedPod::create(&pods).unwrap();
        pod.move_to(Place::Prepare).unwrap();
        let error = pods.sample(pod.uuid()).unwrap().take().unwrap_err();
        assert!(matches!(
            error,
            PodError::Busy {
                state: State::Preparing,
                ..
            }
        ));
    }

    #[test]
    fn readers_do_not_keep_writers_out() {
        let (_tmp, pods) = pods();
        let mut pod = OwnedPod::create(&pods).unwrap();
        pod.move_to(Place::Prepare).unwrap();
        pod.move_to(Place::Prepared).unwrap();
        let uuid = pod.uuid();
        drop(pod.into_lock());
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        pods.sample(uuid).unwrap();
                    }
                });
            }
            for _ in 0..200 {
                drop(OwnedPod::take(&pods, Place::Prepared, uuid).unwrap());
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
