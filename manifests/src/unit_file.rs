//! systemd's file syntax: sections, assignments, drop-ins, quoted words.
//!
//! Pods are declared in files of this syntax, because who writes them writes
//! units as well. Only the syntax is here; what a section or a key means is
//! its reader's business. Every assignment remembers its file and line.
//! Source: systemd.syntax(7), systemd.unit(5) "Drop-ins".

use std::fmt;
use std::sync::Arc;

/// Longest line, in bytes (systemd's `LONG_LINE_MAX`).
const LINE_MAX: usize = 1024 * 1024;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name as it was given.
    pub file: Arc<str>,
    /// Counted from 1; 0 where no line is known.
    pub line: usize,
}

impl Place {
    /// A file as a whole, or a part of it that its name says.
    pub fn of_file(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// What stands before the `=`.
    pub key: String,
    /// What stands behind it, continued lines joined by a space.
    pub value: String,
    /// Where it begins.
    pub place: Place,
}

/// `[NAME]` and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What stands between the brackets.
    pub name: String,
    /// Where the section was begun first.
    pub place: Place,
    /// All assignments of all sections of this name, in their order.
    pub assignments: Vec<Assignment>,
}

/// A file, or a file and its drop-ins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitFile {
    /// Each name once, in the order in which they came.
    pub sections: Vec<Section>,
}

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl UnitFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first line that is none of a comment, a section and an assignment.
    pub fn parse(file: &str, text: &str) -> Result<Self, SyntaxError> {
        let mut unit = Self::default();
        unit.add(file, text)?;
        Ok(unit)
    }

    /// Reads a drop-in: its assignments come after those that are there.
    ///
    /// # Errors
    /// As [`Self::parse`]; what was read until then is in.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), SyntaxError> {
        let file: Arc<str> = file.into();
        let mut current = None;
        for (line, text) in joined(text) {
            let place = Place {
                file: Arc::clone(&file),
                line,
            };
            let wrong = |reason: String| SyntaxError {
                place: place.clone(),
                reason,
            };
            if text.len() > LINE_MAX {
                return Err(wrong(format!("line is longer than {LINE_MAX} bytes")));
            }
            if text.contains('\0') {
                return Err(wrong("line contains a NUL byte".into()));
            }
            if let Some(rest) = text.strip_prefix('[') {
                let name = rest.strip_suffix(']').filter(|name| !name.is_empty());
                let Some(name) = name else {
                    return Err(wrong(format!("{text:?} is not a section: expected [NAME]")));
                };
                current = Some(self.section(name, place));
                continue;
            }
            let Some((key, value)) = text.split_once('=') else {
                return Err(wrong(format!(
                    "{text:?} is neither a section nor an assignment: expected [NAME] or KEY=VALUE"
                )));
            };
            let key = key.trim_end();
            if key.is_empty() {
                return Err(wrong("there is no key before the \"=\"".into()));
            }
            let Some(index) = current else {
                return Err(wrong(format!("assignment of {key:?} outside of a section")));
            };
            self.sections[index].assignments.push(Assignment {
                key: key.to_owned(),
                value: value.trim().to_owned(),
                place,
            });
        }
        Ok(())
    }

    fn section(&mut self, name: &str, place: Place) -> usize {
        let found = self.sections.iter().position(|s| s.name == name);
        found.unwrap_or_else(|| {
            self.sections.push(Section {
                name: name.to_owned(),
                place,
                assignments: Vec::new(),
            });
            self.sections.len() - 1
        })
    }

    /// The section of a name.
    pub fn get(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }
}

impl Section {
    /// The values of a key, after the last empty one, which takes all before
    /// it back.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Assignment> + Clone {
        let of_key = self.assignments.iter().filter(move |a| a.key == key);
        let reset = of_key.clone().filter(|a| a.value.is_empty()).count();
        let mut seen = 0;
        of_key
            .filter(move |a| {
                seen += usize::from(a.value.is_empty());
                seen == reset
            })
            .filter(|a| !a.value.is_empty())
    }

    /// The last value of a key; none when it is empty.
    pub fn last<'a>(&'a self, key: &'a str) -> Option<&'a Assignment> {
        self.all(key).last()
    }
}

/// Lines with what they are continued by, and the number of the first. Empty
/// lines and comments are left out, also between continued ones.
fn joined(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        let mut whole: Option<(usize, String)> = None;
        for (number, line) in lines.by_ref() {
            let trimmed = line.trim_start();
            let comment = trimmed.starts_with(['#', ';']);
            if comment || (whole.is_none() && trimmed.trim_end().is_empty()) {
                continue;
            }
            let (part, goes_on) = match line.strip_suffix('\\') {
                Some(part) => (part, true),
                None => (line, false),
            };
            match &mut whole {
                None => whole = Some((number + 1, part.trim_start().to_owned())),
                Some((_, so_far)) => {
                    so_far.push(' ');
                    so_far.push_str(part.trim_start());
                }
            }
            if !goes_on {
                break;
            }
        }
        whole.map(|(number, line)| (number, line.trim_end().to_owned()))
    })
}

/// Cuts a value into words: at white space, outside of `"…"` and `'…'`, with
/// the escapes of C. Source: systemd.syntax(7) "Quoting".
///
/// # Errors
/// Says which quote is not closed or which escape is none.
pub fn words(value: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (_, '\\') => {
                let escaped = escape(&mut rest)?;
                word.get_or_insert_default().push(escaped);
            }
            (Some(open), c) if c == open => quote = None,
            // As in systemd, a quote opens at the beginning of a word only.
            (None, '"' | '\'') if word.is_none() => {
                quote = Some(c);
                word = Some(String::new());
            }
            (None, c) if c.is_ascii_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("the quote {open} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

fn escape(rest: &mut std::str::Chars<'_>) -> Result<char, String> {
    let c = rest.next().ok_or("the value ends in a backslash")?;
    let number = |first: Option<char>, rest: &mut std::str::Chars<'_>, digits, radix| {
        let text: String = first
            .into_iter()
            .chain(rest.by_ref().take(digits))
            .collect();
        u32::from_str_radix(&text, radix)
            .ok()
            .and_then(char::from_u32)
            .filter(|c| *c != '\0')
            .ok_or_else(|| format!("the escape \\{c} is not followed by the number of a character"))
    };
    Ok(match c {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        's' => ' ',
        '\\' | '"' | '\'' => c,
        'x' => number(None, rest, 2, 16)?,
        'u' => number(None, rest, 4, 16)?,
        'U' => number(None, rest, 8, 16)?,
        '0'..='7' => number(Some(c), rest, 2, 8)?,
        _ => {
            return Err(format!(
                "\\{c} is not an escape; a backslash is written \\\\"
            ));
        }
    })
}

/// One word for a command line of a unit (`ExecStart=`): quoted where needed,
/// and `$` is nothing but itself. `%` is left for systemd to expand.
/// Source: systemd.service(5) "Command lines".
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/:.,@%+".contains(c);
    let mut quoted = String::with_capacity(word.len() + 2);
    if !word.is_empty() && word.chars().all(plain) {
        quoted.push_str(word);
        return quoted;
    }
    quoted.push('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '$' => quoted.push_str("$$"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(unit: &UnitFile, section: &str, key: &str) -> Vec<String> {
        let section = unit.get(section).unwrap();
        section.all(key).map(|a| a.value.clone()).collect()
    }

    #[test]
    fn sections_assignments_comments_and_continued_lines() {
        let text = "# first\n[Unit]\nDescription = a \\\n; between\n  web server  \n\n[Pod]\n\
                    Port=http:80\n[Unit]\nAfter=x.service\nAfter=\nAfter=y.service\n";
        let unit = UnitFile::parse("web.pod", text).unwrap();
        let names: Vec<_> = unit.sections.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["Unit", "Pod"]);
        assert_eq!(values(&unit, "Unit", "Description"), ["a  web server"]);
        assert_eq!(values(&unit, "Unit", "After"), ["y.service"]);
        let port = unit.get("Pod").unwrap().last("Port").unwrap();
        assert_eq!(port.place.to_string(), "web.pod:8");
        assert!(unit.get("Pod").unwrap().last("Volume").is_none());
    }

    #[test]
    fn drop_ins_come_after_and_may_take_back() {
        let mut unit = UnitFile::parse("a", "[Pod]\nPort=1\nPort=2\n").unwrap();
        unit.add("a.d/b.conf", "[Pod]\nPort=3\n").unwrap();
        assert_eq!(values(&unit, "Pod", "Port"), ["1", "2", "3"]);
        unit.add("a.d/c.conf", "\n[Pod]\nPort=\nPort=4\n").unwrap();
        assert_eq!(values(&unit, "Pod", "Port"), ["4"]);
        let last = unit.get("Pod").unwrap().last("Port").unwrap();
        assert_eq!(last.place.to_string(), "a.d/c.conf:4");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line, why) in [
            ("\nPort=1", 2, "outside of a section"),
            ("[Pod\nA=b", 1, "not a section"),
            (
                "[Pod]\n\nnonsense",
                3,
                "neither a section nor an assignment",
            ),
            ("[Pod]\n=x", 2, "no key"),
            ("[Pod]\nA=\0", 2, "NUL"),
        ] {
            let error = UnitFile::parse("f", text).unwrap_err();
            assert_eq!(error.place.line, line, "{text:?}");
            assert!(error.reason.contains(why), "{error}");
        }
    }

    #[test]
    fn words_are_systemds() {
        assert_eq!(
            words(r#"a "b c" 'd "e"' f\x20g \u00e4 \101 it's """#).unwrap(),
            ["a", "b c", "d \"e\"", "f g", "ä", "A", "it's", ""]
        );
        assert_eq!(words("  ").unwrap(), Vec::<String>::new());
        for (text, why) in [
            ("\"a", "not closed"),
            ("a\\", "ends in a backslash"),
            ("\\q", "not an escape"),
            ("\\x0", "number of a character"),
        ] {
            let error = words(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn dollars_are_kept_and_percents_are_left() {
        assert_eq!(quote("--name=%i"), "--name=%i");
        assert_eq!(quote("a $HOME"), "\"a $$HOME\"");
        assert_eq!(quote(""), "\"\"");
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_one_word_again(word in "\\PC*[ \n\t\"'\\\\]*\\PC*") {
            let back = words(&quote(&word)).unwrap();
            prop_assert_eq!(back, [word.replace('$', "$$")]);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(\\[[a-zA]{0,3}\\]?|[a-c =\\\\#]*|\n)*") {
            let _ = UnitFile::parse("f", &text);
            let _ = words(&text);
        }
    }
}
