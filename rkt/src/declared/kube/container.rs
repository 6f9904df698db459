//! A container is an app.

use std::collections::BTreeMap;

use manifests::isolation::DEFAULT_CAPABILITIES;

use super::fields::{Fields, Findings};
use super::pod::{Volumes, no_commas};
use super::{Draft, expanded, quoted};

/// What the pod says for containers that say nothing.
#[derive(Default)]
pub(super) struct Defaults {
    pub(super) identity: Identity,
    pub(super) groups: Vec<u64>,
    /// A restart policy of rkt.
    pub(super) restart: &'static str,
    /// Seconds to stop.
    pub(super) grace: u64,
}

/// Whom a container runs as.
#[derive(Debug, Default, Clone)]
pub(super) struct Identity {
    user: Option<u64>,
    group: Option<u64>,
    not_root: bool,
}

impl Identity {
    pub(super) fn read(&mut self, context: &mut Fields<'_>, findings: &mut Findings) {
        self.user = context.number("runAsUser", findings).or(self.user);
        self.group = context.number("runAsGroup", findings).or(self.group);
        self.not_root = context
            .flag("runAsNonRoot", findings)
            .unwrap_or(self.not_root);
    }
}

/// What of a container is the pod's business.
#[derive(Default)]
pub(super) struct Made {
    /// Its section.
    pub(super) section: Option<String>,
    pub(super) no_new_privileges: bool,
    pub(super) pull_policy: Option<&'static str>,
    /// Volumes that it mounts: what they are, and where that stands.
    pub(super) mounted: BTreeMap<String, (String, String)>,
}

pub(super) fn translate(
    mut container: Fields<'_>,
    defaults: &Defaults,
    volumes: &Volumes,
    draft: &mut Draft<'_>,
    findings: &mut Findings,
) -> Made {
    let name = container.needed("name", findings);
    let image = container.needed("image", findings);
    let (Some(name), Some(image)) = (name, image) else {
        return Made::default();
    };
    let app = format!("App {name}");
    let at = container.path("image");
    draft.set(&app, "Image", &format!("docker://{image}"), &at);
    let known = environment(&mut container, &app, draft, findings);
    command(&mut container, &app, &known, draft, findings);
    if let Some(directory) = container.text("workingDir", findings) {
        let at = container.path("workingDir");
        draft.set(&app, "WorkingDirectory", directory, &at);
    }
    ports(&mut container, name, draft, findings);
    resources(&mut container, &app, draft, findings);
    let mounted = mounts(&mut container, &app, volumes, draft, findings);
    let no_new_privileges = security(&mut container, &app, defaults, draft, findings);
    probe(&mut container, &app, draft, findings);
    let at = container.path("name");
    draft.set(&app, "Restart", defaults.restart, &at);
    draft.set(&app, "StopTimeout", &defaults.grace.to_string(), &at);
    for (key, ours, mode) in [
        ("stdin", "StandardInput", "stream"),
        ("tty", "StandardInput", "tty"),
    ] {
        if container.flag(key, findings) == Some(true) {
            draft.set(&app, ours, mode, &container.path(key));
        }
    }
    let pull_policy = match container.text("imagePullPolicy", findings) {
        None => None,
        Some("Always") => Some("update"),
        Some("IfNotPresent") => Some("new"),
        Some("Never") => Some("never"),
        Some(other) => {
            let reason = format!("{other:?} is none of Always, IfNotPresent, Never");
            findings.wrong(&container.path("imagePullPolicy"), reason);
            None
        }
    };
    container.refuse(
        "livenessProbe",
        "nobody asks it; an app can feed the watchdog of its unit (WatchdogSec=)",
        findings,
    );
    container.refuse("lifecycle", "an image's own handlers run", findings);
    container.finish(findings);
    Made {
        section: Some(app),
        no_new_privileges,
        pull_policy,
        mounted,
    }
}

fn environment(
    container: &mut Fields<'_>,
    app: &str,
    draft: &mut Draft<'_>,
    findings: &mut Findings,
) -> Vec<(String, String)> {
    let mut known = Vec::new();
    for (path, value) in container.list("env", findings) {
        let mut variable = Fields::of(&path, value, findings);
        let name = variable.needed("name", findings).unwrap_or_default();
        if let Some(from) = variable.fields("valueFrom", findings) {
            from.finish(findings);
        }
        let value = variable.text("value", findings).unwrap_or_default();
        let value = expanded(value, &known);
        draft.set_word(app, "Environment", &format!("{name}={value}"), &path);
        known.push((name.to_owned(), value));
        variable.finish(findings);
    }
    known
}

/// `command` stands for the image's entry point, `args` for its arguments.
fn command(
    container: &mut Fields<'_>,
    app: &str,
    known: &[(String, String)],
    draft: &mut Draft<'_>,
    findings: &mut Findings,
) {
    let path = container.path("command");
    let command = container.texts("command", findings);
    let args = container.texts("args", findings);
    let mut words: Vec<&str> = command;
    if words.is_empty() {
        if args.is_empty() {
            return;
        }
        draft.set(app, "ReplaceArguments", "yes", &container.path("args"));
    } else {
        let program = expanded(words.remove(0), known);
        draft.set(app, "Exec", &program, &path);
    }
    words.extend(args);
    let words: Vec<String> = words
        .into_iter()
        .map(|word| quoted(&expanded(word, known)))
        .collect();
    if !words.is_empty() {
        draft.set(app, "Arguments", &words.join(" "), &path);
    }
}

/// Only a host's port does something; the others are said for people.
fn ports(container: &mut Fields<'_>, app: &str, draft: &mut Draft<'_>, findings: &mut Findings) {
    for (path, value) in container.list("ports", findings) {
        let mut port = Fields::of(&path, value, findings);
        let number = port.number("containerPort", findings).unwrap_or_default();
        let host = port.number("hostPort", findings);
        let ip = port.text("hostIP", findings).unwrap_or_default();
        let protocol = port.text("protocol", findings).unwrap_or("TCP");
        let protocol = protocol.to_ascii_lowercase();
        let name = port.text("name", findings).map(str::to_owned);
        let name = name.unwrap_or_else(|| format!("{app}-{number}-{protocol}"));
        port.finish(findings);
        // On the host's network the port is the host's.
        if let (Some(host), false) = (host, draft.host_network) {
            let published = format!("{name}:{protocol}:{number}:{ip}:{host}");
            draft.set_word("Pod", "Publish", &published, &path);
        }
    }
}

/// A request weighs; what else it says is for a scheduler.
fn resources(
    container: &mut Fields<'_>,
    app: &str,
    draft: &mut Draft<'_>,
    findings: &mut Findings,
) {
    let Some(mut resources) = container.fields("resources", findings) else {
        return;
    };
    if let Some(mut limits) = resources.fields("limits", findings) {
        for (key, ours) in [("memory", "Memory"), ("cpu", "CPU")] {
            if let Some(quantity) = limits.quantity(key, findings) {
                draft.set(app, ours, &quantity, &limits.path(key));
            }
        }
        limits.finish(findings);
    }
    if let Some(mut requests) = resources.fields("requests", findings) {
        let path = requests.path("cpu");
        if let Some(cpu) = requests.quantity("cpu", findings) {
            match cpu.parse::<manifests::appc::Quantity>() {
                // As the kubelet does it: a core is 1024, and 2 is the least.
                Ok(cores) => {
                    let shares = (cores.milli() * 1024 / 1000).clamp(2, 262_144);
                    draft.set(app, "CPUShares", &shares.to_string(), &path);
                }
                Err(e) => findings.wrong(&path, e.to_string()),
            }
        }
        let _for_schedulers = requests.take("memory");
        requests.finish(findings);
    }
    resources.finish(findings);
}

/// A volume that is mounted read-only is another one: being read-only is the
/// volume's business in a pod file.
fn mounts(
    container: &mut Fields<'_>,
    app: &str,
    volumes: &Volumes,
    draft: &mut Draft<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, (String, String)> {
    let mut mounted = BTreeMap::new();
    for (path, value) in container.list("volumeMounts", findings) {
        let mut mount = Fields::of(&path, value, findings);
        let name = mount.needed("name", findings).unwrap_or_default();
        let target = mount.needed("mountPath", findings).unwrap_or_default();
        no_commas(target, &mount.path("mountPath"), findings);
        let read_only = mount.flag("readOnly", findings) == Some(true);
        let read_only_path = mount.path("readOnly");
        mount.finish(findings);
        let Some(volume) = volumes.get(name) else {
            let reason = format!("the pod has no volume {name:?}");
            findings.wrong(&format!("{path}.name"), reason);
            continue;
        };
        if read_only && !volume.shared {
            findings.unsupported(&read_only_path, "an empty volume can be written");
        }
        let (name, what) = match read_only && volume.shared {
            true => (
                format!("{name}-ro"),
                format!("{},readOnly=true", volume.what),
            ),
            false => (name.to_owned(), volume.what.clone()),
        };
        let said = format!("volume={name},target={target}");
        draft.set(app, "Mount", &said, &path);
        mounted.insert(name, (what, volume.path.clone()));
    }
    mounted
}

/// Says whether the container must gain no rights.
fn security(
    container: &mut Fields<'_>,
    app: &str,
    defaults: &Defaults,
    draft: &mut Draft<'_>,
    findings: &mut Findings,
) -> bool {
    let path = container.path("securityContext");
    let mut identity = defaults.identity.clone();
    let mut no_new_privileges = false;
    if let Some(mut context) = container.fields("securityContext", findings) {
        identity.read(&mut context, findings);
        if context.flag("privileged", findings) == Some(true) {
            let reason = "no app of a pod is privileged; give it the capabilities and devices \
                          that it needs";
            findings.wrong(&context.path("privileged"), reason);
        }
        if context.flag("readOnlyRootFilesystem", findings) == Some(true) {
            let at = context.path("readOnlyRootFilesystem");
            draft.set(app, "ReadOnlyRootfs", "yes", &at);
        }
        no_new_privileges = context.flag("allowPrivilegeEscalation", findings) == Some(false);
        if let Some(wanted) = context.fields("capabilities", findings) {
            capabilities(wanted, app, draft, findings);
        }
        seccomp(&mut context, findings);
        context.finish(findings);
    }
    if identity.not_root && identity.user.is_none_or(|user| user == 0) {
        let reason = "needs runAsUser: who the image's user is, is not known here";
        findings.unsupported(&format!("{path}.runAsNonRoot"), reason);
    }
    for (key, id) in [("User", identity.user), ("Group", identity.group)] {
        if let Some(id) = id {
            draft.set(app, key, &id.to_string(), &path);
        }
    }
    for gid in &defaults.groups {
        draft.set(app, "SupplementaryGroups", &gid.to_string(), &path);
    }
    no_new_privileges
}

/// Against Kubernetes' own default set, which is rkt's.
fn capabilities(mut wanted: Fields<'_>, app: &str, draft: &mut Draft<'_>, findings: &mut Findings) {
    let path = wanted.path("add");
    let add = wanted.texts("add", findings);
    let drop = wanted.texts("drop", findings);
    wanted.finish(findings);
    let all = |list: &[&str]| list.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    if all(&add) {
        findings.wrong(&path, "no app of a pod has all capabilities");
        return;
    }
    let full = |name: &str| match name.starts_with("CAP_") {
        true => name.to_owned(),
        false => format!("CAP_{name}"),
    };
    let usual: Vec<String> = DEFAULT_CAPABILITIES
        .iter()
        .map(|c| full(&c.to_string()))
        .collect();
    let dropped: Vec<String> = drop.iter().map(|name| full(name)).collect();
    let mut kept: Vec<String> = match all(&drop) {
        true => Vec::new(),
        false => usual
            .iter()
            .filter(|name| !dropped.contains(name))
            .cloned()
            .collect(),
    };
    for name in add.iter().map(|name| full(name)) {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    // Keeping nothing is said by taking all away.
    let (key, names) = match kept.is_empty() {
        true => ("CapabilitiesRemove", usual),
        false => ("CapabilitiesRetain", kept),
    };
    draft.set(app, key, &names.join(" "), &path);
}

/// The filter that apps have anyway, and no other.
pub(super) fn seccomp(context: &mut Fields<'_>, findings: &mut Findings) {
    let Some(mut profile) = context.fields("seccompProfile", findings) else {
        return;
    };
    let kind = profile.text("type", findings);
    if !matches!(kind, None | Some("RuntimeDefault")) {
        findings.unsupported(&profile.path("type"), "only RuntimeDefault is");
    }
    profile.finish(findings);
}

fn probe(container: &mut Fields<'_>, app: &str, draft: &mut Draft<'_>, findings: &mut Findings) {
    let Some(mut probe) = container.fields("readinessProbe", findings) else {
        return;
    };
    if let Some(mut exec) = probe.fields("exec", findings) {
        let path = exec.path("command");
        let words = exec.texts("command", findings);
        if words
            .iter()
            .any(|word| word.is_empty() || word.contains(char::is_whitespace))
        {
            findings.unsupported(&path, "its words cannot hold blanks");
        }
        if words
            .first()
            .is_none_or(|program| !program.starts_with('/'))
        {
            findings.unsupported(&path, "its program needs an absolute path");
        }
        draft.set(app, "Ready", &format!("exec:{}", words.join(" ")), &path);
        exec.finish(findings);
    }
    // As often as rkt asks anyway.
    if let Some(period) = probe.take("periodSeconds")
        && period.as_u64() != Some(1)
    {
        findings.unsupported(&probe.path("periodSeconds"), "it is asked once a second");
    }
    probe.finish(findings);
}
