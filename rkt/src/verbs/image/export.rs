//! `rkt image export`.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::fetching;

#[derive(Debug, Args)]
#[command(
    about = "write an ACI back to a file, byte for byte as it was stored",
    after_help = "EXAMPLES:\n    rkt image export example.com/app app.aci"
)]
pub(crate) struct Export {
    /// The image, by id, its beginning, or name
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,
}

impl Simple for Export {
    fn run(self, context: &Context) -> Outcome {
        let store = context.store()?;
        let record = fetching::find(&self.image, &store)?;
        if record.oci.is_some() {
            return Err(Failure::new(format!(
                "image {:?} is an OCI image: this version exports ACIs only",
                self.image
            )));
        }
        // An ACI's id is the digest of its tar, which is its one layer.
        let mut from = store.open_object(record.id.digest())?;
        let mut options = OpenOptions::new();
        options.write(true).mode(0o644);
        if self.overwrite {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let mut to = options.open(&self.file).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::new("output ACI file exists (try --overwrite)")
            }
            _ => Failure::because(format!("cannot create {:?}", self.file), e),
        })?;
        io::copy(&mut from, &mut to)
            .and_then(|_| to.sync_all())
            .map_err(|e| Failure::because(format!("cannot write {:?}", self.file), e))?;
        Ok(ExitCode::SUCCESS)
    }
}
