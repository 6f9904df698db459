//! `bench start|memory|fetch|images|pods|network|all [--rounds=N] [--json]`: what
//! rkt costs, beside its peers, on this machine, in one run.
//!
//! Every contender runs once per round, one after the other, so that a slow
//! minute of the machine is everybody's. A contender that cannot run here is
//! listed with the reason. Needs root and the Debian packages of the `bench`
//! line in `tests/packages`; builds nothing but the floor program.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on says where and stops"
)]

mod arithmetic;
mod contender;
mod fetch;
mod floor;
mod image;
mod images;
mod memory;
mod network;
mod phases;
mod podman;
mod pods;
mod report;
mod start;

use std::process::ExitCode;

use report::Report;

const USAGE: &str = "usage: bench start|memory|fetch|images|pods|network|all [--rounds=N] [--json]

  start    one app, no network, a stored image: command to command
  memory   PSS of everything that watches over one idle pod
  fetch    a 4-layer image of about 1 GB from a registry on loopback, gzip and
           zstd, the first and the second time, and the memory it takes
  images   listing 1,000 images, finding one by name, removing a large one
  pods     a list of 1,000 pods, gc of 500, 16 starts at once, 500 idle pods
  network  the start with a private network, of 200 pods on one bridge too, and
           what goes through; in a network of its own
  all      all of these

  --rounds=N   rounds to take medians of (start: 40, pods and network: 20, others: 3)
  --json       the same numbers for programs";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(network::RUNC_WITH_CNI) {
        return network::runc_with_cni();
    }
    let mut what = None;
    let mut rounds = None;
    let mut json = false;
    for word in std::env::args().skip(1) {
        match (word.as_str(), word.strip_prefix("--rounds=")) {
            ("--json", _) => json = true,
            ("--help", _) => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            (_, Some(n)) if n.parse().is_ok_and(|n: usize| n > 0) => rounds = n.parse().ok(),
            ("start" | "memory" | "fetch" | "images" | "pods" | "network" | "all", _)
                if what.is_none() =>
            {
                what = Some(word);
            }
            _ => {
                eprintln!("bench: do not understand {word:?}\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let Some(what) = what else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("bench: needs root, as the programs it measures do");
        return ExitCode::FAILURE;
    }
    let mut reports: Vec<Report> = Vec::new();
    if matches!(what.as_str(), "start" | "all") {
        reports.extend(start::run(rounds.unwrap_or(40)));
    }
    if matches!(what.as_str(), "memory" | "all") {
        reports.push(memory::run(rounds.unwrap_or(3)));
    }
    if matches!(what.as_str(), "fetch" | "all") {
        reports.extend(fetch::run(rounds.unwrap_or(3)));
    }
    if matches!(what.as_str(), "images" | "all") {
        reports.extend(images::run(rounds.unwrap_or(3)));
    }
    if matches!(what.as_str(), "pods" | "all") {
        reports.extend(pods::run(rounds.unwrap_or(20)));
    }
    if matches!(what.as_str(), "network" | "all") {
        reports.extend(network::run(rounds.unwrap_or(20)));
    }
    if json {
        println!("{}", report::json(&reports));
    } else {
        println!("{}", report::machine());
        for report in &reports {
            println!("\n{report}");
        }
    }
    ExitCode::SUCCESS
}
