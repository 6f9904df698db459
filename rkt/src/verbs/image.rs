//! `rkt image …`.

mod cat_manifest;
mod export;
mod gc;
mod list;
mod rm;
mod verify;

pub(super) use cat_manifest::CatManifest;
pub(super) use export::Export;
pub(super) use gc::Gc;
pub(super) use list::List;
pub(super) use rm::Rm;
pub(super) use verify::Verify;
