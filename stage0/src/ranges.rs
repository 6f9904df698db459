//! The ids of pods that have users of their own (`--private-users`).
//!
//! ```text
//! /run/rkt/users/<first id>     one file per range that a pod has
//! POD/private-users             the pod's range
//! ```
//!
//! Ids are the host's, so the register is the host's too, whatever data
//! directories there are. A range is had by whoever could make its file; the
//! file says which pod that was, so a range whose pod is gone is free. It is
//! made before the pod's own record and goes with the pod's directory: a crash
//! in between leaves a file that gc finds.
//!
//! The ranges are those that /etc/subuid and /etc/subgid give to `rkt`, or else
//! a part of what systemd's "Users, Groups, UIDs and GIDs on systemd Systems"
//! leaves to container managers, without what these files give to others, what
//! systemd-nspawn holds, and what the host's user database knows.
//!
//! Nothing is synced: after a crash of the host no pod runs, and one that was
//! prepared gets its range, or another, when it runs.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use manifests::engine::Users;
use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use serde::{Deserialize, Serialize};
use sys::user_namespace::{self, Mapping};
use uuid::Uuid;

use crate::pods::Place;

/// Ids of one pod.
pub const COUNT: u32 = 0x1_0000;

/// The file in the pod directory with its range: [`Users`].
const RECORD: &str = "private-users";

/// The register.
const REGISTER: &str = "/run/rkt/users";

/// What systemd-nspawn holds of the same ids (`systemd-nspawn --private-users=pick`).
const NSPAWN: &str = "/run/systemd/nspawn-uid";

/// Whose lines of /etc/subuid are ours.
const OWNER: &str = "rkt";

/// Where nobody says otherwise: the upper part of systemd's range for
/// containers, 0x80000 to 0x6fffffff.
const DEFAULT: Span = Span {
    first: 0x2000_0000,
    count: 0x5000_0000,
};

/// Why a pod cannot have users of its own.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// All are taken.
    #[error(
        "no {COUNT} ids are free for --private-users between {first} and {last} (rkt gc frees those \
         of pods that are over; more: lines of {OWNER} in /etc/subuid and /etc/subgid)"
    )]
    None {
        /// The first id that was looked at.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// Users and groups of a pod have the same numbers.
    #[error("/etc/subuid and /etc/subgid give {OWNER} different ids: give it the same in both")]
    Different,
    /// The pod's files belong to ids that somebody else has now.
    #[error(
        "the ids from {first} on, which its files belong to, are another pod's now: prepare it anew"
    )]
    Lost {
        /// The first one.
        first: u32,
    },
    /// The register or the record.
    #[error("cannot {what} {path:?}")]
    Io {
        /// In the infinitive.
        what: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel makes no user namespaces.
    #[error("--private-users is not supported: the kernel made no user namespace")]
    Namespace(#[source] io::Error),
}

fn io_error<E: Into<io::Error>>(
    what: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(E) -> RangeError {
    let path = path.into();
    move |source| RangeError::Io {
        what,
        path,
        source: source.into(),
    }
}

/// Ids from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: u64,
    count: u64,
}

impl Span {
    fn end(self) -> u64 {
        self.first + self.count
    }

    fn meets(self, other: Self) -> bool {
        self.first < other.end() && other.first < self.end()
    }
}

/// What /etc/subuid and /etc/subgid say (subuid(5)).
#[derive(Debug, PartialEq, Eq)]
struct Subordinate {
    ours: Vec<Span>,
    others: Vec<Span>,
}

impl Subordinate {
    fn parse(text: &str) -> Self {
        let mut found = Self {
            ours: Vec::new(),
            others: Vec::new(),
        };
        for line in text.lines() {
            let mut fields = line.trim().split(':');
            let owner = fields.next().unwrap_or_default();
            let mut number = || fields.next()?.parse::<u32>().ok().map(u64::from);
            let (Some(first), Some(count)) = (number(), number()) else {
                continue;
            };
            let span = Span { first, count };
            match owner == OWNER {
                true => found.ours.push(span),
                false => found.others.push(span),
            }
        }
        found
    }

    fn read(path: &str) -> Result<Self, RangeError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::parse("")),
            Err(e) => Err(io_error("read", path)(e)),
        }
    }
}

/// The host's ranges for pods.
#[derive(Debug)]
struct Ranges {
    spans: Vec<Span>,
    others: Vec<Span>,
}

impl Ranges {
    fn of_host() -> Result<Self, RangeError> {
        Self::new(
            Subordinate::read("/etc/subuid")?,
            Subordinate::read("/etc/subgid")?,
        )
    }

    fn new(users: Subordinate, groups: Subordinate) -> Result<Self, RangeError> {
        if users.ours != groups.ours {
            return Err(RangeError::Different);
        }
        Ok(Self {
            spans: match users.ours.is_empty() {
                true => vec![DEFAULT],
                false => users.ours,
            },
            others: [users.others, groups.others].concat(),
        })
    }

    fn slots(&self) -> u64 {
        self.spans.iter().map(|s| s.count / u64::from(COUNT)).sum()
    }

    /// The slot with this number, unless somebody else has ids of it.
    fn slot(&self, mut number: u64) -> Option<Users> {
        for span in &self.spans {
            let slots = span.count / u64::from(COUNT);
            if number >= slots {
                number -= slots;
                continue;
            }
            let wanted = Span {
                first: span.first + number * u64::from(COUNT),
                count: COUNT.into(),
            };
            let first = u32::try_from(wanted.first).ok()?;
            // The last number means "no change" to many calls.
            let free = wanted.first >= u64::from(COUNT)
                && wanted.end() <= u64::from(u32::MAX)
                && !self.others.iter().any(|other| other.meets(wanted));
            return free.then_some(Users {
                first,
                count: COUNT,
                on_disk: false,
            });
        }
        None
    }
}

/// What a file of the register says.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    uuid: String,
    /// The directory with the places of pods.
    pods: PathBuf,
}

impl Claim {
    fn of(uuid: Uuid, pod: &Path) -> Self {
        let pods = pod.ancestors().nth(2).unwrap_or(Path::new("/"));
        Self {
            uuid: uuid.to_string(),
            pods: pods.to_owned(),
        }
    }

    /// Whether its pod is somewhere. A pod moves only forward through the
    /// places, so whoever looks at them in order cannot miss it.
    fn holds(&self) -> bool {
        Place::ALL
            .iter()
            .any(|place| self.pods.join(place.dir_name()).join(&self.uuid).exists())
    }

    /// Makes the file; `false` if somebody has the range.
    fn publish(&self, first: u32) -> Result<bool, RangeError> {
        let register = Path::new(REGISTER);
        let path = register.join(first.to_string());
        // Whole from its first moment on.
        let staged = register.join(format!(".{}", self.uuid));
        let text = serde_json::to_vec(self).map_err(io_error("write", &staged))?;
        let publish = || -> io::Result<bool> {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(register)?;
            fs::write(&staged, &text)?;
            let linked = fs::hard_link(&staged, &path);
            fs::remove_file(&staged)?;
            match linked {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                other => other.map(|()| true),
            }
        };
        publish().map_err(io_error("register ids in", &path))
    }

    fn read(first: u32) -> Option<Self> {
        let text = fs::read(Path::new(REGISTER).join(first.to_string())).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// Takes a range for the pod in this directory and writes it down there.
///
/// # Errors
/// [`RangeError`]: when none is free, or cannot be written down.
pub(crate) fn claim(uuid: Uuid, pod: &Path) -> Result<Users, RangeError> {
    let ranges = Ranges::of_host()?;
    let slots = ranges.slots();
    let claim = Claim::of(uuid, pod);
    // Where a pod starts to look is random, as its UUID is: ids are used again
    // late, and pods that start together do not meet.
    let (start, _) = uuid.as_u64_pair();
    for attempt in 0..2 {
        for step in 0..slots {
            let Some(users) = ranges.slot((start % slots + step) % slots) else {
                continue;
            };
            if is_known(users.first) || !claim.publish(users.first)? {
                continue;
            }
            return match record(pod, users) {
                Ok(()) => Ok(users),
                Err(error) => {
                    forget(users.first)?;
                    Err(error)
                }
            };
        }
        if attempt == 0 {
            sweep()?;
        }
    }
    let first = ranges.spans.iter().map(|span| span.first).min();
    let end = ranges.spans.iter().map(|span| span.end()).max();
    Err(RangeError::None {
        first: first.unwrap_or(0),
        last: end.unwrap_or(0).saturating_sub(1),
    })
}

/// Whether the host's user database, or systemd-nspawn, has the id.
fn is_known(first: u32) -> bool {
    Path::new(NSPAWN).join(first.to_string()).exists()
        || matches!(User::from_uid(Uid::from_raw(first)), Ok(Some(_)))
        || matches!(Group::from_gid(Gid::from_raw(first)), Ok(Some(_)))
}

/// Writes the pod's range down.
///
/// # Errors
/// [`RangeError::Io`].
pub(crate) fn record(pod: &Path, users: Users) -> Result<(), RangeError> {
    let path = pod.join(RECORD);
    serde_json::to_vec(&users)
        .map_err(io::Error::from)
        .and_then(|text| fs::write(&path, text))
        .map_err(io_error("write", path))
}

/// The range of the pod in this directory; none when it has no users of its
/// own.
///
/// # Errors
/// [`RangeError::Io`] when its record cannot be read.
pub fn of_pod(pod: &Path) -> Result<Option<Users>, RangeError> {
    let path = pod.join(RECORD);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(io_error("understand", path)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("read", path)(e)),
    }
}

/// The same for a pod that is about to run: one that was prepared before the
/// host was started anew takes its range again, or another.
///
/// # Errors
/// [`RangeError`].
pub(crate) fn hold(uuid: Uuid, pod: &Path) -> Result<Option<Users>, RangeError> {
    let Some(users) = of_pod(pod)? else {
        return Ok(None);
    };
    let is_ours = || Claim::read(users.first).is_some_and(|claim| claim.uuid == uuid.to_string());
    if is_ours() || Claim::of(uuid, pod).publish(users.first)? {
        return Ok(Some(users));
    }
    match users.on_disk {
        true => Err(RangeError::Lost { first: users.first }),
        false => claim(uuid, pod).map(Some),
    }
}

/// Gives back the range of a pod whose directory is about to go.
///
/// # Errors
/// [`RangeError::Io`].
pub(crate) fn release(uuid: Uuid, pod: &Path) -> Result<(), RangeError> {
    // A record that cannot be read goes with the pod; gc finds the claim.
    let Ok(Some(users)) = of_pod(pod) else {
        return Ok(());
    };
    match Claim::read(users.first) {
        Some(claim) if claim.uuid == uuid.to_string() => forget(users.first),
        _ => Ok(()),
    }
}

/// Frees the ranges whose pods are gone without a word.
///
/// # Errors
/// [`RangeError::Io`].
pub(crate) fn sweep() -> Result<(), RangeError> {
    let entries = match fs::read_dir(REGISTER) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(io_error("read", REGISTER))?,
    };
    for entry in entries.flatten() {
        let first = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(first) = first
            && Claim::read(first).is_some_and(|claim| !claim.holds())
        {
            forget(first)?;
        }
    }
    Ok(())
}

fn forget(first: u32) -> Result<(), RangeError> {
    let path = Path::new(REGISTER).join(first.to_string());
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("free the ids of", path)(e)),
        _ => Ok(()),
    }
}

/// Asks the kernel whether mounts can show other owners.
#[derive(Debug)]
pub(crate) struct Probe(std::os::fd::OwnedFd);

impl Probe {
    /// For a pod with these ids.
    ///
    /// # Errors
    /// [`RangeError::Namespace`].
    pub(crate) fn new(users: Users) -> Result<Self, RangeError> {
        let mapping = Mapping {
            first: users.first,
            count: users.count,
        };
        user_namespace::create(mapping)
            .map(Self)
            .map_err(RangeError::Namespace)
    }

    /// Whether it can what is mounted at a path, and below it if `recursive`.
    pub(crate) fn can_map(&self, path: &Path, recursive: bool) -> bool {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        open_tree(CWD, path, flags).is_ok_and(|mount| {
            user_namespace::map_owners(mount.as_fd(), self.0.as_fd(), recursive).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(users: &str, groups: &str) -> Result<Ranges, RangeError> {
        Ranges::new(Subordinate::parse(users), Subordinate::parse(groups))
    }

    #[test]
    fn what_others_have_is_left_alone() {
        let text = "alice:100000:65536\nbob:536870912:65537\n# no line\nx:y:z\n";
        let ranges = ranges(text, "carol:537067520:1\n").unwrap();
        assert_eq!(ranges.slots(), 0x5000);
        // Bob has all of the first slot and one id of the second, Carol one of
        // the fourth.
        let first = |number| ranges.slot(number).map(|users| users.first);
        assert_eq!(first(0), None);
        assert_eq!(first(1), None);
        assert_eq!(first(2), Some(0x2002_0000));
        assert_eq!(first(3), None);
        assert_eq!(first(0x4fff), Some(0x6fff_0000));
        assert_eq!(first(0x5000), None);
    }

    #[test]
    fn lines_of_ours_are_the_ranges() {
        let text = "rkt:1000000:200000\nrkt:4294901760:65536\nrkt:0:65536\n";
        let ours = ranges(text, text).unwrap();
        let slots: Vec<_> = (0..ours.slots())
            .map(|slot| ours.slot(slot).map(|users| users.first))
            .collect();
        // Neither the ids with the host's root nor those with the number that
        // means none.
        assert_eq!(
            slots,
            [
                Some(1_000_000),
                Some(1_065_536),
                Some(1_131_072),
                None,
                None
            ]
        );
        assert!(matches!(ranges(text, ""), Err(RangeError::Different)));
    }
}
