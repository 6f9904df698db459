//! Capabilities: the sets by default and by isolator.

use oci_spec::runtime::Capability;

use super::IsolationError;
use crate::appc::Isolator;

/// What the appc specification gives every app that says nothing.
pub const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Every capability up to Linux 6.18 (capabilities(7)).
pub const ALL_CAPABILITIES: [Capability; 41] = [
    Capability::AuditControl,
    Capability::AuditRead,
    Capability::AuditWrite,
    Capability::BlockSuspend,
    Capability::Bpf,
    Capability::CheckpointRestore,
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::Kill,
    Capability::Lease,
    Capability::LinuxImmutable,
    Capability::MacAdmin,
    Capability::MacOverride,
    Capability::Mknod,
    Capability::NetAdmin,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetRaw,
    Capability::Perfmon,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::Syslog,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysChroot,
    Capability::SysModule,
    Capability::SysNice,
    Capability::SysPacct,
    Capability::SysPtrace,
    Capability::SysRawio,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::WakeAlarm,
];

const RETAIN: &str = "os/linux/capabilities-retain-set";
const REMOVE: &str = "os/linux/capabilities-remove-set";

/// The capabilities that an app with these isolators can ever have, sorted by
/// name. Several isolators of one kind count as one.
///
/// # Errors
/// Unknown names; a set to retain beside a set to remove.
pub fn bounding_set(isolators: &[Isolator]) -> Result<Vec<Capability>, IsolationError> {
    let mut retain: Option<Vec<Capability>> = None;
    let mut remove: Option<Vec<Capability>> = None;
    for isolator in isolators {
        let (set, into) = match isolator {
            Isolator::CapabilitiesRetain(set) => (set, &mut retain),
            Isolator::CapabilitiesRemove(set) => (set, &mut remove),
            _ => continue,
        };
        let known = set.set.iter().map(|name| parse(name));
        let known = known.collect::<Result<Vec<_>, _>>()?;
        into.get_or_insert_default().extend(known);
    }
    let mut set = match (retain, remove) {
        (Some(_), Some(_)) => return Err(IsolationError::Conflict(RETAIN, REMOVE)),
        (Some(retain), None) => retain,
        (None, None) => DEFAULT_CAPABILITIES.to_vec(),
        (None, Some(remove)) => {
            let kept = DEFAULT_CAPABILITIES.iter().filter(|c| !remove.contains(c));
            kept.copied().collect()
        }
    };
    set.sort_by_cached_key(Capability::to_string);
    set.dedup();
    Ok(set)
}

fn parse(name: &str) -> Result<Capability, IsolationError> {
    let unknown = || IsolationError::UnknownCapability(name.to_owned());
    let short = name.strip_prefix("CAP_").ok_or_else(unknown)?;
    short.parse().map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appc::CapabilitySet;

    fn set(names: &[&str]) -> CapabilitySet {
        CapabilitySet {
            set: names.iter().map(|&n| n.to_owned()).collect(),
        }
    }

    #[test]
    fn the_lists_are_sorted_and_every_name_is_understood() {
        for list in [&DEFAULT_CAPABILITIES[..], &ALL_CAPABILITIES[..]] {
            let names: Vec<String> = list.iter().map(Capability::to_string).collect();
            assert!(names.is_sorted(), "{names:?}");
            for (capability, name) in list.iter().zip(&names) {
                assert_eq!(parse(&format!("CAP_{name}")), Ok(*capability));
            }
        }
    }

    #[test]
    fn sets_are_retained_removed_and_merged() {
        let retain = Isolator::CapabilitiesRetain(set(&["CAP_SYS_ADMIN"]));
        let more = Isolator::CapabilitiesRetain(set(&["CAP_KILL", "CAP_SYS_ADMIN"]));
        assert_eq!(
            bounding_set(&[retain.clone(), more]),
            Ok(vec![Capability::Kill, Capability::SysAdmin])
        );
        let remove = Isolator::CapabilitiesRemove(set(&["CAP_MKNOD", "CAP_SYS_ADMIN"]));
        let left = bounding_set(std::slice::from_ref(&remove)).unwrap();
        assert_eq!(left.len(), 13);
        assert!(!left.contains(&Capability::Mknod));
        assert_eq!(bounding_set(&[]).unwrap(), DEFAULT_CAPABILITIES);
        assert!(matches!(
            bounding_set(&[retain, remove]),
            Err(IsolationError::Conflict(..))
        ));
    }

    #[test]
    fn a_capability_that_does_not_exist_is_named() {
        for bad in ["CAP_PONIES", "KILL", "cap_kill", ""] {
            let isolator = Isolator::CapabilitiesRetain(set(&[bad]));
            assert_eq!(
                bounding_set(&[isolator]),
                Err(IsolationError::UnknownCapability(bad.to_owned()))
            );
        }
    }
}
