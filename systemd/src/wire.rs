//! D-Bus messages as bytes: those few that we send and hear.
//!
//! Source: D-Bus Specification, "Marshaling" and "Message Protocol".

use std::io;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Call = 1,
    Return = 2,
    Error = 3,
    Signal = 4,
}

/// Header fields (the table in "Header Fields").
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Bytes of a header before its fields.
const FIXED: usize = 16;

/// Longest message that we take; the bus itself allows 128 MiB.
const LONGEST: usize = 1 << 20;

/// Puts a body together. Everything is aligned to its size, from the body's
/// beginning.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
        self
    }

    pub(crate) fn byte(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.align(4).bytes.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.align(8).bytes.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.u32(value.into())
    }

    /// A string, or the path of an object.
    pub(crate) fn string(&mut self, value: &str) -> &mut Self {
        self.u32(value.len() as u32);
        self.bytes.extend(value.as_bytes());
        self.byte(0)
    }

    pub(crate) fn signature(&mut self, value: &str) -> &mut Self {
        self.byte(value.len() as u8);
        self.bytes.extend(value.as_bytes());
        self.byte(0)
    }

    pub(crate) fn structure(&mut self) -> &mut Self {
        self.align(8)
    }

    /// An array whose elements are aligned so; `fill` writes them.
    pub(crate) fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment);
        let begin = self.bytes.len();
        fill(self);
        let length = (self.bytes.len() - begin) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        self
    }

    /// A property: `(sv)` with a value of this signature, which `fill` writes.
    pub(crate) fn property(
        &mut self,
        name: &str,
        signature: &str,
        fill: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.structure().string(name).signature(signature);
        fill(self);
        self
    }
}

/// A call of a method.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) destination: &'a str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) member: &'a str,
    pub(crate) signature: &'a str,
    pub(crate) body: Writer,
}

impl Call<'_> {
    pub(crate) fn encode(&self, serial: u32) -> Vec<u8> {
        let mut message = Writer::default();
        message.byte(b'l').byte(Kind::Call as u8).byte(0).byte(1);
        message.u32(self.body.bytes.len() as u32).u32(serial);
        message.array(8, |fields| {
            for (code, signature, value) in [
                (PATH, "o", self.path),
                (INTERFACE, "s", self.interface),
                (MEMBER, "s", self.member),
                (DESTINATION, "s", self.destination),
            ] {
                fields.structure().byte(code).signature(signature);
                fields.string(value);
            }
            if !self.signature.is_empty() {
                fields.structure().byte(SIGNATURE).signature("g");
                fields.signature(self.signature);
            }
        });
        message.align(8);
        message.bytes.extend(&self.body.bytes);
        message.bytes
    }
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) member: String,
    /// Name of the error, if it is one.
    pub(crate) error: String,
    /// The call that this answers; 0 if it is no answer.
    pub(crate) reply_to: u32,
    big_endian: bool,
    body: Vec<u8>,
}

impl Message {
    /// Takes the first message from `bytes`; none while it is not whole.
    ///
    /// # Errors
    /// What came is no message of D-Bus.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let Some(header) = bytes.first_chunk::<FIXED>() else {
            return Ok(None);
        };
        let big_endian = header[0] == b'B';
        let number = |at: usize| -> usize {
            let four = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            (if big_endian {
                u32::from_be_bytes(four)
            } else {
                u32::from_le_bytes(four)
            }) as usize
        };
        let kind = match header[1] {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return Err(nonsense("the kind of a message")),
        };
        let (body, fields) = (number(4), number(12));
        let begin = (FIXED + fields.min(LONGEST)).next_multiple_of(8);
        if fields > LONGEST || body > LONGEST {
            return Err(nonsense("the length of a message"));
        }
        if bytes.len() < begin + body {
            return Ok(None);
        }
        let mut message = Self {
            kind,
            member: String::new(),
            error: String::new(),
            reply_to: 0,
            big_endian,
            body: bytes[begin..begin + body].to_vec(),
        };
        let mut reader = Reader {
            bytes: &bytes[..FIXED + fields],
            at: FIXED,
            big_endian,
        };
        while reader.at < FIXED + fields {
            reader.align(8);
            let code = reader.byte()?;
            let signature = reader.signature()?;
            match (code, signature.as_str()) {
                (MEMBER, "s") => message.member = reader.string()?,
                (ERROR_NAME, "s") => message.error = reader.string()?,
                (REPLY_SERIAL, "u") => message.reply_to = reader.u32()?,
                (_, "s" | "o") => drop(reader.string()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop::<u32>(reader.u32()?),
                _ => return Err(nonsense("a header field")),
            }
        }
        bytes.drain(..begin + body);
        Ok(Some(message))
    }

    /// Reads the body.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            bytes: &self.body,
            at: 0,
            big_endian: self.big_endian,
        }
    }

    /// What an error says for people.
    pub(crate) fn text(&self) -> String {
        self.reader().string().unwrap_or_default()
    }
}

/// Takes a body apart.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> io::Result<&[u8]> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| nonsense("the length of a field"))?;
        self.at += length;
        Ok(taken)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u32(&mut self) -> io::Result<u32> {
        self.align(4);
        let big_endian = self.big_endian;
        let taken = self.take(4)?;
        let four = [taken[0], taken[1], taken[2], taken[3]];
        Ok(if big_endian {
            u32::from_be_bytes(four)
        } else {
            u32::from_le_bytes(four)
        })
    }

    /// A string, or the path of an object.
    pub(crate) fn string(&mut self) -> io::Result<String> {
        let length = self.u32()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    fn signature(&mut self) -> io::Result<String> {
        let length = self.byte()?.into();
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the system bus sent nonsense: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Vec<u8> {
        let mut body = Writer::default();
        body.string("fail").array(8, |properties| {
            properties.property("PIDs", "au", |v| {
                v.array(4, |pids| {
                    pids.u32(7);
                });
            });
            properties.property("Delegate", "b", |v| {
                v.bool(true);
            });
        });
        let call = Call {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member: "StartTransientUnit",
            signature: "sa(sv)",
            body,
        };
        call.encode(3)
    }

    #[test]
    fn what_is_encoded_is_decoded_and_pieces_wait_for_the_rest() {
        let whole = hello();
        for cut in [0, 1, 15, 16, 40, whole.len() - 1] {
            let mut bytes = whole[..cut].to_vec();
            assert_eq!(Message::take(&mut bytes).unwrap(), None);
            assert_eq!(bytes.len(), cut);
        }
        let mut bytes = [whole.clone(), whole.clone()].concat();
        let message = Message::take(&mut bytes).unwrap().unwrap();
        assert_eq!(bytes, whole);
        assert_eq!(message.member, "StartTransientUnit");
        assert_eq!(message.kind, Kind::Call);
        let mut reader = message.reader();
        assert_eq!(reader.string().unwrap(), "fail");
        let array = reader.u32().unwrap();
        // What pads up to the first element does not count.
        let begin = reader.at.next_multiple_of(8);
        assert_eq!(array as usize, message.body.len() - begin);
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        let whole = hello();
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Ok(Some(message)) = Message::take(&mut bytes) {
                    let mut reader = message.reader();
                    while reader.string().is_ok() {}
                }
            }
        }
    }
}
