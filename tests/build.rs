//! Compiles the probe, the program of the tests' images that asks the kernel
//! what an app can do: `tests/probe/probe.c`, statically, into [`OUT_DIR`],
//! from where `tests::probe` takes it in.
//!
//! [`OUT_DIR`]: https://doc.rust-lang.org/cargo/reference/environment-variables.html

use std::path::Path;
use std::process::Command;

fn main() {
    const SOURCE: &str = "probe/probe.c";
    println!("cargo::rerun-if-changed={SOURCE}");
    let directory = std::env::var_os("OUT_DIR").expect("cargo says where");
    let program = Path::new(&directory).join("probe");
    let status = Command::new("cc")
        .args(["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(SOURCE)
        .status()
        .expect("a C compiler is missing: apt install gcc libc6-dev");
    assert!(status.success(), "{SOURCE} cannot be compiled");
}
