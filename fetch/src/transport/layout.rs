//! OCI image layouts: a directory, or the same in a tar.
//!
//! Source: OCI image specification, "image-layout.md".

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use manifests::digest::Digest;
use manifests::oci::{Descriptor, Document, Index, IndexEntry, MAX_DOCUMENT_SIZE, media_type};
use manifests::platform::Platform;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

use super::archive::{ArchiveError, Room, TarIndex};
use super::{Body, OciSource, Root, raw_entries};
use crate::error::Reason;

/// The files of a layout.
enum Files {
    /// In a directory. Names are resolved below it: links that lead out of
    /// the layout lead nowhere.
    Directory(OwnedFd),
    Archive(TarIndex),
}

/// A layout, and which of its images is wanted.
pub(crate) struct Layout {
    path: PathBuf,
    files: Files,
    image: Option<String>,
    platform: Platform,
}

impl Layout {
    /// A layout in a directory.
    pub(crate) fn directory(
        path: &Path,
        image: Option<&str>,
        platform: &Platform,
    ) -> Result<Self, Reason> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            openat(CWD, path, flags, Mode::empty()).map_err(|e| ArchiveError::Read {
                path: path.to_owned(),
                source: e.into(),
            })?;
        Self::new(path, Files::Directory(directory), image, platform)
    }

    /// A layout in a tar, compressed or not.
    pub(crate) fn archive(
        path: &Path,
        image: Option<&str>,
        platform: &Platform,
        room: Room<'_>,
    ) -> Result<Self, Reason> {
        let index = TarIndex::open(path, room)?;
        Self::new(path, Files::Archive(index), image, platform)
    }

    fn new(
        path: &Path,
        files: Files,
        image: Option<&str>,
        platform: &Platform,
    ) -> Result<Self, Reason> {
        let layout = Self {
            path: path.to_owned(),
            files,
            image: image.map(str::to_owned),
            platform: platform.clone(),
        };
        let name = "oci-layout";
        let bytes = layout.document(name)?;
        let malformed = |reason: String| ArchiveError::Malformed {
            path: path.to_owned(),
            name: name.to_owned(),
            reason,
        };
        let marker: oci_spec::image::OciLayout =
            serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
        let version = marker.image_layout_version();
        if !version.starts_with("1.") {
            return Err(malformed(format!("layout version {version:?} is unknown")).into());
        }
        Ok(layout)
    }

    fn read_error(&self, source: impl Into<std::io::Error>) -> ArchiveError {
        ArchiveError::Read {
            path: self.path.clone(),
            source: source.into(),
        }
    }

    fn open(&self, name: &str) -> Result<Body<'_>, ArchiveError> {
        let missing = || ArchiveError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
            hint: match name {
                "oci-layout" | "index.json" => "it is no OCI layout",
                _ => "the layout is incomplete",
            },
        };
        let directory = match &self.files {
            Files::Archive(index) => {
                let (section, _) = index.file(name).ok_or_else(missing)?;
                return Ok(Box::new(section));
            }
            Files::Directory(directory) => directory,
        };
        // Without O_NONBLOCK a fifo would hold us for ever.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let fd = match openat2(directory, name, flags, Mode::empty(), resolve) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Err(missing()),
            Err(e) => return Err(self.read_error(e)),
        };
        let stat = fstat(&fd).map_err(|e| self.read_error(e))?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(missing());
        }
        Ok(Box::new(std::fs::File::from(fd)))
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        let limit = MAX_DOCUMENT_SIZE;
        let mut bytes = Vec::new();
        self.open(name)?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| self.read_error(e))?;
        if bytes.len() as u64 > limit {
            return Err(ArchiveError::TooLarge {
                path: self.path.clone(),
                name: name.to_owned(),
                limit,
            });
        }
        Ok(bytes)
    }

    /// The entry that is wanted; `None` if the layout's own index is the
    /// image's, one entry for each platform.
    fn choose<'a>(&'a self, index: &'a Index) -> Result<Option<&'a IndexEntry>, Reason> {
        let offered = || {
            let name = |e: &IndexEntry| e.annotations.get(REF_NAME).cloned();
            let mut names: Vec<_> = index.entries.iter().filter_map(name).collect();
            names.sort();
            names.dedup();
            names
        };
        let path = || self.path.clone();
        let Some(wanted) = &self.image else {
            let latest: Vec<_> = index.named("latest").collect();
            return match (&index.entries[..], &latest[..]) {
                ([one], _) => Ok(Some(one)),
                (_, [one]) => Ok(Some(*one)),
                (entries, _) if entries.iter().all(|e| e.platform.is_some()) => Ok(None),
                _ => Err(ArchiveError::Choose {
                    path: path(),
                    offered: offered(),
                }
                .into()),
            };
        };
        let mut named: Vec<_> = index.named(wanted).cloned().collect();
        if named.is_empty()
            && let Ok(digest) = wanted.parse::<Digest>()
        {
            let by_digest = index.entries.iter().find(|e| e.descriptor.digest == digest);
            if let Some(entry) = by_digest {
                return Ok(Some(entry));
            }
        }
        if named.len() > 1 {
            let same_name = Index { entries: named };
            let one = same_name
                .choose(&self.platform)
                .map_err(|source| Reason::Document {
                    name: "index.json".to_owned(),
                    source,
                })?;
            named = vec![one.clone()];
        }
        let found = named
            .first()
            .and_then(|n| index.entries.iter().find(|e| *e == n));
        found.map(Some).ok_or_else(|| {
            ArchiveError::NoImage {
                path: path(),
                wanted: wanted.clone(),
                offered: offered(),
            }
            .into()
        })
    }
}

/// How an index names its entries.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

impl OciSource for Layout {
    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn root(&self) -> Result<Root, Reason> {
        let bytes = self.document("index.json")?;
        let document =
            Document::from_slice(&bytes, Some(media_type::OCI_INDEX)).map_err(|source| {
                Reason::Document {
                    name: format!("index.json in {}", self.path.display()),
                    source,
                }
            })?;
        let Document::Index(index) = document else {
            return Err(Reason::Archive(ArchiveError::Malformed {
                path: self.path.clone(),
                name: "index.json".to_owned(),
                reason: "it is no image index".to_owned(),
            }));
        };
        let Some(entry) = self.choose(&index)? else {
            let media_type = Some(media_type::OCI_INDEX.to_owned());
            return Ok(Root { bytes, media_type });
        };
        let bytes = crate::image::read_document(self, &entry.descriptor)?;
        let media_type = Some(entry.descriptor.media_type.clone());
        Ok(Root { bytes, media_type })
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Body<'_>, Reason> {
        self.blob(descriptor)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Body<'_>, Reason> {
        let digest = &descriptor.digest;
        let name = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        Ok(self.open(&name)?)
    }

    fn tagged(&self, tag: &str) -> Result<Vec<Vec<u8>>, Reason> {
        let entries = raw_entries(&self.document("index.json")?);
        let is_signature = tag.ends_with(".sig");
        let wanted = entries.iter().filter(|entry| {
            let is =
                |name: &str, value: &str| entry.annotations.get(name).is_some_and(|v| v == value);
            is(REF_NAME, tag) || (is_signature && is(KIND, SIGNATURES))
        });
        wanted
            .map(|entry| crate::image::read_document(self, &entry.descriptor))
            .collect()
    }

    fn referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, Reason> {
        #[derive(serde::Deserialize)]
        struct Referrer {
            subject: Subject,
        }
        #[derive(serde::Deserialize)]
        struct Subject {
            digest: String,
        }
        let wanted = digest.to_string();
        let mut referrers = Vec::new();
        for entry in raw_entries(&self.document("index.json")?) {
            let bytes = crate::image::read_document(self, &entry.descriptor)?;
            let referrer: Option<Referrer> = serde_json::from_slice(&bytes).ok();
            if referrer.is_some_and(|r| r.subject.digest == wanted) {
                referrers.push(entry.descriptor);
            }
        }
        // Copies that know nothing of subjects bring the tag along.
        Ok(Some(referrers).filter(|r| !r.is_empty()))
    }
}

/// How cosign marks what it saves beside an image.
const KIND: &str = "kind";
const SIGNATURES: &str = "dev.cosignproject.cosign/sigs";
