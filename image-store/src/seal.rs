//! fs-verity: objects that the kernel checks as they are read.
//!
//! An object is sealed before it is published, and the record remembers its
//! verity digest. Before an image is mounted its objects are measured, which
//! reads nothing; from then on a page that is not what was sealed cannot be
//! read.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use manifests::config::Verity;
use manifests::digest::{Algorithm, Digest};
use rustix::io::Errno;

use crate::error::{Context, Result, StoreError};
use crate::record::ImageRecord;
use crate::store::Store;

/// Seals a file that nobody writes to any more. What comes back is its verity
/// digest; nothing if it could not be sealed and need not be.
pub(crate) fn seal(path: &Path, level: Verity) -> Result<Option<Digest>> {
    if level == Verity::Off {
        return Ok(None);
    }
    let file = File::open(path).context("open", path)?;
    match enable(&file) {
        Ok(()) => {}
        Err(e) if is(&e, &[Errno::EXIST]) => {}
        Err(e) if level == Verity::BestEffort && (is(&e, UNABLE) || is(&e, &[Errno::TXTBSY])) => {
            return Ok(None);
        }
        Err(e) if is(&e, UNABLE) => {
            return Err(StoreError::NotSealable {
                path: path.to_owned(),
                reason: e.to_string(),
            });
        }
        Err(e) => return Err(e).context("seal", path),
    }
    measure(&file).context("measure", path).map(Some)
}

/// A child of another thread may have the writer's descriptor until it executes
/// something.
fn enable(file: &File) -> io::Result<()> {
    // No file system takes more than its own, and 4096 is what all have that
    // have as much.
    let own = rustix::fs::fstatfs(file)?.f_bsize;
    let block_size = u32::try_from(own).map_or(4096, |own| own.min(4096));
    let mut tries = 100;
    loop {
        match sys::verity::enable(file.as_fd(), block_size) {
            Err(e) if tries > 0 && is(&e, &[Errno::TXTBSY]) => tries -= 1,
            // A signal; or somebody else seals it at this moment.
            Err(e) if is(&e, &[Errno::INTR, Errno::BUSY]) => {}
            other => return other,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a file system, a kernel and a mount that cannot say.
const UNABLE: &[Errno] = &[
    Errno::OPNOTSUPP,
    Errno::NOTTY,
    Errno::NOSYS,
    Errno::INVAL,
    Errno::ROFS,
    Errno::PERM,
    Errno::ACCESS,
];

fn is(error: &io::Error, which: &[Errno]) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| which.contains(&errno))
}

fn measure(file: &File) -> io::Result<Digest> {
    let digest = sys::verity::measure(file.as_fd())?;
    Ok(Digest::from_bytes(Algorithm::Sha256, &digest))
}

/// Before the image's files are used.
///
/// # Errors
/// An object that was sealed is so no longer, or differently; one that was
/// not, and must be.
pub(crate) fn check(store: &Store, image: &ImageRecord) -> Result<()> {
    if store.verity == Verity::Off {
        return Ok(());
    }
    let layers = image.rootfs.layers().map(|l| (&l.digest, &l.verity));
    for (object, sealed) in layers.chain([(&image.index.digest, &image.index.verity)]) {
        let Some(sealed) = sealed else {
            if store.verity == Verity::Required {
                return Err(StoreError::NotSealed {
                    id: image.id.clone(),
                    object: object.clone(),
                });
            }
            continue;
        };
        let file = store.open_object(object)?;
        let what = match measure(&file) {
            Ok(measured) if measured == *sealed => continue,
            Ok(measured) => format!("its fs-verity digest is {measured}, not {sealed}"),
            Err(e) if is(&e, &[Errno::NODATA]) => "it is no longer sealed by fs-verity".to_owned(),
            Err(e) => format!("its fs-verity digest cannot be had: {e}"),
        };
        return Err(StoreError::DamagedObject {
            id: image.id.clone(),
            object: object.clone(),
            what,
        });
    }
    Ok(())
}
