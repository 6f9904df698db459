//! Plugins that are programs: Debian's, and broken ones.

#![allow(clippy::unwrap_used)]

mod network_host;

use std::path::PathBuf;

use network_host::{DEBIAN_PLUGINS, Host, TestPod, plan, sh};
use serde_json::{Value, json};

/// A directory with Debian's plugins under names that are not built in.
fn renamed(host: &Host) -> PathBuf {
    let directory = host.directory.path().join("plugins");
    std::fs::create_dir_all(&directory).unwrap();
    for name in ["ptp", "bridge", "macvlan", "portmap", "tuning", "bandwidth"] {
        let program = PathBuf::from(DEBIAN_PLUGINS).join(name);
        assert!(program.exists(), "containernetworking-plugins is installed");
        std::os::unix::fs::symlink(program, directory.join(format!("real-{name}"))).unwrap();
    }
    // They execute this one by its own name.
    let ipam = PathBuf::from(DEBIAN_PLUGINS).join("host-local");
    std::os::unix::fs::symlink(ipam, directory.join("host-local")).unwrap();
    directory
}

fn write_plugin(host: &Host, name: &str, script: &str) -> PathBuf {
    let directory = host.directory.path().join("plugins");
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{script}")).unwrap();
    sh(&format!("chmod +x {}", file.display()));
    directory
}

/// What the pod sees of its network, without what differs by nature.
fn view(pod: &TestPod) -> Value {
    let parse = |script: &str| serde_json::from_str::<Value>(&pod.sh(script)).unwrap();
    let mut routes: Vec<String> = pod
        .sh("ip route show; ip -6 route show | grep -v 'fe80\\|^multicast\\|^anycast' || true")
        .lines()
        .map(|line| {
            line.replace(" metric 1024", "")
                .replace(" pref medium", "")
                .replace(" proto kernel", "")
                .trim()
                .to_owned()
        })
        .collect();
    routes.sort();
    let addresses: Vec<Value> = parse("ip -j addr show eth0")[0]["addr_info"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|a| a["scope"] == "global")
        .map(|a| json!([a["local"], a["prefixlen"]]))
        .collect();
    let link = &parse("ip -j link show eth0")[0];
    json!({
        "addresses": addresses,
        "routes": routes,
        "mtu": link["mtu"],
        "up": link["flags"].as_array().unwrap().contains(&json!("UP")),
    })
}

/// The recorded result, without names and addresses of hardware.
fn result(pod: &TestPod) -> Value {
    let text = std::fs::read_to_string(pod.directory.join("net/eth0.result")).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    for interface in value["interfaces"].as_array_mut().unwrap() {
        let inside = interface.get("sandbox").is_some();
        *interface = json!({ "inside": inside });
    }
    value
}

#[test]
fn built_in_plugins_do_what_the_reference_ones_do() {
    let table = [
        r#"{"type":"ptp","mtu":1400,"ipam":{"type":"host-local","subnet":"10.40.0.0/24","routes":[{"dst":"0.0.0.0/0"},{"dst":"10.99.0.0/16"}]}}"#,
        r#"{"type":"ptp","ipam":{"type":"host-local","ranges":[[{"subnet":"10.41.0.0/24","rangeStart":"10.41.0.10"}],[{"subnet":"fd41::/64"}]],"routes":[{"dst":"::/0"},{"dst":"0.0.0.0/0"}]}}"#,
        r#"{"type":"bridge","bridge":"brX","isGateway":true,"ipam":{"type":"host-local","subnet":"10.42.0.0/24","gateway":"10.42.0.100","routes":[{"dst":"0.0.0.0/0"}]}}"#,
        r#"{"type":"bridge","bridge":"brX","isDefaultGateway":true,"mtu":1300,"ipam":{"type":"host-local","subnet":"10.43.0.0/24"}}"#,
        r#"{"type":"macvlan","master":"up0","mtu":1200,"ipam":{"type":"host-local","subnet":"10.44.0.0/24"}}"#,
    ];
    for (number, plugin) in table.into_iter().enumerate() {
        let host = Host::new();
        sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up");
        let plugins = renamed(&host);
        let config = |kind: &str, bridge: &str| {
            let plugin = plugin
                .replacen("\"type\":\"", &format!("\"type\":\"{kind}"), 1)
                .replace("brX", bridge);
            // Each has leases of its own, so that both give the same address.
            format!(r#"{{"cniVersion":"1.0.0","name":"n{number}{kind}","plugins":[{plugin}]}}"#)
        };
        let mut ours = host.pod(1);
        ours.join(plan(&[&config("", "br-ours")]));
        let seen = (view(&ours), result(&ours));
        let lease = host.leases(&format!("n{number}"));
        ours.leave();

        let mut theirs = host.pod(2);
        theirs.plugin_path = vec![plugins.clone()];
        theirs.join(plan(&[&config("real-", "br-real")]));
        assert_eq!(seen.0, view(&theirs), "{plugin}");
        assert_eq!(seen.1, result(&theirs), "{plugin}");
        assert_eq!(lease, host.leases(&format!("n{number}real-")), "{plugin}");
        assert!(
            theirs.info()[0]["pluginPath"]
                .as_str()
                .unwrap()
                .contains("/real-")
        );
        theirs.leave();
        assert_eq!(
            host.leases(&format!("n{number}real-")),
            Vec::<String>::new()
        );
        assert!(std::fs::read_dir("/run/netns").unwrap().next().is_none());
    }
}

#[test]
fn ours_and_theirs_share_the_leases_of_one_network() {
    let host = Host::new();
    let plugins = renamed(&host);
    let config = |kind: &str| {
        format!(
            r#"{{"cniVersion":"1.0.0","name":"both","type":"{kind}","ipam":{{"type":"host-local","subnet":"10.45.0.0/28"}}}}"#
        )
    };
    let mut addresses = Vec::new();
    let mut pods = Vec::new();
    for number in 0..6 {
        let mut pod = host.pod(number + 1);
        pod.plugin_path = vec![plugins.clone()];
        pod.join(plan(&[&config(if number % 2 == 0 {
            "ptp"
        } else {
            "real-ptp"
        })]));
        addresses.push(pod.ip());
        pods.push(pod);
    }
    let expected: Vec<String> = (2..8).map(|n| format!("10.45.0.{n}")).collect();
    assert_eq!(addresses, expected);
    for pod in &mut pods {
        pod.leave();
    }
    assert_eq!(host.leases("both"), Vec::<String>::new());
}

#[test]
fn a_chain_of_both_kinds_hands_results_on() {
    let host = Host::new();
    let plugins = renamed(&host);
    let chain = r#"{"cniVersion":"0.4.0","name":"mixed","plugins":[
        {"type":"bridge","bridge":"br-mix","isGateway":true,"ipam":{"type":"host-local","subnet":"10.46.0.0/24"}},
        {"type":"real-tuning","sysctl":{"net.core.somaxconn":"77"},"mtu":1234},
        {"type":"real-bandwidth","ingressRate":8000000,"ingressBurst":8000000},
        {"type":"firewall"}]}"#;
    let mut pod = host.pod(1);
    pod.plugin_path = vec![plugins];
    pod.join(plan(&[chain]));
    assert_eq!(pod.sh("cat /proc/sys/net/core/somaxconn"), "77\n");
    assert!(pod.sh("ip link show eth0").contains("mtu 1234"));
    assert!(sh("tc qdisc show").contains("tbf"));
    let network = pod.plan.clone().unwrap();
    stage1::network::check(pod.as_pod(), &network, pod.netns()).unwrap();
    pod.sh("ip addr del 10.46.0.2/24 dev eth0");
    let error = stage1::network::check(pod.as_pod(), &network, pod.netns()).unwrap_err();
    assert_eq!(
        error.line(),
        "network \"mixed\": cannot find the pod's address 10.46.0.2/24: Cannot assign requested address"
    );
    pod.leave();
    assert_eq!(host.links(), ["br-mix"]);
}

#[test]
fn an_ipam_program_serves_a_built_in_plugin() {
    let host = Host::new();
    let plugins = write_plugin(
        &host,
        "my-ipam",
        r#"cat >> /run/seen; echo " $CNI_COMMAND" >> /run/seen
           [ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.47.0.9/24","gateway":"10.47.0.1"}]}'
           exit 0"#,
    );
    let config =
        r#"{"cniVersion":"0.3.1","name":"my","type":"ptp","ipam":{"type":"my-ipam","key":"kept"}}"#;
    let mut pod = host.pod(1);
    pod.plugin_path = vec![plugins];
    pod.join(plan(&[config]));
    assert_eq!(pod.ip(), "10.47.0.9");
    pod.leave();
    let seen = std::fs::read_to_string("/run/seen").unwrap();
    assert!(
        seen.contains("\"key\":\"kept\"") && seen.contains(" ADD") && seen.ends_with(" DEL\n"),
        "{seen}"
    );
}

#[test]
fn a_broken_program_ends_the_start_with_its_words_and_all_is_undone() {
    let table = [
        (
            r#"echo '{"code":100,"msg":"no luck","details":"today"}'; exit 1"#,
            "no luck; today",
        ),
        ("echo rubbish", "answered \"rubbish\": not a CNI result"),
        ("exit 7", "exited with status 7"),
    ];
    for (script, words) in table {
        let host = Host::new();
        let plugins = write_plugin(
            &host,
            "bad",
            &format!("[ $CNI_COMMAND = DEL ] && exit 0\n{script}"),
        );
        let chain = r#"{"cniVersion":"1.0.0","name":"chain","plugins":[
            {"type":"ptp","ipMasq":true,"ipam":{"type":"host-local","subnet":"10.48.0.0/24"}},{"type":"bad"}]}"#;
        let mut pod = host.pod(1);
        pod.plugin_path = vec![plugins];
        let error = pod.try_join(plan(&[chain])).unwrap_err();
        assert!(
            error.starts_with(&format!("network \"chain\": plugin \"bad\", ADD: {words}")),
            "{error}"
        );
        assert_eq!(host.links(), Vec::<String>::new());
        assert_eq!(host.leases("chain"), Vec::<String>::new());
        assert_eq!(host.rules_of_pods(), "");
        assert!(!pod.directory.join("net").exists());
        assert!(std::fs::read_dir("/run/netns").unwrap().next().is_none());
    }
}

#[test]
fn a_missing_program_is_told_before_anything_is_done() {
    let host = Host::new();
    let chain = r#"{"cniVersion":"1.0.0","name":"chain","plugins":[
        {"type":"ptp","ipam":{"type":"host-local","subnet":"10.49.0.0/24"}},{"type":"nowhere"}]}"#;
    let mut pod = host.pod(1);
    assert_eq!(
        pod.try_join(plan(&[chain])).unwrap_err(),
        "network \"chain\": Could not find plugin \"nowhere\" in /usr/lib/cni"
    );
    assert!(!pod.directory.join("net").exists());
}

#[test]
fn a_version_that_a_program_lacks_is_told_with_those_it_has() {
    let host = Host::new();
    let mut pod = host.pod(1);
    let config = r#"{"cniVersion":"1.1.0","name":"new","type":"vlan","master":"lo","vlanId":5}"#;
    let error = pod.try_join(plan(&[config])).unwrap_err();
    assert!(error.contains("it speaks 0.1.0, 0.2.0"), "{error}");
}

#[test]
fn what_a_program_fails_to_undo_stays_on_record_and_the_rest_is_undone() {
    let host = Host::new();
    let plugins = write_plugin(
        &host,
        "sticky",
        r#"[ $CNI_COMMAND = DEL ] && ! [ -e /run/allowed ] && { echo '{"code":11,"msg":"try again later"}'; exit 1; }
           echo '{"cniVersion":"1.0.0","ips":[{"address":"10.50.0.2/24"}]}'"#,
    );
    let chain = r#"{"cniVersion":"1.0.0","name":"chain","plugins":[
        {"type":"ptp","ipMasq":true,"ipam":{"type":"host-local","subnet":"10.50.0.0/24"}},{"type":"sticky"}]}"#;
    let mut pod = host.pod(1);
    pod.plugin_path = vec![plugins];
    pod.join(plan(&[chain]));
    assert_eq!(
        pod.try_leave().unwrap_err(),
        ["network \"chain\": plugin \"sticky\", DEL: try again later"]
    );
    assert_eq!(host.links(), Vec::<String>::new());
    assert_eq!(host.leases("chain"), Vec::<String>::new());
    assert_eq!(host.rules_of_pods(), "");
    assert!(pod.directory.join("net/eth0.conflist").exists());
    std::fs::write("/run/allowed", "").unwrap();
    pod.leave();
    assert!(!pod.directory.join("net").exists());
}

#[test]
fn garbage_collection_tells_programs_what_is_left() {
    let host = Host::new();
    let plugins = write_plugin(
        &host,
        "gc-able",
        "cat > /run/gc-input; echo $CNI_COMMAND > /run/gc-command",
    );
    let mut pod = host.pod(1);
    pod.plugin_path = vec![plugins];
    let config = manifests::cni::NetworkConfig::parse(
        r#"{"cniVersion":"1.1.0","name":"g","type":"gc-able"}"#,
    )
    .unwrap();
    stage1::network::collect(pod.as_pod(), &config, &[("some-pod".into(), "eth0".into())]).unwrap();
    assert_eq!(std::fs::read_to_string("/run/gc-command").unwrap(), "GC\n");
    let input: Value = serde_json::from_slice(&std::fs::read("/run/gc-input").unwrap()).unwrap();
    assert_eq!(
        input["cni.dev/valid-attachments"],
        json!([{"containerID":"some-pod","ifname":"eth0"}])
    );
    // Older ones do not know it.
    std::fs::remove_file("/run/gc-command").unwrap();
    let old = manifests::cni::NetworkConfig {
        cni_version: "1.0.0".parse().unwrap(),
        ..config
    };
    stage1::network::collect(pod.as_pod(), &old, &[]).unwrap();
    assert!(!std::path::Path::new("/run/gc-command").exists());
}
