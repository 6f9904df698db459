//! The kernel's network configuration, spoken to by netlink.
//!
//! [`message`] writes and reads, [`socket`] sends and waits, [`route`] knows
//! links, addresses, routes and neighbours, [`traffic`] knows queues. nftables
//! has a module of its own beside this one.

pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod route;
pub(crate) mod socket;
pub(crate) mod traffic;
