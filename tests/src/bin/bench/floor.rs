//! Builds `tests/floor/floor.c`, the bare system calls of one pod.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the floor program into `dir`.
pub(crate) fn build(dir: &Path) -> Result<PathBuf, String> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/floor/floor.c");
    let program = dir.join("floor");
    let out = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .arg(&program)
        .arg(source)
        .output()
        .map_err(|e| format!("cannot run cc: {e}"))?;
    if out.status.success() {
        Ok(program)
    } else {
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    }
}
