//! What was measured, as it is kept: one JSON document for a machine.
//!
//! ```text
//! {"format": 1,
//!  "machine": "2 cores of …, Linux …",
//!  "programs": [{"name", "version", "origin"}],
//!  "sections": {"start": {"date", "tables": […], "curves": […]}, …}}
//!
//! table  {"title", "unit", "base",
//!         "rows":    [{"name", "role": "ours|peer|floor", "median", "p25", "p75", "runs", "note"}],
//!         "missing": [{"name", "why"}]}
//! curve  {"title", "grows", "unit", "should": "stay|grow",
//!         "points":  [{"size", "median", "p25", "p75", "runs"}]}
//! ```
//!
//! A section measured again takes the place of what it was; the others stay.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The shape that this program writes and reads.
const FORMAT: u32 = 1;

/// Everything that was measured on one machine.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    format: u32,
    /// Its class, kernel and system.
    pub(crate) machine: String,
    /// Who took part.
    pub(crate) programs: Vec<Program>,
    /// By the word that has it measured.
    pub(crate) sections: BTreeMap<String, Section>,
}

/// A program that was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    /// Of its Debian package.
    pub(crate) name: String,
    /// Of its Debian package.
    pub(crate) version: String,
    /// Whose it is.
    pub(crate) origin: String,
}

/// What one word of the command line measures.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    /// The day, as `2026-01-31`.
    pub(crate) date: String,
    /// Figures of several contenders.
    pub(crate) tables: Vec<Table>,
    /// Figures that follow a size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) curves: Vec<Curve>,
}

/// Several contenders at one thing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) title: String,
    /// `ms`, `s`, `KiB`, `MiB`, `Gbit/s`.
    pub(crate) unit: String,
    /// The row that the others are compared with; may be missing.
    pub(crate) base: String,
    pub(crate) rows: Vec<Entry>,
    pub(crate) missing: Vec<Missing>,
}

/// One contender's figures, in the table's unit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) median: f64,
    pub(crate) p25: f64,
    pub(crate) p75: f64,
    pub(crate) runs: usize,
    /// How it had to be run, when that is not the plain way.
    pub(crate) note: String,
}

/// Who could not run, and why.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Missing {
    pub(crate) name: String,
    pub(crate) why: String,
}

/// Whose figures they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Ours,
    Peer,
    /// What it costs if it costs nothing else.
    Floor,
}

impl Role {
    /// By the first word of a row's name.
    pub(crate) fn of(name: &str) -> Self {
        let first = name.split([' ', ':', ',']).next().unwrap_or_default();
        match first {
            "floor" | "arithmetic" => Self::Floor,
            "crun" | "runc" | "podman" | "podman's" | "ctr" | "bwrap" | "systemd-nspawn"
            | "skopeo" | "umoci" | "conmon" | "containerd" => Self::Peer,
            _ => Self::Ours,
        }
    }
}

/// What one thing of ours costs, by the size of something.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Curve {
    pub(crate) title: String,
    /// What there is more of.
    pub(crate) grows: String,
    pub(crate) unit: String,
    pub(crate) should: Should,
    /// By size, the smallest first.
    pub(crate) points: Vec<Point>,
}

/// How a cost ought to follow the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Should {
    /// It has nothing to do with it.
    Stay,
    /// It is about each of them: no more than in proportion.
    Grow,
}

/// The cost at one size.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Point {
    pub(crate) size: usize,
    pub(crate) median: f64,
    pub(crate) p25: f64,
    pub(crate) p75: f64,
    pub(crate) runs: usize,
}

impl Curve {
    /// How many times as much the largest costs as the smallest, and how many
    /// times as large it is.
    pub(crate) fn growth(&self) -> Option<(f64, f64)> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let sizes = last.size as f64 / first.size.max(1) as f64;
        Some((last.median / first.median, sizes))
    }

    /// Whether it does what it should, noise and what a size costs the kernel
    /// itself (longer tables, colder caches) allowed for.
    pub(crate) fn holds(&self) -> bool {
        self.growth()
            .is_some_and(|(cost, sizes)| match self.should {
                Should::Stay => cost <= 1.5,
                Should::Grow => cost <= sizes * 1.25,
            })
    }
}

impl Document {
    /// The one in `file`, or a new one if there is none.
    ///
    /// # Errors
    /// It is of another machine or of another format.
    pub(crate) fn open(file: &Path, machine: String) -> Result<Self, String> {
        if !file.exists() {
            return Ok(Self::new(machine));
        }
        let kept = Self::read(file)?;
        if kept.machine == machine {
            Ok(kept)
        } else {
            Err(format!(
                "{} has figures of another machine ({}): figures of two machines do not mix; \
                 remove it, or name another by --file",
                file.display(),
                kept.machine
            ))
        }
    }

    /// One without figures.
    pub(crate) fn new(machine: String) -> Self {
        Self {
            format: FORMAT,
            machine,
            programs: Vec::new(),
            sections: BTreeMap::new(),
        }
    }

    /// The one in `file`.
    ///
    /// # Errors
    /// There is none, or it is of another format.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let failed = |e: &dyn fmt::Display| format!("{}: {e}", file.display());
        let bytes = fs::read(file).map_err(|e| failed(&e))?;
        let document: Self = serde_json::from_slice(&bytes).map_err(|e| failed(&e))?;
        if document.format == FORMAT {
            Ok(document)
        } else {
            Err(failed(&format!("format {}", document.format)))
        }
    }

    /// As JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap() + "\n"
    }

    /// The first table of a section whose title begins so.
    pub(crate) fn table(&self, section: &str, title: &str) -> Option<&Table> {
        let tables = &self.sections.get(section)?.tables;
        tables.iter().find(|t| t.title.starts_with(title))
    }

    /// The first and the last day on which a section was measured.
    pub(crate) fn dates(&self) -> Option<(&str, &str)> {
        let dates = || self.sections.values().map(|s| s.date.as_str());
        Some((dates().min()?, dates().max()?))
    }
}

impl Entry {
    /// Whether it had to be run without something that the others do, or among
    /// fewer, as its note says ("20 containers"; a figure for each "of 20
    /// containers" is another matter).
    pub(crate) fn has_less_to_do(&self) -> bool {
        let among = self.note.strip_suffix(" containers");
        self.note.contains("without")
            || self.note.contains("not unpacked")
            || among.is_some_and(|number| number.parse::<usize>().is_ok())
    }
}

impl Table {
    /// The row of this name.
    pub(crate) fn row(&self, name: &str) -> Option<&Entry> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// How a row compares with the base.
    pub(crate) fn ratio(&self, row: &Entry) -> Option<f64> {
        Some(row.median / self.row(&self.base)?.median)
    }
}

/// Three digits that count.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000.0 => {
            let digits = format!("{value:.0}");
            let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
            String::from_utf8_lossy(&groups.join(&b',')).into_owned()
        }
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.title, self.unit)?;
        let ratio_head = self.row(&self.base).map_or("", |_| "ratio");
        writeln!(
            f,
            "  {:<34} {:>9} {:>9} {:>9} {:>8}  runs",
            "", "median", "25%", "75%", ratio_head
        )?;
        for row in &self.rows {
            let ratio = self.ratio(row).map(|ratio| format!("{ratio:.2}"));
            write!(
                f,
                "  {:<34} {:>9} {:>9} {:>9} {:>8}  {}",
                row.name,
                figure(row.median),
                figure(row.p25),
                figure(row.p75),
                ratio.unwrap_or_default(),
                row.runs,
            )?;
            match row.note.as_str() {
                "" => writeln!(f)?,
                note => writeln!(f, "  ({note})")?,
            }
        }
        for Missing { name, why } in &self.missing {
            writeln!(f, "  {name:<34} could not run: {why}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, by {} ({})", self.title, self.grows, self.unit)?;
        for point in &self.points {
            writeln!(
                f,
                "  {:<34} {:>9} {:>9} {:>9}",
                point.size,
                figure(point.median),
                figure(point.p25),
                figure(point.p75)
            )?;
        }
        if let Some((cost, sizes)) = self.growth() {
            let verdict = match (self.should, self.holds()) {
                (Should::Stay, true) => "stays",
                (Should::Stay, false) => "ought to stay",
                (Should::Grow, true) => "no more than in proportion",
                (Should::Grow, false) => "more than in proportion",
            };
            writeln!(f, "  {sizes:.0}× as many: {cost:.2}× the cost, {verdict}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_that_count() {
        let all = [0.1234, 5.678, 56.78, 567.8, 5678.9, 56789.0, 1_056_789.0];
        let said = all.map(figure);
        assert_eq!(said[..5], ["0.12", "5.68", "56.8", "568", "5679"]);
        assert_eq!(said[5..], ["56,789", "1,056,789"]);
    }

    #[test]
    fn a_cost_may_stay_or_grow_in_proportion() {
        let curve = |should, last| Curve {
            title: String::new(),
            grows: String::new(),
            unit: "ms".into(),
            should,
            points: [(10, 2.0), (1000, last)]
                .map(|(size, median)| Point {
                    size,
                    median,
                    p25: median,
                    p75: median,
                    runs: 1,
                })
                .into(),
        };
        assert!(curve(Should::Stay, 2.2).holds());
        assert!(!curve(Should::Stay, 4.0).holds());
        assert!(curve(Should::Grow, 150.0).holds());
        assert!(!curve(Should::Grow, 600.0).holds());
    }

    #[test]
    fn figures_of_two_machines_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("figures.json");
        let mut one = Document::open(&file, "one".into()).unwrap();
        one.sections.insert("start".into(), Section::default());
        fs::write(&file, one.json()).unwrap();
        let again = Document::open(&file, "one".into()).unwrap();
        assert_eq!(again.json(), one.json());
        let other = Document::open(&file, "two".into()).unwrap_err();
        assert!(other.contains("another machine"), "{other}");
    }
}
