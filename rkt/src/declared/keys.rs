//! The keys of `[Pod]` and `[App]`, and the flags that they are.

/// How the values of a key become words of a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The last value: `--flag=VALUE`.
    One,
    /// Each value: `--flag=VALUE`.
    Each,
    /// Each word of each value: `--flag=WORD`.
    Words,
    /// All words of all values: `--flag=WORD,WORD`.
    Joined,
    /// `--flag` when the value is yes.
    WhenYes,
    /// `--flag` when the value is no.
    WhenNo,
    /// `--flag=true` or `--flag=false`.
    YesOrNo,
}

/// A key and its flag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) flag: &'static str,
    pub(super) kind: Kind,
}

const fn key(name: &'static str, flag: &'static str, kind: Kind) -> Key {
    Key { name, flag, kind }
}

/// Keys of `[Pod]` that are flags of `rkt run`.
pub(super) const POD: &[Key] = &[
    key("Network", "net", Kind::Each),
    key("Port", "port", Kind::Words),
    key("Publish", "publish", Kind::Words),
    key("Volume", "volume", Kind::Each),
    key("Mount", "mount", Kind::Each),
    key("HostName", "hostname", Kind::One),
    key("DNS", "dns", Kind::Words),
    key("DNSSearch", "dns-search", Kind::Words),
    key("DNSOption", "dns-opt", Kind::Words),
    key("DNSDomain", "dns-domain", Kind::One),
    key("HostsEntry", "hosts-entry", Kind::Words),
    key("IPC", "ipc", Kind::One),
    key("Environment", "set-env", Kind::Words),
    key("EnvironmentFile", "set-env-file", Kind::Each),
    key("InheritEnvironment", "inherit-env", Kind::WhenYes),
    key("Overlay", "no-overlay", Kind::WhenNo),
    key("PrivateUsers", "private-users", Kind::WhenYes),
    key("Stage1Path", "stage1-path", Kind::One),
    key(MANIFEST, "pod-manifest", Kind::One),
];

/// `[Pod] Manifest=`: a pod manifest instead of `[App]` sections.
pub(super) const MANIFEST: &str = "Manifest";

/// `[Pod] Lenient=`: what of a Kubernetes Pod is not supported is left out.
pub(super) const LENIENT: &str = "Lenient";

/// `[Pod] PullPolicy=`: of the unit that fetches.
pub(super) const PULL_POLICY: Key = key("PullPolicy", "pull-policy", Kind::One);

/// `[Pod] InsecureOptions=`: of both units.
pub(super) const INSECURE_OPTIONS: Key = key("InsecureOptions", "insecure-options", Kind::Joined);

/// `[App] Image=`.
pub(super) const IMAGE: &str = "Image";

/// `[App] Arguments=`: what stands behind `--`.
pub(super) const ARGUMENTS: &str = "Arguments";

/// Keys of `[App NAME]` that are per-app flags.
pub(super) const APP: &[Key] = &[
    key("Exec", "exec", Kind::One),
    key("ReplaceArguments", "replace-arguments", Kind::WhenYes),
    key("User", "user", Kind::One),
    key("Group", "group", Kind::One),
    key("SupplementaryGroups", "supplementary-gids", Kind::Joined),
    key("WorkingDirectory", "working-dir", Kind::One),
    key("Environment", "environment", Kind::Words),
    key("Mount", "mount", Kind::Each),
    key("ReadOnlyRootfs", "readonly-rootfs", Kind::YesOrNo),
    key("Annotation", "annotation", Kind::Words),
    key("UserAnnotation", "user-annotation", Kind::Words),
    key("UserLabel", "user-label", Kind::Words),
    key("Memory", "memory", Kind::One),
    key("CPU", "cpu", Kind::One),
    key("CPUShares", "cpu-shares", Kind::One),
    key("CapabilitiesRetain", "caps-retain", Kind::Joined),
    key("CapabilitiesRemove", "caps-remove", Kind::Joined),
    key("Seccomp", "seccomp", Kind::One),
    key("OOMScoreAdjust", "oom-score-adj", Kind::One),
    key("Restart", "restart", Kind::One),
    key("Ready", "ready", Kind::One),
    key("StopSignal", "stop-signal", Kind::One),
    key("StopTimeout", "stop-timeout", Kind::One),
    key("NotifyAccess", "notify-access", Kind::One),
    key("Credentials", "credentials", Kind::Joined),
    key("Sockets", "sockets", Kind::Joined),
    key("StandardInput", "stdin", Kind::One),
    key("StandardOutput", "stdout", Kind::One),
    key("StandardError", "stderr", Kind::One),
];

/// `[App] StopTimeout=`.
pub(super) const STOP_TIMEOUT: &str = "StopTimeout";

/// `[App] NotifyAccess=`.
pub(super) const NOTIFY_ACCESS: &str = "NotifyAccess";

/// The sections of a pod file; an app's name follows `App`.
pub(super) const SECTIONS: &[&str] = &["Pod", "App", "Unit", "Service", "Socket", "Install"];

/// Systemd's booleans (systemd.syntax(7)).
pub(super) fn boolean(value: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(value));
    match () {
        () if is(&["1", "yes", "y", "true", "t", "on"]) => Some(true),
        () if is(&["0", "no", "n", "false", "f", "off"]) => Some(false),
        () => None,
    }
}

/// The one of the candidates that was probably meant.
pub(super) fn nearest<'a>(
    typed: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let likeness =
        |candidate: &str| strsim::jaro_winkler(&typed.to_lowercase(), &candidate.to_lowercase());
    candidates
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_found_and_nonsense_has_none() {
        let names = || APP.iter().map(|key| key.name);
        assert_eq!(nearest("Enviroment", names()), Some("Environment"));
        assert_eq!(nearest("user", names()), Some("User"));
        assert_eq!(nearest("Xyzzy", names()), None);
    }

    #[test]
    fn booleans_are_systemds() {
        assert_eq!(boolean("Yes"), Some(true));
        assert_eq!(boolean("off"), Some(false));
        assert_eq!(boolean("2"), None);
    }
}
