//! `rkt gc`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use image_store::Keep;
use stage0::networks;
use stage0::pods::{Collector, Event};

use crate::cli::{self, Context, Simple};
use crate::failure::{Failure, Outcome};
use crate::output::say;

#[derive(Debug, Args)]
#[command(
    about = "mark pods that ended and delete those marked long enough ago",
    after_help = "EXAMPLES:\n    rkt gc\n    rkt gc --grace-period=0s"
)]
pub(crate) struct Gc {
    /// Age of a mark at which a pod is deleted
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = cli::duration)]
    grace_period: Duration,
    /// Age at which a prepared pod that nobody ran is deleted
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = cli::duration)]
    expire_prepared: Duration,
    /// Mark only
    #[arg(long)]
    mark_only: bool,
}

impl Simple for Gc {
    fn run(self, context: &Context) -> Outcome {
        let collector = Collector {
            grace: self.grace_period,
            expire_prepared: self.expire_prepared,
            mark_only: self.mark_only,
        };
        let pods = context.pods()?;
        collector.run(&pods, &mut |event| tell(event, context.debug()))?;
        let layers = context.network_layers();
        for line in networks::collect(&context.stage1(None)?, &layers)? {
            eprintln!("gc: {line}");
        }
        // What crashed fetches left; the images stay as they are.
        let keep = Keep {
            pods: pods.images()?,
        };
        for left in context.store()?.gc(&keep)?.left {
            context.tell(&left);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One line for every step; failures of single pods leave the exit code alone.
pub(super) fn tell(event: Event, debug: bool) {
    match event {
        Event::Marked(uuid) => eprintln!("gc: moving pod \"{uuid}\" to garbage"),
        Event::Aborted(uuid) => eprintln!("gc: moving failed prepare \"{uuid}\" to garbage"),
        Event::Expired(uuid) => eprintln!("gc: moving expired prepared pod \"{uuid}\" to garbage"),
        Event::WithinGrace(uuid, grace) => eprintln!(
            "gc: pod \"{uuid}\" not removed: still within grace period ({})",
            cli::go_duration(grace)
        ),
        Event::Collecting(uuid) => say(&format!("Garbage collecting pod \"{uuid}\"")),
        Event::Failed(uuid, error) => {
            Failure::because(format!("unable to remove pod \"{uuid}\""), error).report("gc", debug);
        }
    }
}
