//! Limits in the files of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst).

use std::fs;
use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::{Setting, v1};
use crate::error::{Error, Result};

/// File system type of the v2 hierarchy (`CGROUP2_SUPER_MAGIC`).
pub(super) const MAGIC: u32 = 0x6367_7270;

/// Controllers that `resources.unified` may name, by their names on v1.
pub(super) const CONTROLLERS: [&str; 7] = [
    "memory", "cpu", "cpuset", "pids", "blkio", "hugetlb", "rdma",
];

/// As [`v1::TRANSLATIONS`], in its order.
pub(super) const TRANSLATIONS: [v1::Translate; 8] = [
    memory,
    cpu,
    |resources| Ok(v1::cpuset_settings(resources)),
    |resources| Ok(v1::pids_settings(resources)),
    io,
    hugetlb,
    |resources| Ok(v1::rdma_settings(resources)),
    // net_cls is never found on v2, so this is never asked.
    |_| Ok(Vec::new()),
];

/// The name here of a controller that is called so on v1.
pub(super) fn name(controller: &str) -> &str {
    match controller {
        "blkio" => "io",
        other => other,
    }
}

/// A limit where -1 means none.
fn limit(value: i64) -> String {
    match value {
        ..0 => "max".to_owned(),
        _ => value.to_string(),
    }
}

fn unknown(field: &'static str) -> Error {
    Error::Refused {
        field,
        value: String::new(),
        reason: "cgroup v2 has nothing like it",
    }
}

fn memory(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let Some(memory) = resources.memory() else {
        return Ok(settings);
    };
    let mut set = |file: &str, value: String| settings.push(Setting::new("memory", file, value));
    if let Some(bytes) = memory.limit() {
        set("memory.max", limit(bytes));
    }
    if let Some(both) = memory.swap() {
        // The specification counts memory and swap together, v2 swap alone.
        let swap = match (both, memory.limit()) {
            (..0, _) => -1,
            (both, Some(memory)) if memory >= 0 && both >= memory => both - memory,
            _ => {
                return Err(Error::Refused {
                    field: "linux.resources.memory.swap",
                    value: both.to_string(),
                    reason: "it counts memory too and so needs a memory limit not above it",
                });
            }
        };
        set("memory.swap.max", limit(swap));
    }
    if let Some(bytes) = memory.reservation() {
        set("memory.low", limit(bytes));
    }
    if memory.kernel_tcp().is_some() {
        return Err(unknown("linux.resources.memory.kernelTCP"));
    }
    if memory.swappiness().is_some() {
        return Err(unknown("linux.resources.memory.swappiness"));
    }
    if memory.disable_oom_killer() == Some(true) {
        return Err(unknown("linux.resources.memory.disableOOMKiller"));
    }
    Ok(settings)
}

fn cpu(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let Some(cpu) = resources.cpu() else {
        return Ok(settings);
    };
    let mut set = |file: &str, value: String| settings.push(Setting::new("cpu", file, value));
    if let Some(shares) = cpu.shares().filter(|n| *n != 0) {
        set("cpu.weight", weight(shares).to_string());
    }
    if cpu.quota().is_some() || cpu.period().is_some() {
        let quota = cpu.quota().filter(|n| *n > 0);
        let quota = quota.map_or("max".to_owned(), |n| n.to_string());
        set(
            "cpu.max",
            format!("{quota} {}", cpu.period().unwrap_or(100_000)),
        );
    }
    if let Some(burst) = cpu.burst() {
        set("cpu.max.burst", burst.to_string());
    }
    if let Some(idle) = cpu.idle() {
        set("cpu.idle", idle.to_string());
    }
    if cpu.realtime_period().is_some() || cpu.realtime_runtime().is_some() {
        return Err(unknown("linux.resources.cpu.realtimeRuntime"));
    }
    Ok(settings)
}

/// 2…262144 shares as a weight of 1…10000, the way systemd and runc map them.
fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9_999 / 262_142
}

fn io(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let Some(io) = resources.block_io() else {
        return Ok(settings);
    };
    let mut set = |file: &str, value: String| settings.push(Setting::new("blkio", file, value));
    if io.leaf_weight().is_some() {
        return Err(unknown("linux.resources.blockIO.leafWeight"));
    }
    // 10…1000 here, 1…10000 there.
    let scale = |weight: u16| 1 + u32::from(weight.clamp(10, 1000) - 10) * 9_999 / 990;
    if let Some(weight) = io.weight().filter(|n| *n != 0) {
        set("io.weight", format!("default {}", scale(weight)));
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            let value = format!("{}:{} {}", device.major(), device.minor(), scale(weight));
            set("io.weight", value);
        }
    }
    for (key, devices) in [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ] {
        for device in devices.iter().flatten() {
            let number = format!("{}:{}", device.major(), device.minor());
            set("io.max", format!("{number} {key}={}", device.rate()));
        }
    }
    Ok(settings)
}

fn hugetlb(resources: &LinuxResources) -> Result<Vec<Setting>> {
    Ok(resources
        .hugepage_limits()
        .iter()
        .flatten()
        .map(|limit| {
            let file = format!("hugetlb.{}.max", limit.page_size());
            Setting::new("hugetlb", file, limit.limit())
        })
        .collect())
}

/// Hands the controllers down in these cgroups, the highest first.
pub(super) fn enable<'a>(down: impl Iterator<Item = &'a Path>, controllers: &[&str]) -> Result<()> {
    let mut value = String::new();
    for controller in controllers {
        // Devices are no controller here but a program at the cgroup.
        if *controller != "devices" {
            value.push_str(" +");
            value.push_str(name(controller));
        }
    }
    if value.is_empty() {
        return Ok(());
    }
    for directory in down {
        let file = directory.join("cgroup.subtree_control");
        fs::write(&file, value.trim_start())
            .map_err(Error::system("hand controllers down in", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Vec<(String, String)> {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        TRANSLATIONS
            .iter()
            .flat_map(|translate| translate(&resources).unwrap())
            .map(|s| (s.file, s.value))
            .collect()
    }

    #[test]
    fn limits_are_written_as_v2_wants_them() {
        for (json, file, value) in [
            (r#"{"memory":{"limit":1048576}}"#, "memory.max", "1048576"),
            (r#"{"memory":{"limit":-1}}"#, "memory.max", "max"),
            (
                r#"{"cpu":{"quota":50000,"period":100000}}"#,
                "cpu.max",
                "50000 100000",
            ),
            (r#"{"cpu":{"quota":-1}}"#, "cpu.max", "max 100000"),
            (r#"{"cpu":{"shares":1024}}"#, "cpu.weight", "39"),
            (r#"{"pids":{"limit":20}}"#, "pids.max", "20"),
            (r#"{"pids":{"limit":0}}"#, "pids.max", "max"),
            (
                r#"{"blockIO":{"weight":1000}}"#,
                "io.weight",
                "default 10000",
            ),
        ] {
            assert_eq!(
                settings(json),
                [(file.to_owned(), value.to_owned())],
                "{json}"
            );
        }
    }

    #[test]
    fn swap_is_what_remains_above_memory() {
        let got = settings(r#"{"memory":{"limit":100,"swap":150}}"#);
        assert_eq!(got[1], ("memory.swap.max".into(), "50".into()));
        let alone: LinuxResources = serde_json::from_str(r#"{"memory":{"swap":150}}"#).unwrap();
        assert!(memory(&alone).unwrap_err().line().contains("memory limit"));
    }
}
