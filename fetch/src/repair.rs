//! From a damaged object to where its image came from.

use std::path::Path;

use image_store::ImageRecord;
use manifests::digest::Digest;
use reqwest::Url;

use crate::error::{FetchError, Reason};
use crate::fetcher::Fetcher;
use crate::image::{Context, repair_aci, repair_oci, repair_saved};
use crate::reference::{ArchiveKind, DockerReference, Reference};
use crate::transport::{
    Answer, DockerArchive, Fetched, Layout, Mirrored, Web, WebError, open_regular,
};

impl Fetcher<'_> {
    /// Makes damaged or missing objects of a stored image whole again: each is
    /// fetched alone, from where the image came, and put in the place of the
    /// damaged one. The index is built anew. No name or signature changes.
    ///
    /// # Errors
    /// Nobody knows where the image came from, or it cannot be had there any
    /// more. What was repaired by then stays so.
    pub fn repair(&self, image: &ImageRecord, damaged: &[Digest]) -> Result<(), FetchError> {
        let is_index = |object: &&Digest| **object == image.index.digest;
        let fetched: Vec<Digest> = damaged.iter().filter(|o| !is_index(o)).cloned().collect();
        if image.oci.is_some() && !fetched.is_empty() {
            self.repair_from_origin(image, &fetched)?;
        } else {
            for object in fetched {
                let owner = self.owner(image, &object)?;
                self.repair_from_origin(&owner, &[object])?;
            }
        }
        if damaged.iter().any(|object| is_index(&object)) {
            self.store().rebuild_index(image)?;
        }
        Ok(())
    }

    /// The ACI that this tar is: the image, or one that it is built on.
    fn owner(&self, image: &ImageRecord, tar: &Digest) -> Result<ImageRecord, FetchError> {
        let id = manifests::image_id::ImageId::new(tar.clone());
        if id == image.id {
            return Ok(image.clone());
        }
        let owner = self.store().image(&id)?;
        owner.ok_or(FetchError::NoOrigin(id))
    }

    fn repair_from_origin(
        &self,
        image: &ImageRecord,
        objects: &[Digest],
    ) -> Result<(), FetchError> {
        let names = self.store().names_of(&image.id)?;
        let mut origins: Vec<String> = image.origin.iter().cloned().chain(names).collect();
        origins.dedup();
        let mut failed = FetchError::NoOrigin(image.id.clone());
        for origin in origins {
            // A name that somebody else's version wrote is no way to go.
            let Ok(reference) = Reference::parse_canonical(&origin) else {
                continue;
            };
            match self.repair_from(&reference, image, objects) {
                Ok(()) => return Ok(()),
                Err(reason) => {
                    failed = FetchError::Fetch {
                        reference: Box::new(reference),
                        reason: Box::new(reason),
                    }
                }
            }
        }
        Err(failed)
    }

    fn repair_from(
        &self,
        reference: &Reference,
        image: &ImageRecord,
        objects: &[Digest],
    ) -> Result<(), Reason> {
        let context = self.context(reference);
        match reference {
            Reference::Docker(docker) => {
                // The tag may lead elsewhere by now.
                let pinned = docker.at(image.id.digest().clone());
                self.repair_docker(context, &pinned, image, objects)
            }
            Reference::Archive {
                kind,
                path,
                image: name,
            } => {
                let name = name.as_deref();
                repair_archive(context, *kind, path, name, image, objects)
            }
            Reference::AciFile(path) => {
                let file_error = |source| Reason::File {
                    path: path.clone(),
                    source,
                };
                let file = open_regular(path).map_err(file_error)?;
                let size = file.metadata().map_err(file_error)?.len();
                repair_aci(context, Box::new(file), Some(size), image.id.digest())
            }
            Reference::AciUrl(url) => {
                let url = Url::parse(url).map_err(|_| WebError::NotFound(url.clone()))?;
                match Web::new(&self.access()).fetch(&url, None)? {
                    Answer::Changed(Fetched { body, size, .. }) => {
                        repair_aci(context, body, size, image.id.digest())
                    }
                    Answer::Unchanged(_) => Err(WebError::NotFound(url.to_string()).into()),
                }
            }
            // Its URL is among the image's names, too.
            Reference::App(_) | Reference::Id(_) => Err(Reason::NoTransport(
                "single objects are not fetched from there; fetch the image again",
            )),
        }
    }

    fn repair_docker(
        &self,
        context: Context<'_>,
        docker: &DockerReference,
        image: &ImageRecord,
        objects: &[Digest],
    ) -> Result<(), Reason> {
        let registry = Mirrored::new(docker, &self.access());
        repair_oci(context, &registry, image, objects)
    }
}

fn repair_archive(
    context: Context<'_>,
    kind: ArchiveKind,
    path: &Path,
    name: Option<&str>,
    image: &ImageRecord,
    objects: &[Digest],
) -> Result<(), Reason> {
    let layout = match kind {
        ArchiveKind::OciLayout => Layout::directory(path, name, context.platform)?,
        ArchiveKind::OciArchive => Layout::archive(path, name, context.platform, context.room())?,
        ArchiveKind::DockerArchive => {
            let archive = DockerArchive::open(path, context.room())?;
            let saved = archive.image(name)?;
            return repair_saved(context, &archive, &saved, image, objects);
        }
    };
    repair_oci(context, &layout, image, objects)
}
