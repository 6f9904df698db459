//! One file per verb: its flags, its help, and what it does.

mod app;
mod attach;
mod cat_manifest;
mod completion;
mod config;
mod enter;
mod export;
mod fetch;
mod gc;
mod generator;
mod help;
mod image;
mod list;
mod logs;
mod man;
mod metadata_service;
mod network;
mod pod;
mod prepare;
mod rm;
mod run;
mod run_prepared;
mod status;
mod stop;
mod trust;
mod version;

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use stage0::pods::Pod;

use crate::cli::{self, Context, Simple, Verb, WithImages};
use crate::failure::{FAILURE, Failure};

pub(crate) use run::Run;

/// The entry of a verb whose flags are all it has.
const fn plain<V: Simple>(path: &'static [&'static str]) -> Verb {
    Verb {
        path,
        root: false,
        hidden: false,
        takes_images: false,
        command: command::<V>,
        run: cli::simple::<V>,
    }
}

/// The entry of a verb that takes images with flags of their own.
const fn images<V: WithImages>(path: &'static [&'static str]) -> Verb {
    Verb {
        path,
        root: false,
        hidden: false,
        takes_images: true,
        command: command::<V>,
        run: cli::with_images::<V>,
    }
}

const fn as_root(verb: Verb) -> Verb {
    Verb { root: true, ..verb }
}

const fn hidden(verb: Verb) -> Verb {
    Verb {
        hidden: true,
        ..verb
    }
}

fn command<V: Args>() -> Command {
    V::augment_args(Command::new("rkt"))
}

/// Every verb, in the order of the help.
pub(crate) const ALL: &[Verb] = &[
    as_root(images::<run::Run>(&["run"])),
    as_root(images::<prepare::Prepare>(&["prepare"])),
    as_root(plain::<run_prepared::RunPrepared>(&["run-prepared"])),
    images::<fetch::Fetch>(&["fetch"]),
    plain::<list::List>(&["list"]),
    plain::<status::Status>(&["status"]),
    plain::<logs::Logs>(&["logs"]),
    plain::<stop::Stop>(&["stop"]),
    as_root(plain::<enter::Enter>(&["enter"])),
    as_root(plain::<attach::Attach>(&["attach"])),
    as_root(plain::<app::Sandbox>(&["app", "sandbox"])),
    as_root(images::<app::Add>(&["app", "add"])),
    as_root(plain::<app::Start>(&["app", "start"])),
    as_root(plain::<app::Stop>(&["app", "stop"])),
    as_root(plain::<app::Update>(&["app", "update"])),
    as_root(plain::<app::Rm>(&["app", "rm"])),
    as_root(plain::<enter::Enter>(&["app", "exec"])),
    plain::<app::List>(&["app", "list"]),
    plain::<app::Status>(&["app", "status"]),
    as_root(plain::<rm::Rm>(&["rm"])),
    as_root(plain::<gc::Gc>(&["gc"])),
    as_root(plain::<export::Export>(&["export"])),
    plain::<cat_manifest::CatManifest>(&["cat-manifest"]),
    plain::<image::List>(&["image", "list"]),
    plain::<image::Rm>(&["image", "rm"]),
    plain::<image::CatManifest>(&["image", "cat-manifest"]),
    plain::<image::Verify>(&["image", "verify"]),
    plain::<image::Du>(&["image", "du"]),
    plain::<image::Export>(&["image", "export"]),
    as_root(plain::<image::Extract>(&["image", "extract"])),
    as_root(plain::<image::Render>(&["image", "render"])),
    plain::<image::Gc>(&["image", "gc"]),
    plain::<network::List>(&["network", "list"]),
    as_root(plain::<network::Check>(&["network", "check"])),
    plain::<pod::Check>(&["pod", "check"]),
    plain::<pod::Show>(&["pod", "show"]),
    plain::<trust::Trust>(&["trust"]),
    plain::<trust::List>(&["trust", "list"]),
    plain::<trust::Explain>(&["trust", "explain"]),
    plain::<trust::Accept>(&["trust", "accept"]),
    plain::<trust::Import>(&["trust", "import"]),
    as_root(plain::<metadata_service::MetadataService>(&[
        "metadata-service",
    ])),
    plain::<config::Config>(&["config"]),
    plain::<version::Version>(&["version"]),
    plain::<completion::Completion>(&["completion"]),
    plain::<help::Help>(&["help"]),
    hidden(plain::<man::Man>(&["man"])),
    hidden(plain::<generator::Generator>(&["generator"])),
];

/// What the first words of a line name.
pub(crate) enum Found<'a> {
    /// A verb, and how many words it took.
    Verb(&'static Verb, usize),
    /// A group without a verb of it.
    Group(&'a str),
    /// Nothing, or several things.
    None,
}

/// The first words of the verbs that are shown, each once.
pub(crate) fn first_words() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    ALL.iter()
        .filter(|verb| !verb.hidden)
        .filter_map(move |verb| {
            let first = verb.path[0];
            let new = first != last;
            last = first;
            new.then_some(first)
        })
}

/// The pods a verb is about: typed, or in a file, never both. `unreadable` is
/// the exit code when the file cannot be read.
fn typed_uuids(
    typed: Vec<String>,
    file: Option<&Path>,
    unreadable: u8,
) -> Result<Vec<String>, Failure> {
    match file {
        Some(_) if !typed.is_empty() => {
            Err(Failure::new("give the pod's UUID or --uuid-file, not both"))
        }
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|e| {
                Failure::because(format!("cannot read the UUID from {file:?}"), e)
                    .with_code(unreadable)
            })?;
            Ok(vec![text.trim().to_owned()])
        }
        None if typed.is_empty() => Err(Failure::new(
            "must provide the UUID of at least one pod (rkt list shows them)",
        )),
        None => Ok(typed),
    }
}

// The one pod that a verb is about. No doc comment: clap would take it for what
// the verb is about.
#[derive(Debug, Clone, Args)]
struct OnePod {
    /// The pod, by UUID or its beginning
    #[arg(value_name = "UUID")]
    pod: Vec<String>,
    /// Read the UUID from a file
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,
}

impl OnePod {
    /// Its UUID, or the beginning of it; see [`typed_uuids`].
    fn typed(&self, unreadable: u8) -> Result<String, Failure> {
        one_uuid(self.pod.clone(), self.uuid_file.as_deref(), unreadable)
    }

    /// The pod.
    fn find(&self, context: &Context) -> Result<Pod, Failure> {
        context.pod(&self.typed(FAILURE)?)
    }
}

/// The first of several words, unless a file has the UUID.
fn leading_uuid(words: &mut Vec<String>, file: Option<&Path>) -> Result<String, Failure> {
    if file.is_some() {
        return one_uuid(Vec::new(), file, FAILURE);
    }
    if words.is_empty() {
        return Err(Failure::new("must provide the pod UUID"));
    }
    Ok(words.remove(0))
}

/// As [`typed_uuids`] for verbs that are about one pod.
fn one_uuid(typed: Vec<String>, file: Option<&Path>, unreadable: u8) -> Result<String, Failure> {
    let mut uuids = typed_uuids(typed, file, unreadable)?;
    match (uuids.pop(), uuids.is_empty()) {
        (Some(uuid), true) => Ok(uuid),
        _ => Err(Failure::new("must provide exactly one UUID")),
    }
}

/// What could not be listed, behind what could; the exit code stays 0.
fn error_block(what: &str, errors: &[String]) {
    if errors.is_empty() {
        return;
    }
    let line = "-".repeat(40);
    eprintln!(
        "{} error(s) encountered when listing {what}:\n{line}",
        errors.len()
    );
    for error in errors {
        eprintln!("{error}\n{line}");
    }
    eprintln!(
        "misc:\n  rkt's appc version: {}\n",
        manifests::appc::VERSION
    );
}

/// What a group is for.
pub(crate) fn about_group(group: &str) -> &'static str {
    match group {
        "app" => "change and use the apps of a running pod",
        "image" => "operate on the images in the store",
        "network" => "look at the networks that pods can join",
        "pod" => "check and show pods that are declared in files",
        _ => "several commands",
    }
}

/// Finds the verb that the words name, by name or unambiguous prefix.
pub(crate) fn find(words: &[impl AsRef<str>]) -> Found<'static> {
    let Some(first) = words.first() else {
        return Found::None;
    };
    let Some(first) = complete(first.as_ref(), ALL.iter().map(|verb| verb.path[0])) else {
        return Found::None;
    };
    let of_group = || ALL.iter().filter(move |verb| verb.path[0] == first);
    if let Some(verb) = of_group().find(|verb| verb.path.len() == 1) {
        // Arguments of the verb may look like the beginning of a second word.
        let second = words.get(1).map(AsRef::as_ref);
        let longer = of_group().find(|v| v.path.len() == 2 && Some(v.path[1]) == second);
        return match longer {
            Some(longer) => Found::Verb(longer, 2),
            None => Found::Verb(verb, 1),
        };
    }
    let second = words
        .get(1)
        .and_then(|word| complete(word.as_ref(), of_group().map(|verb| verb.path[1])));
    match second.and_then(|second| of_group().find(|verb| verb.path[1] == second)) {
        Some(verb) => Found::Verb(verb, 2),
        None => Found::Group(first),
    }
}

/// The one candidate that is `word` or begins with it.
fn complete(word: &str, candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let mut near = Vec::new();
    for candidate in candidates {
        if candidate == word {
            return Some(candidate);
        }
        if candidate.starts_with(word) && !near.contains(&candidate) {
            near.push(candidate);
        }
    }
    match near.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// clap looks at names that are there twice only in debug builds, and only
    /// at the verb that is used.
    #[test]
    fn every_verb_goes_with_the_global_flags() {
        for verb in ALL {
            verb.full_command().debug_assert();
        }
    }

    #[test]
    fn prefixes_are_accepted_when_they_can_mean_one_thing() {
        let words = ["status", "stop", "list"];
        let find = |word| complete(word, words.into_iter());
        assert_eq!(find("li"), Some("list"));
        assert_eq!(find("sta"), Some("status"));
        assert_eq!(find("st"), None);
        assert_eq!(find("x"), None);
        // A whole word wins over a longer one.
        assert_eq!(
            complete("run", ["run", "run-prepared"].into_iter()),
            Some("run")
        );
    }
}
