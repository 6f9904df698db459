//! Reading what the apps of a pod wrote, wherever it is kept: in files of the
//! pod directory, or in journald's journal.

mod files;
mod journal;

use manifests::engine::Logs;
use manifests::log::Stream;
use uuid::Uuid;

use crate::pods::{Pod, PodError};
use files::FileReader;
use journal::JournalReader;
pub(crate) use journal::{APP, IMAGE, IMAGE_ID, POD};
pub use journal::{JournalError, find_gone};

/// One line an app wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it ended, in nanoseconds since the epoch.
    pub time: u64,
    /// The place of the app in the list the reader was made with.
    pub app: usize,
    /// Where the app wrote it.
    pub stream: Stream,
    /// The line, without its end.
    pub text: Vec<u8>,
}

/// Why the lines of a pod could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file of the pod.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Reads the logs of some apps of a pod, from their beginning on.
#[derive(Debug)]
pub struct LogReader(Source);

#[derive(Debug)]
enum Source {
    Files(FileReader),
    Journal(JournalReader),
}

impl LogReader {
    /// A reader of these apps' logs; none if the pod keeps none.
    ///
    /// # Errors
    /// What stopped us from looking.
    pub fn open(pod: &Pod, apps: &[String]) -> Result<Option<Self>, LogError> {
        match pod.logs()? {
            Some(Logs::Journal { .. }) => Ok(Some(Self::of_journal(pod.uuid(), apps))),
            _ => Ok(FileReader::open(pod, apps)?.map(|files| Self(Source::Files(files)))),
        }
    }

    /// A reader of what the journal has of these apps of a pod, which may be
    /// gone.
    pub fn of_journal(pod: Uuid, apps: &[String]) -> Self {
        Self(Source::Journal(JournalReader::new(pod, apps)))
    }

    /// The lines that were written since the last call, in their order. All
    /// there are, when the pod was over before or nobody follows it.
    ///
    /// # Errors
    /// What stopped us from reading.
    pub fn read(&mut self, last: bool) -> Result<Vec<Line>, LogError> {
        match &mut self.0 {
            Source::Files(files) => Ok(files.read()?),
            Source::Journal(journal) => Ok(journal.read(last)?),
        }
    }
}
