//! What systemd hears of a pod that runs, and says to it, on the system bus.
//!
//! Of a pod in a scope, the supervisor is the controller: `systemctl stop` asks
//! it, so the apps stop in order instead of all being sent SIGTERM. A pod with a
//! unit of its own is told to machined once its apps start; nobody waits for
//! what that says. A bus or machined that is not there is not missed.

use std::os::fd::{BorrowedFd, OwnedFd};

use systemd::bus::Bus;
use systemd::machined::{self, Machine, Registration};
use systemd::manager;
use systemd::unit::Standing;

/// The bus, as far as it is needed.
#[derive(Debug, Default)]
pub(super) struct Systemd {
    /// On which the manager says that our scope is to stop.
    scope: Option<Bus>,
    /// On which machined will answer.
    machined: Option<(Bus, Registration)>,
}

impl Systemd {
    /// With the connection of the process that asked for our scope.
    pub(super) fn new(scope: Option<OwnedFd>) -> Self {
        Self {
            scope: scope.map(Bus::inherited),
            machined: None,
        }
    }

    /// Tells machined of the pod whose PID 1 this is. A pod that shares its
    /// unit with others is not told: the unit is what machined stops.
    pub(super) fn register(&mut self, uuid: &str, leader: i32) {
        if !machined::is_installed() || Standing::look() != Standing::Delegated {
            return;
        }
        let name = format!("rkt-{uuid}");
        let machine = Machine {
            name: &name,
            id: bytes(uuid),
            leader: leader.unsigned_abs(),
            root: "",
        };
        if let Ok(mut bus) = Bus::connect()
            && let Ok(registration) = Registration::ask(&mut bus, &machine)
        {
            self.machined = Some((bus, registration));
        }
    }

    /// What to wait for: something to read.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        let machined = self.machined.as_ref().map(|(bus, _)| bus);
        self.scope.iter().chain(machined).map(AsFd::as_fd)
    }

    /// Reads what came; whether our scope is to stop.
    pub(super) fn hear(&mut self) -> bool {
        if let Some((bus, registration)) = &mut self.machined {
            match registration.is_answered(bus) {
                Ok(false) => {}
                Ok(true) => self.machined = None,
                Err(error) => {
                    self.machined = None;
                    if let Some(reason) = error {
                        crate::error::say(format_args!(
                            "run: machinectl will not list the pod: {reason}"
                        ));
                    }
                }
            }
        }
        let Some(bus) = &mut self.scope else {
            return false;
        };
        match manager::wants_stop(bus) {
            Ok(wanted) => wanted,
            Err(_) => {
                // The manager does without a controller from now on.
                self.scope = None;
                false
            }
        }
    }
}

/// The bytes of a UUID as text, which was checked.
fn bytes(uuid: &str) -> [u8; 16] {
    let digits: Vec<u8> = uuid
        .chars()
        .filter_map(|c| c.to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_sixteen_bytes() {
        let mut expected = [0; 16];
        expected[0] = 0x5b;
        expected[15] = 0xf1;
        assert_eq!(bytes("5b000000-0000-0000-0000-0000000000f1"), expected);
    }
}
