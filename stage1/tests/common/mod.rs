//! Pods made by hand, run by the real binary: a busybox root, one
//! specification an app, and what came out of it.

// Each test program has its own copy and uses its part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest that anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

const APPLETS: [&str; 26] = [
    "cat", "chmod", "chroot", "dd", "echo", "env", "false", "hostname", "id", "kill", "ln", "ls",
    "mkdir", "mknod", "mount", "ps", "readlink", "sh", "sleep", "stat", "stty", "touch", "true",
    "tty", "umount", "unshare",
];

/// What a container engine gives by default.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A pod directory, and the image its apps share.
pub struct Pod {
    base: tempfile::TempDir,
    pub uuid: String,
    pub manifest: Value,
}

/// What a pod left.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Pod {
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make namespaces, mounts and cgroups: run them as root"
        );
        let base = tempfile::tempdir().unwrap();
        let image = base.path().join("image");
        for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(image.join(directory)).unwrap();
        }
        fs::copy("/bin/busybox", image.join("bin/busybox"))
            .expect("the tests need /bin/busybox, linked statically: apt install busybox-static");
        for applet in APPLETS {
            symlink("busybox", image.join("bin").join(applet)).unwrap();
        }
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
        let uuid = uuid.trim().to_owned();
        fs::create_dir(base.path().join(&uuid)).unwrap();
        let manifest = json!({
            "uuid": uuid, "hostname": format!("rkt-{uuid}"),
            "network": "none", "ipc": "private", "apps": [],
        });
        Self {
            base,
            uuid,
            manifest,
        }
    }

    /// A pod of one app that runs a shell script.
    pub fn script(text: &str) -> Self {
        Self::new().app("app", &["sh", "-c", text], |_| {})
    }

    /// Adds an app; `change` has the last word on its specification.
    pub fn app(self, name: &str, argv: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        self.full_app(name, argv, |app| change(&mut app["spec"]))
    }

    /// Adds an app; `change` has the last word on all of it.
    pub fn full_app(mut self, name: &str, argv: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        let directory = self.directory().join("apps").join(name);
        fs::create_dir_all(directory.join("upper")).unwrap();
        fs::create_dir_all(directory.join("work")).unwrap();
        let mut app = json!({
            "name": name,
            "rootfs": { "overlay": { "lower": self.image() } },
            "stopSignal": 15, "stopTimeout": 10,
            "spec": spec(argv),
        });
        change(&mut app);
        self.manifest["apps"].as_array_mut().unwrap().push(app);
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub fn directory(&self) -> PathBuf {
        self.base.path().join(&self.uuid)
    }

    pub fn image(&self) -> PathBuf {
        self.base.path().join("image")
    }

    /// A directory of the host that is no part of the pod.
    pub fn outside(&self) -> PathBuf {
        let outside = self.base.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        outside
    }

    pub fn command(&self) -> Command {
        let manifest = serde_json::to_vec(&self.manifest).unwrap();
        fs::write(self.directory().join("engine.json"), manifest).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rkt-stage1"));
        command
            .args(["run", &self.uuid])
            .current_dir(self.directory())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn spawn(&self) -> Running {
        Running::of(self.command())
    }

    /// Runs the pod to its end, which must leave nothing on the host.
    pub fn run(&self) -> Outcome {
        let outcome = self.spawn().end();
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new(), "{outcome:?}");
        outcome
    }

    /// The same for a pod that must succeed; returns what it printed.
    pub fn output(&self) -> String {
        let outcome = self.run();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        outcome.out
    }

    /// The pod's cgroups that are there, in any hierarchy.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
        roots.extend(
            fs::read_dir("/sys/fs/cgroup")
                .unwrap()
                .map(|e| e.unwrap().path()),
        );
        roots.retain_mut(|root| {
            root.push("rkt");
            root.push(&self.uuid);
            root.is_dir()
        });
        roots
    }

    /// A file of the pod directory, as JSON.
    pub fn record(&self, file: &str) -> Value {
        let text = fs::read(self.directory().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        serde_json::from_slice(&text).unwrap()
    }

    pub fn status(&self, app: &str) -> Value {
        self.record(&format!("apps/{app}/status"))
    }

    /// Waits until an app has started, and returns its process number.
    pub fn started(&self, app: &str) -> i32 {
        let file = self.directory().join("apps").join(app).join("status");
        wait_for("the app to start", || {
            let text = fs::read(&file).ok()?;
            let status: Value = serde_json::from_slice(&text).ok()?;
            let pid = i32::try_from(status["pid"].as_i64()?).ok()?;
            // It executes its program right after it said so.
            let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
            exe.ends_with("busybox").then_some(pid)
        })
    }

    /// Waits until an app's script has made the file `/ready`.
    pub fn ready(&self, app: &str) {
        let file = self.directory().join("apps").join(app).join("upper/ready");
        wait_for("the app to be ready", || file.exists().then_some(()));
    }

    /// The pod's PID 1, as the host numbers it.
    pub fn init(&self) -> i32 {
        self.record("pid")["pid"].as_i64().unwrap() as i32
    }
}

impl Drop for Pod {
    /// A test that failed has killed the supervisor, which then could not
    /// remove them.
    fn drop(&mut self) {
        for cgroup in self.cgroups() {
            for app in fs::read_dir(&cgroup).unwrap().map(|e| e.unwrap().path()) {
                if app.is_dir() {
                    wait_for("the pod to die", || fs::remove_dir(&app).ok());
                }
            }
            fs::remove_dir(cgroup).unwrap();
        }
    }
}

/// A supervisor that runs. Dropping it kills it, and with it its pod.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    /// Starts it. Takes the command, and with it our copies of what it gives
    /// to the pod.
    pub fn of(mut command: Command) -> Self {
        Self {
            child: Some(command.spawn().unwrap()),
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.as_ref().unwrap().id() as i32
    }

    pub fn signal(&self, signal: i32) {
        sys::signals::send(self.pid(), signal).unwrap();
    }

    /// Waits for the end.
    pub fn end(mut self) -> Outcome {
        let mut child = self.child.take().unwrap();
        let read = |from: Option<Box<dyn Read + Send>>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                if let Some(mut from) = from {
                    from.read_to_end(&mut bytes).unwrap();
                }
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let out = read(child.stdout.take().map(|s| Box::new(s) as _));
        let err = read(child.stderr.take().map(|s| Box::new(s) as _));
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("the pod did not end in {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Outcome {
            code: status.code(),
            signal: status.signal(),
            out: out.join().unwrap(),
            err: err.join().unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended; only its status is still to be fetched.
    !stat.is_empty()
        && !stat
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z')
}

/// The controller's directory for cgroup v1, none where the host has it on v2.
pub fn legacy(controller: &str) -> Option<PathBuf> {
    let root = Path::new("/sys/fs/cgroup").join(controller);
    root.join("tasks").exists().then_some(root)
}

fn spec(argv: &[&str]) -> Value {
    let allow = |major: i64, minor: i64| json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rw"});
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": argv, "env": ["PATH=/bin"], "cwd": "/",
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "maskedPaths": ["/proc/kcore", "/proc/kallsyms", "/proc/none", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger", "/proc/none"],
            "resources": {"devices": [
                {"allow": false, "access": "rwm"},
                allow(1, 3), allow(1, 5), allow(1, 7), allow(1, 8), allow(1, 9), allow(5, 0),
                allow(5, 2),
                {"allow": true, "type": "c", "major": 136, "access": "rw"},
            ]},
        },
    })
}
