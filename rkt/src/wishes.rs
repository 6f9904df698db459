//! From flags to a pod: what `run` and `prepare` have in common.

use std::path::Path;

use fetch::PullPolicy;
use image_store::Store;
use manifests::appc::{AcIdentifier, EnvironmentName, NameError};
use stage0::behaviour;
use stage0::given;
use stage0::images::Images;
use stage0::pods::OwnedPod;
use stage0::prepare::request::{
    AppRequest, Capabilities, Overrides, PodEnvironment, PodRequest, Seccomp,
};
use stage0::prepare::{self, Blueprint, Layout, environment};

use crate::cli::{
    self, AppFlags, Context, EnvironmentFlags, ImageFlags, KeyValue, PodFlags, SeccompFlag,
};
use crate::failure::Failure;
use crate::fetching;

/// Everything on a line that says what a pod is made of.
#[derive(Debug)]
pub(crate) struct Wishes<'a> {
    pub(crate) images: cli::Images,
    pub(crate) pod: &'a PodFlags,
    pub(crate) environment: &'a EnvironmentFlags,
    pub(crate) fetching: &'a ImageFlags,
    pub(crate) quiet: bool,
}

impl Wishes<'_> {
    /// The pod that is wished for, its images fetched if need be.
    pub(crate) fn blueprint(self, store: &Store, context: &Context) -> Result<Blueprint, Failure> {
        if let Some(file) = &self.pod.pod_manifest {
            self.check_manifest_alone(context)?;
            let blueprint = Blueprint::from_file(file, store)?;
            context.check_trust(&blueprint.images)?;
            return Ok(blueprint);
        }
        if self.images.apps.is_empty() {
            return Err(Failure::new(
                "must provide at least one image or specify the pod manifest",
            ));
        }
        let environment = pod_environment(self.environment)?;
        let policy = self.fetching.policy(|text| context.tell(text))?;
        let policy = policy.unwrap_or(PullPolicy::New);
        let records = fetching::images(&self.images, policy, self.quiet, store, context)?;
        context.check_trust(&records)?;
        let apps = self.images.apps.into_iter().zip(&records);
        let apps = apps.map(|(typed, record)| {
            Ok(AppRequest {
                image: record.clone(),
                overrides: overrides(typed.flags)?,
                arguments: typed.args,
            })
        });
        let request = PodRequest {
            apps: apps.collect::<Result<_, Failure>>()?,
            volumes: self.pod.volume.clone(),
            mounts: self.images.mounts,
            ports: self.pod.port.clone(),
            exposed: self.pod.publish.clone(),
            environment,
            ..PodRequest::default()
        };
        let caller = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        Ok(Blueprint {
            manifest: prepare::compose(&request, caller)?,
            text: None,
            images: records,
        })
    }

    /// A manifest says everything; a flag that adds to it would be ignored.
    fn check_manifest_alone(&self, context: &Context) -> Result<(), Failure> {
        let EnvironmentFlags {
            inherit_env,
            set_env,
            set_env_file,
        } = self.environment;
        let policy = self.fetching.policy(|text| context.tell(text))?;
        let conflict = !self.images.apps.is_empty()
            || !self.images.mounts.is_empty()
            || !self.pod.volume.is_empty()
            || !self.pod.port.is_empty()
            || !self.pod.publish.is_empty()
            || *inherit_env
            || !set_env.is_empty()
            || !set_env_file.is_empty()
            || matches!(policy, Some(PullPolicy::Never | PullPolicy::Update));
        if conflict {
            return Err(Failure::new(
                "conflicting flags set with --pod-manifest (see --help)",
            ));
        }
        Ok(())
    }
}

/// Fills a new pod; it removes itself if that fails.
pub(crate) fn fill(
    pod: &mut OwnedPod,
    blueprint: &Blueprint,
    images: &Images<'_>,
    layout: Layout,
    context: &Context,
) -> Result<(), Failure> {
    let tell = &mut |text: &str| context.tell(text);
    Ok(prepare::fill(pod, blueprint, images, layout, tell)?)
}

pub(crate) fn pod_environment(flags: &EnvironmentFlags) -> Result<PodEnvironment, Failure> {
    let mut environment = PodEnvironment::default();
    if flags.inherit_env {
        // Names and values that JSON or the schema cannot hold stay behind.
        environment.inherited = std::env::vars_os()
            .filter(|(name, _)| !given::is_of_us(name.as_encoded_bytes()))
            .filter_map(|(name, value)| {
                let name: EnvironmentName = name.to_str()?.parse().ok()?;
                Some((name, value.into_string().ok()?))
            })
            .collect();
    }
    for file in &flags.set_env_file {
        let text = read(file)?;
        environment::read_file(file, &text, &mut environment.files)?;
    }
    for KeyValue(key, value) in &flags.set_env {
        let name: EnvironmentName = key.parse()?;
        if environment.set.iter().any(|(other, _)| *other == name) {
            return Err(Failure::new(format!("key {key:?} already set")));
        }
        environment.set.push((name, value.clone()));
    }
    Ok(environment)
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|e| Failure::because(format!("cannot read the environment from {file:?}"), e))
}

pub(crate) fn overrides(flags: AppFlags) -> Result<Overrides, Failure> {
    let capabilities = match (flags.caps_retain.is_empty(), flags.caps_remove.is_empty()) {
        (true, true) => None,
        (false, true) => Some(Capabilities::Retain(flags.caps_retain)),
        (true, false) => Some(Capabilities::Remove(flags.caps_remove)),
        (false, false) => {
            return Err(Failure::new(
                "error: cannot use both --caps-retain and --caps-remove on the same image",
            ));
        }
    };
    let mut annotations = names::<AcIdentifier>(flags.annotation)?;
    for (name, value) in [
        (behaviour::RESTART, flags.restart.map(|r| r.to_string())),
        (behaviour::READY, flags.ready),
        (behaviour::STOP_SIGNAL, flags.stop_signal),
        (
            behaviour::STOP_TIMEOUT,
            flags.stop_timeout.map(|seconds| seconds.to_string()),
        ),
        (behaviour::NOTIFY_ACCESS, flags.notify_access),
        (behaviour::CREDENTIALS, joined(flags.credentials)),
        (behaviour::SOCKETS, joined(flags.sockets)),
        (behaviour::STDIN, flags.stdin),
        (behaviour::STDOUT, flags.stdout),
        (behaviour::STDERR, flags.stderr),
    ] {
        if let Some(value) = value {
            // Before what was typed as --annotation: the first one counts.
            annotations.insert(0, (name.parse()?, value));
        }
    }
    Ok(Overrides {
        name: flags.name,
        exec: flags.exec,
        replace_arguments: flags.replace_arguments,
        working_directory: flags.working_dir,
        user: flags.user,
        group: flags.group,
        supplementary_gids: flags.supplementary_gids,
        environment: names::<EnvironmentName>(flags.environment)?,
        mounts: flags.mount,
        read_only_rootfs: flags.readonly_rootfs,
        annotations,
        user_annotations: cli::pairs(flags.user_annotation),
        user_labels: cli::pairs(flags.user_label),
        memory: flags.memory,
        cpu: flags.cpu,
        cpu_shares: flags.cpu_shares,
        capabilities,
        seccomp: flags.seccomp.map(|SeccompFlag { retain, set }| {
            if retain {
                Seccomp::Retain(set)
            } else {
                Seccomp::Remove(set)
            }
        }),
        oom_score_adj: flags.oom_score_adj,
    })
}

/// The names of a flag that was there.
fn joined(names: Vec<String>) -> Option<String> {
    (!names.is_empty()).then(|| names.join(","))
}

/// Pairs whose keys have to be names of a kind.
pub(crate) fn names<N: std::str::FromStr<Err = NameError>>(
    flags: Vec<KeyValue>,
) -> Result<Vec<(N, String)>, NameError> {
    flags
        .into_iter()
        .map(|KeyValue(key, value)| Ok((key.parse()?, value)))
        .collect()
}
