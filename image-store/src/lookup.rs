//! The way back: from an appc name to its images, from an image to its names,
//! without reading a thousand records.
//!
//! ```text
//! store/lookup/apps/<escaped appc name>/<image-id>     empty
//! store/lookup/names/<image-id>/<escaped name>         empty
//! ```
//!
//! These are hints: what they lead to is read, and believed instead. An entry is
//! made before what it leads to is published, and removed when nobody fetches;
//! so a crash leaves one too many, never one too few. A store that has none of
//! this, because an older version made it, is read as a whole until the next
//! fetch makes it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use manifests::image_id::ImageId;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::dirs;
use crate::error::{Context, Result};
use crate::names::{self, ImageName};
use crate::store::Store;

/// One such directory, in the store or on its way there.
pub(crate) struct Lookup {
    root: PathBuf,
}

impl Lookup {
    /// The store's; `None` if it has none yet.
    pub(crate) fn of(store: &Store) -> Option<Self> {
        let root = store.dirs.lookup();
        root.is_dir().then_some(Self { root })
    }

    /// Gives a store what it lacks. Two may do that at once: the first one's
    /// stays, and nobody has committed anything before one of them was done.
    pub(crate) fn ensure(store: &Store, staging: &Path) -> Result<()> {
        let root = store.dirs.lookup();
        if root.is_dir() {
            return Ok(());
        }
        let made = Self {
            root: staging.join("lookup"),
        };
        dirs::make_shared(&made.apps())?;
        dirs::make_shared(&made.names())?;
        made.fill(store)?;
        match renameat_with(CWD, &made.root, CWD, &root, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => fs::remove_dir_all(&made.root).context("remove", &made.root),
            Err(e) => Err(e).context("publish", &root),
        }
    }

    /// Every entry that is missing.
    fn fill(&self, store: &Store) -> Result<()> {
        // A record or name that cannot be read is no answer to any question.
        for record in store.images()?.into_iter().flatten() {
            self.add_app(record.manifest.name.as_str(), &record.id)?;
        }
        for (image, names) in store.names()? {
            for name in names {
                touch(
                    &self.names().join(image.to_string()),
                    &names::file_name(&name),
                )?;
            }
        }
        Ok(())
    }

    fn apps(&self) -> PathBuf {
        self.root.join("apps")
    }

    fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// Before the record is published. Gives the directories that changed.
    pub(crate) fn add_app(&self, app: &str, id: &ImageId) -> Result<[PathBuf; 2]> {
        let of_app = self.apps().join(names::file_name(app));
        touch(&of_app, &id.to_string())?;
        Ok([self.apps(), of_app])
    }

    /// Before the names are published. Gives the directories that changed.
    pub(crate) fn add_names(&self, id: &ImageId, names: &[ImageName]) -> Result<Vec<PathBuf>> {
        let of_image = self.names().join(id.to_string());
        for name in names {
            touch(&of_image, &names::file_name(&name.name))?;
        }
        Ok(match names.is_empty() {
            true => Vec::new(),
            false => vec![self.names(), of_image],
        })
    }

    /// Images that may be called so.
    pub(crate) fn images(&self, app: &str) -> Result<Vec<ImageId>> {
        ids(&self.apps().join(names::file_name(app)))
    }

    /// The files of the names that may lead to the image.
    pub(crate) fn names_of(&self, id: &ImageId) -> Result<Vec<String>> {
        let files = dirs::list(&self.names().join(id.to_string()))?;
        Ok(files.iter().filter_map(|file| file_name(file)).collect())
    }

    /// Adds what is missing and removes what leads nowhere. Nobody may be
    /// fetching.
    pub(crate) fn mend(&self, store: &Store) -> Result<()> {
        self.fill(store)?;
        let there: BTreeSet<ImageId> = store.image_ids()?.into_iter().collect();
        for app in dirs::list(&self.apps())? {
            for id in ids(&app)? {
                if !there.contains(&id) {
                    dirs::remove_file(&app.join(id.to_string()))?;
                }
            }
            remove_empty(&app)?;
        }
        for image in dirs::list(&self.names())? {
            let id: Option<ImageId> = file_name(&image).and_then(|name| name.parse().ok());
            for hint in dirs::list(&image)? {
                let name = file_name(&hint).unwrap_or_default();
                let record = names::read(&store.dirs.names().join(name));
                // A name that cannot be read may be mended.
                let leads = |r: Option<names::NameRecord>| r.map(|r| r.image) == id;
                if !record.is_ok_and(leads) {
                    dirs::remove_file(&hint)?;
                }
            }
            remove_empty(&image)?;
        }
        Ok(())
    }

    /// Removes what leads to an image that is gone. Nobody may be fetching.
    pub(crate) fn forget(&self, app: &str, id: &ImageId) -> Result<()> {
        let of_app = self.apps().join(names::file_name(app));
        dirs::remove_file(&of_app.join(id.to_string()))?;
        remove_empty(&of_app)?;
        let of_image = self.names().join(id.to_string());
        match fs::remove_dir_all(&of_image) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.context("remove", of_image),
        }
    }
}

fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// The ids that entries of a directory are called by.
fn ids(dir: &Path) -> Result<Vec<ImageId>> {
    let files = dirs::list(dir)?.into_iter();
    Ok(files
        .filter_map(|file| file_name(&file)?.parse().ok())
        .collect())
}

fn touch(dir: &Path, name: &str) -> Result<()> {
    let path = dir.join(name);
    let make = || {
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
    };
    match make() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            dirs::make_shared(dir)?;
            make().context("create", &path)?;
        }
        other => drop(other.context("create", &path)?),
    }
    Ok(())
}

fn remove_empty(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Ok(())
        }
        other => other.context("remove", dir),
    }
}
