//! Finding in the store what a reference means.
//!
//! Source: rkt's command-line reference, "Matching a name in the store".

use std::cmp::Reverse;

use image_store::{ImageRecord, Store};
use manifests::appc::ImageManifest;
use manifests::platform::Platform;

use crate::error::{FetchError, Reason};
use crate::reference::{AppName, Reference, Version};

/// The stored image that `reference` means, if there is one.
///
/// An appc name matches every image of that name that has all the labels;
/// with `defaults`, it must not be for another `os` or `arch` either, if none
/// was written. Where several match and no version was asked, images tagged
/// `latest` win, then the last imported.
///
/// # Errors
/// An id prefix that leads to none or several images; a store that cannot be
/// read.
pub fn find(
    store: &Store,
    reference: &Reference,
    defaults: Option<&Platform>,
) -> Result<Option<ImageRecord>, FetchError> {
    match reference {
        Reference::Id(prefix) => {
            let id = store.find_id(prefix)?;
            Ok(store.image(&id)?)
        }
        Reference::App(name) => find_app(store, name, defaults),
        Reference::Docker(docker) => {
            if let Some(found) = find_name(store, reference)?
                && runs_on(&found.manifest, defaults)
            {
                return Ok(Some(found));
            }
            // A digest may be the very manifest that gives the image its id.
            match docker.version() {
                Version::Digest(digest) => {
                    let id = manifests::image_id::ImageId::new(digest.clone());
                    Ok(store.image(&id)?)
                }
                Version::Tag(_) => Ok(None),
            }
        }
        Reference::Archive { .. } | Reference::AciFile(_) | Reference::AciUrl(_) => {
            let found = find_name(store, reference)?;
            Ok(found.filter(|record| runs_on(&record.manifest, defaults)))
        }
    }
}

/// Whether an image is for a platform. One that does not say is for all.
fn runs_on(manifest: &ImageManifest, platform: Option<&Platform>) -> bool {
    let (Some(platform), Some(os), Some(arch)) =
        (platform, manifest.label("os"), manifest.label("arch"))
    else {
        return true;
    };
    match Platform::from_labels(os, arch) {
        Ok(image) => platform.fits(&image).is_some(),
        Err(_) => true,
    }
}

/// As [`find`], for a name that no user typed.
pub(crate) fn find_stored(
    store: &Store,
    reference: &Reference,
    defaults: &Platform,
) -> Result<Option<ImageRecord>, Reason> {
    match find(store, reference, Some(defaults)) {
        Ok(found) => Ok(found),
        Err(FetchError::Store(error)) => Err(error.into()),
        // Only ID prefixes fail otherwise.
        Err(_) => Ok(None),
    }
}

fn find_name(store: &Store, reference: &Reference) -> Result<Option<ImageRecord>, FetchError> {
    match store.find_name(&reference.to_string())? {
        Some(id) => Ok(store.image(&id)?),
        None => Ok(None),
    }
}

fn find_app(
    store: &Store,
    wanted: &AppName,
    defaults: Option<&Platform>,
) -> Result<Option<ImageRecord>, FetchError> {
    let matches = |record: &ImageRecord| fits(&record.manifest, wanted, defaults);
    // A record that cannot be read is no candidate; `image list` and
    // `image verify` are the places that tell about it.
    let mut candidates = store.images_of_app(wanted.name().as_str())?;
    candidates.retain(matches);
    if candidates.len() < 2 {
        return Ok(candidates.pop());
    }
    let asked_version = wanted.labels().contains_key("version");
    let mut ranked = Vec::with_capacity(candidates.len());
    for record in candidates {
        let latest = !asked_version && is_latest(&store.names_of(&record.id)?);
        ranked.push((
            (latest, record.imported, Reverse(record.id.clone())),
            record,
        ));
    }
    let best = ranked.into_iter().max_by(|(a, _), (b, _)| a.cmp(b));
    Ok(best.map(|(_, record)| record))
}

/// Whether an image is what a name means: it has the name and every label that
/// was written, and is not for another `os` or `arch` than the defaults. An
/// image without these two labels is independent of them.
pub(crate) fn fits(
    manifest: &ImageManifest,
    wanted: &AppName,
    defaults: Option<&Platform>,
) -> bool {
    let fits = |(name, value): (&str, &str)| match manifest.label(name) {
        Some(found) => found == value,
        None => !wanted.labels().contains_key(name),
    };
    manifest.name == *wanted.name() && with_defaults(wanted, defaults).into_iter().all(fits)
}

/// The labels an image is asked for with: those written, and the host's `os` and
/// `arch` where none were.
pub(crate) fn with_defaults<'a>(
    wanted: &'a AppName,
    defaults: Option<&'a Platform>,
) -> Vec<(&'a str, &'a str)> {
    let mut labels: Vec<(&str, &str)> = wanted
        .labels()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let Some(platform) = defaults else {
        return labels;
    };
    // A platform that appc has no words for cannot be asked for in labels.
    if let Ok((os, arch)) = platform.to_labels() {
        for (name, value) in [("os", os), ("arch", arch)] {
            if !wanted.labels().contains_key(name) {
                labels.push((name, value));
            }
        }
    }
    labels
}

/// Fetched as the newest there is: by a name without version or by the tag
/// `latest`.
fn is_latest(names: &[String]) -> bool {
    names
        .iter()
        .any(|name| match Reference::parse_canonical(name) {
            Ok(Reference::App(app)) => !app.labels().contains_key("version"),
            Ok(Reference::Docker(docker)) => *docker.version() == Version::Tag("latest".to_owned()),
            _ => false,
        })
}
