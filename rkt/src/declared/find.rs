//! Which files declare pods.
//!
//! As with units: a file in a directory that is named earlier hides those of
//! its name in later ones, a link to /dev/null hides them without a pod in
//! their place, and drop-ins of all directories add up in the order of their
//! names. Two files of one directory that declare one pod are a mistake.
//! Source: systemd.unit(5) "Unit File Load Path".

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::PodFile;

/// Where pods are declared, the first counts most.
pub(crate) const DIRECTORIES: [&str; 3] = ["/etc/rkt/pods", "/run/rkt/pods", "/usr/lib/rkt/pods"];

/// The endings of names of files that declare pods: pod files, pod manifests,
/// Kubernetes Pods.
const ENDINGS: [&str; 4] = ["pod", "json", "yaml", "yml"];

/// All declared pods by name; those that are hidden are not among them.
///
/// # Errors
/// A directory is there and cannot be read.
pub(crate) fn all(directories: &[PathBuf]) -> io::Result<Vec<PodFile>> {
    let mut found: BTreeMap<_, Vec<PathBuf>> = BTreeMap::new();
    for directory in directories {
        let mut here: BTreeMap<_, Vec<PathBuf>> = BTreeMap::new();
        for path in entries(directory)? {
            let ending = path.extension().and_then(OsStr::to_str);
            if ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
                let name = path.file_stem().map(OsStr::to_owned);
                here.entry(name).or_default().push(path);
            }
        }
        for (name, mut paths) in here {
            paths.sort();
            found.entry(name).or_insert(paths);
        }
    }
    found
        .into_values()
        .filter_map(|paths| {
            let mut paths = paths.into_iter().filter(|path| !hides(path));
            let first = paths.next()?;
            Some((first, paths.collect()))
        })
        .map(|(path, rivals)| {
            let file = with_drop_ins(path, directories)?;
            Ok(PodFile { rivals, ..file })
        })
        .collect()
}

/// The file at a path, with the drop-ins beside it and of all directories.
///
/// # Errors
/// A directory of drop-ins is there and cannot be read.
pub(crate) fn of_path(path: &Path, directories: &[PathBuf]) -> io::Result<PodFile> {
    let mut directories = directories.to_vec();
    let own = path.parent().map(Path::to_owned).unwrap_or_default();
    if !directories.contains(&own) {
        directories.insert(0, own);
    }
    with_drop_ins(path.to_owned(), &directories)
}

fn with_drop_ins(path: PathBuf, directories: &[PathBuf]) -> io::Result<PodFile> {
    let mut found = BTreeMap::new();
    let of_file = path.file_name().unwrap_or_default();
    for directory in directories {
        let mut drop_ins = directory.join(of_file).into_os_string();
        drop_ins.push(".d");
        for path in entries(Path::new(&drop_ins))? {
            if path.extension() == Some(OsStr::new("conf")) {
                let name = path.file_name().map(OsStr::to_owned);
                found.entry(name).or_insert(path);
            }
        }
    }
    Ok(PodFile {
        name: path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default(),
        drop_ins: found.into_values().filter(|path| !hides(path)).collect(),
        rivals: Vec::new(),
        path,
    })
}

fn hides(path: &Path) -> bool {
    std::fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match std::fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    listed
        .filter_map(|entry| match entry {
            Ok(entry) if entry.file_name().as_encoded_bytes().starts_with(b".") => None,
            Ok(entry) => Some(Ok(entry.path())),
            Err(e) => Some(Err(e)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn earlier_directories_hide_later_ones_and_drop_ins_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        let lib = dir.path().join("lib");
        for (file, text) in [
            ("etc/web.pod", "[Pod]"),
            ("lib/web.pod", ""),
            ("lib/log.pod", ""),
            ("lib/off.pod", ""),
            ("lib/notes.txt", ""),
            ("lib/web.yaml", ""),
            ("lib/two.yaml", ""),
            ("lib/two.json", ""),
            ("lib/web.pod.d/10-a.conf", ""),
            ("lib/web.pod.d/20-b.conf", ""),
            ("etc/web.pod.d/20-b.conf", ""),
            ("etc/web.pod.d/readme", ""),
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        symlink("/dev/null", etc.join("off.pod")).unwrap();
        let missing = dir.path().join("run");
        let found = all(&[etc.clone(), missing, lib.clone()]).unwrap();
        let names: Vec<_> = found.iter().map(|pod| pod.name.as_str()).collect();
        assert_eq!(names, ["log", "two", "web"]);
        assert_eq!(found[1].path, lib.join("two.json"));
        assert_eq!(found[1].rivals, [lib.join("two.yaml")]);
        assert_eq!(found[2].path, etc.join("web.pod"));
        assert_eq!(found[2].rivals, [] as [PathBuf; 0]);
        assert_eq!(
            found[2].drop_ins,
            [
                lib.join("web.pod.d/10-a.conf"),
                etc.join("web.pod.d/20-b.conf")
            ]
        );
    }
}
