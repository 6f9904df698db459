//! Tables for people: columns by tabs, and never wider than the terminal.

use std::io::IsTerminal;

/// Rows of cells below a legend.
#[derive(Debug)]
pub(crate) struct Table {
    legend: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

const TAB: usize = 8;

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new(legend: &[&'static str]) -> Self {
        Self {
            legend: legend.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for every column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.legend.len());
        self.rows.push(cells);
    }

    /// Prints it; a table for a program (no terminal) is not cut.
    pub(crate) fn print(&self, legend: bool) {
        let stdout = std::io::stdout();
        let width = match rustix::termios::tcgetwinsize(&stdout) {
            Ok(size) if stdout.is_terminal() && size.ws_col > 0 => usize::from(size.ws_col),
            _ => usize::MAX,
        };
        super::say(&self.text(legend, width));
    }

    fn text(&self, legend: bool, width: usize) -> String {
        let legend_row: Vec<String> = self.legend.iter().map(|c| (*c).to_owned()).collect();
        let rows = || legend.then_some(&legend_row).into_iter().chain(&self.rows);
        let columns = self.legend.len();
        let mut widths: Vec<usize> = (0..columns)
            .map(|column| rows().map(|row| length(&row[column])).max().unwrap_or(0))
            .collect();
        shrink(&mut widths, width);
        let mut text = String::new();
        for row in rows() {
            for (column, cell) in row.iter().enumerate() {
                let cell = cut(cell, widths[column]);
                text.push_str(&cell);
                if column + 1 < columns {
                    // To the column's end, which is a tab stop behind it.
                    let missing = column_width(widths[column]) - length(&cell);
                    text.extend(std::iter::repeat_n('\t', missing.div_ceil(TAB)));
                }
            }
            let end = text.trim_end_matches('\t').len();
            text.truncate(end);
            text.push('\n');
        }
        text
    }
}

/// Columns end at a tab stop, with at least one blank before it.
fn column_width(longest: usize) -> usize {
    (longest + 1).next_multiple_of(TAB)
}

/// Takes from the widest column until the line fits, but leaves every column
/// one tab stop.
fn shrink(widths: &mut [usize], terminal: usize) {
    loop {
        let Some((last, others)) = widths.split_last() else {
            return;
        };
        let total = others.iter().map(|w| column_width(*w)).sum::<usize>() + last;
        if total <= terminal {
            return;
        }
        let last = widths.len() - 1;
        let Some((index, widest)) = widths.iter_mut().enumerate().max_by_key(|(_, w)| **w) else {
            return;
        };
        if *widest < 2 * TAB {
            return;
        }
        *widest = if index == last {
            // Nothing stands behind it, so it may end anywhere.
            (*widest).saturating_sub(total - terminal).max(TAB - 1)
        } else {
            column_width(*widest) - TAB - 1
        };
    }
}

fn length(cell: &str) -> usize {
    cell.chars().count()
}

/// Control characters from a manifest must not reach the terminal.
fn cut(cell: &str, width: usize) -> String {
    let clean = cell.chars().map(|c| if c.is_control() { '?' } else { c });
    if length(cell) <= width {
        return clean.collect();
    }
    let mut cut: String = clean.take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["ID", "NAME", "SIZE"]);
        table.row(vec![
            "1".into(),
            "a-rather-long-name-of-an-image".into(),
            "9B".into(),
        ]);
        table.row(vec!["22222222".into(), "b".into(), "1.5KiB".into()]);
        table
    }

    #[test]
    fn columns_are_aligned_by_tabs() {
        assert_eq!(
            table().text(true, usize::MAX),
            "ID\t\tNAME\t\t\t\tSIZE\n\
             1\t\ta-rather-long-name-of-an-image\t9B\n\
             22222222\tb\t\t\t\t1.5KiB\n"
        );
        assert!(!table().text(false, usize::MAX).contains("NAME"));
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_column() {
        let text = table().text(true, 40);
        assert!(text.contains("a-rather-long-…"), "{text}");
        for line in text.lines() {
            let mut width = 0;
            for c in line.chars() {
                width = if c == '\t' {
                    column_width(width)
                } else {
                    width + 1
                };
            }
            assert!(width <= 40, "{line:?} is {width} wide");
        }
        // Narrower than is possible: it still ends.
        assert!(!table().text(true, 1).is_empty());
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row(vec!["\x1b[31mred".into()]);
        assert_eq!(table.text(false, usize::MAX), "?[31mred\n");
    }
}
