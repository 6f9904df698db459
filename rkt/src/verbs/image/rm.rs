//! `rkt image rm`.

use std::process::ExitCode;

use clap::Args;
use image_store::{Keep, Store};

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::fetching;
use crate::output::say;

#[derive(Debug, Args)]
#[command(
    about = "remove images from the store",
    after_help = "EXAMPLES:\n    rkt image rm sha512-a03f6bad952b\n    rkt image rm example.com/app:1.0"
)]
pub(crate) struct Rm {
    /// The images, by id, its beginning, or name
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

impl Simple for Rm {
    fn run(self, context: &Context) -> Outcome {
        if self.images.is_empty() {
            return Err(Failure::new("must provide at least one image ID"));
        }
        let store = context.store()?;
        let keep = Keep {
            pods: context.pods()?.images()?,
        };
        let (mut removed, mut kept) = (0, 0);
        for word in &self.images {
            match remove(word, &store, &keep, context) {
                Ok(()) => removed += 1,
                Err(failure) => {
                    failure.report(context.verb(), context.debug());
                    kept += 1;
                }
            }
        }
        if removed > 0 {
            context.tell(&format!("{removed} image(s) successfully removed"));
        }
        if kept > 0 {
            // The original exits with 0 here, which no script can want.
            return Err(Failure::new(format!("{kept} image(s) cannot be removed")));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn remove(word: &str, store: &Store, keep: &Keep, context: &Context) -> Result<(), Failure> {
    let record = fetching::find(word, store, context)?;
    store.remove(&record.id, keep)?;
    say(&format!(
        "successfully removed aci for image: \"{}\"",
        record.id
    ));
    Ok(())
}
