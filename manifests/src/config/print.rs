//! The effective configuration as `rkt config` prints it: entries that look
//! like configuration files, secrets included.

use serde::Serialize;
use serde::ser::{SerializeSeq, SerializeStruct, Serializer};

use super::{Config, Credentials, Host, Password, Rule, UserPassword, Verity};

impl Serialize for Config {
    /// `{"stage0": […]}`: every domain, every registry, then one entry for
    /// the paths and one for stage1 even if nothing was configured, one for each
    /// host, the default registry, the store and trust if something was.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut config = serializer.serialize_struct("Config", 1)?;
        config.serialize_field("stage0", &Entries(self))?;
        config.end()
    }
}

struct Entries<'a>(&'a Config);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let config = self.0;
        let mut entries = serializer.serialize_seq(None)?;
        for (domain, credentials) in &config.auth {
            let (kind, credentials) = match credentials {
                Credentials::Basic(basic) => ("basic", AnyCredentials::Basic(basic)),
                Credentials::OAuth(token) => ("oauth", AnyCredentials::OAuth { token }),
                Credentials::Aws(aws) => (
                    "aws",
                    AnyCredentials::Aws {
                        access_key_id: &aws.access_key_id,
                        secret_access_key: &aws.secret_access_key,
                        aws_region: aws.region.as_deref().unwrap_or_default(),
                    },
                ),
            };
            entries.serialize_element(&AuthEntry {
                rkt_version: "v1",
                rkt_kind: "auth",
                domains: [domain],
                kind,
                credentials,
            })?;
        }
        for (registry, credentials) in &config.docker_auth {
            entries.serialize_element(&DockerAuthEntry {
                rkt_version: "v1",
                rkt_kind: "dockerAuth",
                registries: [registry],
                credentials,
            })?;
        }
        for (name, host) in &config.hosts {
            entries.serialize_element(&HostEntry {
                rkt_version: "v1",
                rkt_kind: "host",
                hosts: [name],
                host,
            })?;
        }
        if let Some(registry) = &config.default_registry {
            entries.serialize_element(&DefaultRegistryEntry {
                rkt_version: "v1",
                rkt_kind: "defaultRegistry",
                registry,
            })?;
        }
        let path = |path: &Option<std::path::PathBuf>| {
            let path = path.as_deref().unwrap_or(std::path::Path::new(""));
            path.display().to_string()
        };
        entries.serialize_element(&PathsEntry {
            rkt_version: "v1",
            rkt_kind: "paths",
            data: path(&config.paths.data),
            stage1_images: path(&config.paths.stage1_images),
        })?;
        let (name, version) = match &config.stage1.image {
            Some((name, version)) => (name.as_str(), version.as_str()),
            None => ("", ""),
        };
        entries.serialize_element(&Stage1Entry {
            rkt_version: "v1",
            rkt_kind: "stage1",
            name,
            version,
            location: config.stage1.location.as_deref().unwrap_or_default(),
        })?;
        if let Some(verity) = config.store.verity {
            entries.serialize_element(&StoreEntry {
                rkt_version: "v1",
                rkt_kind: "store",
                verity,
            })?;
        }
        let rules: Vec<&Rule> = config.trust.rules().collect();
        if !rules.is_empty() {
            entries.serialize_element(&TrustEntry {
                rkt_version: "v1",
                rkt_kind: "trust",
                rules,
            })?;
        }
        entries.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthEntry<'a> {
    rkt_version: &'static str,
    rkt_kind: &'static str,
    domains: [&'a String; 1],
    #[serde(rename = "type")]
    kind: &'static str,
    credentials: AnyCredentials<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnyCredentials<'a> {
    Basic(&'a UserPassword),
    OAuth {
        token: &'a Password,
    },
    Aws {
        #[serde(rename = "accessKeyID")]
        access_key_id: &'a str,
        #[serde(rename = "secretAccessKey")]
        secret_access_key: &'a Password,
        #[serde(rename = "awsRegion")]
        aws_region: &'a str,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DockerAuthEntry<'a> {
    rkt_version: &'static str,
    rkt_kind: &'static str,
    registries: [&'a String; 1],
    credentials: &'a UserPassword,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HostEntry<'a> {
    rkt_version: &'static str,
    rkt_kind: &'static str,
    hosts: [&'a String; 1],
    #[serde(flatten)]
    host: &'a Host,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DefaultRegistryEntry<'a> {
    rkt_version: &'static str,
    rkt_kind: &'static str,
    registry: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PathsEntry {
    rkt_version: &'static str,
    rkt_kind: &'static str,
    data: String,
    #[serde(rename = "stage1-images")]
    stage1_images: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stage1Entry<'a> {
    rkt_version: &'static str,
    rkt_kind: &'static str,
    name: &'a str,
    version: &'a str,
    location: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StoreEntry {
    rkt_version: &'static str,
    rkt_kind: &'static str,
    verity: Verity,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TrustEntry<'a> {
    rkt_version: &'static str,
    rkt_kind: &'static str,
    rules: Vec<&'a Rule>,
}
