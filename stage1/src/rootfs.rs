//! An app's root file system, as its specification draws it.
//!
//! Two halves. [`Sources::open`] runs in the pod's init while the host's tree
//! is still there and takes hold of everything that comes from the host, as
//! detached mounts. [`build`] runs in the app's own mount namespace, sees
//! nothing of the host any more, and puts them in their places.

mod credentials;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use sys::mount_attributes::{MountAttributes, Propagation};

use crate::error::{Error, Result};
use crate::mounting;
use crate::plan::{App, Device, Mount, MountKind, Parameter, Root};
use crate::protection::{Protection, is_left_out};
use crate::resolve::{self, Kind};
use crate::users::Mapper;

/// `PROC_SUPER_MAGIC`.
const PROC_MAGIC: u32 = 0x9fa0;

/// Files of `/proc` that tools such as lxcfs replace by their own, the only
/// ones that may be mounted on; any other would let an image or a volume
/// forge what the kernel says of processes.
const REPLACEABLE: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// Links that every container's `/dev` has (OCI runtime specification,
/// "Dev symbolic links").
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Directories that programs expect and small images lack (rkt's pod
/// reference, "prepare-app").
const DIRECTORIES: [(&str, u32); 3] = [("etc", 0o755), ("run", 0o755), ("tmp", 0o1777)];

/// What an app's root needs from the host, as detached mounts.
#[derive(Debug)]
pub struct Sources {
    root: OwnedFd,
    /// One for each mount of the plan, in its order, none where the mount is
    /// not a bind.
    binds: Vec<Option<OwnedFd>>,
    /// The host's null device, to cover files with.
    null: Option<OwnedFd>,
    /// The host's devices, one for each of the plan, where the pod may make
    /// none.
    devices: Vec<OwnedFd>,
}

impl Sources {
    /// Opens them; `mapper` shows them as a pod with users of its own has them.
    /// The working directory is the pod directory.
    ///
    /// # Errors
    /// [`Error::System`], naming the path that is missing or cannot be
    /// mounted.
    pub fn open(app: &App, mapper: Option<&Mapper>) -> Result<Self> {
        let root = match &app.root {
            Root::Overlay { lower, parameters } => {
                let made = match mapper {
                    None => {
                        mounting::new_file_system(c"overlay", parameters, MountAttributes::empty())
                    }
                    Some(mapper) => {
                        let writable = Path::new("apps").join(&app.name);
                        mapper.overlay((lower, &writable), parameters)
                    }
                };
                made.map_err(Error::system("mount", "the overlay"))?
            }
            Root::Directory(path) => {
                let root = mounting::copy_path(path, true)
                    .map_err(Error::system("use the root directory", path.display()))?;
                mounting::propagate(&root, Propagation::Private, true)
                    .map_err(Error::system("make private", path.display()))?;
                if let Some(mapper) = mapper.filter(|mapper| !mapper.is_on_disk()) {
                    mapper
                        .map(&root, true)
                        .map_err(Error::system("map the owners in", path.display()))?;
                }
                root
            }
        };
        let binds = app
            .mounts
            .iter()
            .map(|mount| match &mount.kind {
                MountKind::Bind {
                    source,
                    recursive,
                    mapped,
                } => {
                    if mapper.is_none() && mapped.is_some() {
                        return Err(Error::Refused {
                            field: "mounts",
                            value: format!("{}: idmap", mount.target.display()),
                            reason: "the pod has no users of its own",
                        });
                    }
                    let copy = mounting::copy_path(source, *recursive).and_then(|copy| {
                        if let (Some(mapper), Some(recursive)) = (mapper, mapped) {
                            mapper.map(&copy, *recursive)?;
                        }
                        Ok(Some(copy))
                    });
                    copy.map_err(|e| {
                        let what = format!("{} on {}", source.display(), mount.target.display());
                        Error::system("mount", what)(e)
                    })
                }
                MountKind::Credentials {
                    directory,
                    names,
                    owner,
                } => {
                    // A ramfs is not shown with other owners; its own are
                    // those that the host has for the pod's.
                    let outside = |id| mapper.map_or(id, |mapper| mapper.users().outside(id));
                    let owner = (outside(owner.0), outside(owner.1));
                    credentials::copy(directory, names, owner).map(Some)
                }
                MountKind::New { .. } | MountKind::LegacyCgroups(_) | MountKind::PodShm { .. } => {
                    Ok(None)
                }
            })
            .collect::<Result<_>>()?;
        let null = match app.masked.is_empty() {
            true => None,
            false => Some(null_device()?),
        };
        let devices = match mapper {
            None => Vec::new(),
            Some(_) => app.devices.iter().map(host_device).collect::<Result<_>>()?,
        };
        Ok(Self {
            root,
            binds,
            null,
            devices,
        })
    }
}

impl Sources {
    /// The root, one volume for each mount that is one, the null device, and
    /// the others.
    pub fn into_parts(self) -> (OwnedFd, Vec<Option<OwnedFd>>, Option<OwnedFd>, Vec<OwnedFd>) {
        (self.root, self.binds, self.null, self.devices)
    }

    /// The reverse of [`Self::into_parts`].
    pub fn from_parts(
        root: OwnedFd,
        binds: Vec<Option<OwnedFd>>,
        null: Option<OwnedFd>,
        devices: Vec<OwnedFd>,
    ) -> Self {
        Self {
            root,
            binds,
            null,
            devices,
        }
    }

    /// Cuts what comes from the host off from the host: nothing that is
    /// mounted in the app later appears there.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub fn cut_off(&self) -> Result<()> {
        let devices = self.devices.iter();
        for source in self
            .binds
            .iter()
            .chain([&self.null])
            .flatten()
            .chain(devices)
        {
            mounting::propagate(source, Propagation::Slave, true)
                .map_err(Error::system("cut off", "the app's mounts"))?;
        }
        Ok(())
    }

    /// Gives the app its part of what the pod's apps share: a copy of this
    /// mount, whose place is in the init's own tree.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub fn share_shm(&mut self, app: &App, shm: &OwnedFd) -> Result<()> {
        for (mount, source) in app.mounts.iter().zip(&mut self.binds) {
            if matches!(mount.kind, MountKind::PodShm { .. }) {
                let copy = mounting::copy(shm, false)
                    .map_err(Error::system("share", mount.target.display()))?;
                *source = Some(copy);
            }
        }
        Ok(())
    }

    /// Makes less of a root: without the mounts that `which` says.
    pub fn leave_out(&mut self, app: &mut App, which: impl Fn(&Mount) -> bool) {
        let mut index = 0;
        while index < app.mounts.len() {
            if which(&app.mounts[index]) {
                app.mounts.remove(index);
                self.binds.remove(index);
            } else {
                index += 1;
            }
        }
    }
}

fn null_device() -> Result<OwnedFd> {
    node(Path::new("/dev/null"), FileType::CharacterDevice, (1, 3))
}

/// The host's own node of a device, for a pod that may make none.
fn host_device(device: &Device) -> Result<OwnedFd> {
    node(&device.path, device.kind, device.number)
}

fn node(path: &Path, kind: FileType, (major, minor): (u32, u32)) -> Result<OwnedFd> {
    let failed = || Error::attempt("use", path.display());
    let copy = mounting::copy_path(path, false).map_err(|e| failed().because(e))?;
    let stat = rustix::fs::fstat(&copy).map_err(|e| failed().because(e))?;
    let number = rustix::fs::makedev(major, minor);
    if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_rdev != number {
        return Err(failed().because(io::Error::from(Errno::NODEV)));
    }
    Ok(copy)
}

/// Builds the root and makes it this mount namespace's only tree. Returns the
/// master and the slave of a new terminal when one is asked for.
///
/// `confine` is called when the devices are made, for it may forbid that, and
/// before cgroups are mounted, for it decides what those show.
///
/// # Errors
/// [`Error::System`] and [`Error::Refused`], naming the mount, device or path.
pub fn build(
    app: &App,
    sources: Sources,
    terminal: bool,
    confine: impl FnOnce() -> Result<()>,
) -> Result<Option<(OwnedFd, OwnedFd)>> {
    let root = sources.root;
    mounting::attach_over_root(&root).map_err(Error::system("attach", "the root"))?;
    // Whatever is created here has the mode that is asked for.
    rustix::process::umask(Mode::empty());
    make_directories(&root)?;
    let mut late = Vec::new();
    for (mount, source) in app.mounts.iter().zip(sources.binds) {
        if mount.kind.is_cgroup() {
            continue;
        }
        let made = place(&root, mount, source)?;
        if mount.target == Path::new("/dev") && mount.set.contains(MountAttributes::READ_ONLY) {
            late.push(made);
        } else {
            restrict(&made, mount)?;
        }
    }
    let host_devices = app.mounts.iter().any(|mount| {
        mount.target == Path::new("/dev") && matches!(mount.kind, MountKind::Bind { .. })
    });
    if !host_devices {
        let mut nodes = sources.devices.into_iter();
        for device in &app.devices {
            let made = match nodes.next() {
                Some(node) => resolve::mount_point(&root, &device.path, Kind::File)
                    .and_then(|place| mounting::attach(node, place)),
                None => make_device(&root, device),
            };
            made.map_err(Error::system("make the device", device.path.display()))?;
        }
        link_devices(&root, terminal)?;
    }
    confine()?;
    for mount in app.mounts.iter().filter(|mount| mount.kind.is_cgroup()) {
        restrict(&place(&root, mount, None)?, mount)?;
    }
    let terminal = match terminal {
        true => Some(open_terminal(&root)?),
        false => None,
    };
    for made in late {
        mounting::change(
            made,
            MountAttributes::READ_ONLY,
            MountAttributes::empty(),
            false,
        )
        .map_err(Error::system("make read-only", "/dev"))?;
    }
    mask(&root, app, sources.null)?;
    for path in &app.read_only {
        make_read_only(&root, path).map_err(Error::system("make read-only", path.display()))?;
    }
    if app.root_read_only {
        mounting::change(
            &root,
            MountAttributes::READ_ONLY,
            MountAttributes::empty(),
            false,
        )
        .map_err(Error::system("make read-only", "/"))?;
    }
    if let Some((kind, recursive)) = app.root_propagation {
        mounting::propagate(&root, kind, recursive)
            .map_err(Error::system("set the propagation of", "/"))?;
    }
    mounting::pivot(&root).map_err(Error::system("pivot to", "the root"))?;
    Ok(terminal)
}

/// Makes what is missing at the top of the root, where it can be written.
fn make_directories(root: &OwnedFd) -> Result<()> {
    for (name, mode) in DIRECTORIES {
        match rustix::fs::mkdirat(root, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(e) => return Err(Error::system("make the directory", format!("/{name}"))(e)),
        }
    }
    Ok(())
}

/// Makes a mount and puts it in its place; returns it.
fn place(root: &OwnedFd, mount: &Mount, source: Option<OwnedFd>) -> Result<OwnedFd> {
    let target = mount.target.as_path();
    let failed = || Error::attempt("mount", target.display());
    let at = |kind| {
        resolve::mount_point(root, target, kind)
            .map_err(Error::system("make the mount point", target.display()))
    };
    let (made, place) = match (&mount.kind, source) {
        (
            MountKind::New {
                fs_type,
                parameters,
            },
            _,
        ) => {
            let kernels_own = matches!(fs_type.to_bytes(), b"proc" | b"sysfs");
            let mut attributes = mount.set;
            if target == Path::new("/dev") {
                attributes -= MountAttributes::READ_ONLY;
            }
            let made = mounting::new_file_system(fs_type, parameters, attributes).map_err(
                Error::system(
                    "mount",
                    format!("{} on {}", fs_type.to_string_lossy(), target.display()),
                ),
            )?;
            let place = at(Kind::Directory)?;
            if kernels_own && !is_left_out(Protection::ProcLinks) {
                // Through a link in the image `/proc` would be somewhere
                // else, and all that is masked and checked below it not
                // where apps look.
                resolve::open_plain(root, target, OFlags::PATH).map_err(|_| Error::Refused {
                    field: "mounts",
                    value: target.display().to_string(),
                    reason: "in the image it is, or is behind, a symbolic link",
                })?;
            }
            (made, place)
        }
        (MountKind::LegacyCgroups(hierarchies), _) => {
            return mount_cgroups(root, mount, hierarchies).map_err(|e| failed().because(e));
        }
        (
            MountKind::Bind { .. } | MountKind::PodShm { .. } | MountKind::Credentials { .. },
            Some(source),
        ) => {
            let kind = match resolve::file_type(&source).map_err(|e| failed().because(e))? {
                FileType::Directory => Kind::Directory,
                _ => Kind::File,
            };
            (source, at(kind)?)
        }
        (
            MountKind::Bind { .. } | MountKind::PodShm { .. } | MountKind::Credentials { .. },
            None,
        ) => {
            return Err(failed().because(io::Error::from(Errno::BADF)));
        }
    };
    if !is_left_out(Protection::ProcTargets) {
        keep_proc(target, &made, &place)?;
    }
    match is_left_out(Protection::MountTargets) {
        true => mounting::attach_by_path(root, &made, target),
        false => mounting::attach(&made, place),
    }
    .map_err(|e| failed().because(e))?;
    Ok(made)
}

/// Refuses a mount that would forge what the kernel says of processes: one
/// inside procfs, or one of something else in its place.
fn keep_proc(target: &Path, made: &OwnedFd, place: &OwnedFd) -> Result<()> {
    let refused = |reason| Error::Refused {
        field: "mounts",
        value: target.display().to_string(),
        reason,
    };
    let is_proc = |fd: &OwnedFd| -> Result<bool> {
        let failed = || Error::attempt("mount", target.display());
        let file_system = rustix::fs::fstatfs(fd).map_err(|e| failed().because(e))?;
        Ok(file_system.f_type as u32 == PROC_MAGIC)
    };
    if target == Path::new("/proc") && !is_proc(made)? {
        return Err(refused("only a procfs may be mounted there"));
    }
    if is_proc(place)? && !REPLACEABLE.iter().any(|path| target == Path::new(path)) {
        return Err(refused("nothing may be mounted inside /proc"));
    }
    Ok(())
}

/// Gives a mount the attributes and the propagation that were asked for.
fn restrict(made: &OwnedFd, mount: &Mount) -> Result<()> {
    let failed = || Error::attempt("set the options of", mount.target.display());
    // A new file system got its own when it was made.
    if matches!(mount.kind, MountKind::Bind { .. }) {
        let mut clear = mount.clear;
        if is_left_out(Protection::VolumeFlags) {
            clear |= MountAttributes::NO_SUID | MountAttributes::NO_DEV | MountAttributes::NO_EXEC;
        }
        mounting::change(made, mount.set, clear, false).map_err(|e| failed().because(e))?;
    }
    mounting::change(made, mount.set_below, mount.clear_below, true)
        .map_err(|e| failed().because(e))?;
    if let Some((kind, recursive)) = mount.propagation {
        mounting::propagate(made, kind, recursive).map_err(|e| failed().because(e))?;
    }
    Ok(())
}

/// A tmpfs with a directory for each v1 hierarchy. The app's cgroup namespace
/// makes its own cgroup the root of each.
fn mount_cgroups(root: &OwnedFd, mount: &Mount, hierarchies: &[String]) -> io::Result<OwnedFd> {
    let mode = Parameter {
        key: c"mode".to_owned(),
        value: Some(c"755".to_owned()),
    };
    let attributes = mount.set - MountAttributes::READ_ONLY;
    let made = mounting::new_file_system(c"tmpfs", &[mode], attributes)?;
    let place = resolve::mount_point(root, &mount.target, Kind::Directory)?;
    mounting::attach(&made, place)?;
    for hierarchy in hierarchies {
        let flags: Vec<_> = hierarchy
            .split(',')
            .map(|controller| {
                Ok(Parameter {
                    key: std::ffi::CString::new(controller)?,
                    value: None,
                })
            })
            .collect::<io::Result<_>>()?;
        let one = mounting::new_file_system(c"cgroup", &flags, mount.set)?;
        let place = resolve::mount_point(&made, Path::new(hierarchy), Kind::Directory)?;
        mounting::attach(one, place)?;
    }
    let read_only = mount.set & MountAttributes::READ_ONLY;
    mounting::change(&made, read_only, MountAttributes::empty(), false)?;
    Ok(made)
}

/// Makes a device node, also in the place of another one that the image has.
fn make_device(root: &OwnedFd, device: &Device) -> io::Result<()> {
    let (directory, name) = resolve::parent(root, &device.path)?;
    let number = rustix::fs::makedev(device.number.0, device.number.1);
    let mode = Mode::from_raw_mode(device.mode);
    loop {
        match rustix::fs::mknodat(&directory, &name, device.kind, mode, number) {
            Ok(()) => break,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        if resolve::is_node(&directory, &name, device.kind, number)? {
            return Ok(());
        }
        rustix::fs::unlinkat(&directory, &name, AtFlags::empty())?;
    }
    if (device.uid, device.gid) != (0, 0) {
        rustix::fs::chownat(
            &directory,
            &name,
            Some(Uid::from_raw(device.uid)),
            Some(Gid::from_raw(device.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(())
}

/// Makes the links of `/dev`; what the image has there already stays.
fn link_devices(root: &OwnedFd, terminal: bool) -> Result<()> {
    let failed = |name: &str| Error::attempt("make the link", format!("/dev/{name}"));
    let directory = resolve::mount_point(root, Path::new("/dev"), Kind::Directory)
        .map_err(|e| failed("").because(e))?;
    let ptmx = resolve::open(root, Path::new("/dev/pts/ptmx"), OFlags::PATH).is_ok();
    let ptmx = ptmx.then_some(("ptmx", "pts/ptmx"));
    // A terminal is mounted there; without one it is what the app writes to.
    let console = (!terminal).then_some(("console", "/proc/self/fd/1"));
    for (name, target) in LINKS.into_iter().chain(ptmx).chain(console) {
        match rustix::fs::symlinkat(target, &directory, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(name).because(e)),
        }
    }
    Ok(())
}

/// Opens a terminal of the app's own devpts: master and slave. The slave is
/// asked of the master, not looked up by a name.
///
/// # Errors
/// [`Error::System`] when the app has no devpts at `/dev/pts`.
pub fn new_terminal(root: &OwnedFd) -> Result<(OwnedFd, OwnedFd)> {
    use rustix::pty::OpenptFlags;
    const DEVPTS_MAGIC: u32 = 0x1cd1;
    let failed = || Error::attempt("open a terminal in", "/dev/pts");
    let path = Path::new("/dev/pts/ptmx");
    let master = resolve::open(root, path, OFlags::RDWR | OFlags::NOCTTY)
        .map_err(|e| failed().because(e))?;
    let file_system = rustix::fs::fstatfs(&master).map_err(|e| failed().because(e))?;
    if file_system.f_type as u32 != DEVPTS_MAGIC {
        return Err(failed().because(io::Error::from(Errno::NOTTY)));
    }
    rustix::pty::unlockpt(&master).map_err(|e| failed().because(e))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(|e| failed().because(e))?;
    Ok((master, slave))
}

/// The same, and puts it on `/dev/console`.
fn open_terminal(root: &OwnedFd) -> Result<(OwnedFd, OwnedFd)> {
    let (master, slave) = new_terminal(root)?;
    let console = Path::new("/dev/console");
    let failed = || Error::attempt("mount the terminal on", console.display());
    let found = resolve::mount_point(root, console, Kind::File).map_err(|e| failed().because(e))?;
    // A link of the image's would lead the terminal over another file, one of
    // procfs even.
    let place = match is_left_out(Protection::Console) {
        true => found,
        false => {
            resolve::open_plain(root, console, OFlags::PATH).map_err(|e| failed().because(e))?
        }
    };
    let copy = mounting::copy(&slave, false).map_err(|e| failed().because(e))?;
    mounting::attach(copy, place).map_err(|e| failed().because(e))?;
    Ok((master, slave))
}

/// Covers paths: directories by an empty one, all else by the null device.
/// What is not there needs no cover.
fn mask(root: &OwnedFd, app: &App, null: Option<OwnedFd>) -> Result<()> {
    let null = match is_left_out(Protection::NullDevice) {
        true => Some(the_apps_null(root)?),
        false => null,
    };
    let mut null = Cover::new(null);
    let mut empty = Cover::new(None);
    for path in &app.masked {
        let failed = || Error::attempt("mask", path.display());
        let place = match resolve::open(root, path, OFlags::PATH) {
            Err(e) if is_absent(&e) => continue,
            other => other.map_err(|e| failed().because(e))?,
        };
        let cover = match resolve::file_type(&place).map_err(|e| failed().because(e))? {
            FileType::Directory => {
                if empty.made.is_none() {
                    empty.made = Some(empty_directory().map_err(|e| failed().because(e))?);
                }
                &mut empty
            }
            _ => &mut null,
        };
        cover.put(&place).map_err(|e| failed().because(e))?;
    }
    Ok(())
}

/// What the app has where the null device should be.
fn the_apps_null(root: &OwnedFd) -> Result<OwnedFd> {
    resolve::open(root, Path::new("/dev/null"), OFlags::PATH)
        .and_then(|place| mounting::copy(place, false))
        .map_err(Error::system("use", "/dev/null"))
}

/// Something to put over several places: the first gets the mount, each other
/// a copy of it.
struct Cover {
    made: Option<OwnedFd>,
    used: bool,
}

impl Cover {
    fn new(made: Option<OwnedFd>) -> Self {
        Self { made, used: false }
    }

    fn put(&mut self, place: &OwnedFd) -> io::Result<()> {
        let made = self.made.as_ref().ok_or(Errno::BADF)?;
        if self.used {
            return mounting::attach(mounting::copy(made, false)?, place);
        }
        self.used = true;
        mounting::attach(made, place)
    }
}

fn empty_directory() -> io::Result<OwnedFd> {
    let parameter = |key: &std::ffi::CStr, value: &std::ffi::CStr| Parameter {
        key: key.to_owned(),
        value: Some(value.to_owned()),
    };
    let attributes = MountAttributes::READ_ONLY
        | MountAttributes::NO_SUID
        | MountAttributes::NO_DEV
        | MountAttributes::NO_EXEC;
    let parameters = [parameter(c"mode", c"755"), parameter(c"nr_inodes", c"1")];
    mounting::new_file_system(c"tmpfs", &parameters, attributes)
}

/// Puts a read-only copy of a path over it. What is not there is not written.
fn make_read_only(root: &OwnedFd, path: &Path) -> io::Result<()> {
    let place = match resolve::open(root, path, OFlags::PATH) {
        Err(e) if is_absent(&e) => return Ok(()),
        other => other?,
    };
    let copy = mounting::copy(place.as_fd(), true)?;
    mounting::change(
        &copy,
        MountAttributes::READ_ONLY,
        MountAttributes::empty(),
        true,
    )?;
    mounting::attach(copy, place)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
