//! `rkt image rm`.

use std::fs::File;
use std::io;
use std::process::ExitCode;

use clap::Args;
use image_store::{Keep, Store};
use sys::process::{Fork, Namespaces, SingleThread, fork};

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
    // A layer that is missing or damaged has nothing to be held.
    let layers = record.rootfs.layers();
    let held: Vec<File> = layers
        .filter_map(|layer| store.open_object(&layer.digest).ok())
        .collect();
    store.remove(&record.id, keep)?;
    // Where that cannot be, they were closed here.
    let _here = close_elsewhere(held);
    say(&format!(
        "successfully removed aci for image: \"{}\"",
        record.id
    ));
    Ok(())
}

/// Closes files in a process of its own. The kernel frees what a removed file
/// has taken when its last descriptor is closed, which takes a fifth of a
/// second for a gigabyte, and nobody has to wait for that: the file is gone,
/// and is freed after a crash as well.
fn close_elsewhere(files: Vec<File>) -> io::Result<()> {
    let proof = SingleThread::prove()?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    match fork(&proof, Namespaces::empty(), None)? {
        Fork::Parent(..) => Ok(()),
        Fork::Child => {
            // Who reads our output waits until nobody can write any more. The
            // child must not go on as if it were rkt, whatever happens.
            let _silent = rustix::stdio::dup2_stdin(&nothing)
                .and_then(|()| rustix::stdio::dup2_stdout(&nothing))
                .and_then(|()| rustix::stdio::dup2_stderr(&nothing));
            drop(files);
            std::process::exit(0)
        }
    }
}
