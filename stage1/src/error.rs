//! What can go wrong, and how it is told.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use manifests::engine::{EXIT_EXEC, EXIT_FAILURE};

/// Exit status of an app whose working directory is unusable, as systemd's
/// `EXIT_CHDIR`.
const EXIT_CHDIR: i32 = 200;

/// Why a pod, or an app of it, could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {doing} {object}")]
    System {
        /// What we were doing, as a verb.
        doing: &'static str,
        /// To what.
        object: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The pod asks for something impossible or unknown.
    #[error("{field} {value:?}: {reason}")]
    Refused {
        /// The field of the OCI runtime specification, or of the engine's
        /// pod.
        field: &'static str,
        /// What it holds.
        value: String,
        /// Why it cannot be followed, and what to do.
        reason: &'static str,
    },
    /// `engine.json` is not what it should be.
    #[error("the pod's {file} is damaged")]
    Damaged {
        /// The file.
        file: &'static str,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// A seccomp filter cannot be made from the specification.
    #[error("cannot compile the seccomp filter")]
    Seccomp {
        /// What libseccomp said.
        source: libseccomp::error::SeccompError,
    },
    /// The program is nowhere.
    #[error("unable to find {program:?} in {searched:?}")]
    NotFound {
        /// As asked for.
        program: String,
        /// Where we looked.
        searched: String,
    },
    /// The program is there and cannot be executed.
    #[error("cannot execute {program:?}: {reason}")]
    NotExecutable {
        /// The path inside the app's root.
        program: String,
        /// Why.
        reason: String,
    },
    /// The working directory cannot be used.
    #[error("cannot use the working directory {path:?}")]
    WorkingDirectory {
        /// The path inside the app's root.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The supervisor says why it does not do something.
    #[error("{reason}")]
    Answer {
        /// In its words.
        reason: String,
    },
    /// An app that something was to be done to does not run.
    #[error("app {app:?} is not running")]
    NotRunning {
        /// The app.
        app: String,
    },
    /// A handler failed.
    #[error("the {handler} handler {outcome}")]
    Handler {
        /// `pre-start` or `post-stop`.
        handler: &'static str,
        /// How it ended.
        outcome: String,
    },
    /// The pod cannot join or leave a network.
    #[error(transparent)]
    Network(Box<crate::network::Error>),
    /// Any of these, of one app.
    #[error("app {name:?}")]
    App {
        /// The app.
        name: String,
        /// Why.
        source: Box<Error>,
    },
}

/// Tells people a line on standard error. One that cannot be written is lost
/// (`eprintln!` would panic): a pod does not end because the disk with its
/// supervisor's log is full, or because nobody listens any more.
pub fn say(line: fmt::Arguments<'_>) {
    let text = format!("{line}\n");
    let _lost = io::stderr().write_all(text.as_bytes());
}

/// A step that may fail, for when several calls make it up.
#[derive(Debug)]
pub struct Attempt {
    doing: &'static str,
    object: String,
}

impl Attempt {
    /// It failed, and this is why.
    pub fn because(self, source: impl Into<io::Error>) -> Error {
        Error::System {
            doing: self.doing,
            object: self.object,
            source: source.into(),
        }
    }
}

/// What the engine's functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl From<crate::network::Error> for Error {
    fn from(error: crate::network::Error) -> Self {
        Self::Network(Box::new(error))
    }
}

impl Error {
    /// For `map_err`: a system call that failed while `doing` something to
    /// `object`.
    pub fn system<E: Into<io::Error>>(
        doing: &'static str,
        object: impl ToString,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::attempt(doing, object).because(source)
    }

    /// The same for several calls.
    pub fn attempt(doing: &'static str, object: impl ToString) -> Attempt {
        Attempt {
            doing,
            object: object.to_string(),
        }
    }

    /// The error of an app.
    pub fn of_app(self, name: &str) -> Self {
        Self::App {
            name: name.to_owned(),
            source: Box::new(self),
        }
    }

    /// The status that an app or a pod ends with that meets this error.
    pub fn exit_status(&self) -> i32 {
        match self {
            Self::NotFound { .. } | Self::NotExecutable { .. } => EXIT_EXEC,
            Self::WorkingDirectory { .. } => EXIT_CHDIR,
            Self::App { source, .. } => source.exit_status(),
            Self::System { .. }
            | Self::Refused { .. }
            | Self::Damaged { .. }
            | Self::Seccomp { .. }
            | Self::Network(_)
            | Self::NotRunning { .. }
            | Self::Answer { .. }
            | Self::Handler { .. } => EXIT_FAILURE,
        }
    }

    /// The error and its causes as one line.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            line.push_str(": ");
            // The number is for machines; the words before it say the same.
            line.push_str(text.split(" (os error ").next().unwrap_or(&text));
            cause = error.source();
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_app_the_step_and_the_reason() {
        let error = Error::system("mount", "/proc")(io::Error::from_raw_os_error(1)).of_app("web");
        assert_eq!(
            error.line(),
            "app \"web\": cannot mount /proc: Operation not permitted"
        );
        assert_eq!(error.exit_status(), EXIT_FAILURE);
    }

    #[test]
    fn a_missing_program_has_its_own_status_through_any_wrapping() {
        let error = Error::NotFound {
            program: "x".into(),
            searched: "/bin".into(),
        };
        assert_eq!(error.of_app("a").exit_status(), EXIT_EXEC);
    }
}
