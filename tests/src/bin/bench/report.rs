//! Samples as they are taken, and the figures that are made of them.

use std::fs;
use std::process::Command;

use crate::document::{Curve, Entry, Missing, Point, Role, Should, Table};
use crate::world;

/// The measurements of one contender.
pub(crate) struct Row {
    /// Who.
    pub(crate) name: String,
    /// In the report's unit, one per round.
    pub(crate) samples: Vec<f64>,
    /// How it had to be run, when that is not the plain way.
    pub(crate) note: String,
}

/// One table.
pub(crate) struct Report {
    /// What was measured.
    pub(crate) title: String,
    /// `ms`, `s`, `KiB`, `MiB`, `Gbit/s`.
    pub(crate) unit: &'static str,
    /// The row the others are compared with, if it is there.
    pub(crate) base: &'static str,
    /// What was measured.
    pub(crate) rows: Vec<Row>,
    /// Who could not run, and why.
    pub(crate) missing: Vec<(String, String)>,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(title: impl Into<String>, unit: &'static str, base: &'static str) -> Self {
        Self {
            title: title.into(),
            unit,
            base,
            rows: Vec::new(),
            missing: Vec::new(),
        }
    }
}

impl From<Report> for Table {
    fn from(report: Report) -> Self {
        let entry = |row: Row| Entry {
            role: Role::of(&row.name),
            median: quantile(&row.samples, 0.5),
            p25: quantile(&row.samples, 0.25),
            p75: quantile(&row.samples, 0.75),
            runs: row.samples.len(),
            name: row.name,
            note: row.note,
        };
        let missing = |(name, why)| Missing { name, why };
        Self {
            title: report.title,
            unit: report.unit.into(),
            base: report.base.into(),
            rows: report.rows.into_iter().map(entry).collect(),
            missing: report.missing.into_iter().map(missing).collect(),
        }
    }
}

/// Milliseconds of one thing by size.
pub(crate) fn curve(
    title: &str,
    grows: &str,
    should: Should,
    samples: Vec<(usize, Vec<f64>)>,
) -> Curve {
    let point = |(size, samples): (usize, Vec<f64>)| Point {
        size,
        median: quantile(&samples, 0.5),
        p25: quantile(&samples, 0.25),
        p75: quantile(&samples, 0.75),
        runs: samples.len(),
    };
    Curve {
        title: title.into(),
        grows: grows.into(),
        unit: "ms".into(),
        should,
        points: samples.into_iter().map(point).collect(),
    }
}

/// The sample below which a share `q` of all samples lies, in four digits: more
/// are noise.
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
    format!("{:.3e}", sorted[at]).parse().unwrap()
}

/// Processor, memory, kernel and system in one line.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|p| p.1))
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory: f64 = read("/proc/meminfo")
        .lines()
        .find_map(|l| {
            l.strip_prefix("MemTotal:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0.0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let groups = match read("/proc/mounts") {
        mounts if !mounts.contains(" cgroup2 ") => "cgroup v1",
        mounts if mounts.contains(" cgroup ") => "hybrid cgroups",
        _ => "cgroup v2",
    };
    let (device, kind) = world::under("/var/tmp");
    let disk = match (device.starts_with("/dev/loop"), world::without_journal()) {
        (true, _) => " on a loop device",
        (_, true) => " without a journal",
        _ => "",
    };
    format!(
        "{cores} cores of {model}, {:.0} GB, Linux {}, {groups}, {kind}{disk}",
        memory / 1e6,
        kernel.trim()
    )
}

/// Today, as `2026-01-31`.
pub(crate) fn today() -> String {
    let said = Command::new("date").arg("+%F").output();
    said.map_or(String::new(), |out| {
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "the digits are what is tested")]
    fn quartiles_in_four_digits() {
        let samples = [5.0, 1.0, 3.0, 2.0, 4.000_123];
        assert_eq!(quantile(&samples, 0.5), 3.0);
        assert_eq!(quantile(&samples, 0.25), 2.0);
        assert_eq!(quantile(&samples, 0.75), 4.0);
    }
}
