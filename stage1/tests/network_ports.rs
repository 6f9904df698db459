//! Ports of the host that lead into pods, with real traffic.

#![allow(clippy::unwrap_used)]

mod network_host;

use manifests::engine::Protocol::{Tcp, Udp};
use manifests::engine::{ForwardedPort, PrivateNetwork};
use network_host::{Host, Running, TestPod, ask_udp, default_plan, plan, port, sh};

const BRIDGE: &str = r#"{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"bridge","bridge":"br-lan",
    "isDefaultGateway":true,"ipMasq":true,"ipam":{"type":"host-local",
    "ranges":[[{"subnet":"10.77.0.0/24"}],[{"subnet":"fd77::/64"}]]}},
    {"type":"portmap","capabilities":{"portMappings":true}}]}"#;

fn with(mut plan: PrivateNetwork, ports: &[ForwardedPort]) -> PrivateNetwork {
    plan.ports = ports.to_vec();
    plan
}

/// What a server says to a client that a shell starts.
fn ask(target: &str) -> String {
    // A client that only listens does not make the server end early.
    format!("socat -T3 -u {target},connect-timeout=3 - 2>/dev/null || echo nobody")
}

/// A far host at 192.0.2.2 and 2001:db8::2, on a wire to this one at …1, with
/// no way back to pods.
fn far_host(host: &Host) -> TestPod {
    use std::os::fd::AsRawFd;
    let far = host.pod(99);
    sh(&format!(
        "ip link add far0 type veth peer name eth9 netns /proc/{}/fd/{} && ip link set far0 up && \
         ip addr add 192.0.2.1/24 dev far0 && ip addr add 2001:db8::1/64 dev far0 nodad",
        std::process::id(),
        far.netns().as_raw_fd()
    ));
    far.sh(
        "ip link set lo up && ip link set eth9 up && ip addr add 192.0.2.2/24 dev eth9 && \
            ip addr add 2001:db8::2/64 dev eth9 nodad",
    );
    far
}

#[test]
fn a_port_of_a_ptp_pod_is_reached_from_everywhere_and_sees_who_asks() {
    let host = Host::new();
    let far = far_host(&host);
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    let ports = [
        port("http", Tcp, "", 8080, 80, 1),
        port("dns", Udp, "", 5353, 53, 1),
    ];
    a.join(with(default_plan(), &ports));
    b.join(default_plan());
    let _server = a.serve("TCP4", 80);
    a.serve_udp(53);
    let table = [
        ("far", far.sh(&ask("TCP4:192.0.2.1:8080")), "192.0.2.2"),
        (
            "far, udp",
            far.within(|| ask_udp("192.0.2.1:5353")).join().unwrap(),
            "192.0.2.2",
        ),
        (
            "host by its address",
            sh(&ask("TCP4:192.0.2.1:8080")),
            "192.0.2.1",
        ),
        (
            "host by loopback",
            sh(&ask("TCP4:127.0.0.1:8080")),
            "172.16.28.1",
        ),
        (
            "host by loopback, udp",
            ask_udp("127.0.0.1:5353"),
            "172.16.28.1",
        ),
        (
            "pod by the host's address",
            b.sh(&ask("TCP4:192.0.2.1:8080")),
            "172.16.28.3",
        ),
        (
            "pod by its gateway",
            b.sh(&ask("TCP4:172.16.28.1:8080")),
            "172.16.28.3",
        ),
        (
            "pod itself",
            a.sh(&ask("TCP4:192.0.2.1:8080")),
            "172.16.28.1",
        ),
    ];
    for (from, answer, source) in table {
        assert_eq!(answer, format!("hello from {source}\n"), "{from}");
    }
    a.leave();
    assert_eq!(far.sh(&ask("TCP4:192.0.2.1:8080")), "nobody\n");
    assert!(!host.rules().contains(&a.uuid));
}

#[test]
fn a_port_of_a_bridged_pod_is_reached_in_both_families() {
    let host = Host::new();
    let far = far_host(&host);
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    a.join(with(plan(&[BRIDGE]), &[port("http", Tcp, "", 8080, 80, 1)]));
    b.join(plan(&[BRIDGE]));
    let _servers = [a.serve("TCP4", 80), a.serve("TCP6", 80)];
    let v6 = |address: &str| {
        let groups = address.parse::<std::net::Ipv6Addr>().unwrap().segments();
        let full: Vec<String> = groups.iter().map(|g| format!("{g:04x}")).collect();
        format!("[{}]", full.join(":"))
    };
    let table = [
        (
            "far",
            far.sh(&ask("TCP4:192.0.2.1:8080")),
            "192.0.2.2".to_owned(),
        ),
        (
            "far, v6",
            far.sh(&ask("TCP6:[2001:db8::1]:8080")),
            v6("2001:db8::2"),
        ),
        (
            "host by loopback",
            sh(&ask("TCP4:127.0.0.1:8080")),
            "10.77.0.1".to_owned(),
        ),
        (
            "host by its address, v6",
            sh(&ask("TCP6:[2001:db8::1]:8080")),
            v6("2001:db8::1"),
        ),
        // Its neighbour would answer directly, so the bridge asks for it.
        (
            "pod on the bridge",
            b.sh(&ask("TCP4:192.0.2.1:8080")),
            "10.77.0.1".to_owned(),
        ),
        (
            "pod on the bridge, v6",
            b.sh(&ask("TCP6:[2001:db8::1]:8080")),
            v6("fd77::1"),
        ),
        (
            "pod itself",
            a.sh(&ask("TCP4:192.0.2.1:8080")),
            "10.77.0.1".to_owned(),
        ),
    ];
    for (from, answer, source) in table {
        assert_eq!(answer, format!("hello from {source}\n"), "{from}");
    }
    // With br_netfilter the answer has the host's loopback address before the
    // kernel has let it in, and is dropped.
    let br_netfilter = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";
    sh(&format!(
        "[ ! -e {br_netfilter} ] || echo 0 > {br_netfilter}"
    ));
    assert_eq!(
        sh(&ask("TCP6:[::1]:8080")),
        format!("hello from {}\n", v6("fd77::1")),
        "host by loopback, v6"
    );
}

#[test]
fn a_port_of_a_ptp_pod_is_reached_by_the_host_s_loopback_in_both_families() {
    let host = Host::new();
    let mut a = host.pod(1);
    let config = r#"{"name":"p","type":"ptp","ipMasq":true,"ipam":{"type":"host-local",
        "ranges":[[{"subnet":"10.66.0.0/24"}],[{"subnet":"fd66::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}}"#;
    let ports = [
        port("any", Tcp, "", 8080, 80, 1),
        port("six", Tcp, "::1", 8081, 80, 1),
        port("udp", Udp, "::1", 5353, 53, 1),
    ];
    a.join(with(plan(&[config]), &ports));
    let _servers = [a.serve("TCP4", 80), a.serve("TCP6", 80)];
    let _udp = a.spawn("socat UDP6-LISTEN:53,fork SYSTEM:'read x; echo hello by udp'");
    for (address, answer) in [
        ("TCP4:127.0.0.1:8080", "hello from 10.66.0.1\n"),
        (
            "TCP6:[::1]:8080",
            "hello from [fd66:0000:0000:0000:0000:0000:0000:0001]\n",
        ),
        (
            "TCP6:[::1]:8081",
            "hello from [fd66:0000:0000:0000:0000:0000:0000:0001]\n",
        ),
        ("TCP4:127.0.0.1:8081", "nobody\n"),
    ] {
        assert_eq!(sh(&ask(address)), answer, "{address}");
    }
    assert_eq!(sh("echo | socat -T2 - UDP6:[::1]:5353"), "hello by udp\n");
}

#[test]
fn an_address_and_a_range_are_respected() {
    let host = Host::new();
    let far = far_host(&host);
    let mut a = host.pod(1);
    let ports = [
        port("one", Tcp, "127.0.0.1", 8080, 80, 1),
        port("many", Tcp, "192.0.2.1", 9000, 7000, 10),
    ];
    a.join(with(default_plan(), &ports));
    let _servers = [a.serve("TCP4", 80), a.serve("TCP4", 7009)];
    assert_eq!(sh(&ask("TCP4:127.0.0.1:8080")), "hello from 172.16.28.1\n");
    assert_eq!(far.sh(&ask("TCP4:192.0.2.1:8080")), "nobody\n");
    assert_eq!(
        far.sh(&ask("TCP4:192.0.2.1:9009")),
        "hello from 192.0.2.2\n"
    );
    assert_eq!(far.sh(&ask("TCP4:192.0.2.1:9010")), "nobody\n");
    let mut b = host.pod(2);
    // Another address of the same port is free.
    b.join(with(
        default_plan(),
        &[port("other", Tcp, "192.0.2.1", 8080, 80, 1)],
    ));
}

#[test]
fn a_taken_port_is_refused_with_its_holder_and_the_start_undone() {
    let host = Host::new();
    let mut a = host.pod(1);
    a.join(with(
        default_plan(),
        &[
            port("http", Tcp, "", 8080, 80, 1),
            port("udp", Udp, "127.0.0.1", 53, 53, 1),
        ],
    ));
    let mut b = host.pod(2);
    let mut refused =
        |ports: &[ForwardedPort]| b.try_join(with(default_plan(), ports)).unwrap_err();
    let holder = format!("port \"http\" of pod {}", a.uuid);
    assert_eq!(
        refused(&[port("x", Tcp, "", 8080, 80, 1)]),
        format!("port tcp 0.0.0.0:8080 of the host is taken by {holder}")
    );
    assert_eq!(
        refused(&[port("x", Tcp, "127.0.0.1", 8079, 80, 3)]),
        format!("port tcp 127.0.0.1:8080 of the host is taken by {holder}")
    );
    assert_eq!(
        refused(&[port("x", Udp, "", 53, 53, 1)]),
        format!(
            "port udp 0.0.0.0:53 of the host is taken by port \"udp\" of pod {}",
            a.uuid
        )
    );
    assert_eq!(host.leases("default"), ["172.16.28.2"]);
    assert!(!host.rules().contains("0000-000000000002"));

    let server = Running::start({
        let mut command = std::process::Command::new("socat");
        command.args(["TCP4-LISTEN:7777,fork", "STDOUT"]);
        command
    });
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !sh("ss -Hlnt").contains(":7777") {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let error = refused(&[port("x", Tcp, "", 7777, 80, 1)]);
    assert!(
        error.starts_with("port tcp 0.0.0.0:7777 of the host is taken by process "),
        "{error}"
    );
    assert!(error.ends_with("(socat)"), "{error}");
    drop(server);
    a.leave();
    b.join(with(default_plan(), &[port("x", Tcp, "", 8080, 80, 1)]));
}

#[test]
fn a_port_stays_the_pod_s_while_the_firewall_is_gone() {
    let host = Host::new();
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    let ports = [port("http", Tcp, "", 8080, 80, 1)];
    a.join(with(default_plan(), &ports));
    sh("nft flush ruleset");
    let error = b.try_join(with(default_plan(), &ports)).unwrap_err();
    assert_eq!(
        error,
        "port tcp 0.0.0.0:8080 of the host is taken by another program"
    );
    let guard = a.joined.as_mut().unwrap().guard.as_mut().unwrap();
    assert!(guard.restore().unwrap());
    assert!(!guard.restore().unwrap());
    let _server = a.serve("TCP4", 80);
    assert_eq!(sh(&ask("TCP4:127.0.0.1:8080")), "hello from 172.16.28.1\n");
}

#[test]
fn the_host_s_loopback_is_out_of_a_pod_s_reach() {
    let host = Host::new();
    let mut a = host.pod(1);
    a.join(with(default_plan(), &[port("http", Tcp, "", 8080, 80, 1)]));
    let _secret = Running::start({
        let mut command = std::process::Command::new("socat");
        command.args(["-u", "UDP4-RECV:9999,bind=127.0.0.1", "CREATE:/run/heard"]);
        command
    });
    while !sh("ss -Hlnu").contains(":9999") {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let heard = || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        std::fs::read_to_string("/run/heard").unwrap_or_default()
    };
    // A pod with the right to change its own routes sends 127/8 to the host.
    a.sh("ip route del local 127.0.0.0/8 dev lo table local; ip route del local 127.0.0.1 dev lo table local; \
          ip route add 127.0.0.0/8 via 172.16.28.1 src 172.16.28.2");
    a.sh("echo first | socat -u - UDP4:127.0.0.1:9999");
    assert_eq!(heard(), "");
    // It is our rule that keeps it out: without the table it gets in.
    sh("nft delete table inet rkt");
    a.sh("echo second | socat -u - UDP4:127.0.0.1:9999");
    assert_eq!(heard(), "second\n");
}

#[test]
fn ports_follow_the_network_that_masquerades() {
    let host = Host::new();
    let first = r#"{"name":"a","type":"ptp","ipam":{"type":"host-local","subnet":"10.90.0.0/24"}}"#;
    let second = r#"{"name":"b","type":"ptp","ipMasq":true,"ipam":{"type":"host-local","subnet":"10.91.0.0/24"}}"#;
    let mut a = host.pod(1);
    a.join(with(
        plan(&[first, second]),
        &[port("http", Tcp, "", 8080, 80, 1)],
    ));
    assert!(
        host.rules().contains(": 10.91.0.2 . 80"),
        "{}",
        host.rules()
    );
    let none = r#"{"name":"l2","type":"bridge"}"#;
    let error = host
        .pod(2)
        .try_join(with(plan(&[none]), &[port("x", Tcp, "", 81, 80, 1)]))
        .unwrap_err();
    assert_eq!(
        error,
        "port \"x\" cannot be forwarded: the pod has no address"
    );
}

#[test]
fn the_table_reads_as_it_is_meant() {
    let host = Host::new();
    let mut a = host.pod(1);
    a.join(with(
        default_plan(),
        &[
            port("http", Tcp, "", 8080, 80, 1),
            port("dns", Udp, "127.0.0.1", 53, 53, 1),
        ],
    ));
    let rules = host.rules();
    for line in [
        "elements = { tcp . 8080 comment \"00000001-0000-4000-8000-000000000001 http\" : 172.16.28.2 . 80 }",
        "elements = { udp . 127.0.0.1 . 53 comment \"00000001-0000-4000-8000-000000000001 dns\" : 172.16.28.2 . 53 }",
        "iif != \"lo\" ip daddr 127.0.0.0/8 drop",
        "fib daddr type local dnat ip to meta l4proto . ip daddr . th dport map @at4",
        "meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map @any4",
        "fib daddr type local dnat ip6 to meta l4proto . ip6 daddr . th dport map @at6",
        "ip saddr 172.16.28.0/24 ip daddr != 172.16.28.0/24 ip daddr != 224.0.0.0/4 masquerade comment \"network default: masquerade 172.16.28.0/24\"",
        "ct status dnat ip saddr . ip daddr @itself4 masquerade",
        "ct status dnat ip saddr 127.0.0.0/8 ip daddr != 127.0.0.0/8 masquerade",
    ] {
        assert!(rules.contains(line), "{line} is not in\n{rules}");
    }
    // A firewall service saves it and brings it back, and it is still ours.
    sh("nft list ruleset > /run/saved && nft flush ruleset && nft -f /run/saved");
    assert_eq!(host.rules(), rules);
    a.leave();
    assert_eq!(host.rules_of_pods(), "");
    // A bridge needs other rules, in both families.
    let mut b = host.pod(2);
    b.join(with(plan(&[BRIDGE]), &[port("http", Tcp, "", 8080, 80, 1)]));
    let rules = host.rules();
    for line in [
        "ip6 saddr fd77::/64 ip6 daddr != fd77::/64 ip6 daddr != ff00::/8 masquerade comment \"network lan: masquerade fd77::/64\"",
        "ct status dnat ip saddr 10.77.0.0/24 ip daddr 10.77.0.0/24 masquerade comment \"network lan: hairpin 10.77.0.0/24\"",
    ] {
        assert!(rules.contains(line), "{line} is not in\n{rules}");
    }
    // What a network needs is there once, however many pods it has.
    let mut c = host.pod(3);
    c.join(plan(&[BRIDGE]));
    assert_eq!(host.rules(), rules);
}
