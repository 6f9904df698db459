//! The path of a name: store, transport, trust, store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use image_store::{ImageRecord, Store};
use manifests::config::Host;
use manifests::insecure::InsecureOptions;
use manifests::platform::Platform;

use crate::credentials::{Anonymous, Credentials};
use crate::error::{FetchError, Reason};
use crate::image::{Context, Origin, import_oci, import_saved};
use crate::lookup;
use crate::policy::Policy;
use crate::progress::Progress;
use crate::reference::{ArchiveKind, DockerReference, Reference};
use crate::stream::Limits;
use crate::transport::{Access, Checks, DockerArchive, Layout, Mirrored};

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
    /// Which images are let in.
    pub policy: Policy,
    /// Logins for registries, credentials for other hosts.
    pub credentials: Arc<dyn Credentials>,
    /// Hosts that are spoken to in their own ways, by their names in URLs.
    pub hosts: Arc<BTreeMap<String, Host>>,
    /// Who is told about the progress.
    pub progress: Arc<dyn Progress>,
    /// Which of an image's builds is wanted.
    pub platform: Platform,
    /// How far compressed layers may expand.
    pub limits: Limits,
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

    fn fetch(&self, reference: &Reference, request: &Request) -> Result<ImageRecord, FetchError> {
        let context = self.context(reference);
        context.progress.image(&reference.to_string());
        let result = match reference {
            Reference::Docker(docker) => self.fetch_docker(context, docker),
            Reference::Archive { kind, path, image } => {
                self.fetch_archive(context, *kind, path, image.as_deref())
            }
            Reference::AciFile(path) => self.fetch_file(context, path, request),
            Reference::AciUrl(url) => self.fetch_url(context, url, request),
            Reference::App(app) => self.fetch_app(context, app, request),
            Reference::Id(_) => Err(Reason::NoTransport(
                "an image ID says nothing about where to fetch it from",
            )),
        };
        result.map_err(|reason| FetchError::Fetch {
            reference: Box::new(reference.clone()),
            reason: Box::new(reason),
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn store(&self) -> &'a Store {
        self.store
    }

    pub(crate) fn context<'c>(&'c self, reference: &'c Reference) -> Context<'c> {
        Context {
            store: self.store,
            reference,
            platform: &self.settings.platform,
            progress: self.settings.progress.as_ref(),
            policy: &self.settings.policy,
            limits: self.settings.limits,
        }
    }

    /// For public keys, of which a wrong one does harm for long.
    pub(crate) fn key_access(&self, allow_http: bool) -> Access {
        let insecure = &self.settings.insecure;
        Access {
            checks: Checks {
                skip_tls: insecure.tls && insecure.pubkey,
                allow_plain: allow_http || (insecure.http && insecure.pubkey),
                hosts: Arc::default(),
            },
            credentials: Arc::new(Anonymous),
        }
    }

    pub(crate) fn access(&self) -> Access {
        Access {
            checks: Checks {
                skip_tls: self.settings.insecure.tls,
                allow_plain: self.settings.insecure.http,
                hosts: Arc::clone(&self.settings.hosts),
            },
            credentials: Arc::clone(&self.settings.credentials),
        }
    }

    fn fetch_docker(
        &self,
        context: Context<'_>,
        docker: &DockerReference,
    ) -> Result<ImageRecord, Reason> {
        let registry = Mirrored::new(docker, &self.access());
        import_oci(context, &registry, &Origin::of_docker(docker))
    }

    fn fetch_archive(
        &self,
        context: Context<'_>,
        kind: ArchiveKind,
        path: &Path,
        image: Option<&str>,
    ) -> Result<ImageRecord, Reason> {
        let layout = match kind {
            ArchiveKind::OciLayout => Layout::directory(path, image, context.platform)?,
            ArchiveKind::OciArchive => {
                Layout::archive(path, image, context.platform, context.room())?
            }
            ArchiveKind::DockerArchive => {
                let archive = DockerArchive::open(path, context.room())?;
                let saved = archive.image(image)?;
                let tags = saved.repo_tags.as_deref().unwrap_or_default();
                let name = image.or(tags.first().map(String::as_str));
                let origin = Origin::of_archive(context.reference, name);
                return import_saved(context, &archive, &saved, &origin);
            }
        };
        let origin = Origin::of_archive(context.reference, image);
        import_oci(context, &layout, &origin)
    }
}
