//! Where a pod's life is written down.
//!
//! A pod is in the state its directory is in, together with whether somebody
//! holds the exclusive lock on that directory. `rename` is the only
//! transition, so a crash leaves a pod before or after one, never between, and
//! the kernel drops the lock when its holder dies.
//!
//! ```text
//!              prepare            run-prepared
//! embryo ──▶ prepare ──▶ prepared ──────────▶ run ──▶ exited-garbage ──▶ garbage ──▶ gone
//!                │  └────────────── run ───────▲                           ▲
//!                │            └──── rm, gc: expired ───────────────────────┤
//!                └── aborted ──────────────────────────────────────────────┘
//! ```
//!
//! Invariants: a pod never goes back; no process holds two pod locks; nothing
//! is deleted by anybody who does not hold its lock; readers only try locks.
//! Absent on purpose: a database, a daemon, and any lock shared by two pods.

mod collect;
mod error;
mod files;
mod lookup;
mod owned;
mod place;
mod remove;
mod undo;

pub use collect::{Collector, Event, Removal};
pub use error::PodError;
pub use files::{APPS, CREATED, MANIFEST};
pub use lookup::{Pod, UuidPrefix};
pub use owned::OwnedPod;
pub use place::{Place, State};

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The pods below one data directory. Opening it touches nothing.
#[derive(Debug, Clone)]
pub struct Pods {
    dir: PathBuf,
}

impl Pods {
    /// The pods of the data directory `data_dir`; it need not exist yet.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            dir: data_dir.join("pods"),
        }
    }

    fn place(&self, place: Place) -> PathBuf {
        self.dir.join(place.dir_name())
    }

    fn path(&self, place: Place, uuid: Uuid) -> PathBuf {
        let mut path = self.place(place);
        path.push(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
        path
    }

    /// Makes the directory of every place; those that exist stay as they are.
    fn make_places(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o750);
        for place in Place::ALL {
            builder.create(self.place(place))?;
        }
        Ok(())
    }
}
