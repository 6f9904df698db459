//! Units for pods that a shell starts.
//!
//! A pod in the foreground is a scope around the process that rkt is and that
//! will be the supervisor; a detached one is a service whose main process is
//! the supervisor. Either way the manager is asked once, and says when the
//! unit is there by `JobRemoved`. Source: org.freedesktop.systemd1(5).

use std::io;
use std::time::Instant;

use crate::bus::Bus;
use crate::wire::{Call, Kind, Message, Writer};

/// Where systemd puts containers and virtual machines (systemd.special(7)).
const SLICE: &str = "machine.slice";

/// A unit to be.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a> {
    /// With `.scope` or `.service`.
    pub name: &'a str,
    /// For people.
    pub description: &'a str,
    /// What runs in it.
    pub content: Content<'a>,
}

/// What runs in a unit.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A process that is there. Asked to stop, the manager says `RequestStop`
    /// to `controller`, a name on the bus, instead of killing.
    Process {
        /// It.
        pid: u32,
        /// Who stops it.
        controller: &'a str,
    },
    /// A program, executed as a service of `Type=notify`.
    Program {
        /// Its path.
        path: &'a str,
        /// Its arguments, from the 0th on.
        arguments: &'a [&'a str],
        /// Variables, `NAME=VALUE`, beside the manager's own.
        environment: &'a [&'a str],
    },
}

/// A unit that the manager was asked for.
#[derive(Debug)]
pub struct Job {
    unit: String,
    serial: u32,
}

impl Job {
    /// Asks for a unit which has its cgroup to itself (`Delegate=yes`) and is
    /// forgotten when it is over.
    ///
    /// # Errors
    /// The bus does not take it.
    pub fn start(bus: &mut Bus, unit: &Unit<'_>) -> io::Result<Self> {
        bus.subscribe(&format!(
            "type='signal',sender='org.freedesktop.systemd1',\
             interface='org.freedesktop.systemd1.Manager',member='JobRemoved',arg2='{}'",
            unit.name
        ))?;
        let serial = bus.call(&call(unit))?;
        Ok(Self {
            unit: unit.name.to_owned(),
            serial,
        })
    }

    /// Waits until the unit is started.
    ///
    /// # Errors
    /// Why it is not.
    pub fn wait(&self, bus: &mut Bus, deadline: Instant) -> io::Result<()> {
        loop {
            let message = bus.wait(deadline)?;
            if self.is_over(&message)? {
                return Ok(());
            }
        }
    }

    /// Whether the unit is started by now.
    ///
    /// # Errors
    /// Why it will not be.
    pub fn is_done(&self, bus: &mut Bus) -> io::Result<bool> {
        while let Some(message) = bus.next()? {
            if self.is_over(&message)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_over(&self, message: &Message) -> io::Result<bool> {
        match message.kind {
            // The greeting and the subscription can fail only as a whole.
            Kind::Error if message.reply_to <= self.serial => {
                let text = message.text();
                Err(io::Error::other(match text.is_empty() {
                    true => message.error.clone(),
                    false => text,
                }))
            }
            Kind::Signal if message.member == "JobRemoved" => {
                let mut body = message.reader();
                let (_id, _path) = (body.u32()?, body.string()?);
                let (unit, result) = (body.string()?, body.string()?);
                if unit != self.unit {
                    return Ok(false);
                }
                match result.as_str() {
                    "done" => Ok(true),
                    _ => Err(io::Error::other(format!("{unit}: {result}"))),
                }
            }
            _ => Ok(false),
        }
    }
}

/// Whether the manager wants our scope to stop. Reads what has come; an error
/// means that nothing more will.
///
/// # Errors
/// The connection is gone.
pub fn wants_stop(bus: &mut Bus) -> io::Result<bool> {
    let mut wanted = false;
    while let Some(message) = bus.next()? {
        wanted |= message.kind == Kind::Signal && message.member == "RequestStop";
    }
    Ok(wanted)
}

fn call<'a>(unit: &Unit<'_>) -> Call<'a> {
    let mut body = Writer::default();
    body.string(unit.name).string("fail");
    body.array(8, |properties| {
        let mut text = |name: &str, value: &str| {
            properties.property(name, "s", |v| {
                v.string(value);
            });
        };
        text("Description", unit.description);
        text("Slice", SLICE);
        text("CollectMode", "inactive-or-failed");
        match unit.content {
            Content::Process { controller, .. } => text("Controller", controller),
            Content::Program { .. } => {
                text("Type", "notify");
                text("NotifyAccess", "main");
                text("KillMode", "mixed");
                text("OOMPolicy", "continue");
                text("SyslogIdentifier", "rkt");
            }
        }
        properties.property("Delegate", "b", |v| {
            v.bool(true);
        });
        // The pod's limits are its apps'.
        properties.property("TasksMax", "t", |v| {
            v.u64(u64::MAX);
        });
        match unit.content {
            Content::Process { pid, .. } => {
                properties.property("PIDs", "au", |v| {
                    v.array(4, |pids| {
                        pids.u32(pid);
                    });
                });
            }
            Content::Program {
                path,
                arguments,
                environment,
                ..
            } => {
                // Readiness takes as long as it takes.
                properties.property("TimeoutStartUSec", "t", |v| {
                    v.u64(u64::MAX);
                });
                properties.property("Environment", "as", |v| strings(v, environment));
                properties.property("ExecStart", "a(sasb)", |v| {
                    v.array(8, |commands| {
                        commands.structure().string(path);
                        strings(commands, arguments);
                        commands.bool(false);
                    });
                });
            }
        }
    });
    // No auxiliary units.
    body.array(8, |_| {});
    Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member: "StartTransientUnit",
        signature: "ssa(sv)a(sa(sv))",
        body,
    }
}

fn strings(writer: &mut Writer, values: &[&str]) {
    writer.array(4, |array| {
        for value in values {
            array.string(value);
        }
    });
}
