//! What we say to systemd: to the manager and machined on the bus, to journald
//! on its socket.
//!
//! A pod asks one thing of each, at most, so these are a few messages put
//! together by hand: the bus' libraries bring an executor or a C library with
//! them, and the longer-lived of our processes is to be small. Nothing here
//! waits unless its name says so, and where systemd is not, nothing is asked.

pub mod bus;
pub mod journal;
pub mod machined;
pub mod manager;
pub mod unit;
mod wire;
