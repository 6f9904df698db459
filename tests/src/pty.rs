//! A command on a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::Cmd;
use crate::cmd::DEADLINE;

/// The master side of a terminal and the command on it.
pub struct Pty {
    master: File,
    slave: OwnedFd,
    child: Child,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// Runs the command in a session of its own on a new 80×24 terminal, which
    /// becomes its controlling one (util-linux's setsid does that).
    pub fn spawn(cmd: Cmd) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).unwrap();
        let inner = cmd.into_command();
        let mut command = std::process::Command::new("setsid");
        command
            .args(["--ctty", "--wait"])
            .arg(inner.get_program())
            .args(inner.get_args())
            .env_clear()
            .envs(inner.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .stdin(Stdio::from(pty.slave.try_clone().unwrap()))
            .stdout(Stdio::from(pty.slave.try_clone().unwrap()))
            .stderr(Stdio::from(pty.slave.try_clone().unwrap()));
        if let Some(dir) = inner.get_current_dir() {
            command.current_dir(dir);
        }
        let child = command.spawn().unwrap();
        let master = File::from(pty.master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, seen) = (master.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                seen.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self {
            master,
            slave: pty.slave,
            child,
            screen,
        }
    }

    /// Everything printed so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Types these characters.
    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the screen shows `text`.
    pub fn wait_for(&self, text: &str) {
        let until = Instant::now() + DEADLINE;
        while !self.screen().contains(text) {
            assert!(
                Instant::now() < until,
                "the terminal never showed {text:?}; it shows:\n{}",
                self.screen()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the terminal echoes and edits lines, as a shell's caller expects
    /// to find it again.
    pub fn is_cooked(&self) -> bool {
        let flags = tcgetattr(&self.slave).unwrap().local_flags;
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO)
    }

    /// Changes the window's size (`stty` sets it, the kernel sends SIGWINCH).
    pub fn resize(&self, rows: u16, columns: u16) {
        let status = std::process::Command::new("stty")
            .args(["rows", &rows.to_string(), "columns", &columns.to_string()])
            .stdin(Stdio::from(self.slave.try_clone().unwrap()))
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the command's end and gives its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                Instant::now() < until,
                "the command on the terminal does not end; it shows:\n{}",
                self.screen()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_has_a_controlling_terminal() {
        let mut pty = Pty::spawn(Cmd::new("sh").env("PS1", "ready# "));
        pty.wait_for("ready# ");
        pty.type_in("stty size </dev/tty\n");
        pty.wait_for("24 80");
        pty.resize(30, 100);
        pty.type_in("stty size </dev/tty\n");
        pty.wait_for("30 100");
        pty.type_in("exit 5\n");
        assert_eq!(pty.wait(), Some(5), "{}", pty.screen());
    }
}
