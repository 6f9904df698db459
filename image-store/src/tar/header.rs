//! One header block and its fields.

use super::error::TarFault;

/// The 512 bytes a member begins with.
pub(super) struct Header<'a>(pub(super) &'a [u8; 512]);

/// Which dialect the magic announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V7,
    Ustar,
    /// ustar with a shorter prefix and the trailer `tar`.
    Star,
    Gnu,
}

impl<'a> Header<'a> {
    /// Compares the stored checksum with the block's, as unsigned and, as some
    /// old writers did, as signed bytes.
    pub(super) fn verify(&self) -> Result<(), TarFault> {
        let stored = octal(&self.0[148..156]).ok_or(TarFault::Checksum)?;
        let outside = || self.0[..148].iter().chain(&self.0[156..]);
        let spaces = 8 * u64::from(b' ');
        let unsigned: u64 = outside().map(|&b| u64::from(b)).sum::<u64>() + spaces;
        let signed: i64 =
            outside().map(|&b| i64::from(b.cast_signed())).sum::<i64>() + spaces.cast_signed();
        if stored == unsigned || stored.cast_signed() == signed {
            Ok(())
        } else {
            Err(TarFault::Checksum)
        }
    }

    fn dialect(&self) -> Dialect {
        match &self.0[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") => {
                if &self.0[508..512] == b"tar\0" {
                    Dialect::Star
                } else {
                    Dialect::Ustar
                }
            }
            _ => Dialect::V7,
        }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    /// Prefix and name, joined.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match self.dialect() {
            Dialect::Ustar => text(&self.0[345..500]),
            Dialect::Star => text(&self.0[345..476]),
            // GNU keeps times and the sparse map there.
            Dialect::Gnu | Dialect::V7 => b"",
        };
        if prefix.is_empty() {
            return name.to_owned();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link_path(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    pub(super) fn mode(&self) -> Result<u64, TarFault> {
        unsigned(&self.0[100..108], "mode")
    }

    pub(super) fn uid(&self) -> Result<u64, TarFault> {
        unsigned(&self.0[108..116], "uid")
    }

    pub(super) fn gid(&self) -> Result<u64, TarFault> {
        unsigned(&self.0[116..124], "gid")
    }

    pub(super) fn size(&self) -> Result<u64, TarFault> {
        unsigned(&self.0[124..136], "size")
    }

    pub(super) fn mtime(&self) -> Result<i64, TarFault> {
        number(&self.0[136..148]).ok_or(TarFault::BadNumber { field: "mtime" })
    }

    /// Zero where the dialect has no such field.
    pub(super) fn device(&self) -> Result<(u64, u64), TarFault> {
        if self.dialect() == Dialect::V7 {
            return Ok((0, 0));
        }
        Ok((
            unsigned(&self.0[329..337], "device major")?,
            unsigned(&self.0[337..345], "device minor")?,
        ))
    }

    /// Of an old GNU sparse header (`S`): the first four map entries, whether
    /// more follow in blocks of their own, and the file's real size.
    pub(super) fn gnu_sparse(&self) -> Result<(&'a [u8], bool, u64), TarFault> {
        let real = unsigned(&self.0[483..495], "sparse file size")?;
        Ok((&self.0[386..482], self.0[482] != 0, real))
    }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

/// A field that cannot be negative.
pub(super) fn unsigned(field: &[u8], name: &'static str) -> Result<u64, TarFault> {
    number(field)
        .and_then(|n| u64::try_from(n).ok())
        .ok_or(TarFault::BadNumber { field: name })
}

/// Octal digits, or GNU's base-256: the top bit set, two's complement.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 == 0 {
        return octal(field).and_then(|n| i64::try_from(n).ok());
    }
    let negative = first & 0x40 != 0;
    let start: i128 = if negative { -1 } else { 0 };
    let head = if negative { first | 0x80 } else { first & 0x7f };
    let bytes = std::iter::once(head).chain(field[1..].iter().copied());
    // Twelve bytes at most: an i128 holds that.
    let value = bytes.fold(start, |n, b| (n << 8) | i128::from(b));
    i64::try_from(value).ok()
}

/// Octal digits between optional spaces and NULs; nothing at all is 0.
fn octal(field: &[u8]) -> Option<u64> {
    let blank = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let rest = &field[start..];
    let end = rest.iter().position(blank).unwrap_or(rest.len());
    if !rest[end..].iter().all(blank) {
        return None;
    }
    rest[..end].iter().try_fold(0_u64, |n, &b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_spelling() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"0000648\0", None),
            (b"12 34 \0", None),
            (b"-1\0", None),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(2 << 32)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }
}
