//! What watches over one idle pod, in proportional set size: rkt's supervisor
//! and init together.

use tests::host::find_binary;
use tests::{Host, memory};

use crate::report::{Report, Row};

/// Measures `rounds` pods, one after the other.
pub(crate) fn run(rounds: usize) -> Report {
    let name = "rkt: supervisor and init";
    let mut report = Report {
        title: "memory of the processes that watch over one idle pod, PSS".into(),
        unit: "KiB",
        base: "",
        rows: Vec::new(),
        missing: Vec::new(),
    };
    if let Err(why) = find_binary("rkt") {
        report.missing.push((name.into(), why));
        return report;
    }
    let host = Host::new();
    report.rows.push(Row {
        name: name.into(),
        samples: (0..rounds).map(|_| memory::of_an_idle_pod(&host)).collect(),
        note: String::new(),
    });
    report
}
