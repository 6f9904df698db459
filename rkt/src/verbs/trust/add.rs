//! `rkt trust`.

use std::process::ExitCode;

use clap::Args;
use fetch::keystore::Scope;

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::fetching;
use crate::keys::{self, Manner};

#[derive(Debug, Args)]
#[command(
    about = "trust a key to sign images, and look at what is trusted",
    after_help = super::HELP
)]
pub(crate) struct Trust {
    /// OpenPGP public keys, as files or URLs [default: where the site of
    /// --prefix says]
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// Trust the keys for images of this name and below
    #[arg(long, value_name = "NAME")]
    prefix: Option<String>,
    /// Trust the keys for every image
    #[arg(long)]
    root: bool,
    /// Do not ask whether the fingerprint is right
    #[arg(long)]
    skip_fingerprint_review: bool,
    /// Find and fetch keys over plain HTTP too
    #[arg(long)]
    insecure_allow_http: bool,
}

impl Simple for Trust {
    fn run(self, context: &Context) -> Outcome {
        let scope = self.scope()?;
        if context.insecure().image {
            return Err(Failure::new(
                "could not get the keystore: --insecure-options=image does without it",
            ));
        }
        let manner = Manner {
            skip_review: self.skip_fingerprint_review,
            allow_http: self.insecure_allow_http,
        };
        let store = context.store()?;
        let fetcher = fetching::fetcher(&store, context)?;
        let policy = context.policy()?;
        let locations = match (&scope, self.keys.is_empty()) {
            (Scope::Prefix(prefix), true) => keys::discover(prefix, manner, &fetcher)?,
            _ => self.keys,
        };
        for location in &locations {
            keys::add(
                location,
                &scope,
                manner,
                policy.keystore(),
                &fetcher,
                context,
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Trust {
    fn scope(&self) -> Result<Scope, Failure> {
        match (&self.prefix, self.root) {
            (Some(_), true) => Err(Failure::new("--root and --prefix usage mutually exclusive")),
            (Some(prefix), false) if prefix.contains("://") => Err(Failure::new(
                "--prefix must not contain a URL scheme, omit https://",
            )),
            (Some(prefix), false) => Ok(Scope::Prefix(prefix.parse()?)),
            (None, true) if self.keys.is_empty() => Err(Failure::new(
                "--root needs a key: only the site of a --prefix can be asked for one",
            )),
            (None, true) => Ok(Scope::Root),
            (None, false) if self.keys.is_empty() => {
                Err(Failure::new("must specify --prefix or --root, and a key"))
            }
            (None, false) => Err(Failure::new(
                "aborting due to implicit unbounded trust (root domain)\n\
                 a key without a scope would be trusted for every image\n\
                 give --prefix=NAME, or --root if that is what you want",
            )),
        }
    }
}
