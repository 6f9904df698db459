//! `rkt rm`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use stage0::pods::{Event, Pod, PodError, Removal, State, UuidPrefix};
use stage0::stop::stop;

use crate::cli::{Context, Simple};
use crate::failure::{FAILURE, Failure, Outcome};
use crate::output::say;

#[derive(Debug, Args)]
#[command(
    about = "delete pods that ended or never ran",
    after_help = "EXAMPLES:\n    rkt rm 5bc080ca\n    rkt rm --uuid-file=/run/pod.uuid\n    \
        rkt rm --force 5bc080ca"
)]
pub(crate) struct Rm {
    /// The pods, by UUID or its beginning
    #[arg(value_name = "UUID")]
    pods: Vec<String>,
    /// Kill a pod that runs, and delete one whose files are damaged too
    #[arg(long)]
    force: bool,
    /// Read the UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
}

impl Simple for Rm {
    fn run(self, context: &Context) -> Outcome {
        let mut failed = false;
        for typed in super::typed_uuids(self.pods, self.uuid_file.as_deref(), FAILURE)? {
            if let Err(failure) = remove(&typed, self.force, context) {
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

fn remove(typed: &str, force: bool, context: &Context) -> Result<(), Failure> {
    let pods = context.pods()?;
    if force && let Some(uuid) = pods.remove_stray(&UuidPrefix::new(typed)?)? {
        say(&format!("\"{uuid}\""));
        return Ok(());
    }
    let mut pod = context.pod(typed)?;
    let uuid = pod.uuid();
    if force && pod.state() == State::Running {
        stop(&pod, true)?;
        pod = ended(pod)?;
    }
    let refused = |what| Failure::new(format!("pod \"{uuid}\" is {what}"));
    let tell = &mut |event| match event {
        Event::Aborted(_) => context.tell(&format!("moving failed prepare \"{uuid}\" to garbage")),
        Event::Expired(_) => context.tell(&format!(
            "moving expired prepared pod \"{uuid}\" to garbage"
        )),
        Event::Failed(_, e) => {
            let left = format!("warning: something of pod \"{uuid}\" may be left on this host");
            context.tell(&Failure::because(left, e).text(context.debug()));
        }
        _ => {}
    };
    match pods.remove(&pod, force, tell)? {
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

/// How long a killed pod may take until its lock is free.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// The pod when it does not run any more, or when it has been waited for.
fn ended(mut pod: Pod) -> Result<Pod, PodError> {
    let deadline = Instant::now() + LAST_BREATH;
    while pod.state() == State::Running && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
        pod = pod.again()?;
    }
    Ok(pod)
}
