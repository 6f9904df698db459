//! `rkt app`: the apps of a pod that changes while it runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use fetch::PullPolicy;
use manifests::appc::{ExposedPort, Mount, Quantity, Volume};
use manifests::network::parse_exposed;
use stage0::images::Images as PodImages;
use stage0::pods::{OwnedPod, Pod, State};
use stage0::prepare::request::{AppRequest, Overrides, PodRequest};
use stage0::prepare::{self, Blueprint, Layout};
use stage0::start::guests::{self, Changing};
use stage0::start::update;

use crate::cli::{
    self, Context, EnvironmentFlags, ImageFlags, Images, KeyValue, RuntimeFlags, Simple, WithImages,
};
use crate::failure::{FAILURE, Failure, Outcome};
use crate::output::{self, Format, Table};
use crate::report::{AppReport, Detail, MountReport, PodReport};
use crate::runtime::{self, How};
use crate::{fetching, wishes};

use super::OnePod;

/// Exit code of what the reference tells apart from all else.
const FAILED: u8 = 1;

#[derive(Debug, Args)]
#[command(
    about = "run a pod without apps, to which apps are added",
    after_help = "\
It runs until it is stopped, whatever becomes of its apps.

EXAMPLES:
    rkt app sandbox --detach --uuid-file-save=/run/my-pod
    rkt app sandbox --detach --port=web:tcp:80::8080
    rkt app add 5bc080ca example.com/web --name=web
    rkt app start 5bc080ca --app=web"
)]
pub(crate) struct Sandbox {
    #[command(flatten)]
    runtime: RuntimeFlags,
    /// A volume that added apps can mount: NAME,kind=host,source=PATH[,…] or NAME,kind=empty[,…]
    #[arg(long, value_name = "VOLUME", value_parser = cli::volume)]
    volume: Vec<Volume>,
    /// Unpack the images of added apps instead of mounting them
    #[arg(long)]
    no_overlay: bool,
    /// Annotation of the pod
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<KeyValue>,
    /// User annotation of the pod
    #[arg(long, value_name = "NAME=VALUE")]
    user_annotation: Vec<KeyValue>,
    /// User label of the pod
    #[arg(long, value_name = "NAME=VALUE")]
    user_label: Vec<KeyValue>,
    /// Make a port of the pod reachable on the host, whichever app will listen there:
    /// NAME:PROTOCOL:PODPORT:[IP]:HOSTPORT
    #[arg(long, value_name = "PORT", value_parser = parse_exposed)]
    port: Vec<ExposedPort>,
    /// Give the pod users of its own: root in it is nobody on the host
    #[arg(long)]
    private_users: bool,
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
        let mut runtime = runtime::runtime(&self.runtime, context)?;
        runtime.unpack = self.no_overlay;
        runtime::check_ports(self.port.len(), &runtime)?;
        let stage1 = context.stage1(self.stage1_path.as_deref())?;
        let store = context.store()?;
        let request = PodRequest {
            mutable: true,
            volumes: self.volume,
            annotations: wishes::names(self.annotation)?,
            user_annotations: cli::pairs(self.user_annotation),
            user_labels: cli::pairs(self.user_label),
            exposed: self.port,
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
        let how = How::new(&pod, &blueprint.manifest, &stage1, &self.runtime, context);
        let images = PodImages::new(&store);
        let layout = Layout {
            unpack: self.no_overlay,
            private_users: self.private_users,
        };
        wishes::fill(&mut pod, &blueprint, &images, layout, context)?;
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
    after_help = "\
It is started by rkt app start. The image must be stored, unless --pull-policy says otherwise.

EXAMPLES:
    rkt app add 5bc080ca example.com/web --name=web --memory=64M -- -v
    rkt app add 5bc080ca --mnt-volume=name=site,kind=host,source=/srv/site,target=/srv \\
        example.com/web"
)]
pub(crate) struct Add {
    #[command(flatten)]
    environment: EnvironmentFlags,
    #[command(flatten)]
    fetching: ImageFlags,
    /// A volume of this app alone, and where it is: name=NAME,target=PATH,kind=host,source=PATH[,…]
    /// or name=NAME,target=PATH,kind=empty[,…]
    #[arg(long, value_name = "VOLUME", value_parser = cli::mnt_volume)]
    mnt_volume: Vec<Mount>,
    /// Read the UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
}

impl WithImages for Add {
    const APP_ARGUMENTS: bool = true;

    fn run(self, mut images: Images, context: &Context) -> Outcome {
        // The first word that is no flag is the pod, unless a file has it.
        let typed = match &self.uuid_file {
            Some(file) => super::one_uuid(Vec::new(), Some(file), FAILURE)?,
            None if images.apps.is_empty() => {
                return Err(Failure::new("must provide the pod UUID and an image"));
            }
            None => {
                let pod = images.apps.remove(0);
                if !pod.bare {
                    return Err(Failure::new("the app's flags must follow its image"));
                }
                pod.reference
            }
        };
        if images.apps.len() != 1 {
            return Err(Failure::new("must give only one app"));
        }
        for app in &mut images.apps {
            app.flags.mount.extend(self.mnt_volume.iter().cloned());
        }
        let pod = context.pod(&typed)?;
        // What is no pod for it is told before anything is fetched; but nobody
        // is kept waiting by a fetch.
        drop(Changing::lock(&pod)?);
        let store = context.store()?;
        let policy = self.fetching.policy(|text| context.tell(text))?;
        let policy = policy.unwrap_or(PullPolicy::Never);
        let records = fetching::images(&images, policy, false, &store, context)?;
        context.check_trust(&records)?;
        let changing = Changing::lock(&pod)?;
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
            volumes: changing.volumes().to_vec(),
            mounts: images.mounts,
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
    #[command(flatten)]
    pod: OnePod,
    /// The app
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
}

impl Named {
    fn find(self, verb: &str, context: &Context) -> Result<(Pod, String), Failure> {
        let pod = self.pod.find(context)?;
        let app = self
            .app
            .ok_or_else(|| Failure::new(format!("must provide the app to {verb} (--app=NAME)")))?;
        Ok((pod, app))
    }
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
    about = "change the limits of an app that runs",
    after_help = "\
What is not named stays. A limit of a kind that the app was started without may need a start on
cgroup v1.

EXAMPLES:
    rkt app update 5bc080ca --app=web --memory=1Gi
    rkt app update 5bc080ca --app=web --cpu=1500m --cpu-shares=2048"
)]
pub(crate) struct Update {
    #[command(flatten)]
    named: Named,
    /// Memory the app may use (512M, 1Gi)
    #[arg(long, value_name = "QUANTITY")]
    memory: Option<Quantity>,
    /// Processor time the app may use, in cores (500m, 2)
    #[arg(long, value_name = "QUANTITY")]
    cpu: Option<Quantity>,
    /// Weight of the app's processor time, 2 to 262144
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=262_144))]
    cpu_shares: Option<u64>,
}

impl Simple for Update {
    fn run(self, context: &Context) -> Outcome {
        let (pod, app) = self.named.find("update", context)?;
        if self.memory.is_none() && self.cpu.is_none() && self.cpu_shares.is_none() {
            return Err(Failure::new(
                "must provide a limit to change (--memory, --cpu, --cpu-shares)",
            ));
        }
        let wishes = Overrides {
            memory: self.memory,
            cpu: self.cpu,
            cpu_shares: self.cpu_shares,
            ..Overrides::default()
        };
        let stage1 = context.stage1(None)?;
        let tell = &mut |text: &str| context.tell(text);
        update::update(&pod, &app, &wishes, &context.store()?, &stage1, tell)?;
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
            State::Running => {
                let tell = &mut |text: &str| context.tell(text);
                Changing::lock(&pod)?.remove(&app, &context.store()?, tell)?;
            }
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
    after_help = "EXAMPLES:\n    rkt app list 5bc080ca\n    rkt app list --format=json 5bc080ca | jq '.[].name'\n\n\
        With --format=json an app is an object as in rkt list."
)]
pub(crate) struct List {
    #[command(flatten)]
    pod: OnePod,
    /// Leave the headings out
    #[arg(long)]
    no_legend: bool,
    /// json or json-pretty
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Simple for List {
    fn run(self, context: &Context) -> Outcome {
        self.list(context).map_err(|e| e.with_code(FAILED))
    }
}

impl List {
    fn list(self, context: &Context) -> Outcome {
        let format = Format::check(self.format.as_deref())?;
        let pod = self.pod.find(context)?;
        let apps = PodReport::new(&pod, Detail::Files).apps;
        if format != Format::Text {
            output::json(&apps, format == Format::JsonPretty)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new(&["NAME", "STATE"]);
        for app in apps {
            table.row(vec![app.name, app.state.as_str().to_owned()]);
        }
        table.print(!self.no_legend);
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
#[command(
    about = "tell the state of an app",
    long_about = "Tell the state of an app, one key=value a line: name, state, image_id, \
        created_at, started_at, finished_at (nanoseconds), exit_code, mounts \
        (HOST:APP:(read_only:BOOL),…), user_annotations, user_labels, signal, oom_killed, ready, \
        restarting, restarts, last_exit, error; what is not known is left out.\n\n\
        With --format=json the app is an object as in rkt list.",
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

/// `key=value` lines, in the order of the reference; what it does not know
/// stands behind. Lists are joined by commas.
fn text(app: &AppReport) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}={value}");
    };
    line("name", &app.name);
    line("state", app.state.as_str());
    line("image_id", &app.image_id);
    for (key, number) in [
        ("created_at", app.created_at),
        ("started_at", app.started_at),
        ("finished_at", app.end.finished_at),
        ("exit_code", app.end.exit_code.map(i64::from)),
    ] {
        if let Some(number) = number {
            line(key, &number.to_string());
        }
    }
    let mount = |mount: &MountReport| {
        let MountReport {
            host_path,
            container_path,
            read_only,
            ..
        } = mount;
        format!("{host_path}:{container_path}:(read_only:{read_only})")
    };
    let pairs = |pairs: &BTreeMap<String, String>| {
        let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>()
    };
    for (key, items) in [
        ("mounts", app.mounts.iter().map(mount).collect()),
        ("user_annotations", pairs(&app.user_annotations)),
        ("user_labels", pairs(&app.user_labels)),
    ] {
        if !items.is_empty() {
            line(key, &items.join(","));
        }
    }
    if let Some(signal) = app.end.signal {
        line("signal", &signal.to_string());
    }
    for (key, holds) in [
        ("oom_killed", app.end.oom_killed),
        ("ready", app.ready),
        ("restarting", app.restarting),
    ] {
        if holds {
            line(key, "true");
        }
    }
    if app.restarts > 0 {
        line("restarts", &app.restarts.to_string());
    }
    if let Some(last) = &app.last_exit {
        line("last_exit", &last.to_string());
    }
    if let Some(error) = &app.error {
        line("error", error);
    }
    for limit in &app.unlimited {
        line("unlimited", limit);
    }
    text
}
