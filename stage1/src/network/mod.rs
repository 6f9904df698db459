//! A pod's network: joining, leaving, and what lies between.
//!
//! ```text
//!  join:   record ─▶ ADD, plugin by plugin, network by network ─▶ ports ─▶ firewall
//!  leave:  DEL, the other way round ─▶ firewall ─▶ namespace's path ─▶ record
//!  between: CHECK, STATUS, GC, and a firewall that others reload
//! ```
//!
//! Configurations are CNI's. Plugins of the common types are built in and
//! speak netlink; any other is a program. What is taken in the host's view is
//! named after the pod's UUID, so that [`leave`] finds it from the record
//! alone, however far [`join`] came, and as often as it is called.
//!
//! The caller makes the pod's network namespace and hands in its descriptor;
//! nothing here depends on how the pod is run.

mod error;
mod execute;
mod guard;
mod lease;
mod namespace;
mod netlink;
mod nft;
mod plugins;
mod ports;
mod reclaim;
mod record;
mod register;
mod session;
mod sysctl;
mod upkeep;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use manifests::cni::{Args, CniResult, Dns, NetworkConfig, Plugin};
use manifests::engine::PrivateNetwork;
use manifests::network::render_resolv_conf;

pub use error::{Error, PluginError, Result};
pub use guard::Guard;
pub use session::Pod;
pub use upkeep::{check, collect, status};

use netlink::link::Change;
use ports::Carrier;
use session::{Attach, Session, builtin, missing_nftables};

/// How long a plugin's program may take, unless the caller says otherwise.
pub const PLUGIN_DEADLINE: Duration = Duration::from_secs(60);

/// What the supervisor holds while the pod is joined.
#[derive(Debug)]
pub struct Joined {
    /// The text of the apps' `resolv.conf`, where a network had something to
    /// say and the user had not.
    pub resolv_conf: Option<String>,
    /// For the user's eyes.
    pub warnings: Vec<String>,
    /// The pod's part of the firewall, if it has any.
    pub guard: Option<Guard>,
    /// The claims to the host's ports.
    pub ports: Vec<OwnedFd>,
}

/// Joins the networks of `plan`, with the pod's interfaces in `netns`.
///
/// # Errors
/// Whatever stood in the way; all that had been done is undone then, and what
/// cannot be undone stays on record for [`leave`].
pub fn join(pod: Pod<'_>, plan: &PrivateNetwork, netns: BorrowedFd<'_>) -> Result<Joined> {
    check_plan(pod, plan)?;
    record::begin(pod)?;
    try_join(pod, plan, netns).inspect_err(|_| {
        // The first error is the one to tell; gc tries again and tells others.
        let _ = leave(pod, plan, Namespace::Lives(netns));
    })
}

/// Finds out what can be found out before anything is done.
fn check_plan(pod: Pod<'_>, plan: &PrivateNetwork) -> Result<()> {
    for attachment in &plan.attachments {
        let check = || {
            Args::parse(&attachment.args)?;
            for plugin in &attachment.config.plugins {
                if builtin(plugin)?.is_none() {
                    execute::find(&plugin.kind, pod.plugin_path)?;
                }
            }
            Ok(())
        };
        check().map_err(|e: Error| e.of(&attachment.config.name))?;
    }
    Ok(())
}

fn try_join(pod: Pod<'_>, plan: &PrivateNetwork, netns: BorrowedFd<'_>) -> Result<Joined> {
    let mut session = Session::open(pod, Some(netns))?;
    session.request_inside(
        "bring up the pod's interface",
        "lo",
        vec![Change::up().message(1)],
    )?;

    let args: Vec<Args> = parse_args(plan)?;
    let attach = |number: usize| attach_of(plan, number, &args[number]);
    let mut results: Vec<CniResult> = Vec::new();
    for (number, attachment) in plan.attachments.iter().enumerate() {
        let join = |session: &mut Session<'_>| {
            let result = join_one(session, attach(number))?;
            check_apart(plan, &results, &result)?;
            Ok(result)
        };
        let result = join(&mut session).map_err(|e: Error| e.of(&attachment.config.name))?;
        results.push(result);
    }

    let claims = match own_carrier(plan) {
        Some(number) => {
            let carrier = Carrier {
                attach: attach(number),
                result: &results[number],
            };
            ports::forward(&mut session, carrier, &plan.ports)?
        }
        None => Vec::new(),
    };
    let part = std::mem::take(&mut session.firewall);
    let guard = if part.is_empty() {
        None
    } else {
        // The ear first, so that no change falls between.
        let guard = Guard::new(part.clone())?;
        Session::nft()?.add(&part).map_err(missing_nftables)?;
        Some(guard)
    };
    let infos: Vec<_> = results
        .iter()
        .enumerate()
        .map(|(n, result)| record::info(pod, attach(n), result))
        .collect();
    record::publish(pod, &infos)?;
    let (dns, warnings) = dns_of(plan, &results);
    Ok(Joined {
        resolv_conf: dns
            .map(|(name, dns)| render_resolv_conf(dns, &format!("from network {name}"))),
        warnings,
        guard,
        ports: claims,
    })
}

fn parse_args(plan: &PrivateNetwork) -> Result<Vec<Args>> {
    plan.attachments
        .iter()
        .map(|a| Ok(Args::parse(&a.args)?))
        .collect()
}

fn attach_of<'a>(plan: &'a PrivateNetwork, number: usize, args: &'a Args) -> Attach<'a> {
    let attachment = &plan.attachments[number];
    let leads = carrier(plan) == Some(number) && leads_ports(&attachment.config);
    Attach {
        config: &attachment.config,
        if_name: &attachment.if_name,
        args: (&attachment.args, args),
        number,
        ports: if leads { &plan.ports } else { &[] },
    }
}

fn join_one(session: &mut Session<'_>, attach: Attach<'_>) -> Result<CniResult> {
    record::intend(session.pod, attach)?;
    // Until its programs have been told of the pod, nobody shall tell them to
    // forget it.
    let _register = register::enter(session.pod, attach)?;
    let mut result = None;
    for plugin in &attach.config.plugins {
        result = Some(plugins::add(session, plugin, attach, result)?);
    }
    let result = result.unwrap_or_default();
    record::joined(session.pod, attach.if_name, &result)?;
    Ok(result)
}

/// A pod that is in one subnet twice has two ways to its neighbours, of which
/// one is wrong.
fn check_apart(plan: &PrivateNetwork, before: &[CniResult], new: &CniResult) -> Result<()> {
    for (attachment, other) in plan.attachments.iter().zip(before) {
        for (a, b) in new
            .ips
            .iter()
            .flat_map(|a| other.ips.iter().map(move |b| (a, b)))
        {
            let (subnet, other) = (a.address.trunc(), b.address.trunc());
            if subnet.contains(&other) || other.contains(&subnet) {
                return Err(Error::Overlap {
                    subnet,
                    other,
                    whose: format!("network {:?}", attachment.config.name),
                });
            }
        }
    }
    Ok(())
}

/// Whether a program in the chain leads ports into the pod.
fn leads_ports(config: &NetworkConfig) -> bool {
    config
        .plugins
        .iter()
        .any(|plugin| plugin.has_capability("portMappings") && matches!(builtin(plugin), Ok(None)))
}

/// The network that carries the ports, if there are any and they are ours to
/// forward.
fn own_carrier(plan: &PrivateNetwork) -> Option<usize> {
    let number = carrier(plan).filter(|_| !plan.ports.is_empty())?;
    (!leads_ports(&plan.attachments[number].config)).then_some(number)
}

/// The network that carries the forwarded ports: the first with a `portmap` or
/// its like in its chain, else the first that masquerades, else the last.
fn carrier(plan: &PrivateNetwork) -> Option<usize> {
    let find = |test: &dyn Fn(&NetworkConfig) -> bool| {
        plan.attachments.iter().position(|a| test(&a.config))
    };
    let leads = |p: &Plugin| p.kind == "portmap" || p.has_capability("portMappings");
    find(&|config| config.plugins.iter().any(leads))
        .or_else(|| find(&NetworkConfig::ip_masq))
        .or_else(|| plan.attachments.len().checked_sub(1))
}

/// What the first network with something to say says about name resolution.
fn dns_of<'a>(
    plan: &'a PrivateNetwork,
    results: &'a [CniResult],
) -> (Option<(&'a str, &'a Dns)>, Vec<String>) {
    if !plan.use_dns {
        return (None, Vec::new());
    }
    let mut all = plan
        .attachments
        .iter()
        .zip(results)
        .filter(|(_, result)| !result.dns.is_empty())
        .map(|(attachment, result)| (attachment.config.name.as_str(), &result.dns));
    let first = all.next();
    let warnings = all
        .map(|(name, _)| {
            format!("network {name} plugin specified DNS configuration, but DNS already supplied")
        })
        .collect();
    (first, warnings)
}

/// What has become of a pod's network namespace when the pod leaves.
#[derive(Debug, Clone, Copy)]
pub enum Namespace<'a> {
    /// It goes on.
    Lives(BorrowedFd<'a>),
    /// No process is in it, and it ends when the caller lets go of it: the
    /// kernel then removes the pod's interfaces, which takes it 10 ms or more
    /// that nobody needs to wait for.
    Ends(BorrowedFd<'a>),
    /// Nobody has it, unless a program was given it by a path.
    Gone,
}

/// Leaves the networks of `plan`, as far as they were joined. It may be called
/// again at any time.
///
/// # Errors
/// All that went wrong; the rest has been done, and what went wrong is still
/// on record.
pub fn leave(
    pod: Pod<'_>,
    plan: &PrivateNetwork,
    namespace: Namespace<'_>,
) -> std::result::Result<(), Vec<Error>> {
    // The path holds it.
    let published;
    let netns = match namespace {
        Namespace::Lives(netns) | Namespace::Ends(netns) => Some(netns),
        Namespace::Gone => {
            published = File::open(namespace::path_of(pod.uuid)).ok();
            published.as_ref().map(File::as_fd)
        }
    };
    let mut session = Session::open(pod, netns)
        // A plain file where a mount should be, after a crash.
        .or_else(|_| Session::open(pod, None))
        .map_err(|e| vec![e])?;
    session.assume_published();
    session.ending = matches!(namespace, Namespace::Ends(_));
    let mut errors = Vec::new();
    for (number, attachment) in plan.attachments.iter().enumerate().rev() {
        if record::intended(pod, &attachment.if_name) {
            errors.extend(leave_one(&mut session, plan, number));
        }
    }
    let rest = || {
        // Only ports are a pod's own there.
        if !plan.ports.is_empty() {
            let removed =
                Session::nft().and_then(|mut nft| nft.remove(pod.uuid).map_err(missing_nftables));
            match removed {
                // Where there is no firewall there is nothing of ours in it.
                Ok(()) | Err(Error::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        // A program that could not undo its part may look for the namespace
        // when it is asked again, but not for ever.
        if errors.is_empty() || matches!(namespace, Namespace::Gone) {
            namespace::withdraw(pod.uuid)?;
        }
        if errors.is_empty() {
            record::end(pod)?;
        }
        Ok(())
    };
    let last = rest().err();
    errors.extend(last);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

fn leave_one(session: &mut Session<'_>, plan: &PrivateNetwork, number: usize) -> Vec<Error> {
    let pod = session.pod;
    let attachment = &plan.attachments[number];
    let name = &attachment.config.name;
    let of = |e: Error| e.of(name);
    let known = record::result_of(pod, &attachment.if_name);
    let config = record::config_of(pod, &attachment.if_name);
    let args = Args::parse(&attachment.args).unwrap_or_default();
    let attach = Attach {
        config: config.as_ref().unwrap_or(&attachment.config),
        ..attach_of(plan, number, &args)
    };
    let mut errors: Vec<Error> = attach
        .config
        .plugins
        .iter()
        .rev()
        .filter_map(|plugin| plugins::del(session, plugin, attach, known.as_ref()).err())
        .map(of)
        .collect();
    if errors.is_empty() {
        let left = register::leave(pod, attach).and_then(|()| record::left(pod, attach.if_name));
        errors.extend(left.map_err(of).err());
    }
    errors
}
