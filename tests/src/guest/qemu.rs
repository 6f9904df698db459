//! QEMU under software emulation: a kernel of our choice on any machine.
//!
//! KVM is not used even where it exists: the figures and the kernels' behaviour
//! stay the same everywhere, and nested machines where it hangs are common.

use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use super::Attached;
use super::running::{BOOT, Results, Running};
use crate::Cmd;

/// Quiet, quick, and with a panic that ends QEMU (`-no-reboot`). The LSMs are
/// Debian's without BPF, whose programs systemd 257 spends a second loading.
const KERNEL: &str = "console=ttyS0 quiet loglevel=3 panic=-1 cryptomgr.notests=1 \
                      mitigations=off lsm=landlock,lockdown,yama,apparmor";

/// The disk that stays, see [`data`].
const DATA: &str = "virtio-blk-pci,drive=data,serial=data,request-merging=off,\
                    discard=off,write-zeroes=off";

/// Room for what a script leaves; it takes space as it fills.
const RESULTS: u64 = 512 << 20;

/// tar's record: a raw disk must not end within one.
const SECTORS: u64 = 1 << 20;

pub(super) fn start(
    dir: TempDir,
    root: &Path,
    kernel: &Path,
    disk: Option<&Attached>,
    script: Duration,
) -> Running {
    let at = |name: &str| dir.path().join(name);
    let input = File::options().write(true).open(at("in.tar")).unwrap();
    let size = input.metadata().unwrap().len();
    input.set_len(size.next_multiple_of(SECTORS)).unwrap();
    File::create(at("out.tar"))
        .unwrap()
        .set_len(RESULTS)
        .unwrap();

    // The signal is for a test runner that kills the test: no guest outlives it.
    let mut qemu = Cmd::new("setpriv")
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", cpu()])
        .args(["-smp", "2", "-m", "2048", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-no-reboot", "-append", KERNEL])
        .arg("-kernel")
        .arg(kernel.join("vmlinux"))
        .arg("-initrd")
        .arg(kernel.join("initrd"));
    for port in ["console", "marks"] {
        qemu = qemu.args(["-serial", &format!("file:{}", at(port).display())]);
    }
    let modules = kernel.join("modules.ext4");
    let read_only = "readonly=on,file.locking=off";
    qemu = drive(
        qemu,
        "root",
        root,
        "snapshot=on,cache=unsafe,file.locking=off",
    );
    qemu = drive(qemu, "modules", &modules, read_only);
    qemu = drive(qemu, "in", &at("in.tar"), read_only);
    qemu = drive(qemu, "out", &at("out.tar"), "cache=unsafe");
    if let Some(disk) = disk {
        qemu = data(qemu, disk);
    }
    let process = qemu
        // `snapshot=on` keeps the root's changes there.
        .env("TMPDIR", dir.path())
        .deadline(BOOT + script)
        .spawn();
    let results = Results::Disk {
        tar: at("out.tar"),
        into: at("out"),
    };
    Running::new(process, dir, results, script)
}

/// Adds a virtio disk; the guest finds it by its serial number.
fn drive(qemu: Cmd, serial: &str, file: &Path, options: &str) -> Cmd {
    qemu.args([
        "-drive",
        &format!(
            "file={},format=raw,if=none,id={serial},{options}",
            file.display()
        ),
        "-device",
        &format!("virtio-blk-pci,drive={serial},serial={serial}"),
    ])
}

/// Adds the disk that stays, with its writes noted if they shall be. What
/// `blklogwrites` cannot note is turned off: requests merged into more pieces
/// than one system call takes, and, before QEMU 9, zeroing without data.
fn data(qemu: Cmd, disk: &Attached) -> Cmd {
    let file =
        |role: &str, path: &Path| format!("{role}.driver=file,{role}.filename={}", path.display());
    let image = file("file", &disk.image);
    let node = match &disk.log {
        Some(log) => format!("driver=blklogwrites,{image},{}", file("log", log)),
        None => format!("driver=raw,{image}"),
    };
    qemu.args(["-blockdev", &format!("node-name=data,{node}")])
        .args(["-device", DATA])
}

/// QEMU 7.2 claims cmpxchg16b and gets it wrong: Linux 6.12 panics at boot.
fn cpu() -> &'static str {
    static CPU: OnceLock<&str> = OnceLock::new();
    CPU.get_or_init(|| {
        let said = Cmd::new("qemu-system-x86_64")
            .arg("--version")
            .run()
            .ok()
            .stdout;
        let major: Option<u32> = said
            .split_once("version ")
            .and_then(|(_, v)| v.split('.').next()?.parse().ok());
        match major {
            Some(..10) => "max,cx16=off",
            _ => "max",
        }
    })
}
