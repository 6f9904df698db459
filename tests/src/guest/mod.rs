//! Guests: whole Debian systems with systemd as PID 1, for what the host of the
//! tests cannot show.
//!
//! ```text
//!               apt mirror of the host
//!                 │ mmdebstrap          │ apt-get download
//!   cache:   root.ext4 (12, 13)   vmlinux, initrd, modules.ext4 (6.1 … 6.18)
//!                 │                     │
//!   Guest ── files, disk, deadline      │
//!     ├─ nspawn: the host's kernel, boots in a moment, cgroup v2 without controllers
//!     └─ qemu: a kernel of its own, under emulation: cgroup v2 with all
//!              controllers, fs-verity, other kernels, power cuts
//!          └─ start(script) ─▶ Running ── wait() ─▶ Output
//!                                └─ cut(): the plug is pulled; Disk stays
//! ```
//!
//! The script runs as root in a service of the guest, whose working directory
//! becomes [`Output::files`]. What it brings is unpacked over the root before
//! PID 1 starts, so units, generators and configuration are in force at boot.
//! A guest has no network but loopback, and leaves nothing on the host.
//!
//! Absent on purpose: any sharing of a running guest between tests.

mod cache;
mod debian;
mod disk;
mod mirror;
mod nspawn;
mod program;
mod qemu;
mod running;
mod write_log;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use cache::cache_directory;
pub(crate) use debian::program;
pub use debian::{Debian, Kernel, peers};
pub use disk::Disk;
pub use running::{Output, Running};
pub use write_log::WriteLog;

use crate::cmd::{self, Cmd};
use crate::skip::skipped;

/// Why a guest cannot be had on this machine, though nothing is broken.
#[derive(Debug)]
pub struct Unobtainable(pub String);

/// How long a script may take unless the test says otherwise.
const SCRIPT: Duration = Duration::from_secs(60);

/// A guest about to be started; each start begins from the same root.
pub struct Guest {
    debian: Debian,
    engine: Engine,
    files: Vec<Input>,
    disk: Option<Attached>,
    deadline: Duration,
}

enum Engine {
    Nspawn { root: PathBuf },
    Qemu { root: PathBuf, kernel: PathBuf },
}

/// A [`Disk`]'s files.
struct Attached {
    image: PathBuf,
    log: Option<PathBuf>,
}

struct Input {
    path: String,
    mode: u32,
    content: Content,
}

enum Content {
    File(PathBuf),
    Tree(PathBuf),
    Bytes(Vec<u8>),
}

impl Guest {
    /// A guest of systemd-nspawn on the host's kernel. `None` when this machine
    /// cannot have it, which has been told as a skipped test.
    pub fn nspawn(debian: Debian) -> Option<Self> {
        require("systemd-nspawn", "systemd-container");
        let root = obtained(debian.root())?;
        Some(Self::new(debian, Engine::Nspawn { root }))
    }

    /// A guest of QEMU with this kernel and the Debian release it fits.
    /// `None` as in [`Guest::nspawn`].
    pub fn qemu(kernel: Kernel) -> Option<Self> {
        Self::qemu_with(kernel, kernel.usual_debian())
    }

    /// A guest of QEMU with this kernel and this user land.
    pub fn qemu_with(kernel: Kernel, debian: Debian) -> Option<Self> {
        require("qemu-system-x86_64", "qemu-system-x86");
        if !cfg!(target_arch = "x86_64") {
            return obtained(Err(Unobtainable(
                "QEMU guests are made for x86-64 only".into(),
            )));
        }
        let root = obtained(debian.root())?;
        let kernel = obtained(kernel.files())?;
        Some(Self::new(debian, Engine::Qemu { root, kernel }))
    }

    fn new(debian: Debian, engine: Engine) -> Self {
        Self {
            debian,
            engine,
            files: Vec::new(),
            disk: None,
            deadline: SCRIPT,
        }
    }

    /// The user land.
    pub fn debian(&self) -> Debian {
        self.debian
    }

    /// Brings a file of the host, with its permissions; `path` is absolute.
    pub fn file(mut self, path: &str, from: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let mode = from
            .metadata()
            .unwrap_or_else(|e| panic!("cannot bring {} into a guest: {e}", from.display()))
            .permissions()
            .mode();
        self.files
            .push(Input::new(path, mode, Content::File(from.to_owned())));
        self
    }

    /// Brings a directory of the host with all below it.
    pub fn tree(mut self, path: &str, from: &Path) -> Self {
        self.files
            .push(Input::new(path, 0o755, Content::Tree(from.to_owned())));
        self
    }

    /// Brings a file with this text.
    pub fn text(self, path: &str, mode: u32, text: &str) -> Self {
        self.bytes(path, mode, text)
    }

    /// Brings a file with these bytes.
    pub fn bytes(mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.files
            .push(Input::new(path, mode, Content::Bytes(bytes.into())));
        self
    }

    /// Mounts this disk at `/var/lib/rkt`; what is written there outlives the
    /// guest. QEMU only.
    pub fn disk(mut self, disk: &Disk) -> Self {
        assert!(
            matches!(self.engine, Engine::Qemu { .. }),
            "only QEMU guests have disks"
        );
        self.disk = Some(Attached {
            image: disk.path(),
            log: disk.log(),
        });
        self
    }

    /// Changes how long the script may take, boot and power-off not counted.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Boots, runs the `sh` script and powers off.
    ///
    /// # Panics
    /// When the guest does not get to the script's end in time, with all that
    /// it said.
    #[track_caller]
    pub fn run(&self, script: &str) -> Output {
        self.start(script).wait()
    }

    /// Boots and lets the script run. In it, `mark WORD` tells the host of a
    /// moment that [`Running::wait_for_mark`] waits for.
    #[track_caller]
    pub fn start(&self, script: &str) -> Running {
        let dir = cache::run_directory();
        self.write_input(&dir.path().join("in.tar"), script);
        match &self.engine {
            Engine::Nspawn { root } => nspawn::start(dir, root, self.deadline),
            Engine::Qemu { root, kernel } => {
                qemu::start(dir, root, kernel, self.disk.as_ref(), self.deadline)
            }
        }
    }

    fn write_input(&self, path: &Path, script: &str) {
        let script = format!("mark() {{ echo \"$*\" >>$GUEST_MARKS; }}\n{script}\n");
        let own = [
            Input::new("/in/script", 0o644, Content::Bytes(script.into())),
            Input::new(
                "/in/deadline",
                0o644,
                Content::Bytes(self.deadline.as_secs().to_string().into()),
            ),
        ];
        let mut tar = tar::Builder::new(File::create(path).unwrap());
        for input in own.iter().chain(&self.files) {
            input
                .append(&mut tar)
                .unwrap_or_else(|e| panic!("cannot bring {} into a guest: {e}", input.path));
        }
        tar.finish().unwrap();
    }
}

impl Input {
    fn new(path: &str, mode: u32, content: Content) -> Self {
        let path = path
            .strip_prefix('/')
            .unwrap_or_else(|| panic!("a guest's file needs an absolute path, not {path}"));
        Self {
            path: path.to_owned(),
            mode: mode & 0o7777,
            content,
        }
    }

    fn append(&self, tar: &mut tar::Builder<File>) -> std::io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(self.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        match &self.content {
            Content::Tree(from) => tar.append_dir_all(&self.path, from),
            Content::File(from) => {
                let file = File::open(from)?;
                header.set_size(file.metadata()?.len());
                tar.append_data(&mut header, &self.path, file)
            }
            Content::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, &self.path, bytes.as_slice())
            }
        }
    }
}

/// Makes everything that guests need and that is not in the cache yet.
pub fn prepare_all() -> Vec<Result<PathBuf, Unobtainable>> {
    // Two at a time: each is half download, half unpacking.
    std::thread::scope(|scope| {
        let roots = scope.spawn(|| Debian::ALL.map(|d| d.root()));
        let kernels = scope.spawn(|| Kernel::ALL.map(|k| k.files()));
        let mut all = Vec::from(roots.join().expect("the panic has been printed"));
        all.extend(kernels.join().expect("the panic has been printed"));
        all
    })
}

/// The value, or `None` after a word to whoever reads the test run.
fn obtained<T>(result: Result<T, Unobtainable>) -> Option<T> {
    result.map_err(|Unobtainable(why)| skipped(&why)).ok()
}

/// Fails with what to install when a program is missing.
fn require(program: &str, package: &str) {
    assert!(
        cmd::PATH
            .split(':')
            .any(|dir| Path::new(dir).join(program).is_file()),
        "guest tests need {program}: apt-get install {package}"
    );
}

/// A recipe of `tests/guests` about to be run, with the caller's way to the net.
fn recipe(script: &str) -> Cmd {
    let apt = ["APT_CONFIG", "http_proxy", "https_proxy", "no_proxy"];
    apt.into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
        .fold(
            Cmd::new("sh").arg(recipe_path(script)),
            |cmd, (name, value)| cmd.env(name, value),
        )
}

/// A file of `tests/guests`.
fn recipe_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("guests")
        .join(name)
}
