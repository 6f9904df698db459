//! `rkt run-prepared`.

use std::path::PathBuf;

use clap::Args;
use stage0::images::Images as PodImages;
use stage0::pods::{PodError, State};
use stage0::prepare::{self, Blueprint};

use crate::cli::{Context, RuntimeFlags, Simple};
use crate::failure::{Failure, Outcome};
use crate::runtime::{self, How};

#[derive(Debug, Args)]
#[command(
    about = "run a pod that was prepared",
    after_help = "EXAMPLES:\n    rkt run-prepared 5bc080ca\n    rkt run-prepared --net=host 5bc080ca"
)]
pub(crate) struct RunPrepared {
    #[command(flatten)]
    pod: super::OnePod,
    #[command(flatten)]
    runtime: RuntimeFlags,
    /// The pod's supervisor [default: rkt-stage1 beside rkt]
    #[arg(long, value_name = "FILE")]
    stage1_path: Option<PathBuf>,
}

impl Simple for RunPrepared {
    fn run(self, context: &Context) -> Outcome {
        let runtime = runtime::runtime(&self.runtime, context)?;
        let pod = self.pod.find(context)?;
        let uuid = pod.uuid();
        let not_prepared = || Failure::new(format!("pod \"{uuid}\" is not prepared"));
        if pod.state() != State::Prepared {
            return Err(not_prepared());
        }
        let manifest = pod.manifest()?;
        runtime::check_ports(manifest.ports.len(), &runtime)?;
        let stage1 = context.stage1(self.stage1_path.as_deref())?;
        let store = context.store()?;
        let images = prepare::find_images(&manifest, &store)?;
        context.check_trust(&images)?;
        let blueprint = Blueprint {
            manifest,
            text: None,
            images,
        };
        let owned = match pod.take() {
            Ok(owned) => owned,
            // Somebody else ran it while we looked.
            Err(e @ (PodError::Gone(_) | PodError::Busy { .. })) => {
                return Err(Failure::because("cannot transition to run", e));
            }
            Err(e) => return Err(e.into()),
        };
        let how = How::new(&owned, &blueprint.manifest, &stage1, &self.runtime, context);
        let pod_images = PodImages::new(&store);
        runtime::start(owned, &blueprint, &pod_images, &runtime, how, context)
    }
}
