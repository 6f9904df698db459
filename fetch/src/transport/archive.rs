//! A tar read in place: where its files lie, found in one pass over the
//! headers; nothing is unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_store::{Store, StoreError};

use super::open_regular;
use crate::progress::{Progress, StepKind};
use crate::stream::{self, Compression, Known, Limits, Shared, StreamError};

/// Files in an archive of images: a few per layer.
const MAX_ENTRIES: usize = 100_000;

/// Links to follow from one name.
const MAX_LINKS: usize = 16;

/// What is wrong with a local layout or archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It cannot be opened or read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The layout or archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no archive at all.
    #[error("{} is no readable tar archive: {source}", .path.display())]
    NotTar {
        /// The archive.
        path: PathBuf,
        /// What the reader stumbled over.
        source: io::Error,
    },
    /// It cannot be decompressed.
    #[error("cannot decompress {} ({compression}): {source}", .path.display())]
    Compressed {
        /// The archive.
        path: PathBuf,
        /// How it is packed, by its first bytes.
        compression: Compression,
        /// Why not.
        source: StreamError,
    },
    /// There is no room to decompress it.
    #[error("cannot decompress {}: {source}", .path.display())]
    NoRoom {
        /// The archive.
        path: PathBuf,
        /// What the store says.
        source: Box<StoreError>,
    },
    /// Too many files to be an archive of images.
    #[error("{} holds more than {MAX_ENTRIES} files: not an archive of images", .0.display())]
    TooManyEntries(PathBuf),
    /// A file that should be there is not.
    #[error("{} has no file {name:?}: {hint}", .path.display())]
    Missing {
        /// The layout or archive.
        path: PathBuf,
        /// The file inside.
        name: String,
        /// What that means.
        hint: &'static str,
    },
    /// A JSON file that is larger than any honest one.
    #[error("{name:?} in {} is larger than {limit} bytes", .path.display())]
    TooLarge {
        /// The layout or archive.
        path: PathBuf,
        /// The file inside.
        name: String,
        /// What is allowed.
        limit: u64,
    },
    /// A JSON file that is not as it should be.
    #[error("{name:?} in {} is malformed: {reason}", .path.display())]
    Malformed {
        /// The layout or archive.
        path: PathBuf,
        /// The file inside.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// No image of the name.
    #[error("{} has no image {wanted:?} (it has {})", .path.display(), list(.offered))]
    NoImage {
        /// The layout or archive.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// Several images and no name.
    #[error("{} holds several images; name one: {}", .path.display(), list(.offered))]
    Choose {
        /// The layout or archive.
        path: PathBuf,
        /// What there is.
        offered: Vec<String>,
    },
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none with a name".to_owned(),
        some => some.join(", "),
    }
}

#[derive(Debug, Clone, Copy)]
struct Extent {
    offset: u64,
    size: u64,
}

/// Where a compressed archive may be decompressed, and how far.
#[derive(Clone, Copy)]
pub(crate) struct Room<'a> {
    pub(crate) store: &'a Store,
    pub(crate) limits: Limits,
    pub(crate) progress: &'a dyn Progress,
}

fn decompress(
    mut file: File,
    compression: Compression,
    path: &Path,
    room: Room<'_>,
) -> Result<File, ArchiveError> {
    let mut plain = room
        .store
        .scratch_file()
        .map_err(|source| ArchiveError::NoRoom {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    let size = file.metadata().ok().map(|m| m.len());
    let mut step = room
        .progress
        .step(StepKind::Layer, &name.to_string_lossy(), size);
    let (known, shared) = (Known::Size, Shared::default());
    stream::run(
        &mut file,
        known,
        &mut plain,
        room.limits,
        &shared,
        step.as_mut(),
    )
    .and_then(|_| plain.rewind().map_err(StreamError::Sink))
    .map_err(|source| ArchiveError::Compressed {
        path: path.to_owned(),
        compression,
        source,
    })?;
    step.done();
    Ok(plain)
}

/// The files of a tar by their cleaned names.
#[derive(Debug)]
pub(crate) struct TarIndex {
    path: PathBuf,
    file: Arc<File>,
    files: HashMap<String, Extent>,
    links: HashMap<String, String>,
}

impl TarIndex {
    /// Opens an archive and finds its files. A compressed one is decompressed
    /// into a file without a name: its parts are read several at a time and out
    /// of order.
    pub(crate) fn open(path: &Path, room: Room<'_>) -> Result<Self, ArchiveError> {
        let read = |source| ArchiveError::Read {
            path: path.to_owned(),
            source,
        };
        let not_tar = |source| ArchiveError::NotTar {
            path: path.to_owned(),
            source,
        };
        let mut file = open_regular(path).map_err(read)?;
        let mut start = [0; 6];
        let n = file.read_at(&mut start, 0).map_err(read)?;
        let compression = Compression::of(&start[..n]);
        if compression != Compression::Plain {
            file = decompress(file, compression, path, room)?;
        }
        let mut index = Self {
            path: path.to_owned(),
            file: Arc::new(file.try_clone().map_err(read)?),
            files: HashMap::new(),
            links: HashMap::new(),
        };
        let mut archive = tar::Archive::new(file);
        for (count, entry) in archive.entries_with_seek().map_err(not_tar)?.enumerate() {
            if count >= MAX_ENTRIES {
                return Err(ArchiveError::TooManyEntries(path.to_owned()));
            }
            index.add(&entry.map_err(not_tar)?).map_err(not_tar)?;
        }
        Ok(index)
    }

    fn add(&mut self, entry: &tar::Entry<'_, File>) -> io::Result<()> {
        let Some(name) = entry.path()?.to_str().and_then(|name| clean("", name)) else {
            return Ok(());
        };
        let kind = entry.header().entry_type();
        if kind.is_file() {
            let (offset, size) = (entry.raw_file_position(), entry.size());
            self.files.insert(name, Extent { offset, size });
        } else if let Some(target) = entry.link_name()?.as_deref().and_then(Path::to_str) {
            // `docker save` of old links equal layers to each other.
            let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
            let from = if kind.is_symlink() { parent } else { "" };
            if let Some(target) = clean(from, target) {
                self.links.insert(name, target);
            }
        }
        Ok(())
    }

    /// The archive itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A reader of the file of that name, and its size.
    pub(crate) fn file(&self, name: &str) -> Option<(Section, u64)> {
        let mut name = name;
        let mut extent = self.files.get(name);
        for _ in 0..MAX_LINKS {
            if extent.is_some() {
                break;
            }
            name = self.links.get(name)?;
            extent = self.files.get(name);
        }
        let Extent { offset, size } = *extent?;
        let section = Section {
            file: Arc::clone(&self.file),
            position: offset,
            end: offset.checked_add(size)?,
        };
        Some((section, size))
    }
}

/// `name` relative to `from` without `.` and `..`; `None` if it leaves the
/// archive or is empty.
fn clean(from: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').filter(|p| !p.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// A part of a file, read at its own position, so that several can be read at
/// once.
#[derive(Debug)]
pub(crate) struct Section {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let room = left.min(buf.len());
        let n = self.file.read_at(&mut buf[..room], self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<TarIndex, ArchiveError> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let room = Room {
            store: &store,
            limits: Limits::default(),
            progress: &crate::progress::Silent,
        };
        TarIndex::open(path, room)
    }

    fn archive(build: impl FnOnce(&mut tar::Builder<File>)) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.reopen().unwrap());
        build(&mut builder);
        builder.finish().unwrap();
        file
    }

    fn add(builder: &mut tar::Builder<File>, name: &str, bytes: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    }

    fn link(builder: &mut tar::Builder<File>, name: &str, target: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, name, target).unwrap();
    }

    #[test]
    fn files_are_found_and_links_followed_inside_the_archive() {
        let file = archive(|builder| {
            add(builder, "./index.json", b"{}");
            add(builder, "one/layer.tar", b"layer");
            link(builder, "two/layer.tar", "../one/layer.tar");
            link(builder, "out", "../../etc/passwd");
            link(builder, "loop", "loop");
        });
        let index = open(file.path()).unwrap();
        let read = |name: &str| {
            let (mut section, size) = index.file(name)?;
            let mut text = String::new();
            section.read_to_string(&mut text).unwrap();
            assert_eq!(text.len() as u64, size);
            Some(text)
        };
        assert_eq!(read("index.json").as_deref(), Some("{}"));
        assert_eq!(read("two/layer.tar").as_deref(), Some("layer"));
        assert_eq!(read("out"), None);
        assert_eq!(read("loop"), None);
        assert_eq!(read("missing"), None);
    }

    #[test]
    fn what_is_no_tar_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            super::tests::open(file.path()).unwrap_err().to_string()
        };
        let damaged = open(&[0x1f, 0x8b, 8, 0, 0, 0, 0]);
        assert!(damaged.contains("cannot decompress"), "{damaged}");
        assert!(damaged.contains("gzip"), "{damaged}");
        assert!(open(&[7; 2000]).contains("no readable tar"));
    }
}
