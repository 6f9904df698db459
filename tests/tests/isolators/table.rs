//! A row of the table, and what is done with it.
//!
//! ```text
//!   row ─┬─ flags ─────────▶ rkt run ──▶ the probe's answers ── as the row says?
//!        ├─ image manifest ▶ rkt run ──▶ the probe's answers ── as the row says?
//!        └─ pod manifest ──▶ rkt run ──▶ the probe's answers ── as the row says?
//!                                   └──▶ engine.json ── as the snapshot has it?
//! ```
//!
//! Each row is run in each of its ways, and all of them must come to the same
//! readings and to the same orders for the engine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};
use tests::probe::{self, Answers};
use tests::{Aci, Cmd, Host, leaks};

use crate::specs;

/// One isolator or flag, and what the kernel says of an app that has it.
pub(crate) struct Row {
    /// Its name, unique in its group.
    pub(crate) name: &'static str,
    /// App flags of the way by flags.
    pub(crate) flags: Vec<String>,
    /// App flags of every way.
    pub(crate) always: Vec<String>,
    /// Pod flags of every way.
    pub(crate) around: Vec<String>,
    /// Fields of the image manifest's app section.
    pub(crate) image: Map<String, Value>,
    /// Isolators of the pod manifest.
    pub(crate) pod: Vec<Value>,
    /// What is added to the image's files.
    files: Option<fn(Aci) -> Aci>,
    /// Questions, and what the answers must be.
    sees: Vec<(String, Expected)>,
    /// Files of the app's cgroup: on v1, on v2.
    cgroup: Vec<(File, File)>,
    /// Words of the error that it must come to instead.
    refused: Vec<&'static str>,
    /// What else there is for the way by flags to need.
    before: Option<fn(&Path)>,
}

type File = (&'static str, &'static str);

enum Expected {
    Is(Value),
    Has(&'static str),
    HasNot(&'static str),
}

/// An empty row.
pub(crate) fn row(name: &'static str) -> Row {
    Row {
        name,
        flags: Vec::new(),
        always: Vec::new(),
        around: Vec::new(),
        image: Map::new(),
        pod: Vec::new(),
        files: None,
        sees: Vec::new(),
        cgroup: Vec::new(),
        refused: Vec::new(),
        before: None,
    }
}

impl Row {
    /// A flag of the app. `HOST` in it is the test's directory.
    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// A flag of the app that stands in every way.
    pub(crate) fn with(mut self, flag: &str) -> Self {
        self.always.push(flag.to_owned());
        self
    }

    /// A flag of the pod that stands in every way.
    pub(crate) fn with_pod(mut self, flag: &str) -> Self {
        self.around.push(flag.to_owned());
        self
    }

    /// A field of the image manifest's app section.
    pub(crate) fn image(mut self, key: &str, value: Value) -> Self {
        self.image.insert(key.to_owned(), value);
        self
    }

    /// An isolator of the image.
    pub(crate) fn isolator(mut self, name: &str, value: Value) -> Self {
        let list = self.image.entry("isolators").or_insert_with(|| json!([]));
        let list = list.as_array_mut().unwrap();
        list.push(json!({"name": name, "value": value}));
        self
    }

    /// An isolator of the pod.
    pub(crate) fn pod_isolator(mut self, name: &str, value: Value) -> Self {
        self.pod.push(json!({"name": name, "value": value}));
        self
    }

    /// More files in the image.
    pub(crate) fn files(mut self, add: fn(Aci) -> Aci) -> Self {
        self.files = Some(add);
        self
    }

    /// Makes something in the test's directory first.
    pub(crate) fn before(mut self, make: fn(&Path)) -> Self {
        self.before = Some(make);
        self
    }

    /// The answer to a question.
    pub(crate) fn sees(mut self, question: &str, answer: impl Into<Value>) -> Self {
        let answer = Expected::Is(answer.into());
        self.sees.push((question.to_owned(), answer));
        self
    }

    /// A part of the answer to a question.
    pub(crate) fn sees_in(mut self, question: &str, part: &'static str) -> Self {
        self.sees.push((question.to_owned(), Expected::Has(part)));
        self
    }

    /// More where the host's kernel has this file.
    pub(crate) fn where_there(self, file: &str, more: impl FnOnce(Self) -> Self) -> Self {
        match Path::new(file).exists() {
            true => more(self),
            false => self,
        }
    }

    /// What is no part of it.
    pub(crate) fn sees_not(mut self, question: &str, part: &'static str) -> Self {
        let part = Expected::HasNot(part);
        self.sees.push((question.to_owned(), part));
        self
    }

    /// A file of the app's cgroup and words that stand in it, on v1 and on v2.
    pub(crate) fn cgroup(mut self, v1: File, v2: File) -> Self {
        self.cgroup.push((v1, v2));
        self
    }

    /// It is not run at all, and these words say why.
    pub(crate) fn refused(mut self, words: &[&'static str]) -> Self {
        self.refused = words.to_vec();
        self
    }

    /// The ways that this row can be asked for in.
    fn ways(&self) -> Vec<Way> {
        let mut ways = Vec::new();
        if !self.flags.is_empty() {
            ways.push(Way::Flags);
        }
        if !self.image.is_empty() {
            ways.push(Way::Image);
        }
        if !self.pod.is_empty() {
            ways.push(Way::Pod);
        }
        if ways.is_empty() {
            ways.push(Way::Flags);
        }
        // That all come to the same orders was seen where the orders are.
        if !specs::are_here() {
            ways.truncate(1);
        }
        ways
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Flags,
    Image,
    Pod,
}

/// Runs all rows of a group, and panics with everything that was not as it
/// should be.
pub(crate) fn check(group: &str, rows: Vec<Row>) {
    let host = Host::new();
    let mut wrong = Vec::new();
    let mut made = BTreeMap::new();
    let mut images = Images::new();
    let plain = run(&host, &mut images, &row("plain"), Way::Flags)
        .unwrap_or_else(|e| panic!("a plain pod does not run: {e}"))
        .engine;
    for row in rows {
        assert!(!made.contains_key(row.name), "{} is there twice", row.name);
        let mut before = None;
        for way in row.ways() {
            let mut fail = |what: String| wrong.push(format!("{}, by {way:?}: {what}", row.name));
            match run(&host, &mut images, &row, way) {
                Err(_) if !row.refused.is_empty() => {}
                Err(said) => fail(said),
                Ok(_) if !row.refused.is_empty() => fail("it was run".to_owned()),
                Ok(ran) => {
                    compare(&row, &ran.answers, &mut fail);
                    let changes = specs::difference(&plain, &ran.engine);
                    if let Some(before) = before.as_ref().filter(|b| **b != changes) {
                        let other = specs::difference(before, &changes);
                        fail(format!("the engine gets other orders: {other}"));
                    }
                    before = Some(changes);
                }
            }
        }
        made.insert(row.name, before.unwrap_or_default());
    }
    for (name, orders) in [("plain", plain), (group, json!(made))] {
        wrong.extend(specs::compare(name, &orders).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn compare(row: &Row, answers: &Answers, fail: &mut impl FnMut(String)) {
    for (question, expected) in &row.sees {
        let got = &answers[question];
        let text = got.to_string();
        match expected {
            Expected::Is(value) if got == value => {}
            Expected::Has(part) if text.contains(part) => {}
            Expected::HasNot(part) if !text.contains(part) => {}
            Expected::Is(value) => fail(format!("{question}: {got}, not {value}")),
            Expected::Has(part) => fail(format!("{question}: no {part:?} in {got}")),
            Expected::HasNot(part) => fail(format!("{question}: {part:?} in {got}")),
        }
    }
}

struct Ran {
    answers: Answers,
    engine: Value,
}

/// The images that a host has, by name.
type Images = BTreeMap<String, String>;

fn run(host: &Host, images: &mut Images, row: &Row, way: Way) -> Result<Ran, String> {
    if let Some(make) = row.before {
        make(host.path());
    }
    let name = match row.files.is_none() && way != Way::Image {
        true => "example.com/probe".to_owned(),
        false => format!(
            "example.com/{}-{}",
            row.name,
            format!("{way:?}").to_lowercase()
        ),
    };
    let mut aci = probe::image(&name);
    if way == Way::Image {
        for (key, value) in &row.image {
            aci = aci.app(key, placed(host, value));
        }
    }
    if let Some(add) = row.files {
        aci = add(aci);
    }
    let id = images.entry(name.clone()).or_insert_with(|| {
        let file = aci.write(&host.images(), row.name, tests::Compression::Plain);
        host.fetch(&file.to_string_lossy())
    });
    let command = command(host, row, way, &name, id);
    let mut pod = command.spawn();
    if row.cgroup.is_empty() || !row.refused.is_empty() {
        let out = pod.wait();
        if out.code() != Some(0) {
            for word in &row.refused {
                assert!(
                    out.stderr.contains(word),
                    "{}: no {word:?}: {out}",
                    row.name
                );
            }
            host.assert_no_pod_leaks();
            return Err(out.to_string());
        }
        let engine = specs::of_pod(host);
        return Ok(Ran {
            answers: probe::answers(out),
            engine,
        });
    }
    pod.wait_for("}\n");
    let answers = serde_json::from_str(&pod.stdout()).map_err(|e| e.to_string())?;
    let group = group(host, &row.cgroup);
    let engine = specs::of_pod(host);
    pod.signal(Signal::SIGTERM);
    pod.wait();
    group.map(|()| Ran { answers, engine })
}

/// `HOST` stands for the test's directory.
fn placed(host: &Host, value: &Value) -> Value {
    let text = value.to_string();
    serde_json::from_str(&text.replace("HOST", &host.path().to_string_lossy())).unwrap()
}

fn command(host: &Host, row: &Row, way: Way, name: &str, id: &str) -> Cmd {
    let here = host.path().to_string_lossy().into_owned();
    let placed = |flags: &[String]| -> Vec<String> {
        let flags = flags.iter();
        flags.map(|flag| flag.replace("HOST", &here)).collect()
    };
    let mut questions: Vec<&str> = Vec::new();
    for (question, _) in &row.sees {
        if !questions.contains(&question.as_str()) {
            questions.push(question);
        }
    }
    questions.extend((!row.cgroup.is_empty()).then_some("stay"));
    // What is switched off stands before the verb, all else behind it.
    let (global, pod): (Vec<_>, Vec<_>) = placed(&row.around)
        .into_iter()
        .partition(|flag| flag.starts_with("--insecure-options"));
    let mut words = global;
    words.push("run".to_owned());
    if !pod.iter().any(|flag| flag.starts_with("--net")) {
        words.push("--net=none".to_owned());
    }
    words.extend(pod);
    if way == Way::Pod {
        let mut app = json!({"exec": ["/probe"], "user": "0", "group": "0"});
        let exec = app["exec"].as_array_mut().unwrap();
        exec.extend(questions.iter().map(|&q| q.into()));
        let manifest = json!({
            "acVersion": "0.8.11", "acKind": "PodManifest", "isolators": row.pod,
            "apps": [{"name": "probe", "image": {"id": id}, "app": app}],
        });
        let file = host.path().join(format!("{}.json", row.name));
        fs::write(&file, manifest.to_string()).unwrap();
        words.push(format!("--pod-manifest={}", file.display()));
        return host.rkt(words);
    }
    words.push(name.to_owned());
    words.push("--name=probe".to_owned());
    words.extend(placed(&row.always));
    if way == Way::Flags {
        words.extend(placed(&row.flags));
    }
    words.push("--".to_owned());
    words.extend(questions.into_iter().map(str::to_owned));
    host.rkt(words)
}

/// Looks at the app's cgroup from outside.
fn group(host: &Host, files: &[(File, File)]) -> Result<(), String> {
    let groups: Vec<PathBuf> = leaks::cgroups(&[host.last_uuid()].into())
        .into_iter()
        .map(|pod| pod.join("probe"))
        .collect();
    for ((v1, value1), (v2, value2)) in files {
        let unified = groups.iter().find(|g| g.join(v2).exists());
        let legacy = groups.iter().find(|g| g.join(v1).exists());
        let (path, value) = match (unified, legacy) {
            (Some(group), _) => (group.join(v2), value2),
            (None, Some(group)) => (group.join(v1), value1),
            (None, None) => return Err(format!("neither {v1} nor {v2} in {groups:?}")),
        };
        let text = fs::read_to_string(&path).map_err(|e| format!("{path:?}: {e}"))?;
        // Block devices have a line each, which begins with their number.
        let words: Vec<_> = text.split_whitespace().collect();
        let wanted: Vec<_> = value.split(' ').collect();
        if !words.windows(wanted.len()).any(|some| some == wanted) {
            return Err(format!(
                "{}: {:?}, not {value:?}",
                path.display(),
                text.trim()
            ));
        }
    }
    Ok(())
}
