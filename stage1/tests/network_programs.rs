//! Plugins that are programs: Debian's, and broken ones.

#![allow(clippy::unwrap_used)]

mod network_host;

use std::path::PathBuf;

use std::time::Duration;

use manifests::cni::NetworkConfig;
use manifests::engine::Protocol::Tcp;
use network_host::{DEBIAN_PLUGINS, Host, TestPod, plan, port, sh};
use serde_json::{Value, json};
use stage1::network::{self, Namespace};

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
        error[0].line(),
        "network \"mixed\": address 10.46.0.2/24 of eth0 is missing"
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
    // It is not kept from ending for ever by a program that never can.
    let published = std::path::Path::new("/run/netns").join(format!("rkt-{}", pod.uuid));
    assert!(published.exists());
    let plan = pod.plan.clone().unwrap();
    network::leave(pod.as_pod(), &plan, Namespace::Gone).unwrap_err();
    assert!(!published.exists());
    std::fs::write("/run/allowed", "").unwrap();
    pod.leave();
    assert!(!pod.directory.join("net").exists());
}

#[test]
fn gc_tells_programs_who_is_left_whatever_the_data_directory() {
    let host = Host::new();
    // One is a plugin, the other the address management of a built-in one.
    let plugins = write_plugin(
        &host,
        "gc-able",
        r#"input=$(cat); [ $CNI_COMMAND = GC ] && echo "$input" > /run/gc-input
           echo '{"cniVersion":"1.1.0","ips":[{"address":"10.50.0.'$(cat /run/next)'/24"}]}'"#,
    );
    for config in [
        r#"{"cniVersion":"1.1.0","name":"g","type":"gc-able"}"#,
        r#"{"cniVersion":"1.1.0","name":"h","type":"ptp","ipam":{"type":"gc-able"}}"#,
    ] {
        let network = plan(&[config]);
        let config = &network.attachments[0].config;
        let collect = || {
            let _ = std::fs::remove_file("/run/gc-input");
            network::collect(
                config,
                std::slice::from_ref(&plugins),
                Duration::from_secs(5),
            )
            .unwrap();
            let input = std::fs::read("/run/gc-input").ok()?;
            let input: Value = serde_json::from_slice(&input).unwrap();
            assert_eq!(
                input["cni.dev/attachments"],
                input["cni.dev/valid-attachments"]
            );
            Some(input["cni.dev/valid-attachments"].clone())
        };
        let (mut a, mut b) = (host.pod(1), host.pod(2));
        for (number, pod) in [&mut a, &mut b].into_iter().enumerate() {
            std::fs::write("/run/next", (number + 2).to_string()).unwrap();
            pod.plugin_path = vec![plugins.clone()];
            pod.join(network.clone());
        }
        let entry = |pod: &TestPod| json!({"containerID": pod.uuid, "ifname": "eth0"});
        assert_eq!(collect(), Some(json!([entry(&a), entry(&b)])));
        a.leave();
        assert_eq!(collect(), Some(json!([entry(&b)])));
        b.leave();
        assert_eq!(collect(), Some(json!([])));
        // Older ones do not know it, and some do not want it.
        for older in [
            network_config(config, |c| c.cni_version = "1.0.0".parse().unwrap()),
            network_config(config, |c| c.disable_gc = true),
        ] {
            let _ = std::fs::remove_file("/run/gc-input");
            let path = std::slice::from_ref(&plugins);
            network::collect(&older, path, Duration::from_secs(5)).unwrap();
            assert!(!std::path::Path::new("/run/gc-input").exists());
        }
    }
}

fn network_config(
    config: &NetworkConfig,
    change: impl FnOnce(&mut NetworkConfig),
) -> NetworkConfig {
    let mut config = config.clone();
    change(&mut config);
    config
}

#[test]
fn status_says_why_a_network_is_not_ready() {
    let host = Host::new();
    let plugins = write_plugin(
        &host,
        "shy",
        r#"[ -e /run/ready ] && exit 0; echo '{"code":50,"msg":"no route to the controller"}'; exit 1"#,
    );
    let status = |text: &str| {
        let config = NetworkConfig::parse(text).unwrap();
        let path = std::slice::from_ref(&plugins);
        let asked = network::status(&config, path, Duration::from_secs(5));
        asked.map_err(|errors| errors.iter().map(network::Error::line).collect::<Vec<_>>())
    };
    let shy = r#"{"cniVersion":"1.1.0","name":"s","type":"shy"}"#;
    assert_eq!(
        status(shy).unwrap_err(),
        ["network \"s\": plugin \"shy\", STATUS: no route to the controller"]
    );
    let missing = status(r#"{"name":"m","type":"nowhere"}"#).unwrap_err();
    assert!(
        missing[0].starts_with("network \"m\": Could not find plugin"),
        "{missing:?}"
    );
    std::fs::write("/run/ready", "").unwrap();
    status(shy).unwrap();
}

#[test]
fn a_program_that_can_is_told_the_ports_and_leads_them() {
    let host = Host::new();
    let plugins = write_plugin(
        &host,
        "leader",
        r#"cat > /run/leader.$CNI_COMMAND; echo '{"cniVersion":"1.0.0","ips":[{"address":"10.50.0.2/24"}]}'"#,
    );
    let mut network = plan(&[r#"{"cniVersion":"1.0.0","name":"l","plugins":[
        {"type":"leader","capabilities":{"portMappings":true,"mac":true,"ips":true}}]}"#]);
    network.ports = vec![port("http", Tcp, "127.0.0.1", 8080, 80, 2)];
    network.attachments[0].args = "MAC=0a:58:0a:32:00:02;IP=10.50.0.2/24".into();
    let mut pod = host.pod(1);
    pod.plugin_path = vec![plugins];
    pod.join(network);
    let input: Value = serde_json::from_slice(&std::fs::read("/run/leader.ADD").unwrap()).unwrap();
    assert_eq!(
        input["runtimeConfig"],
        json!({
            "portMappings": [
                {"hostIP":"127.0.0.1","hostPort":8080,"containerPort":80,"protocol":"tcp"},
                {"hostIP":"127.0.0.1","hostPort":8081,"containerPort":81,"protocol":"tcp"},
            ],
            "mac": "0a:58:0a:32:00:02",
            "ips": ["10.50.0.2/24"],
        })
    );
    // They are not ours to forward, nor to claim.
    assert_eq!(host.rules_of_pods(), "");
    std::net::TcpListener::bind("127.0.0.1:8080").unwrap();
    pod.leave();
    let input: Value = serde_json::from_slice(&std::fs::read("/run/leader.DEL").unwrap()).unwrap();
    assert_eq!(input["runtimeConfig"]["portMappings"][1]["hostPort"], 8081);
    assert_eq!(input["prevResult"]["ips"][0]["address"], "10.50.0.2/24");
}
