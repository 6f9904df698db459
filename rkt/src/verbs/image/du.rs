//! `rkt image du`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use image_store::{ImageRecord, ImageUsage, Usage};
use manifests::image_id::ImageId;
use serde::Serialize;

use super::list::name;
use crate::cli::{Context, Simple};
use crate::failure::Outcome;
use crate::output::{self, Format, Table, say};
use crate::verbs::error_block;

#[derive(Debug, Args)]
#[command(
    about = "tell what the images take on the disk, and what their removal would free",
    after_help = "EXAMPLES:\n    rkt image du\n    rkt image du --format=json"
)]
pub(crate) struct Du {
    /// Leave the first line out
    #[arg(long)]
    no_legend: bool,
    /// Whole ids and sizes in bytes
    #[arg(long)]
    full: bool,
    /// json or json-pretty
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Characters of the largest image's bar.
const BAR: u64 = 30;
const SHORT: usize = 12;

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    usage: &'a Usage,
    names: BTreeMap<&'a ImageId, String>,
}

impl Simple for Du {
    fn run(self, context: &Context) -> Outcome {
        let format = Format::check(self.format.as_deref())?;
        let store = context.store()?;
        let (mut images, mut errors) = (Vec::new(), Vec::new());
        for image in store.images()? {
            match image {
                Ok(record) => images.push(record),
                Err(e) => errors.push(e.to_string()),
            }
        }
        let mut usage = store.usage(&images)?;
        usage.images.sort_by_key(|i| Reverse((i.unique, i.shared)));
        let names = images.iter().map(|i: &ImageRecord| (&i.id, name(i)));
        let report = Report {
            usage: &usage,
            names: names.collect(),
        };
        match format {
            Format::Text => self.print(&report),
            Format::Json | Format::JsonPretty => {
                output::json(&report, format == Format::JsonPretty)?;
            }
        }
        error_block("images", &errors);
        Ok(ExitCode::SUCCESS)
    }
}

impl Du {
    fn print(&self, report: &Report<'_>) {
        let usage = report.usage;
        let mut table = Table::new(&["ID", "NAME", "UNIQUE", "SHARED", "UNIQUE # SHARED -"]);
        let largest = usage.images.iter().map(|i| i.unique + i.shared).max();
        for image in &usage.images {
            table.row(vec![
                match self.full {
                    true => image.id.to_string(),
                    false => image.id.short(SHORT),
                },
                report.names[&image.id].clone(),
                self.bytes(image.unique),
                self.bytes(image.shared),
                bar(image, largest.unwrap_or(0)),
            ]);
        }
        table.print(!self.no_legend);
        let mut total = format!(
            "{} in all images and their leftovers, {} of it shared",
            self.bytes(usage.objects + usage.staging + usage.trees),
            self.bytes(usage.shared),
        );
        for (bytes, what) in [
            (usage.unreferenced, "in no image (rkt image gc frees it)"),
            (usage.staging, "of fetches that are under way or died"),
            (usage.trees, "unpacked"),
        ] {
            if bytes > 0 {
                total.push_str(&format!(", {} {what}", self.bytes(bytes)));
            }
        }
        say(&total);
    }

    fn bytes(&self, bytes: u64) -> String {
        match self.full {
            true => bytes.to_string(),
            false => output::bytes(bytes),
        }
    }
}

/// What is there is seen: a part that is not empty has a character at least.
fn bar(image: &ImageUsage, largest: u64) -> String {
    let length = |bytes: u64| match bytes {
        0 => 0,
        _ => (u128::from(bytes) * u128::from(BAR) / u128::from(largest.max(1))).max(1) as usize,
    };
    "#".repeat(length(image.unique)) + &"-".repeat(length(image.shared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_compare() {
        let digits = "0".repeat(64);
        let image = |unique, shared| ImageUsage {
            id: format!("sha256-{digits}").parse().unwrap(),
            unique,
            shared,
        };
        assert_eq!(bar(&image(100, 200), 300), "#".repeat(10) + &"-".repeat(20));
        assert_eq!(bar(&image(1, 0), 300), "#");
        assert_eq!(bar(&image(0, 0), 0), "");
        assert_eq!(bar(&image(u64::MAX, 0), u64::MAX).len(), 30);
    }
}
