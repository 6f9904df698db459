//! `rkt trust list`.

use std::process::ExitCode;

use clap::Args;
use fetch::policy::{Pin, wanted};
use manifests::config::Rule;
use serde::Serialize;

use crate::cli::{Context, Simple};
use crate::failure::Outcome;
use crate::output::{self, Format, Table};

#[derive(Debug, Args)]
#[command(
    about = "list whom images are trusted from: rules, keys and pins",
    after_help = "EXAMPLES:\n    rkt trust list\n    rkt trust list --format=json-pretty"
)]
pub(crate) struct List {
    /// Leave the first lines out
    #[arg(long)]
    no_legend: bool,
    /// json or json-pretty
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    rules: Vec<RuleReport<'a>>,
    keys: Vec<KeyReport>,
    pins: Vec<Pin>,
}

#[derive(Serialize)]
struct RuleReport<'a> {
    #[serde(flatten)]
    rule: &'a Rule,
    file: &'a str,
}

/// An OpenPGP key of the keystore.
#[derive(Serialize)]
struct KeyReport {
    prefix: String,
    fingerprint: String,
    identities: Vec<String>,
    file: String,
}

impl Simple for List {
    fn run(self, context: &Context) -> Outcome {
        let format = Format::check(self.format.as_deref())?;
        let policy = context.policy()?;
        let rules = policy.rules().rules();
        let keys = policy.keystore().all()?.into_iter();
        let report = Report {
            rules: rules
                .map(|rule| RuleReport {
                    rule,
                    file: &rule.file,
                })
                .collect(),
            keys: keys
                .map(|key| KeyReport {
                    prefix: key.scope.prefix().to_owned(),
                    fingerprint: key.certificate.fingerprint(),
                    identities: key.certificate.identities(),
                    file: key.path.display().to_string(),
                })
                .collect(),
            pins: policy.pins().all()?,
        };
        match format {
            Format::Text => self.tables(&report),
            Format::Json => output::json(&report, false)?,
            Format::JsonPretty => output::json(&report, true)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// How tables write the prefix of all names.
fn shown(prefix: &str) -> String {
    match prefix {
        "" => "(all)".to_owned(),
        prefix => prefix.to_owned(),
    }
}

impl List {
    /// One table after the other, those that are empty left out.
    fn tables(&self, report: &Report<'_>) {
        let mut rules = Table::new(&["PREFIX", "LEVEL", "WANTED", "FILE"]);
        for RuleReport { rule, file } in &report.rules {
            rules.row(vec![
                shown(rule.scope.prefix()),
                rule.level.as_str().to_owned(),
                wanted(Some(rule)),
                (*file).to_owned(),
            ]);
        }
        let mut keys = Table::new(&["PREFIX", "KEY", "OF"]);
        for key in &report.keys {
            keys.row(vec![
                shown(&key.prefix),
                key.fingerprint.clone(),
                key.identities.first().cloned().unwrap_or_default(),
            ]);
        }
        let mut pins = Table::new(&["PINNED", "IMAGE", "SINCE"]);
        for pin in &report.pins {
            let since = std::time::Duration::from_secs(pin.since);
            pins.row(vec![
                pin.name.clone(),
                pin.id.short(12),
                output::absolute(std::time::SystemTime::UNIX_EPOCH + since),
            ]);
        }
        let tables = [
            (rules, report.rules.len()),
            (keys, report.keys.len()),
            (pins, report.pins.len()),
        ];
        let mut first = true;
        for (table, rows) in tables {
            if rows == 0 {
                continue;
            }
            if !first {
                println!();
            }
            first = false;
            table.print(!self.no_legend);
        }
        if first {
            eprintln!("no rules, no keys, no pins: every image is refused (rkt trust --help)");
        }
    }
}
