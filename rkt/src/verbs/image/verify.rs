//! `rkt image verify`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::fetching;
use crate::output::say;

#[derive(Debug, Args)]
#[command(
    about = "read every byte of images again and name what is damaged",
    after_help = "EXAMPLES:\n    rkt image verify example.com/app"
)]
pub(crate) struct Verify {
    /// The images, by id, its beginning, or name
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

impl Simple for Verify {
    fn run(self, context: &Context) -> Outcome {
        if self.images.is_empty() {
            return Err(Failure::new("must provide at least one image ID"));
        }
        let store = context.store()?;
        let mut damaged = 0;
        for word in &self.images {
            let record = fetching::find(word, &store)?;
            let damages = store.verify(&record)?;
            if damages.is_empty() {
                let id = &record.id;
                say(&format!(
                    "successfully verified checksum for image: {word:?} (\"{id}\")"
                ));
                continue;
            }
            damaged += 1;
            for damage in damages {
                context.tell(&format!(
                    "image {word:?}: object {} is damaged: {}",
                    damage.object, damage.what
                ));
            }
        }
        if damaged > 0 {
            return Err(Failure::new(format!(
                "{damaged} image(s) are damaged (remove them and fetch them again)"
            )));
        }
        Ok(ExitCode::SUCCESS)
    }
}
