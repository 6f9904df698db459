//! `bench`: what rkt costs, beside its peers, on this machine, in one run.
//!
//! ```text
//! world ── moves all of it into Debian 13's root file system
//! start, memory, … ── samples ──▶ report ── figures ──▶ document (JSON)
//!                                                         ├─▶ printed tables
//!                                                         ├─▶ picture, growth (SVG)
//!                                                         └─▶ readme
//! ```
//!
//! Every contender runs once per round, one after the other, so that a slow
//! minute of the machine is everybody's. A contender that cannot run here is
//! listed with the reason. Needs root, and on the host the Debian packages of
//! the `bench` line in `tests/packages`; builds nothing but the floor program.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on says where and stops"
)]

mod arithmetic;
mod containerd;
mod contender;
mod document;
mod fetch;
mod floor;
mod generator;
mod image;
mod images;
mod memory;
mod network;
mod phases;
mod picture;
mod podman;
mod pods;
mod promises;
mod readme;
mod report;
mod scale;
mod sizes;
mod start;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use document::{Curve, Document, Section, Table};
use report::Report;

const USAGE: &str = "usage: bench PART|all [OPTION...]
       bench picture FILE.json [--out=DIR]
       bench readme FILE.json

  start    one app, no network, a stored image: command to command
  memory   PSS of everything that watches over one idle pod
  fetch    a 4-layer image of about 1 GB from a registry on loopback, gzip and
           zstd, the first and the second time, and the memory it takes
  images   listing 1,000 images, finding one by name, removing a large one,
           finding a damaged one
  pods     a list of 1,000 pods, gc of 500, 16 starts at once, 500 idle pods
  network  the start with a private network, of 200 pods on one bridge too, and
           what goes through; in a network of its own
  generator
           making units of 200 declared pods
  sizes    the programs, in bytes
  scale    what things cost as pods, images, layers, files and networks become
           10 and 100 times as many
  all      all of these
  picture  draws FILE.json: benchmarks.svg and growth.svg
  readme   the same, into docs, and writes the figures into README.md

  --only=A,B   of all, these parts; with --file the others stay as they are
  --file=FILE  keep the figures in this JSON document, part by part
  --readme     as --file=docs/benchmarks.json; then bench readme
  --rounds=N   rounds to take medians of (otherwise as many as a part needs)
  --peers=host the host's programs, not Debian 13's
  --json       print the document instead of tables

examples:
  bench start --rounds=100
  bench all --readme
  bench all --readme --only=start,fetch";

/// What one part has measured.
#[derive(Default)]
struct Measured {
    reports: Vec<Report>,
    curves: Vec<Curve>,
}

impl From<Vec<Report>> for Measured {
    fn from(reports: Vec<Report>) -> Self {
        Self {
            reports,
            curves: Vec::new(),
        }
    }
}

/// A part: its word, its usual rounds, and what measures it.
type Part = (&'static str, usize, fn(usize) -> Measured);

/// What deletes most stands last: a file system may take longer for a while.
const PARTS: [Part; 9] = [
    ("start", 40, |rounds| start::run(rounds).into()),
    ("memory", 3, |rounds| vec![memory::run(rounds)].into()),
    ("network", 20, |rounds| network::run(rounds).into()),
    ("pods", 20, |rounds| pods::run(rounds).into()),
    ("generator", 20, |rounds| {
        vec![generator::run(rounds)].into()
    }),
    ("sizes", 1, |_| vec![sizes::run()].into()),
    ("scale", 10, |rounds| Measured {
        reports: Vec::new(),
        curves: scale::run(rounds),
    }),
    ("images", 3, |rounds| images::run(rounds).into()),
    ("fetch", 3, |rounds| fetch::run(rounds).into()),
];

/// The repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The committed figures.
fn committed() -> PathBuf {
    repository().join("docs/benchmarks.json")
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(network::RUNC_WITH_CNI) {
        return network::runc_with_cni();
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.first().map(String::as_str) {
        Some("picture") => picture_of(&words[1..]),
        Some("readme") => match &words[1..] {
            [file] => Document::read(Path::new(file)).and_then(|d| readme::publish(&d)),
            _ => Err(USAGE.to_owned()),
        },
        Some("--help") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => Wish::parse(&words).and_then(|wish| measure(&wish)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
struct Wish {
    parts: Vec<&'static Part>,
    rounds: Option<usize>,
    file: Option<PathBuf>,
    readme: bool,
    json: bool,
    host: bool,
}

impl Wish {
    fn parse(words: &[String]) -> Result<Self, String> {
        let part = |word: &str| PARTS.iter().find(|(name, ..)| *name == word);
        let unknown = |word: &str| format!("do not understand {word:?}\n{USAGE}");
        let mut wish = Self {
            parts: Vec::new(),
            rounds: None,
            file: None,
            readme: false,
            json: false,
            host: false,
        };
        let Some((what, options)) = words.split_first() else {
            return Err(USAGE.to_owned());
        };
        match (what.as_str(), part(what)) {
            ("all", _) => wish.parts = PARTS.iter().collect(),
            (_, Some(part)) => wish.parts = vec![part],
            _ => return Err(unknown(what)),
        }
        for word in options {
            match word.split_once('=').unwrap_or((word, "")) {
                ("--json", "") => wish.json = true,
                ("--readme", "") => wish.readme = true,
                ("--peers", "host") => wish.host = true,
                ("--file", file) if !file.is_empty() => wish.file = Some(file.into()),
                ("--rounds", n) if n.parse().is_ok_and(|n: usize| n > 0) => {
                    wish.rounds = n.parse().ok();
                }
                ("--only", list) if what == "all" => {
                    let named: Option<Vec<_>> = list.split(',').map(part).collect();
                    wish.parts = named.ok_or_else(|| unknown(word))?;
                }
                _ => return Err(unknown(word)),
            }
        }
        if wish.readme {
            wish.file = Some(committed());
        }
        Ok(wish)
    }
}

fn measure(wish: &Wish) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("needs root, as the programs it measures do".into());
    }
    if !world::entered() {
        // Debian's root file system has no compiler.
        floor::build();
        let why = match wish.host {
            true => "by --peers=host".to_owned(),
            false => {
                let Err(why) = world::enter();
                why
            }
        };
        eprintln!("bench: the peers are the host's own: {why}");
    }
    let machine = report::machine();
    let mut document = match &wish.file {
        Some(file) => Document::open(file, machine)?,
        None => Document::new(machine),
    };
    document.programs = world::programs();
    for (name, usual, run) in &wish.parts {
        let began = Instant::now();
        let measured = run(wish.rounds.unwrap_or(*usual));
        eprintln!("bench: {name} took {} s", began.elapsed().as_secs());
        let section = Section {
            date: report::today(),
            tables: measured.reports.into_iter().map(Table::from).collect(),
            curves: measured.curves,
        };
        if !wish.json {
            for table in &section.tables {
                println!("{table}");
            }
            for curve in &section.curves {
                println!("{curve}");
            }
        }
        document.sections.insert((*name).to_owned(), section);
        // Each part is kept at once: a later one may take long, or fail.
        if let Some(file) = &wish.file {
            write(file, &document.json())?;
        }
    }
    if wish.json {
        print!("{}", document.json());
    } else {
        println!("{}", document.machine);
        for program in &document.programs {
            println!("  {} {}, {}", program.name, program.version, program.origin);
        }
        print!("\n{}", promises::text(&document));
    }
    if wish.readme {
        readme::publish(&document)?;
    }
    Ok(())
}

fn picture_of(words: &[String]) -> Result<(), String> {
    let (file, dir) = match words {
        [file] => (file, Path::new(".")),
        [file, out] if out.starts_with("--out=") => (file, Path::new(&out["--out=".len()..])),
        _ => return Err(USAGE.to_owned()),
    };
    readme::draw(&Document::read(Path::new(file))?, dir)
}

/// Writes a file, making its directory.
fn write(file: &Path, text: &str) -> Result<(), String> {
    let dir = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    dir.and_then(|()| std::fs::write(file, text))
        .map_err(|e| format!("cannot write {}: {e}", file.display()))
}
