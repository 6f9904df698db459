//! Debian's docker-registry on a free loopback port.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Cmd;

/// A running registry, empty at first; gone when dropped.
pub struct Registry {
    child: Child,
    dir: PathBuf,
    port: u16,
    /// Removed with the registry that [`Registry::start`] made.
    scratch: Option<TempDir>,
}

impl Registry {
    /// Starts one that serves plain HTTP on 127.0.0.1, with nothing in it.
    pub fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut registry = Self::start_in(scratch.path());
        registry.scratch = Some(scratch);
        registry
    }

    /// As [`Registry::start`], for one user only.
    pub fn start_with_login(user: &str, password: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("htpasswd");
        // It takes bcrypt only, which the C library can do and openssl cannot.
        let line = Cmd::new("perl")
            .args([
                "-e",
                r"print $ARGV[0], q(:), crypt($ARGV[1], q($2y$05$abcdefghijklmnopqrstuu))",
            ])
            .args([user, password])
            .run()
            .ok();
        fs::write(&file, line.stdout).unwrap();
        let auth = format!(
            "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            file.display()
        );
        let mut registry = Self::start_with(scratch.path(), &auth, "");
        registry.scratch = Some(scratch);
        registry
    }

    /// As [`Registry::start`], speaking TLS.
    pub fn start_tls(certificate: &Path, key: &Path) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let tls = format!(
            "  tls:\n    certificate: {}\n    key: {}\n",
            certificate.display(),
            key.display()
        );
        let mut registry = Self::start_with(scratch.path(), "", &tls);
        registry.scratch = Some(scratch);
        registry
    }

    /// Starts one whose blobs lie, and stay, in `dir`.
    pub fn start_in(dir: &Path) -> Self {
        Self::start_with(dir, "", "")
    }

    /// `auth` is a section of its configuration, `http` more of that section.
    fn start_with(dir: &Path, auth: &str, http: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .unwrap()
            .port();
        fs::create_dir_all(dir).unwrap();
        let config = dir.join("config.yml");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n{auth}http:\n  addr: 127.0.0.1:{port}\n{http}",
                dir.join("data").display()
            ),
        )
        .unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start docker-registry: {e}"));
        let mut registry = Self {
            child,
            dir: dir.to_owned(),
            port,
            scratch: None,
        };
        registry.wait_until_it_answers();
        registry
    }

    fn wait_until_it_answers(&mut self) {
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(
                matches!(self.child.try_wait(), Ok(None)),
                "docker-registry ended: {}",
                log()
            );
            assert!(
                Instant::now() < until,
                "docker-registry does not answer: {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `docker://127.0.0.1:PORT/NAME`, which rkt and skopeo both read.
    pub fn reference(&self, name: &str) -> String {
        format!("docker://127.0.0.1:{}/{name}", self.port)
    }

    /// The file that holds a blob, for tests that damage it.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.dir.join(format!(
            "data/docker/registry/v2/blobs/sha256/{}/{hex}/data",
            &hex[..2]
        ))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compression, OciImage, Rootfs};

    #[test]
    fn an_image_goes_in_and_comes_out() {
        let dir = tempfile::tempdir().unwrap();
        let image = OciImage::new(vec![Rootfs::new().file("x", 0o644, "x").tar("")], &["/x"])
            .compressed(Compression::Zstd)
            .write(dir.path(), "1");
        let registry = Registry::start();
        image.copy_exactly_to(&registry.reference("app:1"));
        assert!(registry.blob(&image.layers[0]).exists());
        assert!(registry.blob(&image.manifest).exists());
        let back = dir.path().join("back");
        crate::oci::skopeo_copy(
            &[],
            &registry.reference("app:1"),
            &format!("dir:{}", back.display()),
        );
        assert!(back.join("manifest.json").exists());
    }
}
