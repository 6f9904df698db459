//! `rkt stop`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use stage0::stop::{Stopped, stop};

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::output::say;

#[derive(Debug, Args)]
#[command(
    about = "stop pods",
    after_help = "EXAMPLES:\n    rkt stop 5bc080ca\n    rkt stop --force 5bc080ca"
)]
pub(crate) struct Stop {
    /// The pods, by UUID or its beginning
    #[arg(value_name = "UUID")]
    pods: Vec<String>,
    /// Kill them
    #[arg(long)]
    force: bool,
    /// Read the UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
}

/// Exit code when the file with the UUID cannot be read.
const UNREADABLE_UUID: u8 = 1;

impl Simple for Stop {
    fn run(self, context: &Context) -> Outcome {
        let mut failed = 0;
        for typed in super::typed_uuids(self.pods, self.uuid_file.as_deref(), UNREADABLE_UUID)? {
            if let Err(failure) = stop_one(&typed, self.force, context) {
                failure.report("stop", context.debug());
                failed += 1;
            }
        }
        if failed > 0 {
            return Err(Failure::new(format!("failed to stop {failed} pod(s)")));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn stop_one(typed: &str, force: bool, context: &Context) -> Result<(), Failure> {
    let pod = context.pod(typed)?;
    match stop(&pod, force)? {
        Stopped::Now => say(&format!("\"{}\"", pod.uuid())),
        Stopped::Already => say(&format!("pod \"{}\" is already stopped", pod.uuid())),
    }
    Ok(())
}
