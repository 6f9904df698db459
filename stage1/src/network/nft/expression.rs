//! The pieces of rules.
//!
//! Registers: 1 is four words of four bytes each, and 8 to 23 are the same
//! words one by one, so that 8 is the beginning of 1.

use super::super::netlink::message::Message;
use super::elements::{Family, Set};

const LIST_ELEM: u16 = 1;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;

const META_IIF: u32 = 4;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const FIB_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 2;
const RTN_LOCAL: u32 = 2;
const CT_STATUS: u32 = 2;
const IPS_DST_NAT: u32 = 0x20;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// Which way a comparison goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    Equal,
    Not,
}

impl Is {
    fn number(self) -> u32 {
        match self {
            Self::Equal => 0,
            Self::Not => 1,
        }
    }
}

/// A rule's list of expressions.
pub(super) struct Expressions<'a>(pub(super) &'a mut Message);

impl Expressions<'_> {
    fn add(&mut self, name: &str, fill: impl FnOnce(&mut Message)) -> &mut Self {
        self.0.nest(LIST_ELEM, |expression| {
            expression.text(EXPR_NAME, name).nest(EXPR_DATA, fill);
        });
        self
    }

    fn compare(&mut self, register: u32, is: Is, value: &[u8]) -> &mut Self {
        self.add("cmp", |e| {
            e.be32(1, register).be32(2, is.number()).nest(3, |data| {
                data.attr(1, value);
            });
        })
    }

    fn mask(&mut self, register: u32, mask: &[u8]) -> &mut Self {
        self.add("bitwise", |e| {
            e.be32(1, register)
                .be32(2, register)
                .be32(3, mask.len() as u32);
            e.nest(4, |data| {
                data.attr(1, mask);
            });
            e.nest(5, |data| {
                data.attr(1, &vec![0; mask.len()]);
            });
        })
    }

    fn payload(&mut self, register: u32, base: u32, offset: u32, length: u32) -> &mut Self {
        self.add("payload", |e| {
            e.be32(1, register)
                .be32(2, base)
                .be32(3, offset)
                .be32(4, length);
        })
    }

    fn meta(&mut self, register: u32, key: u32) -> &mut Self {
        self.add("meta", |e| {
            e.be32(1, register).be32(2, key);
        })
    }

    /// Packets of one family.
    pub(super) fn family(&mut self, family: Family) -> &mut Self {
        let number = match family {
            Family::V4 => NFPROTO_IPV4,
            Family::V6 => NFPROTO_IPV6,
        };
        self.meta(1, META_NFPROTO).compare(1, Is::Equal, &[number])
    }

    /// Packets to an address of this host.
    pub(super) fn for_this_host(&mut self) -> &mut Self {
        self.add("fib", |e| {
            e.be32(1, 1).be32(2, FIB_ADDRTYPE).be32(3, FIB_DADDR);
        })
        .compare(1, Is::Equal, &RTN_LOCAL.to_ne_bytes())
    }

    /// Packets of a connection whose destination was translated.
    pub(super) fn forwarded(&mut self) -> &mut Self {
        self.add("ct", |e| {
            e.be32(1, 1).be32(2, CT_STATUS);
        })
        .mask(1, &IPS_DST_NAT.to_ne_bytes())
        .compare(1, Is::Not, &0_u32.to_ne_bytes())
    }

    fn source(&mut self, register: u32, family: Family) -> &mut Self {
        let offset = match family {
            Family::V4 => 12,
            Family::V6 => 8,
        };
        self.payload(register, NETWORK, offset, family.length())
    }

    fn destination(&mut self, register: u32, family: Family) -> &mut Self {
        let offset = match family {
            Family::V4 => 16,
            Family::V6 => 24,
        };
        self.payload(register, NETWORK, offset, family.length())
    }

    /// Packets whose source is, or is not, in a network given by its mask and
    /// its bits.
    pub(super) fn source_in(
        &mut self,
        family: Family,
        is: Is,
        mask: &[u8],
        bits: &[u8],
    ) -> &mut Self {
        self.source(1, family).mask(1, mask).compare(1, is, bits)
    }

    /// The same of the destination.
    pub(super) fn destination_in(
        &mut self,
        family: Family,
        is: Is,
        mask: &[u8],
        bits: &[u8],
    ) -> &mut Self {
        self.destination(1, family)
            .mask(1, mask)
            .compare(1, is, bits)
    }

    /// Packets whose source and destination are in the set.
    pub(super) fn pair_of(&mut self, set: Set, family: Family) -> &mut Self {
        self.source(1, family)
            .destination(8 + family.length() / 4, family)
            .add("lookup", |e| {
                e.text(1, set.name()).be32(2, 1);
            })
    }

    /// Sends the packet to where the map leads, if it has the packet's
    /// protocol, destination if `with_address`, and port.
    pub(super) fn translate(&mut self, map: Set, family: Family, with_address: bool) -> &mut Self {
        let words = family.length() / 4;
        self.meta(1, META_L4PROTO);
        let mut port = 9;
        if with_address {
            self.destination(9, family);
            port += words;
        }
        self.payload(port, TRANSPORT, 2, 2);
        self.add("lookup", |e| {
            e.text(1, map.name()).be32(2, 1).be32(3, 1);
        });
        let number = match family {
            Family::V4 => NFPROTO_IPV4,
            Family::V6 => NFPROTO_IPV6,
        };
        self.add("nat", |e| {
            // DNAT, family, address, port.
            e.be32(1, 1)
                .be32(2, u32::from(number))
                .be32(3, 1)
                .be32(5, 8 + words);
        })
    }

    /// Packets that came in by another interface than loopback, which is
    /// number 1 in every namespace.
    pub(super) fn arriving(&mut self) -> &mut Self {
        self.meta(1, META_IIF)
            .compare(1, Is::Not, &1_u32.to_ne_bytes())
    }

    /// Ends the packet.
    pub(super) fn drop(&mut self) -> &mut Self {
        self.add("immediate", |e| {
            // Register 0 takes verdicts; verdict 0 is "drop".
            e.be32(1, 0).nest(2, |data| {
                data.nest(2, |verdict| {
                    verdict.be32(1, 0);
                });
            });
        })
    }

    /// Gives the packet the address of the interface that it leaves by.
    pub(super) fn masquerade(&mut self) -> &mut Self {
        self.add("masq", |_| {})
    }
}
