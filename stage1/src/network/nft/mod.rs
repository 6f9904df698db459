//! Our table in nftables: `inet rkt`.
//!
//! Pods have no rules. What belongs to a pod is an element of a set or map,
//! with the pod's UUID as its comment, so that
//!
//! - a packet's way does not grow longer with the number of pods,
//! - adding and removing is one element each, found by its key, and
//! - what is removed is provably ours: the comment is compared, and the
//!   transaction is bound to the generation in which it was.
//!
//! What all pods of a network share is a rule, added by the first and left in
//! place: a pod without ports changes nothing here, neither when it joins nor
//! when it leaves. That matters because every removal from nftables makes the
//! next process that closes a socket to it wait for an RCU grace period.
//!
//! ```text
//!  before all           from outside, to 127/8                       ─▶ drop
//!  prerouting, output   to one of our addresses?  any/at: protocol (address) port ─▶ pod, port
//!  postrouting          forwarded, and to itself or from loopback    ─▶ masquerade
//!                       one rule for each network that masquerades
//! ```
//!
//! Nobody else writes to this table, and it does not depend on other tables:
//! an `accept` of ours does not overrule another table's `drop`.
//!
//! Source: linux/netfilter/nf_tables.h, nft(8).

mod elements;
mod expression;
mod table;

use rustix::io::Errno;
use rustix::net::netlink;

pub(crate) use elements::{Element, Family, Key, Set};
pub(crate) use table::{NetworkRule, Treatment};

use super::netlink::message::{self, DUMP, Message};
use super::netlink::socket::{Refusal, Socket, refusal_of};

/// Name of the table.
pub(crate) const TABLE: &str = "rkt";

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const BATCH_GENERATION: u16 = 1;
const NFPROTO_INET: u8 = 1;

const NEWTABLE: u16 = 0;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;
const NEWGEN: u16 = 15;
const GETGEN: u16 = 16;

const TABLE_NAME: u16 = 1;
const GEN_ID: u16 = 1;

/// How often a transaction is tried again because others were faster.
const ATTEMPTS: usize = 64;

/// Multicast group that hears of every change (`NFNLGRP_NFTABLES`, 7).
const CHANGES: u32 = 1 << 6;

fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

/// `struct nfgenmsg`.
fn fixed(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn request(message: u16, flags: u16) -> Message {
    Message::new(kind(message), flags, &fixed(NFPROTO_INET, 0))
}

/// What one pod needs in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Shared with the other pods of its networks.
    pub(crate) rules: Vec<NetworkRule>,
    /// Its own.
    pub(crate) elements: Vec<Element>,
}

impl Part {
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.elements.is_empty()
    }
}

/// A connection to nftables in one network namespace.
#[derive(Debug)]
pub(crate) struct Nft {
    socket: Socket,
}

impl Nft {
    /// Connects to nftables of the calling thread's network namespace.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` when the kernel has no nftables.
    pub(crate) fn open() -> Result<Self, Refusal> {
        Ok(Self {
            socket: Socket::open(Some(netlink::NETFILTER), 0)?,
        })
    }

    /// Makes all of `changes` or none; with `generation`, only if nobody has
    /// changed anything since.
    ///
    /// # Errors
    /// The first refusal; `ERESTART` when somebody changed something.
    fn transaction(
        &mut self,
        changes: Vec<Message>,
        generation: Option<u32>,
    ) -> Result<(), Refusal> {
        let Some(last) = changes.len().checked_sub(1) else {
            return Ok(());
        };
        let mut begin = Message::new(BATCH_BEGIN, 0, &fixed(0, SUBSYSTEM));
        if let Some(generation) = generation {
            begin.be32(BATCH_GENERATION, generation);
        }
        // Number 0 is the beginning, the change `i` is `i` + 1.
        let mut bytes = begin.finish(0);
        for (index, change) in changes.into_iter().enumerate() {
            let change = if index == last {
                change.with_ack()
            } else {
                change
            };
            bytes.extend(change.finish(index as u32 + 1));
        }
        bytes.extend(Message::new(BATCH_END, 0, &fixed(0, SUBSYSTEM)).finish(last as u32 + 2));
        if bytes.len() > 100 << 10 {
            rustix::net::sockopt::set_socket_send_buffer_size_force(&self.socket, bytes.len() * 2)?;
        }
        self.socket.send(&bytes)?;
        let mut refusal: Option<Refusal> = None;
        loop {
            self.socket.receive()?;
            let mut done = false;
            for reply in self.socket.received() {
                if reply.kind != 2 {
                    continue;
                }
                let sequence = reply.sequence as usize;
                if let Some(mut refused) = refusal_of(&reply) {
                    refused.index = sequence.saturating_sub(1);
                    refusal.get_or_insert(refused);
                }
                // A refusal of the beginning is one of the whole.
                done |= sequence == last + 1 || sequence == 0;
            }
            if done {
                return refusal.map_or(Ok(()), Err);
            }
        }
    }

    /// The number that grows with every change by anybody.
    fn generation(&mut self) -> Result<u32, Refusal> {
        let mut generation = None;
        let ask = Message::new(kind(GETGEN), 0, &fixed(0, 0));
        let asked = self.socket.query(&ask, |reply| {
            generation = reply
                .body
                .get(4..)
                .and_then(|attributes| message::attribute(attributes, GEN_ID))
                .and_then(message::as_be32);
        });
        match asked {
            // Netfilter is there, and has no nftables.
            Err(refusal) if refusal.is(Errno::INVAL) => return Err(lacking(refusal)),
            other => other?,
        }
        generation.ok_or(Refusal::from(Errno::PROTO))
    }

    /// Adds `part`, and the table before if it is missing. An element that is
    /// there with another owner is replaced: whoever has the address or the
    /// port is the caller, so that owner is dead. Says whether anything was
    /// missing.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` or `EOPNOTSUPP` where nftables or a part of it is
    /// missing; `EAGAIN` when others change the rules without end.
    pub(crate) fn add(&mut self, part: &Part) -> Result<bool, Refusal> {
        let mut with_table = false;
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            let mut changes = Vec::new();
            let mut known = Vec::new();
            if with_table {
                changes = table::ruleset();
            } else {
                known = self.network_rules()?;
            }
            for rule in &part.rules {
                let comment = rule.comment();
                if !known.contains(&comment) {
                    changes.push(rule.add());
                    known.push(comment);
                }
            }
            for element in &part.elements {
                let there = if with_table {
                    None
                } else {
                    self.get(element.set, &element.key)?
                };
                match there {
                    Some(owner) if owner == element.comment => continue,
                    Some(_) => changes.push(elements::delete(element.set, &element.key)),
                    None => {}
                }
                changes.push(elements::add(element));
            }
            let missing = !changes.is_empty();
            match self.transaction(changes, Some(generation)) {
                // The table is missing.
                Err(refusal) if refusal.is(Errno::NOENT) && !with_table => with_table = true,
                // A kind of chain or expression is.
                Err(refusal) if refusal.is(Errno::NOENT) => return Err(lacking(refusal)),
                // Somebody else has made it meanwhile.
                Err(refusal) if refusal.is(Errno::EXIST) && with_table => with_table = false,
                Err(refusal) if is_race(&refusal) => {}
                other => return other.map(|()| missing),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// The comments of what is in `part` and not in the table.
    ///
    /// # Errors
    /// As for [`Nft::add`].
    pub(crate) fn missing(&mut self, part: &Part) -> Result<Vec<String>, Refusal> {
        let known = self.network_rules()?;
        let rules = part.rules.iter().map(NetworkRule::comment);
        let mut missing: Vec<String> = rules.filter(|rule| !known.contains(rule)).collect();
        for element in &part.elements {
            if self.get(element.set, &element.key)?.as_ref() != Some(&element.comment) {
                missing.push(element.comment.clone());
            }
        }
        Ok(missing)
    }

    /// Removes everything whose comment begins with `owner` and a space.
    ///
    /// # Errors
    /// As for [`Nft::add`]; that nothing is there is none.
    pub(crate) fn remove(&mut self, owner: &str) -> Result<(), Refusal> {
        let owner = format!("{owner} ");
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            let mut changes = Vec::new();
            for set in Set::ALL {
                let elements = self.list(set)?.into_iter();
                let ours = elements.filter(|(_, comment)| comment.starts_with(&owner));
                changes.extend(ours.map(|(key, _)| elements::delete(set, &key)));
            }
            match self.transaction(changes, Some(generation)) {
                Err(refusal) if is_race(&refusal) || refusal.is(Errno::NOENT) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// The comments of the rules of networks; none when there is no table.
    fn network_rules(&mut self) -> Result<Vec<String>, Refusal> {
        self.dump(&table::list_network_rules(DUMP), |body| {
            table::comment_of(body).into_iter().collect()
        })
    }

    /// The comment of the element with `key`; `None` when there is none.
    pub(crate) fn get(&mut self, set: Set, key: &Key) -> Result<Option<String>, Refusal> {
        let ask = elements::get(set, key);
        let mut found = None;
        match self.socket.query(&ask, |reply| {
            found = elements::read(reply.body).into_iter().next();
        }) {
            Ok(()) => Ok(found.map(|(_, comment)| comment)),
            Err(refusal) if refusal.is(Errno::NOENT) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Keys and comments of all elements of `set`; none when there is no
    /// table.
    pub(crate) fn list(&mut self, set: Set) -> Result<Vec<(Key, String)>, Refusal> {
        self.dump(&elements::list(set, DUMP), elements::read)
    }

    /// What `read` finds in the messages of an answer; nothing when what is
    /// asked for is not there.
    fn dump<T>(
        &mut self,
        ask: &Message,
        read: impl Fn(&[u8]) -> Vec<T>,
    ) -> Result<Vec<T>, Refusal> {
        for _ in 0..ATTEMPTS {
            let mut found = Vec::new();
            match self
                .socket
                .query(ask, |reply| found.extend(read(reply.body)))
            {
                Err(refusal) if refusal.is(Errno::NOENT) => return Ok(Vec::new()),
                Err(refusal) if refusal.is(Errno::INTR) => {}
                other => return other.map(|()| found),
            }
        }
        Err(Errno::AGAIN.into())
    }
}

/// The refusal of a kernel that has not got all that we use, which says so in
/// several ways.
fn lacking(refusal: Refusal) -> Refusal {
    Refusal {
        errno: Errno::OPNOTSUPP,
        ..refusal
    }
}

/// `ERESTART` is not in rustix: the kernel does not mean it for user space,
/// except here.
fn is_race(refusal: &Refusal) -> bool {
    matches!(refusal.errno.raw_os_error(), 85) || refusal.is(Errno::AGAIN)
}

/// Opens a socket that becomes readable when a program other than `ours`
/// changes the rules of this network namespace.
///
/// # Errors
/// As for [`Nft::open`].
pub(crate) fn watch(ours: &str) -> Result<Socket, Refusal> {
    use std::os::fd::AsFd;

    // Classic BPF: load half-word and word at an offset, jump if equal, return.
    const LOAD_HALF: u16 = 0x28;
    const LOAD_WORD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // Each transaction ends with a NEWGEN of its own, whose attributes are the
    // generation, the process's number and its name, in this order. The kind
    // is in the machine's byte order, and BPF loads in network order.
    const KIND_AT: u32 = 4;
    const NAME_AT: u32 = 16 + 4 + 8 + 8 + 4;
    let kind = u32::from(kind(NEWGEN).to_be());
    let mut name = [0; 8];
    for (to, from) in name.iter_mut().zip(ours.bytes()) {
        *to = from;
    }
    let [first, second] = [&name[..4], &name[4..]].map(|part| {
        part.iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
    });
    let socket = Socket::open(Some(netlink::NETFILTER), CHANGES)?;
    sys::netlink::attach_filter(
        socket.as_fd(),
        &[
            (LOAD_HALF, 0, 0, KIND_AT),
            (JUMP_EQUAL, 0, 4, kind),
            (LOAD_WORD, 0, 0, NAME_AT),
            (JUMP_EQUAL, 0, 3, first),
            (LOAD_WORD, 0, 0, NAME_AT + 4),
            (JUMP_EQUAL, 0, 1, second),
            (RETURN, 0, 0, 0),
            (RETURN, 0, 0, u32::MAX),
        ],
    )
    .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL))?;
    Ok(socket)
}
