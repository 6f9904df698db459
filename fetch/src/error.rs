//! What can go wrong between a name and a stored image.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use image_store::StoreError;
use manifests::appc::AcIdentifier;
use manifests::digest::Digest;
use manifests::image_id::ImageId;
use manifests::oci::DocumentError;

use crate::discovery::DiscoveryError;
use crate::keystore::KeystoreError;
use crate::openpgp::SignatureError;
use crate::policy::Refusal;
use crate::reference::{Reference, ReferenceError};
use crate::stream::StreamError;
use crate::transport::{ArchiveError, RegistryError, WebError};

/// Why an image could not be fetched or found.
///
/// The text is the one line for people: thing, reason, remedy. The `source`
/// says the reason again as a value, for `--debug` and for matching.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// What was typed is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pull policy forbids fetching and the store does not have it.
    #[error("image {0} is not in the store, and --pull-policy=never forbids to fetch it")]
    NotStored(Reference),
    /// A damaged object belongs to an image that nobody knows the origin of.
    #[error("it is not known where {} came from; remove the image and fetch it again", .0.short(12))]
    NoOrigin(ImageId),
    /// Public keys could not be had from their site.
    #[error("cannot get public keys: {0}")]
    Keys(#[source] Box<Reason>),
    /// The fetch failed; nothing was published.
    #[error("cannot fetch {reference}: {reason}")]
    Fetch {
        /// What should have been fetched.
        reference: Box<Reference>,
        /// Why it was not.
        #[source]
        reason: Box<Reason>,
    },
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The store cannot take the image.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keystore cannot be read.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// A file on the way cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is wrong with a local layout or archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Something is wrong with the registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Something is wrong with what is behind a URL.
    #[error(transparent)]
    Web(#[from] WebError),
    /// A name leads to no URL.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// A manifest, index or configuration is unusable.
    #[error("{name}: {}", chain(.source))]
    Document {
        /// Which one.
        name: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// A manifest, index or configuration did not arrive whole.
    #[error(transparent)]
    Transfer(io::Error),
    /// A layer did not reach the store.
    #[error("layer {digest}: {source}")]
    Layer {
        /// The layer as the manifest names it.
        digest: Digest,
        /// What happened to it.
        source: Box<Reason>,
    },
    /// The bytes on their way were damaged, or not those promised.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Indexes that lead to each other.
    #[error("the image's indexes are nested more than {0} deep")]
    TooDeep(usize),
    /// More layers than any tool makes.
    #[error("the image has {0} layers, more than the {max} that are allowed", max = crate::image::MAX_LAYERS)]
    TooManyLayers(usize),
    /// Only built for others.
    #[error("it is built for {built_for}, wanted is an image for {wanted}")]
    Platform {
        /// What the image's configuration says.
        built_for: String,
        /// What this machine is.
        wanted: String,
    },
    /// The name of the image cannot be written as an appc name.
    #[error("the image cannot be named: {0}")]
    Name(manifests::appc::NameError),
    /// The file named `.aci` is none.
    #[error("not an ACI: {0}")]
    NotAci(String),
    /// What came is called otherwise than what was asked for.
    #[error("what is there calls itself {found}, not {wanted}; tell its publisher")]
    OtherName {
        /// Name and labels that were asked for.
        wanted: String,
        /// Name and labels in the manifest.
        found: String,
    },
    /// What came is not the image that was asked for.
    #[error("its ID is {}, not {wanted}", .found.short(16))]
    OtherId {
        /// The ID that was asked for.
        wanted: String,
        /// The ID of what came.
        found: ImageId,
    },
    /// What came is larger or smaller than what was asked for.
    #[error("it has {found} bytes or more, not the {wanted} that were promised")]
    OtherSize {
        /// As promised.
        wanted: u64,
        /// As sent, or as announced.
        found: u64,
    },
    /// An image that this one is built on cannot be had.
    #[error("it depends on {name}: {source}")]
    Dependency {
        /// The dependency, with its labels.
        name: String,
        /// Why it cannot be had.
        source: Box<Reason>,
    },
    /// An image that is built on itself.
    #[error("a circle: {0}; it can never be built")]
    Circle(String),
    /// Images built on images built on …
    #[error("its dependencies are nested more than {0} deep")]
    TooDeepDependencies(usize),
    /// More dependencies than anybody needs.
    #[error("it has more than {0} dependencies")]
    TooManyDependencies(usize),
    /// An image that nobody vouches for below one that was verified.
    #[error(
        "{} is stored, but was never verified ({allowed_by}), and it cannot be fetched from its \
         site: {source}; to go without the verification, use --insecure-options=image",
        .id.short(12)
    )]
    Unverified {
        /// The stored image.
        id: ImageId,
        /// What allowed to go without.
        allowed_by: String,
        /// Why it cannot be fetched.
        source: Box<Reason>,
    },
    /// A server that does not come to an end with its signature.
    #[error("the server has not made the signature {0} yet; try again later")]
    SignatureLater(String),
    /// There is no signature where one is wanted.
    #[error(
        "it has no signature: {} does not exist; sign it with a key that you trust \
         (`gpg --armor --detach-sign`, `rkt trust`), name its signature with --signature=FILE, or \
         fetch it unverified with --insecure-options=image",
        .0.display()
    )]
    NoSignature(PathBuf),
    /// An OCI image that no rule is about: nobody said whose signature counts.
    #[error(
        "nobody vouches for it: docker and OCI images carry no OpenPGP signature, and there is no \
         rule that says whose other signature counts (`rkt trust --help`); if you trust its \
         source, fetch it unverified with --insecure-options=image"
    )]
    Unsigned,
    /// A rule of the trust policy keeps it out.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The signature does not vouch for the image.
    #[error(
        "{}: {source}{}; to skip the verification, use --insecure-options=image",
        .file.display(), trust_hint(.source, .name)
    )]
    Signature {
        /// The signature's file.
        file: PathBuf,
        /// The name that stands in the image's manifest, once it is known.
        name: Option<AcIdentifier>,
        /// What is wrong with the signature.
        source: SignatureError,
    },
    /// The key is known, but not for images of this name.
    #[error(
        "it is signed by {identity} (key {fingerprint}), whom you trust for {} but not for \
         {name}; trust the key with `rkt trust --prefix {name} KEYFILE` if that is right",
        .trusted.join(", ")
    )]
    NotTrustedFor {
        /// The name in the image's manifest.
        name: AcIdentifier,
        /// The key.
        fingerprint: String,
        /// Its first user id.
        identity: String,
        /// What it is trusted for.
        trusted: Vec<String>,
    },
    /// Where an image came from, there is another one now.
    #[error("there is another image there now ({found}), not {wanted}", wanted = .wanted.short(12))]
    OtherImage {
        /// What is there.
        found: Digest,
        /// What was.
        wanted: ImageId,
    },
    /// An object that where the image came from does not have by itself.
    #[error("object {0} cannot be had alone; remove the image and fetch it again")]
    NotOfImage(Digest),
    /// A way of fetching that there is no transport for.
    #[error("{0}")]
    NoTransport(&'static str),
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

fn trust_hint(error: &SignatureError, name: &Option<AcIdentifier>) -> String {
    match (error, name) {
        (SignatureError::UnknownKey { .. }, Some(name)) => {
            format!("; if you trust its owner, run `rkt trust --prefix {name} KEYFILE`")
        }
        _ => String::new(),
    }
}

/// An error and its sources on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
