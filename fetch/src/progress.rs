//! What a fetch tells while it works.
//!
//! The fetcher reports steps; how they look is the front end's business.
//! Calls come from several threads at once and must return quickly.

use std::sync::Arc;

/// What a step is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A layer (or a whole ACI) is transferred, inflated and written.
    Layer,
    /// Everything arrived; the index is written and the image published.
    Commit,
}

/// Takes the reports of a fetch.
pub trait Progress: Send + Sync {
    /// A fetch of the image `name` begins.
    fn image(&self, name: &str);
    /// A line for people about something that was decided, for instance whose
    /// signature was verified.
    fn note(&self, text: &str);
    /// The layers of the image are known: those that are not stored have
    /// `bytes` together. The steps for them follow.
    fn plan(&self, bytes: u64);
    /// A step begins: `name` tells which (a shortened digest, a file name),
    /// `total` is the size of what is transferred in bytes, where it is known.
    fn step(&self, kind: StepKind, name: &str, total: Option<u64>) -> Box<dyn Step>;
}

/// One step under way; dropping it without [`Step::done`] means it failed.
pub trait Step: Send {
    /// That many more bytes were transferred.
    fn advance(&mut self, bytes: u64);
    /// The step needed no (more) transfer because the store has the object.
    fn already_stored(self: Box<Self>);
    /// The step succeeded.
    fn done(self: Box<Self>);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Silent {
    /// As the shared object that settings hold.
    pub fn shared() -> Arc<dyn Progress> {
        Arc::new(Self)
    }
}

impl Progress for Silent {
    fn image(&self, _: &str) {}
    fn note(&self, _: &str) {}
    fn plan(&self, _: u64) {}
    fn step(&self, _: StepKind, _: &str, _: Option<u64>) -> Box<dyn Step> {
        Box::new(Self)
    }
}

impl Step for Silent {
    fn advance(&mut self, _: u64) {}
    fn already_stored(self: Box<Self>) {}
    fn done(self: Box<Self>) {}
}
