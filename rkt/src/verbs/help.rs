//! `rkt help`.

use clap::Args;

use crate::cli::{self, Context, Simple};
use crate::failure::Outcome;

#[derive(Debug, Args)]
#[command(
    about = "tell about rkt or one of its commands",
    after_help = "EXAMPLES:\n    rkt help run\n    rkt help image list"
)]
pub(crate) struct Help {
    /// The command
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

impl Simple for Help {
    fn run(self, _: &Context) -> Outcome {
        Ok(cli::print_help(&self.words))
    }
}
