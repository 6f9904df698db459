//! Nothing that isolates is without a row.

use std::collections::BTreeSet;
use std::path::Path;

use tests::{Cmd, host};

use crate::GROUPS;
use crate::table::Row;

/// Flags of `rkt run` that say nothing about what an app may do, and where
/// they are tested instead.
const NO_ISOLATION: &[(&str, &str)] = &[
    ("annotation", "flags.rs"),
    ("credentials", "guest_services.rs"),
    ("debug", "run.rs"),
    ("detach", "detached.rs"),
    ("dir", "every test"),
    ("help", "run.rs"),
    (
        "insecure-options",
        "switches rows off, which are here by its words",
    ),
    ("interactive", "interactive.rs"),
    ("local-config", "every test"),
    ("log-size", "detached.rs"),
    ("mds-register", "metadata.rs"),
    ("name", "pods.rs"),
    ("notify-access", "guest_services.rs"),
    (
        "pod-manifest",
        "pods.rs, and the way of rows by pod manifest",
    ),
    ("port", "networks.rs"),
    ("publish", "networks.rs"),
    ("pull-policy", "fetching.rs"),
    ("ready", "restart.rs"),
    ("replace-arguments", "guest_units.rs"),
    ("restart", "restart.rs"),
    ("signature", "signatures.rs"),
    ("sockets", "networks.rs"),
    ("stage1-path", "attacks/engine.rs"),
    ("stderr", "attach.rs"),
    ("stdin", "attach.rs"),
    ("stdout", "attach.rs"),
    ("stop-signal", "mutable.rs"),
    ("stop-timeout", "mutable.rs"),
    ("system-config", "every test"),
    ("trust-keys-from-https", "discovery.rs"),
    ("user-annotation", "flags.rs"),
    ("user-config", "flags.rs"),
    ("user-label", "flags.rs"),
    ("uuid-file-save", "every test"),
    ("verity", "guest_verity.rs"),
];

/// Isolators that this host's kernel cannot follow, and where they are tested.
const NOT_HERE: [(&str, &str); 3] = [
    ("os/linux/apparmor-profile", "guest_rkt.rs"),
    ("os/linux/selinux-context", "stage0/src/spec/tests.rs"),
    ("resource/network-bandwidth", "stage0/src/spec/tests.rs"),
];

fn rows() -> Vec<Row> {
    GROUPS.iter().flat_map(|(_, rows)| rows()).collect()
}

#[test]
fn every_flag_of_run_has_a_row() {
    let help = Cmd::new(host::binary("rkt"))
        .args(["run", "--help"])
        .run()
        .ok();
    let flags: BTreeSet<String> = help
        .stdout
        .lines()
        .filter_map(|line| {
            let line = line.trim_start().trim_start_matches("-h, ");
            let name = line.strip_prefix("--")?;
            let end = name.find(|c: char| c != '-' && !c.is_ascii_alphanumeric());
            Some(name[..end.unwrap_or(name.len())].to_owned())
        })
        .filter(|name| !name.is_empty())
        .collect();
    assert!(flags.len() > 40, "is this the help? {help}");
    let rows = rows();
    let typed = rows
        .iter()
        .flat_map(|row| [&row.flags, &row.always, &row.around]);
    let typed: BTreeSet<&str> = typed
        .flatten()
        .filter_map(|flag| flag.strip_prefix("--")?.split('=').next())
        .collect();
    let elsewhere: BTreeSet<&str> = NO_ISOLATION.iter().map(|(flag, _)| *flag).collect();
    let missing: Vec<_> = flags
        .iter()
        .filter(|flag| !typed.contains(flag.as_str()) && !elsewhere.contains(flag.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "no row tests {missing:?}: add one here, or name their test in NO_ISOLATION"
    );
    let gone: Vec<_> = elsewhere
        .iter()
        .filter(|flag| !flags.contains(**flag))
        .collect();
    assert!(gone.is_empty(), "rkt run has none of {gone:?} any more");
}

/// The words of `--insecure-options` about apps.
#[test]
fn every_check_that_can_be_left_out_has_a_row() {
    let rows = rows();
    for word in ["capabilities", "paths", "seccomp"] {
        let flag = format!("--insecure-options={word}");
        assert!(rows.iter().any(|row| row.around.contains(&flag)), "{flag}");
    }
}

#[test]
fn every_isolator_has_a_row() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/src/appc/isolator.rs");
    // In a guest there are the programs and not the repository.
    let Ok(source) = std::fs::read_to_string(source) else {
        return;
    };
    let known: BTreeSet<&str> = source
        .split('"')
        .filter(|word| word.starts_with("resource/") || word.starts_with("os/"))
        .collect();
    assert!(known.len() >= 15, "{known:?}");
    let rows = rows();
    let tested: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| {
            row.pod.iter().chain(
                row.image
                    .get("isolators")
                    .into_iter()
                    .flat_map(|l| l.as_array().unwrap()),
            )
        })
        .map(|isolator| isolator["name"].as_str().unwrap())
        .chain(NOT_HERE.iter().map(|(name, _)| *name))
        .collect();
    let missing: Vec<_> = known.difference(&tested).collect();
    assert!(missing.is_empty(), "no row tests {missing:?}");
}
