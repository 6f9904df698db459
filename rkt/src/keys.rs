//! OpenPGP keys on their way into the keystore: from a file, from a URL, from
//! where the site of a name says, past the eyes of whoever may accept them.
//!
//! Source: rkt's command-line reference, "trust"; configuration reference, "Key
//! store".

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write as _};
use std::path::PathBuf;

use fetch::Fetcher;
use fetch::keystore::{Keystore, Scope};
use fetch::openpgp::Certificate;
use manifests::appc::AcIdentifier;
use manifests::config::{Level, Signer};

use crate::cli::Context;
use crate::failure::Failure;
use crate::output::say;

/// How keys are had and accepted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    /// Nobody is asked.
    pub(crate) skip_review: bool,
    /// Keys may come over plain HTTP.
    pub(crate) allow_http: bool,
}

/// Where the site of this name says that its keys are.
pub(crate) fn discover(
    name: &AcIdentifier,
    manner: Manner,
    fetcher: &Fetcher<'_>,
) -> Result<Vec<String>, Failure> {
    let found = fetcher.discover_keys(name, manner.allow_http)?;
    Ok(found.into_iter().map(|key| key.url).collect())
}

/// Adds the keys at a location, a file or a URL, if they are accepted.
pub(crate) fn add(
    location: &str,
    scope: &Scope,
    manner: Manner,
    keystore: &Keystore,
    fetcher: &Fetcher<'_>,
    context: &Context,
) -> Result<(), Failure> {
    let is_url = location.starts_with("https://") || location.starts_with("http://");
    let bytes = match is_url {
        true => fetcher.download_keys(location, manner.allow_http)?,
        false => std::fs::read(PathBuf::from(location))
            .map_err(|e| Failure::because(format!("cannot read key {location:?}"), e))?,
    };
    let certificates = Certificate::read_all(&bytes)
        .map_err(|e| Failure::because(format!("cannot use key {location:?}"), e))?;
    let from_https = context.global().trust_keys_from_https && location.starts_with("https://");
    let skip_review = manner.skip_review || from_https;
    for key in &certificates {
        eprintln!("pubkey: prefix: {:?}\nkey: {location:?}", scope.prefix());
        if !skip_review && !review(key)? {
            say(&format!("not trusting {location:?}"));
            continue;
        }
        say(&format!(
            "Trusting {location:?} for prefix {:?} {} fingerprint review.",
            scope.prefix(),
            if skip_review { "without" } else { "after" },
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

/// Before an image is fetched by its name and nobody is trusted for it: offers
/// the keys that its site names. What goes wrong here is told and left to the
/// verification.
pub(crate) fn offer(
    name: &AcIdentifier,
    fetcher: &Fetcher<'_>,
    context: &Context,
) -> Result<(), Failure> {
    if context.insecure().image {
        return Ok(());
    }
    let policy = context.policy()?;
    let any_key = match policy.rules().rule_for(name).map(|rule| &rule.level) {
        None => true,
        Some(Level::SignedBy(signers)) => signers
            .iter()
            .any(|s| matches!(s, Signer::OpenPgp { fingerprints } if fingerprints.is_empty())),
        Some(_) => false,
    };
    let keystore = policy.keystore();
    if !any_key || !keystore.keys_for(name)?.is_empty() {
        return Ok(());
    }
    let manner = Manner::default();
    let locations = match fetcher.discover_keys(name, false) {
        Ok(locations) => locations,
        // Most sites say nothing about keys; the verification will have the
        // last word.
        Err(e) => {
            if context.debug() {
                context.tell(&format!("error determining key location: {e}"));
            }
            return Ok(());
        }
    };
    for location in locations {
        let added = location
            .prefix
            .parse()
            .map_err(Failure::from)
            .and_then(|prefix| {
                let scope = Scope::Prefix(prefix);
                add(&location.url, &scope, manner, keystore, fetcher, context)
            });
        if let Err(failure) = added {
            context.tell(&format!("error adding keys: {}", failure.text(false)));
        }
    }
    Ok(())
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
