//! What apps write is in journald's journal as the apps' own, and `rkt logs`
//! reads it back.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use tests::guest::{Debian, Guest, Kernel};
use tests::{Aci, Compression};

/// A guest with rkt and images of which each runs `/bin/sh -c`.
fn with_images(guest: Option<Guest>) -> Option<Guest> {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = guest?.rkt()?;
    for name in ["sh", "other"] {
        let aci = Aci::busybox(&format!("example.com/{name}"), &["/bin/sh", "-c"]);
        let file = aci.write(dir.path(), name, Compression::Plain);
        guest = guest.bytes(
            &format!("/in/{name}.aci"),
            0o644,
            std::fs::read(file).unwrap(),
        );
    }
    Some(
        guest
            .text("/etc/systemd/system/web.service", 0o644, WEB)
            .text("/etc/systemd/system/split.service", 0o644, SPLIT),
    )
}

/// Two apps; one has priorities, a long line and a last line without an end,
/// the other reopens its output by name.
const WEB: &str = r#"
[Service]
Type=notify
Delegate=yes
KillMode=mixed
SyslogIdentifier=unit
ExecStart=/usr/bin/rkt --insecure-options=image run --net=none --uuid-file-save=/run/uuid \
    example.com/sh --name=web -- "echo '<3>broken'; echo '<7>detail' >&2; echo plain; \
        head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'last words'" --- \
    example.com/other --name=side -- "echo by name >/dev/stdout; echo '  two' >/dev/stderr"
"#;

/// Only standard error goes to the journal.
const SPLIT: &str = "
[Service]
Type=oneshot
Delegate=yes
StandardOutput=append:/run/split
StandardError=journal
ExecStart=/usr/bin/rkt --insecure-options=image run --net=none --uuid-file-save=/run/split-uuid \
    example.com/sh --name=one -- \"echo to the file; echo to the journal >&2\"
";

const PREPARE: &str = "
    set -e
    rkt --insecure-options=image fetch --full /in/sh.aci >id
    rkt --insecure-options=image fetch --full /in/other.aci >>id
    show() { journalctl --sync; journalctl --no-pager --quiet -o cat \"$@\" | cut -c-40 | tr '\\n' '|'; }
";

/// Both systemd versions on this machine's kernel, and one on its own.
fn guests() -> impl Iterator<Item = Guest> {
    let containers = Debian::ALL.into_iter().map(Guest::nspawn);
    containers
        .chain(std::iter::once_with(|| Guest::qemu(Kernel::V6_12)))
        .filter_map(with_images)
}

#[test]
fn the_output_of_a_units_apps_is_in_the_journal_once_and_found_by_pod_app_and_image() {
    for guest in guests() {
        let out = guest.run(&format!(
            "{PREPARE}{}",
            r#"
            systemctl start web.service
            while systemctl is-active -q web.service; do sleep 0.1; done
            uuid=$(cat /run/uuid)
            echo logs=$(rkt status $uuid | grep ^logs=)
            echo "pod=$(show RKT_POD_UUID=$uuid RKT_APP=side)"
            echo "app=$(show -t side)"
            echo "unit=$(show -u web.service RKT_APP=side)"
            echo "image=$(show RKT_IMAGE=example.com/other:1.0.0)"
            echo "id=$(show RKT_IMAGE_ID=$(tail -n 1 id))"
            echo "errors=$(show RKT_POD_UUID=$uuid -p err)"
            echo "stderr=$(show RKT_POD_UUID=$uuid RKT_STREAM=stderr RKT_APP=web)"
            echo "web=$(show RKT_APP=web | tr -s x)"
            echo "unit_prints=$(show -t unit)"
            echo "lines=$(rkt logs --app=web --format=json $uuid | wc -l)"
            echo "longest=$(rkt logs --app=web $uuid | wc -L)"
            echo "side=$(rkt logs $uuid | grep side | tr '\n' '|')"
            echo "tail=$(rkt logs --app=web --lines=1 $uuid)"
            echo "since=$(rkt logs --since=2100-01-01T00:00:00Z $uuid)"
            rkt gc --grace-period=0s >gc 2>&1
            rkt status $uuid 2>/dev/null || echo "gone=yes"
            echo "again=$(rkt logs --app=side $(echo $uuid | cut -c-8) | tr '\n' '|')"
            rkt logs deadbeef 2>&1 || echo "none=$?"
            systemctl start split.service
            echo "file=$(cat /run/split)"
            echo "split=$(show RKT_POD_UUID=$(cat /run/split-uuid))"
            "#
        ));
        assert_eq!(out.status, 0, "{out}");
        assert_eq!(out.value("logs"), "logs=journal", "{out}");
        for name in ["pod", "app", "unit", "image", "id"] {
            assert_eq!(out.value(name), "by name|  two|", "{name}: {out}");
        }
        assert_eq!(out.value("errors"), "broken|", "{out}");
        assert_eq!(out.value("stderr"), "detail|", "{out}");
        let web = out.value("web");
        for line in ["broken|", "detail|", "plain|", "x|", "last words|"] {
            assert_eq!(
                web.matches(line).count(),
                line.matches('x').count() * 2 + 1,
                "{line}: {out}"
            );
        }
        assert_eq!(out.value("unit_prints"), "", "{out}");
        assert_eq!(out.value("lines"), "5", "{out}");
        assert_eq!(out.value("longest"), "100000", "{out}");
        assert_eq!(out.value("side"), "[side] by name|[side]   two|", "{out}");
        assert_eq!(out.value("tail"), "last words", "{out}");
        assert_eq!(out.value("since"), "", "{out}");
        assert_eq!(out.value("gone"), "yes", "{out}");
        assert_eq!(out.value("again"), "by name|  two|", "{out}");
        assert_eq!(out.value("none"), "254", "{out}");
        assert_eq!(out.value("file"), "to the file", "{out}");
        assert_eq!(out.value("split"), "to the journal|", "{out}");
    }
}

#[test]
fn nothing_is_lost_or_doubled_when_a_pod_writes_fast_and_journald_is_away() {
    for guest in Debian::ALL
        .into_iter()
        .map(Guest::nspawn)
        .filter_map(with_images)
    {
        let out = guest
            .text(
                "/etc/systemd/journald.conf.d/all.conf",
                0o644,
                "[Journal]\nRateLimitBurst=0\n",
            )
            .run(&format!(
                "{PREPARE}{}",
                r#"
                uuid=$(rkt run --detach --net=none example.com/sh -- \
                    'i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 3')
                echo logs=$(rkt status $uuid | grep ^logs=)
                (sleep 0.2; systemctl restart systemd-journald) &
                rkt logs --follow $uuid >followed
                wait
                rkt logs $uuid >read
                i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done >wanted
                cmp wanted read && echo read=whole
                cmp wanted followed && echo followed=whole
                echo status=$(rkt status $uuid | sed -n 's/^app-sh=//p')
                mv /usr/bin/journalctl /usr/bin/journalctl.away
                rkt logs $uuid 2>&1 || echo without=$?
                "#
            ));
        assert_eq!(out.status, 0, "{out}");
        assert_eq!(out.value("logs"), "logs=journal", "{out}");
        assert_eq!(out.value("read"), "whole", "{out}");
        assert_eq!(out.value("followed"), "whole", "{out}");
        assert_eq!(out.value("status"), "3", "{out}");
        assert_eq!(out.value("without"), "254", "{out}");
        assert!(
            out.stdout.contains("journalctl cannot be executed"),
            "{out}"
        );
    }
}
