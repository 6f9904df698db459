//! Where things are below `store/`.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use manifests::digest::Digest;
use manifests::image_id::ImageId;

use crate::error::{Context, Result};

/// Members of the group that owns the data directory may fetch.
const SHARED_DIR: u32 = 0o2770;
/// Nothing is written twice, so nobody needs the right to write.
pub(crate) const OBJECT_MODE: u32 = 0o440;

#[derive(Debug, Clone)]
pub(crate) struct Dirs {
    root: PathBuf,
}

impl Dirs {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            root: data_dir.join("store"),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    pub(crate) fn object(&self, digest: &Digest) -> PathBuf {
        let mut path = self.objects();
        path.push(object_below_objects(digest));
        path
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn image(&self, id: &ImageId) -> PathBuf {
        self.images().join(id.to_string())
    }

    pub(crate) fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    pub(crate) fn lookup(&self) -> PathBuf {
        self.root.join("lookup")
    }

    pub(crate) fn trees(&self) -> PathBuf {
        self.root.join("trees")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Another boot's leftovers are garbage by their name.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub(crate) fn staging_of_this_boot(&self) -> Result<PathBuf> {
        const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
        let id = fs::read_to_string(BOOT_ID).context("read", BOOT_ID)?;
        Ok(self.staging().join(id.trim()))
    }

    /// Makes every directory that writers need, and the data directory.
    ///
    /// # Errors
    /// A directory is missing and cannot be made.
    pub(crate) fn make(&self) -> Result<PathBuf> {
        let staging = self.staging_of_this_boot()?;
        if staging.is_dir() {
            return Ok(staging);
        }
        for dir in [self.objects(), self.images(), self.names(), self.trees()] {
            make_shared(&dir)?;
        }
        make_shared(&staging)?;
        Ok(staging)
    }
}

/// `sha256/ab/abcd…`
pub(crate) fn object_below_objects(digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    [digest.algorithm().as_str(), &hex[..2], hex]
        .iter()
        .collect()
}

/// Makes a directory and its parents; one that is there is left as it is.
pub(crate) fn make_shared(dir: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o770).create(dir) {
        // The umask does not apply to what the group shares.
        Ok(()) => {
            fs::set_permissions(dir, Permissions::from_mode(SHARED_DIR)).context("create", dir)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => match dir.parent() {
            Some(parent) if parent != Path::new("") => {
                make_shared(parent)?;
                make_shared(dir)
            }
            _ => Err(e).context("create", dir),
        },
        Err(e) => Err(e).context("create", dir),
    }
}

/// The entries of a directory, sorted; none if it does not exist.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context("list", dir)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.context("list", dir)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Whether something was there to be removed.
pub(crate) fn remove_file(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.context("remove", path).map(|()| true),
    }
}
