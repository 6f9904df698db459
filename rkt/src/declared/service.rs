//! What `[Service]` of a pod file may say.
//!
//! Nearly everything: the pod is the service, and its limits are the pod's.
//! What cannot work is refused when the file is read, with the reason, and not
//! when the unit is started and something deep in it fails. Each of the
//! refusals was tried in a unit; `tests/tests/guest_settings.rs` does it again.

use manifests::unit_file::{Assignment, Section, SyntaxError, UnitFile};

use super::keys;
use crate::cli;

/// What an app may take to stop when its unit says how long: systemd kills it
/// before that.
pub(super) const UNLIMITED: &str = "8760h";

/// Seconds that an app has to stop unless its section says otherwise.
const USUAL: u64 = 10;

/// Seconds that systemd waits unless it is told otherwise
/// (`DefaultTimeoutStopSec=`).
const SYSTEMS: u64 = 90;

/// Settings whose value is rkt's business.
const OURS: &[&str] = &["ExecStart", "GuessMainPID", "PIDFile", "BusName"];

/// When a value of a setting cannot work.
#[derive(Clone, Copy)]
enum When {
    /// When it is yes.
    Yes,
    /// When it is no.
    No,
    /// When it is none of these.
    NoneOf(&'static [&'static str]),
    /// When it says what is allowed and not, behind a `~`, what is not.
    Listed,
}

/// What says no in a setting that may also be a list.
const NO: &[&str] = &["", "no", "false", "n", "f", "0", "off"];

/// Why there is no other user.
const ROOT: &str =
    "rkt needs root to make a pod; whom an app runs as, User= in its [App NAME] says";

/// Why there is no other root directory.
const HOST: &str = "rkt needs the host's files, and each app has a root of its own";

/// Settings that a pod cannot run with, and why.
const REFUSED: &[(&str, When, &str)] = &[
    (
        "Type",
        When::NoneOf(&["notify", "notify-reload", "exec", "oneshot"]),
        "leave it out, and the unit is started when the apps are ready; a job may be oneshot",
    ),
    (
        "Delegate",
        When::No,
        "rkt makes a cgroup for each app below the unit's; leave it out",
    ),
    (
        "KillMode",
        When::NoneOf(&["mixed"]),
        "the supervisor alone is told to stop, and stops the apps in order; leave it out",
    ),
    (
        "NotifyAccess",
        When::NoneOf(&["main", "exec", "all"]),
        "the supervisor speaks for the unit; which app it listens to, NotifyAccess=unit in its \
         [App NAME] says",
    ),
    ("User", When::NoneOf(&["", "root", "0"]), ROOT),
    ("DynamicUser", When::Yes, ROOT),
    (
        "PrivateUsers",
        When::NoneOf(NO),
        "root of another user namespace cannot make a pod",
    ),
    (
        "CapabilityBoundingSet",
        When::Listed,
        "rkt needs root's capabilities to make a pod; which ones an app has, CapabilitiesRetain= \
         in its [App NAME] says",
    ),
    (
        "SystemCallFilter",
        When::Listed,
        "rkt needs more calls than a list of good ones has, and an app would have them too; apps \
         have a filter of their own, see Seccomp= in [App NAME]",
    ),
    (
        "RestrictNamespaces",
        When::NoneOf(NO),
        "a pod is made of namespaces; apps cannot make any without CAP_SYS_ADMIN",
    ),
    (
        "RestrictSUIDSGID",
        When::Yes,
        "it forbids openat2(), by which rkt keeps to an image's root; NoNewPrivileges=yes makes \
         such files harmless",
    ),
    (
        "RestrictAddressFamilies",
        When::Listed,
        "rkt needs AF_UNIX, AF_INET and AF_NETLINK to make a pod; forbid others by a list that \
         begins with ~",
    ),
    (
        "PrivateDevices",
        When::Yes,
        "it forbids to make device nodes, of which each app's own /dev is made; there are only \
         null, zero, full, random, urandom and tty in it",
    ),
    (
        "ProtectControlGroups",
        When::NoneOf(NO),
        "rkt makes a cgroup for each app; apps see theirs read-only anyway",
    ),
    (
        "ProtectHostname",
        When::NoneOf(NO),
        "a pod has a host name of its own, which rkt sets; the host's is safe",
    ),
    (
        "ProcSubset",
        When::NoneOf(&["", "all"]),
        "rkt reads the boot's id below /proc/sys; each app has a /proc of its own",
    ),
    ("RootDirectory", When::NoneOf(&["", "/"]), HOST),
    ("RootImage", When::NoneOf(&[""]), HOST),
];

/// Everything in the section that cannot work.
pub(super) fn check(section: &Section, unit: &UnitFile) -> Vec<SyntaxError> {
    let mut problems: Vec<SyntaxError> = section
        .assignments
        .iter()
        .filter_map(|assignment| {
            let reason = refusal(assignment)?;
            Some(SyntaxError {
                place: assignment.place.clone(),
                reason,
            })
        })
        .collect();
    problems.extend(silent_watchdog(section, unit));
    problems.extend(strict_without_room(section));
    problems
}

/// With nothing of the host to write to, there is no place for the pod.
fn strict_without_room(section: &Section) -> Option<SyntaxError> {
    let strict = section
        .last("ProtectSystem")
        .filter(|a| a.value.eq_ignore_ascii_case("strict"))?;
    section
        .last("ReadWritePaths")
        .is_none()
        .then(|| SyntaxError {
            place: strict.place.clone(),
            reason: "ProtectSystem=strict leaves no place for the pod: add \
                 ReadWritePaths=/var/lib/rkt /run"
                .into(),
        })
}

fn refusal(assignment: &Assignment) -> Option<String> {
    let (key, value) = (assignment.key.as_str(), assignment.value.as_str());
    if OURS.contains(&key) {
        return Some(format!(
            "{key}= is made by rkt from [Pod] and [App NAME]; leave it out"
        ));
    }
    let (_, when, why) = REFUSED.iter().find(|(name, ..)| *name == key)?;
    let refused = match when {
        When::Yes => keys::boolean(value) == Some(true),
        When::No => keys::boolean(value) == Some(false),
        When::NoneOf(words) => !words.iter().any(|word| word.eq_ignore_ascii_case(value)),
        When::Listed => !value.is_empty() && !value.starts_with('~'),
    };
    refused.then(|| format!("{key}={value} does not work for a pod: {why}"))
}

/// Who feeds the watchdog has to be clear.
fn silent_watchdog(section: &Section, unit: &UnitFile) -> Option<SyntaxError> {
    let watchdog = section.last("WatchdogSec")?;
    let off = matches!(watchdog.value.as_str(), "" | "0" | "infinity");
    let apps: Vec<&Section> = apps(unit).collect();
    let speaks = |app: &&&Section| {
        let said = app.last(keys::NOTIFY_ACCESS);
        said.is_some_and(|a| a.value == "unit")
    };
    if off || apps.len() < 2 || apps.iter().any(|app| speaks(&app)) {
        return None;
    }
    Some(SyntaxError {
        place: watchdog.place.clone(),
        reason: "WatchdogSec=: none of the apps may feed the watchdog; say NotifyAccess=unit in \
                 the [App NAME] of the one that does"
            .into(),
    })
}

fn apps(unit: &UnitFile) -> impl Iterator<Item = &Section> {
    let sections = unit.sections.iter();
    sections.filter(|section| section.name.starts_with("App "))
}

/// Whether the unit says how long its only app may take to stop, and the app
/// does not.
pub(super) fn limits_stop(unit: &UnitFile) -> bool {
    let said = |key| unit.get("Service").and_then(|section| section.last(key));
    let mut apps = apps(unit);
    let (only, another) = (apps.next(), apps.next());
    (said("TimeoutStopSec").is_some() || said("TimeoutSec").is_some())
        && another.is_none()
        && only.is_some_and(|app| app.last(keys::STOP_TIMEOUT).is_none())
}

/// Seconds that systemd should wait for the pod to stop, when that is longer
/// than it does anyway: the apps stop one after the other.
pub(super) fn stop_timeout(unit: &UnitFile) -> Option<u64> {
    let seconds = apps(unit).map(|app| {
        let said = app.last(keys::STOP_TIMEOUT);
        said.and_then(|a| cli::grace(&a.value).ok())
            .map_or(USUAL, u64::from)
    });
    let all = seconds.fold(USUAL, u64::saturating_add);
    (all > SYSTEMS).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> String {
        let unit = UnitFile::parse("web.pod", text).unwrap();
        let problems = check(unit.get("Service").unwrap(), &unit);
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    #[test]
    fn what_cannot_work_is_refused_and_nothing_else() {
        for good in [
            "Type=notify-reload",
            "User=root",
            "PrivateTmp=yes",
            "PrivateDevices=no",
            "Delegate=cpu memory",
            "WatchdogSec=5",
            "LoadCredential=x:/y",
            "Type=oneshot",
            "SystemCallFilter=~@reboot",
            "ProtectSystem=full",
            "ProtectSystem=strict\nReadWritePaths=/var/lib/rkt /run",
        ] {
            assert_eq!(checked(&format!("[App a]\n[Service]\n{good}\n")), "");
        }
        for (bad, why) in [
            ("Type=simple", "web.pod:2: Type=simple does not work"),
            ("User=www-data", "User= in its [App NAME]"),
            ("DynamicUser=yes", "rkt needs root"),
            ("Delegate=no", "a cgroup for each app"),
            ("PIDFile=/run/x", "is made by rkt"),
            ("SystemCallFilter=@system-service", "Seccomp="),
            ("ProtectSystem=strict", "ReadWritePaths="),
        ] {
            let said = checked(&format!("[Service]\n{bad}\n"));
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    #[test]
    fn a_watchdog_wants_to_know_who_feeds_it() {
        let two = "[App a]\n[App b]\nNotifyAccess=unit\n[Service]\nWatchdogSec=5\n";
        assert_eq!(checked(two), "");
        let none = two.replace("unit", "none");
        assert!(checked(&none).contains("web.pod:5: WatchdogSec="));
    }

    #[test]
    fn systemd_waits_as_long_as_the_apps_may_take() {
        let unit = |text: &str| UnitFile::parse("web.pod", text).unwrap();
        assert_eq!(stop_timeout(&unit("[App a]\n[App b]\n")), None);
        assert_eq!(stop_timeout(&unit("[App a]\nStopTimeout=2m\n")), Some(130));
        let only = "[App a]\n[Service]\nTimeoutStopSec=30\n";
        assert!(limits_stop(&unit(only)));
        assert!(!limits_stop(&unit(
            &only.replace("]\n[S", "]\nStopTimeout=5\n[S")
        )));
        assert!(!limits_stop(&unit(&format!("{only}[App b]\n"))));
    }
}
