//! Numbers into a table, or into JSON.

use std::fmt;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// The measurements of one contender.
pub(crate) struct Row {
    /// Who.
    pub(crate) name: String,
    /// In the report's unit, one per round.
    pub(crate) samples: Vec<f64>,
    /// How it had to be run, when that is not the plain way.
    pub(crate) note: String,
}

impl Row {
    /// The middle sample.
    pub(crate) fn median(&self) -> f64 {
        quantile(&self.samples, 0.5)
    }
}

/// The sample below which a share `q` of all samples lies.
fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a position in a short list"
    )]
    let at = ((sorted.len() - 1) as f64 * q).round() as usize;
    sorted[at]
}

/// One table.
pub(crate) struct Report {
    /// What was measured.
    pub(crate) title: String,
    /// `ms`, `s`, `KiB`, `%`.
    pub(crate) unit: &'static str,
    /// The row the others are compared with, if it is there.
    pub(crate) base: &'static str,
    /// What was measured.
    pub(crate) rows: Vec<Row>,
    /// Who could not run, and why.
    pub(crate) missing: Vec<(String, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.title, self.unit)?;
        let base = self.rows.iter().find(|r| r.name == self.base);
        let ratio_head = if base.is_some() { "ratio" } else { "" };
        writeln!(
            f,
            "  {:<34} {:>9} {:>9} {:>9} {:>8}  runs",
            "", "median", "10%", "90%", ratio_head
        )?;
        for row in &self.rows {
            let ratio = base.map_or(String::new(), |b| {
                format!("{:.2}", row.median() / b.median())
            });
            writeln!(
                f,
                "  {:<34} {:>9.2} {:>9.2} {:>9.2} {:>8}  {}{}",
                row.name,
                row.median(),
                quantile(&row.samples, 0.1),
                quantile(&row.samples, 0.9),
                ratio,
                row.samples.len(),
                if row.note.is_empty() {
                    String::new()
                } else {
                    format!("  ({})", row.note)
                },
            )?;
        }
        for (name, why) in &self.missing {
            writeln!(f, "  {name:<34} could not run: {why}")?;
        }
        Ok(())
    }
}

/// All reports as one document.
pub(crate) fn json(reports: &[Report]) -> String {
    let reports: Vec<Value> = reports
        .iter()
        .map(|r| {
            let rows: Vec<Value> = r
                .rows
                .iter()
                .map(|row| {
                    json!({
                        "name": row.name,
                        "median": row.median(),
                        "p10": quantile(&row.samples, 0.1),
                        "p90": quantile(&row.samples, 0.9),
                        "runs": row.samples.len(),
                        "note": row.note,
                    })
                })
                .collect();
            let missing: Vec<Value> = r
                .missing
                .iter()
                .map(|(name, why)| json!({"name": name, "why": why}))
                .collect();
            json!({"title": r.title, "unit": r.unit, "rows": rows, "missing": missing})
        })
        .collect();
    let all = json!({"machine": machine(), "reports": reports});
    serde_json::to_string_pretty(&all).unwrap()
}

/// Processor, kernel, system and date in one line.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|p| p.1))
        .unwrap_or("unknown processor");
    let os = read("/etc/os-release");
    let os = os
        .lines()
        .find_map(|l| l.strip_prefix("PRETTY_NAME="))
        .unwrap_or("unknown system")
        .trim_matches('"')
        .to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let date = Command::new("date").arg("+%F").output();
    let date = date.map_or(String::new(), |o| {
        String::from_utf8_lossy(&o.stdout).trim().to_owned()
    });
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} cores of {model}, Linux {}, {os}, {date}",
        kernel.trim()
    )
}
