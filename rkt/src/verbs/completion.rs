//! `rkt completion`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::{self, Context, Simple};
use crate::failure::{Failure, Outcome};

#[derive(Debug, Args)]
#[command(
    about = "print the completion script of a shell",
    after_help = "EXAMPLES:\n    source <(rkt completion bash)"
)]
pub(crate) struct Completion {
    /// The shell: bash
    shell: Vec<String>,
}

impl Simple for Completion {
    fn run(self, _: &Context) -> Outcome {
        match self.shell.as_slice() {
            [shell] if shell == "bash" => {
                cli::bash_completion();
                Ok(ExitCode::SUCCESS)
            }
            [] => Err(Failure::new("shell type is not specified")),
            [other] => Err(Failure::new(format!("'{other}' shell is not supported"))),
            _ => Err(Failure::new(
                "too many arguments, only shell type is expected",
            )),
        }
    }
}
