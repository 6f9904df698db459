//! Networks where a guest is needed: what the host's kernel may lack, what it
//! has and a test cannot take away, and a machine that goes down.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::time::Duration;

use tests::guest::{Disk, Guest, Kernel};
use tests::{Aci, Compression};

/// A guest with rkt and `/in/sh.aci`, whose exec is `/bin/sh -c` and which has
/// a port `http`.
fn guest() -> Option<Guest> {
    let dir = tempfile::tempdir().unwrap();
    let mut aci = Aci::busybox("example.com/sh", &["/bin/sh", "-c"]);
    aci.manifest["app"]["ports"] =
        serde_json::json!([{"name": "http", "protocol": "tcp", "port": 80}]);
    let file = aci.write(dir.path(), "sh", Compression::Plain);
    let bytes = std::fs::read(file).unwrap();
    let guest = Guest::qemu(Kernel::V6_12)?.rkt()?;
    Some(
        guest
            .bytes("/in/sh.aci", 0o644, bytes)
            .text(
                "/usr/local/bin/ping",
                0o755,
                "#!/bin/sh\nexec busybox ping \"$@\"\n",
            )
            .deadline(Duration::from_secs(200)),
    )
}

/// Not every kernel has them: VLANs of a bridge, ipvlan, VXLAN.
#[test]
fn interfaces_that_a_host_may_lack_work_where_there_are_any() {
    let Some(guest) = guest() else { return };
    let tests = "vlans_ ipvlan_ macvlan_ isolated_ flannel_ a_bridge_has_both";
    let Some(out) = guest.passes_suite("network_builtin", tests) else {
        return;
    };
    assert!(!out.stdout.contains("SKIPPED"), "{out}");
    assert!(out.stdout.contains("6 passed"), "{out}");
}

/// The same by the command that a person types.
#[test]
fn pods_join_vlans_macvlan_and_ipvlan() {
    let config =
        |name: &str, rest: &str| format!(r#"{{"cniVersion":"1.0.0","name":"{name}",{rest}}}"#);
    let bridge = |vlan: u8| {
        format!(
            r#""type":"bridge","bridge":"br-vlan","isGateway":true,"vlan":{vlan},"preserveDefaultVlan":false,
               "ipam":{{"type":"host-local","subnet":"10.7{vlan}.0.0/24"}}"#
        )
    };
    let stacked = |kind: &str, net: u8| {
        // One master has interfaces of one kind.
        format!(
            r#""type":"{kind}","master":"up{net}","ipam":{{"type":"host-local","subnet":"10.8{net}.0.0/24"}}"#
        )
    };
    let Some(guest) = guest() else { return };
    let out = guest
        .text("/etc/rkt/net.d/5.conf", 0o644, &config("five", &bridge(5)))
        .text("/etc/rkt/net.d/6.conf", 0o644, &config("six", &bridge(6)))
        .text("/etc/rkt/net.d/m.conf", 0o644, &config("mac", &stacked("macvlan", 1)))
        .text("/etc/rkt/net.d/i.conf", 0o644, &config("ip", &stacked("ipvlan", 2)))
        .run(
            "set -e
             ip link add up1 type veth peer name up2; ip link set up1 up; ip link set up2 up
             rkt --insecure-options=image fetch --quiet /in/sh.aci
             for net in five six mac ip; do
                 rkt run --net=$net --uuid-file-save=$net.uuid example.com/sh -- \
                     'echo up; exec sleep 1000' >$net.out &
                 until grep -q up $net.out; do sleep 0.1; done
                 echo $net=$(rkt status $(cat $net.uuid) | sed -n 's/^networks=//p')
             done
             ask() {
                 rkt run --net=$1 example.com/sh -- \"ping -q -c1 -W2 $2 >/dev/null && echo answer || echo silence\"
             }
             echo own=$(ask five 10.75.0.2)
             echo gateway=$(ask five 10.75.0.1)
             echo vlans=$(bridge vlan show | sed -n 's/.*[[:space:]]\\([56]\\) PVID.*/\\1/p' | sort | uniq -c)
             echo macvlan=$(ask mac 10.81.0.2)
             echo ipvlan=$(ask ip 10.82.0.2)
             for net in five six mac ip; do rkt stop $(cat $net.uuid) >/dev/null; done
             wait
             rkt gc --grace-period=0s >/dev/null 2>&1
             until [ -z \"$(ip -o link | grep @if)\" ]; do sleep 0.1; done
             echo leases=$(find /var/lib/cni/networks -name '10.*' | wc -l)
             echo links=$(ip -o link | sed 's/^[0-9]*: //; s/[:@].*//' | sort)",
        )
        .ok();
    for (net, ip) in [
        ("five", "10.75"),
        ("six", "10.76"),
        ("mac", "10.81"),
        ("ip", "10.82"),
    ] {
        assert_eq!(out.value(net), format!("{net}:ip4={ip}.0.2"), "{out}");
    }
    for reached in ["own", "gateway", "macvlan", "ipvlan"] {
        assert_eq!(out.value(reached), "answer", "{reached}: {out}");
    }
    // The pod's port, and the router's.
    assert_eq!(out.value("vlans").trim(), "2 5 2 6", "{out}");
    assert_eq!(out.value("leases"), "0", "{out}");
    // Each router's other end has a name of the kernel's.
    assert_eq!(
        out.value("links"),
        "br-vlan br-vlan.5 br-vlan.6 lo up1 up2 veth0 veth1",
        "{out}"
    );
}

/// A kernel that lacks a part says which, and what to do; the start leaves
/// nothing. When the parts are back, all of it works.
#[test]
fn what_a_kernel_lacks_is_told_and_nothing_is_left() {
    let Some(guest) = guest() else { return };
    let networks = [
        ("mac", r#"{"type":"macvlan","master":"up0",IPAM}"#),
        ("ip", r#"{"type":"ipvlan","master":"up0",IPAM}"#),
        (
            "br",
            r#"{"type":"bridge","bridge":"br0","isGateway":true,IPAM}"#,
        ),
        (
            "slow",
            r#"{"type":"ptp",IPAM},{"type":"bandwidth","egressRate":1000000,"egressBurst":1000000}"#,
        ),
    ];
    let guest = (1..)
        .zip(networks)
        .fold(guest, |guest, (net, (name, plugins))| {
            let ipam = format!(r#""ipam":{{"type":"host-local","subnet":"10.{net}.0.0/24"}}"#);
            let plugins = plugins.replace("IPAM", &ipam);
            let text = format!(r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{plugins}]}}"#);
            guest.text(&format!("/etc/rkt/net.d/{name}.conflist"), 0o644, &text)
        });
    let out = guest
        .run(
            "rkt --insecure-options=image fetch --quiet /in/sh.aci
             export PATH=$PATH:/usr/sbin:/sbin
             lacks() {
                 : >/etc/modprobe.d/lacks.conf
                 for module in $1; do echo \"install $module /bin/false\" >>/etc/modprobe.d/lacks.conf; done
             }
             left() {
                 ip -o link | sed 's/^[0-9]*: //; s/[:@].*//' | grep -vx -e lo -e up0 -e up1
                 ls /run/netns 2>/dev/null
                 find /var/lib/cni/networks -name '[0-9]*.*' 2>/dev/null
                 # It would load what is to be missing.
                 grep -q '^nf_tables ' /proc/modules && nft list ruleset
             }
             try() {
                 lacks \"$2\"
                 rkt run --net=$3 $4 example.com/sh -- true 2>err
                 echo \"$1=$? $(paste -sd '|' err)\"
                 sleep 0.5
                 echo \"$1-left=$(left | tr '\\n' ' ')\"
             }
             try veth veth default
             try bridge bridge br
             lacks ''
             ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up
             try macvlan macvlan mac
             try ipvlan ipvlan ip
             try ifb ifb slow
             try tbf sch_tbf slow
             try nfnetlink 'nfnetlink nf_tables' default
             try nftables nf_tables default --port=http:8080
             try nat nft_chain_nat default --port=http:8080
             try fib nft_fib_inet default --port=http:8080
             # The attempt has loaded it.
             modprobe -r nft_masq
             try masq nft_masq default
             try without 'nf_tables nft_masq' default-restricted
             lacks ''
             for net in default mac ip br slow; do
                 rkt run --net=$net $(test $net = default && echo --port=http:8080) example.com/sh -- 'echo joined' 2>&1
                 sleep 0.5
             done",
        )
        .ok();
    for (case, part) in [
        (
            "veth",
            "veth interfaces (config_veth); try \"modprobe veth\"",
        ),
        ("bridge", "bridges (config_bridge); try \"modprobe bridge\""),
        (
            "macvlan",
            "macvlan interfaces (config_macvlan); try \"modprobe macvlan\"",
        ),
        (
            "ipvlan",
            "ipvlan interfaces (config_ipvlan); try \"modprobe ipvlan\"",
        ),
        ("ifb", "ifb interfaces (config_ifb); try \"modprobe ifb\""),
        ("tbf", "traffic control by tbf"),
        ("nfnetlink", "nftables with nat"),
        ("nftables", "nftables with nat"),
        ("masq", "nftables with nat"),
        ("nat", "nftables with nat"),
        ("fib", "nftables with nat"),
    ] {
        let said = out.value(case).to_lowercase();
        let wanted = format!("this kernel has no {part}");
        assert!(
            said.starts_with("254 run: ") && said.contains(&wanted),
            "{case}: {out}"
        );
        assert!(!said.contains('|'), "one line is wanted, {case}: {out}");
        assert_eq!(out.value(&format!("{case}-left")), "", "{case}: {out}");
    }
    assert_eq!(out.value("without").trim(), "0", "{out}");
    assert_eq!(out.stdout.matches("\njoined").count(), 5, "{out}");
}

/// The machine goes down under a pod with networks. The next start may have
/// its addresses, and gc takes back what is left of it, also of a plugin that
/// is a program.
#[test]
fn what_a_pod_had_when_the_machine_went_down_is_taken_back() {
    let disk = Disk::new(128);
    let Some(guest) = guest() else { return };
    let plugin = "#!/bin/sh\n\
        echo \"$CNI_COMMAND $CNI_CONTAINERID netns=$CNI_NETNS\" >>/var/lib/rkt/told\n\
        [ $CNI_COMMAND != ADD ] || sed 's/.*\"prevResult\"://; s/,\"type\":\"told\"}$//'\n";
    // One address and no more.
    let config = r#"{"cniVersion":"1.0.0","name":"one","plugins":[
        {"type":"bridge","bridge":"br-one","isGateway":true,"ipMasq":true,
         "ipam":{"type":"host-local","subnet":"10.9.0.0/30"}},
        {"type":"told"}]}"#;
    let guest = guest
        .text("/etc/rkt/net.d/1.conflist", 0o644, config)
        .text("/etc/rkt/net.d/told", 0o755, plugin)
        .disk(&disk);
    // The root of a guest is new at each boot; leases outlive a machine's.
    let boot = "set -e
        mkdir -p /var/lib/rkt/leases /var/lib/cni
        mount --bind /var/lib/rkt/leases /var/lib/cni
        leases() { cd /var/lib/cni/networks; find . -name '[0-9]*.*' | sort; cd - >/dev/null; }
        ";
    let mut running = guest.start(&format!(
        "{boot}
         rkt --insecure-options=image fetch --quiet /in/sh.aci
         rkt run --net=one,default --port=http:8080 --uuid-file-save=/var/lib/rkt/dead \
             example.com/sh -- 'echo up; exec sleep 1000' >out &
         until grep -q up out; do sleep 0.1; done
         leases >/var/lib/rkt/before
         sync
         mark running
         sleep 100"
    ));
    running.wait_for_mark("running");
    running.cut();
    let out = guest
        .run(&format!(
            "{boot}
             dead=$(cat /var/lib/rkt/dead)
             echo before=$(cat /var/lib/rkt/before)
             echo still=$(leases)
             echo state=$(rkt status $dead | sed -n 's/^state=//p')
             echo ip=$(rkt run --net=one --port=http:8080 example.com/sh -- \
                 'ip -4 -o addr show eth0 | sed \"s/.*inet //; s/ .*//\"')
             echo taken=$(leases)
             echo told=$(grep -c \"^DEL $dead netns=\\$\" /var/lib/rkt/told)
             rkt gc --grace-period=0s
             echo after=$(leases)
             echo told=$(grep -c \"^DEL $dead\" /var/lib/rkt/told)
             nft list ruleset >rules
             echo rules=$(grep -c $dead rules)
             sleep 0.5
             echo links=$(ip -o link | sed 's/^[0-9]*: //; s/[:@].*//')
             echo names=$(ls /run/netns 2>/dev/null)
             echo pods=$(rkt list --no-legend | wc -l)"
        ))
        .ok();
    let both = "./default/172.16.28.2 ./one/10.9.0.2";
    assert_eq!(out.value("before"), both, "{out}");
    assert_eq!(out.value("still"), both, "{out}");
    assert_eq!(out.value("state"), "exited", "{out}");
    assert_eq!(out.value("ip"), "10.9.0.2/30", "{out}");
    for (what, nothing) in [
        ("taken", ""),
        ("after", ""),
        ("rules", "0"),
        ("names", ""),
        ("pods", "0"),
    ] {
        assert_eq!(out.value(what), nothing, "{what}: {out}");
    }
    assert_eq!(out.value("links"), "lo br-one", "{out}");
    let told: Vec<&str> = out
        .stdout
        .lines()
        .filter(|l| l.starts_with("told="))
        .collect();
    assert_eq!(told, ["told=1", "told=1"], "{out}");
}
