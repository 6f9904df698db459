//! Promises with figures, where noise cannot flip the answer. The rest is
//! measured by `bench`, beside the peers.

use tests::{Host, memory};

/// The promise: at most 1 MiB for everything of ours that watches one idle pod.
#[test]
fn alone_an_idle_pod_costs_at_most_one_mebibyte() {
    let kibibytes = memory::of_an_idle_pod(&Host::new());
    assert!(kibibytes > 10.0, "{kibibytes} KiB cannot be right");
    assert!(kibibytes <= 1024.0, "{kibibytes} KiB");
}
