//! The layers of an image, several at a time.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use image_store::{LayerKind, LayerWriter, StagedLayer, Staging};
use manifests::digest::Digest;

use super::Context;
use crate::error::Reason;
use crate::progress::{Step, StepKind};
use crate::stream::{self, Known, Shared, StreamError};
use crate::transport::Body;

/// Opens the packed bytes of a layer when its turn comes.
pub(super) type Open<'a> = Box<dyn Fn() -> Result<Body<'a>, Reason> + Sync + 'a>;

/// A layer that is wanted.
pub(super) struct Wanted<'a> {
    /// How messages and progress call it.
    pub(super) name: Digest,
    /// Of the uncompressed tar.
    pub(super) diff_id: Digest,
    /// Of the packed bytes.
    pub(super) size: u64,
    /// Whether what is opened checks the packed bytes itself.
    pub(super) has_digest: bool,
    pub(super) open: Open<'a>,
}

/// Brings every layer into staging, the wanted order kept. What the store has
/// is not transferred again; what is wanted twice comes once.
///
/// The first failure cancels the others.
pub(super) fn stage(
    context: Context<'_>,
    staging: &Staging<'_>,
    wanted: &[Wanted<'_>],
) -> Result<Vec<StagedLayer>, Reason> {
    let mut seen = HashSet::new();
    let mut queue: Vec<&Wanted<'_>> = wanted.iter().filter(|w| seen.insert(&w.diff_id)).collect();
    // The largest first: what starts last should be over soon.
    queue.sort_by_key(|w| std::cmp::Reverse(w.size));

    let missing = queue
        .iter()
        .filter(|w| !context.store.has_object(&w.diff_id));
    context.progress.plan(missing.map(|w| w.size).sum());
    let next = AtomicUsize::new(0);
    let shared = Shared::default();
    let done = Mutex::new(HashMap::new());
    let failed = Mutex::new(None);
    let work = || {
        while let Some(layer) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            match stage_one(context, staging, layer, &shared) {
                Ok(staged) => {
                    lock(&done).insert(layer.diff_id.clone(), staged);
                }
                Err(reason) => {
                    shared.cancel();
                    lock(&failed).get_or_insert(reason);
                    return;
                }
            }
            if shared.is_cancelled() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        let helpers = parallelism().min(queue.len()).saturating_sub(1);
        for _ in 0..helpers {
            scope.spawn(work);
        }
        work();
    });
    if let Some(reason) = into_inner(failed) {
        return Err(reason);
    }
    let done = into_inner(done);
    Ok(wanted.iter().map(|w| done[&w.diff_id].clone()).collect())
}

/// One layer keeps more than one core busy, two keep two, and a slow network
/// wants a few connections; more only fill memory.
fn parallelism() -> usize {
    thread::available_parallelism()
        .map_or(2, NonZero::get)
        .clamp(2, 6)
}

/// A thread that panicked takes the fetch with it, so what it left is not used.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What progress says of a layer.
pub(super) fn step(context: Context<'_>, name: &Digest, size: u64) -> Box<dyn Step> {
    let hex = name.hex();
    let name = &hex[..hex.len().min(12)];
    context.progress.step(StepKind::Layer, name, Some(size))
}

fn stage_one(
    context: Context<'_>,
    staging: &Staging<'_>,
    layer: &Wanted<'_>,
    shared: &Shared,
) -> Result<StagedLayer, Reason> {
    let wrap = |reason| match reason {
        cancelled @ Reason::Stream(StreamError::Cancelled) => cancelled,
        reason => Reason::Layer {
            digest: layer.name.clone(),
            source: Box::new(reason),
        },
    };
    let mut step = step(context, &layer.name, layer.size);
    if context.store.has_object(&layer.diff_id) {
        let staged = staging
            .stored_layer(&layer.diff_id, LayerKind::Oci)
            .map_err(|e| wrap(e.into()))?;
        step.already_stored();
        return Ok(staged);
    }
    let mut body = (layer.open)().map_err(wrap)?;
    let writer = staging
        .layer(layer.diff_id.algorithm(), LayerKind::Oci)
        .map_err(|e| wrap(e.into()))?;
    let limits = context.limits;
    let staged = pour(&mut body, writer, Some(&layer.diff_id), |source, sink| {
        let known = match layer.has_digest {
            true => Known::Digest,
            false => Known::Size,
        };
        stream::run(source, known, sink, limits, shared, step.as_mut())
    })
    .map_err(wrap)?;
    step.done();
    Ok(staged)
}

/// Streams into a layer and ends it. If the layer could not take the bytes it
/// knows better why than the stream.
pub(super) fn pour<R: Read + Send>(
    source: &mut R,
    mut writer: LayerWriter,
    expected: Option<&Digest>,
    run: impl FnOnce(&mut R, &mut LayerWriter) -> Result<u64, StreamError>,
) -> Result<StagedLayer, Reason> {
    match run(source, &mut writer) {
        Ok(_) => Ok(writer.finish(expected)?),
        Err(StreamError::Sink(error)) => match writer.finish(None) {
            Err(reason) => Err(reason.into()),
            Ok(_) => Err(StreamError::Sink(error).into()),
        },
        Err(error) => Err(error.into()),
    }
}
