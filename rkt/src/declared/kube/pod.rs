//! What is about the whole pod.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Draft;
use super::container::{self, Defaults};
use super::fields::{Fields, Findings};

/// Seconds that containers have to stop, unless the pod says otherwise.
const GRACE: u64 = 30;

/// Volumes by name: what they are in a pod file, and where that stands.
pub(super) type Volumes = BTreeMap<String, Volume>;

/// A volume.
pub(super) struct Volume {
    /// `kind=host,source=/srv`
    pub(super) what: String,
    /// Its path in the document.
    pub(super) path: String,
    /// It can be mounted twice and be the same.
    pub(super) shared: bool,
}

pub(super) fn translate(mut document: Fields<'_>, draft: &mut Draft<'_>, findings: &mut Findings) {
    let kind = document.text("kind", findings);
    let version = document.text("apiVersion", findings);
    if (version, kind) != (Some("v1"), Some("Pod")) {
        let said = [version.unwrap_or("?"), kind.unwrap_or("?")].join(" ");
        findings.wrong(
            "kind",
            format!("{said:?}: only a Pod of v1 can be declared"),
        );
        return;
    }
    let labels = metadata(&mut document, draft, findings);
    if let Some(spec) = document.fields("spec", findings) {
        translate_spec(spec, &labels, draft, findings);
    } else {
        findings.wrong("spec", "is missing");
    }
    document.finish(findings);
}

/// The pod's name is its host's; its labels are its apps'.
fn metadata<'a>(
    document: &mut Fields<'a>,
    draft: &mut Draft<'_>,
    findings: &mut Findings,
) -> Vec<(String, &'a str)> {
    let Some(mut metadata) = document.fields("metadata", findings) else {
        findings.wrong("metadata", "is missing");
        return Vec::new();
    };
    if let Some(name) = metadata.needed("name", findings) {
        draft.set("Pod", "HostName", name, "metadata.name");
    }
    if let Some(space) = metadata.text("namespace", findings)
        && space != "default"
    {
        findings.unsupported("metadata.namespace", "there are no namespaces but default");
    }
    let mut labels = Vec::new();
    for (key, kind) in [("labels", "UserLabel"), ("annotations", "UserAnnotation")] {
        let path = metadata.path(key);
        if let Some(Value::Object(map)) = metadata.take(key) {
            for (name, value) in map {
                match value.as_str() {
                    Some(value) => labels.push((format!("{name}={value}"), kind)),
                    None => findings.wrong(&format!("{path}.{name}"), "expected a text"),
                }
            }
        }
    }
    metadata.finish(findings);
    labels
}

fn translate_spec(
    mut spec: Fields<'_>,
    labels: &[(String, &str)],
    draft: &mut Draft<'_>,
    findings: &mut Findings,
) {
    network(&mut spec, draft, findings);
    names(&mut spec, draft, findings);
    let volumes = volumes(&mut spec, findings);
    let mut defaults = Defaults::default();
    if let Some(mut context) = spec.fields("securityContext", findings) {
        defaults.identity.read(&mut context, findings);
        for (_, gid) in context.list("supplementalGroups", findings) {
            defaults.groups.extend(gid.as_u64());
        }
        container::seccomp(&mut context, findings);
        context.finish(findings);
    }
    defaults.restart = match spec.text("restartPolicy", findings) {
        None | Some("Always") => "always",
        Some("OnFailure") => "on-failure",
        Some("Never") => "no",
        Some(other) => {
            let reason = format!("{other:?} is none of Always, OnFailure, Never");
            findings.wrong("spec.restartPolicy", reason);
            "no"
        }
    };
    let grace = spec.number("terminationGracePeriodSeconds", findings);
    defaults.grace = grace.unwrap_or(GRACE);
    if let Some(seconds) = spec.number("activeDeadlineSeconds", findings) {
        let path = spec.path("activeDeadlineSeconds");
        draft.set("Service", "RuntimeMaxSec", &seconds.to_string(), &path);
    }
    if spec.flag("hostIPC", findings) == Some(true) {
        draft.set("Pod", "IPC", "parent", "spec.hostIPC");
    }
    spec.only_false("hostPID", "a pod has processes of its own", findings);
    spec.only_false("enableServiceLinks", "there are no services", findings);
    spec.only_false(
        "automountServiceAccountToken",
        "there are no service accounts",
        findings,
    );
    if spec.flag("shareProcessNamespace", findings) == Some(false) {
        let reason = "the apps of a pod see each other's processes";
        findings.unsupported("spec.shareProcessNamespace", reason);
    }
    spec.refuse(
        "initContainers",
        "nothing runs to its end before the apps start; an image's pre-start handler does in its \
         own app",
        findings,
    );
    let containers = spec.list("containers", findings);
    if containers.is_empty() {
        findings.wrong("spec.containers", "a pod needs a container");
    }
    let mut no_new_privileges = Vec::new();
    let mut policies = Vec::new();
    let mut used = BTreeMap::new();
    for (path, value) in containers {
        let fields = Fields::of(&path, value, findings);
        let mut made = container::translate(fields, &defaults, &volumes, draft, findings);
        for (label, key) in labels {
            if let Some(section) = &made.section {
                draft.set_word(section, key, label, "metadata");
            }
        }
        no_new_privileges.push((made.no_new_privileges, path.clone()));
        policies.extend(made.pull_policy.take().map(|policy| (policy, path)));
        used.append(&mut made.mounted);
    }
    for (volume, (what, path)) in used {
        draft.set("Pod", "Volume", &format!("{volume},{what}"), &path);
    }
    for_all(&no_new_privileges, draft, findings);
    pull_policy(&policies, draft, findings);
    spec.finish(findings);
}

/// What a unit says for all apps has to be said of all containers.
fn for_all(said: &[(bool, String)], draft: &mut Draft<'_>, findings: &mut Findings) {
    let key = "securityContext.allowPrivilegeEscalation";
    if !said.is_empty() && said.iter().all(|(no, _)| *no) {
        draft.set("Service", "NoNewPrivileges", "yes", key);
    } else {
        for (_, path) in said.iter().filter(|(no, _)| *no) {
            let reason = "false has to be said of all containers or of none";
            findings.unsupported(&format!("{path}.{key}"), reason);
        }
    }
}

fn pull_policy(said: &[(&str, String)], draft: &mut Draft<'_>, findings: &mut Findings) {
    let Some((first, path)) = said.first() else {
        return;
    };
    if let Some((_, path)) = said.iter().find(|(policy, _)| policy != first) {
        let reason = "has to be the same for all containers";
        findings.unsupported(&format!("{path}.imagePullPolicy"), reason);
    }
    draft.set(
        "Pod",
        "PullPolicy",
        first,
        &format!("{path}.imagePullPolicy"),
    );
}

fn network(spec: &mut Fields<'_>, draft: &mut Draft<'_>, findings: &mut Findings) {
    if spec.flag("hostNetwork", findings) == Some(true) {
        draft.host_network = true;
        draft.set("Pod", "Network", "host", "spec.hostNetwork");
    }
    match spec.text("dnsPolicy", findings) {
        // There is no cluster, and then this is what Default is.
        None | Some("ClusterFirst" | "ClusterFirstWithHostNet" | "None") => {}
        Some("Default") => draft.set_word("Pod", "DNS", "host", "spec.dnsPolicy"),
        Some(other) => findings.wrong("spec.dnsPolicy", format!("{other:?} is no policy")),
    }
    if let Some(mut dns) = spec.fields("dnsConfig", findings) {
        for (key, ours) in [("nameservers", "DNS"), ("searches", "DNSSearch")] {
            for word in dns.texts(key, findings) {
                draft.set_word("Pod", ours, word, &dns.path(key));
            }
        }
        for (path, value) in dns.list("options", findings) {
            let mut option = Fields::of(&path, value, findings);
            let name = option.needed("name", findings).unwrap_or_default();
            let word = match option.text("value", findings) {
                Some(value) => format!("{name}:{value}"),
                None => name.to_owned(),
            };
            draft.set_word("Pod", "DNSOption", &word, &path);
            option.finish(findings);
        }
        dns.finish(findings);
    }
}

fn names(spec: &mut Fields<'_>, draft: &mut Draft<'_>, findings: &mut Findings) {
    if let Some(name) = spec.text("hostname", findings) {
        draft.set("Pod", "HostName", name, "spec.hostname");
    }
    for (path, value) in spec.list("hostAliases", findings) {
        let mut alias = Fields::of(&path, value, findings);
        let ip = alias.needed("ip", findings).unwrap_or_default();
        for name in alias.texts("hostnames", findings) {
            draft.set_word("Pod", "HostsEntry", &format!("{ip}={name}"), &path);
        }
        alias.finish(findings);
    }
}

fn volumes(spec: &mut Fields<'_>, findings: &mut Findings) -> Volumes {
    let mut volumes = Volumes::new();
    for (path, value) in spec.list("volumes", findings) {
        let mut volume = Fields::of(&path, value, findings);
        let name = volume.needed("name", findings).unwrap_or_default();
        let mut what = None;
        if let Some(mut host) = volume.fields("hostPath", findings) {
            let source = host.needed("path", findings).unwrap_or_default();
            if !matches!(
                host.text("type", findings),
                None | Some("" | "Directory" | "File" | "Socket" | "CharDevice" | "BlockDevice")
            ) {
                findings.unsupported(&host.path("type"), "rkt makes nothing on the host");
            }
            no_commas(source, &host.path("path"), findings);
            host.finish(findings);
            what = Some((format!("kind=host,source={source}"), true));
        }
        if let Some(empty) = volume.fields("emptyDir", findings) {
            empty.finish(findings);
            what = Some(("kind=empty,mode=0777".to_owned(), false));
        }
        volume.finish(findings);
        if what.is_none() {
            findings.unsupported(&path, "a volume is a hostPath or an emptyDir");
        }
        // So that its mounts need not be told as well.
        let (what, shared) = what.unwrap_or_else(|| ("kind=empty".to_owned(), true));
        volumes.insert(name.to_owned(), Volume { what, path, shared });
    }
    volumes
}

/// In flags a comma ends a value.
pub(super) fn no_commas(text: &str, path: &str, findings: &mut Findings) {
    if text.contains(',') {
        findings.unsupported(path, "a path with a comma cannot be said");
    }
}
