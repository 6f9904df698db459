//! What a unit gives to the apps of its pod: the service manager's ear, its
//! watchdog, its reloads, its credentials and its sockets. Both systemd
//! versions, as they are.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use tests::guest::{Debian, Guest, Output};
use tests::{Aci, Compression, Rootfs};

/// An image whose programs are the guest's own, behind the volume `usr`: apps
/// that speak sd_notify(3) and perl are there.
fn host_image() -> Vec<u8> {
    let mut rootfs = Rootfs::new().dir("usr", 0o755).dir("ctl", 0o755);
    for name in ["bin", "lib", "lib64", "sbin"] {
        rootfs = rootfs.symlink(name, &format!("usr/{name}"));
    }
    let aci = Aci::new("example.com/host", &["/bin/sh", "-c"], rootfs);
    let dir = tempfile::tempdir().unwrap();
    std::fs::read(aci.write(dir.path(), "host", Compression::Plain)).unwrap()
}

/// What a test brings into its guests.
struct Given<'a> {
    /// Declared pods: name, text.
    pods: &'a [(&'a str, &'a str)],
    /// Programs of apps: name below `/ctl`, text.
    programs: &'a [(&'a str, &'a str)],
}

/// Runs a script in a guest of each release.
fn each(given: &Given<'_>, script: &str, check: impl Fn(Debian, &Output)) {
    for debian in Debian::ALL {
        let Some(guest) = Guest::nspawn(debian).and_then(Guest::rkt) else {
            continue;
        };
        let mut guest = guest.bytes("/in/host.aci", 0o644, host_image());
        for (name, text) in given.pods {
            let text = text.replace("COMMON\n", COMMON).replace("HOST\n", HOST);
            guest = guest.text(&format!("/etc/rkt/pods/{name}.pod"), 0o644, &text);
        }
        for (name, text) in given.programs {
            guest = guest.text(&format!("/ctl/{name}"), 0o755, text);
        }
        let out = guest.run(&format!("{PREPARE}{script}"));
        assert_eq!(out.status, 0, "{out}");
        check(debian, &out);
    }
}

/// Keys of `[Pod]`, and of an app of [`host_image`].
const COMMON: &str = "Network=none\nInsecureOptions=image\n\
    Volume=usr,kind=host,source=/usr,readOnly=true\nVolume=ctl,kind=host,source=/ctl\n";
const HOST: &str = "Image=example.com/host\nMount=volume=usr,target=/usr\n\
    Mount=volume=ctl,target=/ctl\n";

const PREPARE: &str = "
    set -e
    mkdir -p /ctl /usr/lib/systemd/system-generators
    ln -s /usr/bin/rkt /usr/lib/systemd/system-generators/rkt-generator
    rkt --insecure-options=image fetch --full /in/host.aci >id
    systemctl daemon-reload
    property() { systemctl show --value -p $1 $2; }
    wait_for() {
        for _ in $(seq 100); do if eval \"$1\"; then return 0; fi; sleep 0.1; done
        echo \"waited in vain for: $1\" >&2
        journalctl -q --no-pager -n 30 >&2
        return 1
    }
";

#[test]
fn an_app_feeds_the_watchdog_and_is_started_again_when_it_hangs() {
    let feeds = "#!/bin/sh
        rm -f /ctl/hang
        echo $WATCHDOG_USEC >/ctl/usec
        trap 'echo aborted >>/ctl/log; exit 1' ABRT
        systemd-notify --ready --status=\"serving as $(id -u)\"
        while [ ! -e /ctl/hang ]; do
            if [ -e /ctl/trigger ]; then rm /ctl/trigger; systemd-notify WATCHDOG=trigger; fi
            systemd-notify WATCHDOG=1
            sleep 0.2
        done
        sleep 1000 & wait";
    let web = "[Pod]\nCOMMON\n[App web]\nHOST\nReady=notify\nArguments='exec /ctl/feeds'\n\
        [Service]\nWatchdogSec=2\nRestart=on-watchdog\nRestartSec=100ms\n";
    each(
        &Given {
            pods: &[("web", web)],
            programs: &[("feeds", feeds)],
        },
        "
        systemctl start web
        echo status=$(property StatusText web)
        sleep 4
        echo fed=$(systemctl is-active web) $(property NRestarts web)
        touch /ctl/hang
        wait_for '[ $(property NRestarts web) = 1 ] && systemctl is-active -q web'
        echo hung=$(cat /ctl/log)
        touch /ctl/trigger
        wait_for '[ $(property NRestarts web) = 2 ] && systemctl is-active -q web'
        echo usec=$(cat /ctl/usec)
        systemctl stop web
        echo said=$(journalctl --no-pager -o cat -u web | grep -c Watchdog)
        echo left=$(rkt list --no-legend | wc -l)
        ",
        |_, out| {
            assert_eq!(out.value("status"), "serving as 0", "{out}");
            assert_eq!(out.value("fed"), "active 0", "{out}");
            assert_eq!(out.value("hung"), "aborted", "{out}");
            assert_eq!(out.value("usec"), "2000000", "{out}");
            assert_ne!(out.value("said"), "0", "{out}");
            assert_eq!(out.value("left"), "0", "{out}");
        },
    );
}

#[test]
fn an_app_asks_for_time_and_reloads() {
    let reloads = "#!/bin/sh
        reload() {
            systemd-notify \"$1\" STATUS=reading
            sleep 1
            cp /ctl/new /ctl/read
            systemd-notify READY=1 STATUS=read
        }
        trap 'reload RELOADING=1' HUP
        # With the time of it, which notify-reload wants.
        trap 'reload --reloading' USR1
        systemd-notify EXTEND_TIMEOUT_USEC=8000000
        sleep 3
        systemd-notify --ready
        while :; do sleep 0.1; done";
    let pod = "[Pod]\nCOMMON\n[App web]\nHOST\nReady=notify\nArguments='exec /ctl/reloads'\n\
        [Service]\nTimeoutStartSec=2\n";
    // Type=notify-reload came with systemd 253.
    each(
        &Given {
            pods: &[
                ("old", &format!("{pod}ExecReload=/bin/kill -HUP $MAINPID\n")),
                ("new", &format!("{pod}Type=notify-reload\nReloadSignal=SIGUSR1\n")),
            ],
            programs: &[("reloads", reloads)],
        },
        "
        pods=old
        if [ $(systemctl --version | sed -n 's/^systemd \\([0-9]*\\).*/\\1/p') -ge 253 ]; then
            pods='old new'
        fi
        for pod in $pods; do
            systemctl start $pod
            echo $pod.active=$(systemctl is-active $pod)
            echo $pod >/ctl/new
            systemctl reload $pod
            echo $pod.at_once=$(cat /ctl/read 2>&1)
            wait_for '[ \"$(cat /ctl/read 2>&1)\" = $pod ] && [ \"$(property StatusText $pod)\" = read ]'
            wait_for '[ $(property ActiveState $pod) = active ]'
            systemctl stop $pod
            echo $pod.result=$(property Result $pod)
        done
        ",
        |debian, out| {
            assert_eq!(out.value("old.active"), "active", "{out}");
            assert_eq!(out.value("old.result"), "success", "{out}");
            if debian == Debian::Trixie {
                assert_eq!(out.value("new.active"), "active", "{out}");
                // The reload is over when the app says so.
                assert_eq!(out.value("new.at_once"), "new", "{out}");
                assert_eq!(out.value("new.result"), "success", "{out}");
            }
        },
    );
}

#[test]
fn apps_are_stopped_in_reverse_each_with_its_signal_and_in_its_time() {
    let waits = "#!/bin/sh
        trap 'sleep $2; echo $1 >>/ctl/order; exit 0' $3
        while :; do sleep 0.1; done";
    let stubborn = "#!/bin/sh\ntrap '' TERM; while :; do sleep 0.1; done";
    each(
        &Given {
            pods: &[
                (
                    "several",
                    "[Pod]\nCOMMON\n[App one]\nHOST\nStopSignal=SIGUSR1\n\
                     Arguments='exec /ctl/waits one 0 USR1'\n\
                     [App two]\nHOST\nArguments='exec /ctl/waits two 1 TERM'\n",
                ),
                (
                    "stubborn",
                    "[Pod]\nCOMMON\n[App stubborn]\nHOST\nStopTimeout=1\n\
                     Arguments='exec /ctl/stubborn'\n",
                ),
                (
                    "patient",
                    "[Pod]\nCOMMON\n[App patient]\nHOST\n\
                     Arguments='exec /ctl/waits patient 11 TERM'\n[Service]\nTimeoutStopSec=20\n",
                ),
            ],
            programs: &[("waits", waits), ("stubborn", stubborn)],
        },
        "
        systemctl start several stubborn patient
        sleep 1
        systemctl stop several
        echo order=$(tr '\\n' ' ' </ctl/order)
        begun=$(date +%s)
        systemctl stop stubborn
        echo took=$(($(date +%s) - begun))
        # The unit's own limit is the app's.
        systemctl stop patient
        echo patience=$(tail -n 1 /ctl/order) $(property Result patient)
        echo left=$(rkt list --no-legend | wc -l) $(find /sys/fs/cgroup -path '*several*' | wc -l)
        ",
        |_, out| {
            assert_eq!(out.value("order"), "two one", "{out}");
            let took: u32 = out.value("took").parse().unwrap();
            assert!((1..=5).contains(&took), "{out}");
            assert_eq!(out.value("patience"), "patient success", "{out}");
            assert_eq!(out.value("left"), "0 0", "{out}");
        },
    );
}

#[test]
fn credentials_reach_the_apps_that_may_have_them() {
    let tells = "#!/bin/sh
        cd $CREDENTIALS_DIRECTORY
        {
            pwd; cat token file; stat -c %u:%a . token; id -u
            touch new 2>/dev/null || echo kept
        } | tr '\\n' ' ' >/ctl/said";
    each(
        &Given {
            pods: &[
                (
                    "one",
                    "[Pod]\nCOMMON\n[App one]\nHOST\nUser=33\nGroup=33\nArguments=/ctl/tells\n\
                     [Service]\nSetCredential=token:abc\nLoadCredential=file:/in/secret\n",
                ),
                (
                    "two",
                    "[Pod]\nCOMMON\n[App asks]\nHOST\nCredentials=token\n\
                     Arguments='ls $CREDENTIALS_DIRECTORY >/ctl/asks'\n\
                     [App other]\nHOST\n\
                     Arguments='echo \"<$CREDENTIALS_DIRECTORY>\" $(ls /run) >/ctl/other'\n\
                     [Service]\nSetCredential=token:abc\nSetCredential=other:x\n",
                ),
                (
                    "missing",
                    "[Pod]\nCOMMON\n[App lacks]\nHOST\nCredentials=tokken\nArguments=true\n\
                     [Service]\nSetCredential=token:abc\n",
                ),
            ],
            programs: &[("tells", tells)],
        },
        "
        touch /ctl/said && chmod 666 /ctl/said
        echo ' hidden' >/in/secret
        for pod in one two; do
            systemctl start $pod
            wait_for '! systemctl is-active -q $pod'
            echo $pod=$(property Result $pod)
        done
        echo said=$(cat /ctl/said)
        echo asks=$(cat /ctl/asks)
        echo other=$(cat /ctl/other)
        systemctl start missing || true
        wait_for 'journalctl -q --no-pager -o cat -u missing | grep -q tokken'
        journalctl -q --no-pager -o cat -u missing | grep 'credential' | tail -n 1 | sed 's/^/why=/'
        ",
        |_, out| {
            assert_eq!(out.value("one"), "success", "{out}");
            assert_eq!(
                out.value("said"),
                "/run/credentials abc hidden 33:500 33:400 33 kept",
                "{out}"
            );
            assert_eq!(out.value("asks"), "token", "{out}");
            assert_eq!(out.value("other"), "<>", "{out}");
            let why = out.value("why");
            assert!(why.contains("LoadCredential=tokken:PATH"), "{out}");
        },
    );
}

#[test]
fn sockets_start_the_pod_and_reach_the_right_app() {
    // Takes one connection on each descriptor and tells what it was told.
    let accepts = r#"#!/usr/bin/perl
        my $me = $ENV{LISTEN_PID} == $$ ? "me" : "another";
        for (3 .. 2 + $ENV{LISTEN_FDS}) {
            open(my $socket, "+<&=$_"); accept(my $client, $socket);
            syswrite($client, "$ARGV[0] $ENV{LISTEN_FDS} $ENV{LISTEN_FDNAMES} $me\n");
        }
        sleep 60;"#;
    let serves = "#!/bin/sh\nmkdir /www; echo plain >/www/index.html\n\
        exec busybox httpd -f -p 127.0.0.1:7005 -h /www";
    let socket = |rest: &str| format!("[Socket]\n{rest}");
    each(
        &Given {
            pods: &[
                (
                    "one",
                    "[Pod]\nCOMMON\n[App one]\nHOST\nArguments='exec /ctl/accepts one'\n\
                     [Socket]\nListenStream=127.0.0.1:7001\nListenStream=/run/one.sock\n\
                     FileDescriptorName=web\n",
                ),
                (
                    "two",
                    "[Pod]\nCOMMON\n\
                     [App front]\nHOST\nSockets=front\nArguments='exec /ctl/accepts front'\n\
                     [App back]\nHOST\nSockets=back.socket\nArguments='exec /ctl/accepts back'\n\
                     [Service]\nSockets=front.socket back.socket\n",
                ),
                (
                    "proxied",
                    "[Pod]\nCOMMON\nNetwork=\nNetwork=host\n[App proxied]\nHOST\n\
                     Ready=exec:/bin/busybox wget -q -O /dev/null http://127.0.0.1:7005/\nArguments='exec /ctl/serves'\n",
                ),
            ],
            programs: &[("accepts", accepts), ("serves", serves)],
        },
        &format!(
            "
            unit() {{ cat >/etc/systemd/system/$1; }}
            unit front.socket <<END\n{}\nEND
            unit back.socket <<END\n{}\nEND
            unit proxy.socket <<END\n{}\nEND
            unit proxy.service <<END\n{}\nEND
            systemctl daemon-reload
            echo enabled=$(readlink /run/systemd/generator/sockets.target.wants/one.socket)
            systemctl start one.socket front.socket back.socket proxy.socket
            ask() {{ busybox nc \"$@\" </dev/null; }}
            echo before=$(systemctl is-active one)
            echo one=$(ask 127.0.0.1 7001)
            echo unix=$(perl -MIO::Socket::UNIX -e 'print IO::Socket::UNIX->new(Peer => q(/run/one.sock))->getline')
            echo front=$(ask 127.0.0.1 7002)
            echo back=$(ask 127.0.0.1 7003)
            echo proxied=$(busybox wget -q -O - http://127.0.0.1:7004/)
            systemctl stop one.socket one two
            echo result=$(property Result one) $(property Result two)
            ",
            socket("ListenStream=127.0.0.1:7002\nFileDescriptorName=front\nService=two.service"),
            socket("ListenStream=127.0.0.1:7003\nService=two.service"),
            socket("ListenStream=127.0.0.1:7004"),
            "[Unit]\nRequires=proxied.service\nAfter=proxied.service\n[Service]\n\
             ExecStart=/usr/lib/systemd/systemd-socket-proxyd 127.0.0.1:7005",
        ),
        |_, out| {
            assert_eq!(out.value("enabled"), "../one.socket", "{out}");
            assert_eq!(out.value("before"), "inactive", "{out}");
            assert_eq!(out.value("one"), "one 2 web:web me", "{out}");
            assert_eq!(out.value("unix"), "one 2 web:web me", "{out}");
            assert_eq!(out.value("front"), "front 1 front me", "{out}");
            assert_eq!(out.value("back"), "back 1 back.socket me", "{out}");
            assert_eq!(out.value("proxied"), "plain", "{out}");
        },
    );
}
