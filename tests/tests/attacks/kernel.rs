//! Ways into the host through what the kernel does for everybody.

use std::collections::BTreeSet;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use tests::{Host, skip};

use crate::walls::{answers, held_until, run, says, without};

/// The kernel executes what these name, on the host, as root.
#[test]
fn programs_that_the_kernel_executes() {
    for file in ["/proc/sys/kernel/core_pattern", "/sys/kernel/uevent_helper"] {
        if !Path::new(file).exists() {
            skip::skipped(&format!("the kernel has no {file}"));
            continue;
        }
        held_until(&["--insecure-options=paths"], |host, flags| {
            says(run(host, flags, &[], &[&format!("rewrite {file}")]), "ok")
        });
    }
}

/// So does cgroup v1 when a cgroup becomes empty (CVE-2022-0492).
#[test]
fn release_agent() {
    if !Path::new("/sys/fs/cgroup/memory/release_agent").exists() {
        skip::skipped("the host has no cgroup v1 with memory");
        return;
    }
    let attack = |host: &Host, flags: &[&str]| {
        let questions = [
            "call mount none /tmp cgroup 0 memory",
            "rewrite /tmp/release_agent",
        ];
        let answers = answers(run(host, flags, &[], &questions)).unwrap();
        answers[questions[1]] == "ok"
    };
    let open = ["--insecure-options=capabilities,seccomp,paths"];
    let host = Host::new();
    assert!(!attack(&host, &[]));
    assert!(
        !attack(&host, &open),
        "its cgroup is the root of what it mounts"
    );
    let Some(host) = without(&["CgroupNamespace"]) else {
        return;
    };
    assert!(!attack(&host, &[]), "it can mount");
    assert!(attack(&host, &open), "shows nothing");
}

/// A user namespace would give every capability over most of the kernel's
/// code.
#[test]
fn user_namespaces_inside() {
    for question in ["call unshare 0x10000000", "call clone 0x10000011"] {
        for user in ["--user=0", "--user=1000"] {
            held_until(&["--insecure-options=seccomp"], |host, flags| {
                says(run(host, flags, &[user], &[question]), "ok")
            });
        }
    }
}

/// Abstract sockets belong to the network, and no file guards them
/// (CVE-2020-15257).
#[test]
fn abstract_sockets_of_the_host() {
    let name = format!("rkt-attack-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listens = UnixListener::bind_addr(&address).unwrap();
    held_until(&["--net=host"], |host, flags| {
        says(run(host, flags, &[], &[&format!("connect {name}")]), "ok")
    });
}

/// Nothing of ours listens on one, where an app of `--net=host` could come.
#[test]
fn cve_2020_15257_no_abstract_sockets_of_ours() {
    let sockets = || -> BTreeSet<String> {
        let list = std::fs::read_to_string("/proc/net/unix").unwrap();
        let names = list.lines().filter_map(|line| line.split('@').nth(1));
        names
            .filter(|name| name.contains("rkt"))
            .map(str::to_owned)
            .collect()
    };
    let before = sockets();
    let host = Host::new();
    let flags = ["--net=host"];
    // An app to attach to: the supervisor takes orders.
    let mut pod = run(&host, &flags, &["--stdin=stream"], &["directory", "stay"]).spawn();
    pod.wait_for("}");
    let new: Vec<String> = sockets().difference(&before).cloned().collect();
    assert!(
        !new.iter().any(|name| !name.starts_with("rkt-attack-")),
        "{new:?}"
    );
}
