//! `rkt version`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::{Context, Simple};
use crate::failure::Outcome;
use crate::output::say;

#[derive(Debug, Args)]
#[command(
    about = "print the versions of rkt and of the specification it follows",
    after_help = "EXAMPLES:\n    rkt version"
)]
pub(crate) struct Version {}

impl Simple for Version {
    fn run(self, _: &Context) -> Outcome {
        say(&format!(
            "rkt Version: {}\nappc Version: {}\nRust Version: {}\nOS/Arch: {}/{}\nFeatures: -TPM -SDJOURNAL",
            env!("CARGO_PKG_VERSION"),
            manifests::appc::VERSION,
            env!("CARGO_PKG_RUST_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH,
        ));
        Ok(ExitCode::SUCCESS)
    }
}
