//! Netlink messages, written and read.
//!
//! rtnetlink and nftables share this form: a header, a fixed part, and
//! attributes that may nest. One encoder for both is smaller than a library
//! for each, and nftables has none without C.
//!
//! Source: linux/netlink.h.

use rustix::io::Errno;

/// `NLM_F_REQUEST`: a request for the kernel.
pub(crate) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer also when it went well.
pub(crate) const ACK: u16 = 0x4;
/// `NLM_F_ECHO`: tell of the change whoever made it, too.
pub(crate) const ECHO: u16 = 0x8;
/// `NLM_F_DUMP`: every object.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`: an object that exists is changed.
pub(crate) const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`: an object that exists is an error.
pub(crate) const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`: make the object.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: at the end of the list.
pub(crate) const APPEND: u16 = 0x800;

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;

/// A request being written.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    /// Refusals that change nothing for the caller.
    forgiven: &'static [Errno],
}

fn align(buffer: &mut Vec<u8>) {
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

impl Message {
    /// A request of `kind` with its fixed part.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut buffer = Vec::with_capacity(256);
        buffer.extend_from_slice(&0_u32.to_ne_bytes());
        buffer.extend_from_slice(&kind.to_ne_bytes());
        buffer.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        buffer.extend_from_slice(&[0; 8]);
        buffer.extend_from_slice(fixed);
        align(&mut buffer);
        Self {
            bytes: buffer,
            forgiven: &[],
        }
    }

    /// Adds an attribute.
    pub(crate) fn attr(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        let length = 4 + payload.len();
        debug_assert!(
            length <= usize::from(u16::MAX),
            "an attribute is at most 64 KiB"
        );
        self.bytes.extend_from_slice(&(length as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        align(&mut self.bytes);
        self
    }

    /// Adds a text with its terminating zero.
    pub(crate) fn text(&mut self, kind: u16, text: &str) -> &mut Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Adds a number of one byte.
    pub(crate) fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.attr(kind, &[value])
    }

    /// Adds a number of two bytes in the machine's order.
    pub(crate) fn u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds a number of four bytes in the machine's order, as rtnetlink has it.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds a number of four bytes in network order, as nftables has it.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Adds an attribute that is made of attributes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        fill(self);
        let length = self.bytes.len() - start;
        debug_assert!(
            length <= usize::from(u16::MAX),
            "an attribute is at most 64 KiB"
        );
        self.bytes[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
        self
    }

    /// Adds bytes that are no attribute, such as a structure inside a nest.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        align(&mut self.bytes);
        self
    }

    /// The bytes to send, numbered `sequence`.
    pub(crate) fn finish(&self, sequence: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let length = bytes.len() as u32;
        bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes
    }

    /// To be refused for one of these reasons is as good as to be done.
    pub(crate) fn forgiving(mut self, reasons: &'static [Errno]) -> Self {
        self.forgiven = reasons;
        self
    }

    /// What [`Message::forgiving`] said.
    pub(crate) fn forgiven(&self) -> &'static [Errno] {
        self.forgiven
    }

    /// Asks for an answer also when it went well.
    pub(crate) fn with_ack(mut self) -> Self {
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | ACK;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self
    }
}

/// One message of the kernel's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply<'a> {
    /// Its kind.
    pub(crate) kind: u16,
    /// The number of the request that it answers.
    pub(crate) sequence: u32,
    /// Its flags.
    pub(crate) flags: u16,
    /// The fixed part and the attributes.
    pub(crate) body: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The messages in what one receive call returned; ends at the first that is
/// cut off.
pub(crate) fn replies(mut bytes: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let body = bytes.get(HEADER..length)?;
        let reply = Reply {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            body,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(reply)
    })
}

/// The attributes in `bytes`, kind (without the flags) and payload; ends at
/// the first that is cut off.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let payload = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// The payload of the first attribute of `kind`.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(k, _)| *k == kind)
        .map(|(_, payload)| payload)
}

/// A number of four bytes in the machine's order.
pub(crate) fn as_u32(payload: &[u8]) -> Option<u32> {
    u32_at(payload, 0)
}

/// A number of four bytes in network order.
pub(crate) fn as_be32(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.get(..4)?.try_into().ok()?))
}

/// A text, without its terminating zero.
pub(crate) fn as_text(payload: &[u8]) -> String {
    let end = payload
        .iter()
        .position(|b| *b == 0)
        .unwrap_or(payload.len());
    String::from_utf8_lossy(&payload[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nests_and_padding_read_back() {
        let mut message = Message::new(16, CREATE, &[1, 2, 3, 4]);
        message.text(3, "eth0").nest(18, |m| {
            m.u8(1, 7).u32(2, 9);
        });
        let bytes = message.with_ack().finish(5);
        let reply = replies(&bytes).next().unwrap();
        assert_eq!((reply.kind, reply.sequence), (16, 5));
        assert_eq!(reply.flags, REQUEST | ACK | CREATE);
        assert_eq!(attribute(&reply.body[4..], 3).map(as_text).unwrap(), "eth0");
        let inner = attribute(&reply.body[4..], 18).unwrap();
        assert_eq!(attribute(inner, 1), Some(&[7][..]));
        assert_eq!(attribute(inner, 2).and_then(as_u32), Some(9));
    }

    proptest! {
        #[test]
        fn whatever_was_written_is_read(list in prop::collection::vec((1u16..0x3fff, prop::collection::vec(any::<u8>(), 0..40)), 0..20)) {
            let mut message = Message::new(1, 0, &[]);
            for (kind, payload) in &list {
                message.attr(*kind, payload);
            }
            let bytes = message.finish(1);
            let body = replies(&bytes).next().unwrap().body;
            let read: Vec<(u16, Vec<u8>)> = attributes(body).map(|(k, p)| (k, p.to_vec())).collect();
            prop_assert_eq!(read, list);
        }

        #[test]
        fn rubbish_ends_and_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for reply in replies(&bytes).take(1000) {
                let _ = attributes(reply.body).take(1000).count();
            }
            let _ = attributes(&bytes).take(1000).count();
        }
    }
}
