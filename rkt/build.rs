//! How `rkt` is linked: so that a start does not pay for what it does not use.
//! ARCHITECTURE.md has the figures.
//!
//! - At a fixed address, as the engine is. Position-independent, a hundred pages
//!   of tables would be written to, and so copied, before `main`.
//! - With the unwinder inside. Rust's library asks for `libgcc_s.so`, whose
//!   constructor asks the processor a dozen times what it can do; each of these
//!   leaves a virtual machine. A linker script of that name, which leads to the
//!   archive of the same code, is found before it.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let gnu = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|libc| libc == "gnu");
    let native = env::var("HOST") == env::var("TARGET");
    if !gnu || !native {
        return;
    }
    println!("cargo:rustc-link-arg-bins=-no-pie");
    let said = Command::new("cc")
        .arg("-print-file-name=libgcc_eh.a")
        .output();
    let archive = said.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    // What the compiler does not find it names without a directory.
    if archive.is_ok_and(|path| Path::new(&path).is_absolute()) {
        let dir = env::var("OUT_DIR").expect("cargo sets it for build scripts");
        let script = Path::new(&dir).join("libgcc_s.so");
        fs::write(script, "INPUT(-lgcc_eh -lgcc)\n").expect("the directory is ours");
        println!("cargo:rustc-link-search=native={dir}");
    }
}
