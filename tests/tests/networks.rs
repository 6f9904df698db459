//! Networks of pods, by the command that a person types, on a machine whose
//! network is the test's own.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;

use nix::sys::signal::Signal;
use tests::cmd::eventually;
use tests::{Aci, Cmd, Host, Running};

/// A machine with the image `example.com/sh`, whose exec is `/bin/sh -c` and
/// which has a port `http`.
fn host() -> Host {
    let host = Host::with_own_network();
    fs::create_dir(host.config().join("net.d")).unwrap();
    let mut aci = Aci::busybox("example.com/sh", &["/bin/sh", "-c"]);
    aci.manifest["app"]["ports"] = serde_json::json!([
        {"name": "http", "protocol": "tcp", "port": 80},
        {"name": "dns", "protocol": "udp", "port": 53},
        {"name": "many", "protocol": "tcp", "port": 7000, "count": 3},
    ]);
    host.fetch_aci(&aci);
    host
}

/// A file of `net.d`.
fn configure(host: &Host, file: &str, text: &str) {
    fs::write(host.config().join("net.d").join(file), text).unwrap();
}

fn pod(host: &Host, flags: &[&str], script: &str) -> Cmd {
    let mut words = vec!["run"];
    words.extend(flags);
    words.extend(["example.com/sh", "--", script]);
    host.rkt(words)
}

/// A pod that stays until it is stopped.
fn started(host: &Host, flags: &[&str], script: &str) -> (Running, String) {
    let script = format!("{script}\necho ready; exec sleep 1000");
    let mut running = pod(host, flags, &script).spawn();
    running.wait_for("ready");
    let uuid = host.last_uuid();
    (running, uuid)
}

fn stop(running: Running) {
    running.signal(Signal::SIGTERM);
    running.wait();
}

fn sh(script: &str) -> String {
    Cmd::new("sh").args(["-c", script]).run().ok().stdout
}

/// Interfaces of the machine but loopback.
fn links() -> String {
    sh("ip -o link show | cut -d: -f2 | grep -vx ' lo' || true")
}

/// The kernel takes a pod's interfaces away when it comes to it.
fn wait_for_links(names: &str) {
    eventually("the interfaces to go", || links().trim() == names);
}

/// Lines of the firewall that name a pod.
fn rules_of(uuid: &str) -> usize {
    sh("nft list ruleset").matches(uuid).count()
}

/// Asks a TCP server; "nobody" where there is none.
fn ask(address: &str) -> String {
    sh(&format!(
        "socat -T2 - TCP:{address},connect-timeout=2 </dev/null 2>/dev/null || echo nobody"
    ))
}

const SERVER: &str = "nc -ll -p 80 -e echo hello &";

#[test]
fn without_a_flag_a_pod_joins_the_default_network() {
    let host = host();
    let out = pod(&host, &[], "ip -4 -o addr show eth0; ip route")
        .run()
        .ok();
    assert!(out.stdout.contains("inet 172.16.28.2/24"), "{out}");
    assert!(
        out.stdout.contains("default via 172.16.28.1 dev eth0"),
        "{out}"
    );
    wait_for_links("");
    host.assert_no_pod_leaks();
    // Prepared pods, too; and the next address.
    let out = host.rkt([
        "prepare",
        "--quiet",
        "example.com/sh",
        "--",
        "ip -4 -o addr show eth0",
    ]);
    let uuid = out.run().ok().text().to_owned();
    let out = host.rkt(["run-prepared", &uuid]).run().ok();
    assert!(out.stdout.contains("inet 172.16.28.3/24"), "{out}");
    let out = host.rkt(["run-prepared", "--help"]).run().ok();
    assert!(out.stdout.contains("[default: default]"), "{out}");
}

#[test]
fn status_list_and_network_list_say_who_is_where() {
    let host = host();
    configure(
        &host,
        "10-lan.conflist",
        r#"{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"bridge","bridge":"br-lan","isGateway":true,
            "ipam":{"type":"host-local","ranges":[[{"subnet":"10.9.0.0/24"}],[{"subnet":"fd09::/64"}]]}}]}"#,
    );
    let (running, uuid) = started(&host, &["--net=default,lan"], "");
    let both = "lan:ip4=10.9.0.2, lan:ip6=fd09::2, default:ip4=172.16.28.2";
    let listed = host.rkt(["list"]).run().ok();
    assert!(listed.stdout.contains(both), "{listed}");
    let status = host.rkt(["status", &uuid]).run().ok();
    assert!(
        status
            .stdout
            .contains(&format!("networks={}\n", both.replace(", ", ","))),
        "{status}"
    );
    let json = host
        .rkt(["status", "--format=json", &uuid])
        .run()
        .ok()
        .json();
    assert_eq!(json["networks"][0]["netName"], "lan");
    assert_eq!(json["networks"][1]["ip"], "172.16.28.2");

    let found = host
        .rkt(["network", "list", "--format=json"])
        .run()
        .ok()
        .json();
    let names: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["lan", "default-restricted", "default"]);
    assert_eq!(
        found[0]["file"],
        host.config()
            .join("net.d/10-lan.conflist")
            .to_str()
            .unwrap()
    );
    assert_eq!(found[0]["plugins"][0], "bridge");
    assert_eq!(found[0]["pods"][0]["uuid"], uuid);
    assert_eq!(found[0]["pods"][0]["ips"][1], "fd09::2/64");
    assert!(found[2].get("file").is_none());
    let table = host.rkt(["network", "list"]).run().ok();
    assert!(table.stdout.contains("(built in)"), "{table}");
    stop(running);
}

#[test]
fn the_names_of_a_pods_apps_lead_to_them() {
    let host = host();
    let mut words = vec!["run", "--hostname=box", "--hosts-entry=192.0.2.9=far"];
    words.extend(["example.com/sh", "--name=web", "--", SERVER_OF_WEB, "---"]);
    words.extend(["example.com/sh", "--name=asks", "--", "until nc web 80; do sleep 0.05; done; grep -c '192.0.2.9 far' /etc/hosts; ping -c1 -w1 box >/dev/null && echo pong"]);
    let out = host.rkt(words).run().ok();
    for line in ["[asks] hello", "[asks] 1", "[asks] pong"] {
        assert!(out.stdout.contains(line), "{line}: {out}");
    }
}

/// Answers once.
const SERVER_OF_WEB: &str = "echo hello | nc -l -p 80";

#[test]
fn resolv_conf_is_what_the_flags_say() {
    let host = host();
    configure(
        &host,
        "10-named.conf",
        r#"{"cniVersion":"1.0.0","name":"named","type":"ptp","dns":{"nameservers":["192.0.2.53"],"search":["example.com"]},
            "ipam":{"type":"host-local","subnet":"10.8.0.0/24"}}"#,
    );
    fs::create_dir_all("/etc").unwrap();
    let hosts_own = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let show = "cat /etc/resolv.conf 2>/dev/null || echo none";
    for (flags, text) in [
        (&["--net=named"][..], "# Generated by rkt from network named\n\nsearch example.com\nnameserver 192.0.2.53\n".to_owned()),
        (&["--net=named", "--dns=none"], "none\n".to_owned()),
        (&["--net=default"], "none\n".to_owned()),
        (&["--net=named", "--dns=host"], hosts_own),
        (
            &["--net=named", "--dns=192.0.2.1,fd00::1", "--dns-search=a.example", "--dns-opt=ndots:2", "--dns-domain=b.example"],
            "# Generated by rkt run\n\nsearch a.example\nnameserver 192.0.2.1\nnameserver fd00::1\noptions ndots:2\ndomain b.example\n".to_owned(),
        ),
    ] {
        pod(&host, flags, show).run().ok().prints(&text);
    }
    pod(&host, &["--dns=host", "--dns-opt=x"], "true")
        .run()
        .fails(
            254,
            "run",
            &["cannot call --dns-opt, --dns-search, or --dns-domain with --dns=host"],
        );
}

#[test]
fn ports_lead_into_the_pod_and_are_refused_to_others() {
    let host = host();
    sh("ip link add ext type bridge; ip addr add 192.0.2.1/24 dev ext; ip link set ext up");
    let (running, uuid) = started(
        &host,
        &["--port=http:8080", "--port=many:9000-9002"],
        &format!("{SERVER} nc -ll -p 7002 -e echo third &"),
    );
    eventually("the pod's servers", || {
        ask("127.0.0.1:8080") == "hello\n" && ask("127.0.0.1:9002") == "third\n"
    });
    for (address, answer) in [
        ("127.0.0.1:8080", "hello\n"),
        ("192.0.2.1:8080", "hello\n"),
        ("127.0.0.1:9002", "third\n"),
        ("127.0.0.1:9003", "nobody\n"),
    ] {
        assert_eq!(ask(address), answer, "{address}");
    }
    pod(&host, &[], "nc -w2 192.0.2.1 8080")
        .run()
        .ok()
        .prints("hello\n");
    pod(&host, &["--port=http:192.0.2.1:8080"], "true")
        .run()
        .fails(
            254,
            "run",
            &[
                "port tcp 192.0.2.1:8080",
                "taken by port \"http\" of pod",
                &uuid,
            ],
        );
    // A reload of the firewall takes our table, and gets it back.
    sh("nft flush ruleset");
    eventually("the pod's ports", || rules_of(&uuid) > 0);
    assert_eq!(ask("127.0.0.1:8080"), "hello\n");
    stop(running);
    assert_eq!(ask("127.0.0.1:8080"), "nobody\n");
    assert_eq!(rules_of(&uuid), 0);
    for (flags, words) in [
        (
            &["--net=none", "--port=http:8080"][..],
            "--port flag does not work with 'none' networking",
        ),
        (
            &["--port=nosuch:8080"],
            "port name \"nosuch\" could not be found in any apps",
        ),
        (
            &["--port=many:9000-9001"],
            "has 3 port(s), but 2 were given",
        ),
        (&["--port=many:65534"], "goes beyond port 65535"),
    ] {
        pod(&host, flags, "true").run().fails(254, "run", &[words]);
    }
}

#[test]
fn a_pod_without_apps_publishes_the_ports_of_those_that_come() {
    let host = host();
    let file = host.path().join("uuids/sandbox");
    let sandbox = |flags: &[&str]| {
        host.rkt([
            "app",
            "sandbox",
            &format!("--uuid-file-save={}", file.display()),
        ])
        .args(flags)
    };
    // The default network has no IPv6.
    sandbox(&["--port=web:tcp:80:[::1]:8081"]).run().fails(
        254,
        "run",
        &["port \"web\" cannot be forwarded: the pod has no ipv6 address"],
    );
    fs::remove_file(&file).unwrap();

    let running = sandbox(&["--port=web:tcp:80::8080"]).spawn();
    eventually("the UUID", || fs::read(&file).is_ok_and(|b| b.len() == 36));
    let uuid = fs::read_to_string(&file).unwrap();
    host.rkt(["status", "--wait-ready=20s", &uuid]).run().ok();
    assert_eq!(ask("127.0.0.1:8080"), "nobody\n");
    host.rkt(["app", "add", &uuid, "example.com/sh", "--name=web"])
        .args(["--", "exec nc -ll -p 80 -e echo hello"])
        .run()
        .ok();
    host.rkt(["app", "start", &uuid, "--app=web"]).run().ok();
    eventually("the app's port", || ask("127.0.0.1:8080") == "hello\n");
    let manifest = host.rkt(["cat-manifest", &uuid]).run().ok().json();
    assert_eq!(manifest["ports"][0]["podPort"]["port"], 80, "{manifest}");
    pod(&host, &["--port=http:8080"], "true").run().fails(
        254,
        "run",
        &[
            "port tcp 0.0.0.0:8080",
            "taken by port \"web\" of pod",
            &uuid,
        ],
    );
    stop(running);
    assert_eq!(ask("127.0.0.1:8080"), "nobody\n");
    assert_eq!(rules_of(&uuid), 0);
    for (flags, words) in [
        (
            &["--port=web:8080"][..],
            "name:protocol:podPort:[hostIP]:hostPort",
        ),
        (
            &["--port=web:tcp:80::8080", "--port=web:tcp:81::8081"],
            "port name \"web\" is given to two ports of the pod",
        ),
        (
            &["--port=a:tcp:80::8080", "--port=b:tcp:81::8080"],
            "port tcp-0.0.0.0:8080 already mapped to pod port 80",
        ),
        (
            &["--net=none", "--port=web:tcp:80::8080"],
            "--port flag does not work with 'none' networking",
        ),
    ] {
        let out = sandbox(flags).run();
        assert!(out.code() != Some(0) && out.stderr.contains(words), "{out}");
    }
}

#[test]
fn gc_takes_back_what_a_killed_supervisor_had() {
    let host = host();
    configure(
        &host,
        "10-lan.conf",
        r#"{"cniVersion":"1.0.0","name":"lan","type":"bridge","bridge":"br-lan","isGateway":true,"ipMasq":true,
            "ipam":{"type":"host-local","subnet":"10.9.0.0/24"}}"#,
    );
    let (running, uuid) = started(&host, &["--net=default,lan", "--port=http:8080"], "");
    running.signal(Signal::SIGKILL);
    running.wait();
    assert!(rules_of(&uuid) > 0);
    host.rkt(["gc", "--grace-period=0s"]).run().ok();
    assert_eq!(rules_of(&uuid), 0);
    wait_for_links("br-lan");
    host.assert_no_pods();
    host.assert_no_pod_leaks();
    // And rm.
    let (running, uuid) = started(&host, &["--port=http:8080"], "");
    running.signal(Signal::SIGKILL);
    running.wait();
    host.rkt(["rm", &uuid]).run().ok();
    assert_eq!(rules_of(&uuid), 0);
    host.assert_no_pod_leaks();
}

/// systemd's own program passes the sockets.
#[test]
fn sockets_that_were_passed_reach_the_app_with_their_port() {
    let host = host();
    let mut aci = Aci::busybox("example.com/activated", &["/bin/sh", "-c"]);
    aci.manifest["app"]["ports"] = serde_json::json!([
        {"name": "web", "protocol": "tcp", "port": 8081, "socketActivated": true},
        {"name": "other", "protocol": "tcp", "port": 80, "socketActivated": true},
        {"name": "plain", "protocol": "tcp", "port": 9},
    ]);
    host.fetch_aci(&aci);
    let script = "echo $LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID == $$)); \
                  for fd in 3 4 5; do readlink /proc/self/fd/$fd || echo none; done";
    for net in ["--net=default", "--net=none", "--net=host"] {
        let rkt = host
            .rkt([
                "run",
                net,
                "--port=other:8090",
                "example.com/activated",
                "--",
                script,
            ])
            .into_command();
        let ports = [8081, 7777, 8090];
        let activate = "/usr/bin/systemd-socket-activate";
        if !std::path::Path::new(activate).exists() {
            return tests::skip::skipped("systemd-socket-activate is not installed");
        }
        let command = Cmd::new(activate)
            .args(ports.map(|port| format!("--listen=127.0.0.1:{port}")))
            .args(rkt.get_envs().filter_map(|(name, value)| {
                // What the harness finds its processes by.
                let (name, value) = (name.to_str()?, value?.to_str()?);
                name.starts_with("RKT_")
                    .then(|| format!("--setenv={name}={value}"))
            }))
            .arg(rkt.get_program())
            .args(rkt.get_args())
            .spawn();
        eventually("systemd to listen", || {
            ports.iter().all(|port| inode(*port).is_some())
        });
        let socket = |port| format!("socket:[{}]", inode(port).unwrap());
        // The one that no port is for goes to the pod's only app.
        let expected = format!(
            "3 web:other:unknown 1\n{}\n{}\n{}\n",
            socket(8081),
            socket(8090),
            socket(7777)
        );
        std::net::TcpStream::connect("127.0.0.1:8081").unwrap();
        let out = command.wait().ok();
        assert_eq!(out.stdout, expected, "{net}: {out}");
        assert_eq!(out.stderr.matches("warning").count(), 0, "{net}: {out}");
    }
    // Those of another process are none of ours.
    host.rkt([
        "run",
        "--net=none",
        "example.com/sh",
        "--",
        "echo none$LISTEN_FDS",
    ])
    .env("LISTEN_PID", "1")
    .env("LISTEN_FDS", "1")
    .run()
    .ok()
    .prints("none\n");
}

/// They wait for the app that has the port.
#[test]
fn sockets_that_were_passed_reach_an_app_that_is_added() {
    let activate = "/usr/bin/systemd-socket-activate";
    if !std::path::Path::new(activate).exists() {
        return tests::skip::skipped("systemd-socket-activate is not installed");
    }
    let host = host();
    let mut aci = Aci::busybox("example.com/activated", &["/bin/sh", "-c"]);
    aci.manifest["app"]["ports"] = serde_json::json!([
        {"name": "web", "protocol": "tcp", "port": 8081, "socketActivated": true},
        {"name": "more", "protocol": "tcp", "port": 8082, "socketActivated": true},
    ]);
    host.fetch_aci(&aci);
    let file = host.path().join("uuid");
    let rkt = host
        .rkt(["app", "sandbox", "--net=none"])
        .arg(format!("--uuid-file-save={}", file.display()))
        .into_command();
    let sandbox = Cmd::new(activate)
        .args(["--listen=127.0.0.1:8081", "--listen=127.0.0.1:8082"])
        .args(rkt.get_envs().filter_map(|(name, value)| {
            let (name, value) = (name.to_str()?, value?.to_str()?);
            name.starts_with("RKT_")
                .then(|| format!("--setenv={name}={value}"))
        }))
        .arg(rkt.get_program())
        .args(rkt.get_args())
        .spawn();
    eventually("systemd to listen", || inode(8082).is_some());
    std::net::TcpStream::connect("127.0.0.1:8081").unwrap();
    eventually("the UUID", || {
        std::fs::read(&file).is_ok_and(|text| text.len() == 36)
    });
    let by_file = format!("--uuid-file={}", file.display());
    host.rkt(["status", "--wait-ready=20s", &by_file])
        .run()
        .ok();
    let script = "echo $LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID == $$)); \
                  for fd in 3 4 5; do readlink /proc/self/fd/$fd || echo none; done";
    let add = ["app", "add", &by_file, "example.com/activated", "--name=a"];
    host.rkt(add).args(["--", script]).run().ok();
    let socket = |port| format!("socket:[{}]", inode(port).unwrap());
    let lines = [
        "2 web:more 1".to_owned(),
        socket(8081),
        socket(8082),
        "none".to_owned(),
    ];
    // Again and again.
    for _ in 0..2 {
        host.rkt(["app", "start", &by_file, "--app=a"]).run().ok();
        eventually("its end", || {
            let list = host.rkt(["app", "list", &by_file]).run().ok();
            list.stdout.contains("exited")
        });
    }
    host.rkt(["stop", &by_file]).run().ok();
    let out = sandbox.wait().ok();
    let said: Vec<&str> = out
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("[a] "))
        .collect();
    assert_eq!(said, [&lines[..], &lines[..]].concat(), "{out}");
    assert!(!out.stderr.contains("warning"), "{out}");
}

/// The inode of the socket that listens on a TCP port.
fn inode(port: u16) -> Option<String> {
    let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let local = format!("0100007F:{port:04X}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&local.as_str()) && fields.get(3) == Some(&"0A"))
            .then(|| fields[9].to_owned())
    })
}

#[test]
fn check_and_gc_ask_the_programs_of_networks() {
    let host = host();
    plugin(
        &host,
        "asked",
        r#"cat > /run/asked.$CNI_COMMAND
           case $CNI_COMMAND in
               STATUS) [ ! -e /run/shy ] || { echo '{"code":50,"msg":"not now"}'; exit 1; } ;;
               CHECK) [ ! -e /run/lost ] || { echo '{"code":102,"msg":"it is lost"}'; exit 1; } ;;
               DEL) [ ! -e /run/stuck ] || { echo '{"code":11,"msg":"try again later"}'; exit 1; } ;;
               ADD) sed 's/.*"prevResult"://; s/,"type":"asked"}$//' /run/asked.ADD ;;
           esac"#,
    );
    configure(
        &host,
        "10-x.conf",
        r#"{"cniVersion":"1.1.0","name":"x","plugins":[{"type":"ptp","ipam":{"type":"host-local","subnet":"10.7.0.0/24"}},
            {"type":"asked"}]}"#,
    );
    let check = |words: &[&str]| host.rkt(["network", "check"]).args(words).run();
    let (running, uuid) = started(&host, &["--net=x"], "");
    check(&[]).ok();
    check(&[&uuid]).ok();
    fs::write("/run/shy", "").unwrap();
    check(&[&uuid]).ok();
    check(&[]).fails(
        1,
        "check",
        &["network \"x\": plugin \"asked\", STATUS: not now"],
    );
    fs::write("/run/lost", "").unwrap();
    check(&[&uuid]).fails(1, "check", &["pod", &uuid, "CHECK: it is lost"]);
    fs::remove_file("/run/lost").unwrap();
    sh(&format!(
        "ip link set veth{}0 down 2>/dev/null || ip link set $(ip -o link | grep -o 'veth[^@]*' | head -n1) down",
        &uuid[..8]
    ));
    check(&[&uuid]).fails(1, "check", &["pod", &uuid, "which is down"]);

    host.rkt(["gc"]).run().ok();
    let asked = fs::read_to_string("/run/asked.GC").unwrap();
    assert!(asked.contains(&uuid), "{asked}");

    // A program that fails in DEL keeps the pod's record, and nothing else.
    fs::write("/run/stuck", "").unwrap();
    running.signal(Signal::SIGTERM);
    let out = running.wait();
    assert!(
        out.stderr
            .contains("plugin \"asked\", DEL: try again later"),
        "{out}"
    );
    let out = host.rkt(["gc", "--grace-period=0s"]).run().ok();
    assert!(out.stderr.contains("try again later"), "{out}");
    wait_for_links("");
    assert!(!fs::exists(format!("/run/netns/rkt-{uuid}")).unwrap());
    fs::remove_file("/run/stuck").unwrap();
    host.rkt(["rm", &uuid]).run().ok();
    check(&[&uuid]).fails(254, "check", &["no matches found"]);
    host.rkt(["gc"]).run().ok();
    assert!(!fs::read_to_string("/run/asked.GC").unwrap().contains(&uuid));
}

/// A program of a network.
fn plugin(host: &Host, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = host.config().join("net.d").join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The network `x`: a pair, then the program `bad`, then another that works.
/// Its programs note in `/run/told` what they are called for.
fn network_with_a_bad_program(host: &Host, script: &str) {
    let note = "echo $CNI_COMMAND $1 >>/run/told; cat >/run/input";
    let pass = r#"[ $CNI_COMMAND != ADD ] || sed 's/.*"prevResult"://; s/,"type":"[a-z]*"}$//' /run/input"#;
    plugin(host, "good", &format!("set good; {note}; {pass}"));
    plugin(host, "bad", &format!("set bad; {note}; {script}; {pass}"));
    configure(
        host,
        "10-x.conf",
        r#"{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"ptp","ipMasq":true,
            "ipam":{"type":"host-local","subnet":"10.7.0.0/24"}},{"type":"good"},{"type":"bad"}]}"#,
    );
}

const ADD_ONLY: &str = "[ $CNI_COMMAND = ADD ] || exit 0";

#[test]
fn a_program_that_fails_ends_the_start_which_is_undone_in_reverse() {
    let host = host();
    for (script, words) in [
        ("echo hello; exit 0", "answered \"hello\": not a cni result"),
        ("kill -9 $$", "was killed by signal 9"),
        ("echo oops >&2; exit 3", "exited with status 3: oops"),
        ("head -c 3000000 /dev/zero; exit 0", "not a cni result"),
        (
            r#"echo '{"code":7,"msg":"no luck","details":"today"}'; exit 1"#,
            "add: no luck; today",
        ),
    ] {
        network_with_a_bad_program(&host, &format!("{ADD_ONLY}; {script}"));
        pod(&host, &["--net=default,x", "--port=http:8080"], "true")
            .run()
            .fails(254, "run", &["network \"x\": plugin \"bad\"", words]);
        assert_eq!(
            fs::read_to_string("/run/told").unwrap(),
            "ADD good\nADD bad\nDEL bad\nDEL good\n",
            "{script}"
        );
        fs::remove_file("/run/told").unwrap();
        host.assert_no_pod_leaks();
        wait_for_links("");
        assert_eq!(rules_of(&host.last_uuid()), 0, "{script}");
    }
}

/// A minute is what a program has, which may wait for a DHCP server.
#[test]
fn a_program_that_hangs_is_ended_by_whoever_waits_or_by_the_deadline() {
    let host = host();
    network_with_a_bad_program(&host, &format!("{ADD_ONLY}; sleep 1234 & sleep 1234"));
    let sleepers = || sh("pgrep -xfc 'sleep 1234' || true").trim().to_owned();
    let added = || fs::read_to_string("/run/told").is_ok_and(|told| told.contains("ADD bad"));
    let began = std::time::Instant::now();
    let hanging = pod(&host, &["--net=x"], "true").deadline(std::time::Duration::from_secs(100));
    let (late, first) = (hanging.spawn(), host.last_uuid());
    eventually("the program to be called", added);
    fs::remove_file("/run/told").unwrap();
    let hanging = pod(&host, &["--net=x"], "true").spawn();
    eventually("the program to be called", added);
    assert_eq!(sleepers(), "4");
    hanging.signal(Signal::SIGINT);
    hanging.wait().fails(
        254,
        "run",
        &["network \"x\": plugin \"bad\", add: interrupted"],
    );
    assert!(began.elapsed().as_secs() < 30);
    assert_eq!(sleepers(), "2");
    assert_eq!(host.listed(&first)["state"], "running");
    late.wait().fails(
        254,
        "run",
        &["network \"x\": plugin \"bad\", add: no answer within 60 s"],
    );
    assert_eq!(sleepers(), "0");
    host.assert_no_pod_leaks();
    wait_for_links("");
}

/// What it leaves undone, gc asks for again until it is done.
#[test]
fn a_program_that_fails_in_del_holds_up_nothing_else() {
    let host = host();
    network_with_a_bad_program(
        &host,
        "[ $CNI_COMMAND = ADD -o -e /run/well ] || { echo junk; exit 1; }",
    );
    let (running, uuid) = started(&host, &["--net=default,x", "--port=http:8080"], "");
    running.signal(Signal::SIGTERM);
    let out = running.wait();
    assert!(
        out.stderr
            .contains("plugin \"bad\", DEL: exited with status 1: junk"),
        "{out}"
    );
    assert_eq!(rules_of(&uuid), 0);
    let leases = sh("find /var/lib/cni/networks -name '[0-9]*.*'");
    assert_eq!(leases, "", "addresses are given back all the same");
    let out = host.rkt(["gc", "--grace-period=0s"]).run().ok();
    assert!(
        out.stderr.contains("DEL: exited with status 1: junk"),
        "{out}"
    );
    // The program may look for the namespace until then, but not for ever.
    wait_for_links("");
    assert_eq!(host.pod_directories().len(), 1, "the record stays");
    fs::write("/run/well", "").unwrap();
    host.rkt(["gc", "--grace-period=0s"]).run().ok();
    host.assert_no_pods();
    host.assert_no_pod_leaks();
}

/// Somebody else's firewall: iptables over nftables, as ufw and docker use it,
/// tables as firewalld and an administrator have them.
#[test]
fn other_rules_and_ours_live_beside_each_other() {
    let host = host();
    sh("iptables-nft -A INPUT -p tcp --dport 22 -j ACCEPT; iptables-nft -t nat -A POSTROUTING -s 10.200.0.0/16 -j MASQUERADE
        nft 'table inet firewalld { chain in { type filter hook input priority 10; policy accept; tcp dport 23 drop; }; }'");
    let others = || sh("iptables-nft-save | grep ^-A; nft list table inet firewalld");
    let before = others();
    let (running, uuid) = started(&host, &["--port=http:8080"], SERVER);
    eventually("the pod's server", || ask("127.0.0.1:8080") == "hello\n");
    assert_eq!(others(), before);
    // Each reloads its own, as their services do; ours is not touched.
    let table = || sh("nft list table inet rkt");
    let ours = table();
    sh("iptables-nft -F; iptables-nft -A INPUT -p tcp --dport 22 -j ACCEPT
        nft delete table inet firewalld
        nft 'table inet firewalld { chain in { type filter hook input priority 10; policy accept; tcp dport 23 drop; }; }'");
    assert_eq!((others(), table()), (before.clone(), ours.clone()));
    // One that thinks it is alone: all go, and what is ours comes back.
    sh("nft flush ruleset");
    eventually("the pod's ports", || rules_of(&uuid) > 0);
    assert_eq!(table(), ours);
    assert_eq!(ask("127.0.0.1:8080"), "hello\n");
    // Somebody deletes a part of ours only.
    sh("nft flush map inet rkt any4");
    eventually("the pod's ports", || rules_of(&uuid) > 0 && table() == ours);
    sh(
        "nft 'table inet firewalld { chain in { type filter hook input priority 10; policy accept; tcp dport 23 drop; }; }'",
    );
    let theirs = sh("nft list table inet firewalld");
    stop(running);
    assert_eq!(rules_of(&uuid), 0);
    assert_eq!(sh("nft list table inet firewalld"), theirs);
}

#[test]
fn bad_networks_are_refused_in_one_line_and_leave_nothing() {
    let host = host();
    let run = |net: &str, words: &[&str]| {
        pod(&host, &[&format!("--net={net}")], "true")
            .run()
            .fails(254, "run", words);
    };
    let nothing_is_left = || {
        host.assert_no_pod_leaks();
        wait_for_links("");
    };
    run("nosuch,default", &["networks not found: nosuch"]);
    run("default,,x", &["netname must not be empty"]);
    configure(
        &host,
        "10-x.conf",
        "{\n  \"name\": \"x\",\n  \"type\": \"ptp\",\n  \"mtu\": \"big\"\n}",
    );
    run(
        "default",
        &["net.d/10-x.conf: line 4", "invalid type: string \"big\""],
    );
    configure(&host, "10-x.conf", r#"{"name":"x","type":"nosuch"}"#);
    run(
        "x",
        &[
            "network \"x\"",
            "could not find plugin \"nosuch\" in",
            "net.d:/usr/lib/rkt/plugins/net",
        ],
    );
    configure(
        &host,
        "10-x.conf",
        r#"{"cniVersion":"1.0.0","name":"x","type":"ptp","ipam":{"type":"host-local","subnet":"10.7.0.0/30"}}"#,
    );
    let (running, uuid) = started(&host, &["--net=x"], "");
    run("x", &["no IP addresses available in network: x"]);
    run(
        "x:IP=10.7.0.2",
        &[
            "requested IP address 10.7.0.2 is not available in network: x",
            &uuid,
        ],
    );
    run("x:IP=10.7.0.1", &["requested IP must differ gateway IP"]);
    run(
        "x:IP=10.6.0.1",
        &["requested IP address 10.6.0.1 is not available in network: x"],
    );
    stop(running);
    nothing_is_left();
}
