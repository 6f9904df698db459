//! The mounts of a specification, as what the kernel's mount calls take.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use std::os::unix::ffi::OsStrExt;

use manifests::engine;
use oci_spec::runtime as oci;
use sys::mount_attributes::{MountAttributes, Propagation};

use super::c_string;
use super::host::Host;
use crate::error::{Error, Result};

/// A mount to make inside an app's root.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where, inside the root.
    pub target: PathBuf,
    /// What.
    pub kind: MountKind,
    /// Attributes of the mount itself.
    pub set: MountAttributes,
    /// Attributes that it must not have.
    pub clear: MountAttributes,
    /// The same for it and all mounts below it (`rro` and its like).
    pub set_below: MountAttributes,
    /// Attributes that none of them must have.
    pub clear_below: MountAttributes,
    /// Propagation, and whether for all below too.
    pub propagation: Option<(Propagation, bool)>,
}

impl Mount {
    pub(super) fn of_credentials(credentials: engine::Credentials, owner: (u32, u32)) -> Self {
        Self {
            target: credentials.target,
            kind: MountKind::Credentials {
                directory: credentials.directory,
                names: credentials.names,
                owner,
            },
            // Those of the source, which is made as it has to be.
            set: MountAttributes::empty(),
            clear: MountAttributes::empty(),
            set_below: MountAttributes::empty(),
            clear_below: MountAttributes::empty(),
            propagation: None,
        }
    }

    /// Whether it is the file in the pod directory that says what the pod's
    /// networks say of name resolution.
    pub fn is_resolv_conf_of_pod(&self) -> bool {
        matches!(&self.kind, MountKind::Bind { source, .. }
            if source.ends_with(engine::NETWORK_RESOLV_CONF))
    }
}

/// What is mounted.
#[derive(Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Its path.
        source: PathBuf,
        /// With the mounts below it.
        recursive: bool,
        /// Its owners, and with `Some(true)` those of the mounts below it, are
        /// what the pod's user namespace makes of the file system's.
        mapped: Option<bool>,
    },
    /// A new file system.
    New {
        /// Its type.
        fs_type: CString,
        /// Its parameters.
        parameters: Vec<Parameter>,
    },
    /// The tmpfs for POSIX shared memory that the pod's apps have in common.
    PodShm {
        /// Its parameters.
        parameters: Vec<Parameter>,
    },
    /// Copies of some of the files of a directory of the host, in memory that
    /// is not swapped, for this user and group alone.
    Credentials {
        /// The directory.
        directory: PathBuf,
        /// The files' names.
        names: Vec<String>,
        /// Whose the copies are.
        owner: (u32, u32),
    },
    /// The v1 hierarchies with these controllers, each in a directory of its
    /// own, as the app's cgroup namespace shows them.
    LegacyCgroups(Vec<String>),
}

impl MountKind {
    /// Whether it shows cgroups, which depends on where the mounting process
    /// is in them.
    pub fn is_cgroup(&self) -> bool {
        match self {
            Self::LegacyCgroups(_) => true,
            Self::New { fs_type, .. } => fs_type.as_bytes() == b"cgroup2",
            Self::Bind { .. } | Self::PodShm { .. } | Self::Credentials { .. } => false,
        }
    }
}

/// A parameter of a file system, for `fsconfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub key: CString,
    /// Its value; a flag has none.
    pub value: Option<CString>,
}

impl Parameter {
    /// A parameter with a value.
    pub(super) fn new(key: &str, value: impl Into<Vec<u8>>) -> Result<Self> {
        Ok(Self {
            key: c_string("mounts.options", key)?,
            value: Some(c_string("mounts.options", value)?),
        })
    }

    /// A parameter without.
    pub(super) fn flag(key: &str) -> Result<Self> {
        Ok(Self {
            key: c_string("mounts.options", key)?,
            value: None,
        })
    }
}

/// An option word that is about the mount and not about the file system.
enum Word {
    Set(MountAttributes),
    Clear(MountAttributes),
    SetBelow(MountAttributes),
    ClearBelow(MountAttributes),
    Spread(Propagation, bool),
    Bind(bool),
    Map(bool),
    /// Says what is so anyway.
    Nothing,
    /// Known, and not to be had.
    Refuse(&'static str),
}

fn word(option: &str) -> Option<Word> {
    use MountAttributes as A;
    use Word::*;
    if let Some((kind, recursive)) = propagation(option) {
        return Some(Spread(kind, recursive));
    }
    Some(match option {
        "ro" => Set(A::READ_ONLY),
        "rw" => Clear(A::READ_ONLY),
        "nosuid" => Set(A::NO_SUID),
        "suid" => Clear(A::NO_SUID),
        "nodev" => Set(A::NO_DEV),
        "dev" => Clear(A::NO_DEV),
        "noexec" => Set(A::NO_EXEC),
        "exec" => Clear(A::NO_EXEC),
        "noatime" => Set(A::NO_ATIME),
        "strictatime" => Set(A::STRICT_ATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => Clear(A::NO_ATIME),
        "nodiratime" => Set(A::NO_DIR_ATIME),
        "diratime" => Clear(A::NO_DIR_ATIME),
        "nosymfollow" => Set(A::NO_SYMFOLLOW),
        "symfollow" => Clear(A::NO_SYMFOLLOW),
        "rro" => SetBelow(A::READ_ONLY),
        "rrw" => ClearBelow(A::READ_ONLY),
        "rnosuid" => SetBelow(A::NO_SUID),
        "rsuid" => ClearBelow(A::NO_SUID),
        "rnodev" => SetBelow(A::NO_DEV),
        "rdev" => ClearBelow(A::NO_DEV),
        "rnoexec" => SetBelow(A::NO_EXEC),
        "rexec" => ClearBelow(A::NO_EXEC),
        "rnoatime" => SetBelow(A::NO_ATIME),
        "rstrictatime" => SetBelow(A::STRICT_ATIME),
        "rrelatime" | "ratime" | "rnorelatime" | "rnostrictatime" => ClearBelow(A::NO_ATIME),
        "rnodiratime" => SetBelow(A::NO_DIR_ATIME),
        "rdiratime" => ClearBelow(A::NO_DIR_ATIME),
        "rnosymfollow" => SetBelow(A::NO_SYMFOLLOW),
        "rsymfollow" => ClearBelow(A::NO_SYMFOLLOW),
        "bind" => Bind(false),
        "rbind" => Bind(true),
        "defaults" | "async" | "nomand" | "loud" | "silent" | "noiversion" => Nothing,
        "remount" => Refuse("a new mount cannot be a remount"),
        "idmap" => Map(false),
        "ridmap" => Map(true),
        "tmpcopyup" => Refuse("this engine does not support the option"),
        _ => return None,
    })
}

/// The kind of propagation that a word names, and whether recursively.
pub(super) fn propagation(word: &str) -> Option<(Propagation, bool)> {
    Some(match word {
        "private" => (Propagation::Private, false),
        "rprivate" => (Propagation::Private, true),
        "slave" => (Propagation::Slave, false),
        "rslave" => (Propagation::Slave, true),
        "shared" => (Propagation::Shared, false),
        "rshared" => (Propagation::Shared, true),
        "unbindable" => (Propagation::Unbindable, false),
        "runbindable" => (Propagation::Unbindable, true),
        _ => return None,
    })
}

impl Mount {
    pub(super) fn new(mount: &oci::Mount, label: Option<&str>, host: &dyn Host) -> Result<Self> {
        let target = mount.destination().clone();
        let refuse = |value: &str, reason| Error::Refused {
            field: "mounts",
            value: format!("{}: {value}", target.display()),
            reason,
        };
        if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
            return Err(refuse("uidMappings", "this engine does not support it"));
        }
        let fs_type = mount.typ().as_deref().unwrap_or("none");
        let mut planned = Self {
            target: target.clone(),
            kind: MountKind::LegacyCgroups(Vec::new()),
            set: MountAttributes::empty(),
            clear: MountAttributes::empty(),
            set_below: MountAttributes::empty(),
            clear_below: MountAttributes::empty(),
            propagation: None,
        };
        let mut bind = (fs_type == "bind").then_some(false);
        let mut mapped = None;
        let mut parameters = Vec::new();
        for option in mount.options().iter().flatten() {
            match word(option) {
                Some(Word::Set(bits)) => {
                    planned.set |= bits;
                    planned.clear -= bits;
                }
                Some(Word::Clear(bits)) => {
                    planned.clear |= bits;
                    planned.set -= bits;
                }
                Some(Word::SetBelow(bits)) => planned.set_below |= bits,
                Some(Word::ClearBelow(bits)) => planned.clear_below |= bits,
                Some(Word::Spread(kind, recursive)) => {
                    planned.propagation = Some((kind, recursive));
                }
                Some(Word::Bind(recursive)) => bind = Some(recursive),
                Some(Word::Map(recursive)) => mapped = Some(recursive),
                Some(Word::Nothing) => {}
                Some(Word::Refuse(reason)) => return Err(refuse(option, reason)),
                None => parameters.push(match option.split_once('=') {
                    Some((key, value)) => Parameter::new(key, value)?,
                    None => Parameter::flag(option)?,
                }),
            }
        }
        let source = mount.source().as_deref();
        planned.kind = match (bind, fs_type) {
            (Some(recursive), _) => {
                if let Some(parameter) = parameters.first() {
                    let name = parameter.key.to_string_lossy();
                    return Err(refuse(&name, "not an option of a bind mount"));
                }
                MountKind::Bind {
                    source: source
                        .filter(|source| source.is_absolute())
                        .ok_or_else(|| refuse("source", "a bind mount needs an absolute path"))?
                        .to_owned(),
                    recursive,
                    mapped,
                }
            }
            (None, _) if mapped.is_some() => {
                return Err(refuse("idmap", "only a bind mount can have it"));
            }
            (None, "none") => return Err(refuse("type", "neither a type nor bind is given")),
            (None, "cgroup" | "cgroup2") => match host.legacy_hierarchies()? {
                Some(legacy) => MountKind::LegacyCgroups(legacy),
                None => new_file_system("cgroup2", source, parameters, None)?,
            },
            (None, fs_type) => new_file_system(fs_type, source, parameters, label)?,
        };
        Ok(planned)
    }
}

fn new_file_system(
    fs_type: &str,
    source: Option<&Path>,
    mut parameters: Vec<Parameter>,
    label: Option<&str>,
) -> Result<MountKind> {
    let source = source.map_or(fs_type.as_bytes(), |source| source.as_os_str().as_bytes());
    parameters.insert(0, Parameter::new("source", source)?);
    // The kernel's own file systems have labels of their own.
    if let Some(label) = label.filter(|l| !l.is_empty() && matches!(fs_type, "tmpfs" | "mqueue")) {
        parameters.push(Parameter::new("context", label)?);
    }
    Ok(MountKind::New {
        fs_type: c_string("mounts.type", fs_type)?,
        parameters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> Result<Mount> {
        Mount::new(
            &serde_json::from_str(json).unwrap(),
            None,
            &super::super::ThisHost,
        )
    }

    #[test]
    fn options_are_told_apart_from_parameters() {
        let mount = plan(
            r#"{"destination":"/dev","type":"tmpfs","source":"tmpfs",
                "options":["nosuid","strictatime","mode=755","size=65536k","noswap"]}"#,
        )
        .unwrap();
        assert_eq!(
            mount.set,
            MountAttributes::NO_SUID | MountAttributes::STRICT_ATIME
        );
        let MountKind::New {
            fs_type,
            parameters,
        } = mount.kind
        else {
            panic!("a new file system")
        };
        assert_eq!(fs_type.as_c_str(), c"tmpfs");
        let text: Vec<_> = parameters
            .iter()
            .map(|p| {
                (
                    p.key.to_str().unwrap(),
                    p.value.as_ref().map(|v| v.to_str().unwrap()),
                )
            })
            .collect();
        assert_eq!(
            text,
            [
                ("source", Some("tmpfs")),
                ("mode", Some("755")),
                ("size", Some("65536k")),
                ("noswap", None)
            ]
        );
    }

    #[test]
    fn the_last_word_counts() {
        let mount = plan(
            r#"{"destination":"/x","type":"bind","source":"/y",
                "options":["ro","rw","rbind","rro","rslave"]}"#,
        )
        .unwrap();
        assert_eq!(mount.set, MountAttributes::empty());
        assert_eq!(mount.clear, MountAttributes::READ_ONLY);
        assert_eq!(mount.set_below, MountAttributes::READ_ONLY);
        assert_eq!(mount.propagation, Some((Propagation::Slave, true)));
        assert_eq!(
            mount.kind,
            MountKind::Bind {
                source: "/y".into(),
                recursive: true,
                mapped: None
            }
        );
    }

    #[test]
    fn what_cannot_be_followed_is_refused_by_name() {
        for (json, word) in [
            (r#"{"destination":"/x","source":"/y"}"#, "neither a type"),
            (
                r#"{"destination":"/x","type":"bind","source":"y"}"#,
                "absolute",
            ),
            (
                r#"{"destination":"/x","type":"bind","source":"/y","options":["size=1"]}"#,
                "size",
            ),
            (
                r#"{"destination":"/x","type":"tmpfs","options":["tmpcopyup"]}"#,
                "tmpcopyup",
            ),
            (
                r#"{"destination":"/x","type":"tmpfs","options":["idmap"]}"#,
                "idmap",
            ),
        ] {
            let line = plan(json).unwrap_err().line();
            assert!(line.contains("/x") && line.contains(word), "{line}");
        }
    }
}
