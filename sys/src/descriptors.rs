//! Descriptors that came from outside, and closing all others.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes the descriptors with these numbers over from the process that
/// executed this one, makes them close-on-exec, and closes every other one
/// from 3 on. Works once in a process, before it opens anything of its own.
///
/// # Errors
/// `EBADF` when a number is not an open descriptor or is below 3, `EEXIST`
/// when a number comes twice, `EALREADY` the second time.
pub fn inherit(numbers: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return Err(io::Error::from_raw_os_error(libc::EALREADY));
    }
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(io::Error::from_raw_os_error(libc::EEXIST));
    }
    let mut next: RawFd = 3;
    for &number in &sorted {
        if number < 3 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        // SAFETY: fcntl with F_SETFD takes an integer and touches no memory.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        if number > next {
            close_range(next as u32, (number - 1) as u32, 0)?;
        }
        next = number + 1;
    }
    close_range(next as u32, u32::MAX, 0)?;
    Ok(numbers
        .iter()
        // SAFETY: the number was seen open above, comes once, and this code
        // runs once in the process, so nothing else owns it.
        .map(|&number| unsafe { OwnedFd::from_raw_fd(number) })
        .collect())
}

/// Makes every descriptor from 3 on close-on-exec (close_range(2)).
///
/// # Errors
/// `ENOSYS` before Linux 5.9, `EINVAL` before 5.11.
pub fn close_all_on_exec() -> io::Result<()> {
    close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: three integers. Nothing that Rust owns is closed: the callers
    // above close only what nobody has taken over yet, or only mark.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
