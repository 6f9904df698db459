//! The programs that a start takes, in the file system: what is not in memory
//! yet has to be read.

use std::fs;
use std::path::Path;

use tests::host::find_binary;

use crate::report::{Report, Row};

/// Each contender's programs.
const PEERS: [(&str, &[&str]); 5] = [
    ("crun", &["/usr/bin/crun"]),
    ("runc", &["/usr/sbin/runc", "/usr/bin/runc"]),
    ("podman", &["/usr/bin/podman"]),
    ("conmon", &["/usr/bin/conmon"]),
    ("containerd", &["/usr/bin/containerd"]),
];

/// Measures them.
pub(crate) fn run() -> Report {
    let mut report = Report::new("size of the program's file", "MiB", "rkt");
    for name in ["rkt", "rkt-stage1"] {
        match find_binary(name) {
            Ok(path) => report.rows.push(row(name, &path)),
            Err(why) => report.missing.push((name.into(), why)),
        }
    }
    for (name, places) in PEERS {
        match places.iter().map(Path::new).find(|path| path.exists()) {
            Some(path) => report.rows.push(row(name, path)),
            None => report
                .missing
                .push((name.into(), format!("there is no {}", places[0]))),
        }
    }
    report
}

fn row(name: &str, path: &Path) -> Row {
    let bytes = fs::metadata(path).map_or(0, |data| data.len());
    #[expect(clippy::cast_precision_loss, reason = "a file's size")]
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    let interpreted = fs::read(path).is_ok_and(|bytes| {
        // The name of the loader stands in the first page of what needs one.
        bytes[..bytes.len().min(4096)]
            .windows(6)
            .any(|w| w == b"ld-lin")
    });
    Row {
        name: name.into(),
        samples: vec![mebibytes],
        note: match interpreted {
            true => "and shared libraries".into(),
            false => "static".into(),
        },
    }
}
