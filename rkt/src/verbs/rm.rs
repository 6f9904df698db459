//! `rkt rm`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use stage0::pods::{Event, Removal, State};

use crate::cli::{Context, Simple};
use crate::failure::{FAILURE, Failure, Outcome};
use crate::output::say;

#[derive(Debug, Args)]
#[command(
    about = "delete pods that ended or never ran",
    after_help = "EXAMPLES:\n    rkt rm 5bc080ca\n    rkt rm --uuid-file=/run/pod.uuid"
)]
pub(crate) struct Rm {
    /// The pods, by UUID or its beginning
    #[arg(value_name = "UUID")]
    pods: Vec<String>,
    /// Read the UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
}

impl Simple for Rm {
    fn run(self, context: &Context) -> Outcome {
        let mut failed = false;
        for typed in super::typed_uuids(self.pods, self.uuid_file.as_deref(), FAILURE)? {
            if let Err(failure) = remove(&typed, context) {
                failure.report("rm", context.debug());
                failed = true;
            }
        }
        if failed {
            return Err(Failure::new("failed to remove one or more pods"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn remove(typed: &str, context: &Context) -> Result<(), Failure> {
    let pod = context.pod(typed)?;
    let uuid = pod.uuid();
    let refused = |what| Failure::new(format!("pod \"{uuid}\" is {what}"));
    let tell = &mut |event| match event {
        Event::Aborted(_) => eprintln!("rm: moving failed prepare \"{uuid}\" to garbage"),
        Event::Expired(_) => eprintln!("rm: moving expired prepared pod \"{uuid}\" to garbage"),
        _ => {}
    };
    match context.pods()?.remove(&pod, tell)? {
        Removal::Removed => say(&format!("\"{uuid}\"")),
        Removal::Refused(State::Running) => {
            return Err(refused("currently running (stop it first: rkt stop)"));
        }
        Removal::Refused(State::Embryo | State::Preparing) => {
            return Err(refused("currently being prepared"));
        }
        Removal::Refused(_) => return Err(refused("currently being deleted")),
    }
    Ok(())
}
