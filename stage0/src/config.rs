//! Reading rkt's configuration directories.
//!
//! Source: rkt's configuration reference, "Configuration layers". What a file
//! may say is [`manifests::config`]'s business; here it is found.

use std::io;
use std::path::{Path, PathBuf};

use manifests::config::{Config, ConfigError, Directory};

/// Why there is no configuration to go by.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A layer or one of its directories is something else.
    #[error("expected {0:?} to be a directory")]
    NotADirectory(PathBuf),
    /// A directory or file that is there cannot be read.
    #[error("cannot read {path:?}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file says something that it must not.
    #[error(transparent)]
    Content(#[from] ConfigError),
}

/// What the layers say together, as far as these directories go. `layers` are
/// the configuration directories, the lowest first; those that do not exist say
/// nothing.
///
/// # Errors
/// The first file or directory that cannot be followed.
pub fn read(layers: &[&Path], directories: &[Directory]) -> Result<Config, ReadError> {
    let mut config = Config::default();
    for layer in layers {
        let mut said = Config::default();
        for directory in directories {
            for file in files(layer, *directory)? {
                let bytes = std::fs::read(&file).map_err(|source| ReadError::Io {
                    path: file.clone(),
                    source,
                })?;
                said.add_file(*directory, &file.to_string_lossy(), &bytes)?;
            }
        }
        config.apply(said);
    }
    Ok(config)
}

/// The regular files `*.json` directly in the directory, by name.
fn files(layer: &Path, directory: Directory) -> Result<Vec<PathBuf>, ReadError> {
    let dir = layer.join(directory.as_str());
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| ReadError::Io { path, source }
    };
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            let culprit = if layer.is_dir() { &dir } else { layer };
            return Err(ReadError::NotADirectory(culprit.to_owned()));
        }
        Err(e) => return Err(failed(&dir)(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(&dir))?;
        let kind = entry.file_type().map_err(failed(&entry.path()))?;
        let path = entry.path();
        if kind.is_file() && path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(layer: &Path, file: &str, text: &str) {
        let path = layer.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn paths(data: &str) -> String {
        format!(r#"{{"rktKind": "paths", "rktVersion": "v1", "data": "{data}"}}"#)
    }

    #[test]
    fn higher_layers_win_and_missing_ones_say_nothing() {
        let tmp = tempfile::tempdir().unwrap();
        let (system, local) = (tmp.path().join("system"), tmp.path().join("local"));
        write(&system, "paths.d/a.json", &paths("/system"));
        write(&local, "paths.d/a.json", &paths("/local"));
        write(&local, "paths.d/ignored.txt", "not JSON");
        write(&local, "paths.d/below/b.json", "not JSON");
        std::os::unix::fs::symlink("/nosuch", local.join("paths.d/link.json")).unwrap();
        let read = |layers: &[&Path]| {
            let config = read(layers, &Directory::ALL).unwrap();
            config.paths.data
        };
        assert_eq!(read(&[&system]), Some("/system".into()));
        assert_eq!(read(&[&system, &local]), Some("/local".into()));
        assert_eq!(read(&[Path::new("/nosuch")]), None);
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        write(tmp.path(), "file", "");
        let error = read(&[&tmp.path().join("file")], &Directory::ALL).unwrap_err();
        assert!(
            error.to_string().ends_with("file\" to be a directory"),
            "{error}"
        );
        write(tmp.path(), "auth.d/x.json", "{ not json");
        let error = read(&[tmp.path()], &Directory::ALL).unwrap_err();
        assert!(error.to_string().contains("auth.d/x.json"), "{error}");
    }
}
