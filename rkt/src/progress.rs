//! How a fetch looks on a terminal: one bar for each layer under way, gone
//! when the layer is there.
//!
//! ```text
//! docker://127.0.0.1:5000/app:1.0
//!   4f2a81c09b3e  ████████████▌            31 MiB/64 MiB  88 MiB/s  0s
//!   9b3e4f2a81c0  stored already
//! ```
//!
//! Where stderr is no terminal there is nobody to watch; then only decisions
//! are told (whose signature was verified), and nothing with `--quiet`.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use fetch::progress::{Progress, Silent, Step, StepKind};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws per second: smooth to look at, nothing to pay for.
const FRAMES: u8 = 10;

/// The progress display for this process's stderr. `verb` prefixes the lines
/// that are not drawn.
pub(crate) fn for_stderr(verb: &'static str, quiet: bool) -> Arc<dyn Progress> {
    match (quiet, io::stderr().is_terminal()) {
        (true, _) => Silent::shared(),
        (false, false) => Arc::new(Lines { verb }),
        (false, true) => Arc::new(Bars {
            verb,
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(FRAMES)),
        }),
    }
}

/// Decisions, as ordinary lines.
struct Lines {
    verb: &'static str,
}

impl Progress for Lines {
    fn image(&self, _: &str) {}
    fn note(&self, text: &str) {
        eprintln!("{}: {text}", self.verb);
    }
    fn step(&self, kind: StepKind, name: &str, total: Option<u64>) -> Box<dyn Step> {
        Silent.step(kind, name, total)
    }
}

/// Bars, and what happened above them.
struct Bars {
    verb: &'static str,
    all: MultiProgress,
}

impl Bars {
    /// A line above the bars. That it cannot be drawn is no reason to fail.
    fn line(&self, text: &str) {
        let _ = self.all.println(text);
    }
}

impl Progress for Bars {
    fn image(&self, name: &str) {
        self.line(name);
    }

    fn note(&self, text: &str) {
        self.line(&format!("{}: {text}", self.verb));
    }

    fn step(&self, kind: StepKind, name: &str, total: Option<u64>) -> Box<dyn Step> {
        let bar = match (kind, total) {
            (StepKind::Layer, Some(total)) => ProgressBar::new(total),
            (StepKind::Layer | StepKind::Commit, _) => ProgressBar::new_spinner(),
        };
        bar.set_style(style(kind, total.is_some()));
        bar.set_prefix(name.to_owned());
        let bar = self.all.add(bar);
        bar.enable_steady_tick(Duration::from_millis(1000 / u64::from(FRAMES)));
        Box::new(Bar {
            bar,
            all: self.all.clone(),
        })
    }
}

fn style(kind: StepKind, known: bool) -> ProgressStyle {
    let template = match (kind, known) {
        (StepKind::Layer, true) => {
            "  {prefix:12}  {bar:25}  {binary_bytes:>10}/{binary_total_bytes:<10}  {binary_bytes_per_sec:>12}  {eta}"
        }
        (StepKind::Layer, false) => {
            "  {prefix:12}  {spinner} {binary_bytes:>10}  {binary_bytes_per_sec:>12}"
        }
        (StepKind::Commit, _) => "  {prefix:12}  {spinner} writing the index",
    };
    ProgressStyle::with_template(template)
        .expect("the templates are constants, and a test draws each")
        .progress_chars("█▉▊▋▌▍▎▏ ")
}

/// One step on the screen.
struct Bar {
    bar: ProgressBar,
    all: MultiProgress,
}

impl Bar {
    fn leave(&self, what: &str) {
        let _ = self
            .all
            .println(format!("  {:12}  {what}", self.bar.prefix()));
    }
}

impl Step for Bar {
    fn advance(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn already_stored(self: Box<Self>) {
        self.leave("stored already");
    }

    fn done(self: Box<Self>) {
        let took = self.bar.elapsed().as_secs_f64();
        self.leave(&match self.bar.position() {
            0 => format!("done in {took:.1} s"),
            bytes => format!("{} in {took:.1} s", indicatif::BinaryBytes(bytes)),
        });
    }
}

/// Also when the step failed: a bar that stays would look like work.
impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.all.remove(&self.bar);
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    fn bars(term: &InMemoryTerm) -> Bars {
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        Bars {
            verb: "fetch",
            all: MultiProgress::with_draw_target(target),
        }
    }

    #[test]
    fn what_is_done_stays_and_what_failed_goes() {
        let term = InMemoryTerm::new(20, 100);
        let bars = bars(&term);
        bars.image("docker://example.com/app:1");
        let mut layer = bars.step(StepKind::Layer, "4f2a81c09b3e", Some(1 << 20));
        layer.advance(1 << 20);
        layer.done();
        bars.step(StepKind::Layer, "9b3e4f2a81c0", Some(5))
            .already_stored();
        let failed = bars.step(StepKind::Layer, "aaaaaaaaaaaa", None);
        drop(failed);
        bars.step(StepKind::Commit, "sha256-00", None).done();
        bars.note("signature verified: Ann");
        let screen = term.contents();
        assert!(screen.contains("docker://example.com/app:1"), "{screen}");
        assert!(screen.contains("4f2a81c09b3e  1.00 MiB in"), "{screen}");
        assert!(screen.contains("9b3e4f2a81c0  stored already"), "{screen}");
        assert!(
            screen.contains("fetch: signature verified: Ann"),
            "{screen}"
        );
        assert!(!screen.contains("aaaaaaaaaaaa"), "{screen}");
    }

    #[test]
    fn every_template_can_be_drawn() {
        for kind in [StepKind::Layer, StepKind::Commit] {
            style(kind, true);
            style(kind, false);
        }
    }
}
