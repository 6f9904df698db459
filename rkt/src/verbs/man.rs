//! `rkt man`: for those who package rkt.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::{self, Context, Simple};
use crate::failure::Outcome;

#[derive(Debug, Args)]
#[command(about = "write the manual pages into a directory")]
pub(crate) struct Man {
    /// The directory, which must exist
    #[arg(id = "directory", value_name = "DIR")]
    directory: PathBuf,
}

impl Simple for Man {
    fn run(self, _: &Context) -> Outcome {
        cli::man_pages(&self.directory)?;
        Ok(ExitCode::SUCCESS)
    }
}
