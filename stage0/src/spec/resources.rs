//! The container's share of the host: memory, processors, block devices, and
//! the devices it may open.
//!
//! Source: appc specification, "Resource Isolators"; OCI runtime
//! specification, "config-linux.md", Control groups; systemd's
//! `DevicePolicy=closed` for the devices.

use manifests::appc::{Isolator, Quantity, Resource};
use manifests::isolation::{DEFAULT_DEVICES, DeviceRule};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxResources,
    LinuxThrottleDeviceBuilder,
};

use super::{PodFacts, SpecError};
use crate::resolved::ResolvedApp;

/// Length of an accounting period of the processor's scheduler, in
/// microseconds (kernel documentation, "CFS Bandwidth Control").
const PERIOD: u64 = 100_000;

/// The shortest run time within a period that the kernel takes.
const MIN_QUOTA: i64 = 1_000;

/// The weight of one core's request, and the least weight there is.
const SHARES_PER_CORE: i128 = 1024;
const MIN_SHARES: u64 = 2;

/// The container's resources. Of isolators that repeat the last one counts.
pub(super) fn resources(
    app: &ResolvedApp,
    pod: &PodFacts<'_>,
    warnings: &mut Vec<String>,
) -> Result<LinuxResources, SpecError> {
    let mut resources = LinuxResources::default();
    resources
        .set_memory(memory(&app.app.isolators))
        .set_cpu(cpu(&app.name, &app.app.isolators, warnings)?)
        .set_block_io(block_io(app, pod));
    if !pod.insecure.paths {
        resources.set_devices(Some(devices(app)));
    }
    Ok(resources)
}

/// The limits among isolators that can be changed while an app runs.
///
/// # Errors
/// [`SpecError::CpuLimit`].
pub(crate) fn changeable(
    app: &str,
    isolators: &[Isolator],
    warnings: &mut Vec<String>,
) -> Result<LinuxResources, SpecError> {
    let mut resources = LinuxResources::default();
    resources
        .set_devices(None)
        .set_memory(memory(isolators))
        .set_cpu(cpu(app, isolators, warnings)?);
    Ok(resources)
}

fn last<'a, T>(isolators: &'a [Isolator], pick: impl Fn(&'a Isolator) -> Option<T>) -> Option<T> {
    isolators.iter().rev().find_map(pick)
}

/// What was asked to be guaranteed, where that is less than the limit: a
/// request that equals the limit asks for nothing besides it.
fn request(resource: &Resource) -> Option<Quantity> {
    resource.request.filter(|r| Some(*r) != resource.limit)
}

fn memory(isolators: &[Isolator]) -> Option<LinuxMemory> {
    let resource = last(isolators, |i| match i {
        Isolator::Memory(resource) => Some(resource),
        _ => None,
    })?;
    let (limit, reservation) = (resource.limit, request(resource));
    if limit.is_none() && reservation.is_none() {
        return None;
    }
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(limit.map(Quantity::units))
        .set_reservation(reservation.map(Quantity::units));
    Some(memory)
}

fn cpu(
    app: &str,
    isolators: &[Isolator],
    warnings: &mut Vec<String>,
) -> Result<Option<LinuxCpu>, SpecError> {
    let resource = last(isolators, |i| match i {
        Isolator::Cpu(resource) => Some(resource),
        _ => None,
    });
    let shares = last(isolators, |i| match i {
        Isolator::CpuShares(shares) => Some(*shares),
        _ => None,
    });
    let by_request = resource.and_then(request).map(|request| {
        let shares = request.milli() * SHARES_PER_CORE / 1000;
        u64::try_from(shares)
            .unwrap_or(u64::MAX)
            .clamp(MIN_SHARES, 262_144)
    });
    let limit = resource.and_then(|r| r.limit);
    let shares = shares.or(by_request);
    if shares.is_none() && limit.is_none() {
        return Ok(None);
    }
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(shares);
    if let Some(limit) = limit {
        // A thousandth of a core is a hundred microseconds of the period.
        let quota = limit.milli().checked_mul(i128::from(PERIOD) / 1000);
        let quota =
            quota
                .and_then(|q| i64::try_from(q).ok())
                .ok_or_else(|| SpecError::CpuLimit {
                    app: app.to_owned(),
                    max: i64::MAX / (PERIOD as i64 / 1000),
                })?;
        if quota < MIN_QUOTA {
            warnings.push(format!(
                "app {:?}: the cpu limit {limit} is raised to 10m, the least that the kernel takes",
                app
            ));
        }
        cpu.set_period(Some(PERIOD))
            .set_quota(Some(quota.max(MIN_QUOTA)));
    }
    Ok(Some(cpu))
}

fn block_io(app: &ResolvedApp, pod: &PodFacts<'_>) -> Option<LinuxBlockIo> {
    let bandwidth = last(&app.app.isolators, |i| match i {
        Isolator::BlockBandwidth(throttle) => Some(throttle.limit),
        _ => None,
    });
    let operations = last(&app.app.isolators, |i| match i {
        Isolator::BlockIops(throttle) => Some(throttle.limit),
        _ => None,
    });
    let throttles = |limit: Option<Option<Quantity>>| {
        let rate = u64::try_from(limit.flatten()?.units()).ok()?;
        let device = |&(major, minor): &(u32, u32)| {
            LinuxThrottleDeviceBuilder::default()
                .major(major)
                .minor(minor)
                .rate(rate)
                .build()
                .expect("every field has a default")
        };
        let devices: Vec<_> = pod.host.block_devices.iter().map(device).collect();
        (!devices.is_empty()).then_some(devices)
    };
    let (bandwidth, operations) = (throttles(bandwidth), throttles(operations));
    if bandwidth.is_none() && operations.is_none() {
        return None;
    }
    let mut block_io = LinuxBlockIo::default();
    block_io
        .set_throttle_read_bps_device(bandwidth.clone())
        .set_throttle_write_bps_device(bandwidth)
        .set_throttle_read_iops_device(operations.clone())
        .set_throttle_write_iops_device(operations);
    Some(block_io)
}

/// Everything is denied but the pseudo devices and the user's own.
fn devices(app: &ResolvedApp) -> Vec<LinuxDeviceCgroup> {
    let mut deny = LinuxDeviceCgroup::default();
    deny.set_allow(false)
        .set_typ(Some(LinuxDeviceType::A))
        .set_access(Some("rwm".to_owned()));
    let mut rules = vec![deny];
    rules.extend(
        DEFAULT_DEVICES
            .iter()
            .map(|rule| allow(LinuxDeviceType::C, rule)),
    );
    for volume in &app.mounts {
        let Some(device) = volume.device else {
            continue;
        };
        let kind = match device.block {
            true => LinuxDeviceType::B,
            false => LinuxDeviceType::C,
        };
        let access = match volume.read_only {
            true => "r",
            false => "rw",
        };
        let rule = DeviceRule {
            major: i64::from(device.major),
            minor: Some(i64::from(device.minor)),
            access,
        };
        rules.push(allow(kind, &rule));
    }
    rules
}

fn allow(kind: LinuxDeviceType, rule: &DeviceRule) -> LinuxDeviceCgroup {
    let mut allowed = LinuxDeviceCgroup::default();
    allowed
        .set_allow(true)
        .set_typ(Some(kind))
        .set_major(Some(rule.major))
        .set_minor(rule.minor)
        .set_access(Some(rule.access.to_owned()));
    allowed
}
