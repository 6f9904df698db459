//! Credentials: kinds `auth` and `dockerAuth`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Config;
use super::error::Problem;

/// A secret: it must not end up in a message by way of `{:?}`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Password {
    fn from(secret: &str) -> Self {
        Self(secret.to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A user and a password, neither of them empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserPassword {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// Key and region for AWS signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AwsCredentials {
    /// Which key.
    #[serde(rename = "accessKeyID")]
    pub access_key_id: String,
    /// The key.
    #[serde(rename = "secretAccessKey")]
    pub secret_access_key: Password,
    /// The region; guessed from the host name if absent.
    #[serde(rename = "awsRegion")]
    pub region: Option<String>,
}

/// What a request to a domain is authorised with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// `Authorization: Basic …`
    Basic(UserPassword),
    /// `Authorization: Bearer …`
    OAuth(Password),
    /// AWS signature, version 4, for the service `s3`.
    Aws(AwsCredentials),
}

#[derive(Deserialize)]
pub(super) struct AuthFile {
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default, rename = "type")]
    kind: String,
    credentials: Option<AnyCredentials>,
}

/// The members of all types, each absent if empty.
#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct AnyCredentials {
    user: String,
    password: Password,
    token: Password,
    #[serde(rename = "accessKeyID")]
    access_key_id: String,
    secret_access_key: Password,
    aws_region: String,
}

#[derive(Deserialize)]
pub(super) struct DockerAuthFile {
    #[serde(default)]
    registries: Vec<String>,
    credentials: Option<AnyCredentials>,
}

impl AnyCredentials {
    fn user_password(self) -> Result<UserPassword, Problem> {
        if self.user.is_empty() {
            return Err(Problem::NoUser);
        }
        if self.password.0.is_empty() {
            return Err(Problem::NoPassword);
        }
        Ok(UserPassword {
            user: self.user,
            password: self.password,
        })
    }

    fn token(self) -> Result<Password, Problem> {
        match self.token.0.is_empty() {
            true => Err(Problem::NoToken),
            false => Ok(self.token),
        }
    }

    fn aws(self) -> Result<AwsCredentials, Problem> {
        if self.access_key_id.is_empty() {
            return Err(Problem::NoAccessKeyId);
        }
        if self.secret_access_key.0.is_empty() {
            return Err(Problem::NoSecretAccessKey);
        }
        Ok(AwsCredentials {
            access_key_id: self.access_key_id,
            secret_access_key: self.secret_access_key,
            region: Some(self.aws_region).filter(|region| !region.is_empty()),
        })
    }
}

impl Config {
    pub(super) fn add_auth(&mut self, file: AuthFile) -> Result<(), Problem> {
        if file.domains.is_empty() {
            return Err(Problem::NoDomains);
        }
        if file.kind.is_empty() {
            return Err(Problem::NoAuthType);
        }
        let given = file.credentials.ok_or(Problem::NoCredentials);
        let credentials = match file.kind.as_str() {
            "basic" => Credentials::Basic(given?.user_password()?),
            "oauth" => Credentials::OAuth(given?.token()?),
            "aws" => Credentials::Aws(given?.aws()?),
            _ => return Err(Problem::UnknownAuthType(file.kind)),
        };
        let repeated = Problem::SameDomain;
        insert_all(&mut self.auth, file.domains, &credentials, repeated)
    }

    pub(super) fn add_docker_auth(&mut self, file: DockerAuthFile) -> Result<(), Problem> {
        if file.registries.is_empty() {
            return Err(Problem::NoRegistries);
        }
        let given = file.credentials.ok_or(Problem::NoCredentials)?;
        let credentials = given.user_password()?;
        let repeated = Problem::SameRegistry;
        insert_all(
            &mut self.docker_auth,
            file.registries,
            &credentials,
            repeated,
        )
    }
}

/// Inserts under every key or, if one is taken or stands there twice, none.
pub(super) fn insert_all<T: Clone>(
    map: &mut BTreeMap<String, T>,
    keys: Vec<String>,
    value: &T,
    repeated: fn(String) -> Problem,
) -> Result<(), Problem> {
    for (index, key) in keys.iter().enumerate() {
        if map.contains_key(key) || keys[..index].contains(key) {
            return Err(repeated(key.clone()));
        }
    }
    map.extend(keys.into_iter().map(|key| (key, value.clone())));
    Ok(())
}
