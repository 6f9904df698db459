//! An app on its way into a pod that runs.
//!
//! The init of a pod sees nothing of the host, so the supervisor takes hold of
//! what the app needs of it and sends descriptors: the app's specification
//! with what else is to be said, its filter, its standard descriptors and
//! sockets, and its root and volumes as detached mounts. The init plans the app anew from them.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use manifests::engine;
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use sys::device_filter::Instruction;
use sys::seccomp::{FilterFlags, Program};

use crate::error::{Error, Result};
use crate::plan::{self, App, ExecLabel, Filter, Told};
use crate::rootfs::Sources;
use crate::stdio::Stdio;
use crate::wire::{self, DESCRIPTORS, Order};

/// What comes with the descriptors, which follow in this order: filter,
/// standard input, output and error, root, null device, other devices, volumes.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    app: engine::App,
    /// How the filter is installed, when there is one.
    filter: Option<u32>,
    /// The security module's file is AppArmor's own, and the label.
    label: Option<(bool, String)>,
    legacy: Option<Vec<String>>,
    stdio: [bool; 3],
    /// Names of its sockets.
    sockets: Vec<String>,
    terminal: bool,
    null: bool,
    /// How many devices come along.
    nodes: usize,
    /// Which of the mounts come along.
    binds: Vec<bool>,
    /// Code, registers, offset and immediate of each instruction.
    devices: Option<Vec<(u8, u8, i16, i32)>>,
}

/// Files below `/proc/self` that take a label.
const LABEL_FILES: [&str; 2] = ["self/attr/exec", "self/attr/apparmor/exec"];

/// What the init starts an app with.
#[derive(Debug)]
pub struct Parcel {
    /// The plan.
    pub app: App,
    /// What it needs from the host.
    pub sources: Sources,
    /// Its standard descriptors.
    pub stdio: Stdio,
    /// The program that limits its devices, on cgroup v2.
    pub device_filter: Option<Vec<Instruction>>,
}

impl Parcel {
    /// Sends everything, to be followed by [`Order::Add`]. `written` is the
    /// app as its file says, from which the plan was made.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub fn send(self, written: engine::App, wire: &OwnedFd) -> Result<()> {
        let failed = || Error::attempt("send", "the app to the pod's init");
        let (root, binds, null, nodes) = self.sources.into_parts();
        let Stdio {
            input,
            output,
            error,
            terminal,
            sockets,
        } = self.stdio;
        let (sockets, names): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
        let process = &self.app.process;
        let letter = Letter {
            app: written,
            filter: process.filter.as_ref().map(|filter| filter.flags.bits()),
            label: process
                .exec_label
                .as_ref()
                .map(|label| (label.file == LABEL_FILES[1], label.value.clone())),
            legacy: self.app.legacy_hierarchies(),
            stdio: [input.is_some(), output.is_some(), error.is_some()],
            sockets: names,
            terminal,
            null: null.is_some(),
            nodes: nodes.len(),
            binds: binds.iter().map(Option::is_some).collect(),
            devices: self.device_filter.map(|filter| {
                filter
                    .iter()
                    .map(|i| (i.code, i.registers, i.offset, i.immediate))
                    .collect()
            }),
        };
        let text = serde_json::to_vec(&letter).map_err(|source| Error::Damaged {
            file: engine::APP_FILE,
            source,
        })?;
        let mut pieces = vec![memory(&text).map_err(|e| failed().because(e))?];
        if let Some(filter) = &process.filter {
            let program = memory(&filter.program.to_bytes()).map_err(|e| failed().because(e))?;
            pieces.push(program);
        }
        pieces.extend([input, output, error].into_iter().flatten());
        pieces.extend(sockets);
        pieces.push(root);
        pieces.extend(null);
        pieces.extend(nodes);
        pieces.extend(binds.into_iter().flatten());
        for some in pieces.chunks(DESCRIPTORS) {
            let some: Vec<_> = some.iter().map(AsFd::as_fd).collect();
            wire::send(wire, &Order::Piece, &some).map_err(|e| failed().because(e))?;
        }
        Ok(())
    }

    /// Puts the pieces together.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::System`] when one is missing or makes
    /// no sense, and those of planning.
    pub fn open(pieces: Vec<OwnedFd>) -> Result<Self> {
        let failed = || Error::attempt("take", "the app from the supervisor");
        let missing = || failed().because(std::io::ErrorKind::UnexpectedEof);
        let mut pieces = pieces.into_iter();
        let mut next = || pieces.next().ok_or_else(missing);
        let text = contents(next()?).map_err(|e| failed().because(e))?;
        let letter: Letter = serde_json::from_slice(&text).map_err(|source| Error::Damaged {
            file: engine::APP_FILE,
            source,
        })?;
        let filter = match letter.filter {
            Some(flags) => {
                let bytes = contents(next()?).map_err(|e| failed().because(e))?;
                Some(Filter {
                    program: Program::from_bytes(&bytes).map_err(|e| failed().because(e))?,
                    flags: FilterFlags::from_bits_retain(flags),
                })
            }
            None => None,
        };
        let told = Told {
            filter,
            exec_label: letter.label.map(|(apparmor, value)| ExecLabel {
                file: LABEL_FILES[usize::from(apparmor)],
                value,
            }),
            legacy: letter.legacy,
        };
        let mut given = |there: bool| there.then(&mut next).transpose();
        let [input, output, error] = letter.stdio;
        let stdio = Stdio {
            input: given(input)?,
            output: given(output)?,
            error: given(error)?,
            terminal: letter.terminal,
            sockets: {
                // Above the numbers that they are to have in the app.
                let above = 3 + letter.sockets.len() as i32;
                let names = letter.sockets.into_iter();
                let sockets = names.map(|name| {
                    let socket = given(true)?.ok_or_else(missing)?;
                    let copy = rustix::io::fcntl_dupfd_cloexec(socket, above);
                    Ok((copy.map_err(|e| failed().because(e))?, name))
                });
                sockets.collect::<Result<_>>()?
            },
        };
        let root = given(true)?.ok_or_else(missing)?;
        let null = given(letter.null)?;
        let nodes = (0..letter.nodes)
            .map(|_| given(true)?.ok_or_else(missing))
            .collect::<Result<Vec<_>>>()?;
        let binds = letter
            .binds
            .into_iter()
            .map(given)
            .collect::<Result<Vec<_>>>()?;
        let mut app = App::new(letter.app, &told)?;
        plan::share_shm(std::slice::from_mut(&mut app));
        Ok(Self {
            app,
            sources: Sources::from_parts(root, binds, null, nodes),
            stdio,
            device_filter: letter.devices.map(|devices| {
                devices
                    .into_iter()
                    .map(|(code, registers, offset, immediate)| Instruction {
                        code,
                        registers,
                        offset,
                        immediate,
                    })
                    .collect()
            }),
        })
    }
}

fn memory(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(c"app", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    Ok(file.into())
}

fn contents(memory: OwnedFd) -> std::io::Result<Vec<u8>> {
    let mut file = File::from(memory);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
