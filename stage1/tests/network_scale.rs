//! What joining costs, and that it does not grow with the number of pods.

#![allow(clippy::unwrap_used)]

mod network_host;

use std::time::{Duration, Instant};

use manifests::engine::PrivateNetwork;
use network_host::{Host, TestPod, default_plan, plan, sh};

const PODS: u32 = 200;

const BRIDGE: &str = r#"{"cniVersion":"1.0.0","name":"lan","type":"bridge","bridge":"br-lan",
    "isDefaultGateway":true,"ipMasq":true,"ipam":{"type":"host-local","subnet":"10.77.0.0/16"}}"#;

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

/// Joins `PODS` pods, then lets them leave; the time of each.
fn measure(host: &Host, network: &PrivateNetwork) -> (Vec<Duration>, Vec<Duration>) {
    let mut pods: Vec<TestPod> = (0..PODS).map(|number| host.pod(number + 1)).collect();
    let joins = pods
        .iter_mut()
        .map(|pod| {
            let network = network.clone();
            let began = Instant::now();
            pod.join(network);
            began.elapsed()
        })
        .collect();
    let leaves = pods
        .iter_mut()
        .map(|pod| {
            let began = Instant::now();
            pod.leave();
            began.elapsed()
        })
        .collect();
    (joins, leaves)
}

/// Prints what it took; returns how much longer the last pods took than the
/// first, by the fastest of each: other work on the machine makes some slower,
/// growth makes all of them slower.
fn report(what: &str, times: &[Duration]) -> f64 {
    let fastest = |times: &[Duration]| times.iter().min().copied().unwrap();
    let (first, last) = (fastest(&times[..20]), fastest(&times[times.len() - 20..]));
    let ratio = last.as_secs_f64() / first.as_secs_f64();
    println!(
        "{what}: median {:?}; fastest of the first 20 {first:?}, of the last {last:?}, ratio {ratio:.2}",
        median(times)
    );
    ratio
}

/// The promise is ±20 %; the bound here is wide enough for a busy machine and
/// narrow enough to find anything that grows with the number of pods.
#[test]
fn alone_the_two_hundredth_pod_joins_as_fast_as_the_first() {
    let host = Host::new();
    for (name, network) in [
        ("bridge", plan(&[BRIDGE])),
        ("default (ptp)", default_plan()),
    ] {
        let (joins, leaves) = measure(&host, &network);
        let ratio = report(&format!("{name}, join"), &joins);
        report(&format!("{name}, leave"), &leaves);
        assert!(
            ratio < 2.0,
            "{name}: the last pods took {ratio:.2} times as long"
        );
    }
    assert_eq!(host.rules_of_pods(), "");
    assert_eq!(sh("ip -o link show type veth | wc -l").trim(), "0");
}
