//! Images on their way out, in the forms they came in.
//!
//! An ACI leaves as the tar it is stored as. An OCI image leaves as an image
//! layout, a directory or a tar of one. Its configuration is byte-exact, and
//! so are its layers once unpacked; but what compressed them cannot be asked to
//! make the same bytes again, so they leave uncompressed and a manifest is
//! written that says so. If they came uncompressed, the manifest is the
//! original one.
//!
//! Every object is hashed on its way: what is damaged does not leave.
//!
//! Source: OCI image specification, "Image Layout Specification".

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use manifests::digest::{Algorithm, Digest};
use manifests::image_id::ImageId;
use manifests::oci::{Compression, Document, Manifest, media_type};
use serde_json::{Value, json};

use crate::error::{Context, Result, StoreError};
use crate::hash::{Hasher, digest_of};
use crate::record::{ImageRecord, OciObjects};
use crate::store::Store;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What an OCI image became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The manifest in the layout.
    pub manifest: Digest,
    /// Whether it is the one that gave the image its id.
    pub original: bool,
}

/// Where the files of a layout go.
trait Target {
    /// Writes a file of `size` bytes; its directories are made as needed.
    fn file(&mut self, name: &str, size: u64, bytes: &mut dyn Read) -> io::Result<()>;
}

/// A directory.
struct Directory<'a>(&'a Path);

impl Target for Directory<'_> {
    fn file(&mut self, name: &str, _: u64, bytes: &mut dyn Read) -> io::Result<()> {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create_new(path)?;
        io::copy(bytes, &mut file)?;
        file.sync_all()
    }
}

/// A tar of the directory. The same image gives the same bytes.
struct Archive<W: Write>(::tar::Builder<W>);

impl<W: Write> Target for Archive<W> {
    fn file(&mut self, name: &str, size: u64, bytes: &mut dyn Read) -> io::Result<()> {
        let mut header = ::tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(size);
        header.set_mtime(0);
        self.0.append_data(&mut header, name, bytes)
    }
}

/// Writes an ACI as it is stored.
pub(crate) fn aci(store: &Store, image: &ImageRecord, to: &mut dyn Write) -> Result<()> {
    if image.oci.is_some() {
        return Err(StoreError::OtherKind {
            id: image.id.clone(),
            is: "an OCI image",
            wanted: "an ACI",
        });
    }
    // An ACI's id is the digest of its tar, which is its one layer.
    let mut object = Checked::open(store, image.id.digest())?;
    let copied = io::copy(&mut object, to);
    object.judge(copied.map(|_| ()), &image.id)
}

/// Writes an OCI image into the empty directory `dir`.
pub(crate) fn layout(
    store: &Store,
    image: &ImageRecord,
    tag: &str,
    dir: &Path,
) -> Result<Exported> {
    write(store, image, tag, &mut Directory(dir))
}

/// Writes an OCI image as a tar.
pub(crate) fn archive(
    store: &Store,
    image: &ImageRecord,
    tag: &str,
    to: &mut dyn Write,
) -> Result<Exported> {
    let mut archive = Archive(::tar::Builder::new(to));
    let exported = write(store, image, tag, &mut archive)?;
    archive.0.finish().context("export", image.id.to_string())?;
    Ok(exported)
}

fn write(
    store: &Store,
    image: &ImageRecord,
    tag: &str,
    target: &mut dyn Target,
) -> Result<Exported> {
    let objects = image.oci.as_ref().ok_or_else(|| StoreError::OtherKind {
        id: image.id.clone(),
        is: "an ACI",
        wanted: "an OCI image",
    })?;
    let config = Checked::open(store, &objects.config)?.size;
    let (bytes, original) = manifest(store, image, objects, config)?;
    let exported = head(&bytes, original, tag, target)?;
    let mut layers: Vec<&Digest> = image.rootfs.layers().map(|l| &l.digest).collect();
    layers.sort();
    layers.dedup();
    for digest in [&objects.config].into_iter().chain(layers) {
        let mut object = Checked::open(store, digest)?;
        let copied = target.file(&blob(digest), object.size, &mut object);
        object.judge(copied, &image.id)?;
    }
    Ok(exported)
}

/// An image that comes from no store.
pub(crate) struct LayoutImage {
    /// The configuration's bytes.
    pub(crate) config: Vec<u8>,
    /// For the manifest.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Its one layer, an uncompressed tar, from the file's position on.
    pub(crate) layer: File,
    /// The layer's digest.
    pub(crate) digest: Digest,
    /// The layer's length.
    pub(crate) size: u64,
}

/// Writes a new image into the empty directory `dir`.
pub(crate) fn new_layout(image: &mut LayoutImage, tag: &str, dir: &Path) -> Result<Exported> {
    write_new(image, tag, &mut Directory(dir))
}

/// Writes a new image as a tar.
pub(crate) fn new_archive(
    image: &mut LayoutImage,
    tag: &str,
    to: &mut dyn Write,
) -> Result<Exported> {
    let mut archive = Archive(::tar::Builder::new(to));
    let exported = write_new(image, tag, &mut archive)?;
    archive.0.finish().context("export", "the image")?;
    Ok(exported)
}

fn write_new(image: &mut LayoutImage, tag: &str, target: &mut dyn Target) -> Result<Exported> {
    let config = digest_of(Algorithm::Sha256, &image.config);
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": {
            "mediaType": media_type::OCI_CONFIG,
            "digest": config,
            "size": image.config.len(),
        },
        "layers": [{"mediaType": LAYER, "digest": image.digest, "size": image.size}],
    });
    if !image.annotations.is_empty() {
        manifest["annotations"] = json!(image.annotations);
    }
    let exported = head(manifest.to_string().as_bytes(), true, tag, target)?;
    target
        .file(
            &blob(&config),
            image.config.len() as u64,
            &mut &*image.config,
        )
        .context("export", "the configuration")?;
    target
        .file(&blob(&image.digest), image.size, &mut image.layer)
        .context("export", "the layer")?;
    Ok(exported)
}

/// Writes what a layout begins with, and the image's manifest.
fn head(bytes: &[u8], original: bool, tag: &str, target: &mut dyn Target) -> Result<Exported> {
    let digest = digest_of(Algorithm::Sha256, bytes);
    let exported = Exported {
        manifest: digest.clone(),
        original,
    };
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [{
            "mediaType": media_type::OCI_MANIFEST,
            "digest": digest,
            "size": bytes.len(),
            "annotations": {REF_NAME: tag},
        }],
    });
    let mut document = |name: &str, bytes: &[u8]| {
        target
            .file(name, bytes.len() as u64, &mut &*bytes)
            .context("export", name)
    };
    document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    document("index.json", index.to_string().as_bytes())?;
    document(&blob(&digest), bytes)?;
    Ok(exported)
}

fn blob(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// The original manifest if it describes what the store has; else one that
/// does, with the same configuration and annotations.
fn manifest(
    store: &Store,
    image: &ImageRecord,
    objects: &OciObjects,
    config_size: u64,
) -> Result<(Vec<u8>, bool)> {
    let mut object = Checked::open(store, &objects.manifest)?;
    let mut bytes = Vec::new();
    let read = object.read_to_end(&mut bytes);
    object.judge(read.map(|_| ()), &image.id)?;
    let manifest = match Document::from_slice(&bytes, None) {
        Ok(Document::Manifest(manifest)) => manifest,
        other => {
            return Err(StoreError::DamagedObject {
                object: objects.manifest.clone(),
                what: match other {
                    Err(e) => e.to_string(),
                    Ok(_) => "it is no image manifest".to_owned(),
                },
                id: image.id.clone(),
            });
        }
    };
    if is_exact(&manifest, image, &bytes) {
        return Ok((bytes, true));
    }
    let layers: Vec<Value> = image
        .rootfs
        .layers()
        .map(|l| json!({"mediaType": LAYER, "digest": l.digest, "size": l.size}))
        .collect();
    let mut rewritten = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": {
            "mediaType": media_type::OCI_CONFIG,
            "digest": objects.config,
            "size": config_size,
        },
        "layers": layers,
    });
    if !manifest.annotations.is_empty() {
        // A map with an order: the same image gives the same manifest.
        let annotations: BTreeMap<_, _> = manifest.annotations.iter().collect();
        rewritten["annotations"] = json!(annotations);
    }
    Ok((rewritten.to_string().into_bytes(), false))
}

/// Whether the manifest's blobs are our objects, and its words OCI's.
fn is_exact(manifest: &Manifest, image: &ImageRecord, bytes: &[u8]) -> bool {
    let says = |value: &Value| value["mediaType"].as_str().map(str::to_owned);
    let own_type = serde_json::from_slice::<Value>(bytes)
        .ok()
        .and_then(|v| says(&v));
    let is_oci = own_type.is_none_or(|t| t == media_type::OCI_MANIFEST)
        && manifest.config.media_type == media_type::OCI_CONFIG;
    let named = manifest.layers.iter().map(|l| &l.descriptor.digest);
    is_oci
        && manifest
            .layers
            .iter()
            .all(|l| l.compression == Compression::None)
        && named.eq(image.rootfs.layers().map(|l| &l.digest))
}

/// An object that is hashed while it is read.
struct Checked {
    file: File,
    size: u64,
    digest: Digest,
    hasher: Hasher,
}

impl Checked {
    fn open(store: &Store, digest: &Digest) -> Result<Self> {
        let file = store.open_object(digest)?;
        let size = file
            .metadata()
            .context("inspect", store.dirs.object(digest))?;
        Ok(Self {
            file,
            size: size.len(),
            digest: digest.clone(),
            hasher: Hasher::new(digest.algorithm()),
        })
    }

    /// After everything was read.
    fn judge(self, copied: io::Result<()>, id: &ImageId) -> Result<()> {
        copied.context("export", self.digest.to_string())?;
        let actual = self.hasher.finish();
        if actual == self.digest {
            return Ok(());
        }
        Err(StoreError::DamagedObject {
            object: self.digest,
            what: format!("its bytes have the digest {actual}"),
            id: id.clone(),
        })
    }
}

impl Read for Checked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        self.hasher.update(&buf[..n]);
        Ok(n)
    }
}
