//! Copying between the apps' pipes and the caller's descriptors.
//!
//! The caller's descriptors are shared with others, so they cannot be made
//! non-blocking; but a write of at most `PIPE_BUF` bytes to a descriptor that
//! poll(2) says is writable does not block (pipe(7)). Data waits in a queue
//! until then, and while a queue is long its sources are not read, so a slow
//! reader slows the apps and never us.
//!
//! What goes into a pod's own [log files](super::log) waits for nobody; what
//! goes to [journald](super::journal) waits for it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use manifests::log::Stream;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::hub::{Channel, Hub};
use super::journal::JournalLog;
use super::log::Log;
use crate::error::Result;

/// Most that is written at once (`PIPE_BUF`).
const CHUNK: usize = 4096;

/// Length of a queue above which its sources wait.
const FULL: usize = 16 * CHUNK;

/// Longest line that is kept together with its label.
pub(super) const LINE: usize = 2 * CHUNK;

/// Where data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The caller's standard output.
    Output,
    /// The caller's standard error.
    Error,
    /// The app's terminal.
    Terminal,
}

/// Where a source's data goes.
#[derive(Debug, Clone, Copy)]
enum Outlet {
    Target(Target),
    /// The log with this place, as one of the app's streams.
    Log(usize, Stream),
    /// The journal, by the number of its writer.
    Journal(usize),
    /// Whoever is attached to the app with this place.
    Hub(u16, Channel),
}

#[derive(Debug)]
struct Source {
    from: Origin,
    to: Outlet,
    /// Written before each line.
    label: Option<Vec<u8>>,
    /// A line that has not ended yet.
    partial: Vec<u8>,
}

#[derive(Debug)]
enum Origin {
    Pipe(OwnedFd),
    /// The caller's standard input.
    Input,
    /// The app's terminal.
    Terminal,
}

#[derive(Debug, Default)]
struct Sink {
    queue: VecDeque<u8>,
    /// Nobody reads it any more.
    broken: bool,
}

/// All that is copied.
#[derive(Debug, Default)]
pub struct Relay {
    sources: Vec<Source>,
    sinks: [Sink; 3],
    logs: Vec<Log>,
    journal: Option<JournalLog>,
    hubs: Vec<Hub>,
    terminal: Option<OwnedFd>,
}

/// What a place in the list of polled descriptors stands for.
#[derive(Debug, Clone, Copy)]
pub enum Watched {
    /// The source with this place, to read.
    Read(usize),
    /// The sink, to write.
    Write(Target),
    /// The way to journald, to write.
    Journal,
}

impl Relay {
    /// Copies what comes out of this pipe, with a label before each line if
    /// there is one. The pipe is not blocking.
    pub fn add_pipe(&mut self, from: OwnedFd, to: Target, label: Option<&str>) {
        self.sources.push(Source {
            from: Origin::Pipe(from),
            to: Outlet::Target(to),
            label: label.map(|name| format!("[{name}] ").into_bytes()),
            partial: Vec::new(),
        });
    }

    /// Keeps what comes out of these pipes in a log file. The pipes are not
    /// blocking.
    pub fn add_log(&mut self, log: Log, pipes: Vec<(OwnedFd, Stream)>) {
        self.logs.push(log);
        for (from, stream) in pipes {
            self.sources.push(Source {
                from: Origin::Pipe(from),
                to: Outlet::Log(self.logs.len() - 1, stream),
                label: None,
                partial: Vec::new(),
            });
        }
    }

    /// Passes on to journald what comes out of these pipes of an app, with the
    /// fields that its lines have. The pipes are not blocking.
    ///
    /// # Errors
    /// [`Error::System`](crate::error::Error::System) without journald.
    pub fn add_journal(
        &mut self,
        app: &str,
        fields: &[(String, String)],
        pipes: Vec<(OwnedFd, Stream)>,
    ) -> Result<()> {
        let journal = match &mut self.journal {
            Some(journal) => journal,
            none => none.insert(JournalLog::connect()?),
        };
        for (from, stream) in pipes {
            self.sources.push(Source {
                from: Origin::Pipe(from),
                to: Outlet::Journal(journal.add(app, fields, stream)),
                label: None,
                partial: Vec::new(),
            });
        }
        Ok(())
    }

    /// The hub of an app, made when there is none.
    fn hub_mut(&mut self, app: u16) -> &mut Hub {
        let place = self.hubs.iter().position(|hub| hub.app == app);
        let place = place.unwrap_or_else(|| {
            self.hubs.push(Hub::new(app));
            self.hubs.len() - 1
        });
        &mut self.hubs[place]
    }

    /// Lets people attach to what comes out of this pipe, which is not
    /// blocking.
    pub fn add_channel(&mut self, app: u16, from: OwnedFd, channel: Channel) {
        self.hub_mut(app).channels.push(channel);
        self.sources.push(Source {
            from: Origin::Pipe(from),
            to: Outlet::Hub(app, channel),
            label: None,
            partial: Vec::new(),
        });
    }

    /// Lets people attach to an app's standard input, whose pipe this is.
    pub fn add_channel_input(&mut self, app: u16, to: OwnedFd) {
        self.hub_mut(app).input = Some(to);
    }

    /// Lets people attach to an app's terminal, whose master this is.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn add_channel_terminal(&mut self, app: u16, master: OwnedFd) -> std::io::Result<()> {
        rustix::io::ioctl_fionbio(&master, true)?;
        let hub = self.hub_mut(app);
        hub.input = Some(master.try_clone()?);
        hub.terminal = true;
        self.add_channel(app, master, Channel::Output);
        Ok(())
    }

    /// The streams of an app to which one can attach.
    pub fn hub(&mut self, app: u16) -> Option<&mut Hub> {
        self.hubs.iter_mut().find(|hub| hub.app == app)
    }

    /// Passes on what an app that is over wrote last, and lets everybody go
    /// who is attached to it.
    pub fn drop_hub(&mut self, app: u16) {
        for index in (0..self.sources.len()).rev() {
            if matches!(self.sources[index].to, Outlet::Hub(of, _) if of == app) {
                while self.read(index) == Progress::Some {}
                self.sources.remove(index);
            }
        }
        self.hubs.retain(|hub| hub.app != app);
    }

    /// Copies between this terminal and the caller's standard input and
    /// output.
    pub fn add_terminal(&mut self, master: OwnedFd) {
        self.terminal = Some(master);
        for (from, to) in [
            (Origin::Input, Target::Terminal),
            (Origin::Terminal, Target::Output),
        ] {
            self.sources.push(Source {
                from,
                to: Outlet::Target(to),
                label: None,
                partial: Vec::new(),
            });
        }
    }

    /// Copies the caller's standard input into this pipe, whose other end is
    /// the app's.
    pub fn add_input(&mut self, to: OwnedFd) {
        self.terminal = Some(to);
        self.sources.push(Source {
            from: Origin::Input,
            to: Outlet::Target(Target::Terminal),
            label: None,
            partial: Vec::new(),
        });
    }

    /// The app's terminal, or the pipe to its standard input.
    pub fn terminal(&self) -> Option<&OwnedFd> {
        self.terminal.as_ref()
    }

    /// What there is to wait for just now.
    pub fn watched(&self) -> Vec<Watched> {
        let reads = self
            .sources
            .iter()
            .enumerate()
            .filter_map(|(index, source)| {
                let full = match source.to {
                    Outlet::Target(to) => self.sinks[to as usize].queue.len() >= FULL,
                    Outlet::Journal(_) => self.journal_waits(),
                    Outlet::Log(..) | Outlet::Hub(..) => false,
                };
                (!full).then_some(Watched::Read(index))
            });
        let writes = [Target::Output, Target::Error, Target::Terminal]
            .into_iter()
            .filter(|target| !self.sinks[*target as usize].queue.is_empty())
            .map(Watched::Write);
        let journal = self.journal_waits().then_some(Watched::Journal);
        reads.chain(writes).chain(journal).collect()
    }

    fn journal_waits(&self) -> bool {
        self.journal.as_ref().is_some_and(JournalLog::is_waiting)
    }

    /// The descriptor of it, for poll(2).
    pub fn poll_fd(&self, watched: Watched) -> PollFd<'_> {
        match watched {
            Watched::Read(index) => PollFd::from_borrowed_fd(self.origin(index), PollFlags::IN),
            Watched::Write(target) => PollFd::from_borrowed_fd(self.target(target), PollFlags::OUT),
            Watched::Journal => match &self.journal {
                Some(journal) => journal.poll_fd(),
                None => PollFd::from_borrowed_fd(rustix::stdio::stderr(), PollFlags::OUT),
            },
        }
    }

    fn origin(&self, index: usize) -> BorrowedFd<'_> {
        match &self.sources[index].from {
            Origin::Pipe(pipe) => pipe.as_fd(),
            Origin::Input => rustix::stdio::stdin(),
            Origin::Terminal => self.target(Target::Terminal),
        }
    }

    fn target(&self, target: Target) -> BorrowedFd<'_> {
        match (target, &self.terminal) {
            (Target::Output, _) => rustix::stdio::stdout(),
            (Target::Terminal, Some(terminal)) => terminal.as_fd(),
            (Target::Error, _) | (Target::Terminal, None) => rustix::stdio::stderr(),
        }
    }

    /// Does what poll(2) said can be done: standard output before standard
    /// error, which is the order in which most programs write.
    ///
    /// A raw terminal has no end of file: when input ends, the caller's
    /// terminal is gone, and the app shall hear of it from its own.
    pub fn advance(&mut self, ready: Vec<Watched>) {
        let mut hung_up = false;
        let mut over = Vec::new();
        for watched in ready {
            match watched {
                Watched::Read(index) => {
                    if self.read(index) == Progress::Over {
                        over.push(index);
                    }
                }
                Watched::Write(target) => self.write(target),
                Watched::Journal => {
                    if let Some(journal) = &mut self.journal {
                        journal.flush();
                    }
                }
            }
        }
        // From the last to the first, so that the places before stay the same.
        for index in over.into_iter().rev() {
            let mut source = self.sources.remove(index);
            source.finish(&mut self.sinks, &mut self.logs, self.journal.as_mut());
            hung_up |= matches!(source.from, Origin::Input);
        }
        if hung_up {
            self.sources
                .retain(|source| !matches!(source.from, Origin::Terminal));
            self.terminal = None;
        }
    }

    /// Reads once.
    fn read(&mut self, index: usize) -> Progress {
        let mut chunk = [0; CHUNK];
        match rustix::io::read(self.origin(index), &mut chunk) {
            Ok(0) => Progress::Over,
            Ok(length) => {
                let source = &mut self.sources[index];
                let data = &chunk[..length];
                match source.to {
                    Outlet::Target(to) => {
                        let sink = &mut self.sinks[to as usize];
                        source.take(data, sink);
                        // The app shall see that nobody listens: its pipe breaks too.
                        if sink.broken {
                            return Progress::Over;
                        }
                    }
                    Outlet::Log(log, stream) => {
                        self.logs[log].take(stream, &mut source.partial, data);
                    }
                    Outlet::Journal(writer) => {
                        if let Some(journal) = &mut self.journal {
                            journal.take(writer, &mut source.partial, data);
                        }
                    }
                    Outlet::Hub(app, channel) => {
                        if let Some(hub) = self.hubs.iter_mut().find(|hub| hub.app == app) {
                            hub.send(channel, data);
                        }
                    }
                }
                Progress::Some
            }
            Err(Errno::AGAIN | Errno::INTR) => Progress::None,
            // A terminal's slave is closed (EIO), or it cannot be read at all.
            Err(_) => Progress::Over,
        }
    }

    fn write(&mut self, target: Target) {
        let fd = self.target(target);
        let queue = &self.sinks[target as usize].queue;
        let (front, _) = queue.as_slices();
        let wrote = rustix::io::write(fd, &front[..front.len().min(CHUNK)]);
        let sink = &mut self.sinks[target as usize];
        match wrote {
            Ok(length) => {
                sink.queue.drain(..length);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                sink.broken = true;
                sink.queue.clear();
            }
        }
    }

    /// Copies what is left when every writer is gone. This waits for a slow
    /// reader, as any program does that writes its last words.
    pub fn finish(&mut self) {
        for index in 0..self.sources.len() {
            let to = self.sources[index].to;
            if !matches!(self.sources[index].from, Origin::Input) {
                while self.read(index) == Progress::Some {
                    if let Outlet::Target(to) = to {
                        self.drain(to);
                    }
                }
            }
            self.sources[index].finish(&mut self.sinks, &mut self.logs, self.journal.as_mut());
        }
        self.sources.clear();
        if let Some(journal) = &mut self.journal {
            journal.finish();
        }
        self.drain(Target::Output);
        self.drain(Target::Error);
    }

    fn drain(&mut self, target: Target) {
        while !self.sinks[target as usize].queue.is_empty() {
            self.write(target);
        }
    }
}

/// What came of reading a source once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Some,
    None,
    /// There will be nothing more.
    Over,
}

impl Source {
    /// Passes data on: as it is without a label, and with one line by line,
    /// so that lines of several apps are not torn.
    fn take(&mut self, data: &[u8], sink: &mut Sink) {
        if sink.broken {
            return;
        }
        let Some(label) = &self.label else {
            sink.queue.extend(data);
            return;
        };
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() >= LINE {
                sink.queue.extend(label);
                sink.queue.extend(self.partial.drain(..));
                if !piece.ends_with(b"\n") {
                    sink.queue.push_back(b'\n');
                }
            }
        }
    }

    /// Passes on a last line that never ended.
    fn finish(
        &mut self,
        sinks: &mut [Sink; 3],
        logs: &mut [Log],
        journal: Option<&mut JournalLog>,
    ) {
        if self.partial.is_empty() {
            return;
        }
        match self.to {
            Outlet::Target(to) => self.take(b"\n", &mut sinks[to as usize]),
            Outlet::Log(log, stream) => logs[log].take(stream, &mut self.partial, b"\n"),
            Outlet::Journal(writer) => {
                if let Some(journal) = journal {
                    journal.take(writer, &mut self.partial, b"\n");
                }
            }
            // Passed on as it came.
            Outlet::Hub(..) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(label: Option<&str>) -> Source {
        Source {
            from: Origin::Input,
            to: Outlet::Target(Target::Output),
            label: label.map(|l| format!("[{l}] ").into_bytes()),
            partial: Vec::new(),
        }
    }

    fn text(sink: &Sink) -> String {
        String::from_utf8(sink.queue.iter().copied().collect()).unwrap()
    }

    #[test]
    fn lines_are_labelled_whole() {
        let mut sinks: [Sink; 3] = Default::default();
        let mut source = source(Some("web"));
        source.take(b"one\ntw", &mut sinks[0]);
        assert_eq!(text(&sinks[0]), "[web] one\n");
        source.take(b"o\n\nthree", &mut sinks[0]);
        source.finish(&mut sinks, &mut [], None);
        assert_eq!(
            text(&sinks[0]),
            "[web] one\n[web] two\n[web] \n[web] three\n"
        );
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut sinks: [Sink; 3] = Default::default();
        let mut source = source(Some("a"));
        source.take(&[b'x'; LINE + 10], &mut sinks[0]);
        let got = text(&sinks[0]);
        assert!(got.starts_with("[a] xxx") && got.ends_with("x\n"));
        assert!(source.partial.len() < LINE);
    }

    #[test]
    fn without_a_label_bytes_pass_as_they_are() {
        let mut sinks: [Sink; 3] = Default::default();
        source(None).take(b"\xff\x00no end", &mut sinks[0]);
        assert_eq!(sinks[0].queue, b"\xff\x00no end");
    }
}
