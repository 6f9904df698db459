//! What is said to those who ask, and to those who mistype.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args as _, Command};

use super::Verb;
use crate::failure::{FAILURE, Failure};
use crate::verbs;

const TEMPLATE: &str = "\
NAME:
    {name} - {about}

USAGE:
    {usage}

{all-args}{after-help}
";

/// Every verb's help in one layout.
pub(super) fn dressed(verb: &Verb, command: Command) -> Command {
    let name = format!("rkt {}", verb.path.join(" "));
    let command = command.mut_args(|arg| match arg.get_help_heading() {
        None if !arg.is_positional() => arg.help_heading("OPTIONS"),
        _ => arg,
    });
    command
        .name(name.clone())
        .display_name(name.clone())
        .bin_name(name)
        .help_template(TEMPLATE)
        .disable_version_flag(true)
        .max_term_width(100)
}

/// The verb's command with everything that may stand on its line: for help,
/// manual pages and completion.
fn described(verb: &Verb) -> Command {
    let command = verb.full_command();
    if verb.takes_images {
        super::AppFlags::augment_args(command)
    } else {
        command
    }
}

/// The whole program as one clap command.
fn root() -> Command {
    let mut root = super::global::augment(
        Command::new("rkt")
            .about("run pods of app containers, without a daemon")
            .version(env!("CARGO_PKG_VERSION"))
            .disable_help_subcommand(true)
            .help_template(ROOT_TEMPLATE)
            .override_usage("rkt [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]")
            .after_help(
                "EXAMPLES:\n    rkt trust --prefix example.com/app key.asc\n    \
                 rkt fetch docker://busybox\n    rkt run docker://busybox -- echo hello\n    \
                 rkt list\n\nRun 'rkt help COMMAND' for the flags of one.",
            ),
    );
    for verb in verbs::ALL.iter().filter(|verb| !verb.hidden) {
        // The display name is what a manual page is called.
        let page = format!("rkt-{}", verb.path.join("-"));
        root = match verb.path {
            [word] => root.subcommand(described(verb).name(*word).display_name(page)),
            [group, word] => {
                root.mut_subcommand_or(group, described(verb).name(*word).display_name(page))
            }
            _ => root,
        };
    }
    root
}

const ROOT_TEMPLATE: &str = "\
NAME:
    {name} - {about}

USAGE:
    {usage}

VERSION:
    {version}

COMMANDS:
{subcommands}

{options}{after-help}
";

const GROUP_TEMPLATE: &str = "\
NAME:
    {name} - {about}

USAGE:
    {usage}

COMMANDS:
{subcommands}
";

/// Puts a verb of two words into its group.
trait Groups {
    fn mut_subcommand_or(self, group: &str, verb: Command) -> Self;
}

impl Groups for Command {
    fn mut_subcommand_or(self, group: &str, verb: Command) -> Self {
        if self.get_subcommands().any(|c| c.get_name() == group) {
            self.mut_subcommand(group, |command| command.subcommand(verb))
        } else {
            let command = Command::new(group.to_owned())
                .about(verbs::about_group(group))
                .help_template(GROUP_TEMPLATE)
                .disable_help_subcommand(true)
                .disable_help_flag(true)
                .subcommand(verb);
            self.subcommand(command)
        }
    }
}

/// Prints the help of these words: the program's, a group's or a verb's.
pub(crate) fn print_help<W: AsRef<str>>(words: &[W]) -> ExitCode {
    let text = match verbs::find(words) {
        verbs::Found::Verb(verb, _) => described(verb).render_help(),
        verbs::Found::Group(group) => {
            let mut root = root();
            match root.find_subcommand_mut(group) {
                Some(command) => command
                    .clone()
                    .bin_name(format!("rkt {group}"))
                    .render_help(),
                None => root.render_help(),
            }
        }
        verbs::Found::None => {
            if !words.is_empty() {
                let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
                eprintln!("Unknown help topic [`{}`].", words.join(" "));
            }
            root().render_help()
        }
    };
    crate::output::say(&text.to_string());
    ExitCode::SUCCESS
}

/// A word that is no verb.
pub(super) fn unknown_command(word: &str) -> ExitCode {
    eprintln!("Error: unknown command {word:?} for \"rkt\"");
    let near: Vec<&str> = verbs::first_words()
        .filter(|verb| verb.starts_with(word) || distance(verb, word) <= 2)
        .collect();
    if !near.is_empty() {
        eprintln!("\nDid you mean this?");
        for verb in near {
            eprintln!("\t{verb}");
        }
        eprintln!();
    }
    eprintln!("Run 'rkt --help' for usage.");
    ExitCode::from(FAILURE)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A line that cannot be parsed.
pub(super) fn wrong_usage(verb: Option<&Verb>, message: &str) -> ExitCode {
    eprintln!("Error: {message}");
    let name = verb.map_or_else(|| "rkt".into(), |v| format!("rkt {}", v.path.join(" ")));
    eprintln!("Run '{name} --help' for usage.");
    ExitCode::from(FAILURE)
}

/// clap's errors in the reference's words.
pub(super) fn message(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let arg = text(ContextKind::InvalidArg);
    let flag = arg
        .as_deref()
        .and_then(|arg| arg.split([' ', '=', '[']).next());
    match (error.kind(), flag) {
        (ErrorKind::UnknownArgument, Some(flag)) if flag.starts_with('-') => {
            format!("unknown flag: {flag}")
        }
        (ErrorKind::UnknownArgument, Some(word)) => format!("unexpected argument {word:?}"),
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(flag)) => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            if value.is_empty() && error.kind() == ErrorKind::InvalidValue {
                return format!("flag needs an argument: {flag}");
            }
            let reason = std::error::Error::source(error).map_or_else(
                || {
                    let valid = text(ContextKind::ValidValue).unwrap_or_default();
                    format!("expected one of {valid}")
                },
                ToString::to_string,
            );
            format!("invalid argument {value:?} for {flag}: {reason}")
        }
        _ => {
            // The first line tells what is wrong; usage follows it.
            let rendered = error.render().to_string();
            let line = rendered.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}

/// Writes the manual page of every command into a directory.
pub(crate) fn man_pages(dir: &std::path::Path) -> Result<(), Failure> {
    clap_mangen::generate_to(root(), dir)
        .map_err(|e| Failure::because(format!("cannot write the manual pages to {dir:?}"), e))
}

/// Writes the bash completion script to stdout.
pub(crate) fn bash_completion() {
    let mut script = Vec::new();
    clap_complete::generate(clap_complete::aot::Bash, &mut root(), "rkt", &mut script);
    script.extend_from_slice(include_bytes!("completion.bash"));
    crate::output::say(&String::from_utf8_lossy(&script));
}

#[cfg(test)]
mod tests {
    use super::super::{Usage, images, lexer};
    use super::*;

    #[test]
    fn every_command_is_well_formed() {
        root().debug_assert();
        for verb in verbs::ALL {
            described(verb).debug_assert();
        }
    }

    #[test]
    fn every_verb_tells_what_it_does() {
        for verb in verbs::ALL {
            let about = described(verb).get_about().unwrap().to_string();
            assert!(about.starts_with(char::is_lowercase), "{about}");
            // One command may have two names, but not two commands one text.
            let help = |v: &Verb| (v.command)().render_help().to_string();
            let same = verbs::ALL
                .iter()
                .filter(|v| (v.command)().get_about().unwrap().to_string() == about);
            for other in same {
                assert_eq!(help(other), help(verb), "{about}");
            }
        }
    }

    #[test]
    fn every_verb_shows_an_example() {
        for verb in verbs::ALL.iter().filter(|verb| !verb.hidden) {
            let help = described(verb).render_help().to_string();
            assert!(help.contains("EXAMPLES:"), "{:?}", verb.path);
        }
    }

    #[test]
    fn no_flag_belongs_to_both_pod_and_app() {
        let app = images::command();
        for verb in verbs::ALL.iter().filter(|verb| verb.takes_images) {
            let pod = verb.full_command();
            for arg in app.get_arguments() {
                let twin = pod.get_arguments().find(|a| a.get_long() == arg.get_long());
                assert!(twin.is_none(), "{:?} of {:?}", arg.get_long(), verb.path);
            }
        }
    }

    #[test]
    fn mistyped_words_are_near() {
        assert_eq!(distance("fetch", "fecth"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("list", "list"), 0);
    }

    #[test]
    fn clap_speaks_like_the_reference() {
        let parse = |words: &[&str]| {
            let words = words.iter().map(|w| (*w).to_owned()).collect();
            match lexer::parse(images::command(), words) {
                Err(Usage::Clap(error)) => message(&error),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(parse(&["--nosuch"]), "unknown flag: --nosuch");
        assert_eq!(parse(&["--name"]), "flag needs an argument: --name");
        assert!(parse(&["--memory=x"]).starts_with("invalid argument \"x\" for --memory: "));
        assert_eq!(
            parse(&["--readonly-rootfs=maybe"]),
            "invalid argument \"maybe\" for --readonly-rootfs: \"maybe\" is not a boolean: expected true or false"
        );
    }
}
