//! Pods that a shell starts on a host with systemd: each is a unit and a
//! machine, and what stops those stops the pod in order.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use tests::guest::{Debian, Guest, Kernel};
use tests::{Aci, Compression};

/// A guest with rkt and `example.com/sh`, whose exec is `/bin/sh -c`.
fn with_image(guest: Option<Guest>) -> Option<Guest> {
    let dir = tempfile::tempdir().unwrap();
    let aci = Aci::busybox("example.com/sh", &["/bin/sh", "-c"]);
    let file = aci.write(dir.path(), "sh", Compression::Plain);
    let bytes = std::fs::read(file).unwrap();
    Some(guest?.rkt()?.bytes("/in/sh.aci", 0o644, bytes))
}

/// The script is a service's; `shell` runs a command where a login's shell
/// would be: in a scope that nobody may divide. An app says what stops it.
const PREPARE: &str = r#"
    set -e
    rkt --insecure-options=image fetch --full /in/sh.aci >id
    shell() { systemd-run --quiet --scope --unit=session-$((n+=1)).scope -- "$@"; }
    app='trap "echo asked; exit 0" TERM; echo up; while :; do sleep 0.1; done'
    started() { while ! rkt status "$1" 2>/dev/null | grep -q ^pid=; do sleep 0.05; done; }
    tree() { systemctl status --no-pager --full "$1" | sed -n '/CGroup:/,/^$/p' | sed -E 's/[0-9a-f-]{36}/UUID/'; }
    below() { (cd /sys/fs/cgroup$(systemctl show --value -p ControlGroup $1) && find . -type d | sort | sed -E 's/[0-9a-f-]{36}/UUID/' | tr '\n' ' '); }
"#;

/// Both systemd versions on this machine's kernel, and one on its own.
fn guests() -> impl Iterator<Item = Guest> {
    let containers = Debian::ALL.into_iter().map(Guest::nspawn);
    containers
        .chain(std::iter::once_with(|| Guest::qemu(Kernel::V6_12)))
        .filter_map(with_image)
}

#[test]
fn a_pod_in_the_foreground_is_a_scope_that_stops_in_order() {
    for guest in guests() {
        let out = guest.run(&format!(
            "{PREPARE}{}",
            r#"
            shell rkt run --net=none --uuid-file-save=uuid example.com/sh --name=web -- "$app" --- \
                example.com/sh --name=side -- "$app" >out 2>err &
            while [ ! -s uuid ]; do sleep 0.05; done
            uuid=$(cat uuid) scope=rkt-web-$(cut -c-8 uuid).scope
            rkt status --wait-ready=20s $uuid >/dev/null
            echo active=$(systemctl is-active $scope)
            echo description=$(systemctl show --value -p Description $scope)
            echo slice=$(systemctl show --value -p Slice $scope)
            echo delegate=$(systemctl show --value -p Delegate $scope)
            echo below=$(below $scope)
            tree $scope >tree
            echo machine=$(machinectl --no-legend list | tr -s ' ')
            machinectl --no-pager status rkt-$uuid >machine
            date +%s%N >begin
            systemctl stop $scope
            echo stopped=$(( ($(date +%s%N) - $(cat begin)) / 1000000 ))
            wait $! && echo status=0 || echo status=$?
            echo after=$(rkt status $uuid | grep -c '^app-.*=0$')
            echo asked=$(grep -c asked out)
            echo first=$(grep asked out | head -n 1)
            echo left=$(systemctl list-units --all --no-legend 'rkt-*' | wc -l)
            echo machines=$(machinectl --no-legend list | wc -l)
            find /sys/fs/cgroup -name "$uuid" | wc -l | sed 's/^/cgroups=/'
            "#
        ));
        assert_eq!(out.status, 0, "{out}");
        assert_eq!(out.value("active"), "active", "{out}");
        assert!(
            out.value("description")
                .ends_with(": web (example.com/sh), side (example.com/sh)"),
            "{out}"
        );
        assert_eq!(out.value("slice"), "machine.slice", "{out}");
        assert_eq!(out.value("delegate"), "yes", "{out}");
        let below = out.value("below");
        for cgroup in ["./UUID/web", "./UUID/side"] {
            assert!(below.contains(cgroup), "{out}");
        }
        let tree = out.file("tree");
        for name in ["─web\n", "─side\n", "rkt-stage1 run"] {
            assert!(tree.contains(name), "{tree}\n{out}");
        }
        assert!(out.value("machine").contains("container rkt"), "{out}");
        let machine = out.file("machine");
        for part in ["Service: rkt; class container", "Unit: rkt-web-", "Leader:"] {
            assert!(machine.contains(part), "{machine}\n{out}");
        }
        assert!(out.value("stopped").parse::<u32>().unwrap() < 8000, "{out}");
        assert_eq!(out.value("status"), "0", "{out}");
        assert_eq!(out.value("after"), "2", "{out}");
        assert_eq!(out.value("asked"), "2", "each was asked once: {out}");
        assert_eq!(out.value("first"), "[side] asked", "the last first: {out}");
        for gone in ["left", "machines", "cgroups"] {
            assert_eq!(out.value(gone), "0", "{gone}: {out}");
        }
    }
}

#[test]
fn a_detached_pod_is_a_service_that_machinectl_and_rkt_can_stop() {
    for guest in guests() {
        let out = guest.run(&format!(
            "{PREPARE}{}",
            r#"
            uuid=$(shell rkt run --detach --net=none example.com/sh --name=web -- "$app")
            unit=rkt-web-$(echo $uuid | cut -c-8).service
            echo state=$(systemctl is-active $unit)
            echo text=$(systemctl show --value -p StatusText $unit)
            echo type=$(systemctl show --value -p Type $unit)
            main=$(systemctl show --value -p MainPID $unit)
            echo main=$(cat /proc/$main/comm)
            echo program=$(stat -Lc %d:%i /proc/$main/exe) wanted=$(stat -Lc %d:%i /usr/bin/rkt-stage1)
            echo descriptors=$(readlink /proc/$main/fd/0 /proc/$main/fd/1 | sed -E 's/[0-9a-f-]{36}/UUID/' | tr '\n' ' ')
            echo told=$(rkt status $uuid | grep ^unit=)
            echo below=$(below $unit)
            tree $unit >tree
            ls /var/lib/rkt/pods/run/$uuid | grep handover || echo handover=gone
            rkt stop $uuid
            rkt status --wait $uuid | grep ^app-
            while systemctl is-active -q $unit; do sleep 0.05; done
            echo asked=$(rkt logs $uuid | tr '\n' ' ')

            uuid=$(shell rkt run --detach --net=none example.com/sh --name=two -- "$app")
            while ! machinectl --no-legend list | grep -q rkt-$uuid; do sleep 0.05; done
            machinectl terminate rkt-$uuid
            rkt status --wait=20s $uuid | grep ^app-two=
            echo two=$(rkt logs $uuid | tr '\n' ' ')

            uuid=$(shell rkt run --detach --net=none example.com/sh --name=off -- "$app")
            while ! machinectl --no-legend list | grep -q rkt-$uuid; do sleep 0.05; done
            # Not from within: an app is no operator.
            rkt enter $uuid /bin/sh -c 'kill -38 1'
            sleep 0.3
            echo still=$(rkt status $uuid | grep ^state=)
            machinectl poweroff rkt-$uuid
            rkt status --wait=20s $uuid | grep ^app-off=

            # A pod that cannot start says why, and leaves nothing.
            shell rkt run --detach --net=none example.com/sh --name=bad --exec=/nosuch 2>bad || echo bad=$?
            shell rkt run --detach --net=none example.com/sh --name=killed -- "$app" >uuid
            kill -9 $(systemctl show --value -p MainPID rkt-killed-$(cut -c-8 uuid).service)
            rkt status --wait=20s $(cat uuid) | grep ^state=
            systemctl stop systemd-machined
            while systemctl is-active -q 'rkt-*'; do sleep 0.05; done
            echo left=$(systemctl list-units --all --no-legend 'rkt-*' | wc -l)
            rkt gc --grace-period=0s >gc 2>&1
            echo pods=$(rkt list --no-legend | wc -l)
            "#
        ));
        assert_eq!(out.status, 0, "{out}");
        assert_eq!(out.value("state"), "active", "{out}");
        assert_eq!(out.value("text"), "1 app running", "{out}");
        assert_eq!(out.value("type"), "notify", "{out}");
        assert_eq!(out.value("main"), "rkt-stage1", "{out}");
        let (program, wanted) = out.value("program").split_once(" wanted=").unwrap();
        assert_eq!(program, wanted, "{out}");
        assert_eq!(
            out.value("descriptors"),
            "/dev/null /var/lib/rkt/pods/run/UUID/log",
            "{out}"
        );
        assert!(out.value("below").contains("./UUID/web"), "{out}");
        assert!(out.file("tree").contains("─web\n"), "{out}");
        assert_eq!(out.value("handover"), "gone", "{out}");
        assert!(out.value("told").starts_with("unit=rkt-web-"), "{out}");
        assert_eq!(out.value("still"), "state=running", "{out}");
        assert_eq!(out.value("app-off"), "0", "{out}");
        assert_eq!(out.value("app-web"), "0", "{out}");
        assert_eq!(out.value("asked"), "up asked", "{out}");
        assert_eq!(out.value("app-two"), "0", "{out}");
        assert_eq!(out.value("two"), "up asked", "{out}");
        assert_eq!(out.value("bad"), "203", "{out}");
        assert!(out.file("bad").contains("/nosuch"), "{out}");
        assert_eq!(out.value("state"), "active", "{out}");
        assert!(out.stdout.contains("state=exited"), "{out}");
        assert_eq!(out.value("left"), "0", "{out}");
        assert_eq!(out.value("pods"), "0", "{out}");
    }
}

#[test]
fn without_a_bus_machined_or_delegation_pods_run_as_they_do_elsewhere() {
    for guest in Debian::ALL
        .into_iter()
        .map(Guest::nspawn)
        .filter_map(with_image)
    {
        let out = guest.run(&format!(
            "{PREPARE}{}",
            r#"
            systemd-run --quiet --wait --unit=plain rkt run --net=none example.com/sh -- 'echo in plain'
            journalctl --sync
            journalctl --no-pager --quiet -o cat -u plain.service >plain
            systemctl mask --now --quiet systemd-machined dbus-org.freedesktop.machine1.service
            shell rkt run --net=none example.com/sh -- 'echo masked' 2>err
            systemctl stop --quiet dbus.socket dbus.service
            systemd-run --quiet --scope -- rkt run --net=none example.com/sh -- 'echo no bus' 2>>err
            uuid=$(rkt run --detach --net=none example.com/sh -- "$app" 2>>err)
            rkt stop $uuid
            rkt status --wait=20s $uuid | grep ^app-sh=
            cat err >&2
            "#
        ));
        assert_eq!(out.status, 0, "{out}");
        let plain = out.file("plain");
        assert!(plain.contains("set Delegate=yes"), "{plain}\n{out}");
        assert_eq!(
            plain.lines().filter(|l| *l == "in plain").count(),
            1,
            "{plain}\n{out}"
        );
        assert!(out.stdout.contains("masked\nno bus\n"), "{out}");
        assert_eq!(out.value("app-sh"), "0", "{out}");
        assert!(!out.stderr.contains("warning"), "{out}");
        assert!(!out.stderr.contains("machinectl"), "{out}");
    }
}

/// Rounds of what is measured.
const ROUNDS: usize = 40;

/// In the shell of a service, where rkt asks for no unit, and in a login's, in
/// turns. Times are microseconds, one a line.
const MEASURE: &str = r#"
    home=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)
    systemd-run --quiet --scope --unit=login.scope -- sleep 600 &
    until [ -d /sys/fs/cgroup/system.slice/login.scope ]; do sleep 0.05; done
    run() { name=$1; shift; begin=$EPOCHREALTIME; "$@" >>out 2>>err; end=$EPOCHREALTIME; echo $((${end/./} - ${begin/./})) >>$name; }
    for i in $(seq ROUNDS); do
        echo $$ >$home/cgroup.procs
        run scope systemd-run --quiet --scope -- true
        run plain rkt run --net=none example.com/sh -- :
        echo $$ >/sys/fs/cgroup/system.slice/login.scope/cgroup.procs
        run shell rkt run --net=none example.com/sh -- :
        run detached rkt run --detach --net=none example.com/sh -- :
    done
    cat err >&2
    kill %1
"#;

/// `cargo nextest run -p tests --test guest_shell --run-ignored only --no-capture`,
/// with release binaries in `$RKT_BIN_DIR` on a quiet machine.
#[test]
#[ignore = "prints what a unit costs; its figures need a quiet machine"]
fn a_start_from_a_shell_costs_no_more_than_systemd_run() {
    for debian in Debian::ALL {
        let Some(guest) = with_image(Guest::nspawn(debian)) else {
            continue;
        };
        let measure = MEASURE.replace("ROUNDS", &ROUNDS.to_string());
        let out = guest
            .text("/in/measure", 0o644, &measure)
            .run(&format!("{PREPARE} bash -e /in/measure"));
        assert_eq!(
            (out.status, out.stderr.contains("warning")),
            (0, false),
            "{out}"
        );
        let median = |name: &str| {
            let text = out.file(name);
            let mut times: Vec<f64> = text.lines().map(|l| l.parse().unwrap()).collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2] / 1000.0
        };
        let [scope, plain, shell, detached] = ["scope", "plain", "shell", "detached"].map(median);
        let limit = plain + 1.2 * scope;
        println!(
            "{debian:?}, medians of {ROUNDS} in ms: systemd-run --scope true {scope:.1}, \
             rkt run in a service {plain:.1}, from a shell {shell:.1} (limit {limit:.1}), \
             detached {detached:.1}"
        );
        assert!(shell <= limit, "{debian:?}: {shell} > {limit} ms");
    }
}
