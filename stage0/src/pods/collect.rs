//! Taking pods away: what `gc` and `rm` do.
//!
//! Every step either leaves the pod where the next run finds it or has been
//! done already: a second collector, a crash or a restart of the host between
//! any two of them costs nothing but another run.

use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{OwnedPod, Place, Pod, PodError, Pods, State, undo};

/// What a collector did or could not do to one pod.
#[derive(Debug)]
pub enum Event {
    /// A pod that ended was marked.
    Marked(Uuid),
    /// A preparation that died was thrown away.
    Aborted(Uuid),
    /// A prepared pod that nobody ran was thrown away.
    Expired(Uuid),
    /// A marked pod stays until its grace period is over.
    WithinGrace(Uuid, Duration),
    /// A pod is about to be deleted.
    Collecting(Uuid),
    /// Something went wrong with this pod; the others were looked at all the
    /// same.
    Failed(Uuid, PodError),
}

/// How patient `gc` is.
#[derive(Debug, Clone, Copy)]
pub struct Collector {
    /// From the marking of an exited pod to its deletion.
    pub grace: Duration,
    /// From the preparation of a pod to its being thrown away unused.
    pub expire_prepared: Duration,
    /// Mark only, delete nothing.
    pub mark_only: bool,
}

impl Collector {
    /// Marks, expires and deletes; `tell` hears of every step as it is taken.
    ///
    /// # Errors
    /// Only if the pods cannot be listed at all.
    pub fn run(&self, pods: &Pods, tell: &mut dyn FnMut(Event)) -> Result<(), PodError> {
        each(pods, Place::Run, tell, mark)?;
        each(pods, Place::Prepare, tell, throw_away_aborted)?;
        each(pods, Place::Embryo, tell, throw_away_embryo)?;
        if self.mark_only {
            return Ok(());
        }
        each(pods, Place::Prepared, tell, |pod, tell| {
            if since_change(&pod)? < self.expire_prepared {
                return Ok(());
            }
            let Some(mut pod) = try_take(&pod)? else {
                return Ok(());
            };
            pod.move_to(Place::Garbage)?;
            tell(Event::Expired(pod.uuid()));
            Ok(())
        })?;
        many(pods, Place::ExitedGarbage, tell, |pod, tell| {
            if since_change(&pod)? < self.grace {
                tell(Event::WithinGrace(pod.uuid(), self.grace));
                return Ok(());
            }
            sweep(&pod, tell)
        })?;
        many(pods, Place::Garbage, tell, |pod, tell| sweep(&pod, tell))?;
        crate::ranges::sweep()
            .map_err(|e| PodError::io("free ids of pods", &pods.dir)(std::io::Error::other(e)))
    }
}

fn sweep(pod: &Pod, tell: &mut dyn FnMut(Event)) -> Result<(), PodError> {
    let Some(pod) = try_take(pod)? else {
        return Ok(());
    };
    tell(Event::Collecting(pod.uuid()));
    delete(pod)
}

/// Runs one step over every pod of a place.
fn each(
    pods: &Pods,
    place: Place,
    tell: &mut dyn FnMut(Event),
    step: impl Fn(Pod, &mut dyn FnMut(Event)) -> Result<(), PodError>,
) -> Result<(), PodError> {
    for uuid in pods.uuids(place)? {
        one(pods, place, uuid, tell, &step);
    }
    Ok(())
}

/// The same by several threads: deleting waits for the disk, and for killed
/// processes to leave their cgroups.
fn many(
    pods: &Pods,
    place: Place,
    tell: &mut dyn FnMut(Event),
    step: impl Fn(Pod, &mut dyn FnMut(Event)) -> Result<(), PodError> + Sync,
) -> Result<(), PodError> {
    let uuids = pods.uuids(place)?;
    let share = uuids.len().div_ceil(THREADS).max(FEW);
    let (sender, events) = mpsc::channel();
    std::thread::scope(|scope| {
        for uuids in uuids.chunks(share) {
            let (sender, step) = (sender.clone(), &step);
            scope.spawn(move || {
                // Whoever would hear of it waits for the end of this thread.
                let tell = &mut |event| drop(sender.send(event));
                for uuid in uuids {
                    one(pods, place, *uuid, tell, step);
                }
            });
        }
        drop(sender);
        events.into_iter().for_each(&mut *tell);
    });
    Ok(())
}

/// Threads that delete pods.
const THREADS: usize = 4;

/// Pods that are not worth another thread.
const FEW: usize = 8;

fn one(
    pods: &Pods,
    place: Place,
    uuid: Uuid,
    tell: &mut dyn FnMut(Event),
    step: &impl Fn(Pod, &mut dyn FnMut(Event)) -> Result<(), PodError>,
) {
    let done = match pods.sample_from(place, uuid) {
        Ok(pod) if pod.place() == place => step(pod, tell),
        Ok(_) => Ok(()),
        Err(e) => Err(e),
    };
    match done {
        // Somebody else was faster: that is as good.
        Ok(()) | Err(PodError::Gone(_)) => {}
        Err(e) => tell(Event::Failed(uuid, e)),
    }
}

fn mark(pod: Pod, tell: &mut dyn FnMut(Event)) -> Result<(), PodError> {
    if pod.state() != State::Exited {
        return Ok(());
    }
    let Some(mut pod) = try_take(&pod)? else {
        return Ok(());
    };
    pod.move_to(Place::ExitedGarbage)?;
    tell(Event::Marked(pod.uuid()));
    Ok(())
}

fn throw_away_aborted(pod: Pod, tell: &mut dyn FnMut(Event)) -> Result<(), PodError> {
    if pod.state() != State::AbortedPrepare {
        return Ok(());
    }
    let Some(mut pod) = try_take(&pod)? else {
        return Ok(());
    };
    pod.move_to(Place::Garbage)?;
    tell(Event::Aborted(pod.uuid()));
    Ok(())
}

/// An embryo nobody holds is either a leftover or one whose maker is between
/// mkdir and lock; the maker notices and starts again.
fn throw_away_embryo(pod: Pod, _: &mut dyn FnMut(Event)) -> Result<(), PodError> {
    match try_take(&pod)? {
        Some(mut pod) => pod.move_to(Place::Garbage),
        None => Ok(()),
    }
}

/// `None` where another process has the pod or moved it on.
fn try_take(pod: &Pod) -> Result<Option<OwnedPod>, PodError> {
    match pod.take() {
        Ok(pod) => Ok(Some(pod)),
        Err(PodError::Gone(_) | PodError::Busy { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Gives back what the pod had of the host, then deletes its directory.
fn delete(pod: OwnedPod) -> Result<(), PodError> {
    undo::release(&pod)?;
    pod.delete()
}

/// Age of the rename that brought the pod where it stands.
fn since_change(pod: &Pod) -> Result<Duration, PodError> {
    // A clock that was set back makes nothing old.
    Ok(SystemTime::now()
        .duration_since(pod.changed()?)
        .unwrap_or_default())
}

/// What `rm` answers for one pod.
#[derive(Debug)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// It is in a state in which it must not be removed.
    Refused(State),
}

impl Pods {
    /// Removes one pod that is over or never ran, whatever its age; `tell`
    /// hears of the steps that `gc` would have taken before. With `force`,
    /// what the pod still has of the host and cannot be given back, because
    /// the pod's files do not tell, is told as [`Event::Failed`], no more.
    ///
    /// # Errors
    /// If the pod cannot be taken or deleted.
    pub fn remove(
        &self,
        pod: &Pod,
        force: bool,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Removal, PodError> {
        match pod.state() {
            State::Embryo
            | State::Preparing
            | State::Running
            | State::ExitedDeleting
            | State::Deleting => return Ok(Removal::Refused(pod.state())),
            State::AbortedPrepare
            | State::Prepared
            | State::Exited
            | State::ExitedGarbage
            | State::Garbage => {}
        }
        let mut owned = pod.take()?;
        match pod.state() {
            State::Exited => owned.move_to(Place::ExitedGarbage)?,
            State::Prepared => {
                owned.move_to(Place::Garbage)?;
                tell(Event::Expired(pod.uuid()));
            }
            State::AbortedPrepare => {
                owned.move_to(Place::Garbage)?;
                tell(Event::Aborted(pod.uuid()));
            }
            _ => {}
        }
        match undo::release(&owned) {
            Err(e) if force => tell(Event::Failed(pod.uuid(), e)),
            other => other?,
        }
        owned.delete()?;
        Ok(Removal::Removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EAGER: Collector = Collector {
        grace: Duration::ZERO,
        expire_prepared: Duration::ZERO,
        mark_only: false,
    };

    fn pod_in(pods: &Pods, way: &[Place]) -> Uuid {
        let mut pod = OwnedPod::create(pods).unwrap();
        for place in way {
            pod.move_to(*place).unwrap();
        }
        std::fs::write(pod.path().join("pod"), "{}").unwrap();
        let uuid = pod.uuid();
        drop(pod.into_lock());
        uuid
    }

    fn collect(collector: Collector, pods: &Pods) -> Vec<String> {
        let mut events = Vec::new();
        collector
            .run(pods, &mut |event| events.push(format!("{event:?}")))
            .unwrap();
        events
    }

    #[test]
    fn everything_that_is_over_goes() {
        let tmp = tempfile::tempdir().unwrap();
        let pods = Pods::new(tmp.path());
        use Place::{ExitedGarbage, Prepare, Prepared, Run};
        for way in [
            &[][..],
            &[Prepare],
            &[Prepare, Prepared],
            &[Prepare, Run],
            &[Prepare, Prepared, Run, ExitedGarbage],
        ] {
            pod_in(&pods, way);
        }
        collect(EAGER, &pods);
        for place in Place::ALL {
            assert!(pods.uuids(place).unwrap().is_empty(), "{place:?}");
        }
        assert!(collect(EAGER, &pods).is_empty());
    }

    #[test]
    fn patience_is_kept() {
        let tmp = tempfile::tempdir().unwrap();
        let pods = Pods::new(tmp.path());
        let prepared = pod_in(&pods, &[Place::Prepare, Place::Prepared]);
        let exited = pod_in(&pods, &[Place::Prepare, Place::Run]);
        let patient = Collector {
            grace: Duration::from_secs(60),
            expire_prepared: Duration::from_secs(60),
            mark_only: false,
        };
        let events = collect(patient, &pods);
        assert_eq!(
            events,
            [
                format!("Marked({exited:?})"),
                format!("WithinGrace({exited:?}, 60s)")
            ]
        );
        assert_eq!(pods.sample(prepared).unwrap().state(), State::Prepared);
        assert_eq!(pods.sample(exited).unwrap().state(), State::ExitedGarbage);
    }

    #[test]
    fn what_is_held_is_left_alone() {
        let tmp = tempfile::tempdir().unwrap();
        let pods = Pods::new(tmp.path());
        let mut held = OwnedPod::create(&pods).unwrap();
        held.move_to(Place::Prepare).unwrap();
        held.move_to(Place::Run).unwrap();
        assert!(collect(EAGER, &pods).is_empty());
        let pod = pods.sample(held.uuid()).unwrap();
        assert_eq!(pod.state(), State::Running);
        let answer = pods.remove(&pod, false, &mut |_| ()).unwrap();
        assert!(matches!(answer, Removal::Refused(State::Running)));
    }

    #[test]
    fn many_collectors_do_not_disturb_each_other_or_newborns() {
        let tmp = tempfile::tempdir().unwrap();
        let pods = Pods::new(tmp.path());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..60 {
                        let mut failed = Vec::new();
                        EAGER
                            .run(&pods, &mut |event| {
                                if let Event::Failed(_, e) = event {
                                    failed.push(e.to_string());
                                }
                            })
                            .unwrap();
                        assert!(failed.is_empty(), "{failed:?}");
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..100 {
                    pod_in(&pods, &[Place::Prepare, Place::Run]);
                }
            });
        });
        collect(EAGER, &pods);
        assert!(pods.list().unwrap().is_empty());
    }
}
