//! The fetcher, as the command line sets it up. A verb that finds its images
//! in the store never comes here.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fetch::credentials::{AuthFiles, Known};
use fetch::reference::{HostFiles, Reference, Surroundings};
use fetch::{Fetcher, Limits, PullPolicy, Request, Settings};
use image_store::{ImageRecord, Store};
use manifests::config::Directory;
use manifests::platform::Platform;

use crate::cli::{Context, Images, TypedImage};
use crate::failure::Failure;
use crate::keys;
use crate::progress;

/// The stored images of the line, fetched first where the policy says so;
/// `quiet` hides the progress.
pub(crate) fn images(
    images: &Images,
    policy: PullPolicy,
    quiet: bool,
    store: &Store,
    context: &Context,
) -> Result<Vec<ImageRecord>, Failure> {
    images_for(&Platform::host(), images, policy, quiet, store, context)
}

/// As [`images`], for another platform than this one.
pub(crate) fn images_for(
    platform: &Platform,
    images: &Images,
    policy: PullPolicy,
    quiet: bool,
    store: &Store,
    context: &Context,
) -> Result<Vec<ImageRecord>, Failure> {
    // All words are looked at before the first image costs any time.
    let parse = |image: &TypedImage| parse(&image.reference, context);
    let references: Vec<Reference> = images
        .apps
        .iter()
        .map(parse)
        .collect::<Result<_, Failure>>()?;
    let mut fetcher = None;
    let mut records = Vec::with_capacity(references.len());
    for (reference, image) in references.iter().zip(&images.apps) {
        let request = Request {
            pull_policy: policy,
            signature: image.flags.signature.clone(),
        };
        if let Some(record) = stored(reference, &request, platform, store)? {
            records.push(record);
            continue;
        }
        let fetcher = match &fetcher {
            Some(fetcher) => fetcher,
            None => fetcher.insert(Fetcher::new(store, settings(platform, context, quiet)?)),
        };
        if let Reference::App(app) = reference
            && policy != PullPolicy::Never
        {
            keys::offer(app.name(), fetcher, context)?;
        }
        records.push(fetcher.get(reference, &request)?);
    }
    Ok(records)
}

/// What was typed, relative to the working directory and the configuration.
pub(crate) fn parse(word: &str, context: &Context) -> Result<Reference, Failure> {
    let here = Here {
        context,
        failure: OnceCell::new(),
    };
    let reference = Reference::parse_in(word, &here);
    match here.failure.into_inner() {
        Some(failure) => Err(failure),
        None => Ok(reference?),
    }
}

/// The working directory, and the configuration once a name needs it.
struct Here<'a> {
    context: &'a Context,
    failure: OnceCell<Failure>,
}

impl Surroundings for Here<'_> {
    fn is_file(&self, path: &Path) -> bool {
        HostFiles.is_file(path)
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        HostFiles.absolute(path)
    }

    fn default_registry(&self) -> Option<String> {
        match self.context.config(&[Directory::Hosts]) {
            Ok(config) => config.default_registry,
            Err(failure) => {
                // Only one name is parsed, so this is the first failure.
                let _ = self.failure.set(failure);
                None
            }
        }
    }
}

/// The image, if the store has it and that is enough: found without
/// configuration, keys or threads.
fn stored(
    reference: &Reference,
    request: &Request,
    platform: &Platform,
    store: &Store,
) -> Result<Option<ImageRecord>, Failure> {
    let is_file = matches!(reference, Reference::Archive { .. } | Reference::AciFile(_));
    let enough = match request.pull_policy {
        PullPolicy::New => !is_file,
        PullPolicy::Update => false,
        PullPolicy::Never => true,
    };
    if !enough {
        return Ok(None);
    }
    Ok(fetch::find(store, reference, Some(platform))?)
}

/// A fetcher, for what is not an image by name.
pub(crate) fn fetcher<'a>(store: &'a Store, context: &Context) -> Result<Fetcher<'a>, Failure> {
    Ok(Fetcher::new(
        store,
        settings(&Platform::host(), context, false)?,
    ))
}

fn settings(platform: &Platform, context: &Context, quiet: bool) -> Result<Settings, Failure> {
    let config = context.config(&[Directory::Auth, Directory::Hosts])?;
    Ok(Settings {
        insecure: context.insecure(),
        policy: context.policy()?,
        hosts: Arc::new(config.hosts.clone()),
        credentials: Arc::new(Known {
            config,
            files: AuthFiles::of_environment(|name| std::env::var_os(name)),
        }),
        progress: progress::for_stderr(context.verb(), quiet),
        platform: platform.clone(),
        limits: Limits::default(),
    })
}

/// The stored image that a word of `image rm` and its like means.
pub(crate) fn find(word: &str, store: &Store, context: &Context) -> Result<ImageRecord, Failure> {
    let reference = parse(word, context)?;
    match fetch::find(store, &reference, None)? {
        Some(record) => Ok(record),
        None => Err(Failure::new(format!(
            "cannot find image {word:?} in the store (rkt image list shows what is there)"
        ))),
    }
}
