//! Telling the service of a pod.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use manifests::appc::{ImageManifest, PodManifest};
use uuid::Uuid;

use super::{MetadataError, http};

/// How long the service may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A pod the service knows.
#[derive(Debug)]
pub struct Registration {
    /// The service's port.
    pub port: u16,
    /// The pod's identity.
    pub token: String,
}

/// Registers a pod with the images of its apps.
///
/// # Errors
/// [`MetadataError::NotRunning`], or what went wrong on the way.
pub fn register(
    socket: &Path,
    uuid: Uuid,
    manifest: &PodManifest,
    images: &[&ImageManifest],
) -> Result<Registration, MetadataError> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(MetadataError::io("get", "random numbers"))?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    announce(socket, uuid, &token, manifest, images)?;
    let port = tell(socket, "GET", "/port", b"")?;
    let port = std::str::from_utf8(&port)
        .ok()
        .and_then(|text| text.parse().ok());
    Ok(Registration {
        port: port.ok_or_else(|| MetadataError::Refused("GET /port".to_owned(), 200))?,
        token,
    })
}

/// Tells the service what a pod is, also one that it knows already: its apps
/// may have changed since.
///
/// # Errors
/// [`MetadataError::NotRunning`], or what went wrong on the way.
pub fn announce(
    socket: &Path,
    uuid: Uuid,
    token: &str,
    manifest: &PodManifest,
    images: &[&ImageManifest],
) -> Result<(), MetadataError> {
    let put = |target: String, body: Result<Vec<u8>, serde_json::Error>| {
        let body = body.map_err(|e| {
            MetadataError::io::<io::Error>("write", "a manifest")(io::Error::from(e))
        })?;
        tell(socket, "PUT", &target, &body)
    };
    put(
        format!("/pods/{uuid}?token={token}"),
        serde_json::to_vec(manifest),
    )?;
    for (app, image) in manifest.apps.iter().zip(images) {
        put(
            format!("/pods/{uuid}/{}", app.name),
            serde_json::to_vec(image),
        )?;
    }
    Ok(())
}

/// Whether a service listens.
///
/// # Errors
/// [`MetadataError::NotRunning`], or what went wrong on the way.
pub fn check(socket: &Path) -> Result<(), MetadataError> {
    tell(socket, "GET", "/port", b"").map(drop)
}

/// Makes the service forget a pod. One that does not run has forgotten it.
///
/// # Errors
/// What went wrong on the way.
pub fn unregister(socket: &Path, uuid: Uuid) -> Result<(), MetadataError> {
    match tell(socket, "DELETE", &format!("/pods/{uuid}"), b"") {
        Ok(_) | Err(MetadataError::NotRunning | MetadataError::Refused(_, 404)) => Ok(()),
        Err(e) => Err(e),
    }
}

fn tell(socket: &Path, method: &str, target: &str, body: &[u8]) -> Result<Vec<u8>, MetadataError> {
    let stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Err(MetadataError::NotRunning);
        }
        Err(e) => return Err(MetadataError::io("connect to", socket.display())(e)),
    };
    let failed = || MetadataError::io::<io::Error>("speak to", socket.display());
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed())?;
    let (status, answer) = http::ask(stream, method, target, body).map_err(failed())?;
    if status != 200 {
        // The token is nobody's business.
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        return Err(MetadataError::Refused(format!("{method} {path}"), status));
    }
    Ok(answer)
}
