//! The files by which an app knows names: `/etc/resolv.conf`, `/etc/hosts` and
//! `/etc/hostname`. Source: rkt's pod reference, "Names and resolver files".
//!
//! What is generated goes into the app's own layer, the upper directory of its
//! overlay, before that is mounted: an app that runs has no mount more for it,
//! and sees no path of the host's. Only where the image's `/etc` is not a plain
//! directory, or the app has no overlay, a file of the pod's is mounted.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use manifests::engine::{NETWORK_RESOLV_CONF, Network};
use manifests::network::{Hosts, Resolver, render_hosts, render_resolv_conf};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::images::AppRoot;
use crate::prepare::{PrepareError, make_dir, write};
use crate::resolved::ResolvedMount;
use crate::start::Runtime;

/// Directory of the pod with the files that were generated for its apps.
const DIRECTORY: &str = "etc";

/// Shows the name of the reader's UTS namespace, also after it was changed.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// Where a file for the apps comes from.
#[derive(Debug)]
enum Source {
    /// The image's own, if it has one.
    Image,
    /// The host's.
    Host,
    /// What the pod's networks say, which stage1 will know.
    Networks,
    /// This text, in a file of the pod's.
    Generated(String),
}

/// The files of one pod, each generated when the first app needs it.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    runtime: &'a Runtime,
    hostname: &'a str,
    /// The pod's directory now.
    pod: &'a Path,
    /// Where it will stand when the pod runs.
    final_pod: &'a Path,
    made: Vec<&'static str>,
}

impl<'a> Files<'a> {
    /// No file yet.
    pub(crate) fn new(
        runtime: &'a Runtime,
        hostname: &'a str,
        pod: &'a Path,
        final_pod: &'a Path,
    ) -> Self {
        Self {
            runtime,
            hostname,
            pod,
            final_pod,
            made: Vec::new(),
        }
    }

    /// The mounts for one app; where a volume is mounted, it stays.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn mounts(
        &mut self,
        root: &AppRoot,
        taken: &[ResolvedMount],
    ) -> Result<Vec<ResolvedMount>, PrepareError> {
        let free = |target: &str| !taken.iter().any(|m| m.target == Path::new(target));
        let mut mounts = Vec::new();
        if free("/etc/resolv.conf") {
            let source = match &self.runtime.resolver {
                Resolver::Host => Source::Host,
                Resolver::Networks => match &self.runtime.network {
                    Network::Private(network) if network.may_resolve() => Source::Networks,
                    _ => Source::Image,
                },
                Resolver::None => Source::Image,
                Resolver::Generated(dns) => Source::Generated(render_resolv_conf(dns, "run")),
            };
            mounts.extend(self.mount("resolv.conf", source)?);
        }
        if free("/etc/hosts") {
            let names = [self.hostname];
            let source = match &self.runtime.hosts {
                Hosts::Host => Source::Host,
                Hosts::Image if has(root, "/etc/hosts") => Source::Image,
                Hosts::Image => Source::Generated(render_hosts(&names, &[])),
                Hosts::Entries(entries) => Source::Generated(render_hosts(&names, entries)),
            };
            mounts.extend(self.mount("hosts", source)?);
        }
        if free("/etc/hostname") {
            mounts.push(mount(PathBuf::from(HOSTNAME), "/etc/hostname", true));
        }
        Ok(mounts)
    }

    fn mount(
        &mut self,
        file: &'static str,
        source: Source,
    ) -> Result<Option<ResolvedMount>, PrepareError> {
        let target = format!("/etc/{file}");
        Ok(match source {
            Source::Image => None,
            Source::Networks => {
                let path = self.pod.join(NETWORK_RESOLV_CONF);
                if !path.exists() {
                    write(&path, b"")?;
                    readable(&path)?;
                }
                Some(mount(
                    self.final_pod.join(NETWORK_RESOLV_CONF),
                    &target,
                    false,
                ))
            }
            Source::Host => Some(mount(PathBuf::from(&target), &target, true)),
            Source::Generated(text) => {
                if !self.made.contains(&file) {
                    self.generate(file, &text)?;
                    self.made.push(file);
                }
                let path = self.final_pod.join(DIRECTORY).join(file);
                Some(mount(path, &target, false))
            }
        })
    }

    fn generate(&self, file: &str, text: &str) -> Result<(), PrepareError> {
        let dir = self.pod.join(DIRECTORY);
        if self.made.is_empty() && !dir.is_dir() {
            make_dir(&dir, 0o755)?;
        }
        let path = dir.join(file);
        write(&path, text.as_bytes())?;
        readable(&path)
    }
}

/// Apps read it, whoever they run as.
fn readable(path: &Path) -> Result<(), PrepareError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
        .map_err(PrepareError::io("make readable", path))
}

fn mount(source: PathBuf, target: &str, read_only: bool) -> ResolvedMount {
    ResolvedMount {
        source,
        target: PathBuf::from(target),
        read_only,
        recursive: false,
        device: None,
    }
}

/// Something that cannot be looked at is there: we do not cover it.
fn has(root: &AppRoot, path: &str) -> bool {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    !matches!(
        openat2(root.dir(), path, flags, Mode::empty(), resolve),
        Err(Errno::NOENT)
    )
}

#[cfg(test)]
mod tests {
    use manifests::cni::Dns;
    use manifests::engine::{Ipc, Network};

    use super::*;

    fn runtime(resolver: Resolver, hosts: Hosts) -> Runtime {
        Runtime {
            hostname: None,
            network: Network::None,
            ipc: Ipc::Private,
            resolver,
            hosts,
            interactive: false,
            insecure: manifests::insecure::InsecureOptions::default(),
        }
    }

    fn told(runtime: &Runtime, image_has_hosts: bool, taken: &[ResolvedMount]) -> Vec<String> {
        let tmp = tempfile::tempdir().unwrap();
        let (image, pod) = (tmp.path().join("image"), tmp.path().join("pod"));
        std::fs::create_dir_all(image.join("etc")).unwrap();
        std::fs::create_dir(&pod).unwrap();
        if image_has_hosts {
            std::fs::write(image.join("etc/hosts"), "").unwrap();
        }
        let fd = rustix::fs::open(&image, OFlags::DIRECTORY, Mode::empty()).unwrap();
        let root = AppRoot::Own(fd);
        let mut files = Files::new(runtime, "pod", &pod, Path::new("/final"));
        let mounts = files.mounts(&root, taken).unwrap();
        for made in files.made {
            assert!(pod.join("etc").join(made).is_file());
        }
        mounts
            .iter()
            .map(|m| format!("{} on {}", m.source.display(), m.target.display()))
            .collect()
    }

    #[test]
    fn an_image_with_hosts_of_its_own_is_left_alone() {
        let own = runtime(Resolver::Networks, Hosts::Image);
        assert_eq!(
            told(&own, true, &[]),
            ["/proc/sys/kernel/hostname on /etc/hostname"]
        );
        assert_eq!(
            told(&own, false, &[]),
            [
                "/final/etc/hosts on /etc/hosts",
                "/proc/sys/kernel/hostname on /etc/hostname"
            ]
        );
    }

    #[test]
    fn flags_win_over_the_image_and_volumes_over_flags() {
        let generated = runtime(Resolver::Generated(Dns::default()), Hosts::Host);
        assert_eq!(
            told(&generated, true, &[]),
            [
                "/final/etc/resolv.conf on /etc/resolv.conf",
                "/etc/hosts on /etc/hosts",
                "/proc/sys/kernel/hostname on /etc/hostname"
            ]
        );
        let volume = mount(PathBuf::from("/v"), "/etc/hosts", false);
        assert_eq!(
            told(&runtime(Resolver::Host, Hosts::Host), true, &[volume]),
            [
                "/etc/resolv.conf on /etc/resolv.conf",
                "/proc/sys/kernel/hostname on /etc/hostname"
            ]
        );
    }
}
