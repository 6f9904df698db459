//! Pinned images: what was seen first under a name.
//!
//! ```text
//! DATA/pins/SHA256-OF-THE-NAME.json     {"name": …, "id": …, "since": …}
//! ```
//!
//! A pin is written whole beside its place and put there by one link, which
//! fails if another process was first: then the other's pin counts. It is made
//! before the image is committed, so no pinned image is stored without one.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use manifests::appc::ImageManifest;
use manifests::digest::Algorithm;
use manifests::image_id::ImageId;
use serde::{Deserialize, Serialize};

use image_store::hash::digest_of;

/// Why pins could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// A file or directory.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A pin that cannot be read must not be taken for none.
    #[error("the pin {} is damaged: {source}; remove the file to pin anew", .path.display())]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// What is pinned under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// The image's name with its labels, as `rkt trust accept` takes it.
    pub name: String,
    /// The image.
    pub id: ImageId,
    /// When it was first seen or accepted, in seconds since 1970.
    pub since: u64,
}

/// The pins of a data directory.
#[derive(Debug, Clone)]
pub struct Pins {
    directory: PathBuf,
}

/// The name that an image is pinned under: with version, platform and whatever
/// else tells it from its siblings.
pub fn pin_name(manifest: &ImageManifest) -> String {
    let mut name = manifest.name.to_string();
    if let Some(version) = manifest.label("version") {
        name.push(':');
        name.push_str(version);
    }
    let labels = manifest.labels.iter().filter(|l| l.name != "version");
    let mut labels: Vec<_> = labels.map(|l| format!(",{}={}", l.name, l.value)).collect();
    labels.sort();
    name + &labels.concat()
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> PinError + 'a {
    move |source| PinError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

impl Pins {
    /// The pins in `data_dir`; nothing is made before something is pinned.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            directory: data_dir.join("pins"),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        let digest = digest_of(Algorithm::Sha256, name.as_bytes());
        self.directory.join(format!("{}.json", digest.hex()))
    }

    /// What is pinned under the name.
    ///
    /// # Errors
    /// The pin is there and cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Pin>, PinError> {
        read(&self.file(name))
    }

    /// Every pin, by name.
    ///
    /// # Errors
    /// The directory or one of the pins cannot be read.
    pub fn all(&self) -> Result<Vec<Pin>, PinError> {
        let entries = match fs::read_dir(&self.directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("read", &self.directory))?,
        };
        let mut pins = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed("read", &self.directory))?.path();
            if path.extension().is_some_and(|e| e == "json") {
                pins.extend(read(&path)?);
            }
        }
        pins.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pins)
    }

    /// Pins the image under the name if nothing is; returns what is pinned
    /// then, be it this image or another.
    ///
    /// # Errors
    /// The pin cannot be written, or the one that is there not be read.
    pub fn first(&self, pin: Pin) -> Result<Pin, PinError> {
        let path = self.file(&pin.name);
        if let Some(there) = read(&path)? {
            return Ok(there);
        }
        match self.staged(&pin)?.persist_noclobber(&path) {
            Ok(_) => {
                self.sync()?;
                Ok(pin)
            }
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(read(&path)?.unwrap_or(pin))
            }
            Err(e) => Err(failed("write", &path)(e.error)),
        }
    }

    /// Pins the image under the name, whatever was.
    ///
    /// # Errors
    /// The pin cannot be written.
    pub fn accept(&self, pin: &Pin) -> Result<(), PinError> {
        let path = self.file(&pin.name);
        let staged = self.staged(pin)?;
        staged
            .persist(&path)
            .map_err(|e| failed("write", &path)(e.error))?;
        self.sync()
    }

    fn staged(&self, pin: &Pin) -> Result<tempfile::NamedTempFile, PinError> {
        let failed = failed("write", &self.directory);
        fs::create_dir_all(&self.directory).map_err(&failed)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory).map_err(&failed)?;
        let text = serde_json::to_vec(pin).expect("strings and numbers always serialize");
        file.write_all(&text)
            .and_then(|()| file.as_file().sync_all())
            .map_err(&failed)?;
        Ok(file)
    }

    fn sync(&self) -> Result<(), PinError> {
        fs::File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed("sync", &self.directory))
    }
}

fn read(path: &Path) -> Result<Option<Pin>, PinError> {
    let text = match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(failed("read", path))?,
    };
    let pin = serde_json::from_slice(&text).map_err(|source| PinError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(pin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(digit: char, since: u64) -> Pin {
        let id = format!("sha256-{}", digit.to_string().repeat(64));
        Pin {
            name: "example.com/app:1".to_owned(),
            id: id.parse().unwrap(),
            since,
        }
    }

    #[test]
    fn the_first_stays_until_another_is_accepted() {
        let tmp = tempfile::tempdir().unwrap();
        let pins = Pins::new(tmp.path());
        assert_eq!(pins.get("example.com/app:1").unwrap(), None);
        assert_eq!(pins.first(pin('a', 1)).unwrap(), pin('a', 1));
        assert_eq!(pins.first(pin('b', 2)).unwrap(), pin('a', 1));
        pins.accept(&pin('b', 3)).unwrap();
        assert_eq!(pins.first(pin('a', 4)).unwrap(), pin('b', 3));
        assert_eq!(pins.all().unwrap(), [pin('b', 3)]);
        let files = fs::read_dir(tmp.path().join("pins")).unwrap().count();
        assert_eq!(files, 1, "nothing is left beside the pin");
    }

    #[test]
    fn of_many_at_once_one_is_first_for_all() {
        let tmp = tempfile::tempdir().unwrap();
        let pins = Pins::new(tmp.path());
        let seen: Vec<Pin> = std::thread::scope(|scope| {
            let threads: Vec<_> = "0123456789abcdef"
                .chars()
                .map(|digit| {
                    scope.spawn({
                        let pins = &pins;
                        move || pins.first(pin(digit, 1)).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|p| *p == seen[0]), "{seen:?}");
    }

    #[test]
    fn a_damaged_pin_is_not_taken_for_none() {
        let tmp = tempfile::tempdir().unwrap();
        let pins = Pins::new(tmp.path());
        pins.first(pin('a', 1)).unwrap();
        fs::write(pins.file("example.com/app:1"), "{").unwrap();
        assert!(matches!(
            pins.first(pin('b', 1)),
            Err(PinError::Damaged { .. })
        ));
        assert!(pins.get("example.com/app:1").is_err());
    }
}
