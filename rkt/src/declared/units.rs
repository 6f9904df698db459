//! The text of the units.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use manifests::unit_file::{Section, UnitFile, quote};

use super::line::CommandLine;
use super::{PodFile, Problems, service};

/// A file of a unit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// `web.service`
    pub(crate) name: String,
    /// What stands in it.
    pub(crate) text: String,
}

/// What one pod file makes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Units {
    /// The service that is the pod, and the one that fetches its images.
    pub(crate) units: Vec<Unit>,
    /// Links that make other units start it: path of the link below the
    /// generator's directory, and where it leads.
    pub(crate) links: Vec<(PathBuf, String)>,
    /// What the file says and the units do not do.
    pub(crate) warnings: Vec<String>,
}

/// Where the pod's UUID is while the unit runs; `%N` is the unit's name
/// without its ending, `%t` the runtime directory.
const UUID_FILE: &str = "%t/rkt-%N.uuid";

impl Units {
    pub(super) fn new(file: &PodFile, unit: &UnitFile, line: &CommandLine) -> Self {
        let rkt = program();
        let name = format!("{}.service", file.name);
        let fetching = fetching_name(&file.name);
        let mut text = header(file);
        text.push_str("\n[Unit]\n");
        let _ = writeln!(text, "Description=Pod {}", escaped(&file.name));
        source(&mut text, &file.path);
        if !line.fetch.is_empty() {
            let _ = writeln!(text, "Wants={fetching}\nAfter={fetching}");
        }
        copied(&mut text, unit.get("Unit"));
        // Supervisor and apps share the unit's cgroup tree, which is rkt's to
        // divide; the supervisor alone is told to stop, and stops the apps.
        text.push_str("\n[Service]\nType=notify\nDelegate=yes\nKillMode=mixed\n");
        let uuid = format!("--uuid-file-save={UUID_FILE}");
        let (verb, rest) = line.run.split_first().expect("a command line has a verb");
        let words = [&rkt, verb, &uuid].into_iter().chain(rest);
        let _ = writeln!(text, "ExecStart={}", command(words));
        let _ = writeln!(
            text,
            "ExecStopPost=-{} rm --uuid-file={UUID_FILE}",
            quote(&rkt)
        );
        if let Some(seconds) = service::stop_timeout(unit) {
            let _ = writeln!(text, "TimeoutStopSec={seconds}");
        }
        let socket = unit.get("Socket");
        let socket = socket.map(|section| (section, format!("{}.socket", file.name)));
        if let Some((_, name)) = &socket {
            let _ = writeln!(text, "Sockets={name}");
        }
        copied(&mut text, unit.get("Service"));
        let mut links = links(unit.get("Install"), &name);
        let mut units = vec![Unit { name, text }];
        if let Some((section, name)) = socket {
            links.extend(socket_link(&name));
            units.push(Unit {
                text: socket_text(file, section),
                name,
            });
        }
        if !line.fetch.is_empty() {
            units.push(Unit {
                name: fetching,
                text: fetching_text(file, &rkt, line),
            });
        }
        Self {
            units,
            links,
            warnings: Vec::new(),
        }
    }
}

/// The socket unit that starts the pod when somebody connects.
fn socket_text(file: &PodFile, section: &Section) -> String {
    let mut text = header(file);
    text.push_str("\n[Unit]\n");
    let _ = writeln!(text, "Description=Sockets of pod {}", escaped(&file.name));
    source(&mut text, &file.path);
    text.push_str("\n[Socket]\n");
    copied(&mut text, Some(section));
    text
}

/// Sockets listen from boot on; which instance of a template does, somebody
/// has to say.
fn socket_link(name: &str) -> Option<(PathBuf, String)> {
    let link = Path::new("sockets.target.wants").join(name);
    (!name.ends_with("@.socket")).then(|| (link, format!("../{name}")))
}

/// For `web@.pod` the fetching unit is a template as well.
fn fetching_name(pod: &str) -> String {
    match pod.split_once('@') {
        Some((pod, "")) => format!("{pod}-fetch@.service"),
        Some((pod, instance)) => format!("{pod}-fetch@{instance}.service"),
        None => format!("{pod}-fetch.service"),
    }
}

fn fetching_text(file: &PodFile, rkt: &str, line: &CommandLine) -> String {
    let mut text = header(file);
    text.push_str("\n[Unit]\n");
    let _ = writeln!(text, "Description=Images of pod {}", escaped(&file.name));
    source(&mut text, &file.path);
    text.push_str("Wants=network-online.target\nAfter=network-online.target\n");
    text.push_str("\n[Service]\nType=oneshot\nNotifyAccess=main\nTimeoutStartSec=infinity\n");
    let words = std::iter::once(rkt).chain(line.fetch.iter().map(String::as_str));
    let _ = writeln!(text, "ExecStart={}", command(words));
    text
}

/// The service in the place of one whose file is wrong: it says so when it is
/// started, and fails.
pub(crate) fn broken(file: &PodFile, problems: &Problems) -> Units {
    let rkt = program();
    let mut text = header(file);
    for problem in problems.to_string().lines() {
        let _ = writeln!(text, "# {problem}");
    }
    text.push_str("\n[Unit]\n");
    let name = escaped(&file.name);
    let _ = writeln!(text, "Description=Pod {name}, whose file is wrong");
    source(&mut text, &file.path);
    text.push_str("\n[Service]\nType=oneshot\n");
    let path = escaped(&file.path.to_string_lossy());
    let words = [rkt.as_str(), "pod", "check", "--loaded", &path];
    let _ = writeln!(text, "ExecStart={}", command(words.into_iter()));
    Units {
        units: vec![Unit {
            name: format!("{}.service", file.name),
            text,
        }],
        links: Vec::new(),
        warnings: Vec::new(),
    }
}

/// This program, by the path that a unit can execute.
fn program() -> String {
    std::env::current_exe().map_or_else(
        |_| "/usr/bin/rkt".to_owned(),
        |path| escaped(&path.to_string_lossy()),
    )
}

fn header(file: &PodFile) -> String {
    let mut text = format!("# Made by rkt from {}", file.path.display());
    for drop_in in &file.drop_ins {
        let _ = write!(text, "\n# and {}", drop_in.display());
    }
    text.push_str(".\n# Change that file and reload systemd, or look with \"rkt pod show\".\n");
    text
}

fn source(text: &mut String, path: &Path) {
    let _ = writeln!(text, "SourcePath={}", escaped(&path.to_string_lossy()));
}

/// `%` stands for itself.
fn escaped(text: &str) -> String {
    text.replace('%', "%%")
}

fn command<W: AsRef<str>>(words: impl Iterator<Item = W>) -> String {
    let quoted: Vec<String> = words.map(|word| quote(word.as_ref())).collect();
    quoted.join(" ")
}

fn copied(text: &mut String, section: Option<&Section>) {
    for assignment in section.into_iter().flat_map(|s| &s.assignments) {
        let _ = writeln!(text, "{}={}", assignment.key, assignment.value);
    }
}

/// A generator enables what it makes itself: `[Install]` of a generated unit
/// has no effect (systemd.generator(7)).
fn links(install: Option<&Section>, name: &str) -> Vec<(PathBuf, String)> {
    let mut links = Vec::new();
    let Some(install) = install else { return links };
    for (key, ending) in [
        ("WantedBy", "wants"),
        ("RequiredBy", "requires"),
        ("UpheldBy", "upholds"),
    ] {
        for by in install.all(key).flat_map(|a| a.value.split_whitespace()) {
            if is_unit_name(by) {
                let link = Path::new(&format!("{by}.{ending}")).join(name);
                links.push((link, format!("../{name}")));
            }
        }
    }
    for alias in install
        .all("Alias")
        .flat_map(|a| a.value.split_whitespace())
    {
        if is_unit_name(alias) && alias != name {
            links.push((alias.into(), name.to_owned()));
        }
    }
    links
}

/// What can be a file name in the generator's directory.
fn is_unit_name(name: &str) -> bool {
    name.contains('.') && !name.contains('/') && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::super::Checked;
    use super::*;

    fn units(name: &str, text: &str) -> Units {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("{name}.pod"));
        std::fs::write(&path, text).unwrap();
        let file = super::super::of_path(&path, &[]).unwrap();
        file.units(Checked::Values, false).unwrap()
    }

    #[test]
    fn a_pod_is_a_service_and_one_that_fetches() {
        let made = units(
            "web",
            "[Unit]\nAfter=db.service\n[App a]\nImage=docker://a\nArguments=$x %i\n\
             [Service]\nMemoryMax=1G\n[Install]\nWantedBy=multi-user.target\nAlias=www.service\n",
        );
        let names: Vec<_> = made.units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, ["web.service", "web-fetch.service"]);
        let service = &made.units[0].text;
        for line in [
            "Wants=web-fetch.service",
            "After=db.service",
            "Delegate=yes",
            "MemoryMax=1G",
        ] {
            assert!(service.lines().any(|l| l == line), "{line}: {service}");
        }
        let start = " run --uuid-file-save=%t/rkt-%N.uuid --pull-policy=never docker://a \
                     --name=a -- \"$$x\" %i ---\n";
        assert!(service.contains(start), "{service}");
        assert!(
            made.units[1]
                .text
                .contains(" fetch --pull-policy=new docker://a\n")
        );
        assert_eq!(
            made.links,
            [
                (
                    "multi-user.target.wants/web.service".into(),
                    "../web.service".to_owned()
                ),
                ("www.service".into(), "web.service".to_owned()),
            ]
        );
    }

    #[test]
    fn sockets_are_a_unit_that_starts_the_pod() {
        let made = units(
            "web",
            "[App a]\nImage=docker://a\n[Socket]\nListenStream=80\nFileDescriptorName=http\n",
        );
        let socket = &made.units[1];
        assert_eq!(socket.name, "web.socket");
        assert!(
            socket
                .text
                .ends_with("[Socket]\nListenStream=80\nFileDescriptorName=http\n")
        );
        assert!(made.units[0].text.contains("\nSockets=web.socket\n"));
        let link = "sockets.target.wants/web.socket";
        assert_eq!(made.links, [(link.into(), "../web.socket".to_owned())]);
    }

    #[test]
    fn templates_stay_templates() {
        let made = units("web@", "[App a]\nImage=docker://%i\n");
        let names: Vec<_> = made.units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, ["web@.service", "web-fetch@.service"]);
    }

    #[test]
    fn the_readmes_example_is_right() {
        let readme = include_str!("../../../README.md");
        let start = readme.find("# /etc/rkt/pods/web.pod\n").unwrap();
        let text = readme[start..].split("```").next().unwrap();
        let made = units("web", text);
        assert!(
            made.units[0]
                .text
                .contains("--mount=volume=site,target=/srv")
        );
        assert!(made.units[0].text.contains("MemoryMax=512M"));
    }
}
