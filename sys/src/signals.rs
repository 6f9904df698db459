//! Signal dispositions (sigaction(2)).

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

/// Sends a signal, by its number because libraries do not name real-time
/// ones, to one process (kill(2)).
///
/// # Errors
/// `ESRCH` when there is no such process, `EINVAL` when there is no such
/// signal or `pid` is not positive and would mean a group.
pub fn send(pid: i32, signal: i32) -> std::io::Result<()> {
    if pid <= 0 {
        return Err(std::io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: two integers; no memory of ours is touched.
    if unsafe { libc::kill(pid, signal) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
