//! The files by which an app knows names: `/etc/resolv.conf`, `/etc/hosts` and
//! `/etc/hostname`. Source: rkt's pod reference, "Names and resolver files".
//!
//! What is generated goes into the app's own layer, the upper directory of its
//! overlay, before that is mounted: an app that runs has no mount more for it,
//! and sees no path of the host's. Only where the image's `/etc` is not a plain
//! directory, or the app has no overlay, a file of the pod's is mounted.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use manifests::engine::{NETWORK_RESOLV_CONF, Network};
use manifests::network::{Hosts, Resolver, extend_hosts, render_hosts, render_resolv_conf};
use rustix::fs::{Mode, OFlags, fstat};
use rustix::io::Errno;

use crate::images::AppRoot;
use crate::pods::APPS;
use crate::prepare::{PrepareError, make_dir, users, write};
use crate::resolved::ResolvedMount;
use crate::start::Runtime;

/// Directory of the pod with the files that were generated for its apps.
const DIRECTORY: &str = "etc";

/// Shows the name of the reader's UTS namespace.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// Where a file for the apps comes from.
#[derive(Debug)]
enum Source {
    /// The image's own, if it has one.
    Image,
    /// This file of the host's.
    Host(&'static str),
    /// What the pod's networks say, which stage1 will know.
    Networks,
    /// This text.
    Generated(String),
}

/// The files of one pod.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    runtime: &'a Runtime,
    hostname: &'a str,
    /// The names by which its apps know the pod and each other.
    names: Vec<&'a str>,
    /// The pod's directory now.
    pod: &'a Path,
    /// Where it will stand when the pod runs.
    final_pod: &'a Path,
}

impl<'a> Files<'a> {
    /// Makes nothing yet.
    pub(crate) fn new(
        runtime: &'a Runtime,
        hostname: &'a str,
        apps: impl Iterator<Item = &'a str>,
        pod: &'a Path,
        final_pod: &'a Path,
    ) -> Self {
        let mut names = vec![hostname];
        for app in apps {
            if !names.contains(&app) && app != "localhost" {
                names.push(app);
            }
        }
        Self {
            runtime,
            hostname,
            names,
            pod,
            final_pod,
        }
    }

    /// Gives the app `app` its files and returns what has to be mounted for
    /// it; where a volume is mounted, it stays.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn give(
        &self,
        app: &str,
        root: &AppRoot,
        taken: &[ResolvedMount],
    ) -> Result<Vec<ResolvedMount>, PrepareError> {
        let mut etc = None;
        let mut mounts = Vec::new();
        for (file, target, source) in [
            ("resolv.conf", "/etc/resolv.conf", self.resolv_conf()),
            ("hosts", "/etc/hosts", self.hosts(root)),
            ("hostname", "/etc/hostname", self.hostname_file(root)),
        ] {
            if taken.iter().any(|m| m.target == Path::new(target)) {
                continue;
            }
            match source {
                Source::Image => {}
                Source::Host(path) => mounts.push(mount(PathBuf::from(path), target, true)),
                Source::Networks => {
                    let path = self.pod.join(NETWORK_RESOLV_CONF);
                    if !path.exists() {
                        write_readable(&path, "")?;
                    }
                    let path = self.final_pod.join(NETWORK_RESOLV_CONF);
                    mounts.push(mount(path, target, false));
                }
                Source::Generated(text) => {
                    if etc.is_none() {
                        etc = Some(self.layer(app, root)?);
                    }
                    if let Some(Some(etc)) = &etc {
                        write_readable(&etc.join(file), &text)?;
                    } else {
                        let path = self.generate(file, &text)?;
                        mounts.push(mount(path, target, false));
                    }
                }
            }
        }
        Ok(mounts)
    }

    fn resolv_conf(&self) -> Source {
        match &self.runtime.resolver {
            Resolver::Host => Source::Host("/etc/resolv.conf"),
            Resolver::Networks => match &self.runtime.network {
                Network::Private(network) if network.may_resolve() => Source::Networks,
                _ => Source::Image,
            },
            Resolver::None => Source::Image,
            Resolver::Generated(dns) => Source::Generated(render_resolv_conf(dns, "run")),
        }
    }

    fn hosts(&self, root: &AppRoot) -> Source {
        let names = &self.names;
        match &self.runtime.hosts {
            Hosts::Host => Source::Host("/etc/hosts"),
            Hosts::Image => match read(root, "/etc/hosts") {
                Ok(None) => Source::Generated(render_hosts(names, &[])),
                Ok(Some(text)) => Source::Generated(extend_hosts(&text, names)),
                Err(_) => Source::Image,
            },
            Hosts::Entries(entries) => Source::Generated(render_hosts(names, entries)),
        }
    }

    fn hostname_file(&self, root: &AppRoot) -> Source {
        match root {
            AppRoot::Shared(_) => Source::Generated(format!("{}\n", self.hostname)),
            AppRoot::Own(_) => Source::Host(HOSTNAME),
        }
    }

    /// `/etc` in the app's own layer, made to look like the image's; `None`
    /// where there is no such layer, or the image's is no plain directory.
    fn layer(&self, app: &str, root: &AppRoot) -> Result<Option<PathBuf>, PrepareError> {
        if matches!(root, AppRoot::Own(_)) {
            return Ok(None);
        }
        let path = self.pod.join(APPS).join(app).join("upper/etc");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let image = rustix::fs::openat(root.dir(), "etc", flags, Mode::empty());
        let (mode, uid, gid) = match image {
            Ok(image) => {
                let stat = fstat(&image).map_err(PrepareError::io("look at", &path))?;
                (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
            }
            Err(Errno::NOENT) => (0o755, 0, 0),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(e) => return Err(PrepareError::io("look into the image for", path)(e)),
        };
        // A run of this pod may have been cut off after this.
        if !path.is_dir() {
            make_dir(&path, mode)?;
        }
        let like_it = || {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid))?;
            std::fs::set_permissions(&path, Permissions::from_mode(mode))
        };
        like_it().map_err(PrepareError::io(
            "give the image's owner and mode to",
            &path,
        ))?;
        Ok(Some(path))
    }

    /// A file of the pod's, and where it will be when the pod runs.
    fn generate(&self, file: &str, text: &str) -> Result<PathBuf, PrepareError> {
        let dir = self.pod.join(DIRECTORY);
        if !dir.is_dir() {
            make_dir(&dir, 0o755)?;
        }
        write_readable(&dir.join(file), text)?;
        Ok(self.final_pod.join(DIRECTORY).join(file))
    }
}

fn mount(source: PathBuf, target: &str, read_only: bool) -> ResolvedMount {
    ResolvedMount {
        source,
        target: PathBuf::from(target),
        read_only,
        recursive: false,
        mapped: false,
        device: None,
    }
}

/// A text file of the image; none where it has none.
///
/// # Errors
/// It is there, but is nothing that we could give back changed.
fn read(root: &AppRoot, path: &str) -> std::io::Result<Option<String>> {
    match users::read(root.dir(), path) {
        Ok(bytes) if bytes.len() as u64 >= users::LONGEST => Err(Errno::FBIG.into()),
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(std::io::Error::other),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Apps read it, whoever they run as.
fn write_readable(path: &Path, text: &str) -> Result<(), PrepareError> {
    write(path, text.as_bytes())?;
    std::fs::set_permissions(path, Permissions::from_mode(0o644))
        .map_err(PrepareError::io("make readable", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::rc::Rc;

    use image_store::MountedImage;
    use manifests::cni::Dns;
    use manifests::engine::Ipc;

    use super::*;

    fn runtime(resolver: Resolver, hosts: Hosts) -> Runtime {
        Runtime {
            hostname: None,
            network: Network::None,
            ipc: Ipc::Private,
            resolver,
            hosts,
            interactive: false,
            sockets: crate::sockets::Passed::default(),
            given: crate::given::Given::default(),
            logs: None,
            metadata: None,
            insecure: manifests::insecure::InsecureOptions::default(),
            unpack: false,
        }
    }

    /// A pod with one app, `app`, over an image whose `/etc` the closure makes.
    struct Example {
        tmp: tempfile::TempDir,
    }

    impl Example {
        fn new(make_etc: impl FnOnce(&Path)) -> Self {
            let tmp = tempfile::tempdir().unwrap();
            let image = tmp.path().join("image");
            std::fs::create_dir(&image).unwrap();
            make_etc(&image.join("etc"));
            std::fs::create_dir_all(tmp.path().join("pod/apps/app/upper")).unwrap();
            Self { tmp }
        }

        fn root(&self, own: bool) -> AppRoot {
            let path = self.tmp.path().join("image");
            let root = rustix::fs::open(&path, OFlags::DIRECTORY, Mode::empty()).unwrap();
            if own {
                return AppRoot::Own(root);
            }
            AppRoot::Shared(Rc::new(MountedImage {
                path,
                root,
                fallback: None,
            }))
        }

        /// `source on target`, then `target` alone for what is in the layer.
        fn given(&self, runtime: &Runtime, own: bool, taken: &[ResolvedMount]) -> Vec<String> {
            let pod = self.tmp.path().join("pod");
            let apps = ["app", "db"].into_iter();
            let files = Files::new(runtime, "pod", apps, &pod, Path::new("/final"));
            let mounts = files.give("app", &self.root(own), taken).unwrap();
            let mut told: Vec<String> = mounts
                .iter()
                .map(|m| format!("{} on {}", m.source.display(), m.target.display()))
                .collect();
            for file in ["resolv.conf", "hosts", "hostname"] {
                let path = pod.join("apps/app/upper/etc").join(file);
                if path.exists() {
                    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o644);
                    told.push(file.to_owned());
                }
            }
            told
        }
    }

    fn plain(etc: &Path) {
        std::fs::create_dir(etc).unwrap();
    }

    fn with_hosts(etc: &Path) {
        plain(etc);
        std::fs::write(etc.join("hosts"), "10.0.0.1 db").unwrap();
    }

    #[test]
    fn an_image_with_hosts_of_its_own_keeps_them_and_gets_the_pods_names() {
        let own = runtime(Resolver::Networks, Hosts::Image);
        for (make_etc, text) in [
            (with_hosts as fn(&Path), "10.0.0.1 db\n"),
            (plain, "# Generated by rkt\n"),
        ] {
            let example = Example::new(make_etc);
            assert_eq!(example.given(&own, false, &[]), ["hosts", "hostname"]);
            let hosts = example.tmp.path().join("pod/apps/app/upper/etc/hosts");
            let hosts = std::fs::read_to_string(hosts).unwrap();
            assert!(hosts.starts_with(text), "{hosts}");
            let line = hosts.lines().find(|l| l.starts_with("127.")).unwrap();
            assert!(line.ends_with(" pod app db"), "{hosts}");
        }
        // What is no text of a bearable size is not touched.
        let odd = Example::new(|etc| {
            plain(etc);
            std::fs::create_dir(etc.join("hosts")).unwrap();
        });
        assert_eq!(odd.given(&own, false, &[]), ["hostname"]);
        assert_eq!(
            Example::new(|_| ()).given(&own, false, &[]),
            ["hosts", "hostname"]
        );
    }

    #[test]
    fn flags_win_over_the_image_and_volumes_over_flags() {
        let generated = runtime(Resolver::Generated(Dns::default()), Hosts::Host);
        let volume = mount(PathBuf::from("/v"), "/etc/hosts", false);
        assert_eq!(
            Example::new(with_hosts).given(&generated, false, &[]),
            ["/etc/hosts on /etc/hosts", "resolv.conf", "hostname"]
        );
        assert_eq!(
            Example::new(with_hosts).given(&generated, false, &[volume]),
            ["resolv.conf", "hostname"]
        );
    }

    #[test]
    fn the_layers_etc_looks_like_the_images() {
        let example = Example::new(|etc| {
            plain(etc);
            std::fs::set_permissions(etc, Permissions::from_mode(0o2751)).unwrap();
        });
        example.given(&runtime(Resolver::None, Hosts::Image), false, &[]);
        let etc = example.tmp.path().join("pod/apps/app/upper/etc");
        assert_eq!(etc.metadata().unwrap().mode() & 0o7777, 0o2751);
    }

    /// Written through, a link of the image could lead anywhere.
    #[test]
    fn what_is_no_plain_directory_is_mounted_over() {
        let own = runtime(Resolver::None, Hosts::Image);
        let example = Example::new(|etc| symlink("/tmp", etc).unwrap());
        assert_eq!(
            example.given(&own, false, &[]),
            [
                "/final/etc/hosts on /etc/hosts",
                "/final/etc/hostname on /etc/hostname"
            ]
        );
        assert_eq!(
            Example::new(plain).given(&own, true, &[]),
            [
                "/final/etc/hosts on /etc/hosts",
                "/proc/sys/kernel/hostname on /etc/hostname"
            ]
        );
    }
}
