//! Descriptors that came from outside, and closing all others.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
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

/// Takes over `count` descriptors from 3 on, which a service manager passed
/// (sd_listen_fds(3)), and makes them close-on-exec. Works once in a process,
/// before it opens anything of its own.
///
/// # Errors
/// `EBADF` when one of them is not open, `EALREADY` the second time.
pub fn take_passed(count: usize) -> io::Result<Vec<OwnedFd>> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return Err(io::Error::from_raw_os_error(libc::EALREADY));
    }
    let end = i32::try_from(count)
        .ok()
        .and_then(|count| count.checked_add(3))
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
    for number in 3..end {
        // SAFETY: fcntl with F_SETFD takes an integer and touches no memory.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok((3..end)
        // SAFETY: the number was seen open above, before this process opened
        // anything, and this code runs once, so nothing else owns it.
        .map(|number| unsafe { OwnedFd::from_raw_fd(number) })
        .collect())
}

/// Gives copies of `descriptors` the numbers from 3 on, and lets them through
/// an execve(2). Whatever had these numbers is closed, so that nothing may
/// follow but the execution of a program.
///
/// # Errors
/// Those of dup2(2).
pub fn pass_on(descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    for (descriptor, number) in descriptors.iter().zip(3..) {
        // SAFETY: two integers. A number that Rust owns may be closed and taken
        // by this; the caller executes a program next, or ends the process
        // without dropping what it owns.
        if unsafe { libc::dup2(descriptor.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
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
