//! The pod's network, as its supervisor looks after it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use manifests::engine::{ConfiguredNetworks, Network, PID_FILE, PrivateNetwork};

use crate::error::{Error, Result};
use crate::network::{self, Joined, Namespace, PLUGIN_DEADLINE, Pod};
use crate::record;

/// A network to join when the pod has its namespace, and to leave when it is
/// over.
#[derive(Debug)]
pub(super) struct PodNetwork {
    uuid: String,
    directory: PathBuf,
    plan: PrivateNetwork,
    /// Held until the pod has left, so that its plugins find it.
    namespace: Option<OwnedFd>,
    joined: Option<Joined>,
}

impl PodNetwork {
    /// None for a pod that joins no network. The working directory is the pod
    /// directory.
    pub(super) fn new(uuid: &str, network: &Network) -> Result<Option<Self>> {
        let Network::Private(plan) = network else {
            return Ok(None);
        };
        Ok(Some(Self {
            uuid: uuid.to_owned(),
            directory: std::env::current_dir()
                .map_err(Error::system("find", "the pod directory"))?,
            plan: (**plan).clone(),
            namespace: None,
            joined: None,
        }))
    }

    /// The init has made the namespace.
    pub(super) fn has(&mut self, namespace: OwnedFd) {
        self.namespace = Some(namespace);
    }

    /// Whether the namespace is still to be made.
    pub(super) fn is_waiting(&self) -> bool {
        self.namespace.is_none()
    }

    fn pod(&self) -> Pod<'_> {
        Pod {
            uuid: &self.uuid,
            directory: &self.directory,
            plugin_path: &self.plan.plugin_path,
            deadline: PLUGIN_DEADLINE,
        }
    }

    /// Joins. Says whether the apps' `resolv.conf` was written.
    pub(super) fn join(&mut self) -> Result<bool> {
        let Some(namespace) = &self.namespace else {
            return Ok(false);
        };
        let mut joined = network::join(self.pod(), &self.plan, namespace.as_fd())?;
        for warning in joined.warnings.drain(..) {
            crate::error::say(format_args!("run: warning: {warning}"));
        }
        let text = joined.resolv_conf.take();
        // From here on there is something to leave.
        self.joined = Some(joined);
        match text {
            Some(text) => record::resolv_conf(&text).map(|()| true),
            None => Ok(false),
        }
    }

    /// What wakes us when somebody has changed the firewall.
    pub(super) fn alarm(&self) -> Option<BorrowedFd<'_>> {
        let guard = self.joined.as_ref()?.guard.as_ref()?;
        Some(guard.as_fd())
    }

    /// Puts back what somebody has taken from the firewall. A failure is told
    /// and does not end the pod.
    pub(super) fn restore(&mut self) {
        let Some(guard) = self.joined.as_mut().and_then(|j| j.guard.as_mut()) else {
            return;
        };
        match guard.restore() {
            Ok(false) => {}
            Ok(true) => crate::error::say(format_args!(
                "run: the firewall was reloaded; the pod's part is back"
            )),
            Err(error) => crate::error::say(format_args!(
                "run: the firewall was reloaded: {}",
                error.line()
            )),
        }
    }

    /// Leaves, if it has joined. What cannot be undone is told, and left to gc.
    pub(super) fn leave(mut self) {
        let Some(joined) = self.joined.take() else {
            return;
        };
        drop(joined);
        // Whoever was in it was the init's child, and ended with it.
        let namespace = match &self.namespace {
            Some(namespace) => Namespace::Ends(namespace.as_fd()),
            None => Namespace::Gone,
        };
        if let Err(errors) = network::leave(self.pod(), &self.plan, namespace) {
            for error in errors {
                crate::error::say(format_args!("run: {}", error.line()));
            }
        }
    }
}

/// Looks whether the pod of the working directory, which runs, still has what
/// its networks gave it; tells all that is missing or wrong.
///
/// # Errors
/// [`Error::Damaged`] and [`Error::System`] for the pod's files; the first
/// thing that is missing or wrong.
pub fn check(uuid: &str) -> Result<()> {
    let pod = super::read(uuid)?;
    let Some(network) = PodNetwork::new(uuid, &pod.network)? else {
        return Ok(());
    };
    let path = format!("/proc/{}/ns/net", record::running(PID_FILE)?);
    let namespace = std::fs::File::open(&path).map_err(Error::system("open", path))?;
    told(
        "check",
        network::check(network.pod(), &network.plan, namespace.as_fd()),
    )
}

/// Asks networks, which stand on standard input as
/// [`ConfiguredNetworks`], whether they are ready, or has them forget
/// attachments that do not exist any more; tells all that was answered.
///
/// # Errors
/// [`Error::Damaged`] for what was read; the first of what was answered.
pub fn ask(verb: &str) -> Result<()> {
    let networks: ConfiguredNetworks =
        serde_json::from_reader(std::io::stdin()).map_err(|source| Error::Damaged {
            file: "list of networks",
            source,
        })?;
    let path = &networks.plugin_path;
    let mut errors = Vec::new();
    for config in &networks.configs {
        let asked = match verb {
            "gc" => network::collect(config, path, PLUGIN_DEADLINE),
            _ => network::status(config, path, PLUGIN_DEADLINE),
        };
        errors.extend(asked.err().into_iter().flatten());
    }
    told(
        verb,
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        },
    )
}

/// Tells all errors but the first, which is the caller's to tell.
fn told(verb: &str, result: std::result::Result<(), Vec<network::Error>>) -> Result<()> {
    result.map_err(|mut errors| {
        let first = errors.remove(0);
        for error in errors {
            crate::error::say(format_args!("{verb}: {}", error.line()));
        }
        Error::Network(Box::new(first))
    })
}

/// Undoes what is on record in the working directory for the network of a pod
/// that is over: what its supervisor could not.
///
/// # Errors
/// [`Error::Damaged`] and [`Error::System`] for `engine.json`; the first of
/// those that leaving met, when all have been told.
pub fn collect(uuid: &str) -> Result<()> {
    let pod = super::read(uuid)?;
    let Some(network) = PodNetwork::new(uuid, &pod.network)? else {
        return Ok(());
    };
    told(
        "gc",
        network::leave(network.pod(), &network.plan, Namespace::Gone),
    )
}
