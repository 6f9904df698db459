//! What `rkt image extract` and `rkt image render` have in common.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use image_store::{ImageRecord, Store, StoreError};

use crate::cli::Context;
use crate::failure::{Failure, Outcome};
use crate::fetching;
use crate::publish::NewDir;

#[derive(Debug, Args)]
pub(super) struct Unpack {
    /// The image, by id, its beginning, or name
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The directory to make
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only the root file system, without rootfs/ and the manifest
    #[arg(long)]
    rootfs_only: bool,
    /// Replace the directory if it exists
    #[arg(long)]
    overwrite: bool,
}

impl Unpack {
    /// Makes the directory; `fill` writes the root file system.
    pub(super) fn run(
        self,
        context: &Context,
        fill: fn(&Store, &ImageRecord, BorrowedFd<'_>) -> Result<(), StoreError>,
    ) -> Outcome {
        let store = context.store()?;
        let record = fetching::find(&self.image, &store, context)?;
        let out = NewDir::new(&self.directory, self.overwrite, context.data_dir()?)?;
        if self.rootfs_only {
            fill(&store, &record, out.open()?.as_fd())?;
        } else {
            let (manifest, rootfs) = (out.path().join("manifest"), out.path().join("rootfs"));
            let failed = |e| Failure::because(format!("cannot write into {:?}", out.path()), e);
            fs::write(manifest, store.manifest_bytes(&record)?).map_err(failed)?;
            fs::create_dir(&rootfs).map_err(failed)?;
            fill(
                &store,
                &record,
                fs::File::open(rootfs).map_err(failed)?.as_fd(),
            )?;
        }
        out.publish()?;
        Ok(ExitCode::SUCCESS)
    }
}
