//! `rkt image cat-manifest`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::{Context, Simple};
use crate::failure::Outcome;
use crate::{fetching, output};

#[derive(Debug, Args)]
#[command(
    about = "print the manifest of an image",
    after_help = "EXAMPLES:\n    rkt image cat-manifest example.com/app"
)]
pub(crate) struct CatManifest {
    /// The image, by id, its beginning, or name
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Indent the JSON
    #[arg(long, action = clap::ArgAction::Set, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::cli::boolean)]
    pretty_print: bool,
}

impl Simple for CatManifest {
    fn run(self, context: &Context) -> Outcome {
        let record = fetching::find(&self.image, &context.store()?, context)?;
        output::json(&record.manifest, self.pretty_print)?;
        Ok(ExitCode::SUCCESS)
    }
}
