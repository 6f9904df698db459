//! How a command fails: one line on stderr and an exit code.
//!
//! `PREFIX: message: cause` is what people see; `--debug` sets every cause on
//! a line of its own. The prefix is the name of the verb.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Exit code of every ordinary failure.
pub(crate) const FAILURE: u8 = 254;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    message: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
    code: u8,
}

/// What a verb comes back with.
pub(crate) type Outcome = Result<ExitCode, Failure>;

impl Failure {
    /// A failure whose whole story is this message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            cause: None,
            code: FAILURE,
        }
    }

    /// A message with the error that led to it.
    pub(crate) fn because(
        message: impl Into<String>,
        cause: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            message: Some(message.into()),
            cause: Some(Box::new(cause)),
            code: FAILURE,
        }
    }

    /// The same failure with another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Tells the user and says how to exit.
    pub(crate) fn report(&self, prefix: &str, debug: bool) -> ExitCode {
        eprintln!("{prefix}: {}", self.text(debug));
        ExitCode::from(self.code)
    }

    pub(crate) fn text(&self, debug: bool) -> String {
        let mut parts: Vec<String> = self.message.iter().cloned().collect();
        let mut next = self.cause.as_deref().map(|c| c as &dyn Error);
        while let Some(error) = next {
            parts.push(error.to_string());
            next = error.source();
        }
        if debug {
            as_tree(&parts)
        } else {
            as_line(&parts)
        }
    }
}

/// Joins the causes; one that an outer message quotes already is not repeated.
fn as_line(parts: &[String]) -> String {
    let mut line = String::new();
    for part in parts {
        if line.is_empty() {
            line.push_str(part);
        } else if !line.ends_with(part.as_str()) {
            line.push_str(": ");
            line.push_str(part);
        }
    }
    line
}

fn as_tree(parts: &[String]) -> String {
    let mut tree = String::new();
    for (depth, part) in parts.iter().enumerate() {
        if depth > 0 {
            let _ = write!(tree, "\n{:width$}└─", "", width = 2 * depth);
        }
        tree.push_str(part);
    }
    tree
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            message: None,
            cause: Some(Box::new(error)),
            code: FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open \"x\"")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_stand_on_one_line_or_as_a_tree() {
        let failure = Failure::because(
            "cannot read the pod",
            Outer(std::io::Error::other("no such thing")),
        );
        assert_eq!(
            failure.text(false),
            "cannot read the pod: cannot open \"x\": no such thing"
        );
        assert_eq!(
            failure.text(true),
            "cannot read the pod\n  └─cannot open \"x\"\n    └─no such thing"
        );
    }

    #[test]
    fn a_cause_that_is_quoted_is_not_repeated() {
        let failure = Failure::because("it broke: disk full", std::io::Error::other("disk full"));
        assert_eq!(failure.text(false), "it broke: disk full");
    }
}
