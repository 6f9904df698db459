//! Paths of the kernel's file systems that apps must not write or see, and
//! the devices they may use.
//!
//! rkt's lists and what runc and crun hide today. `/sys` as a whole is mounted
//! read-only, so nothing below it is listed again.

/// Read-only, if they exist.
pub const READ_ONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Hidden, if they exist.
pub const HIDDEN_PATHS: [&str; 20] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmem",
    "/proc/latency_stats",
    "/proc/mem",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    // Reading the energy counters tells what other processes compute
    // (CVE-2020-8694).
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs",
    "/sys/hypervisor",
    "/sys/module",
    "/sys/power",
];

/// A character device that apps may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Major number.
    pub major: i64,
    /// Minor number; none means all.
    pub minor: Option<i64>,
    /// Any of `r`, `w` and `m` (mknod).
    pub access: &'static str,
}

const fn device(major: i64, minor: i64) -> DeviceRule {
    DeviceRule {
        major,
        minor: Some(minor),
        access: "rwm",
    }
}

/// The pseudo devices of every app: null, zero, full, random, urandom, tty,
/// ptmx, and the slaves of the pod's own devpts. Numbers from the kernel's
/// `Documentation/admin-guide/devices.txt`.
pub const DEFAULT_DEVICES: [DeviceRule; 8] = [
    device(1, 3),
    device(1, 5),
    device(1, 7),
    device(1, 8),
    device(1, 9),
    device(5, 0),
    device(5, 2),
    DeviceRule {
        major: 136,
        minor: None,
        access: "rw",
    },
];
