//! Walls around an app: capabilities, seccomp, devices, kernel paths, cgroups
//! and a root file system of its own.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;

use nix::sys::signal::Signal;
use tests::shell::{app, host, pod, sh};
use tests::{Aci, Host, Rootfs};

mod walls {
    use super::*;

    #[test]
    fn no_descriptor_leaks_into_an_app() {
        let host = host();
        // ls itself holds the directory it lists.
        let out = sh(&host, "ls /proc/self/fd | tr '\\n' ' '");
        assert_eq!(out.text(), "0 1 2 3", "{out}");
        let out = pod(&host, &["--interactive"], "ls /proc/self/fd | tr '\\n' ' '")
            .stdin("")
            .run()
            .ok();
        assert_eq!(out.text(), "0 1 2 3", "{out}");
    }

    #[test]
    fn capabilities_are_the_fourteen() {
        let host = host();
        let out = sh(
            &host,
            "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | tr '\\t\\n' '  '",
        );
        assert_eq!(
            out.text(),
            "CapInh: 0000000000000000 CapPrm: 00000000a80425fb CapEff: 00000000a80425fb CapBnd: 00000000a80425fb CapAmb: 0000000000000000"
        );
        let out = app(
            &host,
            &["--user=app", "--group=app"],
            "grep -E '^Cap(Prm|Eff|Bnd|Amb)' /proc/self/status | tr '\\t\\n' '  '",
        )
        .ok();
        assert_eq!(
            out.text(),
            "CapPrm: 0000000000000000 CapEff: 0000000000000000 CapBnd: 00000000a80425fb CapAmb: 0000000000000000"
        );
    }

    #[test]
    fn capabilities_stay_when_asked_for() {
        let host = host();
        let out = host
            .rkt([
                "--insecure-options=capabilities",
                "run",
                "--net=none",
                "example.com/sh",
                "--",
            ])
            .arg("grep CapBnd /proc/self/status | cut -f2")
            .run()
            .ok();
        let ours = fs::read_to_string("/proc/self/status").unwrap();
        let ours = ours
            .lines()
            .find_map(|l| l.strip_prefix("CapBnd:"))
            .unwrap();
        assert_eq!(out.text(), ours.trim());
    }

    #[test]
    fn the_default_filter_is_on() {
        let host = host();
        let out = sh(&host, "grep -E '^Seccomp:' /proc/self/status | cut -f2");
        assert_eq!(out.text(), "2");
        // umount2 is not on the default list: the caller is killed by SIGSYS.
        let out = sh(&host, "umount /nowhere 2>/dev/null; echo $?");
        assert_eq!(out.text(), "159", "128 + SIGSYS: {out}");
        let out = host
            .rkt(["--insecure-options=seccomp", "run", "--net=none", "example.com/sh", "--"])
            .arg("grep -E '^Seccomp:' /proc/self/status | cut -f2; umount /nowhere 2>/dev/null; echo $?")
            .run()
            .ok();
        assert_eq!(out.text(), "0\n1");
    }

    #[test]
    fn kernel_paths_are_masked_or_read_only() {
        let host = host();
        let script = "
            for f in kcore kallsyms sched_debug; do
                [ ! -e /proc/$f ] || [ -z \"$(head -c 1 /proc/$f 2>/dev/null)\" ] || echo readable $f; done
            for d in firmware power; do [ -z \"$(ls -A /sys/$d 2>/dev/null)\" ] || echo visible $d; done
            for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sysrq-trigger \
                /proc/sys/kernel/hostname; do
                { [ -e $f ] && echo x >$f; } 2>/dev/null && echo writable $f; done
            mkdir /sys/kernel/x 2>/dev/null && echo writable /sys
            echo end";
        sh(&host, script).prints("end\n");
    }

    #[test]
    fn dev_is_the_standard_set() {
        let host = host();
        let out = sh(
            &host,
            "ls /dev | tr '\\n' ' '; readlink /dev/fd; echo x >/dev/null; head -c 4 /dev/zero | wc -c",
        );
        let mut lines = out.stdout.lines();
        let line = lines.next().unwrap();
        for name in [
            "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd",
            "stdin", "stdout", "stderr",
        ] {
            assert!(
                line.split(' ').any(|w| w == name),
                "/dev/{name} is missing: {out}"
            );
        }
        assert!(line.contains("/proc/self/fd"), "{out}");
        assert_eq!(lines.next(), Some("4"), "{out}");
        for disk in ["vda", "sda", "nvme0n1", "mem", "kmsg", "kvm"] {
            assert!(
                !line.split(' ').any(|w| w == disk),
                "/dev/{disk} of the host is there: {out}"
            );
        }
    }

    /// CAP_MKNOD is in the default set, so the device list must hold.
    #[test]
    fn a_made_device_node_cannot_be_opened() {
        let host = host();
        let out = sh(
            &host,
            "{ mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem; } 2>&1; mknod /tmp/null c 1 3 && echo x >/tmp/null && echo null works",
        );
        assert!(out.stdout.contains("not permitted"), "{out}");
        assert!(out.stdout.contains("null works"), "{out}");
    }

    /// runc's CVE-2019-5736: a host binary opened for writing through /proc.
    #[test]
    fn the_engines_binary_cannot_be_written() {
        let host = host();
        let script = "for p in 1 self; do
            ( : >>/proc/$p/exe ) 2>/dev/null && [ $p = 1 ] && echo opened /proc/$p/exe; done; echo end";
        host.rkt([
            "--insecure-options=all-run",
            "run",
            "--net=none",
            "example.com/sh",
            "--",
            script,
        ])
        .run()
        .ok()
        .prints("end\n");
    }

    #[test]
    fn the_hosts_files_are_out_of_reach() {
        let host = host();
        let out = sh(
            &host,
            "ls / | tr '\\n' ' '; ls /proc/1/root/ 2>/dev/null | tr '\\n' ' '",
        );
        for name in ["boot", "lib64", "mnt", "opt"] {
            assert!(!out.stdout.split_whitespace().any(|w| w == name), "{out}");
        }
    }
}

mod filesystem {
    use super::*;

    #[test]
    fn each_pod_writes_to_itself_only() {
        let host = host();
        sh(
            &host,
            "echo x >/made; echo changed >/etc/group; rm /etc/passwd; mkdir -p /tmp/d/e",
        );
        sh(
            &host,
            "ls /made /tmp/d 2>/dev/null; head -n 1 /etc/group; head -n 1 /etc/passwd",
        )
        .prints("root:x:0:\nroot:x:0:0:root:/root:/bin/sh\n");
    }

    #[test]
    fn apps_of_one_image_do_not_share_their_writes() {
        let host = host();
        let out = host
            .rkt(["run", "--net=none"])
            .args([
                "example.com/sh",
                "--name=a",
                "--",
                "echo x >/made; sleep 0.2",
                "---",
            ])
            .args([
                "example.com/sh",
                "--name=b",
                "--",
                "sleep 0.1; ls /made 2>/dev/null; echo end",
            ])
            .run()
            .ok();
        assert_eq!(out.stdout, "[b] end\n", "{out}");
    }

    /// Modes, owners, links and attributes arrive as they stood in the tar.
    #[test]
    fn the_tars_metadata_arrives() {
        let host = Host::new();
        let rootfs = Rootfs::busybox()
            .file("srv/x", 0o4751, "x")
            .owned("srv/x", 7, 8)
            .hardlink("srv/y", "srv/x")
            .symlink("srv/z", "/srv/x")
            .dir("srv/d", 0o2770)
            .char_device("srv/null", 1, 3);
        host.fetch_aci(&Aci::new("example.com/sh", &["/bin/sh", "-c"], rootfs));
        let out = sh(
            &host,
            "cd /srv; stat -c '%n %a %u %g %h %F' x y d null; readlink z; stat -c %Y x",
        );
        assert_eq!(
            out.stdout,
            "x 4751 7 8 2 regular file\ny 4751 7 8 2 regular file\nd 2770 0 0 2 directory\nnull 666 0 0 1 character special file\n/srv/x\n1000000000\n",
            "{out}"
        );
    }

    #[test]
    fn no_overlay_copies_the_tree() {
        let host = host();
        pod(&host, &["--no-overlay"], "echo x >/made && cat /made")
            .run()
            .ok()
            .prints("x\n");
        pod(&host, &["--no-overlay"], "ls /made 2>/dev/null; echo end")
            .run()
            .ok()
            .prints("end\n");
    }

    #[test]
    fn the_image_is_mounted_once_for_many_pods() {
        let host = host();
        let mut running: Vec<_> = (0..3)
            .map(|_| pod(&host, &[], "echo ready; sleep 5").spawn())
            .collect();
        for pod in &mut running {
            pod.wait_for("ready");
        }
        let mounts = tests::leaks::mounts(host.path());
        let images = mounts.iter().filter(|m| m.contains("- erofs ")).count();
        assert!(images <= 1, "{mounts:#?}");
        let overlays = mounts.iter().filter(|m| m.contains("- overlay ")).count();
        assert_eq!(
            overlays, 0,
            "pods' mounts are in the host's namespace: {mounts:#?}"
        );
    }
}

mod cgroups {
    use super::*;

    #[test]
    fn each_app_has_one_and_none_is_left() {
        let host = host();
        let mut running = host
            .rkt(["run", "--net=none"])
            .args(["example.com/sh", "--name=a", "--", "echo ready; cat", "---"])
            .args(["example.com/sh", "--name=b", "--", "echo ready; sleep 5"])
            .spawn();
        running.wait_for("[b] ready");
        let uuid = host.last_uuid();
        let groups = tests::leaks::cgroups(&[uuid.clone()].into());
        assert!(!groups.is_empty(), "the pod has no cgroup");
        let procs = fs::read_to_string(
            groups
                .iter()
                .map(|g| g.join("b/cgroup.procs"))
                .find(|p| p.exists())
                .unwrap(),
        )
        .unwrap();
        assert_ne!(procs.lines().count(), 0, "b's cgroup is empty");
        running.signal(Signal::SIGTERM);
        running.wait();
        assert_eq!(
            tests::leaks::cgroups(&[uuid].into()),
            Vec::<std::path::PathBuf>::new()
        );
    }

    #[test]
    fn an_app_sees_its_own_as_the_root() {
        let host = host();
        let out = sh(&host, "cut -d: -f3 /proc/self/cgroup | sort -u");
        assert_eq!(out.text(), "/", "{out}");
    }
}
