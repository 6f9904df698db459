//! The table, its chains and its rules, which are the same on every host.

use super::super::netlink::message::{APPEND, CREATE, EXCL, Message};
use super::elements::{Family, Set};
use super::expression::{Expressions, Is};
use super::{NEWCHAIN, NEWRULE, NEWTABLE, TABLE, TABLE_NAME, request};

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;

const PREROUTING: u32 = 0;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
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
    changes.push(chain("postrouting", "nat", POSTROUTING, SRCNAT));
    for family in Family::BOTH {
        let (mask, multicast): (&[u8], &[u8]) = match family {
            Family::V4 => (&[0xf0, 0, 0, 0], &[0xe0, 0, 0, 0]),
            Family::V6 => (
                &[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                &[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
        };
        changes.push(rule("postrouting", |e| {
            e.family(family)
                .source_of(Set::Masq(family), family)
                .pair_of(Set::Near(family), family, Is::Not)
                .destination_in(family, Is::Not, mask, multicast)
                .masquerade();
        }));
        changes.push(rule("postrouting", |e| {
            e.family(family)
                .forwarded()
                .pair_of(Set::Hairpin(family), family, Is::Equal)
                .masquerade();
        }));
    }
    // From the host's own loopback: the pod could not answer to that address.
    changes.push(rule("postrouting", |e| {
        let (mask, loopback) = ([0xff, 0, 0, 0], [127, 0, 0, 0]);
        e.family(Family::V4)
            .forwarded()
            .source_in(Family::V4, Is::Equal, &mask, &loopback)
            .destination_in(Family::V4, Is::Not, &mask, &loopback)
            .masquerade();
    }));
    changes
}
