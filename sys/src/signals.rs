//! Signal dispositions (sigaction(2)).

/// Gives every signal its default action, as a program expects when it
/// starts. An ignored signal stays ignored across execve(2), and Rust's
/// runtime, like a caller's `nohup`, ignores some.
pub fn reset_dispositions() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs no code of ours. The kernel refuses SIGKILL
        // and SIGSTOP, and glibc its two own, which then have no other
        // disposition than the default either.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
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
