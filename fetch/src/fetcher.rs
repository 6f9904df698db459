//! The path of a name: store, transport, trust, store.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use image_store::{ImageRecord, Store};
use manifests::insecure::InsecureOptions;
use manifests::platform::Platform;

use crate::credentials::Credentials;
use crate::error::FetchError;
use crate::keystore::Keystore;
use crate::lookup;
use crate::progress::Progress;
use crate::reference::Reference;

/// `--pull-policy`: when the remote is asked.
///
/// Local files and directories are read again unless the policy is
/// [`PullPolicy::Never`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// If the store has no such image.
    New,
    /// Always; what is stored already is not transferred again.
    Update,
    /// Not at all.
    Never,
}

impl FromStr for PullPolicy {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "new" => Ok(Self::New),
            "update" => Ok(Self::Update),
            "never" => Ok(Self::Never),
            _ => Err(format!(
                "unknown pull policy {s:?} (known: new, update, never)"
            )),
        }
    }
}

/// What holds for every fetch of a command.
pub struct Settings {
    /// The checks the user switched off.
    pub insecure: InsecureOptions,
    /// The keys that may sign images.
    pub keystore: Keystore,
    /// Logins for registries.
    pub credentials: Arc<dyn Credentials>,
    /// Who is told about the progress.
    pub progress: Arc<dyn Progress>,
    /// Which of an image's builds is wanted.
    pub platform: Platform,
}

/// What holds for one image.
#[derive(Debug, Clone)]
pub struct Request {
    /// When the remote is asked.
    pub pull_policy: PullPolicy,
    /// `--signature FILE`: the detached signature, instead of the one beside
    /// the image.
    pub signature: Option<PathBuf>,
}

/// Fetches images into one store.
pub struct Fetcher<'a> {
    store: &'a Store,
    settings: Settings,
}

impl<'a> Fetcher<'a> {
    /// A fetcher into `store`; touches neither network nor disk.
    pub fn new(store: &'a Store, settings: Settings) -> Self {
        Self { store, settings }
    }

    /// The image that `reference` means, from the store or fetched, as the
    /// request's pull policy says.
    ///
    /// # Errors
    /// [`FetchError`]; nothing was published then.
    pub fn get(&self, reference: &Reference, request: &Request) -> Result<ImageRecord, FetchError> {
        let is_file = matches!(reference, Reference::Archive { .. } | Reference::AciFile(_));
        let ask_store = match request.pull_policy {
            PullPolicy::Never => true,
            PullPolicy::New => !is_file,
            PullPolicy::Update => matches!(reference, Reference::Id(_)),
        };
        if ask_store && let Some(record) = self.find(reference)? {
            return Ok(record);
        }
        if request.pull_policy == PullPolicy::Never {
            return Err(FetchError::NotStored(reference.clone()));
        }
        self.fetch(reference, request)
    }

    /// The stored image that `reference` means on this platform.
    ///
    /// # Errors
    /// As [`lookup::find`].
    pub fn find(&self, reference: &Reference) -> Result<Option<ImageRecord>, FetchError> {
        lookup::find(self.store, reference, Some(&self.settings.platform))
    }

    fn fetch(&self, _reference: &Reference, _request: &Request) -> Result<ImageRecord, FetchError> {
        unimplemented!("interface first; the transports follow")
    }
}
