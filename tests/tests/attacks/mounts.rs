//! Mounts that are led to somewhere else, and what they were to cover.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;
use tar::EntryType;
use tests::pty::Pty;
use tests::{Host, probe};

use crate::walls::{answers, held_also_without, held_by, run, run_image, says};

/// A directory of the host as a volume at a place.
fn volume(host: &Host, name: &str) -> (PathBuf, String) {
    let path = host.path().join(name);
    fs::create_dir_all(&path).unwrap();
    let flag = format!("--volume={name},kind=host,source={}", path.display());
    (path, flag)
}

/// A volume inside procfs would forge what the kernel says of processes, as
/// the label that the engine asks for.
#[test]
fn cve_2019_16884_a_volume_in_proc() {
    held_by(&["ProcTargets"], |host| {
        let (path, flag) = volume(host, "fake");
        fs::write(path.join("forged"), "").unwrap();
        let mount = "--mount=volume=fake,target=/proc/sys";
        says(
            run(host, &[&flag], &[mount], &["read /proc/sys/forged"]),
            "",
        )
    });
}

/// So would one in its place, which an image may ask for by itself.
#[test]
fn cve_2019_16884_a_volume_on_proc() {
    held_by(&["ProcTargets"], |host| {
        let image = probe::image("example.com/forger")
            .app("mountPoints", json!([{"name": "fake", "path": "/proc"}]));
        says(
            run_image(host, image, &[], &[], &["stat /proc/self"]),
            "ENOENT",
        )
    });
}

/// `/proc` of the image is a link to a place that others can write to.
#[test]
fn cve_2019_19921_proc_is_a_link() {
    held_by(&["ProcLinks"], |host| {
        let mut image = probe::image("example.com/linker");
        image.rootfs.entries.retain(|entry| entry.path != "proc");
        image.rootfs = image.rootfs.symlink("proc", "tmp");
        let (_, flag) = volume(host, "evil");
        let mount = "--mount=volume=evil,target=/var";
        says(
            run_image(host, image, &[&flag], &[mount], &["link /proc"]),
            "tmp",
        )
    });
}

/// The target of a mount is in a volume whose owner exchanges it for a link
/// while pods start.
#[test]
fn cve_2021_30465_the_target_is_exchanged() {
    held_by(&["MountTargets"], |host| {
        let (shared, flag) = volume(host, "shared");
        let (fake, other) = volume(host, "fake");
        fs::write(fake.join("forged"), "").unwrap();
        let (target, link) = (shared.join("target"), shared.join("link"));
        fs::create_dir(&target).unwrap();
        symlink("../proc/sys", &link).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let flags = RenameFlags::RENAME_EXCHANGE;
                    renameat2(AT_FDCWD, &target, AT_FDCWD, &link, flags).unwrap();
                }
            });
            let mounts = [
                "--mount=volume=shared,target=/shared",
                "--mount=volume=fake,target=/shared/target",
            ];
            let forged = (0..25).any(|_| {
                let question = "read /proc/sys/forged";
                says(run(host, &[&flag, &other], &mounts, &[question]), "")
            });
            over.store(true, Ordering::Relaxed);
            forged
        })
    });
}

/// What covers a masked file is a link to a file of the kernel's.
#[test]
fn cve_2025_31133_null_is_a_link() {
    held_by(&["NullDevice"], |host| {
        let (path, flag) = volume(host, "dev");
        symlink("/proc/sys/kernel/core_pattern", path.join("null")).unwrap();
        let mount = "--mount=volume=dev,target=/dev";
        says(
            run(host, &[&flag], &[mount], &["stat /proc/keys"]),
            "- 644 0 0",
        )
    });
}

/// The place of the terminal is a link to a file of the kernel's.
#[test]
fn cve_2025_52565_console_is_a_link() {
    held_by(&["Console"], |host| {
        let (path, dev) = volume(host, "dev");
        symlink("/proc/uptime", path.join("console")).unwrap();
        let pod = [
            &dev,
            "--volume=pts,kind=host,source=/dev/pts",
            "--interactive",
        ];
        let mounts = [
            "--mount=volume=dev,target=/dev",
            "--mount=volume=pts,target=/dev/pts",
        ];
        let cmd = run(host, &pod, &mounts, &["stat /proc/uptime"]);
        let mut pty = Pty::spawn(cmd);
        pty.wait();
        pty.screen().contains("\"c ")
    });
}

/// What the engine writes for the kernel ends in a file of the attacker's:
/// the app runs without what was asked for.
#[test]
fn cve_2025_52881_writes_are_redirected() {
    let attack = |host: &Host| {
        let (path, flag) = volume(host, "fake");
        fs::create_dir_all(path.join("self")).unwrap();
        let file = path.join("self/oom_score_adj");
        fs::write(&file, "").unwrap();
        let flags = ["--mount=volume=fake,target=/proc", "--oom-score-adj=500"];
        let ran = answers(run(host, &[&flag], &flags, &["directory"])).is_some();
        ran && fs::read_to_string(file).unwrap() == "500"
    };
    held_also_without("ProcTargets", attack);
    held_also_without("PrivateProc", attack);
    held_by(&["ProcTargets", "PrivateProc"], attack);
}

/// A file system that the host trusts no set-user-ID programs of is not
/// trusted in an app either.
#[test]
fn set_user_id_programs_of_a_volume_mounted_nosuid() {
    held_by(&["VolumeFlags"], |host| {
        let (path, flag) = volume(host, "untrusted");
        mount(
            Some("tmpfs"),
            &path,
            Some("tmpfs"),
            MsFlags::MS_NOSUID,
            None::<&str>,
        )
        .unwrap();
        let program = path.join("program");
        fs::write(&program, probe::PROGRAM).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        let flags = [
            "--user=1000",
            "--seccomp=mode=retain,@appc.io/all",
            "--mount=volume=untrusted,target=/untrusted",
        ];
        let answers = answers(run(
            host,
            &[&flag],
            &flags,
            &["as /untrusted/program status Uid"],
        ));
        umount2(&path, MntFlags::MNT_DETACH).unwrap();
        let answers = answers.unwrap();
        let got = answers.values().next().unwrap().as_str().unwrap();
        assert!(got.starts_with("1000 "), "{got}");
        got != "1000 1000 1000 1000"
    });
}

/// A device that stands in the image.
#[test]
fn device_nodes_of_an_image() {
    crate::walls::held_until(&["--insecure-options=paths"], |host, flags| {
        let mut image = probe::image("example.com/device");
        image.rootfs = image.rootfs.char_device("control", 10, 237);
        let is_there = image
            .rootfs
            .entries
            .iter()
            .any(|e| e.kind == EntryType::Char);
        assert!(is_there);
        says(
            run_image(host, image, flags, &[], &["open /control rw"]),
            "ok",
        )
    });
}
