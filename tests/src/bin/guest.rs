//! `guest`: runs a script in a guest, for whoever wants to look inside.
//!
//! ```text
//! cargo run -p tests --bin guest -- prepare
//! cargo run -p tests --bin guest -- nspawn-13 'systemctl --version'
//! cargo run -p tests --bin guest -- qemu-6.12 ./script.sh /etc/rkt/x=./x
//! ```
//!
//! rkt is brought along when the script speaks of it. Files that the script leaves in
//! its working directory are listed and lost.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tests::guest::{Debian, Guest, Kernel, Unobtainable, cache_directory, prepare_all};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["prepare"] => prepare(),
        [kind, script, files @ ..] => run(kind, script, files),
        _ => {
            eprintln!("usage: guest prepare | guest KIND SCRIPT [GUEST-PATH=HOST-PATH]...");
            eprintln!("KIND: nspawn-12 nspawn-13 qemu-6.1 qemu-6.12 qemu-6.18");
            ExitCode::from(2)
        }
    }
}

fn prepare() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for made in prepare_all() {
        match made {
            Ok(path) => println!("{}", path.display()),
            Err(Unobtainable(why)) => {
                eprintln!("guest: {why}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn run(kind: &str, script: &str, files: &[&str]) -> ExitCode {
    let guest = match kind {
        "nspawn-12" => Guest::nspawn(Debian::Bookworm),
        "nspawn-13" => Guest::nspawn(Debian::Trixie),
        "qemu-6.1" => Guest::qemu(Kernel::V6_1),
        "qemu-6.12" => Guest::qemu(Kernel::V6_12),
        "qemu-6.18" => Guest::qemu(Kernel::V6_18),
        _ => {
            eprintln!(
                "guest: no such guest: {kind} (cache: {})",
                cache_directory().display()
            );
            return ExitCode::from(2);
        }
    };
    let Some(mut guest) = guest else {
        return ExitCode::FAILURE;
    };
    for file in files {
        let Some((path, from)) = file.split_once('=') else {
            eprintln!("guest: {file}: wanted GUEST-PATH=HOST-PATH");
            return ExitCode::from(2);
        };
        guest = guest.file(path, Path::new(from));
    }
    let script = if Path::new(script).is_file() {
        std::fs::read_to_string(script).unwrap_or_else(|e| panic!("cannot read {script}: {e}"))
    } else {
        script.to_owned()
    };
    if script.split_whitespace().any(|word| word == "rkt") {
        let Some(with_rkt) = guest.rkt() else {
            return ExitCode::FAILURE;
        };
        guest = with_rkt;
    }
    let out = guest.deadline(Duration::from_secs(600)).run(&script);
    println!("{out}");
    if out.status == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
