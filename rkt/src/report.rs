//! What is told about a pod: the one answer behind `list` and `status`, as
//! text and as JSON.
//!
//! Source of the shapes: rkt's command-line reference, "JSON shapes". Beyond
//! it stand `image_name`, `signal`, `oom_killed`, `ready`, `restarting`,
//! `restarts`, `last_exit`, `error` and `verification` of an app, `reason`,
//! `unit`, `logs` and `errors` of a pod, and its state `broken`; all are left out when there is
//! nothing to tell.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use image_store::Store;
use manifests::appc::{PodManifest, RuntimeApp};
use manifests::cni::net_info::NetInfo;
use manifests::engine::{AppStatus, Logs};
use manifests::trust::{Verification, Vouched};
use serde::Serialize;
use stage0::boot;
use stage0::pods::{Pod, PodError, State};
use stage0::prepare;
use stage0::start::guests;

/// One pod.
#[derive(Debug, Serialize)]
pub(crate) struct PodReport {
    /// The UUID.
    pub(crate) name: String,
    pub(crate) state: PodState,
    /// Why a pod ended that did not end by itself: `host restarted` or
    /// `supervisor killed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) networks: Vec<NetInfo>,
    pub(crate) app_names: Vec<String>,
    pub(crate) apps: Vec<AppReport>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub(crate) created_at: Option<SystemTime>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub(crate) started_at: Option<SystemTime>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) user_annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) user_labels: BTreeMap<String, String>,
    /// The unit of systemd that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
    /// Where what its apps write is kept: `journal` or `files`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logs: Option<&'static str>,
    /// PID 1 as the host sees it.
    #[serde(skip)]
    pub(crate) pid: Option<i32>,
    /// What is wrong with the pod's files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<String>,
}

/// What a pod is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PodState {
    /// As its directory and lock say.
    Is(State),
    /// It does not run, and cannot be: its directory is none, or its manifest
    /// cannot be read.
    Broken,
}

impl PodState {
    /// The word in tables and JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Is(state) => state.as_str(),
            Self::Broken => "broken",
        }
    }
}

impl Serialize for PodState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How much is to be found out.
#[derive(Clone, Copy)]
pub(crate) enum Detail<'a> {
    /// What a line of a table shows.
    Row,
    /// Everything in the pod's files.
    Files,
    /// That, and who vouched for its images, which the store knows.
    Verification(&'a Store),
}

/// One app of a pod.
#[derive(Debug, Serialize)]
pub(crate) struct AppReport {
    pub(crate) name: String,
    pub(crate) image_id: String,
    /// `name[:version]`; `--` where the manifest has no name.
    #[serde(rename = "image_name")]
    pub(crate) image_name: String,
    pub(crate) state: AppState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started_at: Option<i64>,
    /// How it ended.
    #[serde(flatten)]
    pub(crate) end: End,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ready: bool,
    /// It has ended and will be started again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) restarting: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) restarts: u32,
    /// How it ended before it was started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_exit: Option<End>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Limits of the image that the host cannot set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unlimited: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verification: Option<Verification>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mounts: Vec<MountReport>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) user_annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) user_labels: BTreeMap<String, String>,
}

/// How an app ended; nothing, if it did not.
#[derive(Debug, Serialize)]
pub(crate) struct End {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finished_at: Option<i64>,
    /// The app's own status; the number of the signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<i32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) oom_killed: bool,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.signal, self.exit_code) {
            (Some(signal), _) => write!(f, "signal {signal}")?,
            (None, code) => write!(f, "status {}", code.unwrap_or_default())?,
        }
        match self.oom_killed {
            true => f.write_str(" for want of memory"),
            false => Ok(()),
        }
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A volume of an app.
#[derive(Debug, Serialize)]
pub(crate) struct MountReport {
    pub(crate) name: String,
    pub(crate) container_path: String,
    pub(crate) host_path: String,
    pub(crate) read_only: bool,
}

/// What an app is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AppState {
    Unknown,
    Created,
    Running,
    Exited,
}

impl AppState {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
        }
    }
}

impl PodReport {
    /// What can be found out about the pod; what cannot is told in `errors`.
    pub(crate) fn new(pod: &Pod, detail: Detail<'_>) -> Self {
        let state = pod.state();
        let mut notes = Notes {
            over: state.has_exited(),
            unfinished: matches!(
                state,
                State::Embryo | State::Preparing | State::AbortedPrepare
            ),
            pod,
            torn: false,
            errors: Vec::new(),
        };
        let created_at = notes.take(pod.created());
        let started_at = notes.take(pod.started());
        // Others never joined one.
        let networks = if state == State::Running || state.has_exited() {
            notes.take(pod.networks())
        } else {
            Vec::new()
        };
        let init = match detail {
            Detail::Row => None,
            _ => notes.take(pod.init()),
        };
        let unit = match detail {
            Detail::Row => None,
            _ => notes.take(pod.unit()),
        };
        let logs = match detail {
            Detail::Row => None,
            _ => notes.take(pod.logs()).map(|logs| match logs {
                Logs::Journal { .. } => "journal",
                Logs::Files { .. } => "files",
            }),
        };
        let manifest = match pod.manifest() {
            Err(_) if notes.unfinished => None,
            manifest => notes.take(manifest.map(Some)),
        };
        let broken =
            manifest.is_none() && !notes.unfinished && !notes.torn && state != State::Running;
        let mut report = Self {
            name: pod.uuid().to_string(),
            state: if broken {
                PodState::Broken
            } else {
                PodState::Is(state)
            },
            reason: None,
            networks,
            app_names: Vec::new(),
            apps: Vec::new(),
            created_at,
            started_at,
            user_annotations: BTreeMap::new(),
            user_labels: BTreeMap::new(),
            unit,
            logs,
            pid: init.map(|process| process.pid),
            errors: Vec::new(),
        };
        if let Some(manifest) = manifest {
            report.add_manifest(manifest, pod, detail, &mut notes);
        }
        if notes.torn {
            report.reason = Some(HOST_RESTARTED);
        }
        report.errors = notes.errors;
        report
    }

    /// What there is to say of a pod that cannot be looked at.
    pub(crate) fn broken(uuid: uuid::Uuid, error: &PodError) -> Self {
        Self {
            name: uuid.to_string(),
            state: PodState::Broken,
            reason: None,
            networks: Vec::new(),
            app_names: Vec::new(),
            apps: Vec::new(),
            created_at: None,
            started_at: None,
            user_annotations: BTreeMap::new(),
            user_labels: BTreeMap::new(),
            unit: None,
            logs: None,
            pid: None,
            errors: vec![error_line(error)],
        }
    }

    /// The state for people, with why a pod ended that did not end by itself.
    pub(crate) fn state_text(&self) -> String {
        match self.reason {
            Some(reason) => format!("{}: {reason}", self.state.as_str()),
            None => self.state.as_str().to_owned(),
        }
    }

    /// The networks for people: `NET:ip4=ADDRESS` for each address, joined by
    /// `separator`.
    pub(crate) fn networks(&self, separator: &str) -> String {
        let words: Vec<String> = self
            .networks
            .iter()
            .flat_map(|network| {
                let name = &network.net_name;
                let addresses = network.ips.iter().map(|ip| match ip.addr() {
                    IpAddr::V4(ip) => format!("{name}:ip4={ip}"),
                    IpAddr::V6(ip) => format!("{name}:ip6={ip}"),
                });
                let none = network.ips.is_empty().then(|| name.clone());
                addresses.chain(none).collect::<Vec<_>>()
            })
            .collect();
        words.join(separator)
    }

    fn add_manifest(
        &mut self,
        manifest: PodManifest,
        pod: &Pod,
        detail: Detail<'_>,
        notes: &mut Notes<'_>,
    ) {
        let over = notes.over;
        let mut cut_off = false;
        for app in &manifest.apps {
            // A row tells of no app; only of an end that no app came to.
            let status = match detail {
                Detail::Row if !over => AppStatus::default(),
                _ => {
                    let status = pod.app_status(app.name.as_str());
                    notes.take(status).unwrap_or_default()
                }
            };
            cut_off |= status.started.is_some() && status.finished.is_none();
            let app = AppReport::new(app, &manifest, status, self, pod, detail);
            self.app_names.push(app.name.clone());
            self.apps.push(app);
        }
        if over && cut_off {
            self.reason = reason(pod);
        }
        self.user_annotations = manifest.user_annotations;
        self.user_labels = manifest.user_labels;
    }
}

/// Why a pod has exited although an app of it has not: its supervisor did not
/// live to write it down.
fn reason(pod: &Pod) -> Option<&'static str> {
    let supervisor = match pod.supervisor() {
        Err(PodError::Unwritten { .. }) => return Some(HOST_RESTARTED),
        supervisor => supervisor.ok()??,
    };
    match boot::id() {
        Ok(id) if id != supervisor.boot_id => Some(HOST_RESTARTED),
        _ => Some("supervisor killed"),
    }
}

const HOST_RESTARTED: &str = "host restarted";

/// What was found out about a pod beside what its files say.
struct Notes<'a> {
    pod: &'a Pod,
    over: bool,
    /// It is being filled, or was: what is not written yet is no damage.
    unfinished: bool,
    /// It is over because the host lost power, with files of it unwritten.
    torn: bool,
    errors: Vec<String>,
}

impl Notes<'_> {
    /// Whether its supervisor ran since the host has been up, so that an empty
    /// file is somebody's doing.
    fn of_this_boot(&self) -> bool {
        let supervisor = self.pod.supervisor().ok().flatten();
        supervisor.is_some_and(|it| boot::id().is_ok_and(|id| id == it.boot_id))
    }

    /// What a file says, or nothing and a note.
    fn take<T: Default>(&mut self, said: Result<T, PodError>) -> T {
        said.unwrap_or_else(|e| {
            match e {
                PodError::Unwritten { .. } if self.over && !self.of_this_boot() => {
                    self.torn = true;
                }
                PodError::Unwritten { .. } if self.unfinished => {}
                e => self.errors.push(error_line(&e)),
            }
            T::default()
        })
    }
}

impl AppReport {
    fn new(
        app: &RuntimeApp,
        manifest: &PodManifest,
        status: AppStatus,
        of: &PodReport,
        pod: &Pod,
        detail: Detail<'_>,
    ) -> Self {
        let state = match pod.state() {
            State::Embryo | State::Preparing | State::AbortedPrepare => AppState::Unknown,
            State::Prepared => AppState::Created,
            State::Running if status.finished.is_some() => AppState::Exited,
            State::Running if status.started.is_none() && guests::takes_them(manifest) => {
                AppState::Created
            }
            State::Running => AppState::Running,
            _ => AppState::Exited,
        };
        let marked = matches!(pod.state(), State::ExitedDeleting | State::ExitedGarbage)
            .then(|| pod.changed().ok())
            .flatten();
        let nanoseconds = |time: Option<u64>| time.and_then(|t| i64::try_from(t).ok());
        let verification = match detail {
            Detail::Verification(store) => {
                let record = |id| store.image(&id).ok().flatten();
                let record = app.image.id.full().and_then(record);
                record.map(|record| record.verification)
            }
            _ => None,
        };
        let section = app.app.as_ref();
        Self {
            name: app.name.to_string(),
            image_id: app.image.id.to_string(),
            image_name: image_name(app),
            state,
            created_at: of.created_at.map(nanos),
            started_at: nanoseconds(status.started).or_else(|| of.started_at.map(nanos)),
            end: End {
                finished_at: nanoseconds(status.finished).or_else(|| marked.map(nanos)),
                exit_code: status.exit_code.or(status.signal),
                signal: status.signal,
                oom_killed: status.oom_killed,
            },
            ready: status.ready && of.state == PodState::Is(State::Running),
            restarting: status.restarting && of.state == PodState::Is(State::Running),
            restarts: status.restarts,
            last_exit: status.previous.map(|ending| End {
                finished_at: nanoseconds(Some(ending.finished)),
                exit_code: ending.exit_code.or(ending.signal),
                signal: ending.signal,
                oom_killed: ending.oom_killed,
            }),
            error: status.error,
            unlimited: status.unlimited,
            verification,
            mounts: mounts(app, manifest, pod),
            user_annotations: section
                .map(|s| s.user_annotations.clone())
                .unwrap_or_default(),
            user_labels: section.map(|s| s.user_labels.clone()).unwrap_or_default(),
        }
    }
}

fn image_name(app: &RuntimeApp) -> String {
    let Some(name) = &app.image.name else {
        return "--".to_owned();
    };
    match app.image.labels.iter().find(|l| l.name == "version") {
        Some(version) => format!("{name}:{}", version.value),
        None => name.to_string(),
    }
}

fn mounts(app: &RuntimeApp, manifest: &PodManifest, pod: &Pod) -> Vec<MountReport> {
    let mounted = prepare::mounted(&pod.path(), manifest, app).into_iter();
    let report = mounted.map(|volume| MountReport {
        name: volume.name.to_string(),
        container_path: volume.target,
        host_path: volume.source.display().to_string(),
        read_only: volume.read_only,
    });
    report.collect()
}

/// Who vouched for an image, in a few words.
pub(crate) fn verified_by(verification: &Verification) -> String {
    match &verification.by {
        Vouched::Nothing { allowed_by } => format!("nobody (allowed by {allowed_by})"),
        Vouched::OpenPgp {
            fingerprint,
            identities,
            ..
        } => {
            let tail = &fingerprint[fingerprint.len().saturating_sub(16)..];
            match identities.first() {
                Some(identity) => format!("{identity} ({tail})"),
                None => tail.to_owned(),
            }
        }
        Vouched::Key { fingerprint, .. } => format!("key {}", &fingerprint.hex()[..16]),
        Vouched::Identity {
            subject, issuer, ..
        } => format!("{subject} (as {issuer} says)"),
        Vouched::Pinned { since } => {
            let since = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(*since);
            format!("pinned ({})", crate::output::absolute(since))
        }
    }
}

fn error_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

fn nanos(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn seconds<S: serde::Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_i64(nanos(*time) / 1_000_000_000),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stage0::pods::{OwnedPod, Place, Pods};

    use super::*;

    fn manifest() -> String {
        json!({
            "acVersion": "0.8.11", "acKind": "PodManifest",
            "apps": [{
                "name": "web",
                "image": {
                    "id": format!("sha512-{}", "0a".repeat(64)),
                    "name": "example.com/web",
                    "labels": [{"name": "version", "value": "1.0"}],
                },
                "app": {"exec": ["/x"], "user": "0", "group": "0"},
            }],
        })
        .to_string()
    }

    /// A pod that ran and left these files.
    fn exited(files: &[(&str, &str)]) -> (tempfile::TempDir, Value) {
        let tmp = tempfile::tempdir().unwrap();
        let pods = Pods::new(tmp.path());
        let mut pod = OwnedPod::create(&pods).unwrap();
        pod.move_to(Place::Prepare).unwrap();
        std::fs::create_dir_all(pod.path().join("apps/web")).unwrap();
        for (file, text) in files {
            std::fs::write(pod.path().join(file), text).unwrap();
        }
        pod.move_to(Place::Run).unwrap();
        let uuid = pod.uuid();
        drop(pod.into_lock());
        let report = PodReport::new(&pods.sample(uuid).unwrap(), Detail::Files);
        (tmp, serde_json::to_value(report).unwrap())
    }

    #[test]
    fn an_app_that_was_killed_reports_the_signal() {
        let status = r#"{"started": 5, "finished": 9, "signal": 9, "oomKilled": true}"#;
        let (_tmp, pod) = exited(&[("pod", &manifest()), ("apps/web/status", status)]);
        assert_eq!(pod["state"], "exited");
        let app = &pod["apps"][0];
        assert_eq!(app["state"], "exited");
        assert_eq!((&app["exit_code"], &app["signal"]), (&json!(9), &json!(9)));
        assert_eq!(app["oom_killed"], true);
        assert_eq!(app["image_name"], "example.com/web:1.0");
        assert_eq!(app["finished_at"], 9);
        assert!(pod.get("errors").is_none());
    }

    #[test]
    fn damage_is_told_and_hides_nothing_else() {
        let status = r#"{"finished": 9, "exitCode": 3}"#;
        let (_tmp, pod) = exited(&[("pod", "{ not json"), ("apps/web/status", status)]);
        assert_eq!(
            (&pod["state"], &pod["apps"]),
            (&json!("broken"), &json!([]))
        );
        let error = pod["errors"][0].as_str().unwrap();
        assert!(error.contains("is damaged: file \"pod\""), "{error}");
        let (_tmp, pod) = exited(&[("pod", &manifest()), ("apps/web/status", "x")]);
        assert_eq!(pod["apps"][0]["name"], "web");
        assert!(
            pod["errors"][0]
                .as_str()
                .unwrap()
                .contains("apps/web/status")
        );
    }

    #[test]
    fn what_a_power_cut_took_of_a_pod_is_no_damage() {
        let (manifest, began) = (manifest(), r#"{"started": 5}"#);
        for files in [
            [("pod", ""), ("ppid", "")],
            [("pod", &*manifest), ("apps/web/status", "")],
        ] {
            let (_tmp, pod) = exited(&files);
            assert_eq!(pod["state"], "exited", "{pod}");
            assert_eq!(pod["reason"], "host restarted", "{pod}");
            assert!(pod.get("errors").is_none(), "{pod}");
        }
        let (_tmp, pod) = exited(&[
            ("pod", &*manifest),
            ("ppid", ""),
            ("apps/web/status", began),
        ]);
        assert_eq!(pod["reason"], "host restarted", "{pod}");
        let (_tmp, pod) = exited(&[("apps/web/status", began)]);
        assert_eq!(pod["state"], "broken", "a missing manifest is damage");
    }

    #[test]
    fn a_pod_that_did_not_end_by_itself_says_so() {
        let process = |boot: &str| format!(r#"{{"pid": 1, "startTime": 1, "bootId": "{boot}"}}"#);
        let reason = |boot: &str, status: &str| {
            let files = [
                ("pod", manifest()),
                ("ppid", process(boot)),
                ("apps/web/status", status.to_owned()),
            ];
            let (_tmp, pod) = exited(&files.each_ref().map(|(f, t)| (*f, t.as_str())));
            pod["reason"].clone()
        };
        let (cut_off, ended) = (r#"{"started": 5}"#, r#"{"started": 5, "finished": 9}"#);
        let now = boot::id().unwrap();
        assert_eq!(reason("another", cut_off), "host restarted");
        assert_eq!(reason(&now, cut_off), "supervisor killed");
        assert_eq!(reason("another", ended), Value::Null);
        assert_eq!(reason(&now, ended), Value::Null);
    }
}
