//! `rkt cat-manifest`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::{Context, Simple};
use crate::failure::{FAILURE, Outcome};
use crate::output;

#[derive(Debug, Args)]
#[command(
    about = "print the manifest of a pod",
    after_help = "EXAMPLES:\n    rkt cat-manifest 5bc080ca"
)]
pub(crate) struct CatManifest {
    /// The pod, by UUID or its beginning
    #[arg(value_name = "UUID")]
    pod: Vec<String>,
    /// Read the UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
    /// Indent the JSON
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::cli::boolean)]
    pretty_print: bool,
}

impl Simple for CatManifest {
    fn run(self, context: &Context) -> Outcome {
        let typed = super::one_uuid(self.pod, self.uuid_file.as_deref(), FAILURE)?;
        let manifest = context.pod(&typed)?.manifest()?;
        output::json(&manifest, self.pretty_print)?;
        Ok(ExitCode::SUCCESS)
    }
}
