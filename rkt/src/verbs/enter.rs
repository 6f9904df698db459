//! `rkt enter` and `rkt app exec`.

use std::path::PathBuf;

use clap::Args;
use stage0::enter::{self, EnterError};
use stage0::pods::State;

use crate::cli::{Context, Simple};
use crate::failure::Outcome;

/// What is run when nothing is said.
const SHELL: &str = "/bin/bash";

#[derive(Debug, Args)]
#[command(
    about = "run a program in an app of a running pod",
    override_usage = "rkt enter [--app=NAME] UUID [PROGRAM [ARGUMENTS…]]",
    after_help = "\
The program is a process of the app: it has the app's user, capabilities, system call filter,
limits and environment, and no more.

EXAMPLES:
    rkt enter 5bc080ca /bin/sh
    rkt enter --app=web 5bc080ca ps -o pid,args

EXIT STATUS:
    The program's; when a signal ended it, rkt ends by the same. 203: the program is missing or
    cannot be executed. 254: it could not be brought in."
)]
pub(crate) struct Enter {
    /// The app, when the pod has several
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// The pod's supervisor [default: rkt-stage1 beside rkt]
    #[arg(long, value_name = "FILE")]
    stage1_path: Option<PathBuf>,
    /// Read the UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
    /// The pod, by UUID or its beginning; then the program and its arguments
    #[arg(
        value_name = "UUID",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<String>,
}

impl Simple for Enter {
    fn run(self, context: &Context) -> Outcome {
        let mut command = self.words;
        let typed = super::leading_uuid(&mut command, self.uuid_file.as_deref())?;
        let pod = context.pod(&typed)?;
        if pod.state() != State::Running {
            return Err(EnterError::NotRunning(pod.uuid()).into());
        }
        let chosen = enter::choose(&pod, &pod.manifest()?, self.app.as_deref(), "enter");
        if let Err(EnterError::Several { has, .. }) = &chosen {
            context.tell(&format!(
                "pod contains multiple apps:\n\t{}",
                has.join("\n\t")
            ));
        }
        let app = chosen?;
        if command.is_empty() {
            context.tell(&format!("no command specified, assuming {SHELL:?}"));
            command.push(SHELL.to_owned());
        }
        let stage1 = context.stage1(self.stage1_path.as_deref())?;
        let pod = enter::await_start(pod, &app)?;
        match enter::enter(&pod, &app, &command, &stage1)? {}
    }
}
