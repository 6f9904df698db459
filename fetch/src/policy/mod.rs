//! What has to be true of an image before it is let in.
//!
//! The rule with the longest prefix of the image's name counts, alone (see
//! [`manifests::config::Trust`]). Where no rule is about an image, it has to be
//! signed by an OpenPGP key of the keystore, as ever.
//!
//! `--insecure-options=image` switches off the verification of signatures: what
//! should be signed need not be. It does not let in what a rule rejects, and
//! does not unpin.
//!
//! The same rules are asked again before a stored image is run, by what its
//! record says: a rule that came later holds for what came earlier. Where no
//! rule is about it, what was let in may run, as in the reference.

mod containers;
mod pins;

use std::time::{SystemTime, UNIX_EPOCH};

use image_store::ImageRecord;
use manifests::appc::{AcIdentifier, ImageManifest};
use manifests::config::{KeySource, Level, Rule, Signer, Trust};
use manifests::digest::Digest;
use manifests::image_id::ImageId;
use manifests::insecure::InsecureOptions;
use manifests::trust::{Verification, Vouched};

use crate::error::Reason;
use crate::image::Chain;
use crate::keystore::{Keystore, KeystoreError, TrustedKey};
use crate::signatures::{
    self, Candidate, Fault, KeyError, PublicKey, Repository, Target, TrustRoot, TrustRootError,
    Wanted,
};
use crate::transport::OciSource;

pub use containers::{ImportError, Imported, import};
pub use pins::{Pin, PinError, Pins, pin_name};

/// How the record tells why nobody vouched.
const SKIP_SIGNATURES: &str = "--insecure-options=image";

/// Why a rule keeps an image out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The level `reject`.
    #[error("{name} is rejected by the rule for {prefix:?} in {file}")]
    Rejected {
        /// The image.
        name: AcIdentifier,
        /// The rule.
        prefix: String,
        /// The rule's file.
        file: String,
    },
    /// Signatures that this kind of image cannot have.
    #[error(
        "the rule for {prefix:?} in {file} asks for {wanted}, which {kind} cannot have; add a \
         signer that it can have, or fetch it unverified with --insecure-options=image"
    )]
    NotOfThisKind {
        /// The rule.
        prefix: String,
        /// The rule's file.
        file: String,
        /// The signers, for people.
        wanted: String,
        /// `an ACI`, or another kind of image.
        kind: &'static str,
    },
    /// No signature at all.
    #[error(
        "it has no signature, neither under the tag {tag} nor among its referrers; the rule for \
         {prefix:?} in {file} asks for {wanted}"
    )]
    NoSignature {
        /// Where cosign puts it.
        tag: String,
        /// The rule.
        prefix: String,
        /// The rule's file.
        file: String,
        /// The signers, for people.
        wanted: String,
    },
    /// Signatures, none of them good.
    #[error("{fault} (the rule for {prefix:?} in {file} asks for {wanted})")]
    BadSignature {
        /// Of the signature that came closest.
        fault: Fault,
        /// The rule.
        prefix: String,
        /// The rule's file.
        file: String,
        /// The signers, for people.
        wanted: String,
    },
    /// Another image than the pinned one.
    #[error(
        "it is not the image that is pinned: {} since {}, now {id}; if the change is right, run \
         `rkt trust accept {name} {id}`",
        .pin.id.short(12), day(.pin.since)
    )]
    Changed {
        /// What is pinned.
        pin: Pin,
        /// The name it is pinned under.
        name: String,
        /// What there is now.
        id: ImageId,
    },
    /// A stored image that was let in before the rule was made.
    #[error(
        "{name} was stored {had}, and now the rule for {prefix:?} in {file} asks for {wanted}; \
         fetch it again"
    )]
    NoLonger {
        /// The image.
        name: AcIdentifier,
        /// What its record says.
        had: String,
        /// The rule.
        prefix: String,
        /// The rule's file.
        file: String,
        /// What the rule asks for, for people.
        wanted: String,
    },
    /// A key file of a rule.
    #[error("the rule for {prefix:?} in {file}: the key {key} {source}")]
    Key {
        /// The rule.
        prefix: String,
        /// The rule's file.
        file: String,
        /// Where the key should be.
        key: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A key file of a rule that cannot be read.
    #[error("the rule for {prefix:?} in {file}: cannot read the key {key}: {source}")]
    ReadKey {
        /// The rule.
        prefix: String,
        /// The rule's file.
        file: String,
        /// Where the key should be.
        key: String,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// A trust root of a rule.
    #[error(transparent)]
    TrustRoot(#[from] TrustRootError),
    /// The pins.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The keystore.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
}

fn day(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok();
    let time = time.and_then(|s| jiff::Timestamp::from_second(s).ok());
    time.map_or_else(|| "?".to_owned(), |t| t.strftime("%Y-%m-%d").to_string())
}

/// The rules with what they lead to: keys and pins.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Trust,
    keystore: Keystore,
    pins: Pins,
    skip_signatures: bool,
}

/// What is asked of one image.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Demand<'a> {
    /// Nothing; this option or rule allows it.
    Nothing(Option<&'a Rule>),
    /// That it is the pinned one.
    Pin(&'a Rule),
    /// That one of them signed it; without a rule an OpenPGP key did.
    Signature(Option<&'a Rule>),
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs())
}

/// The signers of a rule; an OpenPGP key where there is no rule.
fn signers(rule: Option<&Rule>) -> &[Signer] {
    static KEYSTORE: [Signer; 1] = [Signer::OpenPgp {
        fingerprints: Vec::new(),
    }];
    match rule.map(|r| &r.level) {
        Some(Level::SignedBy(signers)) => signers,
        Some(_) => &[],
        None => &KEYSTORE,
    }
}

/// What a rule asks for, for people.
pub fn wanted(rule: Option<&Rule>) -> String {
    match rule.map(|r| &r.level) {
        Some(Level::Reject) => "nothing that an image could have".to_owned(),
        Some(Level::Pinned) => "the image that was seen first".to_owned(),
        Some(Level::Anything) => "nothing".to_owned(),
        Some(Level::SignedBy(_)) | None => {
            let signers: Vec<String> = signers(rule).iter().map(Signer::to_string).collect();
            format!("a signature by {}", signers.join(", or by "))
        }
    }
}

impl Policy {
    /// These rules, over this keystore and these pins.
    pub fn new(rules: Trust, keystore: Keystore, pins: Pins, insecure: InsecureOptions) -> Self {
        Self {
            rules,
            keystore,
            pins,
            skip_signatures: insecure.image,
        }
    }

    /// The keystore.
    pub fn keystore(&self) -> &Keystore {
        &self.keystore
    }

    /// The pins.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The rules.
    pub fn rules(&self) -> &Trust {
        &self.rules
    }

    /// Whether some image is let in without signature.
    pub(crate) fn lets_in_unsigned(&self) -> bool {
        self.skip_signatures
            || self
                .rules
                .rules()
                .any(|rule| matches!(rule.level, Level::Anything | Level::Pinned))
    }

    /// What is asked of an image of this name.
    ///
    /// # Errors
    /// [`Refusal::Rejected`].
    pub(crate) fn demand(&self, name: &AcIdentifier) -> Result<Demand<'_>, Refusal> {
        let rule = self.rules.rule_for(name);
        match rule.map(|r| (r, &r.level)) {
            Some((rule, Level::Reject)) => Err(Refusal::Rejected {
                name: name.clone(),
                prefix: rule.scope.prefix().to_owned(),
                file: rule.file.clone(),
            }),
            Some((rule, Level::Pinned)) => Ok(Demand::Pin(rule)),
            Some((rule, Level::Anything)) => Ok(Demand::Nothing(Some(rule))),
            Some((_, Level::SignedBy(_))) | None if self.skip_signatures => {
                Ok(Demand::Nothing(None))
            }
            Some((_, Level::SignedBy(_))) | None => Ok(Demand::Signature(rule)),
        }
    }

    /// Without looking at anything.
    pub(crate) fn unlooked(&self, rule: Option<&Rule>) -> Verification {
        let allowed_by = match rule {
            Some(rule) => format!("the rule for {:?} in {}", rule.scope.prefix(), rule.file),
            None => SKIP_SIGNATURES.to_owned(),
        };
        self.verification(Vouched::Nothing { allowed_by }, rule)
    }

    pub(crate) fn verification(&self, by: Vouched, rule: Option<&Rule>) -> Verification {
        Verification {
            by,
            rule: rule.map(Rule::applied),
            at: Some(now()),
        }
    }

    /// That the image is the pinned one; it is pinned if none is.
    pub(crate) fn pinned(
        &self,
        rule: &Rule,
        manifest: &ImageManifest,
        id: &ImageId,
    ) -> Result<Verification, Refusal> {
        let name = pin_name(manifest);
        let pin = self.pins.first(Pin {
            name: name.clone(),
            id: id.clone(),
            since: now(),
        })?;
        if pin.id != *id {
            let id = id.clone();
            return Err(Refusal::Changed { pin, name, id });
        }
        let since = pin.since;
        Ok(self.verification(Vouched::Pinned { since }, Some(rule)))
    }

    /// The OpenPGP keys that may sign the ACI.
    ///
    /// # Errors
    /// The rule asks for other signatures, or the keystore cannot be read.
    pub fn openpgp_keys(
        &self,
        rule: Option<&Rule>,
        name: &AcIdentifier,
    ) -> Result<Vec<TrustedKey>, Refusal> {
        let mut lists = signers(rule).iter().filter_map(|signer| match signer {
            Signer::OpenPgp { fingerprints } => Some(fingerprints),
            _ => None,
        });
        let lists: Vec<_> = lists.by_ref().collect();
        if lists.is_empty() {
            return Err(not_of_this_kind(rule, "an ACI"));
        }
        let mut keys = self.keystore.keys_for(name)?;
        keys.retain(|key| {
            let fingerprint = key.certificate.fingerprint();
            lists
                .iter()
                .any(|list| list.is_empty() || list.contains(&fingerprint))
        });
        Ok(keys)
    }

    /// Who signed the image that `chain` leads to, from the document that was
    /// found first to the manifest.
    pub(crate) fn signed(
        &self,
        rule: Option<&Rule>,
        source: &dyn OciSource,
        chain: &Chain,
        repository: Option<&Repository>,
    ) -> Result<Verification, Reason> {
        let Some(rule) = rule else {
            return Err(Reason::Unsigned);
        };
        let wanted = self.wanted_signers(rule)?;
        if wanted.is_empty() {
            return Err(not_of_this_kind(Some(rule), "an OCI image").into());
        }
        let renamed = rule
            .signed_as
            .as_deref()
            .and_then(|text| repository.and_then(|r| r.renamed(text)));
        let repository = renamed.as_ref().or(repository);
        let mut closest: Option<Fault> = None;
        for (digest, bytes) in chain.links() {
            let target = Target {
                digest,
                bytes,
                repository,
            };
            for find in [
                signatures::candidates_by_tag as fn(&dyn OciSource, &Digest) -> _,
                signatures::candidates_by_referrers,
            ] {
                let candidates: Vec<Candidate> = find(source, digest)?;
                for candidate in candidates {
                    match candidate.judge(&target, &wanted) {
                        Ok(by) => return Ok(self.verification(by, Some(rule))),
                        Err(fault) => {
                            let is_closer = closest
                                .as_ref()
                                .is_none_or(|c| c.closeness() < fault.closeness());
                            if is_closer {
                                closest = Some(fault);
                            }
                        }
                    }
                }
            }
        }
        let (prefix, file) = (rule.scope.prefix().to_owned(), rule.file.clone());
        let wanted = self::wanted(Some(rule));
        Err(match closest {
            Some(fault) => Refusal::BadSignature {
                fault,
                prefix,
                file,
                wanted,
            },
            None => {
                let (digest, _) = chain.root();
                Refusal::NoSignature {
                    tag: format!("{}-{}.sig", digest.algorithm(), digest.hex()),
                    prefix,
                    file,
                    wanted,
                }
            }
        }
        .into())
    }

    /// The signers of OCI images, with their keys and trust roots read.
    fn wanted_signers(&self, rule: &Rule) -> Result<Vec<Wanted>, Refusal> {
        let mut wanted = Vec::new();
        for signer in signers(Some(rule)) {
            match signer {
                Signer::OpenPgp { .. } => {}
                Signer::Key { key, trust_root } => wanted.push(Wanted::Key {
                    key: read_key(rule, key)?,
                    root: trust_root.as_deref().map(TrustRoot::read).transpose()?,
                }),
                Signer::Identity {
                    subject,
                    issuer,
                    trust_root,
                } => wanted.push(Wanted::Identity {
                    subject: subject.clone(),
                    issuer: issuer.clone(),
                    root: TrustRoot::read(trust_root)?,
                }),
            }
        }
        Ok(wanted)
    }

    /// Whether what the record says is what would be asked today.
    ///
    /// # Errors
    /// [`Refusal`], if it is not, or if nobody can say.
    pub fn still_holds(&self, record: &ImageRecord) -> Result<(), Refusal> {
        let rule = match self.demand(&record.manifest.name)? {
            Demand::Nothing(_) => return Ok(()),
            Demand::Pin(rule) => Some(rule),
            Demand::Signature(rule) => rule,
        };
        let by = &record.verification.by;
        let holds = match rule.map(|r| &r.level) {
            Some(Level::Pinned) => {
                let name = pin_name(&record.manifest);
                match self.pins.get(&name)? {
                    Some(pin) if pin.id != record.id => {
                        let id = record.id.clone();
                        return Err(Refusal::Changed { pin, name, id });
                    }
                    pin => pin.is_some(),
                }
            }
            _ => self.is_wanted(rule, &record.manifest.name, by)?,
        };
        if holds {
            return Ok(());
        }
        Err(Refusal::NoLonger {
            name: record.manifest.name.clone(),
            had: match by {
                Vouched::Nothing { .. } => "unverified".to_owned(),
                Vouched::Pinned { .. } => "as pinned".to_owned(),
                Vouched::OpenPgp { fingerprint, .. } => {
                    format!("as signed by the OpenPGP key {fingerprint}")
                }
                Vouched::Key { fingerprint, .. } => format!("as signed by the key {fingerprint}"),
                Vouched::Identity { subject, .. } => format!("as signed by {subject}"),
            },
            prefix: rule.map_or("", |r| r.scope.prefix()).to_owned(),
            file: rule.map_or_else(|| "no file".to_owned(), |r| r.file.clone()),
            wanted: wanted(rule),
        })
    }

    /// Whether a stored image may run: as [`Policy::still_holds`], but what no
    /// rule is about may.
    ///
    /// # Errors
    /// As [`Policy::still_holds`].
    pub fn may_run(&self, record: &ImageRecord) -> Result<(), Refusal> {
        match self.rules.rule_for(&record.manifest.name) {
            Some(_) => self.still_holds(record),
            None => Ok(()),
        }
    }

    fn is_wanted(
        &self,
        rule: Option<&Rule>,
        name: &AcIdentifier,
        by: &Vouched,
    ) -> Result<bool, Refusal> {
        for signer in signers(rule) {
            let is = match (signer, by) {
                (Signer::OpenPgp { fingerprints }, Vouched::OpenPgp { fingerprint, .. }) => {
                    let keys = self.keystore.keys_for(name)?;
                    let trusted = keys
                        .iter()
                        .any(|key| key.certificate.fingerprint() == *fingerprint);
                    trusted && (fingerprints.is_empty() || fingerprints.contains(fingerprint))
                }
                (
                    Signer::Key { key, trust_root },
                    Vouched::Key {
                        fingerprint,
                        logged,
                        ..
                    },
                ) => {
                    let Some(rule) = rule else { continue };
                    (trust_root.is_none() || logged.is_some())
                        && read_key(rule, key)?.fingerprint() == *fingerprint
                }
                (
                    Signer::Identity {
                        subject, issuer, ..
                    },
                    Vouched::Identity {
                        subject: named,
                        issuer: by,
                        ..
                    },
                ) => signatures::matches_pattern(subject, named) && issuer == by,
                _ => false,
            };
            if is {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn not_of_this_kind(rule: Option<&Rule>, kind: &'static str) -> Refusal {
    Refusal::NotOfThisKind {
        prefix: rule.map_or("", |r| r.scope.prefix()).to_owned(),
        file: rule.map_or_else(|| "no file".to_owned(), |r| r.file.clone()),
        wanted: wanted(rule),
        kind,
    }
}

/// Of a docker archive: what it holds is not what anybody signed.
pub(crate) fn no_signatures(rule: Option<&Rule>) -> Reason {
    match rule {
        None => Reason::Unsigned,
        Some(_) => not_of_this_kind(rule, "a docker archive").into(),
    }
}

fn read_key(rule: &Rule, source: &KeySource) -> Result<PublicKey, Refusal> {
    let (prefix, file) = (rule.scope.prefix().to_owned(), rule.file.clone());
    let (key, pem) = match source {
        KeySource::Data(pem) => ("in the rule".to_owned(), pem.clone().into_bytes()),
        KeySource::File(path) => {
            let key = path.display().to_string();
            match std::fs::read(path) {
                Ok(pem) => (key, pem),
                Err(source) => {
                    return Err(Refusal::ReadKey {
                        prefix,
                        file,
                        key,
                        source,
                    });
                }
            }
        }
    };
    PublicKey::from_pem(&pem).map_err(|source| Refusal::Key {
        prefix,
        file,
        key,
        source,
    })
}
