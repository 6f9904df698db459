//! The limits that a pod's processes have from whoever started the pod, for a
//! program whose caller may have others.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit};

use crate::error::{Error, Result};
use crate::plan::Process;

/// Names in `/proc/PID/limits` (proc_pid_limits(5)).
const NAMES: [(&str, Resource); 16] = [
    ("Max cpu time", Resource::Cpu),
    ("Max file size", Resource::Fsize),
    ("Max data size", Resource::Data),
    ("Max stack size", Resource::Stack),
    ("Max core file size", Resource::Core),
    ("Max resident set", Resource::Rss),
    ("Max processes", Resource::Nproc),
    ("Max open files", Resource::Nofile),
    ("Max locked memory", Resource::Memlock),
    ("Max address space", Resource::As),
    ("Max file locks", Resource::Locks),
    ("Max pending signals", Resource::Sigpending),
    ("Max msgqueue size", Resource::Msgqueue),
    ("Max nice priority", Resource::Nice),
    ("Max realtime priority", Resource::Rtprio),
    ("Max realtime timeout", Resource::Rttime),
];

/// Gives the process the limits of the pod's PID 1, which no app can change,
/// and then its own. Where the caller's are tighter they stay.
///
/// # Errors
/// [`Error::System`] when they cannot be read.
pub(super) fn take_over(process: &mut Process, init: i32) -> Result<()> {
    let path = format!("/proc/{init}/limits");
    let text = fs::read_to_string(&path).map_err(|e| Error::system("read", path)(e))?;
    let own = std::mem::take(&mut process.rlimits);
    for (resource, theirs) in parse(&text) {
        if own.iter().any(|(other, _)| *other == resource) {
            continue;
        }
        let ours = getrlimit(resource);
        if ours != theirs {
            process.rlimits.push((resource, tighter(ours, theirs)));
        }
    }
    process.rlimits.extend(own);
    if process.oom_score_adj.is_none() {
        let read = |of: &str| -> Option<i32> {
            let text = fs::read_to_string(format!("/proc/{of}/oom_score_adj")).ok()?;
            text.trim().parse().ok()
        };
        let (theirs, ours) = (read(&init.to_string()), read("self"));
        process.oom_score_adj = theirs.filter(|_| theirs > ours);
    }
    Ok(())
}

fn parse(text: &str) -> Vec<(Resource, Rlimit)> {
    let value = |word: &str| match word {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    text.lines()
        .filter_map(|line| {
            let (name, resource) = NAMES.iter().find(|(name, _)| line.starts_with(name))?;
            let mut words = line[name.len()..].split_ascii_whitespace();
            Some((
                *resource,
                Rlimit {
                    current: value(words.next()?)?,
                    maximum: value(words.next()?)?,
                },
            ))
        })
        .collect()
}

/// Raising a hard limit takes a right that we may not have.
fn tighter(one: Rlimit, other: Rlimit) -> Rlimit {
    let least = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let maximum = least(one.maximum, other.maximum);
    Rlimit {
        current: least(other.current, maximum),
        maximum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_says_what_getrlimit_says() {
        let text = fs::read_to_string("/proc/self/limits").unwrap();
        let parsed = parse(&text);
        assert_eq!(parsed.len(), NAMES.len(), "{text}");
        for (resource, limit) in parsed {
            assert_eq!(limit, getrlimit(resource), "{resource:?}");
        }
    }

    #[test]
    fn the_tighter_limit_stays() {
        let limit = |current, maximum| Rlimit { current, maximum };
        let got = tighter(limit(Some(9), Some(10)), limit(Some(50), None));
        assert_eq!(got, limit(Some(10), Some(10)));
        let got = tighter(limit(None, None), limit(Some(5), Some(50)));
        assert_eq!(got, limit(Some(5), Some(50)));
    }
}
