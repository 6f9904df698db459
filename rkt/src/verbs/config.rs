//! `rkt config`.

use std::process::ExitCode;

use clap::Args;
use manifests::config::Directory;

use crate::cli::{Context, Simple};
use crate::failure::Outcome;
use crate::output;

#[derive(Debug, Args)]
#[command(
    about = "print the configuration of all layers together, secrets included",
    after_help = "EXAMPLES:\n    rkt config\n    rkt --user-config=$HOME/.config/rkt config"
)]
pub(crate) struct Config {
    /// Indent the JSON
    #[arg(long, action = clap::ArgAction::Set, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::cli::boolean)]
    pretty_print: bool,
}

impl Simple for Config {
    fn run(self, context: &Context) -> Outcome {
        let config = context.config(&Directory::ALL)?;
        output::json(&config, self.pretty_print)?;
        Ok(ExitCode::SUCCESS)
    }
}
