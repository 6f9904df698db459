//! Reading everything again.

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

pub(crate) fn verify(store: &Store, image: &ImageRecord) -> Result<Vec<Damage>> {
    let mut found = Vec::new();
    for object in image.objects() {
        let what = match actual(store, object) {
            Ok(actual) if actual == *object => continue,
            Ok(actual) => format!("its bytes have the digest {actual}"),
            Err(StoreError::MissingObject(_)) => "missing".to_owned(),
            // A disk that cannot read a block is damage like any other.
            Err(StoreError::Io {
                action: "read",
                source,
                ..
            }) => format!("unreadable: {source}"),
            Err(other) => return Err(other),
        };
        found.push(Damage {
            object: object.clone(),
            what,
        });
    }
    Ok(found)
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
