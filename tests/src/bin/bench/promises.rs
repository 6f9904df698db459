//! What rkt promises, held against what was measured.

use std::fmt::Write;

use crate::document::{Document, Role, Table, figure};

/// A promise.
pub(crate) struct Promise {
    /// What it is about.
    pub(crate) what: &'static str,
    /// What is promised.
    pub(crate) promised: &'static str,
    /// What was measured; nothing if it was not.
    pub(crate) measured: Option<Measured>,
}

/// How a promise was kept.
pub(crate) struct Measured {
    /// Our figures.
    pub(crate) ours: String,
    /// The floor's and the peers'.
    pub(crate) beside: String,
    /// Whether it was.
    pub(crate) kept: bool,
}

/// Every promise.
pub(crate) fn all(document: &Document) -> Vec<Promise> {
    let promise = |what, promised, measured| Promise {
        what,
        promised,
        measured,
    };
    let at_most = |section: &str, title: &str, row: &str, most: f64| {
        let table = document.table(section, title)?;
        let ours = table.row(row)?.median;
        Some(Measured {
            ours: format!("{} {}", figure(ours), table.unit),
            beside: beside(table),
            kept: ours <= most,
        })
    };
    vec![
        promise(
            "stored image, one app, no network",
            "≤ 6 ms, ≤ 2× the bare system calls",
            start(document),
        ),
        promise(
            "the same with a private network",
            "≤ 15 ms",
            at_most(
                "network",
                "start of a stored busybox",
                "rkt run (--net=default)",
                15.0,
            ),
        ),
        promise(
            "a program in a running pod",
            "≤ 5 ms",
            at_most("pods", "a program in a pod", "rkt enter", 5.0),
        ),
        promise(
            "memory of ours per idle pod",
            "≤ 1 MiB",
            at_most("memory", "memory", "rkt: supervisor and init", 1024.0),
        ),
        promise(
            "fetch of 0.94 GB in 36,700 files",
            "≥ 5× podman, ≤ 1.5× the arithmetic",
            fetch(document),
        ),
        promise(
            "16 starts at once",
            "≤ 1.3× one start per core",
            at_once(document),
        ),
        promise(
            "list of 1,000 pods, one wedged",
            "≤ 50 ms",
            at_most("pods", "list of 1000 pods", "rkt list", 50.0),
        ),
        promise(
            "units of 200 declared pods",
            "≤ 50 ms",
            at_most(
                "generator",
                "units of 200",
                "rkt generator, pod files",
                50.0,
            ),
        ),
        promise(
            "one byte flipped in a stored layer",
            "found and named",
            damage(document),
        ),
        promise("cost by size", "flat, or in proportion", growth(document)),
    ]
}

fn start(document: &Document) -> Option<Measured> {
    let table = document.table("start", "start of a stored busybox")?;
    let ours = table.row("rkt run --net=none")?;
    let ratio = table.ratio(ours)?;
    Some(Measured {
        ours: format!("{} ms, {ratio:.2}×", figure(ours.median)),
        beside: beside(table),
        kept: ours.median <= 6.0 && ratio <= 2.0,
    })
}

fn fetch(document: &Document) -> Option<Measured> {
    let table = document.table("fetch", "fetch of a 4-layer gzip image")?;
    let of = |name| Some(table.row(name)?.median);
    let (ours, floor) = (of("rkt fetch")?, of("arithmetic")?);
    let podman = of("podman pull")?;
    Some(Measured {
        ours: format!(
            "{} s, {:.1}× podman, {:.2}×",
            figure(ours),
            podman / ours,
            ours / floor
        ),
        beside: beside(table),
        kept: podman / ours >= 5.0 && ours / floor <= 1.5,
    })
}

fn at_once(document: &Document) -> Option<Measured> {
    let table = document.table("pods", "16 starts at once")?;
    let ours = table.row("rkt: each of them")?;
    let ratio = ours.median / table.row("rkt: one alone")?.median;
    Some(Measured {
        ours: format!("{ratio:.2}×"),
        beside: beside(table),
        kept: ratio <= 1.3,
    })
}

fn damage(document: &Document) -> Option<Measured> {
    let table = document.table("images", "finding the one byte")?;
    let found = table.row("rkt image verify");
    Some(Measured {
        ours: found.map_or("not found".into(), |row| {
            format!("named after {} ms", figure(row.median))
        }),
        beside: String::new(),
        kept: found.is_some(),
    })
}

fn growth(document: &Document) -> Option<Measured> {
    let curves = &document.sections.get("scale")?.curves;
    let held = curves.iter().filter(|curve| curve.holds()).count();
    Some(Measured {
        ours: format!("{held} of {} curves", curves.len()),
        beside: String::new(),
        kept: held == curves.len(),
    })
}

/// The floor, and each peer's fastest, in the order of the table.
fn beside(table: &Table) -> String {
    let mut said: Vec<(&str, f64)> = Vec::new();
    for row in table.rows.iter().filter(|row| row.role != Role::Ours) {
        let name = row.name.split([' ', ':', ',']).next().unwrap_or_default();
        match said.iter_mut().find(|(other, _)| *other == name) {
            Some((_, fastest)) => *fastest = fastest.min(row.median),
            None => said.push((name, row.median)),
        }
    }
    let one = |(name, value): &(&str, f64)| format!("{name} {}", figure(*value));
    said.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// All of them, for a terminal.
pub(crate) fn text(document: &Document) -> String {
    let mut text = String::new();
    for promise in all(document) {
        let (ours, verdict) = match &promise.measured {
            Some(measured) if measured.kept => (measured.ours.as_str(), "kept"),
            Some(measured) => (measured.ours.as_str(), "NOT KEPT"),
            None => ("", "not measured"),
        };
        writeln!(
            text,
            "{:<36} {:<36} {:<28} {verdict}",
            promise.what, promise.promised, ours
        )
        .unwrap();
    }
    text
}
