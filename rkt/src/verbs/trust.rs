//! `rkt trust`.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use fetch::keystore::{Keystore, Scope};
use fetch::openpgp::Certificate;

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::output::say;

#[derive(Debug, Args)]
#[command(
    about = "trust a key to sign images",
    after_help = "\
EXAMPLES:
    rkt trust --prefix=example.com/app ./key.asc
    rkt trust --prefix=example.com --skip-fingerprint-review ./key.asc
    rkt trust --root ./key.asc"
)]
pub(crate) struct Trust {
    /// OpenPGP public keys, as files
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
}

impl Simple for Trust {
    fn run(self, context: &Context) -> Outcome {
        let scope = self.scope()?;
        if self.keys.is_empty() {
            return Err(Failure::new(
                "give the key as a file: this version does not discover keys by name",
            ));
        }
        let global = context.global();
        let keystore = Keystore::new(&global.system_config, &global.local_config);
        for key in &self.keys {
            self.trust(key, &scope, &keystore)?;
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

    fn trust(&self, location: &str, scope: &Scope, keystore: &Keystore) -> Result<(), Failure> {
        if location.contains("://") {
            return Err(Failure::new(format!(
                "cannot use {location:?}: this version takes keys from files only"
            )));
        }
        let path = PathBuf::from(location);
        let bytes = std::fs::read(&path)
            .map_err(|e| Failure::because(format!("cannot read key {path:?}"), e))?;
        let certificates = Certificate::read_all(&bytes)
            .map_err(|e| Failure::because(format!("cannot use key {path:?}"), e))?;
        for key in &certificates {
            eprintln!("pubkey: prefix: {:?}\nkey: {location:?}", scope.prefix());
            if !self.skip_fingerprint_review && !review(key)? {
                say(&format!("not trusting {location:?}"));
                continue;
            }
            say(&format!(
                "Trusting {location:?} for prefix {:?} {} fingerprint review.",
                scope.prefix(),
                if self.skip_fingerprint_review {
                    "without"
                } else {
                    "after"
                },
            ));
            let path = keystore.add(scope, key)?;
            say(&match scope {
                Scope::Root => format!("Added root key at {path:?}"),
                Scope::Prefix(prefix) => {
                    format!("Added key for prefix {:?} at {path:?}", prefix.as_str())
                }
            });
        }
        Ok(())
    }
}

/// Shows the key and asks.
fn review(key: &Certificate) -> Result<bool, Failure> {
    let mut text = format!("gpg key fingerprint is: {}", spaced(&key.fingerprint()));
    for subkey in key.subkey_fingerprints() {
        let _ = write!(text, "\n    Subkey fingerprint: {}", spaced(&subkey));
    }
    for identity in key.identities() {
        let _ = write!(text, "\n\t{identity}");
    }
    say(&text);
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::new(
            "error reviewing key: unable to ask user to review fingerprint due to lack of tty \
             (compare the fingerprint yourself, then use --skip-fingerprint-review)",
        ));
    }
    let mut lines = stdin.lock().lines();
    loop {
        print!("Are you sure you want to trust this key (yes/no)? ");
        std::io::stdout().flush()?;
        match lines.next().transpose()?.as_deref() {
            Some("yes") => return Ok(true),
            Some("no") | None => return Ok(false),
            Some(_) => say("Please enter 'yes' or 'no'"),
        }
    }
}

/// Groups of four digits, with a double blank in the middle, as gpg shows it.
fn spaced(fingerprint: &str) -> String {
    let upper = fingerprint.to_ascii_uppercase();
    let groups: Vec<&str> = (0..upper.len())
        .step_by(4)
        .map(|i| &upper[i..upper.len().min(i + 4)])
        .collect();
    let (left, right) = groups.split_at(groups.len() / 2);
    format!("{}  {}", left.join(" "), right.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_grouped_as_people_compare_them() {
        assert_eq!(
            spaced("0123456789abcdef0123456789abcdef01234567"),
            "0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567"
        );
    }
}
