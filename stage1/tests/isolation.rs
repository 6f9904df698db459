//! What an app must not see, reach or do. Each test is named after what goes
//! wrong without the protection, with the published case where there is one.

#![allow(clippy::unwrap_used)] // In tests, helpers included.

mod common;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

use common::Pod;
use serde_json::{Value, json};

fn mount(spec: &mut Value, mount: Value) {
    spec["mounts"].as_array_mut().unwrap().push(mount);
}

fn bind(source: impl AsRef<std::path::Path>, destination: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source.as_ref(),
           "options": ["rbind"]})
}

#[test]
fn every_namespace_is_the_pods_own() {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    let out =
        Pod::script("cd /proc/self/ns; for n in cgroup ipc mnt net pid uts; do readlink $n; done")
            .output();
    for (kind, inside) in kinds.iter().zip(out.lines()) {
        let ours = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_ne!(ours.to_string_lossy(), inside);
    }
    assert_eq!(out.lines().count(), kinds.len());
}

#[test]
fn the_hosts_network_and_ipc_are_there_when_asked_for() {
    let pod = Pod::script("readlink /proc/self/ns/net; readlink /proc/self/ns/ipc").with(|pod| {
        pod.manifest["network"] = json!("host");
        pod.manifest["ipc"] = json!("parent");
    });
    let ours = |kind| {
        fs::read_link(format!("/proc/self/ns/{kind}"))
            .unwrap()
            .display()
            .to_string()
    };
    assert_eq!(pod.output(), format!("{}\n{}\n", ours("net"), ours("ipc")));
}

#[test]
fn loopback_is_up_and_alone() {
    let out = Pod::script(
        "cat /sys/class/net/lo/operstate; ls /sys/class/net; cat /sys/class/net/lo/flags",
    )
    .output();
    assert_eq!(out, "unknown\nlo\n0x9\n");
}

#[test]
fn no_descriptor_of_ours_or_of_the_caller_leaks() {
    let pod = Pod::script("ls /proc/self/fd; ls -l /proc/self/fd >&2");
    // One descriptor that the engine is told of, and one that it is not.
    let pin = fs::File::open("/etc").unwrap();
    let leak = fs::File::open("/etc").unwrap();
    for fd in [&pin, &leak] {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
    }
    let mut command = pod.command();
    command.env("RKT_PIN_FDS", pin.as_raw_fd().to_string());
    let output = command.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    // 3 is the directory that ls reads.
    assert_eq!(
        out,
        "0\n1\n2\n3\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// CVE-2024-21626: a leaked descriptor of the host as the working directory.
#[test]
fn a_working_directory_through_a_magic_link_is_refused() {
    for number in 0..12 {
        let pod = Pod::new().app("app", &["ls", "-a"], |spec| {
            spec["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        });
        let outcome = pod.run();
        assert_eq!(outcome.code, Some(200), "{number}: {outcome:?}");
    }
}

/// CVE-2019-5736: the engine's binary overwritten through `/proc/1/exe`.
#[test]
fn the_engines_binary_cannot_be_reached() {
    let out = Pod::script(
        "readlink /proc/1/exe; cat /proc/1/exe >/dev/null 2>&1 && echo read; \
         { echo x > /proc/1/exe; } 2>/dev/null && echo written; ls /proc/1/root/ /proc/1/cwd/ 2>/dev/null; \
         for fd in /proc/1/fd/*; do readlink $fd; { echo x > $fd; } 2>/dev/null && echo opened; done; echo end",
    )
    .output();
    assert_eq!(out, "end\n");
}

#[test]
fn capabilities_are_exactly_those_listed() {
    let sets = |uid: u32, ambient: &[&str]| {
        let ambient = ambient.to_vec();
        let pod = Pod::new().app("app", &["sh", "-c", "cat /proc/self/status"], |spec| {
            spec["process"]["user"] = json!({"uid": uid, "gid": 0});
            let some = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"];
            spec["process"]["capabilities"] = json!({
                "bounding": some, "effective": some, "permitted": some,
                "inheritable": ambient, "ambient": ambient,
            });
        });
        let out = pod.output();
        let line = |name: &str| {
            let line = out.lines().find_map(|l| l.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(line)
    };
    let (all, kill) = ((1 << 0) | (1 << 5) | (1 << 13), 1 << 5);
    assert_eq!(sets(0, &[]), [0, all, all, all, 0]);
    // CVE-2022-29162: nothing inheritable unless asked for.
    assert_eq!(sets(1000, &[]), [0, 0, 0, all, 0]);
    assert_eq!(sets(1000, &["CAP_KILL"]), [kill, kill, kill, all, kill]);
}

fn filter(names: &[&str], action: &str) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": action}]})
}

#[test]
fn a_filter_forbids_with_an_error_or_with_death() {
    let run = |names: &[&str], action: &str, nnp: bool, uid: u32| {
        let pod = Pod::new().app(
            "app",
            &["sh", "-c", "mkdir /tmp/d; echo $?; cat /proc/self/status"],
            |spec| {
                spec["linux"]["seccomp"] = filter(names, action);
                spec["process"]["noNewPrivileges"] = json!(nnp);
                spec["process"]["user"] = json!({"uid": uid, "gid": 0});
            },
        );
        pod.run()
    };
    for (nnp, uid) in [(false, 0), (true, 0), (false, 1000), (true, 1000)] {
        let outcome = run(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO", nnp, uid);
        let field = |name: &str| {
            let line = outcome.out.lines().find_map(|l| l.strip_prefix(name));
            line.map(|l| l.trim().to_owned())
        };
        assert!(outcome.out.starts_with("1\n"), "{outcome:?}");
        assert_eq!(field("Seccomp:").as_deref(), Some("2"), "{outcome:?}");
        assert_eq!(
            field("Seccomp_filters:").as_deref(),
            Some("1"),
            "{outcome:?}"
        );
        assert_eq!(
            field("NoNewPrivs:").as_deref(),
            Some(if nnp { "1" } else { "0" })
        );
        let effective = field("CapEff:").unwrap();
        let admin = u64::from_str_radix(&effective, 16).unwrap() & (1 << 21);
        assert_eq!(admin, 0, "CAP_SYS_ADMIN outlived the start");
    }
    let killed = run(&["mkdir", "mkdirat"], "SCMP_ACT_KILL_PROCESS", false, 0);
    // The shell goes on when its child is killed by SIGSYS.
    assert!(killed.out.starts_with("159\n"), "{killed:?}");
}

#[test]
fn masked_paths_show_nothing_and_read_only_ones_are_not_written() {
    let out = Pod::script(
        "cat /proc/kallsyms; ls -A /sys/firmware; \
         { echo 1 > /proc/sys/kernel/hostname; } 2>/dev/null || echo kept; \
         { echo h > /proc/sysrq-trigger; } 2>/dev/null || echo kept; \
         { echo > /sys/kernel/uevent_helper; } 2>/dev/null || echo kept; \
         { echo > /proc/sys/kernel/core_pattern; } 2>/dev/null || echo kept",
    )
    .output();
    assert_eq!(out, "kept\nkept\nkept\nkept\n");
}

/// CVE-2025-31133: an image whose `/dev/null` is a link to what is masked.
#[test]
fn the_cover_of_masked_files_is_not_the_images() {
    let pod = Pod::new().app(
        "app",
        &["sh", "-c", "cat /proc/kallsyms; echo end"],
        |spec| {
            // No tmpfs on /dev: the image's own directory is used.
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
        },
    );
    symlink("/proc/kallsyms", pod.image().join("dev/null")).unwrap();
    assert_eq!(pod.output(), "end\n");
}

/// CVE-2021-30465 and its kin: mount points that are links out of the root.
#[test]
fn mounts_through_links_stay_inside_the_root() {
    let pod = Pod::new();
    let (outside, image) = (pod.outside(), pod.image());
    fs::write(outside.join("file"), "host").unwrap();
    fs::create_dir(pod.outside().join("volume")).unwrap();
    fs::write(outside.join("volume/data"), "volume").unwrap();
    symlink(&outside, image.join("absolute")).unwrap();
    symlink("../../../../..", image.join("etc/up")).unwrap();
    symlink("/run/stub/resolv.conf", image.join("etc/resolv.conf")).unwrap();
    let pod = pod.app(
        "app",
        &[
            "sh",
            "-c",
            "cat /absolute/data /etc/up/top/data /etc/resolv.conf",
        ],
        |spec| {
            mount(spec, bind(outside.join("volume"), "/absolute"));
            mount(spec, bind(outside.join("volume"), "/etc/up/top"));
            mount(spec, bind(outside.join("file"), "/etc/resolv.conf"));
        },
    );
    assert_eq!(pod.output(), "volumevolumehost");
    let mut left: Vec<_> = fs::read_dir(&outside)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(
        left,
        ["file", "volume"],
        "something was made outside the root"
    );
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2025-52881: a volume or a link in the
/// place of procfs, so that the engine's or the app's writes go astray.
#[test]
fn nothing_is_mounted_over_or_instead_of_procfs() {
    let pod = Pod::new();
    let outside = pod.outside();
    let pod = pod.app("app", &["true"], |spec| {
        mount(spec, bind(&outside, "/proc/self"))
    });
    let outcome = pod.run();
    assert_eq!(outcome.code, Some(254), "{outcome:?}");
    assert!(outcome.err.contains("/proc"), "{outcome:?}");

    let pod = Pod::script("true");
    fs::remove_dir(pod.image().join("proc")).unwrap();
    symlink("tmp", pod.image().join("proc")).unwrap();
    let outcome = pod.run();
    assert_eq!(outcome.code, Some(254), "{outcome:?}");
    assert!(outcome.err.contains("symbolic link"), "{outcome:?}");
}

#[test]
fn files_that_tools_replace_in_proc_can_be_replaced() {
    let pod = Pod::new();
    let file = pod.outside().join("cpuinfo");
    fs::write(&file, "mine").unwrap();
    let pod = pod.app("app", &["cat", "/proc/cpuinfo"], |spec| {
        mount(spec, bind(&file, "/proc/cpuinfo"));
    });
    assert_eq!(pod.output(), "mine");
}

#[test]
fn mount_options_are_enforced() {
    let pod = Pod::new();
    let outside = pod.outside();
    fs::copy("/bin/busybox", outside.join("busybox")).unwrap();
    let pod = pod.app(
        "app",
        &["sh", "-c", "touch /ro/x 2>/dev/null; echo $?; /ne/busybox true 2>/dev/null; echo $?; touch /rw/x; echo $?"],
        |spec| {
            for (at, option) in [("/ro", "ro"), ("/ne", "noexec"), ("/rw", "rw")] {
                let mut volume = bind(&outside, at);
                volume["options"] = json!(["rbind", option]);
                mount(spec, volume);
            }
        },
    );
    assert_eq!(pod.output(), "1\n126\n0\n");
    assert!(outside.join("x").exists());
}

#[test]
fn a_read_only_root_is_read_only_but_for_its_mounts() {
    let pod = Pod::new().app(
        "app",
        &[
            "sh",
            "-c",
            "touch /x 2>/dev/null; echo $?; touch /dev/x; echo $?",
        ],
        |spec| spec["root"] = json!({"path": "rootfs", "readonly": true}),
    );
    assert_eq!(pod.output(), "1\n0\n");
}

#[test]
fn the_image_stays_as_it_was() {
    let pod = Pod::script("touch /new; mkdir /etc/d; echo ok");
    assert_eq!(pod.output(), "ok\n");
    assert!(!pod.image().join("new").exists() && !pod.image().join("etc/d").exists());
    assert!(pod.directory().join("apps/app/upper/new").exists());
}

#[test]
fn mounts_do_not_travel_to_the_host() {
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let pod = Pod::new().app(
        "app",
        &["sh", "-c", "mount -t tmpfs none /tmp; echo $?"],
        |spec| {
            let with: Vec<_> = ["CAP_SYS_ADMIN"].to_vec();
            for set in ["bounding", "effective", "permitted"] {
                spec["process"]["capabilities"][set] = json!(with);
            }
        },
    );
    assert_eq!(pod.output(), "0\n");
    assert_eq!(before, fs::read_to_string("/proc/self/mountinfo").unwrap());
}

#[test]
fn only_the_listed_devices_can_be_used() {
    let out = Pod::script(
        "echo x > /dev/null; echo $?; dd if=/dev/zero of=/dev/null count=1 2>/dev/null; echo $?; \
         mknod /tmp/mem c 1 1 2>/dev/null; echo $?; mknod /tmp/null c 1 3 2>/dev/null; echo $?",
    )
    .output();
    assert_eq!(out, "0\n0\n1\n1\n");
}

#[test]
fn device_nodes_in_the_image_open_nothing() {
    let pod = Pod::script("cat /etc/disk; echo $?");
    let number = rustix::fs::makedev(1, 1);
    let kind = rustix::fs::FileType::CharacterDevice;
    let node = pod.image().join("etc/disk");
    rustix::fs::mknodat(rustix::fs::CWD, &node, kind, 0o666.into(), number).unwrap();
    let outcome = pod.run();
    assert_eq!(outcome.out, "1\n", "{outcome:?}");
    assert!(
        outcome.err.contains("Operation not permitted"),
        "{outcome:?}"
    );
}

#[test]
fn devices_are_made_as_listed() {
    let pod = Pod::new().app("app", &["stat", "-c", "%n %t:%T %a %u:%g", "/dev/fuse-like", "/dev/null"], |spec| {
        spec["linux"]["devices"] = json!([
            {"path": "/dev/fuse-like", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4},
        ]);
    });
    assert_eq!(
        pod.output(),
        "/dev/fuse-like a:e5 640 3:4\n/dev/null 1:3 666 0:0\n"
    );
}

#[test]
fn signals_are_neither_blocked_nor_ignored() {
    let pod = Pod::new().app("app", &["cat", "/proc/self/status"], |_| {});
    let out = pod.output();
    for field in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        let line = out.lines().find_map(|l| l.strip_prefix(field)).unwrap();
        assert_eq!(line.trim().trim_start_matches('0'), "", "{field} {line}");
    }
}

#[test]
fn kernel_parameters_are_set_in_the_pod_alone() {
    let pod = Pod::new().app(
        "app",
        &[
            "cat",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/kernel/shmmni",
        ],
        |spec| {
            spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"});
        },
    );
    let before = fs::read_to_string("/proc/sys/kernel/shmmni").unwrap();
    assert_eq!(pod.output(), "1\n77\n");
    assert_eq!(
        before,
        fs::read_to_string("/proc/sys/kernel/shmmni").unwrap()
    );
}

#[test]
fn the_oom_score_is_set() {
    let pod = Pod::new().app("app", &["cat", "/proc/self/oom_score_adj"], |spec| {
        spec["process"]["oomScoreAdj"] = json!(321);
    });
    assert_eq!(pod.output(), "321\n");
}
