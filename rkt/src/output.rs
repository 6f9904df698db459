//! Data on stdout: text, JSON, tables and times.

mod table;
mod units;

use std::io::Write;

use serde::Serialize;

pub(crate) use table::Table;
pub(crate) use units::{absolute, bytes, relative};

use crate::failure::Failure;

/// Writes text to stdout, ending it with a newline. A reader that went away
/// (`rkt list | head`) is no failure of ours.
pub(crate) fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let newline = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let _ = write!(stdout, "{text}{newline}").and_then(|()| stdout.flush());
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One line of JSON.
    Json,
    /// Indented JSON.
    JsonPretty,
}

impl Format {
    /// Reads the flag's value; absent and empty mean text.
    ///
    /// # Errors
    /// For any other word.
    pub(crate) fn check(flag: Option<&str>) -> Result<Self, Failure> {
        match flag {
            None | Some("") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            Some("json-pretty") => Ok(Self::JsonPretty),
            Some(other) => Err(Failure::new(format!("Invalid format option: {other}"))),
        }
    }
}

/// Prints a value as JSON; pretty means indented by tabs.
pub(crate) fn json(value: &impl Serialize, pretty: bool) -> Result<(), Failure> {
    let mut text = Vec::new();
    let written = if pretty {
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
        value.serialize(&mut serializer)
    } else {
        serde_json::to_writer(&mut text, value)
    };
    written.map_err(|e| Failure::because("cannot print the result as JSON", e))?;
    say(&String::from_utf8_lossy(&text));
    Ok(())
}
