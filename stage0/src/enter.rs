//! Bringing a program into an app of a running pod: this process becomes
//! stage1, which does it.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use manifests::appc::PodManifest;
use manifests::engine::{self, Streams};
use uuid::Uuid;

use crate::pods::{APPS, Pod, PodError, State};
use crate::stage1::{Stage1, Stage1Error};

/// How long an app that is being started is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why no program can be brought in.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// It does not run.
    #[error("pod \"{0}\" isn't currently running")]
    NotRunning(Uuid),
    /// The pod has no apps.
    #[error("pod \"{0}\" has no apps")]
    NoApps(Uuid),
    /// The pod has no app of this name.
    #[error("pod \"{uuid}\" has no app {app:?} (it has: {})", has.join(", "))]
    NoApp {
        /// The pod.
        uuid: Uuid,
        /// The name.
        app: String,
        /// The apps that it has.
        has: Vec<String>,
    },
    /// The pod has several apps and none was named.
    #[error("unable to determine app name: specify app using \"rkt {verb} --app= ...\"")]
    Several {
        /// What was to be done.
        verb: &'static str,
        /// The apps.
        has: Vec<String>,
    },
    /// Its files cannot be read.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// Its directory cannot be entered.
    #[error("cannot enter the directory of pod \"{uuid}\"")]
    Directory {
        /// The pod.
        uuid: Uuid,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// stage1 could not be executed.
    #[error(transparent)]
    Stage1(#[from] Stage1Error),
}

/// The app of the pod that is meant: the named one, or the only one. `verb` is
/// named in the error.
///
/// # Errors
/// When there is none, or several.
pub fn choose(
    pod: &Pod,
    manifest: &PodManifest,
    named: Option<&str>,
    verb: &'static str,
) -> Result<String, EnterError> {
    let mut has: Vec<String> = manifest.apps.iter().map(|a| a.name.to_string()).collect();
    match named {
        Some(name) if has.iter().any(|app| app == name) => Ok(name.to_owned()),
        Some(name) => Err(EnterError::NoApp {
            uuid: pod.uuid(),
            app: name.to_owned(),
            has,
        }),
        None if has.len() > 1 => Err(EnterError::Several { verb, has }),
        None => has.pop().ok_or(EnterError::NoApps(pod.uuid())),
    }
}

/// Waits until the app was started, if the pod is just starting.
///
/// # Errors
/// [`EnterError::NotRunning`] when the pod does not run or ends meanwhile.
pub fn await_start(pod: Pod, app: &str) -> Result<Pod, EnterError> {
    let deadline = Instant::now() + PATIENCE;
    let mut pod = pod;
    loop {
        if pod.state() != State::Running {
            return Err(EnterError::NotRunning(pod.uuid()));
        }
        if pod.init()?.is_some() && pod.app_status(app)?.is_some() || Instant::now() > deadline {
            return Ok(pod);
        }
        std::thread::sleep(Duration::from_millis(2));
        pod = pod.again()?;
    }
}

/// Becomes stage1, which runs the program in the app and ends as it does.
///
/// # Errors
/// When stage1 cannot be executed.
pub fn enter(
    pod: &Pod,
    app: &str,
    command: &[String],
    stage1: &Stage1,
) -> Result<Infallible, EnterError> {
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    become_stage1(pod, "enter", app, &command, stage1)
}

/// Becomes stage1, which connects the caller's standard descriptors to these
/// streams of the app, joined by commas.
///
/// # Errors
/// When stage1 cannot be executed.
pub fn attach(
    pod: &Pod,
    app: &str,
    streams: &str,
    stage1: &Stage1,
) -> Result<Infallible, EnterError> {
    become_stage1(pod, "attach", app, &[streams], stage1)
}

fn become_stage1(
    pod: &Pod,
    verb: &str,
    app: &str,
    more: &[&str],
    stage1: &Stage1,
) -> Result<Infallible, EnterError> {
    rustix::process::fchdir(pod.dir()).map_err(|e| EnterError::Directory {
        uuid: pod.uuid(),
        source: e.into(),
    })?;
    let uuid = pod.uuid().to_string();
    let arguments = [&[verb, &uuid, app], more].concat();
    Ok(stage1.exec(&arguments, &[])?)
}

/// What is behind an app's standard descriptors.
///
/// # Errors
/// When the app's specification cannot be read.
pub fn streams(pod: &Pod, app: &str) -> Result<Streams, EnterError> {
    let directory = |source: std::io::Error| EnterError::Directory {
        uuid: pod.uuid(),
        source,
    };
    let read = |path: std::path::PathBuf| std::fs::read(path).map_err(directory);
    let text = read(pod.path().join(engine::FILE))?;
    let all: engine::Pod = serde_json::from_slice(&text).map_err(|e| directory(e.into()))?;
    if let Some(app) = all.apps.into_iter().find(|known| known.name == app) {
        return Ok(app.streams);
    }
    let text = read(pod.path().join(APPS).join(app).join(engine::APP_FILE))?;
    let app: engine::App = serde_json::from_slice(&text).map_err(|e| directory(e.into()))?;
    Ok(app.streams)
}
