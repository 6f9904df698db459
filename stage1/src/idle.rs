//! Waiting, and being small while waiting.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::{Errno, Result};

/// A process of ours that had nothing to do for so long gives the memory back
/// that starting the pod took; shorter pods do not pay for it.
const IDLE: Duration = Duration::from_millis(100);

/// Waits until one of the descriptors is ready or the deadline, if there is
/// one, has passed. A process that is `bloated` is not any more after a while.
///
/// Giving memory back drops the pages of our own code too, so what follows it
/// is as little code as can be: the same wait again.
///
/// # Errors
/// Those of poll(2), but for a signal, which ends the waiting.
pub fn wait(
    polled: &mut [PollFd<'_>],
    deadline: Option<Instant>,
    bloated: &mut bool,
) -> Result<()> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let (timeout, shrink) = match left {
            Some(left) if left <= IDLE => (Some(left), false),
            left if !*bloated => (left, false),
            _ => (Some(IDLE), true),
        };
        let timeout = timeout.map(|t| Timespec {
            tv_sec: t.as_secs() as i64,
            tv_nsec: t.subsec_nanos().into(),
        });
        match poll(polled, timeout.as_ref()) {
            Ok(0) if shrink => {
                *bloated = false;
                sys::process::release_memory();
            }
            Ok(_) | Err(Errno::INTR) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::PollFlags;

    #[test]
    fn a_deadline_ends_the_waiting_and_idleness_does_not() {
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let mut polled = [PollFd::new(&read, PollFlags::IN)];
        let start = Instant::now();
        let mut bloated = true;
        wait(&mut polled, Some(start + 2 * IDLE), &mut bloated).unwrap();
        assert!(start.elapsed() >= 2 * IDLE, "{:?}", start.elapsed());
        assert!(!bloated);
    }

    #[test]
    fn what_is_ready_is_told_at_once() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&write, b"x").unwrap();
        let mut polled = [PollFd::new(&read, PollFlags::IN)];
        wait(&mut polled, None, &mut true).unwrap();
        assert!(!polled[0].revents().is_empty());
    }
}
