//! rkt: runs pods of app containers, without a daemon.
//!
//! The command line is thin: a verb parses what was typed, calls the crate
//! that does it and prints the outcome. A start pays for nothing it does not
//! use, so only the verb that was asked for is even described to the parser.

mod cli;
mod declared;
mod failure;
mod fetching;
mod keys;
mod output;
mod progress;
mod publish;
mod report;
mod runtime;
mod verbs;
mod wishes;

fn main() -> std::process::ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().map(std::path::PathBuf::from);
    // systemd knows a generator by its file name only.
    let generator = program.is_some_and(|path| path.ends_with("rkt-generator"));
    let verb = generator.then(|| "generator".into());
    cli::main(verb.into_iter().chain(words))
}
