//! Two pictures of a document, as SVG with every number in words: bars beside
//! the peers, and curves by size. Readable on light and dark pages; nothing is
//! told by colour alone.

use std::fmt::Write;

use crate::document::{Curve, Document, Entry, Role, Should, Table, figure};
use crate::promises;

const WIDTH: f64 = 920.0;
const MARGIN: f64 = 28.0;
const GAP: f64 = 36.0;
/// Where the first panel begins.
const TOP: f64 = 92.0;

/// A panel of bars: the section, how its table's title begins, its heading, and
/// the promise that it is about.
type Panel = (&'static str, &'static str, &'static str, &'static str);

const PANELS: [Panel; 11] = [
    (
        "start",
        "start of a stored busybox",
        "Start of a stored image, no network",
        "stored image, one app, no network",
    ),
    (
        "network",
        "start of a stored busybox",
        "Start with a private network",
        "the same with a private network",
    ),
    (
        "fetch",
        "fetch of a 4-layer gzip",
        "Fetch of 0.94 GB in 36,700 files, gzip",
        "fetch of 0.94 GB in 36,700 files",
    ),
    (
        "fetch",
        "fetch of a 4-layer zstd",
        "Fetch of 0.94 GB in 36,700 files, zstd",
        "",
    ),
    (
        "pods",
        "a program in a pod",
        "A program in a running pod",
        "a program in a running pod",
    ),
    (
        "pods",
        "memory",
        "Memory that watches over one idle pod",
        "memory of ours per idle pod",
    ),
    (
        "pods",
        "16 starts at once",
        "16 starts at once, each on its core",
        "16 starts at once",
    ),
    (
        "pods",
        "list of 1000",
        "List of 1,000 pods, one wedged",
        "list of 1,000 pods, one wedged",
    ),
    ("images", "removal", "Removal of the 0.94 GB image", ""),
    (
        "network",
        "throughput of one TCP connection, pod to pod",
        "One TCP connection from pod to pod",
        "",
    ),
    ("sizes", "size", "Size of the program's file", ""),
];

/// Light first; the same classes again for dark pages.
const STYLE: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#1f2328}\
.title{font-size:22px;font-weight:600}.head{font-size:14px;font-weight:600}\
.soft{font-size:11.5px;fill:#59636e}.num{font-weight:600;paint-order:stroke;stroke:#ffffff;stroke-width:3px;stroke-linejoin:round}\
.page{fill:#ffffff}.ours{fill:#0a7d5a}.peer{fill:#9aa7b5}.floor{fill:none;stroke:#59636e;stroke-dasharray:3 2}\
.whisker{stroke:#1f2328;stroke-width:1;fill:none}.axis{stroke:#d1d9e0;stroke-width:1}\
.line{stroke:#0a7d5a;stroke-width:2;fill:none}.dot{fill:#0a7d5a}\
.ref{stroke:#9aa7b5;stroke-width:1;stroke-dasharray:4 3;fill:none}\
@media (prefers-color-scheme:dark){\
text{fill:#f0f6fc}.soft{fill:#9aa4af}.page{fill:#0d1117}.num{stroke:#0d1117}.ours{fill:#2fbf8f}.peer{fill:#56616d}\
.floor{stroke:#9aa4af}.whisker{stroke:#f0f6fc}.axis{stroke:#30363d}.line{stroke:#2fbf8f}\
.dot{fill:#2fbf8f}.ref{stroke:#56616d}}";

/// Each contender of the panels, as bars.
pub(crate) fn bars(document: &Document) -> String {
    let width = (WIDTH - 2.0 * MARGIN - GAP) / 2.0;
    let mut columns = [TOP, TOP];
    let mut body = String::new();
    let promises = promises::all(document);
    for (section, title, heading, promise) in PANELS {
        let Some(table) = document.table(section, title) else {
            continue;
        };
        let column = usize::from(columns[1] < columns[0]);
        #[expect(clippy::cast_precision_loss, reason = "0 or 1")]
        let x = MARGIN + column as f64 * (width + GAP);
        let promise = promises.iter().find(|p| p.what == promise);
        let said = promise.map_or(String::new(), |p| {
            let kept = p.measured.as_ref().map(|m| match m.kept {
                true => "kept",
                false => "not kept",
            });
            let verdict = kept.unwrap_or("not measured");
            format!(" · promised {}: {verdict}", p.promised)
        });
        columns[column] += panel(
            &mut body,
            table,
            heading,
            &said,
            (x, columns[column], width),
        );
    }
    let bottom = columns[0].max(columns[1]);
    page(
        document,
        "rkt beside its peers",
        "bars: medians, the shorter the better unless said · lines: the middle half of all runs · * has less to do, see the notes",
        &body,
        bottom,
    )
}

/// One panel; gives its height.
fn panel(
    body: &mut String,
    table: &Table,
    heading: &str,
    promise: &str,
    (x, y, width): (f64, f64, f64),
) -> f64 {
    const ROW: f64 = 22.0;
    const LABEL: f64 = 146.0;
    /// Room for "12,345 ms  1,234×".
    const NUMBER: f64 = 118.0;
    let more = table.title.contains("more is better");
    let mut rows: Vec<&Entry> = table.rows.iter().collect();
    rows.sort_by(|a, b| a.median.total_cmp(&b.median));
    if more {
        rows.reverse();
    }
    let largest = rows.iter().map(|row| row.median.max(row.p75));
    let largest = largest.fold(f64::MIN_POSITIVE, f64::max);
    let scale = (width - LABEL - NUMBER) / largest;
    let ours = ours(table);
    text(body, "head", x, y, heading);
    let better = if more { ", more is better" } else { "" };
    let sub = format!("{}{better}{promise}", table.unit);
    text(body, "soft", x, y + 17.0, &sub);
    let mut at = y + 40.0;
    for row in rows {
        let class = match row.role {
            Role::Ours => "ours",
            Role::Peer => "peer",
            Role::Floor => "floor",
        };
        let bold = if row.role == Role::Ours { "num" } else { "" };
        text(body, bold, x, at, &label(table, row));
        let start = x + LABEL;
        let long = (row.median * scale).max(1.5);
        writeln!(
            body,
            "<rect class='{class}' x='{start:.1}' y='{:.1}' width='{long:.1}' height='13' rx='2'/>",
            at - 11.0
        )
        .unwrap();
        let (from, to) = (start + row.p25 * scale, start + row.p75 * scale);
        if to - from > 3.0 {
            let y = at - 4.5;
            writeln!(
                body,
                "<path class='whisker' d='M{from:.1} {y:.1}H{to:.1}M{from:.1} {:.1}v6M{to:.1} {:.1}v6'/>",
                y - 3.0,
                y - 3.0
            )
            .unwrap();
        }
        let end = start + long.max(row.p75 * scale) + 7.0;
        let value = figure(row.median);
        text(body, "num", end, at, &value);
        let times = ours.filter(|_| row.role != Role::Ours);
        if let Some(ours) = times {
            #[expect(clippy::cast_precision_loss, reason = "a few letters")]
            let after = end + value.len() as f64 * 8.4 + 6.0;
            text(body, "soft", after, at, &times_of(row.median / ours));
        }
        at += ROW;
    }
    for missing in &table.missing {
        let why: String = missing.why.chars().take(48).collect();
        let line = format!("{}: could not run ({why})", missing.name);
        text(
            body,
            "soft",
            x,
            at,
            &line.chars().take(72).collect::<String>(),
        );
        at += ROW - 4.0;
    }
    at - y + 26.0
}

fn times_of(ratio: f64) -> String {
    match ratio {
        r if r >= 9.95 => format!("{r:.0}×"),
        r if r >= 0.995 => format!("{r:.1}×"),
        r => format!("{r:.2}×"),
    }
}

/// Our figure, where there is one.
fn ours(table: &Table) -> Option<f64> {
    let mut rows = table.rows.iter().filter(|row| row.role == Role::Ours);
    Some(rows.next()?.median)
}

/// A row's name in a word or two.
fn label(table: &Table, row: &Entry) -> String {
    let rows = table.rows.iter().filter(|r| r.role == row.role);
    let alone = rows.count() == 1;
    match row.role {
        Role::Floor => row.name.rsplit(": ").next().unwrap_or_default().to_owned(),
        Role::Ours if alone => "rkt".into(),
        Role::Ours => match row.name.rsplit_once("--") {
            Some((_, flag)) => format!("rkt, {}", flag.trim_end_matches(')')),
            None => match row.name.split_once(": ") {
                Some((_, how)) => format!("rkt, {how}"),
                None if row.name.starts_with("rkt,") => row.name.clone(),
                None => row.name.split(' ').next().unwrap_or_default().to_owned(),
            },
        },
        Role::Peer => {
            let first = row.name.split([' ', ':', ',']).next().unwrap_or_default();
            let name = match first {
                "bwrap" => "bubblewrap",
                "ctr" => "containerd (ctr)",
                other => other,
            };
            let name = match row.name.rsplit_once(", ") {
                Some((_, with)) if with.len() <= 9 => format!("{name} + {with}"),
                _ if row.name.contains("CNI") => format!("{name} + CNI"),
                _ => name.to_owned(),
            };
            match row.has_less_to_do() {
                true => name + " *",
                false => name,
            }
        }
    }
}

/// Every curve, by size.
pub(crate) fn curves(document: &Document) -> String {
    const COLUMNS: usize = 3;
    const HEIGHT: f64 = 156.0;
    let mut body = String::new();
    let curves = document.sections.get("scale").map(|s| s.curves.as_slice());
    let curves = curves.unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (columns, rows) = (COLUMNS as f64, curves.len().div_ceil(COLUMNS) as f64);
    let width = (WIDTH - 2.0 * MARGIN - (columns - 1.0) * GAP) / columns;
    for (number, curve) in curves.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let (column, row) = ((number % COLUMNS) as f64, (number / COLUMNS) as f64);
        let at = (MARGIN + column * (width + GAP), TOP + row * HEIGHT);
        plot(&mut body, curve, at, width);
    }
    page(
        document,
        "rkt, ten and a hundred times as much",
        "both axes by powers of ten · dashed: linear · bars: the middle half of all runs",
        &body,
        TOP + rows * HEIGHT,
    )
}

fn plot(body: &mut String, curve: &Curve, (x, y): (f64, f64), width: f64) {
    const TALL: f64 = 68.0;
    /// Powers of ten that fit.
    const DECADES: f64 = 2.6;
    let Some((cost, sizes)) = curve.growth() else {
        return;
    };
    text(body, "head", x, y, &curve.title);
    let kept = match (curve.should, curve.holds()) {
        (Should::Stay, true) => "flat",
        (Should::Stay, false) => "not flat",
        (Should::Grow, true) => "at most linear",
        (Should::Grow, false) => "more than linear",
    };
    let said = format!(
        "{} · {cost:.1}× the cost at {sizes:.0}×: {kept}",
        curve.unit
    );
    text(body, "soft", x, y + 17.0, &said);
    let base = y + 30.0 + TALL;
    let (left, right) = (x + 4.0, x + width - 46.0);
    writeln!(
        body,
        "<path class='axis' d='M{x:.1} {base:.1}H{:.1}'/>",
        x + width
    )
    .unwrap();
    let lowest = curve.points.iter().map(|p| p.p25.min(p.median));
    let lowest = lowest.fold(f64::MAX, f64::min).log10() - 0.15;
    let up = |value: f64| base - (value.log10() - lowest) / DECADES * TALL;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let ln = |size: usize| (size.max(1) as f64).log10();
    let first = ln(curve.points[0].size);
    let across = |size: usize| left + (ln(size) - first) / sizes.log10() * (right - left);
    // In proportion, as far as the panel goes.
    let start = curve.points[0].median;
    let top = (DECADES + lowest - start.log10()).min(sizes.log10());
    writeln!(
        body,
        "<path class='ref' d='M{left:.1} {:.1}L{:.1} {:.1}'/>",
        up(start),
        left + top / sizes.log10() * (right - left),
        up(start * 10_f64.powf(top))
    )
    .unwrap();
    let points: Vec<String> = curve
        .points
        .iter()
        .map(|p| format!("{:.1} {:.1}", across(p.size), up(p.median)))
        .collect();
    writeln!(body, "<path class='line' d='M{}'/>", points.join("L")).unwrap();
    for (number, point) in curve.points.iter().enumerate() {
        let (at, high) = (across(point.size), up(point.median));
        writeln!(
            body,
            "<path class='whisker' d='M{at:.1} {:.1}V{:.1}'/><circle class='dot' cx='{at:.1}' cy='{high:.1}' r='3.5'/>",
            up(point.p25),
            up(point.p75)
        )
        .unwrap();
        let value = figure(point.median);
        match number + 1 == curve.points.len() {
            true => text(body, "num", at + 8.0, high + 4.5, &value),
            false => text(body, "num", at - 4.0, high - 9.0, &value),
        }
        // The middle size leaves its place to what it is the size of.
        if number == 0 || number + 1 == curve.points.len() {
            text(body, "soft", at - 4.0, base + 15.0, &figure_of(point.size));
        }
    }
    let middle = f64::midpoint(left, right);
    writeln!(
        body,
        "<text class='soft' text-anchor='middle' x='{middle:.1}' y='{:.1}'>{}</text>",
        base + 15.0,
        escape(&curve.grows)
    )
    .unwrap();
}

fn figure_of(size: usize) -> String {
    match size {
        0..1000 => size.to_string(),
        _ => format!("{},{:03}", size / 1000, size % 1000),
    }
}

/// Title, legend and machine around the panels.
fn page(document: &Document, title: &str, legend: &str, body: &str, bottom: f64) -> String {
    let height = bottom + 24.0;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height:.0}' \
         viewBox='0 0 {WIDTH} {height:.0}' role='img'>\n<title>{}</title>\n<style>{STYLE}</style>\n\
         <rect class='page' width='100%' height='100%' rx='8'/>\n",
        escape(title)
    );
    text(&mut svg, "title", MARGIN, 40.0, title);
    text(&mut svg, "soft", MARGIN, 60.0, legend);
    svg += body;
    let when = document
        .dates()
        .map_or(String::new(), |(_, last)| last.to_owned());
    let machine = format!("{} · {when}", document.machine);
    text(&mut svg, "soft", MARGIN, bottom + 4.0, &machine);
    svg += "</svg>\n";
    svg
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let class = match class {
        "" => String::new(),
        class => format!(" class='{class}'"),
    };
    let words = escape(words);
    writeln!(svg, "<text{class} x='{x:.1}' y='{y:.1}'>{words}</text>").unwrap();
}

fn escape(words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    words.replace('\n', " ")
}
