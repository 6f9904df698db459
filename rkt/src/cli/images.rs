//! The images of a line, each with its flags and arguments.

use clap::{Args, Command, FromArgMatches};
use manifests::appc::Mount;

use super::lexer::{self, AppWords};
use super::{AppFlags, Usage};

/// One image as typed.
#[derive(Debug)]
pub(crate) struct TypedImage {
    /// The word that names it.
    pub(crate) reference: String,
    /// Its flags.
    pub(crate) flags: AppFlags,
    /// Its arguments: empty without `--`.
    pub(crate) args: Vec<String>,
    /// Nothing stands behind the word.
    pub(crate) bare: bool,
}

/// Everything on the line that is about images.
#[derive(Debug, Default)]
pub(crate) struct Images {
    /// The images in order.
    pub(crate) apps: Vec<TypedImage>,
    /// `--mount` before the first image: for every app.
    pub(crate) mounts: Vec<Mount>,
}

/// The per-app flags as a command of their own.
pub(super) fn command() -> Command {
    AppFlags::augment_args(Command::new("image").disable_help_flag(true))
}

impl Images {
    pub(super) fn parse(apps: Vec<AppWords>, mounts: Vec<String>) -> Result<Self, Usage> {
        Ok(Self {
            apps: apps
                .into_iter()
                .map(|app| {
                    Ok(TypedImage {
                        reference: app.image,
                        bare: app.flags.is_empty() && app.args.is_none(),
                        flags: flags(app.flags)?,
                        args: app.args.unwrap_or_default(),
                    })
                })
                .collect::<Result<_, Usage>>()?,
            mounts: flags(mounts)?.mount,
        })
    }
}

fn flags(words: Vec<String>) -> Result<AppFlags, Usage> {
    let matches = lexer::parse(command(), words)?;
    Ok(AppFlags::from_arg_matches(&matches)?)
}
