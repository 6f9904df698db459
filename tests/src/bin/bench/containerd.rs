//! containerd with directories of its own, for `ctr`.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::{Cmd, Host, OciImage};

/// A busybox that runs `true`.
const IMAGE: &str = "localhost/rkt-bench:1";

/// The name of its only container.
const CONTAINER: &str = "rkt-bench-ctr";

/// A running daemon with [`IMAGE`] in it; gone when dropped.
pub(crate) struct Containerd {
    child: Child,
    address: PathBuf,
}

impl Containerd {
    /// Starts it below the host's directory.
    ///
    /// # Errors
    /// It is not installed, does not start, or does not take the image.
    pub(crate) fn start(host: &Host) -> Result<Self, String> {
        let dir = host.path().join("containerd");
        fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        let config = dir.join("config.toml");
        let text = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        fs::write(&config, text).map_err(|e| e.to_string())?;
        let address = dir.join("socket");
        let log = fs::File::create(dir.join("log")).map_err(|e| e.to_string())?;
        let child = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .arg("--root")
            .arg(dir.join("root"))
            .arg("--state")
            .arg(dir.join("state"))
            .arg("--address")
            .arg(&address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("cannot run containerd: {e}"))?;
        let daemon = Self { child, address };
        let until = Instant::now() + Duration::from_secs(20);
        while let Err(why) = daemon.ctr(&["version"]) {
            if Instant::now() > until {
                return Err(format!("containerd does not answer: {why}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let layout = host.images().join("ctr");
        OciImage::busybox(&["/bin/true"]).write(&layout, "1");
        let archive = dir.join("image.tar");
        let packed = Cmd::new("tar").arg("-C").arg(&layout).arg("-cf");
        packed.arg(&archive).arg(".").run().ok();
        let archive = archive.to_string_lossy();
        let words = ["images", "import", "--index-name", IMAGE, &archive];
        daemon.ctr(&words)?;
        Ok(daemon)
    }

    /// The words of one run of the image.
    pub(crate) fn run(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["ctr".into(), "--address".into()];
        words.push(self.address.clone().into());
        let run = ["run", "--rm", "--null-io", IMAGE, CONTAINER, "/bin/true"];
        words.extend(run.map(Into::into));
        words
    }

    fn ctr(&self, words: &[&str]) -> Result<(), String> {
        let out = Command::new("ctr")
            .arg("--address")
            .arg(&self.address)
            .args(words)
            .output()
            .map_err(|e| format!("cannot run ctr: {e}"))?;
        if out.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&out.stderr);
        Err(said.lines().last().unwrap_or("no message").to_owned())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // A container that is left keeps its shim.
        let words = ["tasks", "delete", "--force", CONTAINER];
        let _ = self.ctr(&words);
        let _ = self.ctr(&["containers", "delete", CONTAINER]);
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.child.id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}
