//! Saying that something was not tested.
//!
//! A test that cannot run here must not look as if it had passed: it says so
//! with a line that `./check` repeats right above the runner's summary.

use std::fs::OpenOptions;
use std::io::Write;

/// Prints `SKIPPED: test: reason` and notes it in the file that
/// `RKT_TEST_SKIPPED` names. The caller returns afterwards.
pub fn skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED: {test}: {reason}\n");
    // Not eprint!, which the test runner captures and drops when the test passes.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(file) = std::env::var_os("RKT_TEST_SKIPPED") {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&file)
            .and_then(|mut f| f.write_all(line.as_bytes()))
            .unwrap_or_else(|e| panic!("cannot note a skipped test in {file:?}: {e}"));
    }
}
