//! `rkt image render`.

use clap::Args;
use image_store::Store;

use super::unpack::Unpack;
use crate::cli::{Context, Simple};
use crate::failure::Outcome;

#[derive(Debug, Args)]
#[command(
    about = "write what an app of the image sees into a directory, dependencies included",
    after_help = "EXAMPLES:\n    rkt image render example.com/app /tmp/app\n    \
        rkt image render --rootfs-only --overwrite example.com/app /tmp/rootfs"
)]
pub(crate) struct Render {
    #[command(flatten)]
    unpack: Unpack,
}

impl Simple for Render {
    fn run(self, context: &Context) -> Outcome {
        self.unpack.run(context, Store::render)
    }
}
