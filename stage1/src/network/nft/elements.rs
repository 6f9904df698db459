//! Sets, maps and what is in them.

use std::net::IpAddr;

use super::super::netlink::message::{self, CREATE, EXCL, Message};
use super::super::netlink::route::octets;
use super::{DELSETELEM, GETSETELEM, NEWSET, NEWSETELEM, TABLE, request};

const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LEN: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LEN: u16 = 7;
const SET_ID: u16 = 10;
const LIST_ELEM: u16 = 1;

const FLAG_MAP: u32 = 0x8;

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEM_KEY: u16 = 1;
const ELEM_DATA: u16 = 2;
const ELEM_USERDATA: u16 = 6;
const DATA_VALUE: u16 = 1;

/// nft's numbers for types; a concatenation shifts each by six bits.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_SERVICE: u32 = 13;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The family of an address.
    pub(crate) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Both.
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Length of an address in bytes.
    pub(crate) fn length(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    fn data_type(self) -> u32 {
        match self {
            Self::V4 => TYPE_IPV4,
            Self::V6 => TYPE_IPV6,
        }
    }
}

/// The sets and maps of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// From a pod, to the same pod: forwarded traffic whose answers would not
    /// come back through the host.
    Itself(Family),
    /// Protocol and port, on all addresses of the host ─▶ address and port.
    Any(Family),
    /// Protocol, address and port of the host ─▶ address and port.
    At(Family),
}

impl Set {
    pub(crate) const ALL: [Self; 6] = [
        Self::Itself(Family::V4),
        Self::Itself(Family::V6),
        Self::Any(Family::V4),
        Self::Any(Family::V6),
        Self::At(Family::V4),
        Self::At(Family::V6),
    ];

    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Itself(Family::V4) => "itself4",
            Self::Itself(Family::V6) => "itself6",
            Self::Any(Family::V4) => "any4",
            Self::Any(Family::V6) => "any6",
            Self::At(Family::V4) => "at4",
            Self::At(Family::V6) => "at6",
        }
    }

    /// The request that makes it; `id` is unique in the transaction.
    pub(super) fn create(self, id: u32) -> Message {
        let concat = |types: &[u32]| types.iter().fold(0, |sum, t| sum << 6 | t);
        let (flags, key_type, key_length, data) = match self {
            Self::Itself(f) => (
                0,
                concat(&[f.data_type(), f.data_type()]),
                2 * f.length(),
                None,
            ),
            Self::Any(f) => (FLAG_MAP, concat(&[TYPE_PROTOCOL, TYPE_SERVICE]), 8, Some(f)),
            Self::At(f) => (
                FLAG_MAP,
                concat(&[TYPE_PROTOCOL, f.data_type(), TYPE_SERVICE]),
                8 + f.length(),
                Some(f),
            ),
        };
        let mut message = request(NEWSET, CREATE | EXCL);
        message
            .text(SET_TABLE, TABLE)
            .text(SET_NAME, self.name())
            .be32(SET_FLAGS, flags)
            .be32(SET_KEY_TYPE, key_type)
            .be32(SET_KEY_LEN, key_length)
            .be32(SET_ID, id);
        if let Some(family) = data {
            message
                .be32(SET_DATA_TYPE, concat(&[family.data_type(), TYPE_SERVICE]))
                .be32(SET_DATA_LEN, family.length() + 4);
        }
        message
    }
}

/// The key of an element: values, each filled up to four bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(Vec<u8>);

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

impl Key {
    /// A protocol's number, an address unless it is for all, and a port.
    pub(crate) fn service(protocol: u8, ip: Option<IpAddr>, port: u16) -> Self {
        let mut first = vec![protocol];
        pad(&mut first);
        if let Some(ip) = ip {
            first.extend(octets(ip));
        }
        first.extend(port.to_be_bytes());
        pad(&mut first);
        Self(first)
    }

    /// Whether this is the key of a protocol and port, whatever the address.
    pub(crate) fn is_service(&self, protocol: u8, port: u16) -> bool {
        let bytes = &self.0;
        let port_at = bytes.len().saturating_sub(4);
        bytes.first() == Some(&protocol)
            && bytes.get(port_at..port_at + 2) == Some(&port.to_be_bytes())
    }

    /// From an address to the same.
    pub(crate) fn itself(ip: IpAddr) -> Self {
        Self(octets(ip).repeat(2))
    }
}

/// Something in a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) set: Set,
    pub(crate) key: Key,
    /// Where a map leads to.
    pub(crate) target: Option<(IpAddr, u16)>,
    /// Whose it is, and what, at most 120 bytes: the pod's UUID and a space
    /// first.
    pub(crate) comment: String,
}

/// As nft writes a comment: type 0, length, text with its zero.
pub(super) fn userdata(comment: &str) -> Vec<u8> {
    let mut end = comment.len().min(120);
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    let text = &comment[..end];
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend(text.as_bytes());
    bytes.push(0);
    bytes
}

/// The comment in what [`userdata`] wrote.
pub(super) fn comment_in(userdata: &[u8]) -> Option<String> {
    userdata.get(2..).map(message::as_text)
}

/// The request that removes the element with `of`.
pub(super) fn delete(set: Set, of: &Key) -> Message {
    with_key(DELSETELEM, set, of)
}

/// The request that adds an element.
pub(super) fn add(element: &Element) -> Message {
    let mut message = request(NEWSETELEM, CREATE);
    message
        .text(LIST_TABLE, TABLE)
        .text(LIST_SET, element.set.name())
        .nest(LIST_ELEMENTS, |list| {
            list.nest(LIST_ELEM, |item| {
                key(item, &element.key);
                if let Some((ip, port)) = element.target {
                    let mut value = octets(ip);
                    value.extend(port.to_be_bytes());
                    pad(&mut value);
                    item.nest(ELEM_DATA, |data| {
                        data.attr(DATA_VALUE, &value);
                    });
                }
                item.attr(ELEM_USERDATA, &userdata(&element.comment));
            });
        });
    message
}

fn key(item: &mut Message, key: &Key) {
    item.nest(ELEM_KEY, |data| {
        data.attr(DATA_VALUE, &key.0);
    });
}

/// The request for the element with `key`.
pub(super) fn get(set: Set, of: &Key) -> Message {
    with_key(GETSETELEM, set, of)
}

fn with_key(kind: u16, set: Set, of: &Key) -> Message {
    let mut message = request(kind, 0);
    message
        .text(LIST_TABLE, TABLE)
        .text(LIST_SET, set.name())
        .nest(LIST_ELEMENTS, |list| {
            list.nest(LIST_ELEM, |item| key(item, of));
        });
    message
}

/// The request for all elements.
pub(super) fn list(set: Set, flags: u16) -> Message {
    let mut message = request(GETSETELEM, flags);
    message.text(LIST_TABLE, TABLE).text(LIST_SET, set.name());
    message
}

/// Keys and comments in one message of an answer.
pub(super) fn read(body: &[u8]) -> Vec<(Key, String)> {
    let Some(list) = body
        .get(4..)
        .and_then(|a| message::attribute(a, LIST_ELEMENTS))
    else {
        return Vec::new();
    };
    message::attributes(list)
        .filter_map(|(_, item)| {
            let key = message::attribute(message::attribute(item, ELEM_KEY)?, DATA_VALUE)?;
            let comment = message::attribute(item, ELEM_USERDATA).and_then(comment_in);
            Some((Key(key.to_vec()), comment.unwrap_or_default()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_filled_up() {
        let key = Key::service(6, Some([10, 0, 0, 1].into()), 80);
        assert_eq!(key.0, [6, 0, 0, 0, 10, 0, 0, 1, 0, 80, 0, 0]);
        let key = Key::itself([10, 1, 2, 3].into());
        assert_eq!(key.0, [10, 1, 2, 3, 10, 1, 2, 3]);
    }

    #[test]
    fn an_element_reads_back() {
        let element = Element {
            set: Set::Any(Family::V4),
            key: Key::service(17, None, 53),
            target: Some(([172, 16, 28, 2].into(), 5353)),
            comment: "0-1-2 dns".into(),
        };
        let bytes = add(&element).finish(1);
        let body = message::replies(&bytes).next().unwrap().body;
        assert_eq!(read(body), [(element.key, "0-1-2 dns".to_owned())]);
    }

    #[test]
    fn a_long_comment_is_cut_between_characters() {
        let data = userdata(&"ü".repeat(100));
        assert_eq!(data.len(), 2 + 120 + 1);
        assert!(std::str::from_utf8(&data[2..122]).is_ok());
    }
}
