//! Which system calls the app may make, and what becomes of those it may not.

use serde_json::json;

use crate::table::{Row, row};

const RETAIN: &str = "os/linux/seccomp-retain-set";
const REMOVE: &str = "os/linux/seccomp-remove-set";

/// What the probe and its C library need besides `@systemd/default-whitelist`.
const NEEDED: [&str; 20] = [
    "read",
    "write",
    "writev",
    "open",
    "openat",
    "close",
    "fstat",
    "newfstatat",
    "lseek",
    "clone",
    "wait4",
    "pipe2",
    "kill",
    "setpgid",
    "set_robust_list",
    "readlink",
    "readlinkat",
    "ioctl",
    "rt_sigprocmask",
    "brk",
];

/// A filter by flag and by isolator.
fn filter(name: &'static str, mode: &str, errno: Option<&str>, set: &[&str]) -> Row {
    let kind = match mode {
        "retain" => RETAIN,
        _ => REMOVE,
    };
    let error = errno.map_or(String::new(), |errno| format!(",errno={errno}"));
    let mut value = json!({"set": set});
    if let Some(errno) = errno {
        value["errno"] = errno.into();
    }
    row(name)
        .flag(&format!("--seccomp=mode={mode}{error},{}", set.join(",")))
        .isolator(kind, value)
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("default")
            .sees("status Seccomp", "2")
            .sees("call getpid", "ok")
            .sees("call mount none /tmp tmpfs 0 -", "SIGSYS")
            .sees("call unshare 0x10000000", "SIGSYS")
            .sees("call setns -1 0", "SIGSYS")
            .sees("call keyctl 0 -3 1", "SIGSYS")
            .sees("call add_key user probe x 1 -3", "SIGSYS")
            .sees("call ptrace 0 0 0 0", "SIGSYS")
            .sees("call bpf 0 0 0", "SIGSYS")
            .sees("call kexec_load 0 0 0 0", "SIGSYS")
            .sees("call userfaultfd 0", "SIGSYS")
            .sees("call perf_event_open 0 0 -1 -1 0", "SIGSYS")
            // What no list knows looks as if the kernel did not have it.
            .sees("call io_uring_setup 1 -", "ENOSYS")
            .sees("call fsopen tmpfs 0", "ENOSYS")
            .sees("call open_tree -100 / 0", "ENOSYS")
            // New namespaces by the one call whose flags can be seen.
            .sees("call clone 0x11", "ok")
            .sees("call clone 0x10000011", "ENOSYS")
            .sees("call clone 0x40000011", "ENOSYS")
            .sees("call clone3 - 0", "ENOSYS"),
        filter(
            "retain-errno",
            "retain",
            Some("EXFULL"),
            &["@rkt/default-whitelist"],
        )
        .sees("status Seccomp", "2")
        .sees("call getpid", "ok")
        .sees("call mount none /tmp tmpfs 0 -", "EXFULL"),
        filter(
            "retain-kills",
            "retain",
            None,
            &["@docker/default-whitelist", "keyctl"],
        )
        .sees("call mount none /tmp tmpfs 0 -", "SIGSYS")
        .sees("call keyctl 0 -3 1", "ok"),
        filter("retain-everything", "retain", None, &["@appc.io/all"])
            .sees("status Seccomp", "0")
            .sees("call mount none /tmp tmpfs 0 -", "EPERM"),
        filter("retain-nothing", "retain", None, &["@appc.io/empty"]).refused(&["seccomp"]),
        filter(
            "remove-errno",
            "remove",
            Some("EXDEV"),
            &["sethostname", "getpid"],
        )
        .sees("call getpid", "EXDEV")
        .sees("call sethostname x 1", "EXDEV")
        // Nothing but what was named.
        .sees("call mount none /tmp tmpfs 0 -", "EPERM"),
        filter("remove-kills", "remove", None, &["getpid"])
            .sees("call getpid", "SIGSYS")
            .sees("call mount none /tmp tmpfs 0 -", "EPERM"),
        filter(
            "remove-nothing",
            "remove",
            Some("EXFULL"),
            &["@appc.io/empty"],
        )
        .sees("call getpid", "ok")
        .sees("call mount none /tmp tmpfs 0 -", "EXFULL"),
        filter("remove-everything", "remove", None, &["@appc.io/all"]).refused(&["seccomp"]),
        filter("unknown-errno", "remove", Some("EPONIES"), &["getpid"])
            .refused(&["probe", "EPONIES"]),
        // Filtered, it must not gain by what it executes; unfiltered it may.
        filter("user-unfiltered", "retain", None, &["@appc.io/all"])
            .with("--user=1000")
            .sees("status NoNewPrivs", "0"),
        row("switched-off")
            .with_pod("--insecure-options=seccomp")
            .sees("status Seccomp", "0")
            .sees("call mount none /tmp tmpfs 0 -", "EPERM")
            .sees("call unshare 0x10000000", "ok"),
    ];
    // Every group of the reference: one of its calls is refused as it says.
    for (name, group, call) in [
        ("group-clock", "@systemd/clock", "call settimeofday - -"),
        ("group-mount", "@systemd/mount", "call fsopen tmpfs 0"),
        (
            "group-network-io",
            "@systemd/network-io",
            "call socket 1 1 0",
        ),
        ("group-obsolete", "@systemd/obsolete", "call ustat 0 -"),
        (
            "group-privileged",
            "@systemd/privileged",
            "call reboot 0 0 0 -",
        ),
        // The probe tries calls in a child, so this is what fork says.
        ("group-process", "@systemd/process", "call unshare 0"),
        ("group-raw-io", "@systemd/raw-io", "call ioperm 0 0 0"),
        (
            "group-rkt-blacklist",
            "@rkt/default-blacklist",
            "call keyctl 0 -3 1",
        ),
        (
            "group-docker-blacklist",
            "@docker/default-blacklist",
            "call keyctl 0 -3 1",
        ),
    ] {
        rows.push(
            filter(name, "remove", Some("EXFULL"), &[group])
                .sees("status Seccomp", "2")
                .sees(call, "EXFULL"),
        );
    }
    let mut set = vec!["@systemd/default-whitelist"];
    set.extend(NEEDED);
    rows.push(
        filter("group-systemd-whitelist", "retain", Some("EXFULL"), &set)
            .sees("call getpid", "ok")
            .sees("call socket 1 1 0", "EXFULL")
            .sees("call sync", "EXFULL"),
    );
    rows
}
