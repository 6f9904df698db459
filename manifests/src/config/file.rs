//! One configuration file.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::error::{ConfigError, Problem};
use super::{Config, Directory};

/// What every file says first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    rkt_kind: String,
    #[serde(default)]
    rkt_version: String,
}

impl Config {
    /// Adds what a file of this layer says. `file` names it in errors.
    ///
    /// # Errors
    /// What is wrong with the file, or that it repeats what another of the
    /// layer said; the layer is unchanged then.
    pub fn add_file(
        &mut self,
        directory: Directory,
        file: &str,
        bytes: &[u8],
    ) -> Result<(), ConfigError> {
        let name = || file.to_owned();
        // serde would take a list for an object whose members come in order.
        let _an_object: BTreeMap<String, IgnoredAny> = parse(file, bytes)?;
        let header: Header = parse(file, bytes)?;
        if header.rkt_kind.is_empty() {
            return Err(ConfigError::NoKind { file: name() });
        }
        if header.rkt_version.is_empty() {
            return Err(ConfigError::NoVersion { file: name() });
        }
        let kind = header.rkt_kind.as_str();
        if !directory.kinds().contains(&kind) {
            return Err(ConfigError::WrongKind {
                directory: directory.as_str(),
                expected: directory.kinds().join(", "),
                file: name(),
                kind: header.rkt_kind,
            });
        }
        if header.rkt_version != "v1" {
            return Err(ConfigError::NoParser {
                kind: header.rkt_kind,
                version: header.rkt_version,
            });
        }
        let added = match kind {
            "auth" => self.add_auth(parse(file, bytes)?),
            "dockerAuth" => self.add_docker_auth(parse(file, bytes)?),
            "host" => self.add_host(parse(file, bytes)?),
            "defaultRegistry" => self.add_default_registry(parse(file, bytes)?),
            "paths" => self.paths.add(parse(file, bytes)?),
            "store" => self.store.add(parse(file, bytes)?),
            "trust" => self.trust.add(parse(file, bytes)?, file),
            _ => self.stage1.add(parse(file, bytes)?),
        };
        added.map_err(|source: Problem| ConfigError::Content {
            file: name(),
            source,
        })
    }
}

fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, ConfigError> {
    serde_json::from_slice(bytes).map_err(|source| ConfigError::Json {
        file: file.to_owned(),
        source,
    })
}
