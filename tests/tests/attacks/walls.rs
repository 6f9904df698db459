//! With all walls, and without one.

use std::fs;
use std::path::{Path, PathBuf};

use tests::probe::{self, Answers};
use tests::{Aci, Cmd, Host, host};

/// The variable that the other engine listens to.
const VARIABLE: &str = "RKT_WITHOUT_PROTECTIONS";

/// The attack must fail on the built programs, and succeed on an engine
/// without these walls.
#[track_caller]
pub(crate) fn held_by(walls: &[&str], succeeds: impl Fn(&Host) -> bool) {
    assert!(!succeeds(&Host::new()), "the attack succeeds");
    let Some(host) = without(walls) else { return };
    assert!(
        succeeds(&host),
        "the attack fails without {walls:?} too, so it shows nothing"
    );
}

/// The attack must fail even without this wall, for there is another one.
#[track_caller]
pub(crate) fn held_also_without(wall: &str, succeeds: impl Fn(&Host) -> bool) {
    let Some(host) = without(&[wall]) else { return };
    assert!(!succeeds(&host), "only {wall} was in the way");
}

/// The attack must fail, and succeed when the user adds these flags of the
/// pod.
#[track_caller]
pub(crate) fn held_until(flags: &[&str], succeeds: impl Fn(&Host, &[&str]) -> bool) {
    let host = Host::new();
    assert!(!succeeds(&host, &[]), "the attack succeeds");
    assert!(
        succeeds(&host, flags),
        "the attack fails with {flags:?} too, so it shows nothing"
    );
}

/// A host whose engine leaves these walls out; `None`, told as a skipped test,
/// when there is no such engine.
pub(crate) fn without(walls: &[&str]) -> Option<Host> {
    let Some(programs) = unprotected() else {
        tests::skip::skipped("no engine without walls: type tests/unprotected");
        return None;
    };
    let host = Host::new().with_programs(programs);
    Some(host.with_variable(VARIABLE, &walls.join(",")))
}

/// The directory of that engine, with the built rkt beside it.
fn unprotected() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/unprotected/debug");
    let directory = directory.canonicalize().ok()?;
    if !directory.join("rkt-stage1").exists() {
        return None;
    }
    // Other tests do the same at the same time.
    let (built, ours) = (host::binary("rkt"), directory.join("rkt"));
    let new = directory.join(format!("rkt.{}", std::process::id()));
    if fs::hard_link(&built, &new).is_err() {
        fs::copy(&built, &new).unwrap();
    }
    fs::rename(&new, &ours).unwrap();
    // Renaming a link to the same file does nothing.
    let _ = fs::remove_file(&new);
    Some(directory)
}

/// What is for tests only is in no program that is installed.
#[test]
fn no_wall_can_be_taken_out_of_what_is_built() {
    let has = |path: PathBuf| {
        let program = fs::read(path).unwrap();
        let mut windows = program.windows(VARIABLE.len());
        windows.any(|window| window == VARIABLE.as_bytes())
    };
    for name in ["rkt", "rkt-stage1"] {
        assert!(!has(host::binary(name)), "{name} listens to {VARIABLE}");
    }
    if let Some(directory) = unprotected() {
        assert!(has(directory.join("rkt-stage1")), "would it be found?");
    }
}

/// `rkt run` of the probe: flags of the pod, flags of the app, questions.
pub(crate) fn run(host: &Host, pod: &[&str], app: &[&str], questions: &[&str]) -> Cmd {
    run_image(host, probe::image("example.com/probe"), pod, app, questions)
}

/// The same with another image.
pub(crate) fn run_image(
    host: &Host,
    image: Aci,
    pod: &[&str],
    app: &[&str],
    questions: &[&str],
) -> Cmd {
    let name = image.manifest["name"].as_str().unwrap().to_owned();
    let stored = host.rkt(["image", "list", "--no-legend", "--fields=name"]);
    if !stored.run().ok().stdout.contains(&name) {
        host.fetch_aci(&image);
    }
    let (global, pod): (Vec<&str>, Vec<&str>) = pod
        .iter()
        .partition(|flag| flag.starts_with("--insecure-options"));
    let mut words = global;
    words.push("run");
    if !pod.iter().any(|flag| flag.starts_with("--net")) {
        words.push("--net=none");
    }
    words.extend(pod);
    words.extend([name.as_str(), "--name=probe"]);
    words.extend(app);
    words.push("--");
    words.extend(questions);
    host.rkt(words)
}

/// The answers, if the pod ran at all.
pub(crate) fn answers(cmd: Cmd) -> Option<Answers> {
    let out = cmd.run();
    (out.code() == Some(0)).then(|| probe::answers(out))
}

/// Whether the pod ran, and this was the answer to its one question.
pub(crate) fn says(cmd: Cmd, answer: &str) -> bool {
    let answers = answers(cmd).unwrap_or_default();
    answers.len() == 1 && answers.values().all(|got| got == answer)
}
