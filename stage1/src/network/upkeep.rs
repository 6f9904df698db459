//! Looking after networks while pods are in them: CHECK, and for networks
//! alone STATUS and GC.
//!
//! What is built in is looked after here; programs are asked, where the
//! configuration's version has the question.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use manifests::cni::plugins::Builtin;
use manifests::cni::{CniResult, NetworkConfig, Plugin};
use manifests::engine::PrivateNetwork;
use rustix::fs::FlockOperation;
use serde_json::{Value, json};

use super::error::{Error, Result};
use super::execute::{self, Call};
use super::netlink::{link, route};
use super::nft::Part;
use super::ports::{self, Carrier};
use super::register::{self, Register};
use super::session::{Attach, Pod, Session, builtin, input_of, missing_nftables};
use super::{attach_of, own_carrier, parse_args, plugins, record};

/// What the functions of this module return: everything that is wrong.
type Verdict = std::result::Result<(), Vec<Error>>;

fn verdict(errors: Vec<Error>) -> Verdict {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// Looks whether the pod still has what joining gave it.
///
/// # Errors
/// All that is missing or wrong.
pub fn check(pod: Pod<'_>, plan: &PrivateNetwork, netns: BorrowedFd<'_>) -> Verdict {
    let open = || {
        let mut session = Session::open(pod, Some(netns))?;
        session.assume_published();
        Ok((session, parse_args(plan)?))
    };
    let (mut session, args) = open().map_err(|e: Error| vec![e])?;
    let mut errors = Vec::new();
    let mut part = Part::default();
    for (number, attachment) in plan.attachments.iter().enumerate() {
        let attach = attach_of(plan, number, &args[number]);
        let carries = own_carrier(plan) == Some(number);
        let checked = check_one(&mut session, attach).and_then(|(known, bridged)| {
            for plugin in chain(pod, attach) {
                part.rules.extend(plugins::rules(&plugin, attach, &known));
            }
            if carries {
                let result = &known;
                let carrier = Carrier { attach, result };
                let ports = ports::part(pod.uuid, carrier, &plan.ports, bridged)?;
                part.rules.extend(ports.rules);
                part.elements.extend(ports.elements);
            }
            Ok(())
        });
        errors.extend(checked.map_err(|e| e.of(&attachment.config.name)).err());
    }
    if !part.is_empty() {
        errors.extend(check_firewall(&part).err());
    }
    verdict(errors)
}

fn check_firewall(part: &Part) -> Result<()> {
    let missing = Session::nft()?.missing(part).map_err(missing_nftables)?;
    match missing.first() {
        None => Ok(()),
        Some(comment) => Err(Error::Lost {
            what: format!("{comment:?} in the nftables table \"inet rkt\""),
        }),
    }
}

/// The plugins that did the work: flannel's is its delegate's.
fn chain(pod: Pod<'_>, attach: Attach<'_>) -> Vec<Plugin> {
    let delegate = |plugin: &Plugin| match builtin(plugin) {
        Ok(Some(Builtin::Flannel(_))) => record::delegate_of(pod, attach.if_name),
        _ => None,
    };
    let plugins = attach.config.plugins.iter();
    plugins
        .map(|plugin| delegate(plugin).unwrap_or_else(|| plugin.clone()))
        .collect()
}

/// Returns what joining came to, and whether the pod is on a bridge.
fn check_one(session: &mut Session<'_>, attach: Attach<'_>) -> Result<(CniResult, bool)> {
    let known = record::result_of(session.pod, attach.if_name).unwrap_or_default();
    let lost = |what: String| Error::Lost { what };
    let inner = link::get(session.inside()?, attach.if_name)
        .map_err(Error::kernel("find the pod's interface", attach.if_name))?;
    if !inner.up {
        return Err(lost(format!(
            "the pod's interface {}, which is down,",
            inner.name
        )));
    }
    let there = route::addresses(session.inside()?, inner.index)
        .map_err(Error::kernel("read the addresses of", attach.if_name))?;
    if let Some(ip) = known.ips.iter().find(|ip| !there.contains(&ip.address)) {
        return Err(lost(format!(
            "address {} of {}",
            ip.address, attach.if_name
        )));
    }
    let mut bridged = false;
    for made in known.interfaces.iter().filter(|i| i.sandbox.is_empty()) {
        let link = link::get(&mut session.host, &made.name)
            .map_err(Error::kernel("find interface", &made.name))?;
        if !link.up {
            return Err(lost(format!("interface {}, which is down,", link.name)));
        }
        bridged |= link.index == inner.peer && link.master != 0;
        let wants_bridge = known.interfaces.first().is_some_and(|first| first != made);
        if link.index == inner.peer && wants_bridge && link.master == 0 {
            return Err(lost(format!("the bridge of interface {}", link.name)));
        }
    }
    if !attach.config.disable_check && attach.config.cni_version.has_check() {
        for plugin in chain(session.pod, attach) {
            if let Some(kind) = plugin.program() {
                session.execute("CHECK", &kind, &plugin, attach, Some(&known))?;
            }
        }
    }
    Ok((known, bridged))
}

/// Where programs are, and how long they may take.
#[derive(Debug, Clone, Copy)]
struct Programs<'a> {
    path: &'a [PathBuf],
    deadline: Duration,
}

impl Programs<'_> {
    /// Asks every program of a network, the last first when things are undone.
    fn ask(
        self,
        command: &'static str,
        config: &NetworkConfig,
        with: impl Fn(&mut serde_json::Map<String, Value>),
    ) -> Verdict {
        let ask = |plugin: &Plugin| -> Result<()> {
            let Some(kind) = plugin.program() else {
                return Ok(());
            };
            execute::find(&kind, self.path)?;
            if !config.cni_version.has_gc() {
                return Ok(());
            }
            let mut input = input_of(config, plugin, None);
            with(&mut input);
            let call = Call {
                command,
                container: "",
                netns: Path::new(""),
                if_name: "",
                args: "",
                path: self.path,
                deadline: self.deadline,
            };
            execute::run(&kind, &Value::Object(input).to_string(), call).map(|_| ())
        };
        let errors = config.plugins.iter().filter_map(|plugin| ask(plugin).err());
        verdict(errors.map(|e| e.of(&config.name)).collect())
    }
}

/// Finds out whether a pod could join the network now: whether its programs
/// are there, and what they say to STATUS where they know it.
///
/// # Errors
/// What stands in the way.
pub fn status(config: &NetworkConfig, path: &[PathBuf], deadline: Duration) -> Verdict {
    Programs { path, deadline }.ask("STATUS", config, |_| ())
}

/// Tells the network's programs which attachments still exist: GC, where they
/// know it. Built-in plugins keep nothing that [`super::leave`] does not
/// remove.
///
/// # Errors
/// Those of the programs.
pub fn collect(config: &NetworkConfig, path: &[PathBuf], deadline: Duration) -> Verdict {
    if !register::matters(config) {
        return Ok(());
    }
    let attached = || {
        let register = Register::lock(&config.name, FlockOperation::LockExclusive)?;
        let all = register.all()?;
        Ok((register, all))
    };
    let (_register, all) = attached().map_err(|e: Error| vec![e.of(&config.name)])?;
    let valid: Vec<Value> = all
        .iter()
        .map(|(uuid, if_name)| json!({ "containerID": uuid, "ifname": if_name }))
        .collect();
    Programs { path, deadline }.ask("GC", config, |input| {
        input.insert("cni.dev/valid-attachments".into(), json!(valid));
        // The specification was released with this name first.
        input.insert("cni.dev/attachments".into(), json!(valid));
    })
}
