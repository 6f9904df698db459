//! `rkt trust accept`.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use fetch::policy::{Pin, pin_name};
use manifests::image_id::ImageId;

use crate::cli::{Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::output::say;

#[derive(Debug, Args)]
#[command(
    about = "accept another image under a pinned name",
    after_help = "\
The refusal of `rkt fetch` tells the name and the ID.

EXAMPLES:
    rkt trust accept registry.example.com/app:1.0 sha256-9f86d081…
    rkt trust accept docker://registry.example.com/app:1.0 sha256-9f86d081…"
)]
pub(crate) struct Accept {
    /// The image's name with its labels
    #[arg(value_name = "NAME", required = true)]
    name: String,
    /// The whole ID of the image that it may be from now on
    #[arg(value_name = "ID", required = true)]
    id: String,
}

impl Simple for Accept {
    fn run(self, context: &Context) -> Outcome {
        let id: ImageId = self.id.parse().map_err(|e| {
            Failure::because(format!("{:?} is not the whole ID of an image", self.id), e)
        })?;
        let name = pin_name(&super::named(&self.name, context)?);
        let policy = context.policy()?;
        let before = policy.pins().get(&name)?;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let pin = Pin {
            name: name.clone(),
            id: id.clone(),
            since: since.map_or(0, |d| d.as_secs()),
        };
        if before.as_ref().is_some_and(|before| before.id == id) {
            say(&format!("{name} is pinned to {id} already"));
            return Ok(ExitCode::SUCCESS);
        }
        policy.pins().accept(&pin)?;
        say(&match before {
            Some(before) => format!("Pinned {name} to {id}, no longer to {}", before.id),
            None => format!("Pinned {name} to {id}"),
        });
        Ok(ExitCode::SUCCESS)
    }
}
