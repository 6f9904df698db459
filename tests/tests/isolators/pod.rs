//! What apps share with each other and not with the host: names, namespaces,
//! kernel parameters; and what the process is started with.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::table::{Row, row};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn variables(here: &Path) {
    fs::write(here.join("variables"), "FROM_FILE=3\n").unwrap();
}

/// This process's namespace, which is the host's.
fn of_host(kind: &str) -> String {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    link.to_string_lossy().into_owned()
}

/// Whether the pod shares it.
fn namespace(row: Row, kind: &'static str, shared: bool) -> Row {
    let question = format!("link /proc/self/ns/{kind}");
    // A row's answers are known before it is run.
    let here = Box::leak(of_host(kind).into_boxed_str());
    match shared {
        true => row.sees(&question, &*here),
        false => row.sees_not(&question, here),
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = namespaces();
    rows.extend(names());
    rows.push(users());
    rows.extend([
        row("working-directory")
            .flag("--working-dir=/var")
            .image("workingDirectory", json!("/var"))
            .sees("directory", "/var"),
        row("working-directory-root").sees("directory", "/"),
        row("working-directory-missing")
            .flag("--working-dir=/nosuch")
            .image("workingDirectory", json!("/nosuch"))
            .refused(&["probe", "/nosuch"]),
        row("environment")
            .flag("--environment=FROM=1")
            .image("environment", json!([{"name": "FROM", "value": "1"}]))
            .sees_in("environment", "\"FROM=1\"")
            .sees_in("environment", PATH)
            .sees_in("environment", "\"AC_APP_NAME=probe\""),
        row("environment-of-the-pod")
            .with_pod("--set-env=EVERYWHERE=2")
            .before(variables)
            .with_pod("--set-env-file=HOST/variables")
            .sees_in("environment", "\"EVERYWHERE=2\"")
            .sees_in("environment", "\"FROM_FILE=3\""),
        row("environment-inherited")
            .with_pod("--inherit-env")
            .sees_in("environment", "\"LC_ALL=C.UTF-8\""),
        row("environment-not-inherited").sees_not("environment", "LC_ALL"),
        row("program")
            .with("--exec=/probe")
            .sees("link /proc/self/exe", "/probe"),
        row("sysctl")
            .pod_isolator(
                "os/unix/sysctl",
                json!({"net.core.somaxconn": "777", "kernel.shmmax": "65536"}),
            )
            .sees("read /proc/sys/net/core/somaxconn", "777")
            .sees("read /proc/sys/kernel/shmmax", "65536")
            .sees("rewrite /proc/sys/net/core/somaxconn", "EROFS"),
        row("sysctl-of-the-host")
            .pod_isolator("os/unix/sysctl", json!({"vm.overcommit_memory": "1"}))
            .refused(&["vm.overcommit_memory"]),
    ]);
    rows
}

/// Users of its own, in whose eyes nothing is other than without.
fn users() -> Row {
    namespace(row("private-users"), "user", false)
        .with_pod("--private-users")
        .sees("status Uid", "0 0 0 0")
        .sees("status CapPrm", "00000000a80425fb")
        .sees_in("read /proc/self/uid_map", " 65536")
        .sees_in("read /proc/self/gid_map", " 65536")
        .sees("stat /owned", "- 644 1234 5678")
        .sees("call chown /owned 7 8", "ok")
        .sees("call chown /owned 70000 8", "EINVAL")
}

fn namespaces() -> Vec<Row> {
    let mut all = row("namespaces");
    for kind in ["mnt", "pid", "uts", "ipc", "net", "cgroup"] {
        all = namespace(all, kind, false);
    }
    vec![
        namespace(all, "user", true)
            .sees_in("read /proc/self/cgroup", ":/")
            .sees_not("read /proc/self/cgroup", "rkt"),
        namespace(row("network-none").with_pod("--net=none"), "net", false)
            .sees("list /sys/class/net", json!(["lo"])),
        namespace(row("network-host").with_pod("--net=host"), "net", true),
        namespace(row("ipc-private").with_pod("--ipc=private"), "ipc", false),
        namespace(row("ipc-parent").with_pod("--ipc=parent"), "ipc", true),
        namespace(row("ipc-auto").with_pod("--ipc=auto"), "ipc", false),
    ]
}

fn names() -> Vec<Row> {
    vec![
        row("hostname")
            .with_pod("--hostname=the-host")
            .sees("hostname", "the-host")
            .sees("read /etc/hostname", "the-host")
            .sees_in("read /etc/hosts", "the-host"),
        row("hosts")
            .with_pod("--hosts-entry=192.0.2.1=there,192.0.2.2=yonder")
            .sees_in("read /etc/hosts", "192.0.2.1 there")
            .sees_in("read /etc/hosts", "192.0.2.2 yonder"),
        row("resolver")
            .with_pod("--dns=192.0.2.53")
            .with_pod("--dns-search=example.com")
            .with_pod("--dns-opt=ndots:3")
            .with_pod("--dns-domain=example.org")
            .sees_in("read /etc/resolv.conf", "nameserver 192.0.2.53")
            .sees_in("read /etc/resolv.conf", "search example.com")
            .sees_in("read /etc/resolv.conf", "options ndots:3")
            .sees_in("read /etc/resolv.conf", "domain example.org"),
        row("resolver-of-the-image")
            .with_pod("--dns=none")
            .files(|mut aci| {
                aci.rootfs = aci.rootfs.file("etc/resolv.conf", 0o644, "# mine\n");
                aci
            })
            .sees("read /etc/resolv.conf", "# mine"),
    ]
}
