//! One test's world: a data directory, a configuration, and the rkt binary.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use crate::image::Aci;
use crate::{Cmd, Compression, OciImage, leaks};

/// Environment variable by which a host's processes are found again.
const MARKER: &str = "RKT_TEST_HOST";

/// The default network of a host without a network of its own: whoever joins
/// it is told what to write instead.
const NO_NETWORK: &str =
    r#"{"cniVersion":"1.0.0","name":"default","type":"use-with_own_network-in-this-test"}"#;

/// A data directory and configuration of its own, checked for leaks when it
/// goes out of scope.
pub struct Host {
    dir: TempDir,
    data: PathBuf,
    /// File systems mounted for this host, undone last.
    mounted: Vec<PathBuf>,
    uuids: RefCell<BTreeSet<String>>,
    runs: Cell<u32>,
    /// Directory of `rkt` and `rkt-stage1`, unless they are the built ones.
    programs: Option<PathBuf>,
    /// What is added to the environment of its commands.
    variables: Vec<(String, String)>,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// A host whose data directory is on `/var/tmp`'s file system (`/tmp` is
    /// often a tmpfs, which cannot back EROFS mounts). Its pods have no network
    /// but `none` and `host`: the default one would change the machine's.
    pub fn new() -> Self {
        let host = Self::with_directories();
        let directory = host.path().join("usr/net.d");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("00-default.conf"), NO_NETWORK).unwrap();
        host
    }

    fn with_directories() -> Self {
        assert!(
            geteuid().is_root(),
            "the end-to-end tests need root: sudo ./check"
        );
        let dir = tempfile::Builder::new()
            .prefix("rkt-test-")
            .tempdir_in("/var/tmp")
            .unwrap();
        for name in ["etc", "usr", "uuids", "images"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self {
            data: dir.path().join("data"),
            dir,
            mounted: Vec::new(),
            uuids: RefCell::default(),
            runs: Cell::new(0),
            programs: None,
            variables: Vec::new(),
        }
    }

    /// The same host with other programs: `rkt` and `rkt-stage1` of this
    /// directory.
    pub fn with_programs(mut self, directory: PathBuf) -> Self {
        self.programs = Some(directory);
        self
    }

    /// The same host, whose commands have this variable.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The program of this name that the host uses: `rkt` or `rkt-stage1`.
    pub fn program(&self, name: &str) -> PathBuf {
        match &self.programs {
            Some(directory) => directory.join(name),
            None => binary(name),
        }
    }

    /// A host whose data directory is a tmpfs of `size` (as in `size=16M`).
    pub fn on_tmpfs(size: &str) -> Self {
        let mut host = Self::new();
        fs::create_dir(&host.data).unwrap();
        let options = format!("size={size},mode=755");
        mount(
            Some("tmpfs"),
            &host.data,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .unwrap();
        host.mounted.push(host.data.clone());
        host
    }

    /// A host whose data directory is a new ext4 file system of so many MiB.
    pub fn on_small_ext4(mebibytes: u32) -> Self {
        let mut host = Self::new();
        fs::create_dir(&host.data).unwrap();
        let disk = host.path().join("disk");
        Cmd::new("truncate")
            .arg(format!("--size={mebibytes}M"))
            .arg(&disk)
            .run()
            .ok();
        Cmd::new("mkfs.ext4").arg("-q").arg(&disk).run().ok();
        Cmd::new("mount")
            .args(["-o", "loop"])
            .arg(&disk)
            .arg(&host.data)
            .run()
            .ok();
        host.mounted.push(host.data.clone());
        host
    }

    /// A host whose commands see a network, `/run` and `/var/lib` of their own:
    /// those of the calling thread, and of threads it starts from now on. All
    /// of it ends with them.
    pub fn with_own_network() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("the end-to-end tests need root: sudo ./check");
        let nothing = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).unwrap();
        for dir in ["/run", "/var/lib"] {
            mount(
                Some("tmpfs"),
                dir,
                Some("tmpfs"),
                MsFlags::empty(),
                Some("mode=755"),
            )
            .unwrap();
        }
        Cmd::new("ip").args(["link", "set", "lo", "up"]).run().ok();
        Self::with_directories()
    }

    /// Scratch space of this test.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The data directory (`--dir`).
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The machine's configuration (`--local-config`).
    pub fn config(&self) -> PathBuf {
        self.path().join("etc")
    }

    /// A directory for images that are not in the store.
    pub fn images(&self) -> PathBuf {
        self.path().join("images")
    }

    /// `rkt` with these words, on this host's directories.
    ///
    /// `rkt run` also gets `--uuid-file-save`, so that the leak check knows the
    /// pod even if the command fails.
    pub fn rkt<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Cmd {
        self.note_pods();
        let mut words: Vec<OsString> = words.into_iter().map(|w| w.as_ref().to_owned()).collect();
        let is_flag = |w: &OsString| w.to_string_lossy().starts_with("--");
        if let Some(verb) = words.iter().position(|w| !is_flag(w))
            && words[verb] == "run"
            && !words
                .iter()
                .any(|w| w.to_string_lossy().starts_with("--uuid-file-save"))
        {
            let file = self.path().join(format!("uuids/{}", self.runs.get()));
            self.runs.set(self.runs.get() + 1);
            words.insert(
                verb + 1,
                format!("--uuid-file-save={}", file.display()).into(),
            );
        }
        self.plain_rkt(words)
    }

    /// `rkt` with exactly these words after this host's directories, for
    /// measuring it as a person would type it.
    pub fn plain_rkt<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Cmd {
        let path = |flag: &str, dir: &Path| format!("--{flag}={}", dir.display());
        let plain = Cmd::new(self.program("rkt")).env(MARKER, self.path());
        let variables = self.variables.iter();
        variables
            .fold(plain, |cmd, (name, value)| cmd.env(name, value))
            .arg(path("dir", &self.data))
            .arg(path("local-config", &self.config()))
            .arg(path("system-config", &self.path().join("usr")))
            .args(words)
    }

    /// `rkt --insecure-options=image` with these words.
    pub fn unsigned<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Cmd {
        let words = words.into_iter().map(|w| w.as_ref().to_owned());
        self.rkt(std::iter::once(OsString::from("--insecure-options=image")).chain(words))
    }

    /// Writes the ACI next to the data directory and fetches it unsigned; gives
    /// its ID.
    pub fn fetch_aci(&self, aci: &Aci) -> String {
        let name = aci.manifest["name"].as_str().unwrap().replace('/', "-");
        let file = aci.write(&self.images(), &name, Compression::Gzip);
        self.fetch(&file.to_string_lossy())
    }

    /// Writes the image as an OCI layout `images/TAG` and fetches it; gives its
    /// ID.
    pub fn fetch_oci(&self, image: &OciImage, tag: &str) -> String {
        let layout = image.write(&self.images().join(tag), tag);
        self.fetch(&layout.reference())
    }

    /// Fetches a reference unsigned and gives the full ID that was printed.
    pub fn fetch(&self, reference: &str) -> String {
        self.unsigned(["fetch", "--full", reference])
            .run()
            .ok()
            .text()
            .to_owned()
    }

    /// UUID of the pod that the last `rkt run` made.
    #[track_caller]
    pub fn last_uuid(&self) -> String {
        let file = self.path().join(format!("uuids/{}", self.runs.get() - 1));
        crate::cmd::eventually("the file of --uuid-file-save", || {
            fs::read(&file).is_ok_and(|b| b.len() == 36)
        });
        fs::read_to_string(&file).unwrap()
    }

    /// One pod of `rkt list --format=json`.
    #[track_caller]
    pub fn listed(&self, uuid: &str) -> serde_json::Value {
        let all = self.rkt(["list", "--format=json"]).run().ok().json();
        all.as_array()
            .into_iter()
            .flatten()
            .find(|p| p["name"] == uuid)
            .unwrap_or_else(|| panic!("pod {uuid} is not listed: {all}"))
            .clone()
    }

    /// State of a pod as `rkt status` tells it.
    #[track_caller]
    pub fn state(&self, uuid: &str) -> String {
        let out = self.rkt(["status", uuid]).run().ok();
        out.stdout
            .lines()
            .find_map(|l| l.strip_prefix("state="))
            .unwrap_or_else(|| panic!("no state: {out}"))
            .to_owned()
    }

    /// No image, no object, no name and nothing half-written is in the store.
    #[track_caller]
    pub fn assert_store_is_empty(&self) {
        let left: Vec<PathBuf> = ["images", "objects", "names", "staging"]
            .iter()
            .flat_map(|d| leaks::files(&self.data.join("store").join(d)))
            .collect();
        assert!(left.is_empty(), "left in the store: {left:#?}");
    }

    /// No pod directory exists in any state.
    #[track_caller]
    pub fn assert_no_pods(&self) {
        let pods = self.pod_directories();
        assert!(pods.is_empty(), "left pods: {pods:#?}");
    }

    /// `STATE/UUID` of every pod directory.
    pub fn pod_directories(&self) -> Vec<String> {
        let pods = self.data.join("pods");
        leaks::names(&pods)
            .iter()
            .flat_map(|state| {
                leaks::names(&pods.join(state))
                    .into_iter()
                    .map(move |uuid| format!("{state}/{uuid}"))
            })
            .collect()
    }

    fn note_pods(&self) {
        let mut uuids = self.uuids.borrow_mut();
        for pod in self.pod_directories() {
            uuids.extend(pod.rsplit('/').next().map(str::to_owned));
        }
        for file in leaks::files(&self.path().join("uuids")) {
            let text = fs::read_to_string(file).unwrap_or_default();
            if text.len() == 36 {
                uuids.insert(text);
            }
        }
    }

    /// Processes of this host's rkt commands: pid and command line.
    pub fn processes(&self) -> Vec<(i32, String)> {
        leaks::processes(&format!("{MARKER}={}", self.path().display()))
    }

    /// What is left of this host outside its own directory.
    fn left_behind(&self) -> Vec<String> {
        self.note_pods();
        let own: Vec<String> = self
            .mounted
            .iter()
            .map(|m| format!(" {} ", m.display()))
            .collect();
        let mounts = leaks::mounts(self.path())
            .into_iter()
            .filter(|line| !own.iter().any(|m| line.contains(m)))
            .map(|line| format!("mount: {line}"));
        let processes = self
            .processes()
            .into_iter()
            .map(|(pid, line)| format!("process: {pid} {line}"));
        let cgroups = leaks::cgroups(&self.uuids.borrow())
            .into_iter()
            .map(|path| format!("cgroup: {}", path.display()));
        let networks = leaks::networks(&self.uuids.borrow());
        mounts
            .chain(processes)
            .chain(cgroups)
            .chain(networks)
            .collect()
    }

    /// No pod's mounts, cgroups, processes or networks are left (stored images may stay
    /// mounted for the next start). Killed processes get a moment to go.
    #[track_caller]
    pub fn assert_no_pod_leaks(&self) {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let left: Vec<String> = self
                .left_behind()
                .into_iter()
                .filter(|l| !l.contains("- erofs "))
                .collect();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "left behind: {left:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// After `rkt gc` without grace nothing at all may be left but the store.
    fn assert_gc_cleans_up(&self) {
        self.rkt(["gc", "--grace-period=0s", "--expire-prepared=0s"])
            .run()
            .ok();
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.left_behind();
            if left.is_empty() {
                break;
            }
            assert!(
                Instant::now() < until,
                "left behind after `rkt gc`: {left:#?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        self.assert_no_pods();
        let staging = leaks::files(&self.data.join("store/staging"));
        assert!(staging.is_empty(), "left in staging: {staging:#?}");
    }

    /// Takes away whatever is left, so that one failed test is one failed test.
    fn clean_by_force(&self) {
        self.note_pods();
        for (pid, _) in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(50));
        let mut points: Vec<String> = leaks::mounts(self.path())
            .iter()
            .filter_map(|l| l.split(' ').nth(4).map(str::to_owned))
            .collect();
        points.reverse();
        for point in points {
            let _ = umount2(point.as_str(), MntFlags::MNT_DETACH);
        }
        for group in leaks::cgroups(&self.uuids.borrow()).iter().rev() {
            let _ = fs::remove_dir(group);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.clean_by_force();
            return;
        }
        let check = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if self.data.exists() {
                self.assert_gc_cleans_up();
            }
        }));
        for mounted in self.mounted.iter().rev() {
            let _ = umount2(mounted, MntFlags::MNT_DETACH);
        }
        if let Err(panic) = check {
            self.clean_by_force();
            std::panic::resume_unwind(panic);
        }
    }
}

/// The built binary of this name: in `$RKT_BIN_DIR`, or where `./build` leaves
/// it.
///
/// # Panics
/// When it is not there, saying what to type.
pub fn binary(name: &str) -> PathBuf {
    find_binary(name).unwrap_or_else(|why| panic!("{why}"))
}

/// The built binary of this name, or what to type to have it.
///
/// # Errors
/// It is not there.
pub fn find_binary(name: &str) -> Result<PathBuf, String> {
    let dir = std::env::var_os("RKT_BIN_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bin"),
        PathBuf::from,
    );
    dir.join(name).canonicalize().map_err(|e| {
        format!(
            "no {name} in {} ({e}): type ./build first, or set RKT_BIN_DIR",
            dir.display()
        )
    })
}
