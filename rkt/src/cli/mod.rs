//! From what was typed to the verb that does it.
//!
//! ```text
//! rkt [global flags] VERB [flags] [args]
//!       │             │     └──── the verb's own clap command, built on demand
//!       │             └────────── looked up here, by any unambiguous prefix
//!       └──────────────────────── may follow the verb as well
//! ```

mod context;
mod flags;
mod global;
mod help;
mod images;
mod lexer;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Command;
use clap::error::ErrorKind;

pub(crate) use context::Context;
pub(crate) use flags::{AppFlags, EnvironmentFlags, ImageFlags, PodFlags, RuntimeFlags};
pub(crate) use global::Global;
pub(crate) use help::{bash_completion, man_pages, print_help};
pub(crate) use images::{Images, TypedImage};
pub(crate) use values::{
    KeyValue, SeccompFlag, WaitTime, boolean, duration, go_duration, grace, mnt_volume, pairs,
    volume,
};

use crate::failure::{FAILURE, Failure, Outcome};
use crate::verbs;

/// A verb as the table of verbs knows it.
pub(crate) struct Verb {
    /// Its words: `["image", "list"]`.
    pub(crate) path: &'static [&'static str],
    /// Only root may.
    pub(crate) root: bool,
    /// Works, but is not shown.
    pub(crate) hidden: bool,
    /// Per-app flags may stand on its line.
    pub(crate) takes_images: bool,
    /// Its description and flags, without the global ones.
    pub(crate) command: fn() -> Command,
    /// Parses the rest of the line and does it.
    pub(crate) run: fn(&Verb, Vec<String>) -> Result<ExitCode, Usage>,
}

impl Verb {
    /// The word that messages begin with.
    pub(crate) fn leaf(&self) -> &'static str {
        self.path.last().copied().unwrap_or("rkt")
    }

    /// Why this user may not, whatever the rest of the line says.
    fn refusal(&self) -> Option<Failure> {
        let refused = self.root && !rustix::process::geteuid().is_root();
        refused.then(|| Failure::new("cannot run as unprivileged user"))
    }

    /// The command with the global flags, as it is parsed.
    pub(crate) fn full_command(&self) -> Command {
        help::dressed(self, global::augment((self.command)()))
    }
}

/// A verb whose flags are all that clap needs to know.
pub(crate) trait Simple: clap::Args + Sized {
    /// Does it.
    fn run(self, context: &Context) -> Outcome;
}

/// `run` of the table's entry for a [`Simple`] verb.
pub(crate) fn simple<V: Simple>(verb: &Verb, words: Vec<String>) -> Result<ExitCode, Usage> {
    let matches = lexer::parse(verb.full_command(), words)?;
    let global = <Global as clap::FromArgMatches>::from_arg_matches(&matches)?;
    let flags = V::from_arg_matches(&matches)?;
    let context = Context::new(global, verb.leaf());
    Ok(guarded(verb, &context, || flags.run(&context)))
}

/// A verb that takes several images with flags of their own.
pub(crate) trait WithImages: clap::Args + Sized {
    /// May the images be given arguments (`-- ARGS ---`)?
    const APP_ARGUMENTS: bool;
    /// Does it.
    fn run(self, images: Images, context: &Context) -> Outcome;
}

/// `run` of the table's entry for a [`WithImages`] verb.
pub(crate) fn with_images<V: WithImages>(
    verb: &Verb,
    words: Vec<String>,
) -> Result<ExitCode, Usage> {
    let (global, flags, images) = parse_with_images::<V>(verb, words)?;
    let context = Context::new(global, verb.leaf());
    Ok(guarded(verb, &context, || flags.run(images, &context)))
}

fn parse_with_images<V: WithImages>(
    verb: &Verb,
    words: Vec<String>,
) -> Result<(Global, V, Images), Usage> {
    let pod = verb.full_command();
    let split = lexer::split(&pod, &images::command(), words, V::APP_ARGUMENTS)?;
    let matches = lexer::parse(pod, split.pod)?;
    let global = <Global as clap::FromArgMatches>::from_arg_matches(&matches)?;
    let flags = V::from_arg_matches(&matches)?;
    Ok((global, flags, Images::parse(split.apps, split.mounts)?))
}

/// Would `rkt run WORDS` be understood?
///
/// # Errors
/// The message that would be printed if not.
pub(crate) fn check_run(words: Vec<String>) -> Result<(), String> {
    let verbs::Found::Verb(verb, _) = verbs::find(&["run"]) else {
        unreachable!("run is a verb");
    };
    match parse_with_images::<verbs::Run>(verb, words) {
        Ok(_) => Ok(()),
        Err(Usage::Clap(error)) => Err(help::message(&error)),
        Err(Usage::Message(message)) => Err(message),
    }
}

/// Runs a verb and tells its failure.
fn guarded(verb: &Verb, context: &Context, run: impl FnOnce() -> Outcome) -> ExitCode {
    let outcome = match verb.refusal() {
        Some(failure) => Err(failure),
        None => run(),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.report(context.verb(), context.debug()),
    }
}

/// Why a command line is not one.
#[derive(Debug)]
pub(crate) enum Usage {
    /// What clap found, help and version included.
    Clap(clap::Error),
    /// What our own grammar found.
    Message(String),
}

impl From<clap::Error> for Usage {
    fn from(error: clap::Error) -> Self {
        Self::Clap(error)
    }
}

/// The whole program.
pub(crate) fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let mut utf8 = Vec::new();
    for word in words {
        match word.into_string() {
            Ok(word) => utf8.push(word),
            Err(word) => {
                // Everything typed ends up in JSON, which has no other strings.
                eprintln!("rkt: argument {word:?} is not valid UTF-8");
                return ExitCode::from(FAILURE);
            }
        }
    }
    dispatch(utf8)
}

fn dispatch(words: Vec<String>) -> ExitCode {
    let globals = global::augment(Command::new("rkt"));
    let (before, rest) = match lexer::leading_flags(&globals, words) {
        Ok(split) => split,
        Err(message) => return help::wrong_usage(None, &message),
    };
    if before.iter().any(|word| word == "--help" || word == "-h") {
        return print_help::<&str>(&[]);
    }
    let Some(word) = rest.first() else {
        eprintln!("rkt: missing command");
        print_help::<&str>(&[]);
        return ExitCode::from(2);
    };
    let found = match verbs::find(&rest) {
        verbs::Found::Verb(verb, used) => (verb, used),
        verbs::Found::Group(group) => return print_help(&[group]),
        verbs::Found::None => return help::unknown_command(word),
    };
    let (verb, used) = found;
    let mut line = before;
    line.extend(rest.into_iter().skip(used));
    match (verb.run)(verb, line) {
        Ok(code) => code,
        Err(Usage::Clap(error)) if error.kind() == ErrorKind::DisplayHelp => print_help(verb.path),
        Err(usage) => match (verb.refusal(), usage) {
            (Some(failure), _) => failure.report(verb.leaf(), false),
            (None, Usage::Clap(error)) => help::wrong_usage(Some(verb), &help::message(&error)),
            (None, Usage::Message(message)) => help::wrong_usage(Some(verb), &message),
        },
    }
}
