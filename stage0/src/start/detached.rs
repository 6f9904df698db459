//! A pod that outlives the command that started it.
//!
//! The supervisor is the main process of a service, or, without systemd, a
//! child that leads a session of its own and that init adopts when this command
//! ends. Its standard descriptors are `/dev/null` and the pod's own log, its
//! working directory is the pod's, and it has no descriptor but the pod's lock
//! and pins and its apps' sockets. This command stays until the pod's files say
//! that all apps run, so that whoever asked hears of a failure.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use manifests::engine::{
    EXIT_FAILURE, LOCK_FD_ENV, PIN_FDS_ENV, SOCKET_FDS_ENV, SUPERVISOR_LOG_FILE,
};

use super::{OwnedFd, PodUnit, StartError, inheritance};
use crate::pods::{OwnedPod, Pod, PodError};
use crate::prepare::PrepareError;
use crate::sockets::Passed;
use crate::stage1::Stage1;

/// Status of a pod that did not run, as far as anybody knows.
const FAILURE: u8 = EXIT_FAILURE as u8;

/// Between two looks at the pod's files, at first.
const SOON: Duration = Duration::from_micros(250);

/// The same when a pod takes its time, waiting for an app's pre-start handler.
const LATER: Duration = Duration::from_millis(20);

/// What part of the time that a start has taken may be lost by looking late.
const PART: u32 = 16;

/// Starts the supervisor of a pod that stands where it runs, and waits until
/// its apps run.
pub(super) fn start(
    pod: OwnedPod,
    pins: Vec<OwnedFd>,
    sockets: &Passed,
    (stage1, unit): (&Stage1, Option<PodUnit>),
    tell: &mut dyn FnMut(&str),
) -> Result<(), StartError> {
    let path = pod.path();
    let failed = |what| PrepareError::io::<std::io::Error>(what, &path);
    let log = open_log(&path).map_err(failed("make the log of"))?;
    if let Some(unit) = unit {
        let name = unit.name().to_owned();
        let descriptors: Vec<_> = sockets.descriptors().map(AsFd::as_fd).collect();
        match unit.hand_over(&pod, log.as_fd(), &descriptors, &pins) {
            Ok(()) => {
                let seen = pod.look()?;
                drop((pod.into_lock(), pins));
                return wait(Supervisor::Service, &seen, stage1);
            }
            Err(e) => tell(&super::without_unit(&name, &e)),
        }
    }
    let uuid = pod.uuid();
    let [lock, numbers, sockets] = inheritance(&pod, &pins, sockets)?;
    let mut command = stage1.command(&["run", &uuid.to_string()]);
    command
        .current_dir(&path)
        .env(LOCK_FD_ENV, lock)
        .env(PIN_FDS_ENV, numbers)
        .env(SOCKET_FDS_ENV, sockets)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed("make the log of"))?)
        .stderr(log);
    sys::process::in_new_session(&mut command);
    let child = command.spawn().map_err(failed("start the supervisor of"))?;
    let seen = pod.look()?;
    // From here on only the supervisor holds the lock.
    drop((pod.into_lock(), pins));
    wait(Supervisor::Child(child), &seen, stage1)
}

/// The supervisor, as far as we can see it end.
enum Supervisor {
    Child(Child),
    /// A child of the service manager; while it lives it holds the pod's lock.
    Service,
}

impl Supervisor {
    /// How it ended, if it has.
    fn ended(&mut self, pod: &Pod) -> Result<Option<u8>, PodError> {
        match self {
            Self::Child(child) => Ok(child.try_wait().unwrap_or_default().map(|status| {
                let status = status.code().or(status.signal());
                let status = status.filter(|code| *code != 0).unwrap_or(EXIT_FAILURE);
                u8::try_from(status).unwrap_or(u8::MAX)
            })),
            Self::Service => match pod.again() {
                Ok(now) if now.state().is_over() => Ok(Some(verdict(&now)?)),
                Ok(_) => Ok(None),
                Err(PodError::Gone(_)) => Ok(Some(FAILURE)),
                Err(e) => Err(e),
            },
        }
    }
}

/// What a pod that is over ends with, by its apps.
fn verdict(pod: &Pod) -> Result<u8, PodError> {
    for app in pod.manifest()?.apps {
        let status = pod.app_status(app.name.as_str())?.unwrap_or_default();
        let code = status.exit_code.or(status.signal).filter(|code| *code != 0);
        if let Some(code) = code {
            return Ok(u8::try_from(code).unwrap_or(u8::MAX));
        }
    }
    Ok(FAILURE)
}

fn open_log(pod: &Path) -> std::io::Result<File> {
    File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(pod.join(SUPERVISOR_LOG_FILE))
}

fn wait(mut supervisor: Supervisor, pod: &Pod, stage1: &Stage1) -> Result<(), StartError> {
    let apps: Vec<String> = pod
        .manifest()?
        .apps
        .into_iter()
        .map(|app| app.name.to_string())
        .collect();
    let since = Instant::now();
    loop {
        // Looked at before the files: what a supervisor that ended has written
        // is all there then.
        let ended = supervisor.ended(pod)?;
        let begun = begun(pod, &apps, stage1)?;
        if let Begun::Failed = begun {
            // The others are being stopped; their end is awaited.
            let mut ended = ended;
            loop {
                if let Some(status) = ended {
                    return Err(died(pod, status));
                }
                std::thread::sleep(SOON);
                ended = supervisor.ended(pod)?;
            }
        }
        if begun == Begun::All {
            return Ok(());
        }
        if let Some(status) = ended {
            return Err(died(pod, status));
        }
        std::thread::sleep((since.elapsed() / PART).clamp(SOON, LATER));
    }
}

/// How far a pod has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Some,
    All,
    /// An app could not be started.
    Failed,
}

fn begun(pod: &Pod, apps: &[String], stage1: &Stage1) -> Result<Begun, PodError> {
    // Written when the apps have been told to start.
    if pod.supervisor()?.is_none() || pod.init()?.is_none() {
        return Ok(Begun::Some);
    }
    let mut all = true;
    for app in apps {
        let status = pod.app_status(app)?.unwrap_or_default();
        if status.error.is_some() && status.finished.is_some() && !status.restarting {
            return Ok(Begun::Failed);
        }
        // It says that it starts right before it executes its program. One that
        // is neither there nor finished has an end yet to be written down.
        let executes = |pid| stage1.is_executed_by(pid) == Some(false);
        all &= status.finished.is_some()
            || status.started.is_some() && status.pid.is_some_and(executes);
    }
    Ok(if all { Begun::All } else { Begun::Some })
}

fn died(pod: &Pod, status: u8) -> StartError {
    StartError::Died {
        uuid: pod.uuid(),
        status,
        said: std::fs::read_to_string(pod.path().join(SUPERVISOR_LOG_FILE)).unwrap_or_default(),
    }
}
