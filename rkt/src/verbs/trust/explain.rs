//! `rkt trust explain`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use fetch::policy::{Pin, Policy, pin_name, wanted};
use image_store::ImageRecord;
use manifests::config::{Level, Rule, Signer};
use manifests::trust::Verification;
use serde::Serialize;

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::fetching;
use crate::output::{self, Format};
use crate::report;

#[derive(Debug, Args)]
#[command(
    about = "tell which rule is about an image, and what would satisfy it",
    after_help = "\
EXAMPLES:
    rkt trust explain example.com/app
    rkt trust explain docker://registry.example.com/app:1.0
    rkt trust explain --format=json-pretty docker://busybox"
)]
pub(crate) struct Explain {
    /// The image, as one would fetch it, or as the store calls it
    #[arg(value_name = "NAME", required = true)]
    name: String,
    /// json or json-pretty
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    /// As rules and pins see it.
    name: String,
    /// None: the keystore alone decides.
    rule: Option<&'a Rule>,
    file: Option<&'a str>,
    wanted: String,
    /// OpenPGP keys that would do.
    keys: Vec<String>,
    pin: Option<Pin>,
    stored: Option<Stored>,
}

#[derive(Serialize)]
struct Stored {
    id: String,
    verification: Verification,
    /// Why it would not be run; nothing if it would.
    refused: Option<String>,
}

impl Simple for Explain {
    fn run(self, context: &Context) -> Outcome {
        let format = Format::check(self.format.as_deref())?;
        let policy = context.policy()?;
        let store = context.store()?;
        let record = stored(&self.name, &store, context)?;
        let manifest = match &record {
            Some(record) => record.manifest.clone(),
            None => super::named(&self.name, context)?,
        };
        let rule = policy.rules().rule_for(&manifest.name);
        let pin_name = pin_name(&manifest);
        let report = Report {
            rule,
            file: rule.map(|rule| rule.file.as_str()),
            wanted: wanted(rule),
            keys: keys(&policy, rule, &manifest.name)?,
            pin: policy.pins().get(&pin_name)?,
            stored: record.map(|record| Stored {
                id: record.id.to_string(),
                refused: policy.may_run(&record).err().map(|e| e.to_string()),
                verification: record.verification,
            }),
            name: pin_name,
        };
        match format {
            Format::Text => output::say(&text(&report)),
            Format::Json => output::json(&report, false)?,
            Format::JsonPretty => output::json(&report, true)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A word that is no reference to a stored image may still be a name.
fn stored(
    word: &str,
    store: &image_store::Store,
    context: &Context,
) -> Result<Option<ImageRecord>, Failure> {
    let reference = fetching::parse(word, context)?;
    Ok(fetch::find(store, &reference, None)?)
}

/// The OpenPGP keys that may sign, where such a signature counts.
fn keys(
    policy: &Policy,
    rule: Option<&Rule>,
    name: &manifests::appc::AcIdentifier,
) -> Result<Vec<String>, Failure> {
    let asked = match rule.map(|r| &r.level) {
        None => true,
        Some(Level::SignedBy(signers)) => {
            signers.iter().any(|s| matches!(s, Signer::OpenPgp { .. }))
        }
        Some(_) => false,
    };
    if !asked {
        return Ok(Vec::new());
    }
    let keys = policy.openpgp_keys(rule, name)?;
    Ok(keys
        .iter()
        .map(|key| {
            let identities = key.certificate.identities();
            let identity = identities.first().map_or("", String::as_str);
            format!(
                "{} {identity} ({})",
                key.certificate.fingerprint(),
                key.scope
            )
        })
        .collect())
}

fn text(report: &Report<'_>) -> String {
    let mut text = format!("image:  {}\n", report.name);
    let _ = match report.rule {
        Some(rule) => writeln!(
            text,
            "rule:   {:?} {} ({})",
            rule.scope.prefix(),
            rule.level.as_str(),
            rule.file
        ),
        None => writeln!(text, "rule:   none; the keystore decides, as for every ACI"),
    };
    let _ = writeln!(text, "wanted: {}", report.wanted);
    if let Some(name) = report.rule.and_then(|rule| rule.signed_as.as_deref()) {
        let _ = writeln!(text, "        signed as {name}");
    }
    for key in &report.keys {
        let _ = writeln!(text, "key:    {key}");
    }
    let keystore_alone = report.rule.is_none() && report.keys.is_empty();
    if keystore_alone {
        text.push_str("key:    none is trusted for it (rkt trust --prefix NAME KEYFILE)\n");
    }
    if let Some(pin) = &report.pin {
        let since = std::time::Duration::from_secs(pin.since);
        let since = output::absolute(std::time::SystemTime::UNIX_EPOCH + since);
        let _ = writeln!(text, "pinned: {} since {since}", pin.id);
    }
    match &report.stored {
        Some(stored) => {
            let by = report::verified_by(&stored.verification);
            let _ = writeln!(text, "stored: {}, verified by {by}", stored.id);
            let _ = match &stored.refused {
                Some(reason) => writeln!(text, "run:    refused: {reason}"),
                None => writeln!(text, "run:    allowed"),
            };
        }
        None => text.push_str("stored: no\n"),
    }
    text
}
