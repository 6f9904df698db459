//! Tar archives, read as they stream by.
//!
//! Our own reader, because what we keep of an archive is *where* its data
//! stands: the index points into the tar. The `tar` crate pulls from a `Read`
//! where we are pushed to while hashing and writing, reads only the oldest of
//! GNU's four sparse forms, and trusts sizes that a stranger wrote.
//!
//! Read: v7, ustar, star, GNU (`L`, `K`, `S`) and PAX (`x`, `g`), base-256
//! numbers, every GNU sparse form. Absent on purpose: multi-volume archives,
//! and guessing; what two readers could understand differently is an error.
//!
//! Sources: POSIX.1-2017 "pax", GNU tar manual "Tar Internals", libarchive's
//! tar(5).

mod error;
mod header;
mod pax;
mod scanner;
mod sparse;

pub(crate) use error::printable;
pub use error::{TarError, TarFault};
pub(crate) use scanner::{EndMarker, Scanner, Sink};

/// All tar structures, and every file's data, begin at a multiple of this.
pub(crate) const BLOCK: u64 = 512;

/// One member, with every extension header applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As written; not yet checked or cleaned.
    pub(crate) path: Vec<u8>,
    pub(crate) meta: Meta,
    pub(crate) kind: Kind,
}

/// What every kind of file has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Meta {
    /// The lower 12 bits.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970; fractions are cut off, towards the past.
    pub(crate) mtime: i64,
    /// By full name, sorted.
    pub(crate) xattrs: Vec<Xattr>,
}

/// An extended attribute with its full name, `user.mime`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Xattr {
    pub(crate) name: Box<[u8]>,
    pub(crate) value: Box<[u8]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular(Data),
    Directory,
    Symlink(Vec<u8>),
    /// The path of another member, as written.
    HardLink(Vec<u8>),
    Char(Device),
    Block(Device),
    Fifo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// A regular file's bytes, as places in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Data {
    /// Of the file, holes included.
    pub(crate) size: u64,
    /// Ascending, disjoint, none empty; what lies between is a hole. All
    /// offsets are multiples of [`BLOCK`], and so are all lengths, except that
    /// a piece may end where the file does.
    pub(crate) pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// In the file.
    pub(crate) at: u64,
    pub(crate) len: u64,
    /// In the archive.
    pub(crate) from: u64,
}
