//! A Kubernetes Pod as a pod file: `web.yaml` says in another language what
//! `web.pod` says.
//!
//! A field is translated when rkt does what Kubernetes' API reference says of
//! it, and refused by its path when it does not: a probe that nobody asks, a
//! limit that nobody sets are worse than an error. With `Lenient=yes` (or
//! `--lenient`) such fields are told and left out. What a YAML cannot say
//! (trust, when the pod is started) drop-ins do: `web.yaml.d/*.conf`.
//!
//! Source: Kubernetes API reference, "Pod" v1 core.

mod container;
mod fields;
mod pod;

use manifests::unit_file::{Assignment, Place, Section, SyntaxError, UnitFile};
use serde_json::Value;

use fields::{Fields, Findings};

/// Longest file that is looked at, in bytes.
const LONGEST: usize = 256 * 1024;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Translated {
    /// What it says, as a pod file.
    pub(super) unit: UnitFile,
    /// What was left out.
    pub(super) warnings: Vec<SyntaxError>,
}

/// Translates a file's text.
///
/// # Errors
/// All that is wrong or unsupported, each with its path in the document.
pub(super) fn translate(
    file: &str,
    text: &str,
    lenient: bool,
) -> Result<Translated, Vec<SyntaxError>> {
    let whole = |reason: String| {
        vec![SyntaxError {
            place: Place::of_file(file),
            reason,
        }]
    };
    if text.len() > LONGEST {
        return Err(whole(format!("longer than {LONGEST} bytes")));
    }
    let options = serde_saphyr::options! {
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|e| whole(e.to_string()))?;
    let documents: Vec<&Value> = documents.iter().filter(|d| !d.is_null()).collect();
    let [document] = documents.as_slice() else {
        return Err(whole(format!(
            "has {} documents; a file declares one pod",
            documents.len()
        )));
    };
    let mut findings = Findings::default();
    let mut draft = Draft::new(file);
    pod::translate(
        Fields::of("", document, &mut findings),
        &mut draft,
        &mut findings,
    );
    let place = |path: &str| Place::of_file(&draft.place(path));
    let told = |found: fields::Finding| SyntaxError {
        place: place(&found.path),
        reason: found.reason,
    };
    let (unsupported, wrong): (Vec<_>, Vec<_>) =
        findings.0.into_iter().partition(|found| found.unsupported);
    if !wrong.is_empty() || (!lenient && !unsupported.is_empty()) {
        return Err(wrong.into_iter().chain(unsupported).map(told).collect());
    }
    let warnings = unsupported.into_iter().map(told).collect();
    Ok(Translated {
        unit: draft.unit,
        warnings,
    })
}

/// A pod file being written.
struct Draft<'a> {
    file: &'a str,
    /// The pod is on the host's network.
    host_network: bool,
    unit: UnitFile,
}

impl<'a> Draft<'a> {
    fn new(file: &'a str) -> Self {
        Self {
            file,
            host_network: false,
            unit: UnitFile::default(),
        }
    }

    fn place(&self, path: &str) -> String {
        match path {
            "" => self.file.to_owned(),
            path => format!("{}: {path}", self.file),
        }
    }

    /// `KEY=VALUE` in a section, which a path of the document says. `%` is
    /// nothing but itself.
    fn set(&mut self, section: &str, key: &str, value: &str, path: &str) {
        let place = Place::of_file(&self.place(path));
        let value = value.replace('%', "%%");
        self.section(section, path).assignments.push(Assignment {
            key: key.to_owned(),
            value,
            place,
        });
    }

    /// The same for a key whose value is cut into words.
    fn set_word(&mut self, section: &str, key: &str, word: &str, path: &str) {
        self.set(section, key, &quoted(word), path);
    }

    fn section(&mut self, name: &str, path: &str) -> &mut Section {
        let place = Place::of_file(&self.place(path));
        let at = self.unit.sections.iter().position(|s| s.name == name);
        let at = at.unwrap_or_else(|| {
            self.unit.sections.push(Section {
                name: name.to_owned(),
                place,
                assignments: Vec::new(),
            });
            self.unit.sections.len() - 1
        });
        &mut self.unit.sections[at]
    }
}

/// One word of a value (`unit_file::words`).
fn quoted(word: &str) -> String {
    let mut quoted = String::with_capacity(word.len() + 2);
    quoted.push('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// Kubernetes' `$(NAME)` in commands, arguments and values; what is not known
/// stays, and `$$` is a dollar.
fn expanded(text: &str, known: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|rest| rest.split_once(')'))
        {
            match known.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let unit = translate("web.yaml", text, false)
            .unwrap_or_else(|e| panic!("{e:?}"))
            .unit;
        let sections = unit.sections.iter();
        sections
            .flat_map(|section| {
                let assignments = section.assignments.iter();
                assignments.map(|a| format!("{}: {}={}", section.name, a.key, a.value))
            })
            .collect()
    }

    fn refusals(text: &str) -> Vec<String> {
        let refused = translate("web.yaml", text, false).unwrap_err();
        refused.iter().map(ToString::to_string).collect()
    }

    const HEAD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n";

    #[test]
    fn a_pod_is_translated() {
        let text = format!(
            "{HEAD}  restartPolicy: OnFailure\n  terminationGracePeriodSeconds: 5\n  \
             hostAliases: [{{ip: 10.0.0.1, hostnames: [a, b]}}]\n  volumes:\n  \
             - {{name: data, hostPath: {{path: /srv/data, type: Directory}}}}\n  \
             - {{name: tmp, emptyDir: {{}}}}\n  containers:\n  - name: front\n    \
             image: nginx:1.27\n    command: [/bin/sh, -c]\n    args: ['echo $(WHO) 100% \"x\"']\n    \
             env: [{{name: WHO, value: me}}, {{name: ALSO, value: '$(WHO) $$(WHO)'}}]\n    \
             ports: [{{containerPort: 80, hostPort: 8080, name: http}}]\n    \
             resources: {{limits: {{memory: 64Mi, cpu: 500m}}, requests: {{cpu: 250m}}}}\n    \
             volumeMounts: [{{name: data, mountPath: /data, readOnly: true}}, {{name: tmp, mountPath: /tmp}}]\n    \
             securityContext: {{runAsUser: 33, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {{drop: [ALL], add: [NET_BIND_SERVICE]}}}}\n    \
             readinessProbe: {{exec: {{command: [/bin/check, -q]}}}}\nstatus: {{}}\n"
        );
        let made = lines(&text);
        for line in [
            "Pod: HostName=web",
            "Pod: HostsEntry=\"10.0.0.1=a\"",
            "Pod: HostsEntry=\"10.0.0.1=b\"",
            "Pod: Volume=data-ro,kind=host,source=/srv/data,readOnly=true",
            "Pod: Volume=tmp,kind=empty,mode=0777",
            "Pod: Publish=\"http:tcp:80::8080\"",
            "App front: Image=docker://nginx:1.27",
            "App front: Exec=/bin/sh",
            "App front: Arguments=\"-c\" \"echo me 100%% \\\"x\\\"\"",
            "App front: Environment=\"WHO=me\"",
            "App front: Environment=\"ALSO=me $(WHO)\"",
            "App front: Memory=64Mi",
            "App front: CPU=500m",
            "App front: CPUShares=256",
            "App front: Mount=volume=data-ro,target=/data",
            "App front: Mount=volume=tmp,target=/tmp",
            "App front: User=33",
            "App front: ReadOnlyRootfs=yes",
            "App front: CapabilitiesRetain=CAP_NET_BIND_SERVICE",
            "App front: Ready=exec:/bin/check -q",
            "App front: Restart=on-failure",
            "App front: StopTimeout=5",
            "Service: NoNewPrivileges=yes",
        ] {
            assert!(made.iter().any(|made| made == line), "{line}: {made:#?}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named_by_its_path() {
        let text = format!(
            "{HEAD}  nodeName: x\n  containers:\n  - name: a\n    image: b\n    \
             livenessProbe: {{httpGet: {{path: /}}}}\n    readinessProbe: {{httpGet: {{port: 80}}}}\n    \
             env: [{{name: X, valueFrom: {{secretKeyRef: {{name: s}}}}}}]\n    \
             securityContext: {{privileged: true}}\n    lifecycle: {{preStop: {{exec: {{}}}}}}\n"
        );
        let said = refusals(&text);
        for path in [
            "web.yaml: spec.nodeName: ",
            "web.yaml: spec.containers[0].livenessProbe: ",
            "web.yaml: spec.containers[0].readinessProbe.httpGet: ",
            "web.yaml: spec.containers[0].env[0].valueFrom.secretKeyRef: ",
            "web.yaml: spec.containers[0].securityContext.privileged: ",
            "web.yaml: spec.containers[0].lifecycle: ",
        ] {
            assert!(
                said.iter().any(|s| s.starts_with(path)),
                "{path}: {said:#?}"
            );
        }
        let lenient = translate("web.yaml", &text, true);
        // What is dangerous to leave out stays an error.
        let refused = lenient.unwrap_err();
        assert_eq!(refused.len(), said.len());
        let text = text.replace("privileged: true", "privileged: false");
        let lenient = translate("web.yaml", &text, true).unwrap();
        assert_eq!(lenient.warnings.len(), said.len() - 1);
    }

    #[test]
    fn other_documents_and_bombs_are_refused() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
             c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
             e: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
        for (text, why) in [
            ("kind: Deployment\napiVersion: apps/v1\n", "a Pod of v1"),
            ("a: [", "web.yaml: "),
            ("", "has 0 documents"),
            ("a: 1\n---\nb: 2\n", "has 2 documents"),
            ("- 1\n", "expected a mapping"),
            ("a: 1\na: 2\n", "duplicate"),
            (bomb, "web.yaml: "),
        ] {
            let said = refusals(text).join("\n");
            assert!(said.contains(why), "{text}: {said}");
        }
        assert!(refusals(&" ".repeat(LONGEST + 1))[0].contains("longer than"));
    }

    #[test]
    fn a_containers_own_name_and_image_are_needed() {
        let said = refusals(&format!("{HEAD}  containers:\n  - args: [x]\n")).join("\n");
        assert!(
            said.contains("spec.containers[0].name: is missing"),
            "{said}"
        );
        assert!(
            said.contains("spec.containers[0].image: is missing"),
            "{said}"
        );
        let said = refusals(&format!("{HEAD}  containers: []\n")).join("\n");
        assert!(said.contains("spec.containers: "), "{said}");
        let said = refusals(&format!("{HEAD}  hostNetwork: 'yes'\n")).join("\n");
        assert!(
            said.contains("spec.hostNetwork: expected true or false"),
            "{said}"
        );
    }
}
