//! What a unit's settings do for a pod (`docs/units.md`): each is tried in a
//! real unit. What `rkt pod check` refuses does not work, and what it lets
//! through does.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fmt::Write as _;

use tests::guest::{Debian, Guest};
use tests::{Aci, Compression};

/// Settings that are refused, and what a pod would come to with them.
const REFUSED: &[&str] = &[
    "User=daemon",
    "DynamicUser=yes",
    "PrivateUsers=yes",
    "CapabilityBoundingSet=CAP_SYS_ADMIN CAP_NET_ADMIN",
    "SystemCallFilter=@system-service",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX",
    "PrivateDevices=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProcSubset=pid",
    "ProtectSystem=strict",
    "RootDirectory=/mnt",
];

/// Settings that a pod runs with.
const FINE: &[&str] = &[
    "PrivateTmp=yes",
    "PrivateMounts=yes",
    "PrivateNetwork=yes",
    "PrivateIPC=yes",
    "ProtectSystem=full",
    "ProtectSystem=strict\\nReadWritePaths=/var/lib/rkt /run",
    "ProtectHome=yes",
    "ProtectProc=invisible",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectClock=yes",
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "RestrictRealtime=yes",
    "RestrictNamespaces=no",
    "SystemCallFilter=~@reboot @swap",
    "RestrictAddressFamilies=~AF_PACKET",
    "CapabilityBoundingSet=~CAP_SYS_TIME",
    "ReadOnlyPaths=/etc",
    "TemporaryFileSystem=/mnt",
    "LimitNOFILE=4096",
    "OOMScoreAdjust=500",
    "UMask=0077",
    "KeyringMode=private",
    "Type=oneshot",
    "Type=exec",
];

/// `try_it NAME RAW LINES`: starts a pod with these settings, by a pod file or
/// by a unit that is written by hand, which nothing checks.
const TRY: &str = "
    set -e
    mkdir -p /etc/rkt/pods /usr/lib/systemd/system-generators
    ln -s /usr/bin/rkt /usr/lib/systemd/system-generators/rkt-generator
    rkt --insecure-options=image fetch --full /in/sh.aci >id
    pod() {
        printf '[Pod]\\nNetwork=none\\nInsecureOptions=image\\n[App a]\\nImage=example.com/sh\\n'
        printf 'Arguments=\"true\"\\n[Service]\\n%b\\n' \"$1\"
    }
    declared() {
        pod \"$2\" >/etc/rkt/pods/$1.pod
        rkt pod check /etc/rkt/pods/$1.pod >/dev/null 2>&1 && echo $1.check=right || echo $1.check=wrong
    }
    by_hand() {
        pod '' >/tmp/$1.pod
        rkt pod show /tmp/$1.pod | sed -n '/^# '$1'.service/,/^# '$1'-fetch/p' >/etc/systemd/system/$1.service
        printf '%b\\n' \"$2\" >>/etc/systemd/system/$1.service
    }
    outcome() {
        systemctl start $1 2>/dev/null || true
        for _ in $(seq 100); do
            case $(systemctl is-active $1) in active | activating | deactivating) sleep 0.1 ;; *) break ;; esac
        done
        echo $1=$(systemctl show --value -p Result $1)
    }
";

#[test]
fn what_is_refused_does_not_work_and_what_is_not_does() {
    let dir = tempfile::tempdir().unwrap();
    let aci = Aci::busybox("example.com/sh", &["/bin/sh", "-c"]);
    let aci = std::fs::read(aci.write(dir.path(), "sh", Compression::Plain)).unwrap();
    for debian in Debian::ALL {
        let Some(guest) = Guest::nspawn(debian).and_then(Guest::rkt) else {
            continue;
        };
        let mut script = TRY.to_owned();
        for (n, lines) in FINE.iter().enumerate() {
            let _ = writeln!(script, "declared fine{n} '{lines}'");
        }
        for (n, lines) in REFUSED.iter().enumerate() {
            let _ = writeln!(
                script,
                "declared refused{n} '{lines}'; rm /etc/rkt/pods/refused{n}.pod"
            );
            let _ = writeln!(script, "by_hand refused{n} '{lines}'");
        }
        script.push_str("systemctl daemon-reload\n");
        for (n, _) in FINE.iter().enumerate() {
            let _ = writeln!(script, "outcome fine{n}");
        }
        for (n, _) in REFUSED.iter().enumerate() {
            let _ = writeln!(script, "outcome refused{n}");
        }
        script.push_str("echo left=$(rkt list --no-legend | grep -c running)\n");
        let out = guest.bytes("/in/sh.aci", 0o644, aci.clone()).run(&script);
        for (n, lines) in FINE.iter().enumerate() {
            let said = out.value(&format!("fine{n}.check"));
            assert_eq!(said, "right", "{debian:?}: {lines}: {out}");
            let result = out.value(&format!("fine{n}"));
            assert_eq!(result, "success", "{debian:?}: {lines}: {out}");
        }
        for (n, lines) in REFUSED.iter().enumerate() {
            let said = out.value(&format!("refused{n}.check"));
            assert_eq!(said, "wrong", "{debian:?}: {lines}: {out}");
            let result = out.value(&format!("refused{n}"));
            assert_ne!(result, "success", "{debian:?}: {lines}: {out}");
        }
        assert_eq!(out.value("left"), "0", "{out}");
    }
}
