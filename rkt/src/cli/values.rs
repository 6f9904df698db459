//! Values of flags that are more than a word: `--volume`, `--mount`, `--seccomp`…
//!
//! Each comes in as the string that was typed and goes out as the vocabulary's
//! own type. Source: rkt's command-line reference, "Pod-wide value grammars",
//! and the appc specification's command-string grammars.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use manifests::appc::{AcName, Mount, SeccompSet, Volume, VolumeSource};
use manifests::engine::Readiness;
use stage0::behaviour;

/// A message that says what is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadValue(String);

fn bad<T>(message: impl fmt::Display) -> Result<T, BadValue> {
    Err(BadValue(message.to_string()))
}

impl BadValue {
    fn from(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// `K=V`; the value may hold anything, also `=` and nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyValue(pub(crate) String, pub(crate) String);

impl FromStr for KeyValue {
    type Err = BadValue;

    fn from_str(s: &str) -> Result<Self, BadValue> {
        match s.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self(key.to_owned(), value.to_owned())),
            _ => bad(format_args!("{s:?} must be specified as name=value")),
        }
    }
}

/// Keys with their values.
pub(crate) fn pairs(flags: Vec<KeyValue>) -> Vec<(String, String)> {
    flags.into_iter().map(|KeyValue(k, v)| (k, v)).collect()
}

/// When an app is ready; goes out as it came in, for it becomes an annotation.
pub(crate) fn readiness(s: &str) -> Result<String, BadValue> {
    s.parse::<Readiness>().map_err(BadValue::from)?;
    Ok(s.to_owned())
}

/// A signal; goes out as it came in, for it becomes an annotation.
pub(crate) fn signal(s: &str) -> Result<String, BadValue> {
    behaviour::parse_signal(s).map_err(BadValue::from)?;
    Ok(s.to_owned())
}

/// The seconds of a grace period; a bare number is as many.
pub(crate) fn grace(s: &str) -> Result<u32, BadValue> {
    if let Ok(seconds) = s.parse::<u32>() {
        let period = Duration::from_secs(seconds.into());
        return behaviour::grace_seconds(period).map_err(BadValue::from);
    }
    behaviour::grace_seconds(duration(s)?).map_err(BadValue::from)
}

/// What is behind standard input; goes out as it came in.
pub(crate) fn stdin(s: &str) -> Result<String, BadValue> {
    behaviour::parse_input(s).map_err(BadValue::from)?;
    Ok(s.to_owned())
}

/// What is behind standard output or error; goes out as it came in.
pub(crate) fn stdout(s: &str) -> Result<String, BadValue> {
    behaviour::parse_output(s).map_err(BadValue::from)?;
    Ok(s.to_owned())
}

/// Go's booleans, which the reference accepts everywhere.
pub(crate) fn boolean(s: &str) -> Result<bool, BadValue> {
    match s {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => bad(format_args!(
            "{s:?} is not a boolean: expected true or false"
        )),
    }
}

/// `NAME,kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL]` or
/// `NAME,kind=empty[,mode=OCTAL][,uid=N][,gid=N][,readOnly=BOOL]`.
pub(crate) fn volume(s: &str) -> Result<Volume, BadValue> {
    read_volume(s).map_err(|e| BadValue(format!("invalid value in --volume flag {s:?}: {e}")))
}

fn read_volume(s: &str) -> Result<Volume, BadValue> {
    let mut parts = s.split(',');
    let name: AcName = parts
        .next()
        .unwrap_or_default()
        .parse()
        .map_err(BadValue::from)?;
    let (mut kind, mut source, mut recursive, mut read_only) = (None, None, None, None);
    let (mut mode, mut uid, mut gid) = (None, None, None);
    for part in parts {
        let Some((key, value)) = part.split_once('=') else {
            return bad(format_args!("{part:?} is not in KEY=VALUE form"));
        };
        let number = || value.parse::<u32>().map_err(BadValue::from);
        let twice = match key {
            "kind" => kind.replace(value).is_some(),
            "source" => source.replace(value).is_some(),
            "recursive" => recursive.replace(boolean(value)?).is_some(),
            "readOnly" => read_only.replace(boolean(value)?).is_some(),
            "mode" => {
                let bits = u32::from_str_radix(value, 8).ok().filter(|m| *m <= 0o7777);
                let Some(bits) = bits else {
                    return bad(format_args!("{value:?} is not an octal file mode"));
                };
                mode.replace(bits).is_some()
            }
            "uid" => uid.replace(number()?).is_some(),
            "gid" => gid.replace(number()?).is_some(),
            _ => return bad(format_args!("unknown volume parameter {key:?}")),
        };
        if twice {
            return bad(format_args!("volume parameter {key:?} is given twice"));
        }
    }
    let source = match kind {
        Some("host") => {
            if mode.is_some() || uid.is_some() || gid.is_some() {
                return bad("mode, uid and gid are for volumes of kind \"empty\" only");
            }
            let Some(source) = source else {
                return bad("a volume of kind \"host\" needs source=PATH");
            };
            if !source.starts_with('/') {
                return bad(format_args!("source {source:?} must be an absolute path"));
            }
            VolumeSource::Host {
                source: source.to_owned(),
                recursive,
            }
        }
        Some("empty") => {
            if source.is_some() {
                return bad("a volume of kind \"empty\" has no source");
            }
            VolumeSource::Empty {
                mode: mode.unwrap_or(0o755),
                uid: uid.unwrap_or(0),
                gid: gid.unwrap_or(0),
            }
        }
        _ => return bad("unrecognized volume kind: should be one of \"empty\", \"host\""),
    };
    Ok(Volume {
        name,
        source,
        read_only,
    })
}

/// `name=NAME,target=PATH,kind=…` and what else `--volume` takes: a volume of
/// one app, and where it is.
pub(crate) fn mnt_volume(s: &str) -> Result<Mount, BadValue> {
    let wrong = |e: BadValue| BadValue(format!("invalid value in --mnt-volume flag {s:?}: {e}"));
    let (mut name, mut target, mut rest) = (None, None, String::new());
    for (place, part) in s.split(',').enumerate() {
        match part.split_once('=') {
            Some(("name", value)) if name.is_none() => name = Some(value),
            Some(("target", value)) if target.is_none() => target = Some(value),
            None if place == 0 => name = Some(part),
            _ => {
                rest.push(',');
                rest.push_str(part);
            }
        }
    }
    let (Some(name), Some(target)) = (name, target) else {
        return bad("it needs name=NAME and target=PATH").map_err(wrong);
    };
    if !target.starts_with('/') {
        return bad(format_args!("target {target:?} must be an absolute path")).map_err(wrong);
    }
    let volume = read_volume(&format!("{name}{rest}")).map_err(wrong)?;
    Ok(Mount {
        volume: volume.name.clone(),
        path: target.to_owned(),
        app_volume: Some(volume),
    })
}

/// `volume=NAME,target=PATH`.
pub(crate) fn mount(s: &str) -> Result<Mount, BadValue> {
    let (mut volume, mut target) = (None, None);
    for part in s.split(',') {
        let twice = match part.split_once('=') {
            Some(("volume", value)) => volume.replace(value).is_some(),
            Some(("target", value)) => target.replace(value).is_some(),
            Some((key, _)) => return bad(format_args!("unknown mount parameter {key:?}")),
            None => return bad(format_args!("{part:?} is not in KEY=VALUE form")),
        };
        if twice {
            return bad(format_args!("{part:?} says again what was said before"));
        }
    }
    let (Some(volume), Some(target)) = (volume, target) else {
        return bad(format_args!("{s:?} is not in volume=NAME,target=PATH form"));
    };
    if !target.starts_with('/') {
        return bad(format_args!("target {target:?} must be an absolute path"));
    }
    Ok(Mount {
        volume: volume.parse().map_err(BadValue::from)?,
        path: target.to_owned(),
        app_volume: None,
    })
}

/// `mode=retain|remove[,errno=EXXX],ITEM…`: the set, and whether it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeccompFlag {
    /// The system calls of the set are the allowed ones.
    pub(crate) retain: bool,
    /// The set and what becomes of what is filtered.
    pub(crate) set: SeccompSet,
}

impl FromStr for SeccompFlag {
    type Err = BadValue;

    fn from_str(s: &str) -> Result<Self, BadValue> {
        let (mut retain, mut errno, mut set) = (None, None, Vec::new());
        for part in s.split(',') {
            match part.split_once('=') {
                Some(("mode", "retain")) => retain = Some(true),
                Some(("mode", "remove")) => retain = Some(false),
                Some(("mode", _)) => return bad("invalid seccomp mode command-line override"),
                Some(("errno", value)) => {
                    let rest = value.strip_prefix('E').unwrap_or_default();
                    let name = rest
                        .bytes()
                        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
                    if rest.is_empty() || !name {
                        return bad(format_args!("{value:?} is not the name of an error"));
                    }
                    errno = Some(value.to_owned());
                }
                Some(_) => return bad("invalid seccomp command-line override"),
                None if part.is_empty() => return bad("an item of the seccomp set is empty"),
                None => set.push(part.to_owned()),
            }
        }
        let Some(retain) = retain else {
            return bad("invalid seccomp mode command-line override");
        };
        if set.is_empty() {
            return bad("the seccomp set is empty");
        }
        Ok(Self {
            retain,
            set: SeccompSet { set, errno },
        })
    }
}

/// `CAP_A,CAP_B`.
pub(crate) fn capability(s: &str) -> Result<String, BadValue> {
    let name = s.strip_prefix("CAP_").unwrap_or_default();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
        return bad(format_args!(
            "{s:?} is not a capability, as CAP_CHOWN is one"
        ));
    }
    Ok(s.to_owned())
}

/// How long `--wait` waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitTime {
    /// Not at all.
    No,
    /// As long as it takes.
    Forever,
    /// At most so long.
    AtMost(Duration),
}

impl FromStr for WaitTime {
    type Err = BadValue;

    fn from_str(s: &str) -> Result<Self, BadValue> {
        if s.is_empty() || s.starts_with('-') {
            return Ok(Self::Forever);
        }
        if let Ok(wait) = boolean(s) {
            return Ok(if wait { Self::Forever } else { Self::No });
        }
        duration(s).map(Self::AtMost)
    }
}

/// Go's durations: `30m`, `24h0m0s`, `1.5s`, `0`.
pub(crate) fn duration(s: &str) -> Result<Duration, BadValue> {
    let wrong = || {
        BadValue(format!(
            "{s:?} is not a duration, as 30m, 24h or 1h30m5s are"
        ))
    };
    if s == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = s;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|end| *end > 0)
            .ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let (seconds, unit) = [
            (1e-9, "ns"),
            (1e-6, "us"),
            (1e-6, "µs"),
            (1e-3, "ms"),
            (1.0, "s"),
            (60.0, "m"),
            (3600.0, "h"),
        ]
        .into_iter()
        .find(|(_, unit)| rest.starts_with(unit))
        .ok_or_else(wrong)?;
        rest = &rest[unit.len()..];
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
    }
    if s.is_empty() { Err(wrong()) } else { Ok(sum) }
}

/// The same, written: `30m0s`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let nanos = duration.subsec_nanos();
    let fraction = match nanos {
        0 => String::new(),
        n => format!(".{n:09}").trim_end_matches('0').to_owned(),
    };
    match (hours, minutes) {
        (0, 0) => format!("{rest}{fraction}s"),
        (0, m) => format!("{m}m{rest}{fraction}s"),
        (h, m) => format!("{h}h{m}m{rest}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        let host = volume("work,kind=host,source=/opt/work,readOnly=true").unwrap();
        assert_eq!(host.name, "work");
        assert_eq!(host.read_only, Some(true));
        assert_eq!(
            host.source,
            VolumeSource::Host {
                source: "/opt/work".into(),
                recursive: None
            }
        );
        let empty = volume("v,kind=empty,mode=0700,uid=5").unwrap();
        let source = VolumeSource::Empty {
            mode: 0o700,
            uid: 5,
            gid: 0,
        };
        assert_eq!(empty.source, source);
        for (text, why) in [
            ("v", "unrecognized volume kind"),
            ("v,kind=disk", "unrecognized volume kind"),
            ("v,kind=host", "needs source"),
            ("v,kind=host,source=x", "absolute"),
            ("v,kind=host,source=/x,uid=1", "\"empty\" only"),
            ("v,kind=empty,source=/x", "has no source"),
            ("v,kind=empty,mode=9", "octal"),
            (
                "v,kind=empty,colour=red",
                "unknown volume parameter \"colour\"",
            ),
            ("v,kind=empty,kind=host", "twice"),
            ("V!,kind=empty", "not an AC name"),
        ] {
            let error = volume(text).unwrap_err().to_string();
            assert!(
                error.starts_with("invalid value in --volume flag"),
                "{error}"
            );
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn mounts() {
        let m = mount("volume=v,target=/a/b").unwrap();
        assert_eq!((m.volume.as_str(), m.path.as_str()), ("v", "/a/b"));
        for text in [
            "",
            "volume=v",
            "volume=v,target=b",
            "volume=v,target=/a,volume=w",
            "v",
        ] {
            assert!(mount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn volumes_of_one_app() {
        let m = mnt_volume("name=d,kind=host,source=/srv,target=/data,readOnly=true").unwrap();
        assert_eq!((m.volume.as_str(), m.path.as_str()), ("d", "/data"));
        assert_eq!(m.app_volume.unwrap().read_only, Some(true));
        assert!(mnt_volume("d,kind=empty,target=/data").is_ok());
        for (text, why) in [
            ("kind=empty,target=/d", "needs name=NAME"),
            ("name=d,kind=empty", "target=PATH"),
            ("name=d,kind=empty,target=d", "absolute"),
            ("name=d,kind=host,target=/d", "needs source"),
            (
                "name=d,name=e,kind=empty,target=/d",
                "unknown volume parameter \"name\"",
            ),
        ] {
            let error = mnt_volume(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn seccomp_sets() {
        let flag: SeccompFlag = "mode=remove,errno=ENOSYS,mount,@docker/x".parse().unwrap();
        assert!(!flag.retain);
        assert_eq!(flag.set.errno.as_deref(), Some("ENOSYS"));
        assert_eq!(flag.set.set, ["mount", "@docker/x"]);
        for (text, why) in [
            ("mount", "invalid seccomp mode command-line override"),
            (
                "mode=keep,mount",
                "invalid seccomp mode command-line override",
            ),
            ("mode=retain,a=b", "invalid seccomp command-line override"),
            ("mode=retain", "the seccomp set is empty"),
            (
                "mode=retain,errno=eperm,x",
                "\"eperm\" is not the name of an error",
            ),
        ] {
            let error = text.parse::<SeccompFlag>().unwrap_err().to_string();
            assert_eq!(error, why, "{text}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, seconds) in [
            ("0", 0.0),
            ("0s", 0.0),
            ("30m", 1800.0),
            ("24h0m0s", 86400.0),
            ("1.5h", 5400.0),
            ("100ms", 0.1),
        ] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for text in ["", "5", "h", "1x", "-1s", "1..2s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["0s", "30m0s", "24h0m0s", "1.5s", "1h0m0.25s"] {
            assert_eq!(go_duration(duration(text).unwrap()), text);
        }
        assert_eq!("true".parse(), Ok(WaitTime::Forever));
        assert_eq!("-1s".parse(), Ok(WaitTime::Forever));
        assert_eq!("0".parse(), Ok(WaitTime::No));
        assert_eq!("2s".parse(), Ok(WaitTime::AtMost(Duration::from_secs(2))));
    }
}
