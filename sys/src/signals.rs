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
