//! `rkt run`.

use std::path::PathBuf;

use clap::Args;
use stage0::images::Images as PodImages;
use stage0::pods::OwnedPod;

use crate::cli::{
    Context, EnvironmentFlags, ImageFlags, Images, PodFlags, RuntimeFlags, WithImages,
};
use crate::failure::{Failure, Outcome};
use crate::runtime::{self, How};
use crate::wishes::{self, Wishes};

#[derive(Debug, Args)]
#[command(
    about = "run image(s) in a pod",
    override_usage = "rkt run [OPTIONS] IMAGE [PER-APP OPTIONS] [-- ARGUMENTS [---]] [IMAGE …]",
    after_help = "\
EXAMPLES:
    rkt run docker://busybox -- echo hello
    rkt run --net=lan:IP=10.1.0.7,default --port=http:127.0.0.1:8080 example.com/web
    rkt run --net=host --volume=data,kind=host,source=/srv/data \\
        example.com/web:1.0 --mount=volume=data,target=/data
    rkt run example.com/app --name=app -- --verbose --- example.com/log --exec=/bin/tail -- -f /log
    rkt run --private-users --volume=data,kind=host,source=/srv/data \\
        example.com/web:1.0 --mount=volume=data,target=/data
    rkt run --interactive docker://debian --exec=/bin/bash
    uuid=$(rkt run --detach example.com/web) && rkt logs --follow $uuid

EXIT STATUS:
    That of the first app that failed, else 0. An app killed by signal N counts as N. 203: a
    program is missing or cannot be executed. 254: the pod could not be run."
)]
pub(crate) struct Run {
    #[command(flatten)]
    pod: PodFlags,
    #[command(flatten)]
    environment: EnvironmentFlags,
    #[command(flatten)]
    fetching: ImageFlags,
    #[command(flatten)]
    runtime: RuntimeFlags,
    /// Write the pod's UUID to a file
    #[arg(long, value_name = "FILE")]
    uuid_file_save: Option<PathBuf>,
}

impl WithImages for Run {
    const APP_ARGUMENTS: bool = true;

    fn run(self, images: Images, context: &Context) -> Outcome {
        if self.runtime.interactive && images.apps.len() > 1 {
            return Err(Failure::new("interactive option only supports one image"));
        }
        let runtime = runtime::runtime(&self.runtime, context)?;
        runtime::check_ports(self.pod.port.len() + self.pod.publish.len(), &runtime)?;
        let stage1 = context.stage1(self.pod.stage1_path.as_deref())?;
        let store = context.store()?;
        let wishes = Wishes {
            images,
            pod: &self.pod,
            environment: &self.environment,
            fetching: &self.fetching,
            quiet: false,
        };
        let blueprint = wishes.blueprint(&store, context)?;
        let mut pod = OwnedPod::create(&context.pods()?)?;
        if let Some(file) = &self.uuid_file_save {
            std::fs::write(file, pod.uuid().to_string())
                .map_err(|e| Failure::because(format!("cannot save the UUID to {file:?}"), e))?;
        }
        let how = How::new(&pod, &blueprint.manifest, &stage1, &self.runtime, context);
        let pod_images = PodImages::new(&store);
        wishes::fill(
            &mut pod,
            &blueprint,
            &pod_images,
            self.pod.layout(),
            context,
        )?;
        runtime::start(pod, &blueprint, &pod_images, &runtime, how, context)
    }
}
