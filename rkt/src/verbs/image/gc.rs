//! `rkt image gc`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use image_store::{Keep, StoreError};

use crate::cli::{self, Context, Simple};
use crate::failure::Outcome;
use crate::output;

#[derive(Debug, Args)]
#[command(
    about = "remove images that were not used for long, and what is left of others",
    after_help = "EXAMPLES:\n    rkt image gc\n    rkt image gc --grace-period=48h"
)]
pub(crate) struct Gc {
    /// How long an image that no pod uses is kept
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = cli::duration)]
    grace_period: Duration,
}

impl Simple for Gc {
    fn run(self, context: &Context) -> Outcome {
        let store = context.store()?;
        let keep = Keep {
            pods: context.pods()?.images()?,
        };
        let now = SystemTime::now();
        for record in store.images()?.into_iter().flatten() {
            let used = store.last_used(&record.id).unwrap_or(record.imported);
            let age = now
                .duration_since(used.max(record.imported))
                .unwrap_or_default();
            if age > self.grace_period && !keep.pods.contains(&record.id) {
                match store.remove(&record.id, &keep) {
                    // Somebody else has just removed it.
                    Err(StoreError::ImageNotFound(_)) => {}
                    other => {
                        other?;
                        context.tell(&format!("removed image \"{}\"", record.id));
                    }
                }
            }
        }
        let report = store.gc(&keep)?;
        if report.freed_bytes > 0 {
            context.tell(&format!("freed {}", output::bytes(report.freed_bytes)));
        }
        for left in &report.left {
            context.tell(left);
        }
        Ok(ExitCode::SUCCESS)
    }
}
