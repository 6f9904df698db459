//! rkt: runs pods of app containers, without a daemon.
//!
//! The command line is thin: a verb parses what was typed, calls the crate
//! that does it and prints the outcome. A start pays for nothing it does not
//! use, so only the verb that was asked for is even described to the parser.

mod cli;
mod failure;
mod fetching;
mod output;
mod progress;
mod publish;
mod report;
mod runtime;
mod verbs;
mod wishes;

fn main() -> std::process::ExitCode {
    cli::main(std::env::args_os().skip(1))
}
