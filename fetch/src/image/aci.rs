//! ACIs: one tar, and a signature over the file as it was distributed.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use image_store::{
    ImageDraft, ImageName, ImageRecord, LayerKind, RecordedLayer, Stack, StagedLayer, Staging,
};
use manifests::appc::{AcIdentifier, Dependency, ImageManifest};
use manifests::config::Rule;
use manifests::digest::Algorithm;
use manifests::image_id::{ImageId, PartialImageId};
use manifests::platform::Platform;
use manifests::trust::Vouched;

use super::layers::pour;
use super::{Context, commit, keep_better};
use crate::error::Reason;
use crate::keystore::Scope;
use crate::lookup;
use crate::openpgp::{SignatureError, Signatures, SignedBytes};
use crate::policy::Demand;
use crate::progress::StepKind;
use crate::reference::AppName;
use crate::stream::{self, Known, Shared};
use crate::transport::Body;

/// An ACI on its way in.
pub(crate) struct AciInput<'a> {
    /// The file as it was distributed.
    pub(crate) body: Body<'a>,
    /// Its size, if that is known.
    pub(crate) size: Option<u64>,
    /// How progress calls it.
    pub(crate) name: &'a str,
    /// The detached signature; none if no image has to have one, or the
    /// reason why there is none.
    pub(crate) signature: Option<Result<Signature, Reason>>,
    /// What it must turn out to be.
    pub(crate) expected: Expected<'a>,
    /// The names that shall lead to it, the first of them where it is from.
    pub(crate) names: Vec<ImageName>,
    /// Brings the images that it is built on into the store.
    pub(crate) dependencies: &'a mut Resolve<'a>,
}

/// Finds or fetches a dependency of the image with this manifest.
pub(crate) type Resolve<'a> =
    dyn FnMut(&ImageManifest, &Dependency) -> Result<ImageRecord, Reason> + 'a;

/// What was asked for, when an image was asked for by more than its place.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected<'a> {
    /// The manifest must say this name, and these labels.
    pub(crate) app: Option<&'a AppName>,
    /// The tar must have this digest.
    pub(crate) id: Option<&'a PartialImageId>,
    /// The file must have this many bytes as it was distributed.
    pub(crate) size: Option<u64>,
}

impl Expected<'_> {
    fn check_manifest(&self, manifest: &ImageManifest, platform: &Platform) -> Result<(), Reason> {
        let Some(app) = self.app else {
            return Ok(());
        };
        match lookup::fits(manifest, app, Some(platform)) {
            true => Ok(()),
            false => Err(Reason::OtherName {
                wanted: describe(
                    app.name(),
                    lookup::with_defaults(app, Some(platform)).into_iter(),
                ),
                found: describe(
                    &manifest.name,
                    manifest
                        .labels
                        .iter()
                        .map(|l| (l.name.as_str(), l.value.as_str())),
                ),
            }),
        }
    }

    /// Before or after a byte of it was transferred.
    pub(crate) fn check_size(&self, size: u64) -> Result<(), Reason> {
        match self.size {
            Some(wanted) if wanted != size => Err(Reason::OtherSize {
                wanted,
                found: size,
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_id(&self, id: &ImageId) -> Result<(), Reason> {
        match self.id {
            Some(wanted) if !wanted.matches(id) => Err(Reason::OtherId {
                wanted: wanted.to_string(),
                found: id.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// `NAME,LABEL=VALUE…`
fn describe<'l>(name: &AcIdentifier, labels: impl Iterator<Item = (&'l str, &'l str)>) -> String {
    let labels = labels.map(|(name, value)| format!(",{name}={value}"));
    std::iter::once(name.to_string()).chain(labels).collect()
}

/// A detached signature, not looked at yet.
pub(crate) struct Signature {
    /// The file it stands in, for messages.
    pub(crate) file: PathBuf,
    /// What stands in it.
    pub(crate) bytes: Vec<u8>,
}

/// Brings an ACI into the store.
pub(crate) fn import_aci(context: Context<'_>, input: AciInput<'_>) -> Result<ImageRecord, Reason> {
    if let Some(size) = input.size {
        input.expected.check_size(size)?;
    }
    let mut tap = Tap {
        // One byte more than expected is enough to know.
        inner: match input.expected.size {
            Some(size) => Box::new(input.body.take(size.saturating_add(1))),
            None => input.body,
        },
        passed: 0,
        check: start(context, input.signature)?,
    };
    let staging = context.store.stage()?;
    if let Some(size) = input.size {
        context.progress.plan(size);
    }
    let mut step = context
        .progress
        .step(StepKind::Layer, input.name, input.size);
    let writer = staging.layer(Algorithm::Sha512, LayerKind::Aci)?;
    let known = match input.size.or(input.expected.size) {
        Some(_) => Known::Size,
        None => Known::Nothing,
    };
    let layer = pour(&mut tap, writer, None, |source, sink| {
        stream::run(
            source,
            known,
            sink,
            context.limits,
            &Shared::default(),
            step.as_mut(),
        )
    })?;
    step.done();
    input.expected.check_size(tap.passed)?;

    let bytes = layer
        .aci_manifest
        .as_deref()
        .ok_or_else(|| Reason::NotAci("it has no file \"manifest\"".to_owned()))?;
    let manifest = ImageManifest::from_slice(bytes)
        .map_err(|e| Reason::NotAci(format!("its manifest is invalid: {e}")))?;
    let id = ImageId::new(layer.object.digest.clone());
    input.expected.check_manifest(&manifest, context.platform)?;
    input.expected.check_id(&id)?;
    let policy = context.policy;
    let verification = match policy.demand(&manifest.name)? {
        Demand::Nothing(rule) => policy.unlooked(rule),
        Demand::Pin(rule) => policy.pinned(rule, &manifest, &id)?,
        Demand::Signature(rule) => {
            let vouched = match tap.check {
                Check::Signed { bytes, file } => {
                    verify(context, rule, bytes, &file, &manifest.name)?
                }
                Check::Missing(reason) => return Err(reason),
                Check::Skipped => return Err(Reason::Unsigned),
            };
            let verification = policy.verification(vouched, rule);
            context.tell_verified(&verification);
            verification
        }
    };
    let verification = keep_better(context, &id, &manifest.name, verification);
    let rootfs = Stack {
        dependencies: dependencies(&staging, &manifest, input.dependencies)?,
        path_whitelist: manifest.path_whitelist.clone(),
        layers: vec![layer],
    };
    let draft = ImageDraft {
        id: id.clone(),
        manifest,
        oci: None,
        rootfs,
        names: input.names,
        verification,
    };
    commit(context, &id, || staging.commit(draft))
}

/// The signature while the bytes pass.
enum Check {
    Signed {
        bytes: SignedBytes,
        file: PathBuf,
    },
    /// It is not there; whether it has to be says the image's name.
    Missing(Reason),
    /// It was not looked for.
    Skipped,
}

fn start(
    context: Context<'_>,
    signature: Option<Result<Signature, Reason>>,
) -> Result<Check, Reason> {
    let Signature { file, bytes } = match signature {
        Some(Ok(signature)) => signature,
        Some(Err(reason)) => return Ok(Check::Missing(reason)),
        None => return Ok(Check::Skipped),
    };
    match Signatures::parse(&bytes).and_then(Signatures::start) {
        Ok(bytes) => Ok(Check::Signed { bytes, file }),
        Err(source) => {
            let reason = Reason::Signature {
                file,
                name: None,
                source,
            };
            match context.policy.lets_in_unsigned() {
                true => Ok(Check::Missing(reason)),
                false => Err(reason),
            }
        }
    }
}

/// Hashes what passes for the signatures.
struct Tap<'a> {
    inner: Body<'a>,
    passed: u64,
    check: Check,
}

impl Read for Tap<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.passed += n as u64;
        if let Check::Signed { bytes, .. } = &mut self.check {
            bytes.update(&buf[..n]);
        }
        Ok(n)
    }
}

/// Who vouches for an image of this name.
fn verify(
    context: Context<'_>,
    rule: Option<&Rule>,
    signed: SignedBytes,
    file: &Path,
    name: &AcIdentifier,
) -> Result<Vouched, Reason> {
    let hashed = signed.finish();
    let now = now();
    let keys = context.policy.openpgp_keys(rule, name)?;
    let source = match hashed.judge(&keys, now) {
        Ok(key) => {
            return Ok(Vouched::OpenPgp {
                fingerprint: key.certificate.fingerprint(),
                identities: key.certificate.identities(),
                prefix: key.scope.prefix().to_owned(),
            });
        }
        Err(source) => source,
    };
    // A good signature by somebody who is trusted for other names is the
    // likeliest mistake, and the likeliest attack.
    if let SignatureError::UnknownKey { .. } = source {
        let elsewhere = context.policy.keystore().all()?;
        if let Ok(key) = hashed.judge(&elsewhere, now) {
            let fingerprint = key.certificate.fingerprint();
            let same = elsewhere
                .iter()
                .filter(|k| k.certificate.fingerprint() == fingerprint);
            let identities = key.certificate.identities();
            return Err(Reason::NotTrustedFor {
                name: name.clone(),
                identity: identities.first().cloned().unwrap_or_default(),
                trusted: same.map(|k| Scope::to_string(&k.scope)).collect(),
                fingerprint,
            });
        }
    }
    Err(Reason::Signature {
        file: file.to_owned(),
        name: Some(name.clone()),
        source,
    })
}

/// Seconds since 1970, as OpenPGP counts them.
fn now() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX))
}

/// The root file systems of the images that this one is built on. What is
/// stored has its own dependencies in its record already.
fn dependencies(
    staging: &Staging<'_>,
    manifest: &ImageManifest,
    resolve: &mut Resolve<'_>,
) -> Result<Vec<Stack<StagedLayer>>, Reason> {
    let mut find = |dependency: &Dependency| {
        let record = resolve(manifest, dependency)?;
        record
            .rootfs
            .map(&mut |layer: &RecordedLayer| Ok(staging.stored_layer(&layer.digest, layer.kind)?))
    };
    manifest.dependencies.iter().map(&mut find).collect()
}
