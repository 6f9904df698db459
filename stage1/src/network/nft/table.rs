//! The table, its chains and its rules: those that are the same on every host,
//! and those of networks.

use std::net::Ipv6Addr;

use ipnet::IpNet;

use super::super::netlink::message::{self, APPEND, CREATE, EXCL, Message};
use super::super::netlink::route::octets;
use super::elements::{Family, Set, comment_in, userdata};
use super::expression::{Expressions, Is};
use super::{GETRULE, NEWCHAIN, NEWRULE, NEWTABLE, TABLE, TABLE_NAME, request};

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;

const PREROUTING: u32 = 0;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
const POSTROUTING_CHAIN: &str = "postrouting";
const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const SRCNAT: i32 = 100;

fn chain(name: &str, kind: &str, hook: u32, priority: i32) -> Message {
    let mut message = request(NEWCHAIN, CREATE | EXCL);
    message
        .text(CHAIN_TABLE, TABLE)
        .text(CHAIN_NAME, name)
        .nest(CHAIN_HOOK, |at| {
            at.be32(HOOK_NUMBER, hook)
                .be32(HOOK_PRIORITY, priority.cast_unsigned());
        })
        .text(CHAIN_TYPE, kind);
    message
}

fn rule(chain: &str, fill: impl FnOnce(&mut Expressions<'_>)) -> Message {
    let mut message = request(NEWRULE, CREATE | APPEND);
    message
        .text(RULE_TABLE, TABLE)
        .text(RULE_CHAIN, chain)
        .nest(RULE_EXPRESSIONS, |list| {
            fill(&mut Expressions(list));
        });
    message
}

/// The changes that make the table; they fail when it is there.
pub(super) fn ruleset() -> Vec<Message> {
    let mut table = request(NEWTABLE, CREATE | EXCL);
    table.text(TABLE_NAME, TABLE);
    let mut changes = vec![table];
    for (id, set) in (1..).zip(Set::ALL) {
        changes.push(set.create(id));
    }
    // A pod's interface may carry 127/8 so that the host's loopback reaches its
    // ports (`route_localnet`); the other way it must not (CVE-2020-8558).
    changes.push(chain("loopback", "filter", PREROUTING, RAW));
    changes.push(rule("loopback", |e| {
        e.family(Family::V4)
            .arriving()
            .destination_in(Family::V4, Is::Equal, &[0xff, 0, 0, 0], &[127, 0, 0, 0])
            .drop();
    }));
    for (name, hook) in [("prerouting", PREROUTING), ("output", OUTPUT)] {
        changes.push(chain(name, "nat", hook, DSTNAT));
        for family in Family::BOTH {
            for (map, with_address) in [(Set::At(family), true), (Set::Any(family), false)] {
                changes.push(rule(name, |e| {
                    e.family(family)
                        .for_this_host()
                        .translate(map, family, with_address);
                }));
            }
        }
    }
    changes.push(chain(POSTROUTING_CHAIN, "nat", POSTROUTING, SRCNAT));
    for family in Family::BOTH {
        changes.push(rule(POSTROUTING_CHAIN, |e| {
            e.family(family)
                .forwarded()
                .pair_of(Set::Itself(family), family)
                .masquerade();
        }));
    }
    // From the host's own loopback: the pod could not answer to that address.
    let whole = [0xff; 16];
    for (family, mask, loopback) in [
        (Family::V4, &[0xff, 0, 0, 0][..], &[127, 0, 0, 0][..]),
        (Family::V6, &whole, &Ipv6Addr::LOCALHOST.octets()),
    ] {
        changes.push(rule(POSTROUTING_CHAIN, |e| {
            e.family(family)
                .forwarded()
                .source_in(family, Is::Equal, mask, loopback)
                .destination_in(family, Is::Not, mask, loopback)
                .masquerade();
        }));
    }
    changes
}

/// What is the same for all pods of a network: a rule, which stays when the
/// last of them has left, as a bridge does.
///
/// It is known by its comment, which says all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkRule {
    /// The network's name.
    pub(crate) network: String,
    /// The pods' addresses.
    pub(crate) subnet: IpNet,
    /// What happens to their packets.
    pub(crate) treatment: Treatment,
}

/// What happens to the packets of a network's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// What leaves the subnet gets the host's address, but for multicast.
    Masquerade,
    /// What was forwarded within the subnet gets the host's address, because
    /// the answer would not come back through the host otherwise.
    Hairpin,
}

impl NetworkRule {
    /// The comment by which it is found again.
    pub(super) fn comment(&self) -> String {
        let treatment = match self.treatment {
            Treatment::Masquerade => "masquerade",
            Treatment::Hairpin => "hairpin",
        };
        // A name may be longer than a comment.
        let network: String = self.network.chars().take(50).collect();
        format!("network {network}: {treatment} {}", self.subnet)
    }

    /// The change that adds it.
    pub(super) fn add(&self) -> Message {
        let net = self.subnet.trunc();
        let family = Family::of(net.addr());
        let (mask, bits) = (octets(net.netmask()), octets(net.network()));
        let (multicast_mask, multicast) = match family {
            Family::V4 => (vec![0xf0, 0, 0, 0], vec![0xe0, 0, 0, 0]),
            Family::V6 => {
                let mut first_byte = vec![0; 16];
                first_byte[0] = 0xff;
                (first_byte.clone(), first_byte)
            }
        };
        let mut message = rule(POSTROUTING_CHAIN, |e| {
            e.family(family);
            match self.treatment {
                Treatment::Masquerade => e
                    .source_in(family, Is::Equal, &mask, &bits)
                    .destination_in(family, Is::Not, &mask, &bits)
                    .destination_in(family, Is::Not, &multicast_mask, &multicast),
                Treatment::Hairpin => e
                    .forwarded()
                    .source_in(family, Is::Equal, &mask, &bits)
                    .destination_in(family, Is::Equal, &mask, &bits),
            }
            .masquerade();
        });
        message.attr(RULE_USERDATA, &userdata(&self.comment()));
        message
    }
}

/// The request for all rules of networks.
pub(super) fn list_network_rules(flags: u16) -> Message {
    let mut message = request(GETRULE, flags);
    message
        .text(RULE_TABLE, TABLE)
        .text(RULE_CHAIN, POSTROUTING_CHAIN);
    message
}

/// The comment of the rule in one message of an answer.
pub(super) fn comment_of(body: &[u8]) -> Option<String> {
    comment_in(message::attribute(body.get(4..)?, RULE_USERDATA)?)
}
