//! From a pod file to the command lines that fetch and run its pod.

use std::path::Path;

use manifests::unit_file::{self, Assignment, Place, Section, SyntaxError, UnitFile};

use super::keys::{self, Key, Kind};
use super::{Problem, Problems, service};
use crate::cli;

/// The words behind `rkt` of the two commands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// `fetch …`; empty when there is nothing to fetch.
    pub(super) fetch: Vec<String>,
    /// `run …`
    pub(super) run: Vec<String>,
}

/// What a section of a pod file is.
enum What<'a> {
    Pod,
    App(&'a str),
    /// systemd's own.
    Service,
    Other,
}

fn what(section: &Section) -> Result<What<'_>, SyntaxError> {
    let name = section.name.as_str();
    match name.split_once(' ') {
        Some(("App", app)) if !app.trim().is_empty() => return Ok(What::App(app.trim())),
        _ => {}
    }
    match name {
        "Pod" => Ok(What::Pod),
        "Service" => Ok(What::Service),
        "Unit" | "Install" | "Socket" => Ok(What::Other),
        // As in units: other programs' sections (systemd.unit(5)).
        _ if name.starts_with("X-") => Ok(What::Other),
        "App" => Err(wrong(
            &section.place,
            "the section [App] needs the app's name: [App NAME]",
        )),
        _ => {
            let near = keys::nearest(name, keys::SECTIONS.iter().copied());
            let hint = near.map_or_else(
                || {
                    "there are [Pod], [App NAME], [Unit], [Service], [Socket] and [Install]"
                        .to_owned()
                },
                |near| format!("did you mean [{near}]?"),
            );
            Err(wrong(
                &section.place,
                format!("unknown section [{name}]; {hint}"),
            ))
        }
    }
}

fn wrong(place: &Place, reason: impl Into<String>) -> SyntaxError {
    SyntaxError {
        place: place.clone(),
        reason: reason.into(),
    }
}

impl CommandLine {
    /// Translates sections and keys. Values are only taken apart.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(super) fn of(unit: &UnitFile, path: &Path) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut reader = Reader {
            ends_with_the_unit: service::limits_stop(unit),
            ..Reader::default()
        };
        for section in &unit.sections {
            let read = match what(section) {
                Ok(What::Pod) => reader.pod(section),
                Ok(What::App(name)) => reader.app(section, name),
                Ok(What::Service) => service::check(section, unit),
                Ok(What::Other) => Vec::new(),
                Err(e) => vec![e],
            };
            problems.extend(read.into_iter().map(Problem::Syntax));
        }
        if problems.is_empty() && reader.images.is_empty() != reader.has_manifest {
            let reason = if reader.has_manifest {
                "[Pod] Manifest= names all apps; the file cannot have [App] sections as well"
            } else {
                "the file has no [App NAME] section, and so no app"
            };
            problems.push(Problem::Whole {
                path: path.to_owned(),
                reason: reason.into(),
            });
        }
        if problems.is_empty() {
            Ok(reader.line())
        } else {
            Err(Problems(problems))
        }
    }

    /// Lets the command line's parser look at the values.
    ///
    /// # Errors
    /// What it says, with the line of the value that it says it about.
    pub(super) fn check(&self, unit: &UnitFile, path: &Path) -> Result<(), Problems> {
        let Err(whole) = cli::check_run(self.run[1..].to_vec()) else {
            return Ok(());
        };
        let mut problems = Vec::new();
        for section in &unit.sections {
            let (keys, before): (_, &[&str]) = match what(section) {
                Ok(What::Pod) => (keys::POD, &[]),
                Ok(What::App(_)) => (keys::APP, &["image"]),
                _ => continue,
            };
            for assignment in &section.assignments {
                let Some(key) = keys.iter().find(|key| key.name == assignment.key) else {
                    continue;
                };
                let mut alone: Vec<String> = before.iter().map(|w| (*w).to_owned()).collect();
                match words(key, std::iter::once(assignment)) {
                    Ok(words) => alone.extend(words),
                    Err(e) => problems.push(Problem::Syntax(e)),
                }
                if let Err(reason) = cli::check_run(alone) {
                    let reason = format!("{}=: {reason}", key.name);
                    problems.push(wrong(&assignment.place, reason).into());
                }
            }
        }
        if problems.is_empty() {
            problems.push(Problem::Whole {
                path: path.to_owned(),
                reason: whole,
            });
        }
        Err(Problems(problems))
    }
}

/// Collects the words of the sections.
#[derive(Default)]
struct Reader {
    has_manifest: bool,
    /// The unit says how long its only app may take to stop.
    ends_with_the_unit: bool,
    global: Vec<String>,
    pull_policy: Vec<String>,
    pod: Vec<String>,
    images: Vec<String>,
    apps: Vec<String>,
}

impl Reader {
    fn pod(&mut self, section: &Section) -> Vec<SyntaxError> {
        let own = [keys::PULL_POLICY, keys::INSECURE_OPTIONS];
        let names = keys::POD.iter().chain(&own).map(|key| key.name);
        let mut problems = unknown(section, names.chain([keys::LENIENT]));
        self.has_manifest = section.last(keys::MANIFEST).is_some();
        let mut add = |out: &mut Vec<String>, key: &Key| match words(key, section.all(key.name)) {
            Ok(words) => out.extend(words),
            Err(e) => problems.push(e),
        };
        for key in keys::POD {
            add(&mut self.pod, key);
        }
        add(&mut self.pull_policy, &keys::PULL_POLICY);
        add(&mut self.global, &keys::INSECURE_OPTIONS);
        problems
    }

    fn app(&mut self, section: &Section, name: &str) -> Vec<SyntaxError> {
        let own = [keys::IMAGE, keys::ARGUMENTS];
        let names = keys::APP.iter().map(|key| key.name).chain(own);
        let mut problems = unknown(section, names);
        if let Some(image) = section.last(keys::IMAGE) {
            if !self.images.contains(&image.value) {
                self.images.push(image.value.clone());
            }
            self.apps.push(image.value.clone());
        } else {
            let reason = format!("the app {name:?} has no image: it needs Image=");
            problems.push(wrong(&section.place, reason));
        }
        self.apps.push(format!("--name={name}"));
        for key in keys::APP {
            match words(key, section.all(key.name)) {
                Ok(words) => self.apps.extend(words),
                Err(e) => problems.push(e),
            }
        }
        if self.ends_with_the_unit {
            self.apps
                .push(format!("--stop-timeout={}", service::UNLIMITED));
        }
        let mut arguments = Vec::new();
        for assignment in section.all(keys::ARGUMENTS) {
            match split(assignment) {
                Ok(words) => arguments.extend(words),
                Err(e) => problems.push(e),
            }
        }
        if let Some(bad) = arguments
            .iter()
            .find(|word| *word == "---" || word.is_empty())
        {
            let reason = format!("Arguments= cannot hold the word {bad:?}");
            problems.push(wrong(&section.place, reason));
        }
        if !arguments.is_empty() {
            self.apps.push("--".into());
            self.apps.extend(arguments);
            self.apps.push("---".into());
        }
        problems
    }

    fn line(self) -> CommandLine {
        let mut fetch = Vec::new();
        if !self.images.is_empty() {
            fetch.extend(self.global.iter().cloned());
            fetch.push("fetch".into());
            if self.pull_policy.is_empty() {
                // What is stored need not be asked for at each start.
                fetch.push("--pull-policy=new".into());
            }
            fetch.extend(self.pull_policy);
            fetch.extend(self.images);
        }
        // A start never needs the network.
        let mut run = vec!["run".to_owned()];
        run.extend(self.global);
        if !self.has_manifest {
            run.push("--pull-policy=never".into());
        }
        run.extend(self.pod);
        run.extend(self.apps);
        CommandLine { fetch, run }
    }
}

/// The assignments of keys that there are not.
fn unknown<'a>(
    section: &Section,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Vec<SyntaxError> {
    let is_known = |key: &str| known.clone().any(|name| name == key);
    section
        .assignments
        .iter()
        .filter(|a| !is_known(&a.key) && !a.key.starts_with("X-"))
        .map(|a| {
            let hint = keys::nearest(&a.key, known.clone())
                .map(|near| format!("; did you mean {near}=?"))
                .unwrap_or_default();
            let reason = format!("unknown key {}= in [{}]{hint}", a.key, section.name);
            wrong(&a.place, reason)
        })
        .collect()
}

fn split(assignment: &Assignment) -> Result<Vec<String>, SyntaxError> {
    unit_file::words(&assignment.value)
        .map_err(|e| wrong(&assignment.place, format!("{}=: {e}", assignment.key)))
}

/// The words that the values of a key make.
fn words<'a>(
    key: &Key,
    values: impl Iterator<Item = &'a Assignment>,
) -> Result<Vec<String>, SyntaxError> {
    let flag = |value: &str| format!("--{}={value}", key.flag);
    let mut made = Vec::new();
    for assignment in values {
        let value = assignment.value.as_str();
        match key.kind {
            Kind::One => made = vec![flag(value)],
            Kind::Each => made.push(flag(value)),
            Kind::Words => made.extend(split(assignment)?.iter().map(|word| flag(word))),
            Kind::Joined => made.extend(split(assignment)?),
            Kind::WhenYes | Kind::WhenNo | Kind::YesOrNo => {
                let yes = keys::boolean(value).ok_or_else(|| {
                    let reason = format!("{}=: {value:?} is neither yes nor no", key.name);
                    wrong(&assignment.place, reason)
                })?;
                made = match key.kind {
                    Kind::YesOrNo => vec![flag(if yes { "true" } else { "false" })],
                    kind if yes == (kind == Kind::WhenYes) => vec![format!("--{}", key.flag)],
                    _ => Vec::new(),
                };
            }
        }
    }
    if key.kind == Kind::Joined && !made.is_empty() {
        made = vec![flag(&made.join(","))];
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<CommandLine, String> {
        let unit = UnitFile::parse("web.pod", text).unwrap();
        let path = Path::new("web.pod");
        CommandLine::of(&unit, path)
            .and_then(|line| line.check(&unit, path).map(|()| line))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_is_a_command_line() {
        let line = line(
            "[Unit]\nDescription=x\n[Pod]\nNetwork=default\nPort=http:8080 https:[::1]:8443\n\
             InheritEnvironment=yes\nOverlay=no\nInsecureOptions=image\nPullPolicy=update\n\
             [App front]\nImage=docker://nginx\nUser=33\nSupplementaryGroups=1 2\n\
             Environment=A=1 \"B=two words\"\nArguments=-g 'daemon off;'\n\
             [App log]\nImage=docker://busybox\nReadOnlyRootfs=on\n[Service]\nRestart=always\n",
        )
        .unwrap();
        assert_eq!(
            line.fetch,
            [
                "--insecure-options=image",
                "fetch",
                "--pull-policy=update",
                "docker://nginx",
                "docker://busybox"
            ]
        );
        assert_eq!(
            line.run,
            [
                "run",
                "--insecure-options=image",
                "--pull-policy=never",
                "--net=default",
                "--port=http:8080",
                "--port=https:[::1]:8443",
                "--inherit-env",
                "--no-overlay",
                "docker://nginx",
                "--name=front",
                "--user=33",
                "--supplementary-gids=1,2",
                "--environment=A=1",
                "--environment=B=two words",
                "--",
                "-g",
                "daemon off;",
                "---",
                "docker://busybox",
                "--name=log",
                "--readonly-rootfs=true",
            ]
        );
    }

    #[test]
    fn a_manifest_is_the_whole_pod() {
        let ours = line("[Pod]\nManifest=/etc/web.json\n").unwrap();
        assert!(ours.fetch.is_empty());
        assert_eq!(ours.run, ["run", "--pod-manifest=/etc/web.json"]);
        let both = line("[Pod]\nManifest=/x\n[App a]\nImage=b\n").unwrap_err();
        assert!(both.contains("cannot have [App]"), "{both}");
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_nearest_key() {
        for (text, why) in [
            (
                "[Pod]\nPrt=http:80\n[App a]\nImage=b\n",
                "web.pod:2: unknown key Prt= in [Pod]; did you mean Port=?",
            ),
            (
                "[Pods]\n",
                "web.pod:1: unknown section [Pods]; did you mean [Pod]?",
            ),
            (
                "[App]\nImage=x\n",
                "web.pod:1: the section [App] needs the app's name",
            ),
            ("[App a]\nUser=1\n", "web.pod:1: the app \"a\" has no image"),
            ("[Pod]\n", "no [App NAME] section"),
            (
                "[App a]\nImage=b\n[Service]\nExecStart=/bin/true\n",
                "web.pod:4: ExecStart= is made by rkt",
            ),
            (
                "[App a]\nImage=b\nReadOnlyRootfs=maybe\n",
                "web.pod:3: ReadOnlyRootfs=: \"maybe\" is neither yes nor no",
            ),
            (
                "[App a]\nImage=b\nArguments='x\n",
                "web.pod:3: Arguments=: the quote ' is not closed",
            ),
            ("[App a]\nImage=b\nMemory=lots\n", "web.pod:3: Memory=: "),
            (
                "[Pod]\nVolume=v,kind=disk\n[App a]\nImage=b\n",
                "web.pod:2: Volume=: ",
            ),
        ] {
            let error = line(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    /// A key whose flag is not one of `rkt run` would never work.
    #[test]
    fn every_key_is_a_flag() {
        let value = |key: &Key| match key.kind {
            Kind::YesOrNo => "true",
            _ => "",
        };
        for (keys, before) in [(keys::POD, vec![]), (keys::APP, vec!["image".to_owned()])] {
            for key in keys {
                let mut words = before.clone();
                words.push(match key.kind {
                    Kind::WhenYes | Kind::WhenNo => format!("--{}", key.flag),
                    _ => format!("--{}={}", key.flag, value(key)),
                });
                if let Err(e) = cli::check_run(words) {
                    assert!(!e.contains("unknown flag"), "{}: {e}", key.name);
                    assert!(!e.contains("must follow an image"), "{}: {e}", key.name);
                }
            }
        }
    }
}
