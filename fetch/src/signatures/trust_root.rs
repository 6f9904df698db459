//! Authorities and logs that somebody trusts: sigstore's `trusted_root.json`.
//!
//! Source: sigstore protobuf-specs, `sigstore_trustroot.proto`, as JSON.
//! Absent on purpose: timestamp authorities; the time of a signature is the
//! one that the transparency log signed.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::json::{Base64, LogId};
use super::key::{KeyError, PublicKey};

/// Why there is no trust root to go by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustRootError {
    /// It cannot be read.
    #[error("cannot read the trust root {}: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is none.
    #[error("the trust root {} is malformed: {source}", .path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A log's key cannot be used.
    #[error("the trust root {}: a log {source}", .path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// A time that is none.
    #[error("the trust root {}: {text:?} is no time", .path.display())]
    Time {
        /// Which.
        path: PathBuf,
        /// What stands there.
        text: String,
    },
}

/// When something was to be trusted, in seconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Period {
    start: Option<i64>,
    end: Option<i64>,
}

impl Period {
    pub(super) fn contains(self, time: u64) -> bool {
        let time = i64::try_from(time).unwrap_or(i64::MAX);
        self.start.is_none_or(|s| s <= time) && self.end.is_none_or(|e| time <= e)
    }
}

/// A log: of signatures or of certificates.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) key: PublicKey,
    /// Its name: SHA-256 of its key, unless the trust root says otherwise.
    pub(super) id: Vec<u8>,
    pub(super) valid: Period,
}

/// An authority: its own certificate and those above it.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) valid: Period,
}

/// Whom to believe about names and times.
#[derive(Debug)]
pub(crate) struct TrustRoot {
    /// Transparency logs of signatures (Rekor).
    pub(super) logs: Vec<Log>,
    /// Logs of certificates.
    pub(super) certificate_logs: Vec<Log>,
    /// Certificate authorities (Fulcio).
    pub(super) authorities: Vec<Authority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    tlogs: Vec<LogFile>,
    #[serde(default)]
    ctlogs: Vec<LogFile>,
    #[serde(default)]
    certificate_authorities: Vec<AuthorityFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogFile {
    public_key: KeyFile,
    log_id: Option<LogId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyFile {
    raw_bytes: Base64,
    #[serde(default)]
    valid_for: PeriodFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthorityFile {
    cert_chain: ChainFile,
    #[serde(default)]
    valid_for: PeriodFile,
}

#[derive(Deserialize)]
struct ChainFile {
    certificates: Vec<CertificateFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateFile {
    raw_bytes: Base64,
}

#[derive(Deserialize, Default)]
struct PeriodFile {
    start: Option<String>,
    end: Option<String>,
}

impl TrustRoot {
    /// Reads the file.
    ///
    /// # Errors
    /// [`TrustRootError`], with the file's name.
    pub(crate) fn read(path: &Path) -> Result<Self, TrustRootError> {
        let path = path.to_owned();
        let bytes = std::fs::read(&path).map_err(|source| TrustRootError::Read {
            path: path.clone(),
            source,
        })?;
        Self::parse(&bytes, &path)
    }

    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self, TrustRootError> {
        let file: File =
            serde_json::from_slice(bytes).map_err(|source| TrustRootError::Malformed {
                path: path.to_owned(),
                source,
            })?;
        let logs = |logs: Vec<LogFile>| {
            logs.into_iter()
                .map(|log| read_log(log, path))
                .collect::<Result<Vec<_>, _>>()
        };
        let authority = |authority: AuthorityFile| {
            let chain = authority.cert_chain.certificates.into_iter();
            Ok(Authority {
                chain: chain.map(|c| c.raw_bytes.0).collect(),
                valid: period(&authority.valid_for, path)?,
            })
        };
        let authorities = file.certificate_authorities.into_iter().map(authority);
        Ok(Self {
            logs: logs(file.tlogs)?,
            certificate_logs: logs(file.ctlogs)?,
            authorities: authorities.collect::<Result<_, _>>()?,
        })
    }
}

fn read_log(log: LogFile, path: &Path) -> Result<Log, TrustRootError> {
    let key =
        PublicKey::from_der(&log.public_key.raw_bytes.0).map_err(|source| TrustRootError::Key {
            path: path.to_owned(),
            source,
        })?;
    Ok(Log {
        id: match log.log_id {
            Some(id) => id.key_id.0,
            None => key.hash(),
        },
        valid: period(&log.public_key.valid_for, path)?,
        key,
    })
}

fn period(file: &PeriodFile, path: &Path) -> Result<Period, TrustRootError> {
    let time = |text: &Option<String>| {
        let Some(text) = text else { return Ok(None) };
        let time: jiff::Timestamp = text.parse().map_err(|_| TrustRootError::Time {
            path: path.to_owned(),
            text: text.clone(),
        })?;
        Ok(Some(time.as_second()))
    };
    Ok(Period {
        start: time(&file.start)?,
        end: time(&file.end)?,
    })
}
