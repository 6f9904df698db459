//! Where everybody is measured: the newest stable Debian, whatever the host is.
//!
//! The whole benchmark, rkt and all, moves into a root file system of Debian's
//! packages, in a mount namespace of its own: the host's `/proc`, `/sys`,
//! `/dev`, `/run`, `/tmp` and `/var/tmp` are there, its programs are not. So
//! each contender is started in the same way, and a wrapper costs nobody
//! anything. All of it ends with the benchmark; the root file system is kept.
//!
//! Where `/var/tmp` is on an ext4 without a journal, as virtual machines have
//! and installed systems do not, another is made for it. Without a journal,
//! ext4 gives no inode to a new file that was another's in the last minutes,
//! and looks at each of these every time: who deleted many files would slow
//! down who comes next.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use tests::guest::{self, Unobtainable};
use tests::host::find_binary;

use crate::document::Program;
use crate::image::CACHE;

/// Tells the benchmark that it has moved: the directory of the tree.
const MOVED: &str = "RKT_BENCH_PEERS";

/// What of the host is seen, with all that is mounted below it.
const SEEN: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Packages whose versions are told.
const PACKAGES: [&str; 10] = [
    "bubblewrap",
    "conmon",
    "containerd",
    "crun",
    "netavark",
    "podman",
    "runc",
    "skopeo",
    "systemd-container",
    "umoci",
];

/// Whether this program is in the other root already.
pub(crate) fn entered() -> bool {
    std::env::var_os(MOVED).is_some()
}

/// Executes this program again in the other root.
///
/// # Errors
/// Why it stays with the host's programs.
pub(crate) fn enter() -> Result<Infallible, String> {
    fs::create_dir_all(CACHE).map_err(|e| format!("cannot make {CACHE}: {e}"))?;
    eprintln!("bench: taking the peers from Debian 13, kept below {CACHE}");
    let tree = guest::peers(Path::new(CACHE)).map_err(|Unobtainable(why)| why)?;
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    move_to(&tree.join("root"), &exe)?;
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let failed = Command::new(&exe)
        .args(words)
        .env(MOVED, &tree)
        // On v1 it would say so at every call.
        .env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1")
        .exec();
    Err(format!("cannot execute {}: {failed}", exe.display()))
}

/// Makes `root` the root directory. What fails before that changes nothing but
/// this process's mount namespace.
fn move_to(root: &Path, exe: &Path) -> Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |e: nix::Error| format!("{what}: {e}")
    };
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("no mount namespace"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).map_err(failed("/"))?;
    let bind = |from: &Path, flags: MsFlags| {
        let to = root.join(from.strip_prefix("/").unwrap_or(from));
        let made = fs::create_dir_all(&to);
        made.map_err(|e| format!("{}: {e}", to.display()))?;
        mount(Some(from), &to, none, MsFlags::MS_BIND | flags, none)
            .map_err(failed(&to.display().to_string()))
    };
    mount(Some(root), root, none, MsFlags::MS_BIND, none).map_err(failed("the root"))?;
    bind(Path::new("/tmp"), MsFlags::empty())?;
    match without_journal().then(disk) {
        Some(Ok(device)) => {
            let at = root.join("var/tmp");
            let flags = MsFlags::empty();
            let mounted = mount(Some(device.as_str()), &at, Some("ext4"), flags, none);
            // It goes with its last user.
            let _ = output("losetup", &["--detach", &device]);
            mounted.map_err(failed(&device))?;
            bind(Path::new(CACHE), flags)?;
        }
        Some(Err(why)) => {
            eprintln!("bench: stays on an ext4 without a journal: {why}");
            bind(Path::new("/var/tmp"), MsFlags::empty())?;
        }
        None => bind(Path::new("/var/tmp"), MsFlags::empty())?,
    }
    for from in SEEN {
        bind(from.as_ref(), MsFlags::MS_REC)?;
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let repository = repository.canonicalize().map_err(|e| e.to_string())?;
    let rkt = find_binary("rkt")?;
    for from in [Some(repository.as_path()), exe.parent(), rkt.parent()] {
        if let Some(from) = from.filter(|dir| !dir.starts_with("/tmp")) {
            bind(from, MsFlags::empty())?;
        }
    }
    // What the peers keep for themselves goes with the benchmark. Without an init
    // system /run may lie on a disk, where systemd's programs refuse to work.
    let volatile = statfs("/run").map_err(failed("/run"))?.filesystem_type() == TMPFS_MAGIC;
    let more = (!volatile).then_some("run");
    for own in ["var/lib"].into_iter().chain(more) {
        let (tmpfs, at) = (Some("tmpfs"), root.join(own));
        mount(tmpfs, &at, tmpfs, MsFlags::empty(), Some("mode=755")).map_err(failed(own))?;
    }
    for (program, word) in [(exe, "--help"), (rkt.as_path(), "version")] {
        let mut ran = Command::new("chroot");
        ran.arg(root).arg(program).arg(word);
        let out = ran.output().map_err(|e| e.to_string())?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(format!("{} does not run there: {said}", program.display()));
        }
    }
    std::env::set_current_dir(root).map_err(|e| e.to_string())?;
    nix::unistd::pivot_root(".", ".").map_err(failed("pivot_root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(failed("the old root"))?;
    std::env::set_current_dir("/").map_err(|e| e.to_string())
}

/// Whether `/var/tmp` is on an ext4 that has none.
pub(crate) fn without_journal() -> bool {
    let (device, kind) = under("/var/tmp");
    let device = device.trim_start_matches("/dev/");
    let journals = fs::read_dir("/proc/fs/jbd2")
        .into_iter()
        .flatten()
        .flatten();
    let mut names = journals.map(|entry| entry.file_name().to_string_lossy().into_owned());
    kind == "ext4" && !names.any(|name| name.starts_with(&format!("{device}-")))
}

/// Device and kind of the file system that a path is on.
pub(crate) fn under(path: &str) -> (String, String) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found = (String::new(), String::new());
    let mut longest = 0;
    for line in mounts.lines() {
        let mut words = line.split(' ');
        if let (Some(device), Some(at), Some(kind)) = (words.next(), words.next(), words.next())
            && Path::new(path).starts_with(at)
            && at.len() >= longest
        {
            longest = at.len();
            found = (device.to_owned(), kind.to_owned());
        }
    }
    found
}

/// A new ext4 with a journal, as a loop device.
fn disk() -> Result<String, String> {
    let file = Path::new(CACHE).join("disk");
    let file = file.to_string_lossy();
    output("fallocate", &["--length=8G", &file])?;
    // All of it now, nothing in the background.
    let now = "lazy_itable_init=0,lazy_journal_init=0";
    output("mkfs.ext4", &["-q", "-F", "-E", now, &file])?;
    let device = output("losetup", &["--find", "--show", "--direct-io=on", &file]);
    // It lives as long as the device.
    let _ = fs::remove_file(&*file);
    device
}

/// What a program of the host prints.
fn output(program: &str, words: &[&str]) -> Result<String, String> {
    let out = Command::new(program).args(words).output();
    let out = out.map_err(|e| format!("cannot run {program}: {e}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(format!("{program}: {}", said.trim()))
}

/// Who is measured, in which version, from where.
pub(crate) fn programs() -> Vec<Program> {
    let mut all: Vec<Program> = rkt().into_iter().collect();
    let tree = std::env::var_os(MOVED).map(PathBuf::from);
    let (versions, origin) = match &tree {
        Some(tree) => (
            fs::read_to_string(tree.join("versions")).unwrap_or_default(),
            "Debian 13",
        ),
        None => (installed(), "the host"),
    };
    all.extend(versions.lines().filter_map(|line| {
        let (name, version) = line.split_once(' ')?;
        PACKAGES.contains(&name).then(|| Program {
            name: name.to_owned(),
            version: version.to_owned(),
            origin: origin.to_owned(),
        })
    }));
    all
}

fn rkt() -> Option<Program> {
    let out = Command::new(find_binary("rkt").ok()?)
        .arg("version")
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&out.stdout);
    let version = said.lines().find_map(|l| l.strip_prefix("rkt Version: "))?;
    Some(Program {
        name: "rkt".into(),
        version: version.trim().to_owned(),
        origin: "this tree".into(),
    })
}

/// The host's packages, as the recipe of the tree writes them.
fn installed() -> String {
    let query = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${Version}\n"])
        .args(PACKAGES)
        .output();
    query.map_or_else(
        |_| String::new(),
        |out| String::from_utf8_lossy(&out.stdout).into_owned(),
    )
}
