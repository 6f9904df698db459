//! Limits in the files of cgroup v1 (Documentation/admin-guide/cgroup-v1).

use std::fs;
use std::path::Path;

use oci_spec::runtime::{LinuxResources, LinuxThrottleDevice};

use super::Setting;
use crate::error::{Error, Result};

/// File system type of a v1 hierarchy (`CGROUP_SUPER_MAGIC`).
pub(super) const MAGIC: u32 = 0x0027_e0eb;

/// From a specification's resources to one controller's settings.
pub(super) type Translate = fn(&LinuxResources) -> Result<Vec<Setting>>;

/// Every controller with limits of its own, by its name here. v2 has the same
/// list in the same order.
pub(super) const TRANSLATIONS: [(&str, Translate); 8] = [
    ("memory", memory),
    ("cpu", cpu),
    ("cpuset", cpuset),
    ("pids", pids),
    ("blkio", blkio),
    ("hugetlb", hugetlb),
    ("rdma", rdma),
    ("net_cls", network),
];

fn memory(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let Some(memory) = resources.memory() else {
        return Ok(settings);
    };
    let mut set = |file: &str, value: Option<String>| {
        if let Some(value) = value {
            settings.push(Setting::new("memory", file, value));
        }
    };
    // The kernel wants swap never below memory, so memory comes first.
    set(
        "memory.limit_in_bytes",
        memory.limit().map(|n| n.to_string()),
    );
    set(
        "memory.memsw.limit_in_bytes",
        memory.swap().map(|n| n.to_string()),
    );
    set(
        "memory.soft_limit_in_bytes",
        memory.reservation().map(|n| n.to_string()),
    );
    set(
        "memory.kmem.tcp.limit_in_bytes",
        memory.kernel_tcp().map(|n| n.to_string()),
    );
    set(
        "memory.swappiness",
        memory.swappiness().map(|n| n.to_string()),
    );
    set(
        "memory.oom_control",
        memory
            .disable_oom_killer()
            .filter(|off| *off)
            .map(|_| "1".into()),
    );
    Ok(settings)
}

fn cpu(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let Some(cpu) = resources.cpu() else {
        return Ok(settings);
    };
    let mut set = |file: &str, value: Option<String>| {
        if let Some(value) = value {
            settings.push(Setting::new("cpu", file, value));
        }
    };
    set("cpu.shares", cpu.shares().map(|n| n.to_string()));
    set("cpu.cfs_period_us", cpu.period().map(|n| n.to_string()));
    set("cpu.cfs_quota_us", cpu.quota().map(|n| n.to_string()));
    set("cpu.cfs_burst_us", cpu.burst().map(|n| n.to_string()));
    set("cpu.idle", cpu.idle().map(|n| n.to_string()));
    set(
        "cpu.rt_period_us",
        cpu.realtime_period().map(|n| n.to_string()),
    );
    set(
        "cpu.rt_runtime_us",
        cpu.realtime_runtime().map(|n| n.to_string()),
    );
    Ok(settings)
}

fn cpuset(resources: &LinuxResources) -> Result<Vec<Setting>> {
    Ok(cpuset_settings(resources))
}

/// The same files in both versions.
pub(super) fn cpuset_settings(resources: &LinuxResources) -> Vec<Setting> {
    let Some(cpu) = resources.cpu() else {
        return Vec::new();
    };
    [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())]
        .into_iter()
        .filter_map(|(file, list)| Some((file, list.as_ref().filter(|l| !l.is_empty())?)))
        .map(|(file, list)| Setting::new("cpuset", file, list))
        .collect()
}

fn pids(resources: &LinuxResources) -> Result<Vec<Setting>> {
    Ok(pids_settings(resources))
}

/// The same file in both versions.
pub(super) fn pids_settings(resources: &LinuxResources) -> Vec<Setting> {
    resources
        .pids()
        .iter()
        .map(|pids| match pids.limit() {
            limit if limit > 0 => Setting::new("pids", "pids.max", limit),
            _ => Setting::new("pids", "pids.max", "max"),
        })
        .collect()
}

fn blkio(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let Some(io) = resources.block_io() else {
        return Ok(settings);
    };
    let mut set = |file: &str, value: String| settings.push(Setting::new("blkio", file, value));
    if let Some(weight) = io.weight() {
        set("blkio.bfq.weight", weight.to_string());
    }
    if io.leaf_weight().is_some() {
        return Err(gone("linux.resources.blockIO.leafWeight"));
    }
    for device in io.weight_device().iter().flatten() {
        if device.leaf_weight().is_some() {
            return Err(gone("linux.resources.blockIO.weightDevice.leafWeight"));
        }
        if let Some(weight) = device.weight() {
            set(
                "blkio.bfq.weight_device",
                format!("{}:{} {weight}", device.major(), device.minor()),
            );
        }
    }
    for (file, devices) in [
        (
            "blkio.throttle.read_bps_device",
            io.throttle_read_bps_device(),
        ),
        (
            "blkio.throttle.write_bps_device",
            io.throttle_write_bps_device(),
        ),
        (
            "blkio.throttle.read_iops_device",
            io.throttle_read_iops_device(),
        ),
        (
            "blkio.throttle.write_iops_device",
            io.throttle_write_iops_device(),
        ),
    ] {
        for device in devices.iter().flatten() {
            set(file, throttle(device));
        }
    }
    Ok(settings)
}

fn throttle(device: &LinuxThrottleDevice) -> String {
    format!("{}:{} {}", device.major(), device.minor(), device.rate())
}

/// The kernel lost it with the CFQ scheduler, in Linux 5.0.
fn gone(field: &'static str) -> Error {
    Error::Refused {
        field,
        value: String::new(),
        reason: "the kernel no longer has it",
    }
}

fn hugetlb(resources: &LinuxResources) -> Result<Vec<Setting>> {
    Ok(resources
        .hugepage_limits()
        .iter()
        .flatten()
        .map(|limit| {
            let file = format!("hugetlb.{}.limit_in_bytes", limit.page_size());
            Setting::new("hugetlb", file, limit.limit())
        })
        .collect())
}

fn rdma(resources: &LinuxResources) -> Result<Vec<Setting>> {
    Ok(rdma_settings(resources))
}

/// The same file in both versions.
pub(super) fn rdma_settings(resources: &LinuxResources) -> Vec<Setting> {
    resources
        .rdma()
        .iter()
        .flatten()
        .map(|(device, limit)| {
            let mut value = device.clone();
            if let Some(handles) = limit.hca_handles() {
                value.push_str(&format!(" hca_handle={handles}"));
            }
            if let Some(objects) = limit.hca_objects() {
                value.push_str(&format!(" hca_object={objects}"));
            }
            Setting::new("rdma", "rdma.max", value)
        })
        .collect()
}

fn network(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let Some(network) = resources.network() else {
        return Ok(Vec::new());
    };
    if network.priorities().iter().flatten().count() > 0 {
        return Err(Error::Refused {
            field: "linux.resources.network.priorities",
            value: String::new(),
            reason: "this engine does not support it",
        });
    }
    Ok(network
        .class_id()
        .map(|id| Setting::new("net_cls", "net_cls.classid", id))
        .into_iter()
        .collect())
}

/// Gives a new cpuset what its parent has: a v1 cpuset starts empty, and no
/// process can enter an empty one.
pub(super) fn inherit_cpuset(directory: &Path) -> Result<()> {
    let Some(parent) = directory.parent() else {
        return Ok(());
    };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let here = directory.join(file);
        let read =
            |path: &Path| fs::read_to_string(path).map_err(Error::system("read", path.display()));
        if read(&here)?.trim().is_empty() {
            let value = read(&parent.join(file))?;
            super::write(directory, &Setting::new("cpuset", file, value.trim()))?;
        }
    }
    Ok(())
}
