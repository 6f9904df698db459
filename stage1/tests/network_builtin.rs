//! The built-in plugins on a real kernel.

mod network_host;

use network_host::{Host, TestPod, default_plan, plan, sh, skipped};

const BRIDGE: &str = r#"{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"bridge","bridge":"br-lan",
    "isDefaultGateway":true,"ipMasq":true,"ipam":{"type":"host-local",
    "ranges":[[{"subnet":"10.77.0.0/24"}],[{"subnet":"fd77::/64"}]]}}]}"#;

fn reaches(pod: &TestPod, address: &str) -> bool {
    pod.ok(&format!("ping -q -c1 -W2 {address}"))
}

#[test]
fn the_default_network_connects_pods_and_host_and_leaves_nothing() {
    let host = Host::new();
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    a.join(default_plan());
    b.join(default_plan());
    assert_eq!(
        (a.ip(), b.ip()),
        ("172.16.28.2".into(), "172.16.28.3".into())
    );
    assert!(reaches(&a, "172.16.28.1"), "gateway");
    assert!(reaches(&a, "172.16.28.3"), "other pod");
    assert!(reaches(&a, "127.0.0.1"), "loopback is up");
    sh("ping -q -c1 -W2 172.16.28.2");
    let routes = a.sh("ip -o route");
    assert!(
        routes.contains("default via 172.16.28.1 dev eth0"),
        "{routes}"
    );
    assert!(
        routes.contains("172.16.28.0/24 via 172.16.28.1 dev eth0"),
        "{routes}"
    );
    assert!(
        routes.contains("172.16.28.1 dev eth0 scope link"),
        "{routes}"
    );
    assert_eq!(host.leases("default"), ["172.16.28.2", "172.16.28.3"]);
    let rule = "masquerade comment \"network default: masquerade 172.16.28.0/24\"";
    assert!(host.rules().contains(rule), "{}", host.rules());

    a.leave();
    assert!(reaches(&b, "172.16.28.1"), "the other pod stays");
    b.leave();
    b.leave();
    assert_eq!(host.links(), Vec::<String>::new());
    assert_eq!(host.rules_of_pods(), "");
    assert_eq!(host.leases("default"), Vec::<String>::new());
    assert!(!a.directory.join("net").exists());
}

#[test]
fn what_leaves_the_network_is_masqueraded_and_what_stays_is_not() {
    let host = Host::new();
    // A far host that knows no way back to pods.
    let far = host.pod(99);
    sh(&format!(
        "ip link add far0 type veth peer name eth9 netns /proc/{}/fd/{} && ip addr add 192.0.2.1/24 dev far0 && ip link set far0 up",
        std::process::id(),
        fd(&far)
    ));
    far.sh("ip addr add 192.0.2.2/24 dev eth9 && ip link set eth9 up && ip link set lo up");
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    a.join(default_plan());
    b.join(default_plan());
    let _far = far.serve("TCP4", 7);
    let _near = b.serve("TCP4", 7);
    assert_eq!(
        a.sh("socat -T3 -u TCP4:192.0.2.2:7 -"),
        "hello from 192.0.2.1\n"
    );
    assert_eq!(
        a.sh("socat -T3 -u TCP4:172.16.28.3:7 -"),
        "hello from 172.16.28.2\n"
    );
}

fn fd(pod: &TestPod) -> i32 {
    use std::os::fd::AsRawFd;
    pod.netns().as_raw_fd()
}

#[test]
fn a_bridge_has_both_families_and_stays() {
    let host = Host::new();
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    a.join(plan(&[BRIDGE]));
    b.join(plan(&[BRIDGE]));
    assert_eq!(
        a.info()[0]["ips"],
        serde_json::json!(["10.77.0.2/24", "fd77::2/64"])
    );
    for address in ["10.77.0.1", "10.77.0.3", "fd77::1", "fd77::3"] {
        assert!(reaches(&a, address), "{address}");
    }
    assert_eq!(
        a.sh("cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6").trim(),
        "0"
    );
    assert!(a.sh("ip -o link show eth0").contains("0a:58:0a:4d:00:02"));
    let mac = sh("cat /proc/thread-self/net/dev >/dev/null; ip -o link show br-lan");
    a.leave();
    assert_eq!(
        sh("ip -o link show br-lan"),
        mac,
        "the bridge's address changed"
    );
    b.leave();
    assert_eq!(host.links(), ["br-lan"]);
    assert_eq!(host.rules_of_pods(), "");
}

#[test]
fn a_bridge_with_another_network_s_address_is_refused_or_taken_over() {
    let host = Host::new();
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    a.join(plan(&[BRIDGE]));
    let other = BRIDGE
        .replace("10.77.", "10.78.")
        .replace("\"lan\"", "\"other\"");
    assert_eq!(
        b.try_join(plan(&[&other])).unwrap_err(),
        "network \"other\": \"br-lan\" already has the address 10.77.0.1/24, different from 10.78.0.1/24 (\"forceAddress\": true replaces it)"
    );
    assert_eq!(host.leases("other"), Vec::<String>::new());
    b.join(plan(&[
        &other.replace("\"ipMasq\"", "\"forceAddress\":true,\"ipMasq\"")
    ]));
    assert!(reaches(&b, "10.78.0.1"));
}

#[test]
fn a_network_that_the_host_is_in_already_is_refused() {
    let host = Host::new();
    sh("ip link add lan0 type bridge && ip addr add 10.77.0.9/24 dev lan0 && ip link set lan0 up");
    let ptp = r#"{"name":"p","type":"ptp","ipam":{"type":"host-local","subnet":"SUBNET"}}"#;
    let refused = |config: &str| {
        let error = host.pod(1).try_join(plan(&[config])).unwrap_err();
        let left: Vec<String> = host.links();
        assert!(
            left.iter().all(|l| l == "lan0" || l == "br-lan"),
            "{left:?}"
        );
        error
    };
    for config in [BRIDGE, &BRIDGE.replace("10.77.0.0/24", "10.77.0.0/16")] {
        let error = refused(config);
        assert!(
            error.contains("overlaps with 10.77.0.0/24 of interface lan0"),
            "{error}"
        );
    }
    assert_eq!(
        refused(&ptp.replace("SUBNET", "10.77.0.0/24")),
        "network \"p\": subnet 10.77.0.0/24 overlaps with 10.77.0.0/24 of interface lan0"
    );
    // A part of a wider network is a network of its own.
    host.pod(2)
        .join(plan(&[&ptp.replace("SUBNET", "10.77.0.128/25")]));
}

#[test]
fn an_address_that_another_network_has_given_is_refused() {
    let host = Host::new();
    let config =
        r#"{"name":"NAME","type":"ptp","ipam":{"type":"host-local","subnet":"10.5.0.0/24"}}"#;
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    a.join(plan(&[&config.replace("NAME", "one")]));
    let two = plan(&[&config.replace("NAME", "two")]);
    let error = b.try_join(two.clone()).unwrap_err();
    assert!(
        error.starts_with(
            "network \"two\": address 10.5.0.2 is taken: this host reaches it by interface veth0000"
        ),
        "{error}"
    );
    assert_eq!(host.leases("two"), Vec::<String>::new());
    a.leave();
    b.join(two);
    // Nor is a pod in one subnet twice.
    let error = host
        .pod(3)
        .try_join(plan(&[
            &config.replace("NAME", "x").replace("10.5", "10.6"),
            &config.replace("NAME", "y").replace("10.5", "10.6"),
        ]))
        .unwrap_err();
    assert!(error.contains("network \"y\": "), "{error}");
    assert_eq!(host.leases("x"), Vec::<String>::new());
}

#[test]
fn the_address_of_a_pod_that_ends_is_free_before_its_interface_is_gone() {
    let host = Host::new();
    let config =
        r#"{"name":"NAME","type":"ptp","ipam":{"type":"host-local","subnet":"10.5.0.0/24"}}"#;
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    let one = plan(&[&config.replace("NAME", "one")]);
    a.join(one.clone());
    // The namespace is still there.
    let netns = a.netns.take().unwrap();
    a.joined = None;
    stage1::network::leave(
        a.as_pod(),
        &one,
        stage1::network::Namespace::Ends(std::os::fd::AsFd::as_fd(&netns)),
    )
    .unwrap();
    assert_eq!(host.links().len(), 1);
    b.join(plan(&[&config.replace("NAME", "two")]));
    assert_eq!(b.ip(), "10.5.0.2");
}

#[test]
fn vlans_of_a_bridge_are_kept_apart() {
    let host = Host::new();
    if !sh("ip link add probe type bridge; ip link set probe type bridge vlan_filtering 1 2>&1; ip link del probe").is_empty() {
        network_host::skipped("this kernel's bridges have no VLANs (CONFIG_BRIDGE_VLAN_FILTERING)");
        // It says so.
        let config = BRIDGE.replace("\"ipMasq\"", r#""vlan":5,"ipMasq""#);
        let error = host.pod(1).try_join(plan(&[&config])).unwrap_err();
        assert!(error.contains("CONFIG_BRIDGE_VLAN_FILTERING"), "{error}");
        return;
    }
    let config = |name: &str, net: &str, vlan: &str| {
        BRIDGE
            .replace("\"lan\"", name)
            .replace("10.77.", net)
            .replace("\"ipMasq\"", &format!("{vlan},\"ipMasq\""))
            .replace(r#",[{"subnet":"fd77::/64"}]"#, "")
    };
    let five = config(
        "\"five\"",
        "10.75.",
        r#""vlan":5,"preserveDefaultVlan":false"#,
    );
    let six = config(
        "\"six\"",
        "10.76.",
        r#""vlan":6,"vlanTrunk":[{"id":5},{"minID":10,"maxID":12}]"#,
    );
    let (mut a, mut b, mut c) = (host.pod(1), host.pod(2), host.pod(3));
    a.join(plan(&[&five]));
    b.join(plan(&[&five]));
    c.join(plan(&[&six]));
    assert!(reaches(&a, "10.75.0.1") && reaches(&a, "10.75.0.3"));
    assert!(reaches(&c, "10.76.0.1"));
    // Tagged, the other VLAN is there too; untagged, it is not.
    c.sh("ip addr add 10.75.0.99/24 dev eth0");
    assert!(!c.ok("ping -q -c1 -W1 -I 10.75.0.99 10.75.0.2"));
    let vlans = sh("bridge -j vlan show");
    let vlans: serde_json::Value = serde_json::from_str(&vlans).unwrap();
    let of = |pod: &TestPod| -> Vec<u64> {
        let name = pod.host_end();
        let ports = vlans.as_array().unwrap();
        let port = ports.iter().find(|p| p["ifname"] == name.as_str()).unwrap();
        // Some versions of bridge(8) join neighbours to a range.
        let ranges = port["vlans"].as_array().unwrap().iter();
        let range = |v: &serde_json::Value| {
            let first = v["vlan"].as_u64().unwrap();
            first..=v["vlanEnd"].as_u64().unwrap_or(first)
        };
        ranges.flat_map(range).collect()
    };
    assert_eq!(of(&a), [5]);
    assert_eq!(of(&c), [1, 5, 6, 10, 11, 12]);
    for pod in [&mut a, &mut b, &mut c] {
        pod.leave();
    }
    let mut left = host.links();
    left.retain(|name| !name.starts_with("veth"));
    assert_eq!(left, ["br-lan", "br-lan.5", "br-lan.6"]);
}

#[test]
fn check_finds_what_is_missing() {
    let host = Host::new();
    let mut pod = host.pod(1);
    let mut network = plan(&[BRIDGE]);
    network.ports = vec![network_host::port(
        "http",
        manifests::engine::Protocol::Tcp,
        "",
        8080,
        80,
        1,
    )];
    pod.join(network.clone());
    let check = |pod: &TestPod| {
        stage1::network::check(pod.as_pod(), &network, pod.netns()).map_err(|e| {
            e.iter()
                .map(stage1::network::Error::line)
                .collect::<Vec<_>>()
                .join("; ")
        })
    };
    check(&pod).unwrap();
    let veth = pod.host_end();
    for (hurt, heal, said) in [
        (
            "ip link set VETH down",
            "ip link set VETH up",
            "network \"lan\": interface VETH, which is down, is missing",
        ),
        (
            "ip link set VETH nomaster",
            "ip link set VETH master br-lan",
            "network \"lan\": the bridge of interface VETH is missing",
        ),
        (
            "nft flush ruleset",
            "",
            "in the nftables table \"inet rkt\" is missing",
        ),
    ] {
        sh(&hurt.replace("VETH", &veth));
        let found = check(&pod).unwrap_err();
        assert!(found.contains(&said.replace("VETH", &veth)), "{found}");
        sh(&heal.replace("VETH", &veth));
    }
    pod.joined
        .as_mut()
        .unwrap()
        .guard
        .as_mut()
        .unwrap()
        .restore()
        .unwrap();
    check(&pod).unwrap();
    pod.sh("ip addr del 10.77.0.2/24 dev eth0");
    let found = check(&pod).unwrap_err();
    assert_eq!(
        found,
        "network \"lan\": address 10.77.0.2/24 of eth0 is missing"
    );
}

#[test]
fn an_interface_that_is_no_bridge_is_refused() {
    let host = Host::new();
    sh("ip link add br-lan type veth peer name x");
    let error = host.pod(1).try_join(plan(&[BRIDGE])).unwrap_err();
    assert_eq!(error, "network \"lan\": \"br-lan\" exists and is no bridge");
    assert_eq!(host.leases("lan"), Vec::<String>::new());
}

#[test]
fn isolated_ports_do_not_see_each_other() {
    let host = Host::new();
    let isolated = BRIDGE.replace("\"ipMasq\"", "\"portIsolation\":true,\"ipMasq\"");
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    a.join(plan(&[&isolated]));
    b.join(plan(&[&isolated]));
    assert!(reaches(&a, "10.77.0.1"));
    assert!(!a.ok("ping -q -c1 -W1 10.77.0.3"));
}

#[test]
fn macvlan_pods_share_a_master() {
    let host = Host::new();
    sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up");
    let config = r#"{"name":"mv","type":"macvlan","master":"up0","mtu":1400,
        "ipam":{"type":"static","addresses":[{"address":"10.60.0.2/24"}]}}"#;
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    a.join(plan(&[config]));
    b.join(plan(&[&config.replace("10.60.0.2", "10.60.0.3")]));
    assert!(reaches(&a, "10.60.0.3"));
    assert!(a.sh("ip -o link show eth0").contains("mtu 1400"));
    a.leave();
    assert!(!a.ok("ip link show eth0"));
    let missing = config.replace("up0", "nope");
    assert_eq!(
        host.pod(3).try_join(plan(&[&missing])).unwrap_err(),
        "network \"mv\": cannot find the master interface nope: No such device"
    );
}

#[test]
fn ipvlan_pods_share_a_master() {
    let host = Host::new();
    sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up");
    let config = r#"{"name":"iv","type":"ipvlan","master":"up0",
        "ipam":{"type":"static","addresses":[{"address":"10.61.0.2/24"}]}}"#;
    let (mut a, mut b) = (host.pod(1), host.pod(2));
    match a.try_join(plan(&[config])) {
        Err(error) if error.contains("this kernel has no ipvlan") => {
            skipped(&error);
            return;
        }
        other => other.unwrap(),
    }
    b.join(plan(&[&config.replace("10.61.0.2", "10.61.0.3")]));
    assert!(reaches(&a, "10.61.0.3"));
    let other = config.replace("ipvlan", "macvlan");
    let error = host.pod(3).try_join(plan(&[&other])).unwrap_err();
    assert!(
        error.contains("master \"up0\" is taken by interfaces of another kind"),
        "{error}"
    );
}

#[test]
fn several_networks_are_joined_in_order_and_the_first_dns_wins() {
    let host = Host::new();
    let dns = |config: &str, server: &str| {
        config.replace(
            "\"ipam\"",
            &format!("\"dns\":{{\"nameservers\":[\"{server}\"],\"search\":[\"x\"]}},\"ipam\""),
        )
    };
    let second = BRIDGE
        .replace("10.77", "10.78")
        .replace("fd77", "fd78")
        .replace("lan", "two");
    let mut pod = host.pod(1);
    pod.join(plan(&[
        &dns(BRIDGE, "10.77.0.1"),
        &dns(&second, "10.78.0.1"),
    ]));
    let joined = pod.joined.as_ref().unwrap();
    assert_eq!(
        joined.resolv_conf.as_deref(),
        Some("# Generated by rkt from network lan\n\nsearch x\nnameserver 10.77.0.1\n")
    );
    assert_eq!(
        joined.warnings,
        ["network two plugin specified DNS configuration, but DNS already supplied"]
    );
    assert_eq!(pod.info()[1]["ifName"], "eth1");
    assert!(pod.ok("ip -o addr show eth1 | grep -q 10.78.0.2/24"));
}

#[test]
fn tuning_sets_what_is_the_pod_s_alone() {
    let host = Host::new();
    let chain = r#"{"cniVersion":"0.4.0","name":"t","plugins":[
        {"type":"ptp","ipam":{"type":"host-local","subnet":"10.62.0.0/24"}},
        {"type":"tuning","sysctl":{"net.core.somaxconn":"321","net.ipv4.conf.IFNAME.arp_ignore":"1"},
         "mac":"02:00:00:00:00:07","mtu":1300,"promisc":true}]}"#;
    let before = sh("cat /proc/sys/net/core/somaxconn");
    let mut pod = host.pod(1);
    pod.join(plan(&[chain]));
    assert_eq!(pod.sh("cat /proc/sys/net/core/somaxconn"), "321\n");
    assert_eq!(pod.sh("cat /proc/sys/net/ipv4/conf/eth0/arp_ignore"), "1\n");
    let link = pod.sh("ip -o link show eth0");
    assert!(
        link.contains("02:00:00:00:00:07") && link.contains("mtu 1300") && link.contains("PROMISC"),
        "{link}"
    );
    assert_eq!(sh("cat /proc/sys/net/core/somaxconn"), before);
    let broken = chain.replace("\"321\"", "\"many\"");
    let mut other = host.pod(2);
    let error = other.try_join(plan(&[&broken])).unwrap_err();
    assert!(
        error.contains("cannot write /proc/sys/net/core/somaxconn"),
        "{error}"
    );
    assert_eq!(host.leases("t"), ["10.62.0.2"]);
}

#[test]
fn bandwidth_limits_both_ways_and_leaves_no_interface() {
    let host = Host::new();
    let chain = r#"{"cniVersion":"1.0.0","name":"slow","plugins":[
        {"type":"ptp","ipam":{"type":"host-local","subnet":"10.63.0.0/24"}},
        {"type":"bandwidth","ingressRate":8000000,"ingressBurst":800000,"egressRate":16000000,"egressBurst":800000}]}"#;
    let mut pod = host.pod(1);
    pod.join(plan(&[chain]));
    // A server of each one's own: one that has just served may still be busy.
    let rate = |port: u16, reverse: &str| {
        let _server = pod.spawn(&format!("iperf3 -4 -s -p {port}"));
        pod.wait_for_listener("4", port);
        let out = sh(&format!("iperf3 -J -t 3 {reverse} -p {port} -c 10.63.0.2"));
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        let rate = &value["end"]["sum_received"]["bits_per_second"];
        rate.as_f64().unwrap_or_else(|| panic!("iperf3 says {out}"))
    };
    let (to_pod, from_pod) = (rate(5201, ""), rate(5202, "-R"));
    assert!((4e6..10e6).contains(&to_pod), "to the pod {to_pod}");
    assert!((8e6..20e6).contains(&from_pod), "from the pod {from_pod}");
    pod.leave();
    assert_eq!(host.links(), Vec::<String>::new());
}

#[test]
fn a_chain_in_the_wrong_order_is_refused() {
    let host = Host::new();
    let chain =
        r#"{"cniVersion":"1.0.0","name":"odd","plugins":[{"type":"bandwidth"},{"type":"ptp"}]}"#;
    assert_eq!(
        host.pod(1).try_join(plan(&[chain])).unwrap_err(),
        "network \"odd\": plugin \"bandwidth\" must come after one that makes the interface"
    );
    assert_eq!(host.links(), Vec::<String>::new());
    assert_eq!(host.leases("fw"), Vec::<String>::new());
}

#[test]
fn flannel_hosts_reach_each_other_s_pods_by_vxlan() {
    let host = Host::new();
    // Two hosts: this one and another namespace, with a wire and a tunnel
    // between them, as flanneld sets them up.
    let other = host.pod(98);
    let netns = format!("/proc/{}/fd/{}", std::process::id(), fd(&other));
    sh(&format!(
        "ip link add wire0 type veth peer name wire1 netns {netns}"
    ));
    let setup = |wire: &str, own: u8, peer: u8| {
        format!(
            "ip link set lo up; ip addr add 192.0.2.{own}/24 dev {wire} && ip link set {wire} up && \
             ip link add flannel.1 type vxlan id 1 local 192.0.2.{own} dev {wire} dstport 8472 nolearning && \
             ip link set flannel.1 address 02:00:00:00:00:0{own} && \
             ip addr add 10.244.{own}.0/32 dev flannel.1 && ip link set flannel.1 up && \
             ip route add 10.244.{peer}.0/24 via 10.244.{peer}.0 dev flannel.1 onlink && \
             ip neigh add 10.244.{peer}.0 lladdr 02:00:00:00:00:0{peer} dev flannel.1 && \
             bridge fdb append 02:00:00:00:00:0{peer} dev flannel.1 dst 192.0.2.{peer} && \
             echo 1 > /proc/sys/net/ipv4/ip_forward"
        )
    };
    sh(&setup("wire0", 1, 2));
    other.sh(&setup("wire1", 2, 1));
    let mut here = host.pod(1);
    let mut there = host.pod(2);
    let config = |own: u8| {
        let file = host.directory.path().join(format!("subnet{own}.env"));
        std::fs::write(
            &file,
            format!("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.{own}.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"),
        )
        .unwrap();
        format!(
            r#"{{"name":"fl{own}","type":"flannel","subnetFile":{file:?},"delegate":{{"isDefaultGateway":true}}}}"#
        )
    };
    here.join(plan(&[&config(1)]));
    // The other host's runtime is a thread that lives over there.
    let text = config(2);
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                nix::sched::setns(other.netns(), nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                there.join(plan(&[&text]));
            })
            .join()
            .unwrap();
    });
    assert_eq!(
        (here.ip(), there.ip()),
        ("10.244.1.2".into(), "10.244.2.2".into())
    );
    assert!(here.sh("ip -o link show eth0").contains("mtu 1450"));
    assert!(reaches(&here, "10.244.2.2"), "through the tunnel");
    // The file may be gone when the pod leaves.
    std::fs::remove_file(host.directory.path().join("subnet1.env")).unwrap();
    here.leave();
    assert_eq!(host.leases("fl1"), Vec::<String>::new());
    assert_eq!(
        host.pod(3)
            .try_join(plan(&[&config(1).replace("subnet1", "none")]))
            .unwrap_err(),
        format!(
            "network \"fl1\": cannot read flannel's subnet file {}: No such file or directory",
            host.directory.path().join("none.env").display()
        )
    );
}
