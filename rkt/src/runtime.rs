//! From flags to a running pod: what `run` and `run-prepared` have in common.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use manifests::appc::PodManifest;
use manifests::engine::{Ipc, Logs, Network};
use manifests::network::{DnsFlags, Hosts, NetChoice, Resolver};
use stage0::given::Given;
use stage0::images::Images;
use stage0::journal;
use stage0::metadata;
use stage0::networks;
use stage0::pods::OwnedPod;
use stage0::prepare::Blueprint;
use stage0::sockets::Passed;
use stage0::stage1::Stage1;
use stage0::start::{self, PodUnit, Runtime, StartError};

use crate::cli::{Context, RuntimeFlags};
use crate::failure::{FAILURE, Failure, Outcome};
use crate::output::say;

/// What the flags mean.
pub(crate) fn runtime(flags: &RuntimeFlags, context: &Context) -> Result<Runtime, Failure> {
    let dns = DnsFlags {
        servers: flags.dns.clone(),
        search: flags.dns_search.clone(),
        options: flags.dns_opt.clone(),
        domain: flags.dns_domain.clone().unwrap_or_default(),
    };
    let resolver = Resolver::parse(&dns)?;
    let sockets = Passed::take()
        .map_err(|e| Failure::because("cannot take over the sockets of LISTEN_FDS", e))?;
    let network = network(&flags.net, &resolver, context)?;
    Ok(Runtime {
        hostname: flags.hostname.clone(),
        metadata: metadata(flags, &network, context)?,
        network,
        ipc: match flags.ipc.as_str() {
            "parent" => Ipc::Parent,
            _ => Ipc::Private,
        },
        resolver,
        hosts: Hosts::parse(flags.hosts_entry.iter().map(String::as_str))?,
        interactive: flags.interactive,
        sockets,
        given: Given::of_environment(),
        logs: logs(flags)?,
        insecure: context.insecure(),
        unpack: false,
    })
}

/// The socket of the metadata service, which must run; asked before the pod is
/// made.
fn metadata(
    flags: &RuntimeFlags,
    network: &Network,
    context: &Context,
) -> Result<Option<PathBuf>, Failure> {
    if !flags.mds_register {
        return Ok(None);
    }
    let socket = metadata::socket(context.data_dir()?);
    metadata::host_address(network)?;
    metadata::check(&socket)?;
    Ok(Some(socket))
}

/// Least that may be kept of an app's output: a few long lines.
const SMALLEST_LOG: u64 = 64 << 10;

/// What a detached pod's apps write goes to journald, where it is, and else to
/// files, of which an app has two, each half as long as what is kept. In the
/// foreground it is the caller's; but what would go to journald anyway goes
/// there as the apps' own.
fn logs(flags: &RuntimeFlags) -> Result<Option<Logs>, Failure> {
    let size = u64::try_from(flags.log_size.units()).unwrap_or(0);
    if size < SMALLEST_LOG {
        return Err(Failure::new(format!(
            "log size of {size} bytes too low. Try a reasonable value, such as --log-size=16Mi"
        )));
    }
    if flags.detach {
        return Ok(Some(match journal::is_present() {
            true => Logs::Journal {
                output: true,
                error: true,
            },
            false => Logs::Files { limit: size / 2 },
        }));
    }
    let output = journal::is_stream(std::io::stdout().as_fd());
    let error = journal::is_stream(std::io::stderr().as_fd());
    Ok((output || error).then_some(Logs::Journal { output, error }))
}

/// In what a pod is to run.
pub(crate) struct How<'a> {
    stage1: &'a Stage1,
    detach: bool,
    unit: Option<PodUnit>,
}

impl<'a> How<'a> {
    /// For a pod that has its directory. systemd is asked for the unit that the
    /// pod needs, which it makes while the pod is prepared.
    pub(crate) fn new(
        pod: &OwnedPod,
        manifest: &PodManifest,
        stage1: &'a Stage1,
        flags: &RuntimeFlags,
        context: &Context,
    ) -> Self {
        let tell = &mut |text: &str| context.tell(text);
        let unit = match flags.detach && flags.interactive {
            // That is refused.
            true => None,
            false => PodUnit::ask(pod, manifest, stage1, flags.detach, tell),
        };
        Self {
            stage1,
            detach: flags.detach,
            unit,
        }
    }
}

/// Starts the pod the way the flags say: this process becomes its supervisor,
/// or leaves it to one of its own.
pub(crate) fn start(
    pod: OwnedPod,
    blueprint: &Blueprint,
    images: &Images<'_>,
    runtime: &Runtime,
    how: How<'_>,
    context: &Context,
) -> Outcome {
    let tell = &mut |text: &str| context.tell(text);
    let engine = (how.stage1, how.unit);
    if !how.detach {
        match start::start(pod, blueprint, images, runtime, engine, tell)? {}
    }
    let uuid = pod.uuid();
    match start::detach(pod, blueprint, images, runtime, engine, tell) {
        Ok(()) => say(&uuid.to_string()),
        Err(e) => {
            let code = match &e {
                StartError::Died { status, .. } => *status,
                _ => FAILURE,
            };
            return Err(Failure::from(e).with_code(code));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn network(values: &[String], resolver: &Resolver, context: &Context) -> Result<Network, Failure> {
    let choice = NetChoice::parse(values.iter().map(String::as_str))?;
    let tell = &mut |text: &str| context.tell(text);
    Ok(networks::plan(
        &choice,
        &context.network_layers(),
        resolver,
        tell,
    )?)
}

/// Ports lead nowhere without a network of the pod's own.
pub(crate) fn check_ports(ports: usize, runtime: &Runtime) -> Result<(), Failure> {
    // They may be for sockets, which are the host's anyway.
    if !runtime.sockets.is_empty() {
        return Ok(());
    }
    let name = match &runtime.network {
        Network::None => "none",
        Network::Host => "host",
        Network::Private(_) => return Ok(()),
    };
    if ports == 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "--port flag does not work with '{name}' networking"
    )))
}
