//! A registry and those that have copies of it.
//!
//! Mirrors are asked first. One that does not answer, or does not have what is
//! wanted, costs time and nothing else: the next is asked, the registry itself
//! at last. Whoever sends the bytes, their digests say whether they are right.

use std::sync::atomic::{AtomicUsize, Ordering};

use manifests::digest::Digest;
use manifests::oci::Descriptor;

use super::{Access, Registry};
use crate::error::Reason;
use crate::reference::DockerReference;
use crate::transport::{Body, OciSource, Root};

/// One repository, wherever it can be had.
pub(crate) struct Mirrored {
    /// The mirrors, then the registry itself.
    places: Vec<Registry>,
    /// Where the manifest came from: the blobs are likely to be there, too.
    current: AtomicUsize,
}

impl Mirrored {
    /// Asks nobody yet.
    pub(crate) fn new(reference: &DockerReference, access: &Access) -> Self {
        let configured = access.checks.hosts.get(reference.registry());
        let mirrors = configured.map_or(&[][..], |host| &host.mirrors);
        let mirrors = mirrors
            .iter()
            .map(|mirror| Registry::mirror(reference, mirror, access));
        Self {
            places: mirrors.chain([Registry::new(reference, access)]).collect(),
            current: AtomicUsize::new(0),
        }
    }

    fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// The first answer, from the current place on; the registry's own failure
    /// if there is none. Says which place gave it.
    fn first<'s, T>(
        &'s self,
        ask: impl Fn(&'s Registry) -> Result<T, Reason>,
    ) -> Result<(T, usize), Reason> {
        let last = self.places.len() - 1;
        for place in self.current()..last {
            if let Ok(found) = ask(&self.places[place]) {
                return Ok((found, place));
            }
        }
        Ok((ask(&self.places[last])?, last))
    }
}

impl Mirrored {
    /// What all places have together: mirrors often lack what lies beside an
    /// image. The registry's own failure counts if the mirrors have nothing.
    fn everywhere<T>(
        &self,
        ask: impl Fn(&Registry) -> Result<Vec<T>, Reason>,
    ) -> Result<Vec<T>, Reason> {
        let (registry, mirrors) = self.places.split_last().expect("the registry is a place");
        let mirrors = &mirrors[self.current().min(mirrors.len())..];
        let mut found: Vec<T> = mirrors
            .iter()
            .flat_map(|m| ask(m).unwrap_or_default())
            .collect();
        match ask(registry) {
            Ok(more) => found.extend(more),
            Err(error) if found.is_empty() => return Err(error),
            Err(_) => {}
        }
        Ok(found)
    }
}

impl OciSource for Mirrored {
    fn origin(&self) -> String {
        self.places[self.current()].origin()
    }

    fn root(&self) -> Result<Root, Reason> {
        let (root, place) = self.first(Registry::root)?;
        self.current.store(place, Ordering::Relaxed);
        Ok(root)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Body<'_>, Reason> {
        Ok(self.first(|place| place.manifest(descriptor))?.0)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Body<'_>, Reason> {
        Ok(self.first(|place| place.blob(descriptor))?.0)
    }

    fn tagged(&self, tag: &str) -> Result<Vec<Vec<u8>>, Reason> {
        self.everywhere(|place| place.tagged(tag))
    }

    /// A mirror that cannot be asked says as little as one that has none.
    fn referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, Reason> {
        let all = self.everywhere(|place| Ok(Vec::from_iter(place.referrers(digest)?)))?;
        Ok((!all.is_empty()).then(|| all.concat()))
    }
}
