//! rkt where it is at home: systemd as PID 1 and cgroup v2 with all its
//! controllers, and where the kernel is older than it would like.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::time::Duration;

use serde_json::json;
use tests::guest::{Debian, Disk, Guest, Kernel, Output};
use tests::{Aci, Compression};

/// The guest with rkt and `/in/sh.aci`, whose exec is `/bin/sh -c`.
fn with_image(guest: Option<Guest>) -> Option<Guest> {
    let dir = tempfile::tempdir().unwrap();
    let aci = Aci::busybox("example.com/sh", &["/bin/sh", "-c"]);
    let file = aci.write(dir.path(), "sh", Compression::Plain);
    let bytes = std::fs::read(file).unwrap();
    Some(guest?.rkt()?.bytes("/in/sh.aci", 0o644, bytes))
}

/// Fetches, runs a pod that looks around, then leaves nothing.
const RUN: &str = "
    set -e
    rkt --insecure-options=image fetch --quiet --full /in/sh.aci >id
    before=$(find /sys/fs/cgroup -type d | sort)
    rkt run --net=none example.com/sh -- 'echo hello; cat /proc/1/comm; cat /proc/self/cgroup' >out 2>err
    echo first=$(head -n 1 out)
    echo init=$(sed -n 2p out)
    echo cgroup=$(sed -n 's/^0:://p' out)
    rkt run --net=none example.com/sh -- 'exit 7' 2>>err || echo status=$?
    mount | grep -o 'type erofs' | sort -u
    rkt list --no-legend | wc -l | sed 's/^/pods=/'
    rkt gc --grace-period=0s >/dev/null 2>&1
    echo left=$(rkt list --no-legend | wc -l)
    # The empty parent of all pods' cgroups may stay.
    rmdir /sys/fs/cgroup/rkt 2>/dev/null || true
    after=$(find /sys/fs/cgroup -type d | sort)
    [ \"$before\" = \"$after\" ] && echo cgroups=clean
    cat err >&2
";

fn assert_runs(out: &Output) {
    assert_eq!(out.status, 0, "{out}");
    assert_eq!(out.value("first"), "hello", "{out}");
    assert_eq!(
        out.value("cgroup"),
        "/",
        "the app sees only its own cgroup: {out}"
    );
    assert_eq!(out.value("status"), "7", "{out}");
    assert_eq!(out.value("pods"), "2", "{out}");
    assert_eq!(out.value("left"), "0", "{out}");
    assert_eq!(out.value("cgroups"), "clean", "{out}");
}

#[test]
fn a_pod_runs_under_systemd_on_linux_6_12() {
    let Some(guest) = with_image(Guest::qemu(Kernel::V6_12)) else {
        return;
    };
    let out = guest.run(RUN);
    assert_runs(&out);
    assert!(
        out.stdout.contains("type erofs"),
        "the image is mounted from its files: {out}"
    );
    assert_eq!(out.stderr, "", "{out}");
}

#[test]
fn a_pod_runs_under_systemd_on_linux_6_18() {
    let Some(guest) = with_image(Guest::qemu(Kernel::V6_18)) else {
        return;
    };
    let out = guest.run(RUN);
    assert_runs(&out);
    assert!(out.stdout.contains("type erofs"), "{out}");
    assert_eq!(out.stderr, "", "{out}");
}

/// No EROFS mounts from files there: the image is unpacked, which each of the
/// two runs says once.
#[test]
fn a_pod_runs_from_a_tree_on_linux_6_1_and_that_is_said() {
    let Some(guest) = with_image(Guest::qemu(Kernel::V6_1)) else {
        return;
    };
    let out = guest.run(RUN);
    assert_runs(&out);
    assert!(!out.stdout.contains("type erofs"), "{out}");
    let told = out.stderr.lines().filter(|l| l.contains("EROFS")).count();
    assert_eq!((told, out.stderr.lines().count()), (2, 2), "{out}");
}

#[test]
fn a_pod_runs_in_a_container_of_systemd_252_and_257() {
    for debian in Debian::ALL {
        let Some(guest) = with_image(Guest::nspawn(debian)) else {
            return;
        };
        assert_runs(&guest.run(RUN));
    }
}

/// A profile is applied to the app, not to what starts it, and forbids what it
/// says; one that nobody loaded ends the start.
#[test]
fn an_apparmor_profile_confines_the_app_that_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut guest) = Guest::qemu(Kernel::V6_12).and_then(Guest::rkt) else {
        return;
    };
    for profile in ["web", "unheard"] {
        let name = format!("example.com/{profile}");
        let aci = Aci::busybox(&name, &["/bin/sh", "-c"]).app(
            "isolators",
            json!([{"name": "os/linux/apparmor-profile", "value": {"profile": profile}}]),
        );
        let file = aci.write(dir.path(), profile, Compression::Plain);
        let bytes = std::fs::read(file).unwrap();
        guest = guest.bytes(&format!("/in/{profile}.aci"), 0o644, bytes);
    }
    let out = guest
        .text(
            "/in/profile",
            0o644,
            "profile web flags=(attach_disconnected) {\n file,\n deny /secret/** rw,\n}\n",
        )
        .run(
            "
            set -e
            apparmor_parser --replace --skip-cache /in/profile
            rkt --insecure-options=image fetch --quiet --full /in/web.aci >/dev/null
            rkt --insecure-options=image fetch --quiet --full /in/unheard.aci >/dev/null
            rkt run --net=none example.com/web -- 'cat /proc/self/attr/current
                mkdir /secret; echo x 2>/dev/null >/secret/file || echo file=denied; echo x >/other && echo other=written' >out
            echo profile=$(head -n 1 out)
            cat out
            rkt run --net=none example.com/web -- 'sleep 60' & 
            uuid=
            while [ -z \"$uuid\" ]; do sleep 0.1; uuid=$(rkt list --no-legend | sed -n 's/^\\([0-9a-f]*\\).*running.*/\\1/p'); done
            rkt enter $uuid /bin/sh -c 'cat /proc/self/attr/current' | sed 's/^/entered=/'
            rkt stop --force $uuid >/dev/null
            rkt run --net=none example.com/unheard -- true 2>err || echo unheard=$?
            sed 's/^/said=/' err
            ",
        );
    assert_eq!(out.status, 0, "{out}");
    assert_eq!(out.value("profile"), "web (enforce)", "{out}");
    assert_eq!(out.value("file"), "denied", "{out}");
    assert_eq!(out.value("other"), "written", "{out}");
    assert_eq!(out.value("entered"), "web (enforce)", "{out}");
    assert_ne!(out.value("unheard"), "0", "{out}");
    assert!(out.value("said").contains("unheard"), "{out}");
}

/// The app's cgroup is where an operator can see it, holds what the image asks
/// for or the user instead, and is gone with the pod.
#[test]
fn the_limits_of_an_image_hold_on_cgroup_v2() {
    let dir = tempfile::tempdir().unwrap();
    let aci = Aci::busybox("example.com/limited", &["/bin/sh", "-c"]).app(
        "isolators",
        json!([
            {"name": "resource/memory", "value": {"limit": "64Mi"}},
            {"name": "resource/cpu", "value": {"limit": "500m"}},
        ]),
    );
    let file = aci.write(dir.path(), "limited", Compression::Plain);
    let Some(guest) = Guest::qemu(Kernel::V6_12).and_then(Guest::rkt) else {
        return;
    };
    let out = guest
        .file("/in/limited.aci", &file)
        .run(
            "rkt --insecure-options=image fetch --quiet /in/limited.aci >/dev/null
             rkt run --net=none --uuid-file-save=uuid example.com/limited --name=app -- 'echo up; sleep 60' >out &
             until grep -q up out; do sleep 0.05; done
             app=$(find /sys/fs/cgroup -type d -path \"*$(cat uuid)*\" -name app)
             echo app=$app
             echo memory=$(cat $app/memory.max)
             echo cpu=$(cat $app/cpu.max)
             echo processes=$(wc -l <$app/cgroup.procs)
             kill $! && wait $!
             rkt run --net=none example.com/limited --memory=16Mi -- \
                 'tail -c 40000000 </dev/zero; echo killed=$?'
             echo left=$(find /sys/fs/cgroup -type d -path \"*$(cat uuid)*\" | wc -l)",
        )
        .ok();
    assert_ne!(out.value("app"), "", "{out}");
    assert_eq!(out.value("memory"), "67108864", "{out}");
    assert_eq!(out.value("cpu"), "50000 100000", "{out}");
    assert_ne!(out.value("processes"), "0", "{out}");
    // A limit is more than a file: who takes more is killed.
    assert_eq!(out.value("killed"), "137", "{out}");
    assert_eq!(out.value("left"), "0", "{out}");
}

/// The suites that ran on the host, where cgroups are what the host has.
fn assert_suite(guest: Option<Guest>, name: &str) {
    let Some(guest) = guest else { return };
    guest
        .deadline(Duration::from_secs(150))
        .passes_suite(name, "");
}

#[test]
fn the_suite_isolation_passes_on_cgroup_v2() {
    assert_suite(Guest::qemu(Kernel::V6_12), "isolation");
}

/// The isolators and flags about what depends on cgroups, where all
/// controllers are v2's.
#[test]
fn the_suite_isolators_passes_on_cgroup_v2() {
    let words = "shares_of files_volumes the_pod_around";
    let Some(guest) = Guest::qemu(Kernel::V6_12) else {
        return;
    };
    let guest = guest.deadline(Duration::from_secs(300));
    guest.passes_suite("isolators", words);
}

/// The others, of which there are many: `cargo nextest run -p tests --test
/// guest_rkt --run-ignored=only the_rest_of_the_suite_isolators`.
#[test]
#[ignore = "takes three minutes more"]
fn the_rest_of_the_suite_isolators_passes_in_a_guest() {
    let Some(guest) = Guest::qemu(Kernel::V6_12) else {
        return;
    };
    let guest = guest.deadline(Duration::from_secs(400));
    guest.passes_suite("isolators", "rights_of system_calls");
}

/// What is done to pods that run, where all controllers are v2's and cgroup
/// namespaces are borders: the tests that tell most of each suite.
#[test]
fn running_pods_are_used_and_changed_on_cgroup_v2() {
    let Some(guest) = Guest::qemu(Kernel::V6_12) else {
        return;
    };
    guest.deadline(Duration::from_secs(280)).passes_suites(&[
        ("enter", "cve_ namespaces_are a_pod_that_ends"),
        ("mutable", "apps_come_and_go has_the_walls"),
        ("attach", "streams_go"),
        (
            "restart",
            "started_again_so_often an_oom_kill_is killed_supervisor",
        ),
    ]);
}

/// All of them: `cargo nextest run --profile=long -p tests --test guest_rkt
/// --run-ignored=only every_test_of_running_pods`.
#[test]
#[ignore = "takes ten minutes"]
fn every_test_of_running_pods_passes_on_cgroup_v2() {
    let Some(guest) = Guest::qemu(Kernel::V6_12) else {
        return;
    };
    let suites = ["enter", "mutable", "attach", "restart"];
    guest
        .deadline(Duration::from_secs(1500))
        .passes_suites(&suites.map(|name| (name, "")));
}

/// All but what is about the size of log files: journald keeps the lines.
#[test]
fn the_suite_detached_passes_under_systemd() {
    let Some(guest) = Guest::nspawn(Debian::Bookworm) else {
        return;
    };
    guest.passes_suite("detached", "starting following several_apps both_streams");
}

#[test]
fn the_suite_run_passes_under_systemd() {
    assert_suite(Guest::nspawn(Debian::Bookworm), "run");
}

#[test]
fn the_suite_lifecycle_passes_under_systemd() {
    assert_suite(Guest::nspawn(Debian::Trixie), "lifecycle");
}

/// What fs-verity is for: a bit that changes on the disk is not handed to an
/// app, `image verify` names the object and `--repair` brings it back.
#[test]
fn a_sealed_image_is_checked_as_it_is_read() {
    let disk = Disk::new(128);
    let Some(guest) = with_image(Guest::qemu(Kernel::V6_12)) else {
        return;
    };
    let out = guest.disk(&disk).run(
        "export PATH=$PATH:/sbin:/usr/sbin
         rkt() { command rkt --verity=required --insecure-options=image \"$@\"; }
         id=$(rkt fetch --full /in/sh.aci)
         run() { rkt run --net=none example.com/sh -- 'echo hello'; }
         echo runs=$(run)
         hex=${id#sha512-}
         object=$(find /var/lib/rkt/store/objects -name \"$hex\")
         sealed=$(fsverity measure $object | sed 's/ .*//')
         grep -q \"$sealed\" /var/lib/rkt/store/images/$id && echo recorded=yes
         sh -c \"echo x >>$object\" 2>/dev/null || echo written=no
         rkt gc --grace-period=0s >/dev/null 2>&1
         umount /run/rkt/images/*
         disk=$(findmnt -no SOURCE /var/lib/rkt)
         block=$(debugfs -R \"bmap ${object#/var/lib/rkt} 40\" $disk 2>/dev/null)
         size=$(stat -fc %S /var/lib/rkt)
         umount /var/lib/rkt
         printf rotten | dd of=$disk bs=1 seek=$((block * size + 100)) conv=notrunc,fsync 2>/dev/null
         mount $disk /var/lib/rkt
         echo after=$(run 2>/dev/null)
         rkt image verify $id >said 2>&1 || echo verify=$?
         grep -q \"object sha512:$hex is damaged: unreadable\" said && echo named=yes
         rkt image verify --repair $id >said 2>&1; echo repair=$?
         echo again=$(run)
         mv $object $object.old; cp $object.old $object
         rkt gc --grace-period=0s >/dev/null 2>&1
         umount /run/rkt/images/*
         run 2>unsealed || echo unsealed=$(grep -c 'no longer sealed' unsealed)
         cat said >&2",
    );
    assert_eq!(out.value("runs"), "hello", "{out}");
    assert_eq!(out.value("recorded"), "yes", "{out}");
    assert_eq!(out.value("written"), "no", "{out}");
    assert_eq!(out.value("after"), "", "{out}");
    assert_eq!(out.value("verify"), "254", "{out}");
    assert_eq!(out.value("named"), "yes", "{out}");
    assert_eq!(out.value("repair"), "0", "{out}");
    assert_eq!(out.value("again"), "hello", "{out}");
    assert_eq!(out.value("unsealed"), "1", "{out}");
}
