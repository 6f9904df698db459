//! Groups of flags that several verbs share.
//!
//! The structures have no doc comments: clap would take them for what the verb
//! is about.

use std::path::PathBuf;

use clap::Args;
use fetch::PullPolicy;
use manifests::appc::{AcName, ExposedPort, Mount, Quantity, Volume};
use manifests::engine::Restart;
use manifests::network::{PortFlag, parse_exposed};
use stage0::prepare::Layout;

use super::values::{self, KeyValue, SeccompFlag};

// Flags of one image; they follow it on the line.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "PER-APP OPTIONS (after the image)")]
pub(crate) struct AppFlags {
    /// Name of the app [default: last part of the image's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<AcName>,
    /// Program to run instead of the image's
    #[arg(long, value_name = "PATH")]
    pub(crate) exec: Option<String>,
    /// Put the arguments behind -- in the place of the image's own (OCI's Cmd), not behind them
    #[arg(long)]
    pub(crate) replace_arguments: bool,
    /// Directory the program starts in
    #[arg(long, value_name = "PATH")]
    pub(crate) working_dir: Option<String>,
    /// User name, number, or a file of the image whose owner is meant
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Group name, number, or a file of the image whose group is meant
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Supplementary groups instead of the image's
    #[arg(long, value_name = "GID,…", value_delimiter = ',')]
    pub(crate) supplementary_gids: Vec<u32>,
    /// Environment variable, over the image's
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) environment: Vec<KeyValue>,
    /// Mount a volume; before the first image: in every app
    #[arg(long, value_name = "volume=NAME,target=PATH", value_parser = values::mount)]
    pub(crate) mount: Vec<Mount>,
    /// Mount the root file system read-only
    #[arg(long, value_name = "BOOL", value_parser = values::boolean)]
    pub(crate) readonly_rootfs: Option<bool>,
    /// Annotation of the app in the pod manifest
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) annotation: Vec<KeyValue>,
    /// User annotations instead of the image's
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) user_annotation: Vec<KeyValue>,
    /// User labels instead of the image's
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) user_label: Vec<KeyValue>,
    /// Detached signature of the image
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// Memory the app may use (512M, 1Gi)
    #[arg(long, value_name = "QUANTITY")]
    pub(crate) memory: Option<Quantity>,
    /// Processor time the app may use, in cores (500m, 2)
    #[arg(long, value_name = "QUANTITY")]
    pub(crate) cpu: Option<Quantity>,
    /// Weight of the app's processor time, 2 to 262144
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=262_144))]
    pub(crate) cpu_shares: Option<u64>,
    /// Keep exactly these capabilities
    #[arg(long, alias = "cap-retain", value_name = "CAP_A,…", value_delimiter = ',', value_parser = values::capability)]
    pub(crate) caps_retain: Vec<String>,
    /// Take these capabilities out of the default set
    #[arg(long, alias = "cap-remove", value_name = "CAP_A,…", value_delimiter = ',', value_parser = values::capability)]
    pub(crate) caps_remove: Vec<String>,
    /// System calls to allow or to forbid: mode=retain|remove[,errno=EXXX],ITEM…
    #[arg(long, value_name = "FILTER")]
    pub(crate) seccomp: Option<SeccompFlag>,
    /// Value of the app's oom_score_adj, -1000 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub(crate) oom_score_adj: Option<i32>,
    /// Start it again when it ends: no, on-failure[:TIMES] (in a row), always
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<Restart>,
    /// When it is ready: started, notify (it says so by sd_notify), exec:PATH [ARGUMENTS] (a
    /// program of the app ends with 0) [default: started, or what the image says]
    #[arg(long, value_name = "WHEN", value_parser = values::readiness)]
    pub(crate) ready: Option<String>,
    /// Signal that asks it to stop [default: what the image says, else SIGTERM]
    #[arg(long, value_name = "SIGNAL", value_parser = values::signal)]
    pub(crate) stop_signal: Option<String>,
    /// Time from that signal to SIGKILL; a bare number is seconds [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = values::grace)]
    pub(crate) stop_timeout: Option<u32>,
    /// Whether it may speak to the service manager for the pod by sd_notify (watchdog, status,
    /// reload, more time): unit or none [default: unit for a pod's only app]
    #[arg(long, value_name = "WHOSE", value_parser = ["unit", "none"])]
    pub(crate) notify_access: Option<String>,
    /// Credentials of the unit that it gets, or "*" [default: "*" for a pod's only app]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) credentials: Vec<String>,
    /// Sockets of the unit that it gets besides those of its ports, or "*" [default: "*" for a
    /// pod's only app]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) sockets: Vec<String>,
    /// Standard input: null, stream or tty (see rkt attach) [default: null]
    #[arg(long, value_name = "MODE", value_parser = values::stdin)]
    pub(crate) stdin: Option<String>,
    /// Standard output: log, null, stream or tty [default: log]
    #[arg(long, value_name = "MODE", value_parser = values::stdout)]
    pub(crate) stdout: Option<String>,
    /// Standard error: log, null, stream or tty [default: log]
    #[arg(long, value_name = "MODE", value_parser = values::stdout)]
    pub(crate) stderr: Option<String>,
}

// What a pod is made of, besides its images.
#[derive(Debug, Clone, Args)]
pub(crate) struct PodFlags {
    /// A volume: NAME,kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL] or
    /// NAME,kind=empty[,mode=OCTAL][,uid=N][,gid=N][,readOnly=BOOL]
    #[arg(long, value_name = "VOLUME", value_parser = values::volume)]
    pub(crate) volume: Vec<Volume>,
    /// Make a port of an app reachable on the host: NAME:[IP:]PORT, or PORT-LAST where the app
    /// has several
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Vec<PortFlag>,
    /// Make a port of the pod reachable on the host, whether an app declares it or not:
    /// NAME:PROTOCOL:PORT:[IP]:HOSTPORT
    #[arg(long, value_name = "PORT", value_parser = parse_exposed)]
    pub(crate) publish: Vec<ExposedPort>,
    /// Run exactly this pod manifest, whose images are stored already
    #[arg(long, value_name = "FILE")]
    pub(crate) pod_manifest: Option<PathBuf>,
    /// Unpack the images instead of mounting them
    #[arg(long)]
    pub(crate) no_overlay: bool,
    /// Give the pod users of its own: root in it is nobody on the host
    #[arg(long)]
    pub(crate) private_users: bool,
    /// The pod's supervisor [default: rkt-stage1 beside rkt]
    #[arg(long, value_name = "FILE")]
    pub(crate) stage1_path: Option<PathBuf>,
}

impl PodFlags {
    /// How the pod's files are laid out.
    pub(crate) fn layout(&self) -> Layout {
        Layout {
            unpack: self.no_overlay,
            private_users: self.private_users,
        }
    }
}

// The environment of every app of a pod.
#[derive(Debug, Clone, Args)]
pub(crate) struct EnvironmentFlags {
    /// Pass on what rkt was started with, where the app does not say otherwise
    #[arg(long)]
    pub(crate) inherit_env: bool,
    /// Set a variable in every app
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set_env: Vec<KeyValue>,
    /// Set the variables of a file (NAME=VALUE lines) in every app
    #[arg(long, value_name = "FILE")]
    pub(crate) set_env_file: Vec<PathBuf>,
}

// How images that are not stored are found.
#[derive(Debug, Clone, Args)]
pub(crate) struct ImageFlags {
    /// When to ask where the image came from
    #[arg(long, value_name = "new|update|never")]
    pub(crate) pull_policy: Option<PullPolicy>,
    /// What --pull-policy=never says
    #[arg(long, hide = true)]
    store_only: bool,
    /// What --pull-policy=update says
    #[arg(long, hide = true)]
    no_store: bool,
}

impl ImageFlags {
    /// The policy that was asked for, in old words or new ones; `tell` hears
    /// which words are old.
    pub(crate) fn policy(
        &self,
        tell: impl Fn(&str),
    ) -> Result<Option<PullPolicy>, crate::failure::Failure> {
        let old = match (self.store_only, self.no_store) {
            (false, false) => return Ok(self.pull_policy),
            (true, true) => {
                return Err(crate::failure::Failure::new(
                    "both --store-only and --no-store specified",
                ));
            }
            (true, false) => ("store-only", PullPolicy::Never, "never"),
            (false, true) => ("no-store", PullPolicy::Update, "update"),
        };
        let (flag, policy, word) = old;
        tell(&format!(
            "Flag --{flag} has been deprecated, please use --pull-policy={word}"
        ));
        match self.pull_policy {
            Some(other) if other != policy => Err(crate::failure::Failure::new(format!(
                "--{flag} and --pull-policy contradict each other"
            ))),
            _ => Ok(Some(policy)),
        }
    }
}

// What a pod shares with the host while it runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct RuntimeFlags {
    /// Networks of the pod: none (loopback only), host (the caller's), all, or names of those that
    /// "rkt network list" shows, each with arguments for its plugins (NAME:K=V;K=V) [default:
    /// default]
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "default")]
    pub(crate) net: Vec<String>,
    /// Name servers for /etc/resolv.conf, or "host" for the host's file, or "none" for the image's
    /// [default: what the networks say]
    #[arg(long, value_name = "IP,…")]
    pub(crate) dns: Vec<String>,
    /// Domain to search names in
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// Option of the resolver
    #[arg(long, value_name = "OPTION")]
    pub(crate) dns_opt: Vec<String>,
    /// Local domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_domain: Option<String>,
    /// Entry for /etc/hosts, or "host" for the host's file
    #[arg(long, value_name = "IP=NAME,…")]
    pub(crate) hosts_entry: Vec<String>,
    /// Host name of the pod [default: rkt-UUID]
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// IPC namespace of the pod: auto, private or parent
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = ["auto", "private", "parent"])]
    pub(crate) ipc: String,
    /// Give the app this terminal (one app only)
    #[arg(long)]
    pub(crate) interactive: bool,
    /// Let the metadata service (rkt metadata-service) tell the apps who they are
    #[arg(long)]
    pub(crate) mds_register: bool,
    /// Leave the pod running on its own, under systemd as a service, and print its UUID once its
    /// apps have started; what they write is kept for rkt logs
    #[arg(long)]
    pub(crate) detach: bool,
    /// Most that is kept of what each app of a detached pod writes, where there is no journald
    #[arg(long, value_name = "QUANTITY", default_value = "16Mi")]
    pub(crate) log_size: Quantity,
}
