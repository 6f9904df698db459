//! rkt as it comes to a machine: a Debian package, and an extension of a /usr
//! that cannot be written.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::path::Path;

use tests::guest::{Debian, Guest, Kernel};
use tests::host::binary;
use tests::{Aci, Cmd, Compression};

/// What `./install HOW` makes, as the guest's file.
fn packaged(guest: Guest, how: &str, name: &str) -> Guest {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let out = Cmd::new(repository.join("install"))
        .args([how.as_ref(), file.as_os_str()])
        .env("RKT_BIN_DIR", binary("rkt").parent().unwrap())
        .run();
    assert_eq!(out.code(), Some(0), "{out}");
    let aci = Aci::busybox("example.com/sh", &["/bin/sh", "-c"]);
    let aci = std::fs::read(aci.write(dir.path(), "sh", Compression::Plain)).unwrap();
    guest.bytes("/in/sh.aci", 0o644, aci).bytes(
        &format!("/in/{name}"),
        0o644,
        std::fs::read(file).unwrap(),
    )
}

const USE: &str = "
    rkt --insecure-options=image fetch --full /in/sh.aci >id
    echo ran=$(rkt run --net=none example.com/sh -- 'echo hello')
    mkdir -p /etc/rkt/pods
    printf '[App a]\\nImage=example.com/sh\\nArguments=true\\n' >/etc/rkt/pods/job.pod
    systemctl daemon-reload
    echo unit=$(systemctl show --value -p SourcePath job.service)
    systemctl start rkt-gc.service
    echo gc=$(systemctl show --value -p Result rkt-gc.service)
";

#[test]
fn the_debian_package_brings_everything_and_takes_it_away() {
    for debian in Debian::ALL {
        let Some(guest) = Guest::nspawn(debian) else {
            continue;
        };
        let out = packaged(guest, "--deb", "rkt.deb").run(&format!(
            "set -e
            # The guest's own packages are not in its database.
            dpkg --force-depends -i /in/rkt.deb
            echo timer=$(systemctl is-enabled rkt-gc.timer)
            echo active=$(systemctl is-active rkt-gc.timer)
            echo data=$(stat -c %a:%G /var/lib/rkt)
            echo etc=$(stat -c %a:%G /etc/rkt)
            systemd-analyze verify rkt-gc.service 2>&1 | grep -v man | sed s/^/verify=/
            {USE}
            dpkg -r rkt
            systemctl is-active rkt-gc.timer || true
            ls /usr/bin/rkt /usr/libexec/rkt 2>/dev/null || echo removed=yes
            "
        ));
        assert_eq!(out.status, 0, "{out}");
        assert_eq!(out.value("timer"), "enabled", "{out}");
        assert_eq!(out.value("active"), "active", "{out}");
        assert_eq!(out.value("data"), "2750:rkt", "{out}");
        assert_eq!(out.value("etc"), "2775:rkt-admin", "{out}");
        assert!(!out.stdout.contains("verify="), "{out}");
        assert_eq!(out.value("ran"), "hello", "{out}");
        assert_eq!(out.value("unit"), "/etc/rkt/pods/job.pod", "{out}");
        assert_eq!(out.value("gc"), "success", "{out}");
        assert_eq!(out.value("removed"), "yes", "{out}");
    }
}

#[test]
fn the_system_extension_brings_everything_to_a_usr_that_cannot_be_written() {
    let Some(guest) = Guest::qemu(Kernel::V6_12) else {
        return;
    };
    let out = packaged(guest, "--sysext", "rkt.raw").run(&format!(
        "set -e
        mkdir -p /run/extensions
        cp /in/rkt.raw /run/extensions/
        systemd-sysext merge
        systemd-sysusers
        systemd-tmpfiles --create rkt.conf
        {USE}
        systemd-sysext unmerge
        [ -e /usr/bin/rkt ] || echo removed=yes
        "
    ));
    assert_eq!(out.status, 0, "{out}");
    assert_eq!(out.value("ran"), "hello", "{out}");
    assert_eq!(out.value("unit"), "/etc/rkt/pods/job.pod", "{out}");
    assert_eq!(out.value("gc"), "success", "{out}");
    assert_eq!(out.value("removed"), "yes", "{out}");
}
