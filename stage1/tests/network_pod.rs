//! A whole pod with a network, run by the real program.

#![allow(clippy::unwrap_used)]

mod network_host;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use manifests::engine::PrivateNetwork;
use network_host::{DEBIAN_PLUGINS, Host, default_plan, plan, port, sh};
use serde_json::{Value, json};

struct Pod {
    uuid: String,
    directory: PathBuf,
}

/// A pod of one app, busybox's shell, that runs `script`.
fn pod(host: &Host, number: u32, network: &PrivateNetwork, script: &str) -> Pod {
    let uuid = format!("{number:08x}-0000-4000-8000-{:012x}", std::process::id());
    let directory = host.directory.path().join("pods/run").join(&uuid);
    let root = directory.join("root");
    for dir in ["bin", "proc", "sys", "dev", "etc"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::create_dir_all(directory.join("apps/app")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    for applet in ["sh", "cat", "ip", "ping", "sleep", "nc", "echo", "hostname"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    std::fs::write(root.join("etc/resolv.conf"), "# of the image\n").unwrap();
    let mut mounts = vec![
        json!({"destination":"/proc","type":"proc","source":"proc"}),
        json!({"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["mode=755"]}),
    ];
    if network.may_resolve() {
        let file = directory.join("net-resolv.conf");
        std::fs::write(&file, "").unwrap();
        mounts.push(json!({"destination":"/etc/resolv.conf","source":file,"options":["bind"]}));
    }
    let engine = json!({
        "uuid": uuid, "hostname": "pod", "ipc": "private",
        "network": {"private": network},
        "apps": [{
            "name": "app", "rootfs": {"directory": {"path": root}},
            "stopSignal": 15, "stopTimeout": 2,
            "spec": {
                "ociVersion": "1.2.0",
                "root": {"path": "root"},
                "process": {
                    "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
                    "args": ["/bin/sh", "-c", script],
                    "capabilities": {"bounding":["CAP_NET_RAW"],"effective":["CAP_NET_RAW"],"permitted":["CAP_NET_RAW"]},
                },
                "mounts": mounts,
                "linux": {},
            },
        }],
    });
    std::fs::write(directory.join("engine.json"), engine.to_string()).unwrap();
    Pod { uuid, directory }
}

impl Pod {
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rkt-stage1"));
        command
            .args([verb, &self.uuid])
            .current_dir(&self.directory);
        command
    }

    fn run(&self) -> Output {
        self.command("run").stdin(Stdio::null()).output().unwrap()
    }

    fn start(&self) -> Child {
        let lock = File::open(&self.directory).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).unwrap();
        let child = self
            .command("run")
            .env("RKT_LOCK_FD", lock.as_raw_fd().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.wait_for("net-info.json");
        child
    }

    fn wait_for(&self, file: &str) {
        wait(|| self.directory.join(file).exists(), file);
    }

    fn gc(&self) {
        let output = self.command("gc").output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn info(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.directory.join("net-info.json")).unwrap())
            .unwrap()
    }
}

impl Drop for Pod {
    /// What a killed supervisor leaves of cgroups is for stage0 to remove.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let record = std::fs::read_to_string(self.directory.join("cgroup")).unwrap_or_default();
        let mut cgroups: Vec<&str> = record.lines().collect();
        cgroups.sort_by_key(|path| std::cmp::Reverse(path.len()));
        for cgroup in cgroups {
            let app = Path::new(cgroup).join("app");
            wait(
                || !app.exists() || std::fs::remove_dir(&app).is_ok(),
                "the app's cgroup to be empty",
            );
            wait(
                || !Path::new(cgroup).exists() || std::fs::remove_dir(cgroup).is_ok(),
                "the pod's cgroup to be empty",
            );
        }
    }
}

fn wait(done: impl Fn() -> bool, what: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn nothing_is_left(host: &Host, network: &str) {
    // The kernel takes its time for interfaces of a namespace that ended.
    wait(|| host.links().is_empty(), "the interfaces' end");
    assert_eq!(host.rules_of_pods(), "");
    assert_eq!(host.leases(network), Vec::<String>::new());
    let named = Path::new("/run/netns");
    assert!(!named.exists() || named.read_dir().unwrap().next().is_none());
}

#[test]
fn an_app_sees_its_address_from_its_first_instruction() {
    let host = Host::new();
    let script = "ip -o addr show eth0; ping -c1 -W2 172.16.28.1 >/dev/null && echo reached; cat /etc/resolv.conf";
    let pod = pod(&host, 1, &default_plan(), script);
    let output = pod.run();
    let out = text(&output.stdout);
    assert!(
        out.contains("172.16.28.2/24"),
        "{out}{}",
        text(&output.stderr)
    );
    assert!(out.contains("reached\n# of the image\n"), "{out}");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(pod.info()[0]["ip"], "172.16.28.2");
    nothing_is_left(&host, "default");
}

#[test]
fn what_a_network_says_of_names_is_the_apps_resolv_conf() {
    let host = Host::new();
    let config = r#"{"cniVersion":"1.0.0","name":"lan","type":"ptp","dns":{"nameservers":["10.1.0.53"]},
        "ipam":{"type":"host-local","subnet":"10.1.0.0/24"}}"#;
    let output = pod(&host, 1, &plan(&[config]), "cat /etc/resolv.conf").run();
    assert_eq!(
        text(&output.stdout),
        "# Generated by rkt from network lan\n\nnameserver 10.1.0.53\n"
    );
    // A program may say something, and this one does not.
    let config = r#"{"cniVersion":"1.0.0","name":"ext","plugins":[{"type":"loopback"},{"type":"vrf","vrfname":"v"}]}"#;
    let mut with_program = plan(&[config]);
    with_program.attachments[0].config.plugins[1].kind = "sh-plugin".into();
    let plugins = host.directory.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::fs::write(
        plugins.join("sh-plugin"),
        "#!/bin/sh\necho '{\"cniVersion\":\"1.0.0\"}'\n",
    )
    .unwrap();
    sh(&format!("chmod +x {}/sh-plugin", plugins.display()));
    with_program.plugin_path = vec![plugins];
    let output = pod(&host, 2, &with_program, "cat /etc/resolv.conf").run();
    assert_eq!(
        text(&output.stdout),
        "# of the image\n",
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_network_that_cannot_be_joined_ends_the_pod_and_leaves_nothing() {
    let host = Host::new();
    let mut network = default_plan();
    network.attachments[0].args = "IP=172.16.28.1".into();
    let output = pod(&host, 1, &network, "echo ran").run();
    assert_eq!(output.status.code(), Some(254));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(
        text(&output.stderr),
        "run: network \"default\": requested IP must differ gateway IP\n"
    );
    nothing_is_left(&host, "default");
}

#[test]
fn what_a_killed_supervisor_leaves_gc_removes() {
    let host = Host::new();
    let mut network = default_plan();
    network.ports = vec![port(
        "http",
        manifests::engine::Protocol::Tcp,
        "",
        8080,
        80,
        1,
    )];
    // With a program in the chain, there is a named namespace as well.
    let bridge = r#"{"cniVersion":"1.0.0","name":"ext","plugins":[{"type":"bridge","bridge":"br-ext","isGateway":true,
        "ipam":{"type":"host-local","subnet":"10.80.0.0/24"}},{"type":"sbr"}]}"#;
    network
        .attachments
        .push(plan(&[bridge]).attachments.remove(0));
    network.attachments[1].if_name = "eth1".into();
    network.plugin_path = vec![DEBIAN_PLUGINS.into()];
    let pod = pod(&host, 1, &network, "sleep 1000");
    let mut child = pod.start();
    pod.wait_for("apps/app/status");
    assert!(host.rules().contains(&pod.uuid));
    assert_eq!(host.leases("ext").len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(pod.directory.join("net").exists());
    pod.gc();
    pod.gc();
    assert_eq!(host.links(), ["br-ext"]);
    sh("ip link delete br-ext");
    nothing_is_left(&host, "default");
    assert_eq!(host.leases("ext"), Vec::<String>::new());
    assert!(!pod.directory.join("net").exists());
}

#[test]
fn an_address_of_a_dead_pod_that_nobody_collected_is_taken_back() {
    let host = Host::new();
    let config = r#"{"name":"tiny","type":"ptp","ipMasq":true,
        "ipam":{"type":"host-local","subnet":"10.81.0.0/30"}}"#;
    let first = pod(&host, 1, &plan(&[config]), "sleep 1000");
    let mut child = first.start();
    let late = pod(&host, 2, &plan(&[config]), "ip -o addr show eth0");
    let refused = late.run();
    assert_eq!(
        text(&refused.stderr),
        "run: network \"tiny\": no IP addresses available in network: tiny\n"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let output = late.run();
    assert!(
        text(&output.stdout).contains("10.81.0.2/30"),
        "{}",
        text(&output.stderr)
    );
    // Its own gc comes too late to hurt anybody.
    first.gc();
    nothing_is_left(&host, "tiny");
}

#[test]
fn a_firewall_reload_does_not_take_the_pods_away() {
    let host = Host::new();
    let with_port = |host_port| {
        let ports = vec![port(
            "http",
            manifests::engine::Protocol::Tcp,
            "",
            host_port,
            80,
            1,
        )];
        PrivateNetwork {
            ports,
            ..default_plan()
        }
    };
    let a = pod(&host, 1, &with_port(8080), "sleep 1000");
    let b = pod(&host, 2, &with_port(8081), "sleep 1000");
    let (mut first, mut second) = (a.start(), b.start());
    let before = host.rules();
    assert!(
        before.contains(&a.uuid) && before.contains(&b.uuid),
        "{before}"
    );
    sh("nft add table ip other");
    sh("nft flush ruleset");
    wait(
        || {
            let rules = host.rules();
            rules.contains(&a.uuid) && rules.contains(&b.uuid)
        },
        "both pods' parts of the firewall",
    );
    assert_eq!(host.rules().lines().count(), before.lines().count());
    sh(&format!("kill {} {}", first.id(), second.id()));
    first.wait().unwrap();
    second.wait().unwrap();
    nothing_is_left(&host, "default");
}
