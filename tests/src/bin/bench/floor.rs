//! Builds `tests/floor/floor.c`, the bare system calls of one pod.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::image::CACHE;

/// Compiles the floor program. What the compiler said stays beside it, for
/// [`program`].
pub(crate) fn build() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/floor/floor.c");
    let program = Path::new(CACHE).join("floor");
    let out = fs::create_dir_all(CACHE).and_then(|()| {
        let _ = fs::remove_file(&program);
        Command::new("cc")
            .args(["-O2", "-static", "-o"])
            .arg(&program)
            .arg(source)
            .output()
    });
    let said = match out {
        Ok(out) => out.stderr,
        Err(e) => format!("cannot run cc: {e}").into_bytes(),
    };
    // Without it there is no program either, which is told.
    let _ = fs::write(program.with_extension("log"), said);
}

/// The program that [`build`] has made.
pub(crate) fn program() -> Result<std::path::PathBuf, String> {
    let program = Path::new(CACHE).join("floor");
    if program.exists() {
        return Ok(program);
    }
    let said = fs::read_to_string(program.with_extension("log")).unwrap_or_default();
    Err(said.trim().to_owned())
}
