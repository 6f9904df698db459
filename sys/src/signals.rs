//! Signals: dispositions (sigaction(2)), and those that libraries do not name.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

/// Gives every signal its default action, as a program expects when it
/// starts. An ignored signal stays ignored across execve(2), and Rust's
/// runtime, like a caller's `nohup`, ignores some.
///
/// The kernel is called directly: libc hides two signals that a caller may
/// ignore all the same.
pub fn reset_dispositions() {
    /// Handler, flags, restorer and mask of the kernel's `struct sigaction`;
    /// all zero is the default action.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=64 {
        // SAFETY: the default action runs no code of ours; the kernel reads
        // the live constant, as large as its struct, and writes nothing. It
        // refuses SIGKILL and SIGSTOP, which always have the default.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null::<u64>(),
                8,
            );
        }
    }
}

/// Blocks a signal, by its number because libraries do not name real-time ones,
/// and gives a descriptor to read it from (signalfd(2)), which does not block.
///
/// # Errors
/// `EINVAL` when there is no such signal, and those of signalfd(2).
pub fn watch(signal: i32) -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: it writes the whole set, which is live, and reads nothing.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set was initialised by the call before.
    if unsafe { libc::sigaddset(set.as_mut_ptr(), signal) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the set is initialised and live; the old mask is not asked for.
    let error =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: the set is initialised and live, and only read.
    let made = unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// Sends a signal, by its number because libraries do not name real-time
/// ones, to one process (kill(2)).
///
/// # Errors
/// `ESRCH` when there is no such process, `EINVAL` when there is no such
/// signal or `pid` is not positive and would mean a group.
pub fn send(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: two integers; no memory of ours is touched.
    if unsafe { libc::kill(pid, signal) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether a signal, by its number, waits to be taken by this thread, which
/// blocks it (sigpending(2)).
///
/// # Errors
/// `EINVAL` when there is no such signal.
pub fn is_pending(signal: i32) -> std::io::Result<bool> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the kernel fills the live set, which has its type.
    if unsafe { libc::sigpending(set.as_mut_ptr()) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the call above has filled the set, and only reads it here.
    match unsafe { libc::sigismember(set.as_ptr(), signal) } {
        ..0 => Err(std::io::Error::last_os_error()),
        is => Ok(is == 1),
    }
}
