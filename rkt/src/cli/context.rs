//! What the global flags mean: where things are, and what is allowed.
//!
//! Everything is looked up on first use. A verb that needs no configuration
//! reads none.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use fetch::keystore::Keystore;
use fetch::policy::{Pins, Policy};
use image_store::{ImageRecord, Store};
use manifests::config::{Config, Directory};
use manifests::insecure::InsecureOptions;
use stage0::pods::{Pod, Pods, UuidPrefix};
use stage0::stage1::Stage1;

use super::Global;
use crate::failure::Failure;

/// Where the data is when nobody says otherwise.
const DATA_DIR: &str = "/var/lib/rkt";

/// One invocation of rkt.
#[derive(Debug)]
pub(crate) struct Context {
    global: Global,
    verb: &'static str,
    data_dir: OnceCell<PathBuf>,
}

impl Context {
    pub(super) fn new(global: Global, verb: &'static str) -> Self {
        Self {
            global,
            verb,
            data_dir: OnceCell::new(),
        }
    }

    /// Tells the user something about what is being done.
    pub(crate) fn tell(&self, text: &str) {
        eprintln!("{}: {text}", self.verb);
    }

    /// The word that messages begin with.
    pub(crate) fn verb(&self) -> &'static str {
        self.verb
    }

    /// Is every cause to be told?
    pub(crate) fn debug(&self) -> bool {
        self.global.debug
    }

    /// The global flags as typed.
    pub(crate) fn global(&self) -> &Global {
        &self.global
    }

    /// The checks that were switched off.
    pub(crate) fn insecure(&self) -> InsecureOptions {
        self.global.insecure_options
    }

    /// The data directory: absolute, free of links, not necessarily there.
    pub(crate) fn data_dir(&self) -> Result<&Path, Failure> {
        if let Some(dir) = self.data_dir.get() {
            return Ok(dir);
        }
        let dir = match &self.global.dir {
            Some(dir) if dir.as_os_str().is_empty() => {
                return Err(Failure::new("--dir must not be empty"));
            }
            Some(dir) => dir.clone(),
            None => {
                let configured = self.config(&[Directory::Paths])?.paths.data;
                configured.unwrap_or_else(|| PathBuf::from(DATA_DIR))
            }
        };
        let dir = absolute(&dir)?;
        Ok(self.data_dir.get_or_init(|| dir))
    }

    /// What these directories of the configuration say, all layers together.
    /// Whom to trust is not for users to say: as with keys, their layer does
    /// not count there.
    pub(crate) fn config(&self, directories: &[Directory]) -> Result<Config, Failure> {
        let machine = [&*self.global.system_config, &*self.global.local_config];
        let mut layers = machine.to_vec();
        layers.extend(self.global.user_config.as_deref());
        let others: Vec<Directory> = directories
            .iter()
            .copied()
            .filter(|d| *d != Directory::Trust)
            .collect();
        let read = |layers: &[&Path], directories: &[Directory]| {
            stage0::config::read(layers, directories)
                .map_err(|e| Failure::because("cannot get configuration", e))
        };
        let mut config = read(&layers, &others)?;
        if others.len() < directories.len() {
            config.trust = read(&machine, &[Directory::Trust])?.trust;
        }
        Ok(config)
    }

    /// Which images are let in, and which may run.
    pub(crate) fn policy(&self) -> Result<Policy, Failure> {
        let global = self.global();
        Ok(Policy::new(
            self.config(&[Directory::Trust])?.trust,
            Keystore::new(&global.system_config, &global.local_config),
            Pins::new(self.data_dir()?),
            self.insecure(),
        ))
    }

    /// Refuses images that were let in once and would not be now.
    pub(crate) fn check_trust(&self, images: &[ImageRecord]) -> Result<(), Failure> {
        let policy = self.policy()?;
        for image in images {
            policy.may_run(image)?;
        }
        Ok(())
    }

    /// The configuration directories that networks are looked for in, the
    /// highest first.
    pub(crate) fn network_layers(&self) -> [&Path; 2] {
        [&self.global.local_config, &self.global.system_config]
    }

    /// The pods.
    pub(crate) fn pods(&self) -> Result<Pods, Failure> {
        Ok(Pods::new(self.data_dir()?))
    }

    /// The one pod whose UUID starts as typed.
    pub(crate) fn pod(&self, typed: &str) -> Result<Pod, Failure> {
        let find = || {
            self.pods()?
                .find(&UuidPrefix::new(typed)?)
                .map_err(Failure::from)
        };
        find()
    }

    /// The supervisor: the one that was typed, or configured, or that stands
    /// beside rkt.
    pub(crate) fn stage1(&self, typed: Option<&Path>) -> Result<Stage1, Failure> {
        if typed.is_some() {
            return Ok(Stage1::find(typed)?);
        }
        let Some(location) = self.config(&[Directory::Stage1])?.stage1.location else {
            return Ok(Stage1::find(None)?);
        };
        let path = location.strip_prefix("file://").unwrap_or(&location);
        if !path.starts_with('/') {
            return Err(Failure::new(format!(
                "cannot use the configured stage1 {location:?}: this version takes a path of the \
                 host only"
            )));
        }
        Ok(Stage1::find(Some(Path::new(path)))?)
    }

    /// The image store.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        let verity = match self.global.verity {
            Some(verity) => verity,
            None => {
                let configured = self.config(&[Directory::Store])?.store.verity;
                configured.unwrap_or_default()
            }
        };
        Ok(Store::open(self.data_dir()?).with_verity(verity))
    }
}

/// Links are resolved as far as the path exists, so that one directory has one
/// name: the shared image mounts are found by it.
fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    match dir.canonicalize() {
        Ok(dir) => Ok(dir),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let dir = std::path::absolute(dir).map_err(|e| {
                Failure::because(format!("cannot use {dir:?} as data directory"), e)
            })?;
            match (dir.parent(), dir.file_name()) {
                (Some(parent), Some(name)) => Ok(absolute(parent)?.join(name)),
                _ => Ok(dir),
            }
        }
        Err(e) => Err(Failure::because(
            format!("cannot use {dir:?} as data directory"),
            e,
        )),
    }
}
