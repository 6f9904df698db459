//! `rkt image extract`.

use clap::Args;
use image_store::Store;

use super::unpack::Unpack;
use crate::cli::{Context, Simple};
use crate::failure::Outcome;

#[derive(Debug, Args)]
#[command(
    about = "unpack an image into a directory, without its dependencies",
    after_help = "EXAMPLES:\n    rkt image extract example.com/app /tmp/app\n    \
        rkt image extract --rootfs-only --overwrite example.com/app /tmp/rootfs"
)]
pub(crate) struct Extract {
    #[command(flatten)]
    unpack: Unpack,
}

impl Simple for Extract {
    fn run(self, context: &Context) -> Outcome {
        self.unpack.run(context, Store::extract)
    }
}
