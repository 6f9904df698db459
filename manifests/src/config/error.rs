//! What can be wrong with a configuration file.

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or not an object with members of the right types.
    #[error("failed to parse {file:?}")]
    Json {
        /// The file.
        file: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// No `rktKind`.
    #[error("no rktKind specified in {file:?}")]
    NoKind {
        /// The file.
        file: String,
    },
    /// No `rktVersion`.
    #[error("no rktVersion specified in {file:?}")]
    NoVersion {
        /// The file.
        file: String,
    },
    /// A kind that belongs into another directory, or nowhere.
    #[error(
        "the configuration directory {directory:?} expects to have configuration files of kinds {expected:?}, but {file:?} has kind of {kind:?}"
    )]
    WrongKind {
        /// The directory.
        directory: &'static str,
        /// The kinds that belong there.
        expected: String,
        /// The file.
        file: String,
        /// What it says.
        kind: String,
    },
    /// A version other than `v1`.
    #[error("no parser available for configuration of kind {kind:?} and version {version:?}")]
    NoParser {
        /// What the file says.
        kind: String,
        /// What the file says.
        version: String,
    },
    /// The content breaks a rule.
    #[error("failed to parse {file:?}")]
    Content {
        /// The file.
        file: String,
        /// The rule.
        source: Problem,
    },
}

/// The rule that a file's content breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// `auth` without a domain.
    #[error("no domains specified")]
    NoDomains,
    /// `auth` without a type.
    #[error("no auth type specified")]
    NoAuthType,
    /// A type other than basic, oauth and aws.
    #[error("unknown auth type: {0:?}")]
    UnknownAuthType(String),
    /// No credentials at all.
    #[error("no credentials specified")]
    NoCredentials,
    /// Credentials without a user.
    #[error("user not specified")]
    NoUser,
    /// Credentials without a password.
    #[error("password not specified")]
    NoPassword,
    /// `oauth` without a token.
    #[error("no oauth bearer token specified")]
    NoToken,
    /// `aws` without a key id.
    #[error("no AWS Access Key ID specified")]
    NoAccessKeyId,
    /// `aws` without a key.
    #[error("no AWS Secret Access Key specified")]
    NoSecretAccessKey,
    /// A second set of credentials for a domain.
    #[error("auth for domain {0:?} is already specified")]
    SameDomain(String),
    /// `dockerAuth` without a registry.
    #[error("no registries specified")]
    NoRegistries,
    /// A second set of credentials for a registry.
    #[error("credentials for docker registry {0:?} are already specified")]
    SameRegistry(String),
    /// `host` without a host.
    #[error("no hosts specified")]
    NoHosts,
    /// A second `host` for one.
    #[error("host {0:?} is already specified")]
    SameHost(String),
    /// A client certificate that cannot be used, or a key for nothing.
    #[error("certificate and key need each other")]
    CertificateWithoutKey,
    /// A file that is not named from the root.
    #[error("{0} must be an absolute path")]
    RelativeFile(&'static str),
    /// `defaultRegistry` without a registry.
    #[error("no registry specified")]
    NoRegistry,
    /// A second default.
    #[error("the default registry is already specified")]
    SameDefaultRegistry,
    /// A relative path.
    #[error("{0} directory must be an absolute path")]
    RelativePath(&'static str),
    /// A second path for the same thing.
    #[error("{0} directory is already specified")]
    SamePath(&'static str),
    /// The stage1 image's name, version or location is not usable.
    #[error("invalid stage1 configuration: {0}")]
    Stage1(&'static str),
    /// A scheme from which no stage1 image is fetched.
    #[error(
        "invalid stage1 configuration: default stage1 image location URL has invalid scheme {0:?}, allowed schemes are \"docker\", \"file\", \"http\", \"https\""
    )]
    Stage1Scheme(String),
    /// A second stage1 image.
    #[error("name and version of a default stage1 image are already specified")]
    SameStage1,
    /// A second level for fs-verity.
    #[error("the use of fs-verity is already specified")]
    SameVerity,
    /// A second rule for the same names.
    #[error("there is already a rule for the prefix {0:?}")]
    SamePrefix(String),
    /// A second location.
    #[error("location of a default stage1 image is already specified")]
    SameStage1Location,
}
