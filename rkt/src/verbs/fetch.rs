//! `rkt fetch`.

use std::process::ExitCode;

use clap::Args;
use fetch::PullPolicy;
use manifests::platform::Platform;

use crate::cli::{Context, ImageFlags, Images, WithImages};
use crate::failure::{Failure, Outcome};
use crate::fetching;
use crate::output::say;

/// Hexadecimal digits of an id without `--full`.
const SHORT: usize = 32;

#[derive(Debug, Args)]
#[command(
    about = "fetch image(s) and store them",
    override_usage = "rkt fetch [OPTIONS] IMAGE [--signature=FILE] [IMAGE …]",
    after_help = "\
EXAMPLES:
    rkt fetch example.com/app:1.0
    rkt fetch ./app.aci --signature=./app.aci.asc
    rkt --insecure-options=image fetch docker://busybox
    rkt --insecure-options=image fetch oci:/srv/layout:latest
    rkt --insecure-options=image fetch --platform=linux/arm64 docker://busybox"
)]
pub(crate) struct Fetch {
    /// Print the whole ids
    #[arg(long)]
    full: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
    /// Fetch what is built for OS/ARCHITECTURE[/VARIANT] [default: this machine]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    #[command(flatten)]
    fetching: ImageFlags,
}

impl WithImages for Fetch {
    const APP_ARGUMENTS: bool = false;

    fn run(self, images: Images, context: &Context) -> Outcome {
        if images.apps.is_empty() {
            return Err(Failure::new("must provide at least one image"));
        }
        let policy = self.fetching.policy(|text| context.tell(text))?;
        let policy = policy.unwrap_or(PullPolicy::Update);
        let platform = self.platform.unwrap_or_else(Platform::host);
        let store = context.store()?;
        for record in fetching::images_for(&platform, &images, policy, self.quiet, &store, context)?
        {
            if self.full {
                say(&record.id.to_string());
            } else {
                say(&record.id.short(SHORT));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
