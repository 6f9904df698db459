//! A certificate authority, a certificate log and a transparency log of our
//! own, made by openssl: what Fulcio and Rekor are to cosign.
//!
//! Sources: sigstore's certificate specification and bundle format, Rekor's
//! `hashedrekord` and `dsse` entries, RFC 6962.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Cmd, OciImage, sha256};

/// The three of them.
pub struct Sigstore {
    dir: TempDir,
}

/// How a signature shall be; the default is a good one.
#[derive(Debug, Clone)]
pub struct Wish {
    /// As openssl writes names: `email:…` or `URI:…`.
    pub subject: String,
    /// Who vouches for the subject.
    pub issuer: String,
    /// When the log noted it.
    pub logged: u64,
    /// First and last day of the certificate, `YYYYMMDDHHMMSSZ`.
    pub valid: (&'static str, &'static str),
    /// What the certificate is for.
    pub usage: &'static str,
    /// Whether a certificate log promised to show it.
    pub promised: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            subject: "email:ci@example.com".to_owned(),
            issuer: "https://accounts.example.com".to_owned(),
            // 2024-05-01 12:00:00 UTC
            logged: 1_714_564_800,
            valid: ("20240501115500Z", "20240501120500Z"),
            usage: "codeSigning",
            promised: true,
        }
    }
}

/// A signature over some bytes.
pub struct Signature {
    bytes: Vec<u8>,
    certificate: PathBuf,
}

impl Default for Sigstore {
    fn default() -> Self {
        Self::new()
    }
}

fn openssl(words: &[&str]) -> Cmd {
    Cmd::new("openssl").args(words)
}

/// Base64 on one line.
pub fn base64(bytes: &[u8]) -> String {
    openssl(&["base64", "-A"])
        .stdin(bytes)
        .run()
        .ok()
        .text()
        .to_owned()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

impl Sigstore {
    /// New keys for all.
    pub fn new() -> Self {
        let this = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for name in ["ca", "log", "ct", "signer"] {
            this.new_key(name);
        }
        this.issue_authority();
        this
    }

    fn new_key(&self, name: &str) {
        openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .arg("-out")
        .arg(self.file(&format!("{name}.key")))
        .run()
        .ok();
        openssl(&["pkey", "-pubout", "-in"])
            .arg(self.file(&format!("{name}.key")))
            .arg("-out")
            .arg(self.file(&format!("{name}.pub")))
            .run()
            .ok();
    }

    /// A file of the directory they live in.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn key_der(&self, name: &str) -> Vec<u8> {
        let out = self.file("key.der");
        openssl(&["pkey", "-pubin", "-outform", "DER", "-in"])
            .arg(self.file(&format!("{name}.pub")))
            .arg("-out")
            .arg(&out)
            .run()
            .ok();
        fs::read(out).unwrap()
    }

    fn signed_by(&self, key: &str, message: &[u8]) -> Vec<u8> {
        let out = self.file("signature");
        openssl(&["dgst", "-sha256", "-sign"])
            .arg(self.file(&format!("{key}.key")))
            .arg("-out")
            .arg(&out)
            .stdin(message)
            .run()
            .ok();
        fs::read(out).unwrap()
    }

    /// `trusted_root.json`, written to a file.
    pub fn trusted_root(&self) -> PathBuf {
        let log = |name: &str| {
            let key = self.key_der(name);
            json!({
                "baseUrl": "https://log.example.com",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": base64(&key),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": {"start": "2021-01-01T00:00:00.000Z"},
                },
                "logId": {"keyId": base64(&unhex(&sha256(&key)))},
            })
        };
        let authority = self.file("ca.der");
        openssl(&["x509", "-outform", "DER", "-in"])
            .arg(self.file("ca.pem"))
            .arg("-out")
            .arg(&authority)
            .run()
            .ok();
        let root = json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log("log")],
            "ctlogs": [log("ct")],
            "certificateAuthorities": [{
                "subject": {"organization": "tests", "commonName": "authority"},
                "uri": "https://ca.example.com",
                "certChain": {"certificates": [{"rawBytes": base64(&fs::read(authority).unwrap())}]},
                "validFor": {"start": "2021-01-01T00:00:00Z"},
            }],
        });
        let file = self.file("trusted_root.json");
        fs::write(&file, root.to_string()).unwrap();
        file
    }

    /// Signs the message as somebody whom a new certificate names.
    pub fn sign(&self, message: &[u8], wish: &Wish) -> Signature {
        let certificate = self.certificate(wish);
        Signature {
            bytes: self.signed_by("signer", message),
            certificate,
        }
    }

    /// Issued twice, as authorities do: without the log's promise for the log,
    /// then with it.
    fn certificate(&self, wish: &Wish) -> PathBuf {
        let bare = self.issue(wish, "");
        if !wish.promised {
            return bare;
        }
        let tbs = self.file("tbs.der");
        openssl(&["asn1parse", "-noout", "-strparse", "4", "-in"])
            .arg(&bare)
            .arg("-out")
            .arg(&tbs)
            .run()
            .ok();
        let tbs = fs::read(tbs).unwrap();
        let milliseconds = (wish.logged * 1000).to_be_bytes();
        let mut message = vec![0, 0];
        message.extend(milliseconds);
        message.extend([0, 1]);
        message.extend(unhex(&sha256(&self.key_der("ca"))));
        message.extend(&u32::try_from(tbs.len()).unwrap().to_be_bytes()[1..]);
        message.extend(&tbs);
        message.extend([0, 0]);
        let signature = self.signed_by("ct", &message);
        let mut sct = vec![0];
        sct.extend(unhex(&sha256(&self.key_der("ct"))));
        sct.extend(milliseconds);
        sct.extend([0, 0, 4, 3]);
        let with_length = |bytes: &[u8]| {
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            [&length[..], bytes].concat()
        };
        sct.extend(with_length(&signature));
        let list = with_length(&with_length(&sct));
        let hex: Vec<String> = list.iter().map(|b| format!("{b:02x}")).collect();
        let extension = format!(
            "1.3.6.1.4.1.11129.2.4.2 = ASN1:FORMAT:HEX,OCTETSTRING:{}\n",
            hex.concat()
        );
        self.issue(wish, &extension)
    }

    /// The authority's own certificate, valid since before it issued any.
    fn issue_authority(&self) {
        self.configure(
            "basicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\n\
             subjectKeyIdentifier = hash\n",
        );
        let key = self.file("ca.key");
        self.request(&key, "/O=tests/CN=authority");
        self.openssl_ca(&self.file("ca.pem"), ("20210101000000Z", "20500101000000Z"))
            .arg("-selfsign")
            .run()
            .ok();
    }

    fn issue(&self, wish: &Wish, further: &str) -> PathBuf {
        let Wish {
            subject,
            issuer,
            valid,
            usage,
            ..
        } = wish;
        // Fulcio writes the issuer as bare bytes too, for readers of old.
        let bare: Vec<String> = issuer.bytes().map(|b| format!("{b:02x}")).collect();
        let bare = bare.concat();
        self.configure(&format!(
            "keyUsage = critical,digitalSignature\nextendedKeyUsage = {usage}\n\
             subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n\
             subjectAltName = critical,{subject}\n\
             1.3.6.1.4.1.57264.1.1 = DER:{bare}\n\
             1.3.6.1.4.1.57264.1.8 = ASN1:UTF8String:{issuer}\n{further}"
        ));
        self.request(&self.file("signer.key"), "/CN=signer");
        let certificate = self.file("leaf.pem");
        self.openssl_ca(&certificate, *valid)
            .arg("-cert")
            .arg(self.file("ca.pem"))
            .run()
            .ok();
        certificate
    }

    /// `openssl ca`, the only command that takes dates.
    fn openssl_ca(&self, out: &Path, (start, end): (&str, &str)) -> Cmd {
        openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-preserveDN",
            "-extensions",
            "wanted",
        ])
        .args(["-startdate", start, "-enddate", end])
        .arg("-config")
        .arg(self.file("ca.cnf"))
        .arg("-keyfile")
        .arg(self.file("ca.key"))
        .arg("-in")
        .arg(self.file("request.pem"))
        .arg("-out")
        .arg(out)
    }

    fn request(&self, key: &Path, subject: &str) {
        openssl(&["req", "-new", "-subj", subject, "-key"])
            .arg(key)
            .arg("-out")
            .arg(self.file("request.pem"))
            .run()
            .ok();
    }

    /// What [`Sigstore::openssl_ca`] reads.
    fn configure(&self, extensions: &str) {
        let file = |name: &str| self.file(name).display().to_string();
        fs::write(
            self.file("ca.cnf"),
            format!(
                "[ca]\ndefault_ca = authority\n\
                 [authority]\ndatabase = {}\nserial = {}\nnew_certs_dir = {}\n\
                 default_md = sha256\npolicy = any\nunique_subject = no\ncopy_extensions = none\n\
                 [any]\norganizationName = optional\ncommonName = optional\n\
                 [wanted]\n{extensions}",
                file("database"),
                file("serial"),
                self.dir.path().display(),
            ),
        )
        .unwrap();
        fs::write(self.file("database"), "").unwrap();
        // The same each time: of two certificates only the promise may differ.
        fs::write(self.file("serial"), "4711\n").unwrap();
    }

    /// The log's promise for an entry with this body.
    fn promise(&self, body: &[u8], time: u64) -> (Vec<u8>, String) {
        let log = sha256(&self.key_der("log"));
        let canonical = format!(
            "{{\"body\":\"{}\",\"integratedTime\":{time},\"logID\":\"{log}\",\"logIndex\":5}}",
            base64(body)
        );
        (self.signed_by("log", canonical.as_bytes()), log)
    }

    /// The layer's annotations of cosign's first form.
    pub fn annotations(&self, payload: &[u8], signature: &Signature, wish: &Wish) -> Value {
        let pem = fs::read(&signature.certificate).unwrap();
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": sha256(payload)}},
                "signature": {
                    "content": base64(&signature.bytes),
                    "publicKey": {"content": base64(&pem)},
                },
            },
        })
        .to_string();
        let (promise, log) = self.promise(body.as_bytes(), wish.logged);
        let bundle = json!({
            "SignedEntryTimestamp": base64(&promise),
            "Payload": {
                "body": base64(body.as_bytes()),
                "integratedTime": wish.logged,
                "logIndex": 5,
                "logID": log,
            },
        });
        json!({
            "dev.cosignproject.cosign/signature": base64(&signature.bytes),
            "dev.sigstore.cosign/certificate": String::from_utf8(pem).unwrap(),
            "dev.sigstore.cosign/bundle": bundle.to_string(),
        })
    }

    /// A bundle, version 0.3, that says that the manifest is signed.
    pub fn bundle(&self, manifest: &str, wish: &Wish) -> Value {
        let hex = manifest.trim_start_matches("sha256:");
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": hex}}],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "predicate": {},
        })
        .to_string();
        let kind = "application/vnd.in-toto+json";
        let message = format!(
            "DSSEv1 {} {kind} {} {statement}",
            kind.len(),
            statement.len()
        );
        let signature = self.sign(message.as_bytes(), wish);
        let pem = fs::read(&signature.certificate).unwrap();
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": sha256(b"not looked at")},
                "payloadHash": {"algorithm": "sha256", "value": sha256(statement.as_bytes())},
                "signatures": [{
                    "signature": base64(&signature.bytes),
                    "verifier": base64(&pem),
                }],
            },
        })
        .to_string();
        let (promise, log) = self.promise(body.as_bytes(), wish.logged);
        // A tree of two: ours is the second.
        let leaf = sha256(&[&[0], body.as_bytes()].concat());
        let other = sha256(b"another entry");
        let root = sha256(&[&[1][..], &unhex(&other), &unhex(&leaf)].concat());
        let text = format!("log.example.com - 1\n2\n{}\n", base64(&unhex(&root)));
        let hint = &unhex(&log)[..4];
        let note = [hint, &self.signed_by("log", text.as_bytes())].concat();
        let der = self.file("leaf.der");
        openssl(&["x509", "-outform", "DER", "-in"])
            .arg(&signature.certificate)
            .arg("-out")
            .arg(&der)
            .run()
            .ok();
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": base64(&fs::read(der).unwrap())},
                "tlogEntries": [{
                    "logIndex": "5",
                    "logId": {"keyId": base64(&unhex(&log))},
                    "kindVersion": {"kind": "dsse", "version": "0.0.1"},
                    "integratedTime": wish.logged.to_string(),
                    "inclusionPromise": {"signedEntryTimestamp": base64(&promise)},
                    "inclusionProof": {
                        "logIndex": "1",
                        "rootHash": base64(&unhex(&root)),
                        "treeSize": "2",
                        "hashes": [base64(&unhex(&other))],
                        "checkpoint": {
                            "envelope": format!("{text}\n\u{2014} log.example.com {}\n", base64(&note)),
                        },
                    },
                    "canonicalizedBody": base64(body.as_bytes()),
                }],
            },
            "dsseEnvelope": {
                "payload": base64(statement.as_bytes()),
                "payloadType": kind,
                "signatures": [{"sig": base64(&signature.bytes)}],
            },
        })
    }
}

/// cosign's payload for an image.
pub fn payload(repository: &str, manifest: &str) -> Vec<u8> {
    json!({
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": manifest},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
    .into_bytes()
}

/// Something that is laid into a layout beside its image.
pub enum Attachment {
    /// Under the tag `sha256-….sig`: payload and annotations.
    Tagged(Vec<u8>, Value),
    /// A bundle whose subject is the manifest.
    Referrer(Value),
}

/// Adds a signature of `manifest` to the layout `dir`.
pub fn attach(dir: &Path, manifest: &str, attachment: &Attachment) {
    let put = |bytes: &[u8], media_type: &str| {
        let digest = sha256(bytes);
        fs::write(dir.join("blobs/sha256").join(&digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()})
    };
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let mut document = json!({"schemaVersion": 2, "mediaType": MANIFEST});
    let mut annotations = json!({});
    match attachment {
        Attachment::Tagged(payload, of_layer) => {
            let mut layer = put(payload, "application/vnd.dev.cosign.simplesigning.v1+json");
            layer["annotations"] = of_layer.clone();
            let config = json!({
                "architecture": "", "os": "", "config": {},
                "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
            });
            let config = put(
                config.to_string().as_bytes(),
                "application/vnd.oci.image.config.v1+json",
            );
            document["config"] = config;
            document["layers"] = json!([layer]);
            let tag = format!("{}.sig", manifest.replace(':', "-"));
            annotations = json!({"org.opencontainers.image.ref.name": tag});
        }
        Attachment::Referrer(bundle) => {
            let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
            document["artifactType"] = json!(kind);
            document["config"] = put(b"{}", "application/vnd.oci.empty.v1+json");
            document["layers"] = json!([put(bundle.to_string().as_bytes(), kind)]);
            document["subject"] = json!({"mediaType": MANIFEST, "digest": manifest, "size": 1});
        }
    }
    let mut entry = put(document.to_string().as_bytes(), MANIFEST);
    entry["annotations"] = annotations;
    let index = dir.join("index.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    value["manifests"].as_array_mut().unwrap().push(entry);
    fs::write(index, value.to_string()).unwrap();
}

/// A layout with one image, whose tag is a whole reference.
pub fn layout(dir: &Path, reference: &str) -> crate::oci::Layout {
    OciImage::busybox(&["/bin/echo", "hello"]).write(dir, reference)
}
