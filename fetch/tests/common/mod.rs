//! Real images by real tools, and the peers they are fetched from.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fetch::credentials::Anonymous;
use fetch::keystore::Keystore;
use fetch::policy::{Pins, Policy};
use fetch::progress::{Progress, Step, StepKind};
use fetch::reference::Reference;
use fetch::{FetchError, Fetcher, PullPolicy, Request, Settings};
use image_store::{ImageRecord, Keep, Store};
use manifests::config::Trust;
use manifests::insecure::InsecureOptions;
use manifests::platform::Platform;
use tempfile::TempDir;

/// Runs a tool that a Debian package brings; its absence is a failure that
/// says what to install.
pub fn run(package: &str, command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e} (install the Debian package {package})"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What a fetch told.
#[derive(Default)]
pub struct Told {
    pub notes: Mutex<Vec<String>>,
    /// Bytes by layer; `None` for a layer that was stored already.
    pub layers: Mutex<Vec<(String, Option<u64>)>>,
}

impl Told {
    /// Bytes that were transferred, and layers that were not.
    pub fn summary(&self) -> (u64, usize) {
        let layers = self.layers.lock().unwrap();
        let stored = layers.iter().filter(|(_, bytes)| bytes.is_none()).count();
        (layers.iter().filter_map(|(_, bytes)| *bytes).sum(), stored)
    }
}

struct Shared(Arc<Told>);

impl Progress for Shared {
    fn image(&self, _: &str) {}
    fn note(&self, text: &str) {
        self.0.notes.lock().unwrap().push(text.to_owned());
    }
    fn plan(&self, _: u64) {}
    fn step(&self, kind: StepKind, name: &str, _: Option<u64>) -> Box<dyn Step> {
        Box::new(OneStep(Arc::clone(&self.0), kind, name.to_owned(), 0))
    }
}

struct OneStep(Arc<Told>, StepKind, String, u64);

impl OneStep {
    fn end(self, bytes: Option<u64>) {
        if self.1 == StepKind::Layer {
            self.0.layers.lock().unwrap().push((self.2, bytes));
        }
    }
}

impl Step for OneStep {
    fn advance(&mut self, bytes: u64) {
        self.3 += bytes;
    }
    fn already_stored(self: Box<Self>) {
        self.end(None);
    }
    fn done(self: Box<Self>) {
        let bytes = self.3;
        self.end(Some(bytes));
    }
}

/// A data directory, a keystore, and room for images.
pub struct World {
    pub dir: TempDir,
    pub store: Store,
    pub keystore: Keystore,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("rkt-fetch-")
            .tempdir()
            .unwrap();
        let config = |name: &str| dir.path().join("config").join(name);
        Self {
            store: Store::open(&dir.path().join("data")),
            keystore: Keystore::new(&config("system"), &config("local")),
            dir,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Fetches and says what was told.
    pub fn fetch_with(
        &self,
        reference: &str,
        insecure: &str,
        request: &Request,
    ) -> (Result<ImageRecord, FetchError>, Arc<Told>) {
        let (fetcher, told) = self.fetcher(insecure);
        let reference = Reference::parse(reference).unwrap();
        (fetcher.get(&reference, request), told)
    }

    pub fn fetcher(&self, insecure: &str) -> (Fetcher<'_>, Arc<Told>) {
        let told = Arc::new(Told::default());
        let insecure = insecure.parse::<InsecureOptions>().unwrap();
        let settings = Settings {
            insecure,
            policy: Policy::new(
                Trust::default(),
                self.keystore.clone(),
                Pins::new(&self.path("data")),
                insecure,
            ),
            credentials: Arc::new(Anonymous),
            hosts: Arc::default(),
            progress: Arc::new(Shared(Arc::clone(&told))),
            platform: Platform::host(),
            limits: fetch::Limits::default(),
        };
        (Fetcher::new(&self.store, settings), told)
    }

    /// Fetches without asking for a signature.
    pub fn fetch(&self, reference: &str) -> ImageRecord {
        self.fetch_with(reference, "image", &update()).0.unwrap()
    }

    /// The message of a fetch that must fail and leave no image behind.
    pub fn refused(&self, reference: &str, insecure: &str) -> String {
        let error = self
            .fetch_with(reference, insecure, &update())
            .0
            .unwrap_err();
        let text = error.to_string();
        assert!(!text.contains('\n'), "one line is wanted: {text}");
        assert!(self.store.images().unwrap().is_empty(), "{text}");
        assert!(self.staged().is_empty(), "{:?}", self.staged());
        text
    }

    /// What a fetch left in staging.
    pub fn staged(&self) -> Vec<PathBuf> {
        let below = |dir: &Path| -> Vec<PathBuf> {
            fs::read_dir(dir)
                .map(|entries| entries.map(|e| e.unwrap().path()).collect())
                .unwrap_or_default()
        };
        let boots = below(&self.path("data/store/staging"));
        boots
            .iter()
            .flat_map(|boot| below(boot))
            .filter(|p| p.is_dir())
            .collect()
    }
}

/// Mounts outlive a test's directory unless they are swept.
impl Drop for World {
    fn drop(&mut self) {
        if let Err(e) = self.store.gc(&Keep::default()) {
            eprintln!("cannot sweep the test's store: {e}");
        }
    }
}

pub fn update() -> Request {
    Request {
        pull_policy: PullPolicy::Update,
        signature: None,
    }
}

/// An OCI layout of three layers, tag `1.0`: busybox and two files, then one
/// of the files removed and the other changed, then a new one.
///
/// Made by unpacking and repacking: `umoci insert` before 0.5 never closes its
/// tars, and such are refused as truncated.
pub fn busybox_layout(dir: &Path) {
    let umoci = |args: &[&str]| {
        run("umoci", Command::new("umoci").args(args));
    };
    let image = format!("{}:1.0", dir.display());
    let busybox = "/bin/busybox";
    assert!(
        fs::exists(busybox).unwrap(),
        "install the Debian package busybox-static"
    );
    umoci(&["init", "--layout", dir.to_str().unwrap()]);
    umoci(&["new", "--image", &image]);
    let layer = |change: &dyn Fn(&Path)| {
        let bundle = tempfile::tempdir().unwrap();
        let path = bundle.path().join("bundle");
        umoci(&["unpack", "--image", &image, path.to_str().unwrap()]);
        change(&path.join("rootfs"));
        umoci(&["repack", "--image", &image, path.to_str().unwrap()]);
    };
    layer(&|rootfs| {
        fs::create_dir_all(rootfs.join("bin")).unwrap();
        fs::create_dir_all(rootfs.join("etc")).unwrap();
        fs::copy(busybox, rootfs.join("bin/busybox")).unwrap();
        fs::write(rootfs.join("etc/name"), "old\n").unwrap();
        fs::write(rootfs.join("etc/release"), "one\n").unwrap();
    });
    layer(&|rootfs| {
        fs::remove_file(rootfs.join("etc/name")).unwrap();
        fs::write(rootfs.join("etc/release"), "three\n").unwrap();
    });
    layer(&|rootfs| fs::write(rootfs.join("etc/new"), "new\n").unwrap());
    umoci(&["config", "--image", &image, "--config.cmd", busybox]);
}

pub fn skopeo(args: &[&str]) {
    run(
        "skopeo",
        Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet"])
            .args(["--src-tls-verify=false", "--dest-tls-verify=false"])
            .args(args),
    );
}

/// Debian's docker-registry on a free loopback port.
pub struct Registry {
    child: Child,
    pub port: u16,
    dir: TempDir,
}

impl Registry {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = dir.path().join("config.yml");
        let data = dir.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n",
            data.display()
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .args([Path::new("serve"), &config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("docker-registry: {e} (install the Debian package docker-registry)")
            });
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "docker-registry does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, port, dir }
    }

    pub fn reference(&self, name: &str) -> String {
        format!("docker://127.0.0.1:{}/{name}", self.port)
    }

    /// The file of a blob, for tests that damage it.
    pub fn blob(&self, hex: &str) -> PathBuf {
        let blobs = self.dir.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A GnuPG home with keys of its own.
pub struct Gpg(TempDir);

impl Gpg {
    pub fn new() -> Self {
        Self(
            tempfile::Builder::new()
                .prefix("gpg")
                .tempdir_in("/tmp")
                .unwrap(),
        )
    }

    pub fn run(&self, args: &[&str]) -> String {
        let unattended = ["--batch", "--yes", "--no-tty", "--passphrase", ""];
        run(
            "gnupg",
            Command::new("gpg")
                .env("GNUPGHOME", self.0.path())
                .args(unattended)
                .args(["--pinentry-mode", "loopback"])
                .args(args),
        )
    }

    /// A new key, exported and armored.
    pub fn key(&self, user: &str) -> fetch::openpgp::Certificate {
        self.run(&["--quick-gen-key", user, "ed25519", "sign", "never"]);
        let armored = self.run(&["--armor", "--export", user]);
        fetch::openpgp::Certificate::read_all(armored.as_bytes())
            .unwrap()
            .swap_remove(0)
    }

    /// Signs `file` into `file.asc`.
    pub fn sign(&self, user: &str, file: &Path) {
        let file = file.to_str().unwrap();
        self.run(&["--armor", "-u", user, "--detach-sign", file]);
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // The agent would notice by itself that its home is gone; sooner is
        // kinder.
        let _ = Command::new("gpgconf")
            .env("GNUPGHOME", self.0.path())
            .args(["--kill", "all"])
            .status();
    }
}

/// Writes `app.aci`-like archives with GNU tar.
pub fn aci(file: &Path, manifest: &str, compress: &str) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("rootfs/bin")).unwrap();
    fs::copy("/bin/busybox", dir.path().join("rootfs/bin/busybox")).unwrap();
    fs::write(dir.path().join("manifest"), manifest).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(dir.path()).arg("--numeric-owner");
    if !compress.is_empty() {
        tar.arg(format!("--use-compress-program={compress}"));
    }
    run(
        "tar",
        tar.args(["-cf".as_ref(), file.as_os_str()])
            .args(["manifest", "rootfs"]),
    );
}

pub fn aci_manifest(name: &str) -> String {
    format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}",
            "labels":[{{"name":"version","value":"1.0"}},{{"name":"os","value":"linux"}},
                      {{"name":"arch","value":"{}"}}],
            "app":{{"exec":["/bin/busybox"],"user":"0","group":"0"}}}}"#,
        Platform::host().to_labels().unwrap().1
    )
}
