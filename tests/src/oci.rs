//! OCI image layouts of our own making, and the same image in the other forms
//! that skopeo makes of them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::image::{Compression, sha256};
use crate::{Cmd, Rootfs};

/// Architecture of the test images; rkt asks for the host's.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// An OCI image about to be written.
#[derive(Debug, Clone)]
pub struct OciImage {
    /// Uncompressed tars, bottom to top.
    pub layers: Vec<Vec<u8>>,
    /// The image configuration's `config` object.
    pub config: Value,
    /// More members of the image configuration, or others (`architecture`).
    pub more: Value,
    /// How the layers are stored.
    pub compression: Compression,
}

impl OciImage {
    /// One busybox layer, running `command`.
    pub fn busybox(command: &[&str]) -> Self {
        Self::new(vec![Rootfs::busybox().tar("")], command)
    }

    /// These layers, running `command`.
    pub fn new(layers: Vec<Vec<u8>>, command: &[&str]) -> Self {
        Self {
            layers,
            config: json!({
                "Cmd": command,
                "Env": ["PATH=/bin:/usr/bin", "IMAGE=oci"],
                "WorkingDir": "/",
            }),
            more: json!({}),
            compression: Compression::Gzip,
        }
    }

    /// Chooses how layers are stored.
    pub fn compressed(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Adds a layer on top.
    pub fn layer(mut self, rootfs: &Rootfs) -> Self {
        self.layers.push(rootfs.tar(""));
        self
    }

    /// Writes the layout `dir` with this image as `tag`.
    pub fn write(&self, dir: &Path, tag: &str) -> Layout {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8]| {
            let digest = sha256(bytes);
            fs::write(blobs.join(&digest), bytes).unwrap();
            (format!("sha256:{digest}"), bytes.len())
        };
        let mut diff_ids = Vec::new();
        let mut layers = Vec::new();
        for tar in &self.layers {
            diff_ids.push(format!("sha256:{}", sha256(tar)));
            let (digest, size) = put(&self.compression.pack(tar));
            layers.push(json!({
                "mediaType": format!("application/vnd.oci.image.layer.v1.tar{}", self.compression.media_suffix()),
                "digest": digest,
                "size": size,
            }));
        }
        let mut config = json!({
            "created": "2001-09-09T01:46:40Z",
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": diff_ids.iter().map(|_| json!({"created_by": "tests"})).collect::<Vec<_>>(),
        });
        for (key, value) in self.more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let (config, config_size) = put(&serde_json::to_vec(&config).unwrap());
        let (manifest, manifest_size) = put(&serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size},
            "layers": layers,
        }))
        .unwrap());
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        fs::write(
            dir.join("index.json"),
            serde_json::to_vec(&json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [{
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": manifest,
                    "size": manifest_size,
                    "annotations": {"org.opencontainers.image.ref.name": tag},
                }],
            }))
            .unwrap(),
        )
        .unwrap();
        Layout {
            dir: dir.to_owned(),
            tag: tag.to_owned(),
            manifest,
            layers: layers
                .iter()
                .map(|l| l["digest"].as_str().unwrap().to_owned())
                .collect(),
        }
    }
}

/// An OCI layout on disk.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Its directory.
    pub dir: PathBuf,
    /// The reference name of its one image.
    pub tag: String,
    /// Digest of the image manifest, `sha256:…`.
    pub manifest: String,
    /// Digests of the layers as stored, bottom to top.
    pub layers: Vec<String>,
}

impl Layout {
    /// `oci:DIR:TAG`, as rkt and skopeo both read it.
    pub fn reference(&self) -> String {
        format!("oci:{}:{}", self.dir.display(), self.tag)
    }

    /// The image's ID in rkt.
    pub fn id(&self) -> String {
        self.manifest.replace(':', "-")
    }

    /// The file of a blob, for tests that damage it.
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs").join(digest.replace(':', "/"))
    }

    /// Copies it elsewhere with skopeo, for instance to `docker-archive:FILE`;
    /// skopeo may compress its layers and so make another manifest.
    pub fn copy_to(&self, destination: &str) {
        skopeo_copy(&[], &self.reference(), destination);
    }

    /// Copies it elsewhere with skopeo, byte by byte.
    pub fn copy_exactly_to(&self, destination: &str) {
        skopeo_copy(&["--preserve-digests"], &self.reference(), destination);
    }
}

/// `skopeo copy` with these further options, TLS not asked for.
pub fn skopeo_copy(options: &[&str], source: &str, destination: &str) {
    Cmd::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet"])
        .args(["--src-tls-verify=false", "--dest-tls-verify=false"])
        .args(options)
        .args([source, destination])
        .run()
        .ok();
}
