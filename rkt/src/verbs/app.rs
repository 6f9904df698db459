//! `rkt app`: the apps of a pod that changes while it runs.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use fetch::PullPolicy;
use stage0::images::Images as PodImages;
use stage0::pods::{OwnedPod, Pod, State};
use stage0::prepare::request::{AppRequest, PodRequest};
use stage0::prepare::{self, Blueprint};
use stage0::start::guests::{self, Changing};

use crate::cli::{Context, EnvironmentFlags, Images, RuntimeFlags, Simple, WithImages};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Format, Table};
use crate::report::{AppReport, Detail, PodReport};
use crate::{fetching, runtime, wishes};

/// Exit code of what the reference tells apart from all else.
const FAILED: u8 = 1;

#[derive(Debug, Args)]
#[command(
    about = "run a pod without apps, to which apps are added",
    after_help = "\
It runs until it is stopped, whatever becomes of its apps.

EXAMPLES:
    rkt app sandbox --detach --uuid-file-save=/run/my-pod
    rkt app add 5bc080ca example.com/web --name=web
    rkt app start 5bc080ca --app=web"
)]
pub(crate) struct Sandbox {
    #[command(flatten)]
    runtime: RuntimeFlags,
    /// The pod's supervisor [default: rkt-stage1 beside rkt]
    #[arg(long, value_name = "FILE")]
    stage1_path: Option<PathBuf>,
    /// Write the pod's UUID to a file
    #[arg(long, value_name = "FILE")]
    uuid_file_save: Option<PathBuf>,
}

impl Simple for Sandbox {
    fn run(self, context: &Context) -> Outcome {
        self.start(context).map_err(|e| e.with_code(FAILED))
    }
}

impl Sandbox {
    fn start(self, context: &Context) -> Outcome {
        if self.runtime.interactive {
            return Err(Failure::new("a pod without apps has no use for a terminal"));
        }
        let runtime = runtime::runtime(&self.runtime, context)?;
        let stage1 = context.stage1(self.stage1_path.as_deref())?;
        let store = context.store()?;
        let request = PodRequest {
            mutable: true,
            ..PodRequest::default()
        };
        let blueprint = Blueprint {
            manifest: prepare::compose(&request, caller())?,
            text: None,
            images: Vec::new(),
        };
        let mut pod = OwnedPod::create(&context.pods()?)?;
        if let Some(file) = &self.uuid_file_save {
            std::fs::write(file, pod.uuid().to_string())
                .map_err(|e| Failure::because(format!("cannot save the UUID to {file:?}"), e))?;
        }
        let images = PodImages::new(&store);
        wishes::fill(&mut pod, &blueprint, &images, false, context)?;
        let how = (&stage1, self.runtime.detach);
        runtime::start(pod, &blueprint, &images, &runtime, how, context)
    }
}

fn caller() -> (u32, u32) {
    (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}

#[derive(Debug, Args)]
#[command(
    about = "add an app to a running pod",
    override_usage = "rkt app add UUID IMAGE [PER-APP OPTIONS] [-- ARGUMENTS]",
    after_help = "EXAMPLES:\n    rkt app add 5bc080ca example.com/web --name=web --memory=64M -- -v"
)]
pub(crate) struct Add {
    #[command(flatten)]
    environment: EnvironmentFlags,
}

impl WithImages for Add {
    const APP_ARGUMENTS: bool = true;

    fn run(self, mut images: Images, context: &Context) -> Outcome {
        if images.apps.is_empty() {
            return Err(Failure::new("must provide the pod UUID and an image"));
        }
        // The first word that is no flag is the pod.
        let pod = images.apps.remove(0);
        if images.apps.len() != 1 {
            return Err(Failure::new("must give only one app"));
        }
        let pod = context.pod(&pod.reference)?;
        let changing = Changing::lock(&pod)?;
        let store = context.store()?;
        let records = fetching::images(&images, PullPolicy::Never, true, &store, context)?;
        let environment = wishes::pod_environment(&self.environment)?;
        let apps = images.apps.into_iter().zip(&records);
        let request = PodRequest {
            apps: apps
                .map(|(typed, record)| {
                    Ok(AppRequest {
                        image: record.clone(),
                        overrides: wishes::overrides(typed.flags)?,
                        arguments: typed.args,
                    })
                })
                .collect::<Result<_, Failure>>()?,
            environment,
            ..PodRequest::default()
        };
        let blueprint = Blueprint {
            manifest: prepare::compose(&request, caller())?,
            text: None,
            images: records,
        };
        let tell = &mut |text: &str| context.tell(text);
        changing.add(&blueprint, &PodImages::new(&store), tell)?;
        Ok(ExitCode::SUCCESS)
    }
}

// The app that a verb is about.
#[derive(Debug, Args)]
struct Named {
    /// The pod, by UUID or its beginning
    #[arg(value_name = "UUID")]
    pod: Option<String>,
    /// The app
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
}

impl Named {
    fn find(self, verb: &str, context: &Context) -> Result<(Pod, String), Failure> {
        let pod = pod(self.pod, context)?;
        let app = self
            .app
            .ok_or_else(|| Failure::new(format!("must provide the app to {verb} (--app=NAME)")))?;
        Ok((pod, app))
    }
}

fn pod(typed: Option<String>, context: &Context) -> Result<Pod, Failure> {
    let typed = typed.ok_or_else(|| Failure::new("must provide the pod UUID"))?;
    context.pod(&typed)
}

#[derive(Debug, Args)]
#[command(
    about = "start an app that was added, or stopped",
    after_help = "EXAMPLES:\n    rkt app start 5bc080ca --app=web"
)]
pub(crate) struct Start {
    #[command(flatten)]
    named: Named,
}

impl Simple for Start {
    fn run(self, context: &Context) -> Outcome {
        let (pod, app) = self.named.find("start", context)?;
        guests::start(&pod, &app, &context.store()?)?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
#[command(
    about = "stop an app, and leave the others alone",
    after_help = "EXAMPLES:\n    rkt app stop 5bc080ca --app=web"
)]
pub(crate) struct Stop {
    #[command(flatten)]
    named: Named,
}

impl Simple for Stop {
    fn run(self, context: &Context) -> Outcome {
        let (pod, app) = self.named.find("stop", context)?;
        if pod.state().has_exited() {
            output::say(&format!("pod \"{}\" is already stopped", pod.uuid()));
            return Ok(ExitCode::SUCCESS);
        }
        guests::stop(&pod, &app)?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
#[command(
    about = "remove an app, stopping it first",
    after_help = "EXAMPLES:\n    rkt app rm 5bc080ca --app=web"
)]
pub(crate) struct Rm {
    #[command(flatten)]
    named: Named,
}

impl Simple for Rm {
    fn run(self, context: &Context) -> Outcome {
        let (pod, app) = self.named.find("remove", context)?;
        match pod.state() {
            State::Running => Changing::lock(&pod)?.remove(&app)?,
            state if state.has_exited() && guests::is_mutable(&pod)? => {
                guests::remove_from_exited(&pod, &app)?;
            }
            _ => {
                let text = format!("pod \"{}\" isn't currently running", pod.uuid());
                return Err(Failure::new(text));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
#[command(
    about = "list the apps of a pod",
    after_help = "EXAMPLES:\n    rkt app list 5bc080ca"
)]
pub(crate) struct List {
    /// The pod, by UUID or its beginning
    #[arg(value_name = "UUID")]
    pod: Option<String>,
    /// Leave the headings out
    #[arg(long)]
    no_legend: bool,
}

impl Simple for List {
    fn run(self, context: &Context) -> Outcome {
        let pod = pod(self.pod, context).map_err(|e| e.with_code(FAILED))?;
        let mut table = Table::new(&["NAME", "STATE"]);
        for app in PodReport::new(&pod, Detail::Files).apps {
            table.row(vec![app.name, app.state.as_str().to_owned()]);
        }
        table.print(!self.no_legend);
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
#[command(
    about = "tell the state of an app",
    after_help = "EXAMPLES:\n    rkt app status 5bc080ca --app=web --format=json"
)]
pub(crate) struct Status {
    #[command(flatten)]
    named: Named,
    /// json or json-pretty
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Simple for Status {
    fn run(self, context: &Context) -> Outcome {
        self.tell(context).map_err(|e| e.with_code(FAILED))
    }
}

impl Status {
    fn tell(self, context: &Context) -> Outcome {
        let format = Format::check(self.format.as_deref())?;
        let (pod, name) = self.named.find("look at", context)?;
        let report = PodReport::new(&pod, Detail::Verification(&context.store()?));
        let Some(app) = report.apps.into_iter().find(|app| app.name == name) else {
            return Err(Failure::new(format!(
                "cannot find app \"{name}\" in the pod"
            )));
        };
        match format {
            Format::Text => output::say(text(&app).trim_end()),
            Format::Json => output::json(&app, false)?,
            Format::JsonPretty => output::json(&app, true)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(app: &AppReport) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "{key}={value}");
    };
    line("name", app.name.clone());
    line("state", app.state.as_str().to_owned());
    line("image_id", app.image_id.clone());
    for (key, number) in [
        ("created_at", app.created_at),
        ("started_at", app.started_at),
        ("finished_at", app.finished_at),
        ("exit_code", app.exit_code.map(i64::from)),
    ] {
        if let Some(number) = number {
            line(key, number.to_string());
        }
    }
    if app.oom_killed {
        line("oom_killed", "true".to_owned());
    }
    if let Some(error) = &app.error {
        line("error", error.clone());
    }
    text
}
