//! PAX extended headers: `LENGTH KEY=VALUE\n`, again and again.

use super::Xattr;
use super::error::TarFault;
use super::sparse::PaxSparse;

/// What the records so far say about the next member.
#[derive(Debug, Clone, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<i64>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) sparse: PaxSparse,
}

impl Pax {
    /// Applies one header's records on top of what is known. An empty value
    /// takes an earlier one back, except for an extended attribute, which may
    /// well be empty.
    pub(super) fn apply(&mut self, mut records: &[u8]) -> Result<(), TarFault> {
        while !records.is_empty() {
            let (record, rest) = split_record(records)?;
            records = rest;
            self.record(record)?;
        }
        Ok(())
    }

    fn record(&mut self, Record { key, value }: Record<'_>) -> Result<(), TarFault> {
        match key {
            b"path" => self.path = name(value)?,
            b"linkpath" => self.link_path = name(value)?,
            b"size" => self.size = decimal(value)?,
            b"uid" => self.uid = decimal(value)?,
            b"gid" => self.gid = decimal(value)?,
            b"mtime" => self.mtime = seconds(value)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.set_xattr(name, value)?;
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let fault = TarFault::BadPax("LIBARCHIVE.xattr");
                    let name = percent_decoded(name).ok_or(fault.clone())?;
                    self.set_xattr(&name, &base64_decoded(value).ok_or(fault)?)?;
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.record(key, value)?;
                }
                // All others (atime, uname, comment, …) say nothing we keep.
            }
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), TarFault> {
        if name.is_empty() || name.contains(&0) {
            return Err(TarFault::BadPax("extended attribute name"));
        }
        let xattr = Xattr {
            name: name.into(),
            value: value.into(),
        };
        match self.xattrs.binary_search_by(|x| x.name.cmp(&xattr.name)) {
            Ok(at) => self.xattrs[at] = xattr,
            Err(at) => self.xattrs.insert(at, xattr),
        }
        Ok(())
    }
}

struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

/// The first record and what follows it.
fn split_record(records: &[u8]) -> Result<(Record<'_>, &[u8]), TarFault> {
    let fault = TarFault::BadPax("record length");
    let space = records.iter().take(20).position(|&b| b == b' ');
    let space = space.ok_or(fault.clone())?;
    let length = decimal(&records[..space])?.ok_or(fault.clone())?;
    let length = usize::try_from(length).map_err(|_| fault.clone())?;
    if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
        return Err(fault);
    }
    let body = &records[space + 1..length - 1];
    let equals = body.iter().position(|&b| b == b'=');
    let equals = equals.ok_or(TarFault::BadPax("record without ="))?;
    let record = Record {
        key: &body[..equals],
        value: &body[equals + 1..],
    };
    Ok((record, &records[length..]))
}

pub(super) fn name(value: &[u8]) -> Result<Option<Vec<u8>>, TarFault> {
    if value.contains(&0) {
        return Err(TarFault::BadPax("NUL in a name"));
    }
    Ok((!value.is_empty()).then(|| value.to_owned()))
}

/// Decimal digits; `None` for no digits.
pub(super) fn decimal(value: &[u8]) -> Result<Option<u64>, TarFault> {
    if value.is_empty() {
        return Ok(None);
    }
    value
        .iter()
        .try_fold(0_u64, |n, &b| match b {
            b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(b - b'0')),
            _ => None,
        })
        .map(Some)
        .ok_or(TarFault::BadPax("number"))
}

/// `[-]SECONDS[.FRACTION]`, rounded towards the past.
fn seconds(value: &[u8]) -> Result<Option<i64>, TarFault> {
    let fault = || TarFault::BadPax("time");
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let dot = value.iter().position(|&b| b == b'.');
    let (whole, fraction) = value.split_at(dot.unwrap_or(value.len()));
    let fraction = fraction.get(1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(fault());
    }
    let Some(whole) = decimal(whole)? else {
        return if negative || dot.is_some() {
            Err(fault())
        } else {
            Ok(None)
        };
    };
    let whole = i64::try_from(whole).map_err(|_| fault())?;
    if !negative {
        return Ok(Some(whole));
    }
    let past = i64::from(fraction.iter().any(|&b| b != b'0'));
    Ok(Some(-whole - past))
}

/// RFC 3986 percent-encoding, as libarchive writes attribute names.
fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b != b'%' {
            out.push(b);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    Some(out)
}

/// RFC 4648 base64; libarchive leaves the padding out.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().position(|&b| b == b'=').unwrap_or(text.len());
    if text[end..].iter().any(|&b| b != b'=') {
        return None;
    }
    let mut out = Vec::with_capacity(end / 4 * 3);
    for group in text[..end].chunks(4) {
        let mut bits = 0_u32;
        for &b in group {
            let six = match b {
                b'A'..=b'Z' => b - b'A',
                b'a'..=b'z' => b - b'a' + 26,
                b'0'..=b'9' => b - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        let bytes = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len()) + 8;
        out.extend_from_slice(&bits.to_be_bytes()[..bytes]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(records: &[u8]) -> Result<Pax, TarFault> {
        let mut pax = Pax::default();
        pax.apply(records).map(|()| pax)
    }

    #[test]
    fn records_are_counted_not_split() {
        let pax = parsed(b"19 path=a=b\nc 12 d\n27 SCHILY.xattr.user.x=\n\0\xff\n").unwrap();
        assert_eq!(pax.path.unwrap(), b"a=b\nc 12 d");
        assert_eq!(&*pax.xattrs[0].name, b"user.x");
        assert_eq!(&*pax.xattrs[0].value, b"\n\0\xff");
    }

    #[test]
    fn damaged_records_are_refused() {
        for bad in [
            &b"path=x\n"[..],
            b"0 \n",
            b"3 a\n",
            b"99 path=x\n",
            b"9 path=xy",
            b"10 path=xy",
            b"18446744073709551616 path=x\n",
            b"9 pathxx\n",
            b"10 path=\0x\n",
            b"9 size=x\n",
            b"11 mtime=.\n",
            b"12 mtime=1x\n",
        ] {
            assert!(parsed(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times_round_towards_the_past() {
        for (text, expected) in [("12.999", 12), ("-1.5", -2), ("-1.0", -1), ("7", 7)] {
            assert_eq!(seconds(text.as_bytes()), Ok(Some(expected)), "{text}");
        }
    }

    #[test]
    fn libarchive_attributes_are_decoded() {
        let pax = parsed(b"39 LIBARCHIVE.xattr.user.%41%3d=AAH/+w\n").unwrap();
        assert_eq!(&*pax.xattrs[0].name, b"user.A=");
        assert_eq!(&*pax.xattrs[0].value, [0, 1, 255, 251]);
    }
}
