//! Where a regular file's bytes are: chunks of one size, each contiguous in a
//! tar or a hole.

use super::format::{BLOCK, BLOCK_BITS, HOLE, chunk_index};
use crate::tar::{Data, Piece};

/// `s_blocksize_bits + 31`, the largest the format can say.
const MOST_CHUNK_BITS: u32 = BLOCK_BITS + 31;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunks {
    pub(super) bits: u32,
    pub(super) count: u64,
}

/// The largest chunk size whose boundaries are also those of the pieces.
/// `None` for an empty file.
pub(super) fn plan(data: &Data) -> Option<Chunks> {
    if data.size == 0 {
        return None;
    }
    let whole = 64 - (data.size - 1).leading_zeros();
    let contiguous = matches!(data.pieces[..], [Piece { at: 0, len, .. }] if len == data.size);
    let boundaries = data.pieces.iter().flat_map(|p| [p.at, p.at + p.len]);
    let aligned = boundaries
        .filter(|&b| b != 0 && b != data.size)
        .map(u64::trailing_zeros)
        .min();
    let bits = match aligned {
        Some(aligned) if !contiguous => whole.min(aligned),
        _ => whole,
    };
    let bits = bits.clamp(BLOCK_BITS, MOST_CHUNK_BITS);
    Some(Chunks {
        bits,
        count: data.size.div_ceil(1 << bits),
    })
}

/// Whether every block of the data has an address.
pub(super) fn addressable(data: &Data) -> bool {
    data.pieces
        .iter()
        .all(|p| (p.from + p.len).div_ceil(BLOCK) < u64::from(HOLE))
}

/// The chunk indexes, eight bytes each.
pub(super) fn encode(data: &Data, chunks: Chunks, device: u16, out: &mut Vec<u8>) {
    let mut pieces = data.pieces.iter().peekable();
    for chunk in 0..chunks.count {
        let at = chunk << chunks.bits;
        while pieces.next_if(|p| p.at + p.len <= at).is_some() {}
        out.extend_from_slice(&match pieces.peek() {
            Some(piece) if piece.at <= at => {
                let block = (piece.from + (at - piece.at)) / BLOCK;
                chunk_index(device, block as u32)
            }
            _ => chunk_index(0, HOLE),
        });
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    fn data(size: u64, pieces: &[(u64, u64)]) -> Data {
        let pieces = pieces.iter();
        Data {
            size,
            pieces: pieces
                .map(|&(at, len)| Piece { at, len, from: 0 })
                .collect(),
        }
    }

    #[test]
    fn as_few_chunks_as_can_be() {
        for (data, expected) in [
            (data(0, &[]), None),
            (data(1, &[(0, 1)]), Some((9, 1))),
            (data(513, &[(0, 513)]), Some((10, 1))),
            (data(5 << 30, &[(0, 5 << 30)]), Some((33, 1))),
            (data(3 << 40, &[(0, 3 << 40)]), Some((40, 3))),
            (data(1 << 30, &[]), Some((30, 1))),
            (data(1 << 30, &[(0, 4096)]), Some((12, 1 << 18))),
            (data(10_000, &[(8192, 1808)]), Some((13, 2))),
            (data(1000, &[(0, 512)]), Some((9, 2))),
        ] {
            let plan = plan(&data).map(|c| (c.bits, c.count));
            assert_eq!(plan, expected, "{data:?}");
        }
    }
}
