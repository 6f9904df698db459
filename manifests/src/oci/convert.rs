//! From an OCI or Docker image's configuration to an appc image manifest.
//!
//! The rules are those of the old converter with its known defects mended:
//! image labels are kept, the author is `authors` everywhere, the tag is
//! written, `imageid` is the configuration's digest, port ranges work, the
//! variant of arm counts, clashing names come out in one order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::appc::{
    AcIdentifier, AcName, Annotation, App, EnvironmentName, EnvironmentVariable, ImageManifest,
    Label, MountPoint, NameError, Port, is_timestamp,
};
use crate::digest::Digest;

use super::document::Config;

/// The registry that is meant when a reference names none.
pub const HUB_REGISTRY: &str = "registry-1.docker.io";

/// Where an image came from; it names the image and annotates it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The reference as the user typed it.
    pub original_name: &'a str,
    /// Host and port of the registry; none for an archive or a layout that
    /// does not say.
    pub registry: Option<&'a str>,
    /// Repository inside the registry, as `library/busybox`.
    pub repository: &'a str,
    /// Tag, if the image was asked for by one.
    pub tag: Option<&'a str>,
    /// Digest of the image's platform manifest.
    pub manifest_digest: &'a Digest,
    /// Digest of the image's configuration.
    pub config_digest: &'a Digest,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// The manifest; it is valid.
    pub manifest: ImageManifest,
    /// The signal that asks the app to stop, for which appc has no word.
    pub stop_signal: Option<String>,
    /// What had to be left out or changed, one line each, for the user.
    pub warnings: Vec<String>,
}

/// Converts an image's configuration.
///
/// # Errors
/// If the source's names hold nothing that an image could be called.
pub fn to_appc(config: &Config, source: &Source<'_>) -> Result<Converted, NameError> {
    let mut warnings = Vec::new();
    let mut manifest = ImageManifest::new(name_of(source.registry, source.repository)?);
    manifest.labels = labels(config, source, &mut warnings);
    manifest.app = config
        .image
        .config()
        .as_ref()
        .map(|c| app(c, &mut warnings));
    manifest.annotations = annotations(config, source, &mut warnings);
    let run = config.image.config().as_ref();
    let stop_signal = run.and_then(|run| run.stop_signal().clone());
    Ok(Converted {
        manifest,
        stop_signal: stop_signal.filter(|signal| !signal.is_empty()),
        warnings,
    })
}

/// What an image is called that comes from there.
///
/// # Errors
/// If the names hold nothing that an image could be called.
pub fn name_of(registry: Option<&str>, repository: &str) -> Result<AcIdentifier, NameError> {
    match registry {
        Some(registry) => AcIdentifier::sanitize(&format!("{registry}/{repository}")),
        None => AcIdentifier::sanitize(repository),
    }
}

fn identifier(name: &'static str) -> AcIdentifier {
    name.parse()
        .expect("the names written here are identifiers")
}

fn labels(config: &Config, source: &Source<'_>, warnings: &mut Vec<String>) -> Vec<Label> {
    let mut labels = Vec::new();
    let mut push = |name, value: &str| {
        labels.push(Label {
            name: identifier(name),
            value: value.to_owned(),
        });
    };
    match config.platform.to_labels() {
        Ok((os, arch)) => {
            push("os", os);
            push("arch", arch);
        }
        Err(error) => warnings.push(format!("the labels os and arch are left out: {error}")),
    }
    if let Some(tag) = source.tag {
        push("version", tag);
    }
    labels
}

fn annotations(
    config: &Config,
    source: &Source<'_>,
    warnings: &mut Vec<String>,
) -> Vec<Annotation> {
    let image = &config.image;
    let run = image.config().as_ref();
    let json = |list: &Option<Vec<String>>| match list.as_deref() {
        None | Some([]) => String::new(),
        Some(list) => serde_json::Value::from(list.to_vec()).to_string(),
    };
    let created = image.created().clone().unwrap_or_default();
    let created_is_usable = created.is_empty() || is_timestamp(&created);
    if !created_is_usable {
        warnings.push(format!(
            "the date of creation is left out: {created:?} is not RFC 3339"
        ));
    }
    let all = [
        ("authors", image.author().clone().unwrap_or_default()),
        (
            "created",
            if created_is_usable {
                created
            } else {
                String::new()
            },
        ),
        (
            "appc.io/docker/originalname",
            source.original_name.to_owned(),
        ),
        (
            "appc.io/docker/registryurl",
            source.registry.unwrap_or_default().to_owned(),
        ),
        ("appc.io/docker/repository", source.repository.to_owned()),
        ("appc.io/docker/imageid", source.config_digest.to_string()),
        (
            "appc.io/docker/manifesthash",
            source.manifest_digest.to_string(),
        ),
        (
            "appc.io/docker/entrypoint",
            run.map(|c| json(c.entrypoint())).unwrap_or_default(),
        ),
        (
            "appc.io/docker/cmd",
            run.map(|c| json(c.cmd())).unwrap_or_default(),
        ),
        (
            "appc.io/docker/tag",
            source.tag.unwrap_or_default().to_owned(),
        ),
    ];
    let written = all.into_iter().filter(|(_, value)| !value.is_empty());
    written
        .map(|(name, value)| Annotation {
            name: identifier(name),
            value,
        })
        .collect()
}

fn app(config: &oci_spec::image::Config, warnings: &mut Vec<String>) -> App {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let mut exec = list(config.entrypoint());
    exec.extend(list(config.cmd()));
    let (user, group) = user_and_group(config.user().as_deref().unwrap_or_default());
    let mut app = App::new(exec, &user, &group);
    app.environment = environment(&list(config.env()), warnings);
    app.working_directory = config.working_dir().as_deref().and_then(absolute);
    app.mount_points = mount_points(&list(config.volumes()));
    app.ports = ports(list(config.exposed_ports()), warnings);
    app.user_labels = BTreeMap::from_iter(config.labels().clone().unwrap_or_default());
    app
}

/// `U`, `U:G` or nothing; the image is not looked into.
fn user_and_group(text: &str) -> (String, String) {
    let mut parts = text.split(':');
    let user = parts.next().filter(|u| !u.is_empty()).unwrap_or("0");
    let group = parts.next().filter(|g| !g.is_empty()).unwrap_or(user);
    (user.to_owned(), group.to_owned())
}

fn absolute(path: &str) -> Option<String> {
    match path {
        "" => None,
        _ if path.starts_with('/') => Some(path.to_owned()),
        _ => Some(format!("/{path}")),
    }
}

/// A name given twice keeps its first place and its last value.
fn environment(entries: &[String], warnings: &mut Vec<String>) -> Vec<EnvironmentVariable> {
    let mut variables: Vec<EnvironmentVariable> = Vec::new();
    let mut places: HashMap<EnvironmentName, usize> = HashMap::new();
    for entry in entries {
        let Some((name, value)) = entry.split_once('=') else {
            continue;
        };
        let name: EnvironmentName = match name.parse() {
            Ok(name) => name,
            Err(error) => {
                warnings.push(format!("an environment variable is left out: {error}"));
                continue;
            }
        };
        let value = value.to_owned();
        match places.get(&name) {
            Some(&place) => variables[place].value = value,
            None => {
                places.insert(name.clone(), variables.len());
                variables.push(EnvironmentVariable { name, value });
            }
        }
    }
    variables
}

/// `/var/tmp` becomes `volume-var-tmp`; names that clash are numbered in the
/// order of their paths.
fn mount_points(paths: &[String]) -> Vec<MountPoint> {
    let paths: BTreeSet<String> = paths.iter().filter_map(|p| absolute(p)).collect();
    let mut points: BTreeMap<AcName, String> = BTreeMap::new();
    let mut clashes: HashMap<AcName, u32> = HashMap::new();
    for path in paths {
        let base = AcName::sanitize(&format!("volume/{path}"))
            .expect("a name that begins with a word has something left");
        let mut name = base.clone();
        while points.contains_key(&name) {
            let n = clashes.entry(base.clone()).or_default();
            *n += 1;
            let numbered = format!("{base}-{n}").parse();
            name = numbered.expect("a number after a name and a dash makes a name");
        }
        points.insert(name, path);
    }
    let point = |(name, path)| MountPoint {
        name,
        path,
        read_only: false,
    };
    points.into_iter().map(point).collect()
}

fn ports(exposed: Vec<String>, warnings: &mut Vec<String>) -> Vec<Port> {
    let mut ports: BTreeMap<AcName, Port> = BTreeMap::new();
    for entry in exposed {
        match port(&entry) {
            Some(port) => {
                ports.entry(port.name.clone()).or_insert(port);
            }
            None => warnings.push(format!(
                "the exposed port {entry:?} is left out: expected PORT[-PORT][/PROTOCOL]"
            )),
        }
    }
    ports.into_values().collect()
}

fn port(entry: &str) -> Option<Port> {
    let (range, protocol) = entry.split_once('/').unwrap_or((entry, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |s: &str| s.parse::<u16>().ok().filter(|n| *n > 0);
    let (first, last) = (number(first)?, number(last)?);
    let protocol = match protocol {
        "" => "tcp".to_owned(),
        other => other.to_ascii_lowercase(),
    };
    Some(Port {
        name: AcName::sanitize(&entry.replace('/', "-")).ok()?,
        protocol,
        port: first,
        count: last.checked_sub(first)?.checked_add(1)?,
        socket_activated: false,
    })
}
