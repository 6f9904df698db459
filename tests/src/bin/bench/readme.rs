//! The committed figures in the README and as pictures.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::document::{Document, Missing, Role};
use crate::{committed, picture, promises, repository, write};

const BEGIN: &str = "<!-- figures: written by `bench readme` from docs/benchmarks.json -->\n";
const END: &str = "<!-- end of the figures -->";

/// Draws both pictures into `dir`.
pub(crate) fn draw(document: &Document, dir: &Path) -> Result<(), String> {
    write(&dir.join("benchmarks.svg"), &picture::bars(document))?;
    write(&dir.join("growth.svg"), &picture::curves(document))
}

/// Makes this document the committed one: in `docs`, and in the README between
/// its marks.
pub(crate) fn publish(document: &Document) -> Result<(), String> {
    write(&committed(), &document.json())?;
    draw(document, &repository().join("docs"))?;
    let file = repository().join("README.md");
    let text = fs::read_to_string(&file).map_err(|e| e.to_string())?;
    let (before, _, after) = split(&text).ok_or("README.md has lost the marks of its figures")?;
    let block = block(document);
    write(&file, &format!("{before}{BEGIN}{block}{END}{after}"))
}

/// What stands before, between and after the marks.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (between, after) = rest.split_once(END)?;
    Some((before, between, after))
}

/// The figures in Markdown.
fn block(document: &Document) -> String {
    let mut text = String::new();
    let (first, last) = document.dates().unwrap_or_default();
    let when = match first == last {
        true => last.to_owned(),
        false => format!("{first} to {last}"),
    };
    writeln!(text, "Measured {when} on {}:\n", document.machine).unwrap();
    text += "| | promised | measured | beside | |\n|---|---|---|---|---|\n";
    for promise in promises::all(document) {
        let (ours, beside, verdict) = match &promise.measured {
            Some(m) => (
                m.ours.as_str(),
                m.beside.as_str(),
                if m.kept { "kept" } else { "**not kept**" },
            ),
            None => ("", "", "not measured"),
        };
        writeln!(
            text,
            "| {} | {} | {ours} | {beside} | {verdict} |",
            promise.what, promise.promised
        )
        .unwrap();
    }
    text += "\n![What rkt costs beside its peers](docs/benchmarks.svg)\n\n";
    text += "![What rkt costs when there is ten and a hundred times as much](docs/growth.svg)\n\n";
    let versions = document.programs.iter().map(|program| {
        // The part that is Debian's says nothing here.
        let version = program.version.split(['-', '+', '~']).next();
        (program, version.unwrap_or_default())
    });
    let peers: Vec<String> = versions
        .filter(|(program, _)| program.name != "rkt")
        .map(|(program, version)| format!("{} {version}", program.name))
        .collect();
    let origin = document.programs.last().map_or("", |p| p.origin.as_str());
    writeln!(text, "Peers, of {origin}: {}.", peers.join(", ")).unwrap();
    let rows = document.sections.values().flat_map(|s| &s.tables);
    let rows = rows.flat_map(|table| &table.rows);
    let less = rows.filter(|row| row.role == Role::Peer && row.has_less_to_do());
    let mut less: Vec<String> = less
        .map(|row| format!("{} ({})", row.name, row.note))
        .collect();
    less.sort();
    less.dedup();
    if !less.is_empty() {
        writeln!(text, "Less to do had: {}.", less.join("; ")).unwrap();
    }
    let missing = document.sections.values().flat_map(|s| &s.tables);
    let mut missing: Vec<String> = missing
        .flat_map(|table| &table.missing)
        .map(|Missing { name, why }| format!("{name} ({})", why.lines().next().unwrap_or("")))
        .collect();
    missing.sort();
    missing.dedup();
    if !missing.is_empty() {
        writeln!(text, "Could not run: {}.", missing.join("; ")).unwrap();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody mends a figure by hand, in either place; where none are committed,
    /// none are shown.
    #[test]
    fn the_readme_and_the_pictures_show_the_committed_figures() {
        let readme = fs::read_to_string(repository().join("README.md")).unwrap();
        let (_, between, _) = split(&readme).expect("README.md has the marks");
        let picture = |name: &str| fs::read_to_string(repository().join("docs").join(name)).ok();
        let shown = ["benchmarks.svg", "growth.svg"].map(picture);
        if !committed().exists() {
            assert_eq!(between, "");
            assert_eq!(shown, [None, None]);
            return;
        }
        let document = Document::read(&committed()).unwrap();
        let again = "type: target/release/bench readme docs/benchmarks.json";
        assert!(between == block(&document), "{again}");
        let drawn = [picture::bars(&document), picture::curves(&document)];
        assert!(shown == drawn.map(Some), "{again}");
    }

    #[test]
    fn the_block_of_figures_is_found_and_replaced_whole() {
        let text = format!("before\n{BEGIN}old\n{END}\nafter\n");
        assert_eq!(split(&text), Some(("before\n", "old\n", "\nafter\n")));
        assert_eq!(split("no marks"), None);
        let document = Document::new("1 core".into());
        assert!(block(&document).contains("not measured"));
    }
}
