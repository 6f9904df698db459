//! Our own programs in a guest: rkt, and whole test suites.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Guest, Output, Unobtainable, obtained};
use crate::host::binary;

impl Guest {
    /// Brings rkt and its engine as `/usr/bin/rkt` and `/usr/bin/rkt-stage1`.
    /// `None`, told as a skipped test, when they need a newer C library than
    /// the guest has.
    pub fn rkt(self) -> Option<Self> {
        self.program("/usr/bin/rkt", &binary("rkt"))?
            .program("/usr/bin/rkt-stage1", &binary("rkt-stage1"))
    }

    /// Runs the tests of `tests/tests/NAME.rs` or `stage1/tests/NAME.rs`, or the
    /// unit tests of the crate NAME, in the guest: those whose names contain one of the words of
    /// `only`, or all of them. Gives what the test
    /// runner said; `None` as in [`Guest::rkt`]. If there is a disk, temporary
    /// files are on it.
    ///
    /// # Panics
    /// When there are no such tests, or one of them fails.
    #[track_caller]
    pub fn passes_suite(self, name: &str, only: &str) -> Option<Output> {
        self.passes_suites(&[(name, only)])
    }

    /// The same for several suites, one after the other in one guest.
    ///
    /// # Panics
    /// As [`Guest::passes_suite`].
    #[track_caller]
    pub fn passes_suites(self, suites: &[(&str, &str)]) -> Option<Output> {
        let mut guest = self.rkt()?;
        let mut script =
            "export RKT_BIN_DIR=/usr/bin RUST_BACKTRACE=0 PATH=$PATH:/usr/sbin:/sbin\n\
             if mountpoint -q /var/lib/rkt; then\n\
                 mkdir -p /var/lib/rkt/tmp && export TMPDIR=/var/lib/rkt/tmp\n\
             fi\n"
                .to_owned();
        for (name, only) in suites {
            let program = format!("/in/{name}");
            guest = guest.program(&program, &suite(name))?;
            // `alone` are the tests that need a quiet machine for their figures.
            script += &format!("{program} {only} --test-threads 2 --skip alone 2>&1 || exit\n");
        }
        let out = guest.run(&script).ok();
        let passed =
            |line: &&str| line.starts_with("test result: ok.") && !line.contains(" 0 passed");
        let passed = out.stdout.lines().filter(passed).count();
        assert_eq!(passed, suites.len(), "{out}");
        Some(out)
    }

    fn program(self, path: &str, from: &Path) -> Option<Self> {
        obtained(self.debian.runs(from))?;
        Some(self.file(path, from))
    }
}

impl super::Debian {
    /// Its C library: the last number of `GLIBC_2.N`.
    fn glibc(self) -> u32 {
        match self {
            Self::Bookworm => 36,
            Self::Trixie => 41,
        }
    }

    /// Whether a program of the host finds the C library that it needs.
    fn runs(self, program: &Path) -> Result<(), Unobtainable> {
        let needs = newest_glibc(&fs::read(program).unwrap());
        if needs <= self.glibc() {
            return Ok(());
        }
        Err(Unobtainable(format!(
            "{} was linked on this host with glibc 2.{needs}, {self:?} has 2.{}",
            program.display(),
            self.glibc()
        )))
    }
}

/// The greatest N of the symbol versions `GLIBC_2.N` in a program; 0 for a
/// static one.
fn newest_glibc(program: &[u8]) -> u32 {
    const MARK: &[u8] = b"GLIBC_2.";
    program
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK)
        .map(|(at, _)| {
            program[at + MARK.len()..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .fold(0, |n, digit| n * 10 + u32::from(digit - b'0'))
        })
        .max()
        .unwrap_or(0)
}

/// The test program of that name, a suite of this package or the own tests of a
/// library, as cargo's list of its sources tells: the newest beside the running
/// one, where older builds are left.
fn suite(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let built: Vec<PathBuf> = fs::read_dir(own.parent().unwrap())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|path| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            file.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        })
        .collect();
    // Two packages may have a suite of one name: this one's is meant then.
    [
        format!("tests/tests/{name}"),
        format!("stage1/tests/{name}"),
        format!("{}/src/lib.rs", name.replace('_', "-")),
    ]
    .iter()
    .find_map(|source| {
        let of = |path: &&PathBuf| {
            let sources = fs::read_to_string(path.with_extension("d"));
            sources.is_ok_and(|sources| sources.contains(source.as_str()))
        };
        let newest = |path: &&PathBuf| path.metadata().unwrap().modified().unwrap();
        built.iter().filter(of).max_by_key(newest).cloned()
    })
    .unwrap_or_else(|| panic!("the tests {name} are not built: cargo test --workspace --no-run"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_version_decides() {
        assert_eq!(
            newest_glibc(b"..GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE"),
            34
        );
        assert_eq!(newest_glibc(b"static"), 0);
        assert_eq!(newest_glibc(b"GLIBC_2."), 0);
    }
}
