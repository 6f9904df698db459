//! Which of the networks in `net.d` a pod joins, and in which order.
//!
//! Source: rkt's configuration reference, "Networks".

use std::path::{Path, PathBuf};

use super::config::{ConfigError, NetworkConfig};
use crate::network::NetChoice;

/// The built-in networks, as if they were files.
const BUILTIN: [(&str, &str); 2] = [
    (
        "99-default.conf",
        r#"{
    "cniVersion": "0.1.0",
    "name": "default",
    "type": "ptp",
    "ipMasq": true,
    "ipam": {
        "type": "host-local",
        "subnet": "172.16.28.0/24",
        "routes": [ { "dst": "0.0.0.0/0" } ]
    }
}
"#,
    ),
    (
        "99-default-restricted.conf",
        r#"{
    "cniVersion": "0.1.0",
    "name": "default-restricted",
    "type": "ptp",
    "ipMasq": false,
    "ipam": {
        "type": "host-local",
        "subnet": "172.31.0.0/16"
    }
}
"#,
    ),
];

/// The files of one `net.d` directory.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// The directory, for messages.
    pub directory: PathBuf,
    /// Names and texts, in any order; those that do not end in `.conf` or
    /// `.conflist` are left out of account.
    pub files: Vec<(String, String)>,
}

/// A network that is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its configuration.
    pub config: NetworkConfig,
    /// Its file; none if it is built in.
    pub file: Option<PathBuf>,
    /// Name of the file, by which networks are ordered.
    base: String,
}

/// A file of `net.d` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetdError {
    /// Its content is at fault.
    #[error("{file}: {source}", file = .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What and where.
        source: ConfigError,
    },
    /// The user named networks that are nowhere.
    #[error("networks not found: {}", .0.join(", "))]
    NotFound(Vec<String>),
}

/// Every network there is, ordered by file name, and what to warn about.
///
/// `layers` are in falling precedence; the built-in networks come last.
///
/// # Errors
/// [`NetdError::File`]: a file that cannot be read right is an error even when
/// nobody asked for its network, because nobody can know which one it was.
pub fn all(layers: &[Layer]) -> Result<(Vec<Found>, Vec<String>), NetdError> {
    let mut found: Vec<Found> = Vec::new();
    let mut warnings = Vec::new();
    for layer in layers {
        let mut files: Vec<_> = layer
            .files
            .iter()
            .filter(|(name, _)| is_config(name))
            .collect();
        files.sort();
        let here = found.len();
        for (name, text) in files {
            let file = layer.directory.join(name);
            let config = NetworkConfig::parse(text).map_err(|source| NetdError::File {
                file: file.clone(),
                source,
            })?;
            let taken = found
                .iter()
                .position(|other| other.config.name == config.name);
            match taken {
                Some(at) if at >= here => warnings.push(format!(
                    "{:?} network already defined, ignoring {name}",
                    config.name
                )),
                // A higher layer has it.
                Some(at) => warnings.push(overriding(&config.name, found[at].file.as_deref())),
                None => found.push(Found {
                    config,
                    file: Some(file),
                    base: name.clone(),
                }),
            }
        }
    }
    for (name, text) in BUILTIN {
        let config = NetworkConfig::parse(text).map_err(|source| NetdError::File {
            file: Path::new("built-in").join(name),
            source,
        })?;
        match found.iter().find(|other| other.config.name == config.name) {
            Some(other) => warnings.push(overriding(&config.name, other.file.as_deref())),
            None => found.push(Found {
                config,
                file: None,
                base: name.to_owned(),
            }),
        }
    }
    found.sort_by(|a, b| a.base.cmp(&b.base));
    Ok((found, warnings))
}

fn overriding(name: &str, by: Option<&Path>) -> String {
    let directory = by.and_then(Path::parent).unwrap_or(Path::new("net.d"));
    format!(
        "overriding {name:?} network with one from {}",
        directory.display()
    )
}

/// Whether a file of this name is a network's configuration.
pub fn is_config(name: &str) -> bool {
    name.ends_with(".conf") || name.ends_with(".conflist")
}

/// The networks of `found` that `choice` names, each with its arguments, in
/// the order of `found`: the first becomes `eth0`.
///
/// # Errors
/// [`NetdError::NotFound`].
pub fn choose(found: Vec<Found>, choice: &NetChoice) -> Result<Vec<(Found, String)>, NetdError> {
    let wanted = match choice {
        NetChoice::Host | NetChoice::None => return Ok(Vec::new()),
        NetChoice::All => return Ok(found.into_iter().map(|f| (f, String::new())).collect()),
        NetChoice::Named(wanted) => wanted,
    };
    let missing: Vec<String> = wanted
        .iter()
        .filter(|(name, _)| !found.iter().any(|f| f.config.name == *name))
        .map(|(name, _)| name.clone())
        .collect();
    if !missing.is_empty() {
        return Err(NetdError::NotFound(missing));
    }
    Ok(found
        .into_iter()
        .filter_map(|f| {
            let (_, args) = wanted.iter().find(|(name, _)| f.config.name == *name)?;
            Some((f, args.clone()))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(directory: &str, files: &[(&str, &str)]) -> Layer {
        Layer {
            directory: directory.into(),
            files: files
                .iter()
                .map(|(file, name)| {
                    (
                        (*file).to_owned(),
                        format!(r#"{{"name":"{name}","type":"plug","from":"{directory}"}}"#),
                    )
                })
                .collect(),
        }
    }

    fn names(found: &[Found]) -> Vec<&str> {
        found.iter().map(|f| f.config.name.as_str()).collect()
    }

    #[test]
    fn built_in_networks_come_last() {
        let (found, warnings) = all(&[]).unwrap();
        assert_eq!(names(&found), ["default-restricted", "default"]);
        assert!(warnings.is_empty());
        let (found, _) = all(&[layer(
            "/etc",
            &[("50-b.conf", "b"), ("10-a.conflist", "a"), ("x.txt", "c")],
        )])
        .unwrap();
        assert_eq!(names(&found), ["a", "b", "default-restricted", "default"]);
    }

    #[test]
    fn higher_layers_win_and_say_so() {
        let (found, warnings) = all(&[
            layer(
                "/etc",
                &[("2.conf", "a"), ("1.conf", "a"), ("3.conf", "default")],
            ),
            layer("/usr", &[("0.conf", "a"), ("9.conf", "b")]),
        ])
        .unwrap();
        assert_eq!(names(&found), ["a", "default", "b", "default-restricted"]);
        assert_eq!(found[0].file.as_deref(), Some(Path::new("/etc/1.conf")));
        assert_eq!(
            warnings,
            [
                "\"a\" network already defined, ignoring 2.conf",
                "overriding \"a\" network with one from /etc",
                "overriding \"default\" network with one from /etc",
            ]
        );
    }

    #[test]
    fn the_choice_is_in_file_order_and_names_what_is_missing() {
        let (found, _) = all(&[layer("/etc", &[("1.conf", "a"), ("2.conf", "b")])]).unwrap();
        let wanted = |names: &[&str]| {
            NetChoice::Named(
                names
                    .iter()
                    .map(|n| ((*n).to_owned(), format!("K={n}")))
                    .collect(),
            )
        };
        let chosen = choose(found.clone(), &wanted(&["default", "b"])).unwrap();
        assert_eq!(chosen[0].0.config.name, "b");
        assert_eq!(chosen[1].1, "K=default");
        assert_eq!(
            choose(found.clone(), &wanted(&["x", "a", "y"]))
                .unwrap_err()
                .to_string(),
            "networks not found: x, y"
        );
        assert_eq!(choose(found, &NetChoice::All).unwrap().len(), 4);
    }

    #[test]
    fn a_broken_file_is_named_with_its_line() {
        let mut broken = layer("/etc", &[]);
        broken
            .files
            .push(("5.conf".into(), "{\n\"name\": \"x\",\n}".into()));
        let error = all(&[broken]).unwrap_err().to_string();
        assert!(
            error.starts_with("/etc/5.conf: line 3, column 1: "),
            "{error}"
        );
    }
}
