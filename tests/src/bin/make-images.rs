//! `make-images DIR`: a small image from Debian's static busybox, written twice:
//! as the appc archive `DIR/hello.aci` and as the OCI layout `DIR/hello-oci`.
//!
//! `./quickstart` signs the first and fetches both. Same input, same bytes: a
//! second run makes the same image IDs.

use std::path::PathBuf;
use std::process::ExitCode;

use tests::{Aci, Compression, OciImage, Rootfs};

/// What both images run: says who it is and where it runs.
const HELLO: &str = "#!/bin/sh
echo \"hello from the app $AC_APP_NAME in $1: pod $(hostname), pid $$, user $(id -un)\"
";

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: make-images DIR");
        return ExitCode::from(2);
    };
    if let Err(e) = std::fs::create_dir_all(&dir) {
        eprintln!("make-images: cannot make {}: {e}", dir.display());
        return ExitCode::FAILURE;
    }
    let rootfs = Rootfs::busybox().file("bin/hello", 0o755, HELLO);
    let aci = Aci::new(
        "example.com/hello",
        &["/bin/hello", "an ACI"],
        rootfs.clone(),
    );
    println!("{}", aci.write(&dir, "hello", Compression::Gzip).display());
    let oci = OciImage::new(vec![rootfs.tar("")], &["/bin/hello", "an OCI image"]);
    println!("{}", oci.write(&dir.join("hello-oci"), "1.0").reference());
    ExitCode::SUCCESS
}
