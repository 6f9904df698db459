//! How a fetch looks on a terminal: one bar for each layer under way, gone
//! when the layer is there, and one for all of them.
//!
//! ```text
//! docker://127.0.0.1:5000/app:1.0
//!   9b3e4f2a81c0  stored already
//!   4f2a81c09b3e  ████████████▌            31 MiB/64 MiB  88 MiB/s  0s
//!   total         ██████▎                  31 MiB/128 MiB 88 MiB/s  1s
//! ```
//!
//! Where stderr is no terminal there is nobody to watch; then every step that
//! is finished is one line, and so is every decision (whose signature was
//! verified). With `--quiet` nothing is said. A service manager is always told,
//! by `STATUS=` lines: [`notify`].

mod notify;

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fetch::progress::{Progress, Silent, Step, StepKind};
use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use notify::{Manager, Notified};

/// Redraws per second: smooth to look at, nothing to pay for.
const FRAMES: u8 = 10;

/// The progress display for this process's stderr. `verb` prefixes the lines
/// that are not drawn.
pub(crate) fn for_stderr(verb: &'static str, quiet: bool) -> Arc<dyn Progress> {
    let shown: Arc<dyn Progress> = match (quiet, io::stderr().is_terminal()) {
        (true, _) => Silent::shared(),
        (false, false) => Arc::new(Lines { verb }),
        (false, true) => {
            let target = ProgressDrawTarget::stderr_with_hz(FRAMES);
            // Not every terminal can be drawn on.
            match target.is_hidden() {
                true => Arc::new(Lines { verb }),
                false => Arc::new(Bars::new(verb, target)),
            }
        }
    };
    match Manager::from_environment() {
        Some(manager) => Arc::new(Notified::new(manager, shown)),
        None => shown,
    }
}

/// Decisions and finished steps, as ordinary lines.
struct Lines {
    verb: &'static str,
}

impl Progress for Lines {
    fn image(&self, _: &str) {}
    fn note(&self, text: &str) {
        eprintln!("{}: {text}", self.verb);
    }
    fn plan(&self, _: u64) {}
    fn step(&self, kind: StepKind, name: &str, _: Option<u64>) -> Box<dyn Step> {
        let what = match kind {
            StepKind::Layer => "layer",
            StepKind::Commit => "image",
        };
        Box::new(Line {
            head: format!("{}: {what} {name}", self.verb),
            begin: Instant::now(),
            bytes: 0,
        })
    }
}

/// One step that will be a line.
struct Line {
    head: String,
    begin: Instant,
    bytes: u64,
}

impl Step for Line {
    fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn already_stored(self: Box<Self>) {
        eprintln!("{}: stored already", self.head);
    }

    fn done(self: Box<Self>) {
        let took = self.begin.elapsed();
        eprintln!("{}: {}", self.head, done(self.bytes, took));
    }
}

fn done(bytes: u64, took: Duration) -> String {
    let took = took.as_secs_f64();
    match bytes {
        0 => format!("done in {took:.1} s"),
        bytes => format!("{} in {took:.1} s", BinaryBytes(bytes)),
    }
}

/// Bars, and what happened above them.
struct Bars {
    verb: &'static str,
    all: MultiProgress,
    /// Of the image at hand, once its size is known.
    total: Mutex<Option<ProgressBar>>,
}

impl Bars {
    fn new(verb: &'static str, target: ProgressDrawTarget) -> Self {
        Self {
            verb,
            all: MultiProgress::with_draw_target(target),
            total: Mutex::default(),
        }
    }

    fn total(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image is there, or another one begins.
    fn forget_total(&self) {
        if let Some(total) = self.total().take() {
            total.finish_and_clear();
            self.all.remove(&total);
        }
    }

    /// A line above the bars. That it cannot be drawn is no reason to fail.
    fn line(&self, text: &str) {
        let _ = self.all.println(text);
    }
}

impl Progress for Bars {
    fn image(&self, name: &str) {
        self.forget_total();
        self.line(name);
    }

    fn plan(&self, bytes: u64) {
        self.forget_total();
        // For one layer its own bar says it all; how many there are is seen by
        // a total that is larger than the first bar.
        if bytes == 0 {
            return;
        }
        let bar = ProgressBar::new(bytes);
        bar.set_style(style(StepKind::Layer, true));
        bar.set_prefix("total");
        let bar = self.all.add(bar);
        bar.enable_steady_tick(Duration::from_millis(1000 / u64::from(FRAMES)));
        *self.total() = Some(bar);
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
        if kind == StepKind::Commit {
            self.forget_total();
        }
        let total = self.total().clone();
        let bar = match &total {
            Some(total) => self.all.insert_before(total, bar),
            None => self.all.add(bar),
        };
        bar.enable_steady_tick(Duration::from_millis(1000 / u64::from(FRAMES)));
        Box::new(Bar {
            bar,
            total,
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
    total: Option<ProgressBar>,
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
        if let Some(total) = &self.total {
            total.inc(bytes);
        }
    }

    fn already_stored(self: Box<Self>) {
        self.leave("stored already");
    }

    fn done(self: Box<Self>) {
        self.leave(&done(self.bar.position(), self.bar.elapsed()));
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
        Bars::new("fetch", target)
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
    fn all_layers_together_have_a_bar() {
        let term = InMemoryTerm::new(20, 100);
        let bars = bars(&term);
        bars.plan(3 << 20);
        let mut one = bars.step(StepKind::Layer, "4f2a81c09b3e", Some(1 << 20));
        one.advance(1 << 20);
        one.done();
        let mut two = bars.step(StepKind::Layer, "9b3e4f2a81c0", Some(2 << 20));
        two.advance(1 << 19);
        let total = bars.total().clone().unwrap();
        assert_eq!((total.position(), total.length()), (3 << 19, Some(3 << 20)));
        // Frames are drawn by a thread, when it comes to it.
        let until = Instant::now() + Duration::from_secs(20);
        while !term.contents().contains("1.50 MiB/3.00 MiB") {
            assert!(Instant::now() < until, "{}", term.contents());
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(two);
        bars.step(StepKind::Commit, "sha256-00", None).done();
        assert!(!term.contents().contains("total"), "{}", term.contents());
    }

    #[test]
    fn every_template_can_be_drawn() {
        for kind in [StepKind::Layer, StepKind::Commit] {
            style(kind, true);
            style(kind, false);
        }
    }
}
