//! Reading everything again.

use std::collections::HashMap;
use std::io::Read;

use manifests::digest::Digest;

use crate::error::{Context, Result, StoreError};
use crate::hash::Hasher;
use crate::record::ImageRecord;
use crate::store::Store;

/// An object that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The object.
    pub object: Digest,
    /// What is wrong with it.
    pub what: String,
}

/// Reads objects again; one that several images share, once.
#[derive(Debug)]
pub struct Verifier<'a> {
    store: &'a Store,
    /// What is wrong with those that were read.
    read: HashMap<Digest, Option<String>>,
}

impl<'a> Verifier<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            store,
            read: HashMap::new(),
        }
    }

    /// Reads every object of the image and names what is damaged.
    ///
    /// # Errors
    /// An object cannot be opened for another reason than that it is missing.
    /// A damaged or missing one is no error but part of the answer.
    pub fn verify(&mut self, image: &ImageRecord) -> Result<Vec<Damage>> {
        let mut found = Vec::new();
        for object in image.objects() {
            let what = match self.read.get(object) {
                Some(known) => known.clone(),
                None => {
                    let what = judge(self.store, object)?;
                    self.read.insert(object.clone(), what.clone());
                    what
                }
            };
            found.extend(what.map(|what| Damage {
                object: object.clone(),
                what,
            }));
        }
        Ok(found)
    }

    /// Forgets what it knows about objects that were repaired.
    pub fn forget(&mut self, objects: &[Digest]) {
        for object in objects {
            self.read.remove(object);
        }
    }
}

fn judge(store: &Store, object: &Digest) -> Result<Option<String>> {
    match actual(store, object) {
        Ok(actual) if actual == *object => Ok(None),
        Ok(actual) => Ok(Some(format!("its bytes have the digest {actual}"))),
        Err(StoreError::MissingObject(_)) => Ok(Some("missing".to_owned())),
        // A disk that cannot read a block is damage like any other.
        Err(StoreError::Io {
            action: "read",
            source,
            ..
        }) => Ok(Some(format!("unreadable: {source}"))),
        Err(other) => Err(other),
    }
}

/// What the object's bytes hash to.
pub(crate) fn actual(store: &Store, object: &Digest) -> Result<Digest> {
    let mut file = store.open_object(object)?;
    let mut hasher = Hasher::new(object.algorithm());
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer);
        match read.context("read", store.dirs.object(object))? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}
