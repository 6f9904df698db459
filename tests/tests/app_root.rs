//! What apps find in their root though their image does not have it.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use tests::{Aci, Host, Rootfs};

#[test]
fn a_bare_image_gets_the_directories_that_programs_expect() {
    let host = Host::new();
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let bare = Rootfs::new().file("busybox", 0o755, busybox);
    host.fetch_aci(&Aci::new(
        "example.com/bare",
        &["/busybox", "sh", "-c"],
        bare,
    ));
    let script = "/busybox stat -c '%a %n' /tmp /run /etc; echo x >/tmp/x; echo y >/run/y";
    host.rkt(["run", "--net=none", "example.com/bare", "--", script])
        .run()
        .ok()
        .prints("1777 /tmp\n755 /run\n755 /etc\n");
}

#[test]
fn what_an_image_has_stays_as_it_is() {
    let host = Host::new();
    let image = Rootfs::busybox()
        .dir("private", 0o700)
        .symlink("run", "private");
    host.fetch_aci(&Aci::new("example.com/sh", &["/bin/sh", "-c"], image));
    let script = "readlink /run";
    host.rkt(["run", "--net=none", "example.com/sh", "--", script])
        .run()
        .ok()
        .prints("private\n");
}

#[test]
fn the_console_is_what_the_app_writes_to() {
    let host = Host::new();
    host.fetch_aci(&Aci::busybox("example.com/sh", &["/bin/sh", "-c"]));
    let script = "echo one | cat; echo two >>/dev/console";
    host.rkt(["run", "--net=none", "example.com/sh", "--", script])
        .run()
        .ok()
        .prints("one\ntwo\n");
    // A pipe of the app's own, whatever its user.
    let out = host
        .rkt([
            "run",
            "--net=none",
            "example.com/sh",
            "--name=a",
            "--user=1000",
        ])
        .args([
            "--",
            script,
            "---",
            "example.com/sh",
            "--name=b",
            "--",
            "true",
        ])
        .run()
        .ok();
    assert_eq!(out.stdout, "[a] one\n[a] two\n", "{out}");
}

#[test]
fn apps_share_posix_memory() {
    let host = Host::new();
    host.fetch_aci(&Aci::busybox("example.com/sh", &["/bin/sh", "-c"]));
    let wait = "until test -s /dev/shm/note; do sleep 0.02; done; cat /dev/shm/note";
    let out = host
        .rkt(["run", "--net=none"])
        .args([
            "example.com/sh",
            "--name=a",
            "--",
            "echo told >/dev/shm/note",
            "---",
        ])
        .args(["example.com/sh", "--name=b", "--user=1000", "--", wait])
        .run()
        .ok();
    assert_eq!(out.stdout, "[b] told\n", "{out}");
    let out = host
        .rkt(["run", "--net=none", "example.com/sh", "--"])
        .arg("ls -A /dev/shm; stat -f -c %T /dev/shm; stat -c %a /dev/shm")
        .run()
        .ok();
    assert_eq!(out.stdout, "tmpfs\n1777\n", "{out}");
}
