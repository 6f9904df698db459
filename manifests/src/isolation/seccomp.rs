//! System call filters: what the isolators say, groups expanded.

use super::IsolationError;
use super::syscalls;
use crate::appc::{Isolator, SeccompSet};

const RETAIN: &str = "os/linux/seccomp-retain-set";
const REMOVE: &str = "os/linux/seccomp-remove-set";

/// The filter of an app. Lists are sorted and free of repetitions, so equal
/// filters are written and compiled alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seccomp {
    /// None: the app asked for every call.
    Off,
    /// Ours. Known calls are [allowed](default_allowed) or
    /// [denied](default_denied); a call that is on neither list is newer than
    /// this program and must look as if the kernel did not have it, for then
    /// the caller does without.
    Default {
        /// Name of the error that a denied call returns; killed if absent.
        errno: Option<String>,
    },
    /// These calls and no others.
    Allow {
        /// Calls that are allowed.
        calls: Vec<String>,
        /// Name of the error that other calls return; killed if absent.
        errno: Option<String>,
    },
    /// All calls but these.
    Deny {
        /// Calls that are denied.
        calls: Vec<String>,
        /// Name of the error that they return; killed if absent.
        errno: Option<String>,
    },
}

/// The filter of an app with these isolators, and the groups that nobody
/// knows, which count for nothing.
///
/// # Errors
/// More than one filter, or one that names nothing or leaves nothing.
pub fn seccomp(isolators: &[Isolator]) -> Result<(Seccomp, Vec<String>), IsolationError> {
    let mut retain: Option<&SeccompSet> = None;
    let mut remove: Option<&SeccompSet> = None;
    for isolator in isolators {
        let (before, kind) = match isolator {
            Isolator::SeccompRetain(set) => (retain.replace(set), RETAIN),
            Isolator::SeccompRemove(set) => (remove.replace(set), REMOVE),
            _ => continue,
        };
        if before.is_some() {
            return Err(IsolationError::Repeated(kind));
        }
    }
    match (retain, remove) {
        (Some(_), Some(_)) => Err(IsolationError::Conflict(RETAIN, REMOVE)),
        (None, None) => Ok((Seccomp::Default { errno: None }, Vec::new())),
        (Some(set), None) => retained(set),
        (None, Some(set)) => removed(set),
    }
}

/// The calls that [`Seccomp::Default`] allows, always in the same order.
pub fn default_allowed() -> impl Iterator<Item = &'static str> {
    let arm = match cfg!(any(target_arch = "arm", target_arch = "aarch64")) {
        true => syscalls::DEFAULT_ALLOWED_ARM,
        false => "",
    };
    let lists = [
        syscalls::DEFAULT_ALLOWED,
        syscalls::DEFAULT_ALLOWED_SINCE,
        arm,
    ];
    lists.into_iter().flat_map(str::split_whitespace)
}

/// The calls that [`Seccomp::Default`] denies, always in the same order.
pub fn default_denied() -> impl Iterator<Item = &'static str> {
    syscalls::DEFAULT_DENIED.split_whitespace()
}

fn retained(set: &SeccompSet) -> Result<(Seccomp, Vec<String>), IsolationError> {
    let holds = |wildcard: &str| set.set.iter().any(|item| item == wildcard);
    if holds("@appc.io/all") {
        return Ok((Seccomp::Off, Vec::new()));
    }
    let (mut calls, unknown) = expand(&set.set);
    if holds("@appc.io/empty") || calls.is_empty() {
        return Err(IsolationError::NothingAllowed(RETAIN));
    }
    calls.extend(names(syscalls::LIFE_CYCLE));
    let (calls, errno) = (sorted(calls), set.errno.clone());
    Ok((Seccomp::Allow { calls, errno }, unknown))
}

fn removed(set: &SeccompSet) -> Result<(Seccomp, Vec<String>), IsolationError> {
    let holds = |wildcard: &str| set.set.iter().any(|item| item == wildcard);
    if holds("@appc.io/all") {
        return Err(IsolationError::NothingAllowed(REMOVE));
    }
    if holds("@appc.io/empty") {
        let errno = set.errno.clone();
        return Ok((Seccomp::Default { errno }, Vec::new()));
    }
    let (calls, unknown) = expand(&set.set);
    if calls.is_empty() {
        return Err(IsolationError::NothingNamed(REMOVE));
    }
    let (calls, errno) = (sorted(calls), set.errno.clone());
    Ok((Seccomp::Deny { calls, errno }, unknown))
}

/// Calls and groups as calls; besides, the groups that nobody knows.
fn expand(items: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut calls, mut unknown) = (Vec::new(), Vec::new());
    for item in items {
        match (item.starts_with('@'), group(item)) {
            (_, Some(members)) => calls.extend(members),
            (true, None) => unknown.push(item.clone()),
            (false, None) => calls.push(item.clone()),
        }
    }
    (calls, unknown)
}

fn group(name: &str) -> Option<Vec<String>> {
    Some(match name {
        "@rkt/default-whitelist" | "@docker/default-whitelist" => {
            default_allowed().map(str::to_owned).collect()
        }
        "@rkt/default-blacklist" | "@docker/default-blacklist" => names(syscalls::DEFAULT_DENIED),
        "@systemd/clock" => names(syscalls::SYSTEMD_CLOCK),
        "@systemd/default-whitelist" => names(syscalls::SYSTEMD_DEFAULT),
        "@systemd/mount" => names(syscalls::SYSTEMD_MOUNT),
        "@systemd/network-io" => names(syscalls::SYSTEMD_NETWORK_IO),
        "@systemd/obsolete" => names(syscalls::SYSTEMD_OBSOLETE),
        "@systemd/privileged" => names(syscalls::SYSTEMD_PRIVILEGED),
        "@systemd/process" => names(syscalls::SYSTEMD_PROCESS),
        "@systemd/raw-io" => names(syscalls::SYSTEMD_RAW_IO),
        _ => return None,
    })
}

fn names(list: &str) -> Vec<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

fn sorted(mut calls: Vec<String>) -> Vec<String> {
    calls.sort();
    calls.dedup();
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[&str], errno: Option<&str>) -> SeccompSet {
        SeccompSet {
            set: items.iter().map(|&i| i.to_owned()).collect(),
            errno: errno.map(str::to_owned),
        }
    }

    fn retain(items: &[&str]) -> Result<(Seccomp, Vec<String>), IsolationError> {
        seccomp(&[Isolator::SeccompRetain(set(items, None))])
    }

    fn remove(items: &[&str]) -> Result<(Seccomp, Vec<String>), IsolationError> {
        seccomp(&[Isolator::SeccompRemove(set(items, Some("EPERM")))])
    }

    #[test]
    fn the_default_knows_what_it_allows_and_what_it_denies() {
        let (allowed, denied): (Vec<_>, Vec<_>) =
            (default_allowed().collect(), default_denied().collect());
        assert_eq!(names(syscalls::DEFAULT_ALLOWED).len(), 309);
        assert_eq!(denied.len(), 50);
        assert!(denied.iter().all(|call| !allowed.contains(call)));
        let mut once = allowed.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), allowed.len());
        for needed in ["execve", "statx", "rseq", "clone3"] {
            assert!(allowed.contains(&needed), "{needed}");
        }
    }

    #[test]
    fn wildcards_cut_everything_short() {
        assert_eq!(retain(&["@appc.io/all", "read"]).unwrap().0, Seccomp::Off);
        assert!(matches!(
            remove(&["mount", "@appc.io/empty"]).unwrap().0,
            Seccomp::Default { errno: Some(e) } if e == "EPERM"
        ));
        assert_eq!(
            retain(&["@appc.io/empty"]),
            Err(IsolationError::NothingAllowed(RETAIN))
        );
        assert_eq!(
            remove(&["@appc.io/all"]),
            Err(IsolationError::NothingAllowed(REMOVE))
        );
    }

    #[test]
    fn groups_are_expanded_and_unknown_ones_reported() {
        let (filter, unknown) = remove(&["@systemd/clock", "mount", "mount", "@x/y"]).unwrap();
        let Seccomp::Deny { calls, .. } = filter else {
            panic!("not a list of denied calls");
        };
        assert!(calls.is_sorted());
        assert!(calls.contains(&"settimeofday".to_owned()));
        assert_eq!(calls.iter().filter(|c| *c == "mount").count(), 1);
        assert_eq!(unknown, ["@x/y"]);
        assert_eq!(remove(&["@x/y"]), Err(IsolationError::NothingNamed(REMOVE)));
    }

    #[test]
    fn a_process_can_always_begin_and_end() {
        let (Seccomp::Allow { calls, .. }, _) = retain(&["read"]).unwrap() else {
            panic!("not a list of allowed calls");
        };
        for needed in ["read", "execve", "exit_group", "rt_sigreturn"] {
            assert!(calls.iter().any(|call| call == needed), "{needed}");
        }
        assert!(!calls.iter().any(|call| call == "write"));
    }

    #[test]
    fn two_filters_are_one_too_many() {
        let one = Isolator::SeccompRetain(set(&["read"], None));
        let other = Isolator::SeccompRemove(set(&["read"], None));
        assert!(matches!(
            seccomp(&[one.clone(), other]),
            Err(IsolationError::Conflict(..))
        ));
        assert!(matches!(
            seccomp(&[one.clone(), one]),
            Err(IsolationError::Repeated(_))
        ));
    }
}
