//! Sparse members: four ways to write down one list.
//!
//! GNU tar fills every region up to a block, other readers take the regions
//! as one string of bytes. The two agree exactly if each region but the last
//! is whole blocks, which is all that anyone writes; anything else is refused,
//! and so the index can always point at whole blocks.

use super::error::TarFault;
use super::pax::{decimal, name};
use super::{BLOCK, Data, Piece, header};

/// 24 bytes each; a file that is in more pieces was made to hurt.
const MOST_REGIONS: usize = 1 << 20;

/// `(offset, length)` in the file.
pub(super) type Region = (u64, u64);

/// What `GNU.sparse.*` records say (versions 0.0, 0.1 and 1.0).
#[derive(Debug, Clone, Default)]
pub(super) struct PaxSparse {
    major: u64,
    minor: u64,
    /// The real name; the header's is `…/GNUSparseFile.PID/…`.
    pub(super) name: Option<Vec<u8>>,
    size: Option<u64>,
    regions: Option<Vec<Region>>,
    /// Version 0.0 tells offset and length in records of their own.
    offset: Option<u64>,
}

impl PaxSparse {
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarFault> {
        let fault = TarFault::BadSparseMap("value");
        let number = || decimal(value)?.ok_or(fault.clone());
        match key {
            b"major" => self.major = number()?,
            b"minor" => self.minor = number()?,
            b"name" => self.name = name(value)?,
            b"size" | b"realsize" => self.size = Some(number()?),
            b"numblocks" => self.regions = Some(Vec::new()),
            b"offset" => self.offset = Some(number()?),
            b"numbytes" => {
                let offset = self.offset.take();
                let offset = offset.ok_or(TarFault::BadSparseMap("length without offset"))?;
                push(self.regions.get_or_insert_default(), (offset, number()?))?;
            }
            b"map" => {
                let mut numbers = Vec::new();
                for text in value.split(|&b| b == b',') {
                    numbers.push(decimal(text)?.ok_or(fault.clone())?);
                }
                let mut regions = Vec::new();
                for pair in numbers.chunks(2) {
                    let &[offset, length] = pair else {
                        return Err(TarFault::BadSparseMap("offset without length"));
                    };
                    push(&mut regions, (offset, length))?;
                }
                self.regions = Some(regions);
            }
            _ => {}
        }
        Ok(())
    }

    /// What the member is, when its header has come.
    pub(super) fn form(&self) -> Result<PaxForm<'_>, TarFault> {
        match (self.major, self.minor, self.size) {
            (0, 0 | 1, Some(size)) => match &self.regions {
                Some(regions) => Ok(PaxForm::Map { size, regions }),
                None => Ok(PaxForm::None),
            },
            (1, 0, Some(size)) => Ok(PaxForm::MapInData { size }),
            (0, 0, None) if self.regions.is_none() => Ok(PaxForm::None),
            (0 | 1, _, None) => Err(TarFault::BadSparseMap("no file size")),
            _ => Err(TarFault::BadSparseMap("unknown version")),
        }
    }
}

pub(super) enum PaxForm<'a> {
    None,
    Map {
        size: u64,
        regions: &'a [Region],
    },
    /// The map stands before the data, in blocks of its own.
    MapInData {
        size: u64,
    },
}

fn push(regions: &mut Vec<Region>, region: Region) -> Result<(), TarFault> {
    if regions.len() == MOST_REGIONS {
        return Err(TarFault::BadSparseMap("too many regions"));
    }
    regions.push(region);
    Ok(())
}

/// Entries of an old GNU map, 24 bytes each; one that is all NUL ends it.
pub(super) fn push_old_entries(regions: &mut Vec<Region>, table: &[u8]) -> Result<(), TarFault> {
    for entry in table.as_chunks::<24>().0 {
        if entry[0] == 0 {
            break;
        }
        let offset = header::unsigned(&entry[..12], "sparse offset")?;
        let length = header::unsigned(&entry[12..], "sparse length")?;
        push(regions, (offset, length))?;
    }
    Ok(())
}

/// The map of version 1.0, a decimal number to a line: how many regions, then
/// offset and length of each; filled up to a block.
#[derive(Debug, Default)]
pub(super) struct MapReader {
    count: Option<u64>,
    offset: Option<u64>,
    digits: Vec<u8>,
    regions: Vec<Region>,
}

impl MapReader {
    /// Takes a block; the regions, once the last of them has been read.
    pub(super) fn block(&mut self, block: &[u8]) -> Result<Option<Vec<Region>>, TarFault> {
        for &b in block {
            if b != b'\n' {
                self.digits.push(b);
                if self.digits.len() > 20 {
                    return Err(TarFault::BadSparseMap("number"));
                }
                continue;
            }
            let number = decimal(&self.digits)?.ok_or(TarFault::BadSparseMap("number"))?;
            self.digits.clear();
            if self.count.is_none() {
                self.count = Some(number);
            } else if let Some(offset) = self.offset.take() {
                push(&mut self.regions, (offset, number))?;
            } else {
                self.offset = Some(number);
            }
            if self.count == Some(self.regions.len() as u64) {
                return Ok(Some(std::mem::take(&mut self.regions)));
            }
        }
        Ok(None)
    }
}

/// Checks a map and places it in the archive, where its regions stand one
/// after the other from `from` on, `stored` bytes in all.
pub(super) fn place(
    regions: &[Region],
    size: u64,
    stored: u64,
    mut from: u64,
) -> Result<Data, TarFault> {
    let fault = |why| Err(TarFault::BadSparseMap(why));
    if i64::try_from(size).is_err() {
        return fault("file size");
    }
    let mut pieces: Vec<Piece> = Vec::with_capacity(regions.len());
    let mut end_before = 0;
    let mut total = 0_u64;
    for &(at, len) in regions {
        let Some(end) = at.checked_add(len).filter(|&end| end <= size) else {
            return fault("a region beyond the end of the file");
        };
        if at < end_before {
            return fault("regions overlap or are not in order");
        }
        end_before = end;
        if len == 0 {
            continue;
        }
        let whole = |n: u64| n.is_multiple_of(BLOCK);
        if !whole(at) || !(whole(end) || end == size) {
            return fault("a region that is not whole blocks");
        }
        match pieces.last_mut() {
            Some(last) if last.at + last.len == at => last.len += len,
            _ => pieces.push(Piece { at, len, from }),
        }
        from += len;
        total += len;
    }
    if total != stored {
        return fault("regions do not add up to the data");
    }
    Ok(Data { size, pieces })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_regions_become_one_piece() {
        let data = place(
            &[(0, 512), (512, 512), (2048, 100), (2148, 0)],
            2148,
            1124,
            4096,
        );
        let piece = |at, len, from| Piece { at, len, from };
        assert_eq!(
            data.unwrap().pieces,
            [piece(0, 1024, 4096), piece(2048, 100, 5120)]
        );
    }

    #[test]
    fn maps_that_lie_are_refused() {
        for (regions, size, stored) in [
            (&[(0, 512), (0, 512)][..], 4096, 1024),
            (&[(512, 512), (0, 512)], 4096, 1024),
            (&[(0, 4097)], 4096, 4097),
            (&[(u64::MAX, 2)], 4096, 2),
            (&[(0, 512)], 4096, 511),
            (&[(0, 512)], 4096, 513),
            (&[(100, 512)], 4096, 512),
            (&[(0, 100), (1024, 512)], 4096, 612),
            (&[(0, 512)], u64::MAX, 512),
        ] {
            assert!(place(regions, size, stored, 0).is_err(), "{regions:?}");
        }
    }

    #[test]
    fn a_map_in_the_data_may_span_blocks() {
        let mut reader = MapReader::default();
        assert_eq!(reader.block(b"2\n0\n5"), Ok(None));
        assert_eq!(
            reader.block(b"12\n1024\n1\n\0\0"),
            Ok(Some(vec![(0, 512), (1024, 1)]))
        );
    }
}
