//! The probe: a static program inside an app that says what the kernel lets it
//! see and do. Its questions are told in `tests/probe/probe.c`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Aci, Output, Rootfs};

/// The program, compiled by the build script.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe"));

/// What the probe said: a question, the answer.
pub type Answers = BTreeMap<String, Value>;

/// A small system around the probe: users root, daemon (1) and app (1000), who
/// is in the group extra (2000) too, and a file `/owned` of 1234 and 5678.
pub fn rootfs() -> Rootfs {
    let mut rootfs = Rootfs::new();
    for dir in ["dev", "etc", "proc", "sys", "var"] {
        rootfs = rootfs.dir(dir, 0o755);
    }
    rootfs
        .dir("tmp", 0o1777)
        .file("probe", 0o755, PROGRAM)
        .file(
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/:/probe\ndaemon:x:1:1:daemon:/:/probe\napp:x:1000:1000:app:/:/probe\n",
        )
        .file(
            "etc/group",
            0o644,
            "root:x:0:\ndaemon:x:1:\napp:x:1000:\nextra:x:2000:app\n",
        )
        .file("owned", 0o644, "")
        .owned("owned", 1234, 5678)
}

/// An image of it.
pub fn image(name: &str) -> Aci {
    Aci::new(name, &["/probe"], rootfs())
}

/// The answers that a pod printed.
///
/// # Panics
/// When it failed, or printed anything else.
#[track_caller]
pub fn answers(out: Output) -> Answers {
    let out = out.ok();
    serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("not the probe's: {e}: {out}"))
}
