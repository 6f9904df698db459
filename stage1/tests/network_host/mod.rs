//! A host of our own for each test: network and mount namespaces that end with
//! it, so that the machine's own network is never touched.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use manifests::cni::NetworkConfig;
use manifests::engine::{Attachment, ForwardedPort, PrivateNetwork, Protocol};
use nix::sched::{CloneFlags, unshare};
use stage1::network::{self, Error, Joined, Pod};

/// Where Debian's containernetworking-plugins are.
pub const DEBIAN_PLUGINS: &str = "/usr/lib/cni";

/// The calling thread's own little host. Threads that a test starts afterwards
/// are in it too.
pub struct Host {
    pub directory: tempfile::TempDir,
    pub plugin_path: Vec<PathBuf>,
}

impl Host {
    pub fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("these tests need root");
        sh("mount --make-rprivate / && mount -t tmpfs none /var/lib && mount -t tmpfs none /run");
        sh("ip link set lo up");
        let directory = tempfile::tempdir_in("/run").unwrap();
        Self {
            directory,
            plugin_path: vec![DEBIAN_PLUGINS.into()],
        }
    }

    /// A pod with a namespace and a directory of its own.
    pub fn pod(&self, number: u32) -> TestPod {
        let uuid = format!("{number:08x}-0000-4000-8000-{number:012x}");
        let directory = self.directory.path().join("pods/run").join(&uuid);
        std::fs::create_dir_all(&directory).unwrap();
        TestPod {
            uuid,
            directory,
            plugin_path: self.plugin_path.clone(),
            netns: Some(new_namespace()),
            plan: None,
            joined: None,
        }
    }

    /// Names of the interfaces, without `lo`.
    pub fn links(&self) -> Vec<String> {
        let out = sh("ip -o link show | cut -d: -f2");
        out.lines()
            .map(|l| l.trim().split('@').next().unwrap().to_owned())
            .filter(|l| l != "lo")
            .collect()
    }

    /// The firewall's rules.
    pub fn rules(&self) -> String {
        sh("nft list ruleset")
    }

    /// Lines of the firewall that name a pod.
    pub fn rules_of_pods(&self) -> String {
        let rules = self.rules();
        rules
            .lines()
            .filter(|line| line.contains("-4000-8000-"))
            .collect()
    }

    /// The leases of a network.
    pub fn leases(&self, network: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(Path::new("/var/lib/cni/networks").join(network))
        else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| name != "lock" && !name.starts_with("last_reserved_ip"));
        names.sort();
        names
    }
}

fn new_namespace() -> OwnedFd {
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap().into()
    })
    .join()
    .unwrap()
}

/// Another host, beside the one of this thread: its namespace.
pub struct TestPod {
    pub uuid: String,
    pub directory: PathBuf,
    pub plugin_path: Vec<PathBuf>,
    pub netns: Option<OwnedFd>,
    pub plan: Option<PrivateNetwork>,
    pub joined: Option<Joined>,
}

impl TestPod {
    pub fn as_pod(&self) -> Pod<'_> {
        Pod {
            uuid: &self.uuid,
            directory: &self.directory,
            plugin_path: &self.plugin_path,
            deadline: Duration::from_secs(20),
        }
    }

    pub fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_ref().unwrap().as_fd()
    }

    /// Joins; on failure, the error's line.
    pub fn try_join(&mut self, plan: PrivateNetwork) -> Result<(), String> {
        let joined = network::join(self.as_pod(), &plan, self.netns()).map_err(|e| e.line());
        self.plan = Some(plan);
        self.joined = Some(joined?);
        Ok(())
    }

    pub fn join(&mut self, plan: PrivateNetwork) {
        self.try_join(plan).unwrap();
    }

    pub fn leave(&mut self) {
        self.try_leave().unwrap();
    }

    pub fn try_leave(&mut self) -> Result<(), Vec<String>> {
        self.joined = None;
        let netns = network::Namespace::Lives(self.netns());
        network::leave(self.as_pod(), self.plan.as_ref().unwrap(), netns)
            .map_err(|errors| errors.iter().map(Error::line).collect())
    }

    /// What a shell prints in the pod's namespace; it must succeed.
    pub fn sh(&self, script: &str) -> String {
        finish(self.command(script).output().unwrap(), script)
    }

    /// Whether a shell's script succeeds there.
    pub fn ok(&self, script: &str) -> bool {
        self.command(script).output().unwrap().status.success()
    }

    pub fn command(&self, script: &str) -> Command {
        let path = format!(
            "--net=/proc/{}/fd/{}",
            std::process::id(),
            self.netns().as_raw_fd()
        );
        let mut command = Command::new("nsenter");
        command.args([&path, "sh", "-c", script]);
        command
    }

    /// A program that stays.
    pub fn spawn(&self, script: &str) -> Running {
        Running::start(self.command(&format!("exec {script}")))
    }

    /// The first address.
    pub fn ip(&self) -> String {
        self.info()[0]["ip"].as_str().unwrap().to_owned()
    }

    /// The name of its first interface's other end in the host.
    pub fn host_end(&self) -> String {
        let text = std::fs::read_to_string(self.directory.join("net/eth0.result")).unwrap();
        let result: serde_json::Value = serde_json::from_str(&text).unwrap();
        let interfaces = result["interfaces"].as_array().unwrap();
        let host = interfaces.iter().rfind(|i| i.get("sandbox").is_none());
        host.unwrap()["name"].as_str().unwrap().to_owned()
    }

    pub fn info(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.directory.join("net-info.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Does something on a thread that lives in the pod's namespace.
    pub fn within<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let netns = self.netns().try_clone_to_owned().unwrap();
        std::thread::spawn(move || {
            nix::sched::setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        })
    }

    /// Answers "hello from PEER" to datagrams on a port, until the test ends.
    pub fn serve_udp(&self, port: u16) {
        let socket = self
            .within(move || UdpSocket::bind(("0.0.0.0", port)).unwrap())
            .join()
            .unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 100];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let answer = format!("hello from {}\n", peer.ip());
                socket.send_to(answer.as_bytes(), peer).unwrap();
            }
        });
    }

    /// A program that answers "hello from PEER" on a TCP port, and waits until
    /// it listens.
    pub fn serve(&self, protocol: &str, port: u16) -> Running {
        let only = if protocol.ends_with('6') {
            ",ipv6only=1"
        } else {
            ""
        };
        let server = self.spawn(&format!(
            "socat {protocol}-LISTEN:{port},fork,reuseaddr{only} SYSTEM:'echo hello from $SOCAT_PEERADDR'"
        ));
        self.wait_for_listener(&protocol[3..], port);
        server
    }

    /// Waits until somebody in the pod listens on a TCP port, in family `4` or
    /// `6`.
    pub fn wait_for_listener(&self, family: &str, port: u16) {
        let until = Instant::now() + Duration::from_secs(10);
        while !self.ok(&format!("ss -Hlnt{family} 'sport = :{port}' | grep -q .")) {
            assert!(Instant::now() < until, "nobody listens on {port}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A process that ends with its value.
pub struct Running(Child);

impl Running {
    pub fn start(mut command: Command) -> Self {
        Self(
            command
                .stdout(Stdio::null())
                .stdin(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn finish(output: std::process::Output, script: &str) -> String {
    assert!(
        output.status.success(),
        "{script}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What a shell prints in the host; it must succeed.
pub fn sh(script: &str) -> String {
    finish(
        Command::new("sh").args(["-c", script]).output().unwrap(),
        script,
    )
}

/// What a server of [`TestPod::serve_udp`] says to a client on this thread.
pub fn ask_udp(address: &str) -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    let mut buffer = [0; 100];
    socket.send(b"?").unwrap();
    match socket.recv(&mut buffer) {
        Ok(count) => String::from_utf8(buffer[..count].to_vec()).unwrap(),
        Err(_) => "nobody\n".to_owned(),
    }
}

/// A plan of one network, or more.
pub fn plan(configs: &[&str]) -> PrivateNetwork {
    let attachments = configs
        .iter()
        .enumerate()
        .map(|(number, text)| Attachment {
            if_name: format!("eth{number}"),
            args: String::new(),
            file: None,
            config: NetworkConfig::parse(text).unwrap(),
        })
        .collect();
    PrivateNetwork {
        attachments,
        ports: Vec::new(),
        plugin_path: vec![DEBIAN_PLUGINS.into()],
        use_dns: true,
    }
}

/// The built-in network `default`.
pub fn default_plan() -> PrivateNetwork {
    let (found, _) = manifests::cni::netd::all(&[]).unwrap();
    let choice = manifests::network::NetChoice::parse(["default"]).unwrap();
    let mut chosen = manifests::cni::netd::choose(found, &choice).unwrap();
    let (found, args) = chosen.remove(0);
    PrivateNetwork {
        attachments: vec![Attachment {
            if_name: "eth0".into(),
            args,
            file: found.file,
            config: found.config,
        }],
        ports: Vec::new(),
        plugin_path: Vec::new(),
        use_dns: true,
    }
}

/// A forwarded port.
pub fn port(
    name: &str,
    protocol: Protocol,
    host: &str,
    host_port: u16,
    pod_port: u16,
    count: u16,
) -> ForwardedPort {
    let host_ip = (!host.is_empty()).then(|| host.parse().unwrap());
    ForwardedPort {
        name: name.into(),
        protocol,
        host_ip,
        host_port,
        pod_port,
        count,
    }
}

/// Says that something cannot be tested here, as `tests::skip` does: `./check`
/// repeats the line above its summary.
pub fn skipped(reason: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED: {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(file) = std::env::var_os("RKT_TEST_SKIPPED") {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
