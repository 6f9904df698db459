//! `rkt version`.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::cli::{Context, Simple};
use crate::failure::Outcome;
use crate::output::{self, Format};

#[derive(Debug, Args)]
#[command(
    about = "print the versions of rkt and of the specification it follows",
    after_help = "EXAMPLES:\n    rkt version\n    rkt version --format=json | jq -r .rktVersion"
)]
pub(crate) struct Version {
    /// json or json-pretty
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// What `--format=json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    rkt_version: &'static str,
    appc_version: &'static str,
    rust_version: &'static str,
    os: &'static str,
    arch: &'static str,
    features: [&'static str; 2],
}

impl Simple for Version {
    fn run(self, _: &Context) -> Outcome {
        let report = Report {
            rkt_version: env!("CARGO_PKG_VERSION"),
            appc_version: manifests::appc::VERSION,
            rust_version: env!("CARGO_PKG_RUST_VERSION"),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            features: ["-TPM", "+SDJOURNAL"],
        };
        match Format::check(self.format.as_deref())? {
            Format::Text => output::say(&format!(
                "rkt Version: {}\nappc Version: {}\nRust Version: {}\nOS/Arch: {}/{}\nFeatures: {}",
                report.rkt_version,
                report.appc_version,
                report.rust_version,
                report.os,
                report.arch,
                report.features.join(" "),
            )),
            format => output::json(&report, format == Format::JsonPretty)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
