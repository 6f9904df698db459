//! Telling machined of a pod, so that machinectl lists it.
//!
//! machined looks after what it was told of by itself: the machine is gone
//! when its leader is. Source: org.freedesktop.machine1(5).

use std::io;
use std::path::Path;

use crate::bus::Bus;
use crate::wire::{Call, Kind, Writer};

/// By this file the bus knows that it can start machined.
const INSTALLED: &str = "usr/share/dbus-1/system-services/org.freedesktop.machine1.service";

/// A pod, as machined sees it.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// A host name of at most 64 bytes.
    pub name: &'a str,
    /// The pod's UUID.
    pub id: [u8; 16],
    /// Its PID 1, as the host sees it. The unit that it is in becomes the
    /// machine's: it is what `machinectl terminate` stops.
    pub leader: u32,
    /// Its root, if it has one.
    pub root: &'a str,
}

/// Errors of the bus and of the manager, when machined is not, or must not be,
/// started.
const ABSENT: [&str; 3] = [
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.systemd1.",
];

/// Whether there is a machined to tell.
pub fn is_installed() -> bool {
    Path::new("/").join(INSTALLED).exists()
}

/// A machine that machined was told of.
#[derive(Debug)]
pub struct Registration {
    serial: u32,
}

impl Registration {
    /// Tells machined.
    ///
    /// # Errors
    /// The bus does not take it.
    pub fn ask(bus: &mut Bus, machine: &Machine<'_>) -> io::Result<Self> {
        let mut body = Writer::default();
        body.string(machine.name).array(1, |id| {
            for byte in machine.id {
                id.byte(byte);
            }
        });
        body.string("rkt").string("container").u32(machine.leader);
        body.string(machine.root);
        let serial = bus.call(&Call {
            destination: "org.freedesktop.machine1",
            path: "/org/freedesktop/machine1",
            interface: "org.freedesktop.machine1.Manager",
            member: "RegisterMachine",
            signature: "sayssus",
            body,
        })?;
        Ok(Self { serial })
    }

    /// Whether machined has answered by now.
    ///
    /// # Errors
    /// It refuses, with its words; none when nobody answers, because machined
    /// or the bus is gone.
    pub fn is_answered(&self, bus: &mut Bus) -> Result<bool, Option<String>> {
        while let Some(message) = bus.next().map_err(|_| None)? {
            match message.kind {
                Kind::Error => {
                    let absent = ABSENT.iter().any(|name| message.error.starts_with(name));
                    return Err((!absent).then(|| message.text()));
                }
                Kind::Return if message.reply_to == self.serial => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }
}
