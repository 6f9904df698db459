//! The pod's cgroups, whichever version the host has.
//!
//!     HIERARCHY/rkt/UUID/APP
//!     HIERARCHY/…/web.service/UUID/APP    in a unit that delegates its cgroup
//!
//! A host has one unified hierarchy (v2), several legacy ones (v1), or both
//! (hybrid), where a controller is in one of them only. [`Plan::new`] finds
//! the hierarchies that the pod needs and turns its limits into file writes;
//! after that nothing here knows of versions, except that a process joins a
//! v2 cgroup by being born in it and a v1 cgroup by writing itself into it.
//!
//! The supervisor and the pod's init stay in the caller's cgroup: on v2 a
//! cgroup with limited children must hold no process itself, and what is to
//! be limited is the apps.
//!
//! Invariant: whatever is created was recorded before, see [`Plan::record`].

mod devices;
mod entrance;
mod home;
mod host;
mod tree;
mod v1;
mod v2;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use manifests::engine::Limit;
use oci_spec::runtime::LinuxResources;
use rustix::fs::{CWD, Mode, OFlags};
use sys::device_filter::Instruction;

use crate::error::{Error, Result};
use home::Home;
use host::Host;
use tree::{children, is_dead, kill_frozen, kill_tree, kill_without_forks, remove_tree};

pub(crate) use entrance::enter;
pub use entrance::{Entrance, List};

/// Where the hierarchies are mounted (systemd's file hierarchy, and everyone's).
pub(crate) const MOUNT: &str = "/sys/fs/cgroup";

/// The cgroup that holds all pods.
const PARENT: &str = "rkt";

/// How long killed processes may take to leave.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// Controllers that are used when they are there, though nobody asked: what
/// a pod uses can be told, and its processes be found.
const ALWAYS: [&str; 2] = ["memory", "pids"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// One mounted hierarchy and what the pod needs of it.
#[derive(Debug)]
struct Hierarchy {
    root: PathBuf,
    version: Version,
    controllers: Vec<&'static str>,
    /// The cgroup below which the pod's is.
    parent: PathBuf,
    /// `parent` is a unit's, which was delegated to us.
    of_unit: bool,
}

/// One value to write into one file. Controllers go by their names on v1.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    controller: &'static str,
    file: String,
    value: String,
}

impl Setting {
    fn new(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Self {
        Self {
            controller,
            file: file.into(),
            value: value.to_string(),
        }
    }
}

/// What an app asks of its cgroups.
#[derive(Debug)]
pub struct Wishes<'a> {
    /// Its name.
    pub app: &'a str,
    /// The limits.
    pub resources: &'a LinuxResources,
    /// Those that it can do without.
    pub dispensable: &'a [Limit],
}

/// A limit that an app does without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The app's name.
    pub app: String,
    /// What it is, and why it is not there.
    pub text: String,
}

/// The same, translated.
#[derive(Debug)]
struct AppPlan {
    name: String,
    settings: Vec<Setting>,
    /// v2 only: v1 has settings for it.
    device_filter: Option<Vec<Instruction>>,
    /// What it asks of these, it can do without.
    dispensable: Vec<Limit>,
}

/// The cgroups of a pod, before they exist.
#[derive(Debug)]
pub struct Plan {
    uuid: String,
    hierarchies: Vec<Hierarchy>,
    apps: Vec<AppPlan>,
    home: Home,
    /// The controllers of the limits that somebody asked for: doing without is
    /// not allowed.
    required: Vec<&'static str>,
    /// Limits that will not be set.
    lost: Vec<Lost>,
}

impl Plan {
    /// Finds the hierarchies and translates the limits of the apps.
    ///
    /// # Errors
    /// [`Error::Refused`] for a limit that this host's kernel does not offer
    /// and that the app cannot do without.
    pub fn new<'a>(uuid: &str, apps: impl Iterator<Item = Wishes<'a>>) -> Result<Self> {
        let host = Host::look()?;
        let mut plan = Self {
            uuid: uuid.to_owned(),
            hierarchies: Vec::new(),
            apps: Vec::new(),
            home: Home::look(host.unified.as_deref())?,
            required: Vec::new(),
            lost: Vec::new(),
        };
        for controller in ALWAYS {
            if let Some((root, version)) = host.find(controller) {
                plan.need(root, version, controller);
            }
        }
        for wishes in apps {
            let app = plan.app(&host, &wishes).map_err(|e| e.of_app(wishes.app))?;
            plan.apps.push(app);
        }
        plan.settle()?;
        Ok(plan)
    }

    /// In a unit: makes sure that its cgroup can hand down what is needed.
    fn settle(&mut self) -> Result<()> {
        let unit = self
            .hierarchies
            .iter_mut()
            .find(|h| h.of_unit && h.version == Version::V2);
        let Some(unit) = unit else { return Ok(()) };
        let free = home::stand_aside(unit)?;
        let file = unit.parent.join("cgroup.controllers");
        let available = fs::read_to_string(&file).map_err(Error::system("read", file.display()))?;
        // Devices are no controller on v2 but a program at the app's cgroup.
        let (kept, lost): (Vec<_>, Vec<_>) = unit.controllers.iter().partition(|c| {
            **c == "devices" || free && available.split_whitespace().any(|a| a == v2::name(c))
        });
        unit.controllers = kept;
        let reason = if free {
            "the unit's cgroup does not have this controller: set Delegate=yes in its [Service] \
             section"
        } else {
            "the unit's cgroup holds other processes too and so hands down no controllers: let \
             the unit execute rkt itself"
        };
        if let Some(controller) = lost.iter().find(|c| self.required.contains(c)) {
            return Err(Error::Refused {
                field: "linux.resources",
                value: (*controller).to_owned(),
                reason,
            });
        }
        self.lose(|controller| lost.contains(&controller), reason);
        Ok(())
    }

    /// Gives up what the apps ask of some controllers and can do without.
    fn lose(&mut self, is_lost: impl Fn(&str) -> bool, reason: &str) {
        for app in &mut self.apps {
            app.settings.retain(|setting| !is_lost(setting.controller));
            for limit in app.dispensable.extract_if(.., |l| is_lost(&l.controller)) {
                self.lost.push(Lost::new(&app.name, &limit, reason));
            }
        }
    }

    fn app(&mut self, host: &Host, wishes: &Wishes<'_>) -> Result<AppPlan> {
        let resources = wishes.resources;
        let mut settings = Vec::new();
        let mut dispensable = Vec::new();
        for (controller, translate) in v1::TRANSLATIONS.iter().zip(v2::TRANSLATIONS) {
            let (controller, v1) = *controller;
            let asked = v1(resources)?;
            if asked.is_empty() {
                continue;
            }
            let mut known = wishes.dispensable.iter();
            let limit = known.find(|limit| limit.controller == controller);
            match host.find(controller) {
                Some((root, Version::V1)) => {
                    settings.extend(asked);
                    self.need(root, Version::V1, controller);
                }
                Some((root, Version::V2)) => {
                    settings.extend(translate(resources)?);
                    self.need(root, Version::V2, controller);
                }
                None => match limit {
                    Some(limit) => {
                        let reason = "this host has no such cgroup controller";
                        self.lost.push(Lost::new(wishes.app, limit, reason));
                        continue;
                    }
                    None => {
                        return Err(Error::Refused {
                            field: "linux.resources",
                            value: controller.to_owned(),
                            reason: "a limit is asked for and this host has no such cgroup \
                                     controller",
                        });
                    }
                },
            }
            match limit {
                Some(limit) => dispensable.push(limit.clone()),
                None => self.required.push(controller),
            }
        }
        settings.extend(self.unified(host, resources)?);
        let rules = resources.devices().as_deref().unwrap_or_default();
        let mut device_filter = None;
        if !rules.is_empty() {
            self.required.push("devices");
            if let Some((root, Version::V1)) = host.find("devices") {
                settings.extend(devices::v1(rules)?);
                self.need(root, Version::V1, "devices");
            } else if let Some(root) = host.unified.clone() {
                device_filter = Some(devices::v2(rules)?);
                self.need(root, Version::V2, "devices");
            } else {
                return Err(Error::Refused {
                    field: "linux.resources",
                    value: "devices".to_owned(),
                    reason: "this host has no cgroups, so device access cannot be limited",
                });
            }
        }
        Ok(AppPlan {
            name: wishes.app.to_owned(),
            settings,
            device_filter,
            dispensable,
        })
    }

    /// `resources.unified`: files of the v2 hierarchy by their names.
    fn unified(&mut self, host: &Host, resources: &LinuxResources) -> Result<Vec<Setting>> {
        let mut settings = Vec::new();
        for (file, value) in resources.unified().iter().flatten() {
            let refuse = |reason| Error::Refused {
                field: "linux.resources.unified",
                value: file.clone(),
                reason,
            };
            let controller = file
                .split_once('.')
                .and_then(|(name, _)| v2::CONTROLLERS.iter().find(|c| v2::name(c) == name))
                .ok_or_else(|| refuse("not a file of a known controller"))?;
            if file.contains('/') {
                return Err(refuse("not the name of a file"));
            }
            match host.find(controller) {
                Some((root, Version::V2)) => self.need(root, Version::V2, controller),
                _ => return Err(refuse("this host has the controller not on cgroup v2")),
            }
            settings.push(Setting::new(controller, file.as_str(), value));
            self.required.push(controller);
        }
        Ok(settings)
    }

    fn need(&mut self, root: PathBuf, version: Version, controller: &'static str) {
        let known = self.hierarchies.iter_mut().find(|h| h.root == root);
        match known {
            Some(hierarchy) if hierarchy.controllers.contains(&controller) => {}
            Some(hierarchy) => hierarchy.controllers.push(controller),
            None => {
                let (parent, of_unit) = self.home.parent(&root, version, controller);
                self.hierarchies.push(Hierarchy {
                    root,
                    version,
                    controllers: vec![controller],
                    parent,
                    of_unit,
                });
            }
        }
    }

    /// The programs that limit the devices of each app, where it is not a
    /// cgroup that does; see [`Entrance::limit_devices`].
    pub fn take_device_filters(&mut self) -> Vec<Option<Vec<Instruction>>> {
        let apps = self.apps.iter_mut();
        apps.map(|app| app.device_filter.take()).collect()
    }

    /// The pod's cgroup directories, one a line, as the pod directory records
    /// them before [`Self::create`].
    pub fn record(&self) -> String {
        let mut lines = String::new();
        for hierarchy in &self.hierarchies {
            lines.push_str(&self.directory(hierarchy).to_string_lossy());
            lines.push('\n');
        }
        lines
    }

    fn directory(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.parent.join(&self.uuid)
    }

    /// Makes the cgroups and sets their limits.
    ///
    /// # Errors
    /// [`Error::System`] when a directory cannot be made or a limit not be
    /// set; what was made is removed again. Where there is no right to make
    /// any and no limit was asked for, there are no cgroups and no error.
    pub fn create(mut self) -> Result<Cgroups> {
        let mut made = Cgroups::default();
        match self.fill(&mut made) {
            Ok(()) => {
                made.lost = self.lost;
                Ok(made)
            }
            Err(Error::System { source, .. }) if self.required.is_empty() && no_right(&source) => {
                made.remove()?;
                self.lose(|_| true, "there is no right to make cgroups here");
                Ok(Cgroups {
                    apps: self.apps.iter().map(|_| AppCgroups::default()).collect(),
                    lost: self.lost,
                    ..Cgroups::default()
                })
            }
            Err(error) => {
                made.remove()?;
                Err(error)
            }
        }
    }

    fn fill(&self, made: &mut Cgroups) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let pod = self.directory(hierarchy);
            match pod.is_dir() {
                // An app that came later finds it.
                true => prepare_pod(hierarchy, &pod)?,
                false => make_pod(hierarchy, &pod)?,
            }
            made.pods.push(pod);
        }
        for app in &self.apps {
            let mut cgroups = AppCgroups::default();
            for (hierarchy, pod) in self.hierarchies.iter().zip(&made.pods) {
                let directory = pod.join(&app.name);
                // What is there already is of the app's last run.
                remove_tree(&directory)
                    .and_then(|()| fs::create_dir(&directory))
                    .map_err(Error::system("make the cgroup", directory.display()))?;
                if hierarchy.controllers.contains(&"cpuset") && hierarchy.version == Version::V1 {
                    v1::inherit_cpuset(&directory)?;
                }
                for setting in &app.settings {
                    if hierarchy.controllers.contains(&setting.controller) {
                        write(&directory, setting).map_err(|e| e.of_app(&app.name))?;
                    }
                }
                cgroups.open(hierarchy, &directory)?;
                made.below.push(directory);
            }
            made.apps.push(cgroups);
        }
        Ok(())
    }
}

impl Lost {
    fn new(app: &str, limit: &Limit, reason: &str) -> Self {
        let Limit { controller, what } = limit;
        Self {
            app: app.to_owned(),
            text: format!("{what} is not enforced (cgroup controller {controller:?}: {reason})"),
        }
    }
}

/// Sets other limits for an app whose pod's cgroups are those of `record`, one
/// directory a line.
///
/// # Errors
/// [`Error::Refused`] where the app has no cgroup of the controller,
/// [`Error::System`] with what the kernel says of a value.
pub(crate) fn change(record: &str, app: &str, resources: &LinuxResources) -> Result<()> {
    let host = Host::look()?;
    for (controller, translate) in v1::TRANSLATIONS.iter().zip(v2::TRANSLATIONS) {
        let (controller, v1) = *controller;
        let asked = v1(resources)?;
        if asked.is_empty() {
            continue;
        }
        let refuse = |reason| Error::Refused {
            field: "linux.resources",
            value: controller.to_owned(),
            reason,
        };
        let (root, version) = host
            .find(controller)
            .ok_or_else(|| refuse("this host has no such cgroup controller"))?;
        let pods = record.lines().map(Path::new);
        let pod = pods
            .filter(|pod| pod.starts_with(&root))
            .find(|pod| pod.join(app).is_dir());
        let pod = pod.ok_or_else(|| {
            refuse(
                "the app was started without such a limit and has no cgroup for it: start it \
                 with one",
            )
        })?;
        let settings = match version {
            Version::V1 => asked,
            Version::V2 => {
                let down = pod
                    .ancestors()
                    .take_while(|directory| directory.starts_with(&root));
                let mut down: Vec<_> = down.collect();
                down.reverse();
                let file = pod.join(app).join("cgroup.controllers");
                let has =
                    fs::read_to_string(&file).map_err(Error::system("read", file.display()))?;
                if !has
                    .split_whitespace()
                    .any(|name| name == v2::name(controller))
                {
                    v2::enable(down.into_iter(), &[controller])?;
                }
                translate(resources)?
            }
        };
        for setting in &settings {
            write(&pod.join(app), setting)?;
        }
    }
    Ok(())
}

fn no_right(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn make_pod(hierarchy: &Hierarchy, pod: &Path) -> Result<()> {
    let failed = |path: &Path, source| Error::system("make the cgroup", path.display())(source);
    let parent = &hierarchy.parent;
    let mut attempts = 16;
    loop {
        match fs::create_dir(pod) {
            Ok(()) => break,
            Err(e) if e.kind() == io::ErrorKind::NotFound && attempts > 0 => attempts -= 1,
            Err(e) => return Err(failed(pod, e)),
        }
        match fs::create_dir(parent) {
            // Another pod may be the first at the same time, and gc may remove
            // it again before we are in it.
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(parent, e)),
            _ => {}
        }
    }
    let prepared = prepare_pod(hierarchy, pod);
    if prepared.is_err() {
        fs::remove_dir(pod).map_err(Error::system("remove the cgroup", pod.display()))?;
    }
    prepared
}

/// Hands down to the pod's cgroup what its apps' need.
fn prepare_pod(hierarchy: &Hierarchy, pod: &Path) -> Result<()> {
    match hierarchy.version {
        Version::V1 if hierarchy.controllers.contains(&"cpuset") => {
            v1::inherit_cpuset(&hierarchy.parent).and_then(|()| v1::inherit_cpuset(pod))
        }
        Version::V1 => Ok(()),
        Version::V2 => {
            // A unit's own cgroup has got its controllers from systemd.
            let root = (!hierarchy.of_unit).then_some(hierarchy.root.as_path());
            let down = root.into_iter().chain([hierarchy.parent.as_path(), pod]);
            v2::enable(down, &hierarchy.controllers)
        }
    }
}

fn write(directory: &Path, setting: &Setting) -> Result<()> {
    let path = directory.join(&setting.file);
    let what = format!("{} to {:?}", path.display(), setting.value);
    // No O_CREAT: a file that is not there is a limit that the kernel has not.
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(setting.value.as_bytes()))
        .map_err(Error::system("set", what))
}

/// The v1 hierarchies of the host by the names of their directories, which
/// are their controllers joined by commas; none where everything is on v2.
///
/// # Errors
/// [`Error::System`] when the directory of hierarchies cannot be read.
pub fn legacy_hierarchies() -> Result<Option<Vec<String>>> {
    let failed = || Error::attempt("read", MOUNT);
    let magic = rustix::fs::statfs(MOUNT)
        .map_err(|e| failed().because(e))?
        .f_type as u32;
    if magic == v2::MAGIC {
        return Ok(None);
    }
    let mut names = Vec::new();
    for directory in children(Path::new(MOUNT)).map_err(|e| failed().because(e))? {
        let name = directory.file_name().and_then(|name| name.to_str());
        let magic = rustix::fs::statfs(&directory)
            .map_err(|e| failed().because(e))?
            .f_type as u32;
        // A named hierarchy is its manager's own, and limits nothing.
        if let Some(name) = name.filter(|name| magic == v1::MAGIC && *name != "systemd") {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(Some(names))
}

/// Whether the unified hierarchy is mounted on this directory.
pub(crate) fn is_unified(directory: &Path) -> bool {
    rustix::fs::statfs(directory).is_ok_and(|s| s.f_type as u32 == v2::MAGIC)
}

/// The cgroups of a pod, as they are.
#[derive(Debug, Default)]
pub struct Cgroups {
    pods: Vec<PathBuf>,
    apps: Vec<AppCgroups>,
    /// Those of the apps in `pods`, which have to go first.
    below: Vec<PathBuf>,
    lost: Vec<Lost>,
}

/// The cgroups of one app, open.
#[derive(Debug, Default)]
pub struct AppCgroups {
    entrance: Entrance,
    /// One of them, to find the app's processes by.
    directory: Option<PathBuf>,
    /// The file that counts OOM kills.
    oom: Option<PathBuf>,
    /// The file that limits the number of processes, where they cannot be
    /// killed at once.
    pids: Option<PathBuf>,
}

impl AppCgroups {
    fn open(&mut self, hierarchy: &Hierarchy, directory: &Path) -> Result<()> {
        let failed = || Error::attempt("open the cgroup", directory.display());
        let has = |controller| hierarchy.controllers.contains(&controller);
        self.directory = Some(directory.to_owned());
        match hierarchy.version {
            Version::V1 => {
                let tasks = OpenOptions::new().write(true).open(directory.join("tasks"));
                let tasks = tasks.map_err(|e| failed().because(e))?.into();
                if has("devices") {
                    self.entrance.devices = Some(tasks);
                } else {
                    self.entrance.tasks.push(tasks);
                }
                if has("memory") {
                    self.oom = Some(directory.join("memory.oom_control"));
                }
                if has("pids") {
                    self.pids = Some(directory.join("pids.max"));
                }
            }
            Version::V2 => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(CWD, directory, flags, Mode::empty());
                self.entrance.unified = Some(opened.map_err(|e| failed().because(e))?);
                if has("memory") {
                    self.oom = Some(directory.join("memory.events"));
                }
            }
        }
        Ok(())
    }

    /// What a process needs to join, as descriptors in the order of
    /// [`Entrance::from_list`].
    pub fn entrance(&self) -> List<'_> {
        let Entrance {
            unified,
            tasks,
            devices,
        } = &self.entrance;
        let list = unified.iter().chain(tasks).chain(devices);
        List {
            unified: unified.is_some(),
            devices: devices.is_some(),
            descriptors: list.map(AsFd::as_fd).collect(),
        }
    }

    /// The file by which to join the v2 cgroup later, if there is one.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub fn procs(&self) -> Result<Option<OwnedFd>> {
        let open = |unified| {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(unified, c"cgroup.procs", flags, Mode::empty())
                .map_err(Error::system("open", "the app's cgroup"))
        };
        self.entrance.unified.as_ref().map(open).transpose()
    }

    /// Puts the app's v2 cgroup under this limit of devices.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub fn limit_devices(&self, filter: Option<&[Instruction]>) -> Result<()> {
        match (filter, &self.entrance.unified) {
            (Some(filter), Some(unified)) => sys::device_filter::attach(unified.as_fd(), filter)
                .map_err(Error::system("limit", "the app's devices")),
            _ => Ok(()),
        }
    }

    /// Kills what is left of an app whose main process ended, so that it does
    /// not live on for as long as the pod does. However it forks, nothing is
    /// left.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub fn kill_rest(&self) -> Result<()> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        if is_dead(directory) {
            return Ok(());
        }
        match &self.pids {
            Some(pids) => kill_without_forks(directory, pids),
            None if directory.join("cgroup.freeze").exists() => kill_frozen(directory),
            None => kill_tree(directory),
        }
    }

    /// How many processes of the app the kernel has killed for want of
    /// memory.
    pub fn oom_kills(&self) -> u64 {
        let text = self.oom.as_ref().and_then(|f| fs::read_to_string(f).ok());
        let count = text.as_deref().and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("oom_kill "))
                .and_then(|count| count.trim().parse().ok())
        });
        count.unwrap_or(0)
    }
}

impl Cgroups {
    /// The cgroups of the app with this place in the pod's list.
    pub fn app(&self, index: usize) -> &AppCgroups {
        &self.apps[index]
    }

    /// The limits that were given up, each told once.
    pub fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }

    /// Makes the cgroups of an app that comes later; it has this place in the
    /// pod's list. `plan` has no other app.
    ///
    /// # Errors
    /// As [`Plan::create`].
    pub fn add(&mut self, index: usize, mut plan: Plan) -> Result<()> {
        let mut made = Self::default();
        let filled = plan.fill(&mut made);
        for pod in made.pods {
            if !self.pods.contains(&pod) {
                self.pods.push(pod);
            }
        }
        let undone: Vec<_> = match &filled {
            Ok(()) => Vec::new(),
            Err(_) => std::mem::take(&mut made.below),
        };
        for directory in undone {
            // What stays goes with the pod.
            let _stays = fs::remove_dir(directory);
        }
        match filled {
            Err(Error::System { source, .. }) if plan.required.is_empty() && no_right(&source) => {
                plan.lose(|_| true, "there is no right to make cgroups here");
            }
            other => other?,
        }
        self.lost.append(&mut plan.lost);
        self.below.extend(made.below);
        if self.apps.len() <= index {
            self.apps.resize_with(index + 1, AppCgroups::default);
        }
        self.apps[index] = made.apps.pop().unwrap_or_default();
        Ok(())
    }

    /// Removes the cgroups of an app that is over. One whose processes take
    /// their time to go is removed with the pod.
    pub fn remove_app(&mut self, index: usize, name: &str) {
        if let Some(cgroups) = self.apps.get_mut(index) {
            *cgroups = AppCgroups::default();
        }
        self.below
            .retain(|directory| !directory.ends_with(name) || remove_tree(directory).is_err());
    }

    /// Removes the cgroups that hold no process and nothing else, as they do
    /// when the apps are over and the init is still busy with ending. Where
    /// there is more to do, [`Self::remove`] does it.
    pub fn remove_empty(&mut self) {
        for list in [&mut self.below, &mut self.pods] {
            list.retain(|directory| fs::remove_dir(directory).is_err());
        }
    }

    /// Kills what is left in the pod's cgroups and removes them.
    ///
    /// # Errors
    /// [`Error::System`] when a process will not go or a directory not be
    /// removed; gc tries again.
    pub fn remove(mut self) -> Result<()> {
        let deadline = Instant::now() + LAST_BREATH;
        self.remove_empty();
        for pod in &self.pods {
            loop {
                match remove_tree(pod) {
                    Ok(()) => break,
                    Err(e)
                        if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
                    {
                        kill_tree(pod)?;
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Err(e) => return Err(Error::system("remove the cgroup", pod.display())(e)),
                }
            }
        }
        Ok(())
    }
}
