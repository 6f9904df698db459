//! The unit of the service manager that a pod runs in, as its apps see it.
//!
//! A manager talks to one process, ours. What it says to that process is for
//! the apps: its watchdog asks whether they hang, its credentials are theirs.
//! One app may speak for all: the one that is told to by `--notify-access`,
//! else a pod's only one. Credentials go to a pod's only app, or to those that
//! ask for them by name: an app sees no secret that it does not need.
//!
//! Source: sd_notify(3), sd_watchdog_enabled(3), systemd.exec(5)
//! "Credentials".

use std::path::PathBuf;

use manifests::engine::{Credentials, Readiness};

use crate::behaviour::{self, Behaviour, Names};
use crate::prepare::manifest::MUTABLE;
use crate::prepare::{Blueprint, PrepareError};

/// Where an app finds the socket on which it says how it is doing.
pub(crate) const NOTIFY_TARGET: &str = "/run/systemd/notify";

/// Where an app finds its credentials.
const CREDENTIALS_TARGET: &str = "/run/credentials";

/// What a service manager tells its services in their environment about
/// themselves: it is said to us, and not true of an app that inherits it.
const OF_US: [&str; 13] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "CREDENTIALS_DIRECTORY",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "MAINPID",
    "FDSTORE",
    "MEMORY_PRESSURE_WATCH",
];

/// Whether a variable is about the process that has it, and none to inherit.
pub fn is_of_us(variable: &[u8]) -> bool {
    OF_US.iter().any(|name| name.as_bytes() == variable)
}

/// What the service manager gave to this process.
#[derive(Debug, Default)]
pub struct Given {
    /// It wants to hear how we are doing.
    pub listens: bool,
    /// How often it wants to hear that, at least, in microseconds.
    pub watchdog: Option<u64>,
    /// Where its credentials are.
    pub credentials: Option<PathBuf>,
}

impl Given {
    /// What this process's environment says.
    pub fn of_environment() -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some_and(|s| !s.is_empty());
        Self {
            listens,
            watchdog: number("WATCHDOG_USEC").filter(|usec| for_us && listens && *usec > 0),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
        }
    }

    /// What one app of the pod has of it.
    ///
    /// # Errors
    /// [`PrepareError::Behaviour`] when several apps would speak, when a
    /// watchdog is on and none may, and for a credential that is not there.
    pub(crate) fn share(
        &self,
        blueprint: &Blueprint,
        name: &str,
        behaviour: &Behaviour,
    ) -> Result<Share, PrepareError> {
        let wrong = |annotation, reason: String| PrepareError::Behaviour {
            app: name.to_owned(),
            annotation,
            reason,
        };
        let manifest = &blueprint.manifest;
        let only = manifest.apps.len() == 1 && manifest.annotation(MUTABLE) != Some("true");
        let speaks = behaviour.speaks.unwrap_or(only && self.listens);
        let told = |app: &&manifests::appc::RuntimeApp| {
            let said = app.annotations.iter();
            said.filter(|a| a.name == *behaviour::NOTIFY_ACCESS)
                .any(|a| a.value == "unit")
        };
        let speakers = manifest.apps.iter().filter(told).count();
        if speaks && speakers > 1 {
            let reason = format!("{speakers} apps would speak for the unit; only one may");
            return Err(wrong(behaviour::NOTIFY_ACCESS, reason));
        }
        if self.watchdog.is_some() && speakers == 0 && !speaks {
            let reason = "the unit has WatchdogSec=, and none of the pod's apps may feed the \
                          watchdog: give one of them --notify-access=unit (NotifyAccess=unit)";
            return Err(wrong(behaviour::NOTIFY_ACCESS, reason.to_owned()));
        }
        let credentials = match (&behaviour.credentials, only) {
            (Some(wanted), _) => Some(wanted),
            (None, true) => Some(&Names::All),
            (None, false) => None,
        };
        Ok(Share {
            speaks,
            watchdog: self.watchdog.filter(|_| speaks),
            credentials: match credentials {
                Some(wanted) => self
                    .credentials_of(wanted)
                    .map_err(|reason| wrong(behaviour::CREDENTIALS, reason))?,
                None => None,
            },
        })
    }

    fn credentials_of(&self, wanted: &Names) -> Result<Option<Credentials>, String> {
        let Some(directory) = &self.credentials else {
            return match wanted {
                Names::Of(names) if !names.is_empty() => Err(format!(
                    "credential {:?} was not passed: the unit has neither LoadCredential= nor \
                     SetCredential=",
                    names[0]
                )),
                _ => Ok(None),
            };
        };
        let listed = || -> std::io::Result<Vec<String>> {
            let entries = std::fs::read_dir(directory)?;
            let mut names = entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<std::io::Result<Vec<_>>>()?;
            names.sort();
            Ok(names)
        };
        let there = listed().map_err(|e| format!("cannot read {}: {e}", directory.display()))?;
        let names = match wanted {
            Names::All => there,
            Names::Of(names) => {
                if let Some(missing) = names.iter().find(|name| !there.contains(name)) {
                    return Err(format!(
                        "credential {missing:?} was not passed: the unit needs \
                         LoadCredential={missing}:PATH or SetCredential={missing}:TEXT"
                    ));
                }
                names.clone()
            }
        };
        Ok(Some(Credentials {
            directory: directory.clone(),
            names,
            target: PathBuf::from(CREDENTIALS_TARGET),
        }))
    }
}

/// What an app has of the pod's unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// It may speak to the service manager.
    pub speaks: bool,
    /// How often the watchdog wants to hear from it, in microseconds.
    pub watchdog: Option<u64>,
    /// The credentials that it gets.
    pub credentials: Option<Credentials>,
}

impl Share {
    /// Tells the app of it by its environment.
    pub(crate) fn announce(&self, behaviour: &Behaviour, environment: &mut Vec<(String, String)>) {
        let notifies = behaviour.ready == Readiness::Notify || self.speaks;
        let credentials = self.credentials.as_ref();
        for (name, value) in [
            ("NOTIFY_SOCKET", notifies.then(|| NOTIFY_TARGET.to_owned())),
            ("WATCHDOG_USEC", self.watchdog.map(|usec| usec.to_string())),
            (
                "CREDENTIALS_DIRECTORY",
                credentials.map(|c| c.target.display().to_string()),
            ),
        ] {
            if let Some(value) = value {
                environment.retain(|(variable, _)| variable != name);
                environment.push((name.to_owned(), value));
            }
        }
    }
}
