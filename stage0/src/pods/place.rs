//! The states of a pod: directory × lock.

use std::fmt;

/// A directory below `pods/`: the half of a pod's state that outlives crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Made, perhaps not locked yet.
    Embryo,
    /// Being filled.
    Prepare,
    /// Complete, waiting for `run-prepared`.
    Prepared,
    /// Handed to stage1.
    Run,
    /// Ended and marked by gc; waits for its grace period.
    ExitedGarbage,
    /// Of no use to anybody; deleted without waiting.
    Garbage,
}

impl Place {
    /// Every place, in the order of a pod's life. A pod moves only towards the
    /// end of this list, which is why a reader that missed a pod in one place
    /// looks for it in the following ones.
    pub const ALL: [Self; 6] = [
        Self::Embryo,
        Self::Prepare,
        Self::Prepared,
        Self::Run,
        Self::ExitedGarbage,
        Self::Garbage,
    ];

    /// Where commands that take a UUID look.
    pub const VISIBLE: [Self; 4] = [
        Self::Prepare,
        Self::Prepared,
        Self::Run,
        Self::ExitedGarbage,
    ];

    /// Name of the directory.
    pub fn dir_name(self) -> &'static str {
        match self {
            Self::Embryo => "embryo",
            Self::Prepare => "prepare",
            Self::Prepared => "prepared",
            Self::Run => "run",
            Self::ExitedGarbage => "exited-garbage",
            Self::Garbage => "garbage",
        }
    }

    /// May a pod go straight from here to there?
    pub(super) fn may_become(self, next: Self) -> bool {
        match self {
            Self::Embryo => matches!(next, Self::Prepare | Self::Garbage),
            Self::Prepare => matches!(next, Self::Prepared | Self::Run | Self::Garbage),
            Self::Prepared => matches!(next, Self::Run | Self::Garbage),
            Self::Run => next == Self::ExitedGarbage,
            Self::ExitedGarbage => next == Self::Garbage,
            Self::Garbage => false,
        }
    }
}

/// What a pod is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Just made; not told to anybody.
    Embryo,
    /// Being filled by a live process.
    Preparing,
    /// Whoever filled it died.
    AbortedPrepare,
    /// Complete, never run.
    Prepared,
    /// Its supervisor lives.
    Running,
    /// Its supervisor is gone.
    Exited,
    /// Marked, and being deleted now.
    ExitedDeleting,
    /// Marked by gc.
    ExitedGarbage,
    /// Being deleted now.
    Deleting,
    /// To be deleted.
    Garbage,
}

impl State {
    /// The state of a pod in `place`, whose lock is held exclusively or not.
    pub fn of(place: Place, locked: bool) -> Self {
        match (place, locked) {
            (Place::Embryo, _) => Self::Embryo,
            (Place::Prepare, true) => Self::Preparing,
            (Place::Prepare, false) => Self::AbortedPrepare,
            (Place::Prepared, _) => Self::Prepared,
            (Place::Run, true) => Self::Running,
            (Place::Run, false) => Self::Exited,
            (Place::ExitedGarbage, true) => Self::ExitedDeleting,
            (Place::ExitedGarbage, false) => Self::ExitedGarbage,
            (Place::Garbage, true) => Self::Deleting,
            (Place::Garbage, false) => Self::Garbage,
        }
    }

    /// The word in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embryo => "embryo",
            Self::Preparing => "preparing",
            Self::AbortedPrepare => "aborted prepare",
            Self::Prepared => "prepared",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::ExitedDeleting => "exited deleting",
            Self::ExitedGarbage => "exited garbage",
            Self::Deleting => "deleting",
            Self::Garbage => "garbage",
        }
    }

    /// Nothing of it will ever run again.
    pub fn is_over(self) -> bool {
        match self {
            Self::Embryo | Self::Preparing | Self::Prepared | Self::Running => false,
            Self::AbortedPrepare
            | Self::Exited
            | Self::ExitedDeleting
            | Self::ExitedGarbage
            | Self::Deleting
            | Self::Garbage => true,
        }
    }

    /// It ran, or was about to, and is over.
    pub fn has_exited(self) -> bool {
        matches!(
            self,
            Self::Exited | Self::ExitedDeleting | Self::ExitedGarbage | Self::Deleting
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pod_goes_back() {
        for (i, from) in Place::ALL.into_iter().enumerate() {
            for to in &Place::ALL[..=i] {
                assert!(!from.may_become(*to), "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn every_place_but_the_last_leads_to_garbage() {
        for from in &Place::ALL[..5] {
            let reaches = |p: &Place| {
                p.may_become(Place::Garbage)
                    || Place::ALL
                        .iter()
                        .any(|via| p.may_become(*via) && via.may_become(Place::Garbage))
            };
            assert!(reaches(from), "{from:?}");
        }
    }
}
