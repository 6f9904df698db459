//! The app's share of memory, processors and block devices, as its cgroup says
//! and as it feels.

use serde_json::json;

use crate::table::{Row, row};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("memory-limit")
            .flag("--memory=64Mi")
            .isolator("resource/memory", json!({"limit": "64Mi"}))
            .cgroup(
                ("memory.limit_in_bytes", "67108864"),
                ("memory.max", "67108864"),
            )
            .sees("hog 16", "ok")
            .sees("hog 128", "SIGKILL"),
        row("memory-request")
            .isolator(
                "resource/memory",
                json!({"request": "32Mi", "limit": "64Mi"}),
            )
            .cgroup(
                ("memory.limit_in_bytes", "67108864"),
                ("memory.max", "67108864"),
            )
            .cgroup(
                ("memory.soft_limit_in_bytes", "33554432"),
                ("memory.low", "33554432"),
            ),
        row("memory-unit")
            .flag("--memory=64M")
            .isolator("resource/memory", json!({"limit": "64M"}))
            .cgroup(
                ("memory.limit_in_bytes", "64000000"),
                ("memory.max", "64000000"),
            ),
        row("memory-negative").flag("--memory=-1").refused(&["-1"]),
        row("memory-no-quantity")
            .flag("--memory=lots")
            .refused(&["lots"]),
        row("cpu-limit")
            .flag("--cpu=500m")
            .isolator("resource/cpu", json!({"limit": "500m"}))
            .cgroup(("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
        row("cpu-request")
            .isolator("resource/cpu", json!({"request": "150m", "limit": "2"}))
            .cgroup(("cpu.cfs_quota_us", "200000"), ("cpu.max", "200000 100000"))
            .cgroup(("cpu.shares", "153"), ("cpu.weight", "6")),
        row("cpu-shares")
            .flag("--cpu-shares=512")
            .isolator("os/linux/cpu-shares", json!(512))
            .cgroup(("cpu.shares", "512"), ("cpu.weight", "20")),
        row("cpu-shares-none")
            .flag("--cpu-shares=1")
            .refused(&["--cpu-shares", "1"]),
        row("block-bandwidth")
            .isolator(
                "resource/block-bandwidth",
                json!({"default": true, "limit": "8Mi"}),
            )
            .cgroup(
                ("blkio.throttle.read_bps_device", "8388608"),
                ("io.max", "rbps=8388608"),
            )
            .cgroup(
                ("blkio.throttle.write_bps_device", "8388608"),
                ("io.max", "wbps=8388608"),
            ),
        row("block-iops")
            .isolator(
                "resource/block-iops",
                json!({"default": true, "limit": "600"}),
            )
            .cgroup(
                ("blkio.throttle.read_iops_device", "600"),
                ("io.max", "riops=600"),
            )
            .cgroup(
                ("blkio.throttle.write_iops_device", "600"),
                ("io.max", "wiops=600"),
            ),
    ]
}
