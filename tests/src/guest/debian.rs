//! The Debian releases and kernels that guests are made of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mirror::{self, KEYRING};
use super::{Unobtainable, cache, recipe, recipe_path, require};
use crate::Output;

/// Exit status of a recipe when the mirror has not got what it is to be made of.
const NOT_THERE: i32 = 75;

/// How long a recipe may take: a slow mirror is a reason, a dead one is not.
const BUILD: Duration = Duration::from_secs(280);

/// A Debian release: the user land of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Debian {
    /// Debian 12, systemd 252.
    Bookworm,
    /// Debian 13, systemd 257.
    Trixie,
}

impl Debian {
    /// Oldest first.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The version of its systemd.
    pub fn systemd(self) -> u32 {
        match self {
            Self::Bookworm => 252,
            Self::Trixie => 257,
        }
    }

    /// The ext4 image of its root file system.
    pub(super) fn root(self) -> Result<PathBuf, Unobtainable> {
        let files = ["root.sh", "masked", "extra"].map(recipe_path);
        let key = cache::key(&[self.suite()], &files);
        let entry = cache::entry(self.suite(), &key, |out| {
            require("mmdebstrap", "mmdebstrap");
            require("mkfs.ext4", "e2fsprogs");
            let mirror = mirror::with_suite(self.suite())?;
            let made = recipe("root.sh")
                .args([self.suite(), &mirror, KEYRING])
                .args([recipe_path("extra").as_path(), out])
                .deadline(BUILD)
                .run();
            built(&made)
        })?;
        Ok(entry.join("root.ext4"))
    }
}

/// A series of Debian's kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Debian 12's own: no EROFS mounts from files, no `statmount`.
    V6_1,
    /// Debian 13's own.
    V6_12,
    /// From Debian 13's backports, for as long as they keep it.
    V6_18,
}

impl Kernel {
    /// Oldest first.
    pub const ALL: [Self; 3] = [Self::V6_1, Self::V6_12, Self::V6_18];

    /// Its first two numbers.
    pub fn series(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V6_18 => "6.18",
        }
    }

    fn suite(self) -> &'static str {
        match self {
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
            Self::V6_18 => "trixie-backports",
        }
    }

    /// The release whose systemd is tested with it: the older, which boots
    /// faster, unless the kernel is newer than both.
    pub fn usual_debian(self) -> Debian {
        match self {
            Self::V6_1 | Self::V6_12 => Debian::Bookworm,
            Self::V6_18 => Debian::Trixie,
        }
    }

    /// The directory with `vmlinux`, `initrd`, `modules.ext4` and `release`.
    pub(super) fn files(self) -> Result<PathBuf, Unobtainable> {
        let files = ["kernel.sh", "apt.sh", "init"].map(recipe_path);
        let key = cache::key(&[self.series(), self.suite()], &files);
        let name = format!("linux-{}", self.series());
        cache::entry(&name, &key, |out| {
            for (program, package) in [
                ("busybox", "busybox-static"),
                ("cpio", "cpio"),
                ("depmod", "kmod"),
                ("lz4", "lz4"),
                ("mkfs.ext4", "e2fsprogs"),
                ("xz", "xz-utils"),
                ("zstd", "zstd"),
            ] {
                require(program, package);
            }
            let mirror = mirror::with_suite(self.suite())?;
            let made = recipe("kernel.sh")
                .args([self.series(), self.suite(), &mirror, KEYRING])
                .args([recipe_path("init").as_path(), out])
                .deadline(BUILD)
                .run();
            built(&made)
        })
    }
}

/// A program of Debian 13 that older releases do not have. `None` when this
/// machine cannot have it, which has been told as a skipped test.
pub(crate) fn program(package: &str, program: &str) -> Option<PathBuf> {
    let suite = Debian::Trixie.suite();
    let key = cache::key(
        &[package, program, suite],
        &["program.sh", "apt.sh"].map(recipe_path),
    );
    let entry = cache::entry(package, &key, |out| {
        require("apt-get", "apt");
        let mirror = mirror::with_suite(suite)?;
        let made = recipe("program.sh")
            .args([package, program, suite, &mirror, KEYRING])
            .arg(out)
            .deadline(BUILD)
            .run();
        built(&made)
    });
    super::obtained(entry).map(|entry| entry.join(program))
}

/// A tree with the programs that rkt is measured beside, of the newest stable
/// Debian, kept below `dir`: `root`, and `versions` with a line `PACKAGE
/// VERSION` for each. It belongs to root, unlike all else that is kept.
///
/// # Errors
/// There is neither such a tree nor what it is made of.
pub fn peers(dir: &Path) -> Result<PathBuf, Unobtainable> {
    let suite = Debian::Trixie.suite();
    let key = cache::key(&[suite], &[recipe_path("peers.sh")]);
    cache::entry_in(dir, "peers", &key, |out| {
        require("mmdebstrap", "mmdebstrap");
        let mirror = mirror::with_suite(suite)?;
        let made = recipe("peers.sh")
            .args([suite, &mirror, KEYRING])
            .arg(out)
            .deadline(BUILD)
            .run();
        built(&made)
    })
}

fn built(made: &Output) -> Result<(), Unobtainable> {
    match made.code() {
        Some(0) => Ok(()),
        Some(NOT_THERE) => Err(Unobtainable(made.stderr.trim().to_owned())),
        _ => panic!("a guest's recipe failed: {made}"),
    }
}
