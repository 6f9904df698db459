//! `rkt image …`.

mod cat_manifest;
mod du;
pub(super) mod export;
mod extract;
mod gc;
mod list;
mod render;
mod rm;
mod unpack;
mod verify;

pub(super) use cat_manifest::CatManifest;
pub(super) use du::Du;
pub(super) use export::Export;
pub(super) use extract::Extract;
pub(super) use gc::Gc;
pub(super) use list::List;
pub(super) use render::Render;
pub(super) use rm::Rm;
pub(super) use verify::Verify;
