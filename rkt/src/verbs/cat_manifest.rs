//! `rkt cat-manifest`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::{Context, Simple};
use crate::failure::Outcome;
use crate::output;

#[derive(Debug, Args)]
#[command(
    about = "print the manifest of a pod",
    after_help = "EXAMPLES:\n    rkt cat-manifest 5bc080ca"
)]
pub(crate) struct CatManifest {
    #[command(flatten)]
    pod: super::OnePod,
    /// Indent the JSON
    #[arg(long, action = clap::ArgAction::Set, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::cli::boolean)]
    pretty_print: bool,
}

impl Simple for CatManifest {
    fn run(self, context: &Context) -> Outcome {
        let manifest = self.pod.find(context)?.manifest()?;
        output::json(&manifest, self.pretty_print)?;
        Ok(ExitCode::SUCCESS)
    }
}
