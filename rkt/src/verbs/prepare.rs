//! `rkt prepare`.

use std::process::ExitCode;

use clap::Args;
use stage0::images::Images as PodImages;
use stage0::pods::OwnedPod;
use stage0::prepare;

use crate::cli::{Context, EnvironmentFlags, ImageFlags, Images, PodFlags, WithImages};
use crate::failure::Outcome;
use crate::output::say;
use crate::wishes::{self, Wishes};

#[derive(Debug, Args)]
#[command(
    about = "prepare image(s) to run later as a pod",
    override_usage = "rkt prepare [OPTIONS] IMAGE [PER-APP OPTIONS] [-- ARGUMENTS [---]] [IMAGE …]",
    after_help = "\
EXAMPLES:
    rkt prepare --quiet docker://busybox -- echo hello
    rkt run-prepared $(rkt prepare --quiet docker://busybox -- echo hello)"
)]
pub(crate) struct Prepare {
    #[command(flatten)]
    pod: PodFlags,
    #[command(flatten)]
    environment: EnvironmentFlags,
    #[command(flatten)]
    fetching: ImageFlags,
    /// Print nothing but the UUID
    #[arg(long)]
    quiet: bool,
}

impl WithImages for Prepare {
    const APP_ARGUMENTS: bool = true;

    fn run(self, images: Images, context: &Context) -> Outcome {
        let store = context.store()?;
        let wishes = Wishes {
            images,
            pod: &self.pod,
            environment: &self.environment,
            fetching: &self.fetching,
            quiet: self.quiet,
        };
        let blueprint = wishes.blueprint(&store, context)?;
        let mut pod = OwnedPod::create(&context.pods()?)?;
        let uuid = pod.uuid();
        let pod_images = PodImages::new(&store);
        wishes::fill(
            &mut pod,
            &blueprint,
            &pod_images,
            self.pod.layout(),
            context,
        )?;
        prepare::finish(pod, &blueprint)?;
        say(&uuid.to_string());
        Ok(ExitCode::SUCCESS)
    }
}
