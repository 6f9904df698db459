//! What is wrong with an archive, and where.

/// A fault, the member it is in and the place.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", place(.entry.as_deref(), *.offset))]
pub struct TarError {
    /// The member's name, printable; `None` before its header was understood.
    pub entry: Option<String>,
    /// Where in the uncompressed archive, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub fault: TarFault,
}

/// What can be wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarFault {
    /// The archive ends inside a member, or without its end marker.
    #[error("the archive is truncated here")]
    Truncated,
    /// No tar header where one must be.
    #[error("this is not a tar header (its checksum is wrong)")]
    Checksum,
    /// One zero block and then something else.
    #[error("data after a lone zero block")]
    LoneZeroBlock,
    /// A numeric field that is no number, or one beyond what files can have.
    #[error("{field} is not valid")]
    BadNumber {
        /// The field's name.
        field: &'static str,
    },
    /// A type flag that we do not read.
    #[error("unsupported member type {0:?}")]
    UnknownType(char),
    /// Something other than a file claims to have data.
    #[error("a {what} with {size} bytes of data")]
    UnexpectedData {
        /// What it is.
        what: &'static str,
        /// What it claims.
        size: u64,
    },
    /// An extension header above its limit.
    #[error("an extension header of {size} bytes; the limit is {limit}")]
    ExtensionTooLarge {
        /// What it claims.
        size: u64,
        /// What we accept.
        limit: u64,
    },
    /// A PAX record that does not follow `LENGTH KEY=VALUE\n`, or whose value
    /// makes no sense.
    #[error("a damaged PAX header ({0})")]
    BadPax(&'static str),
    /// An extension header that no member follows.
    #[error("an extension header that belongs to nothing")]
    StrayExtension,
    /// A sparse map that is not ascending, not aligned or does not add up.
    #[error("a damaged sparse map ({0})")]
    BadSparseMap(&'static str),
}

fn place(entry: Option<&str>, offset: u64) -> String {
    match entry {
        Some(name) => format!("{name} at byte {offset}"),
        None => format!("at byte {offset}"),
    }
}

/// A stranger's name as it may be shown on a terminal: quoted, control
/// characters escaped, of bearable length.
pub(crate) fn printable(name: &[u8]) -> String {
    const LONGEST: usize = 200;
    if name.len() <= LONGEST {
        return format!("{:?}", String::from_utf8_lossy(name));
    }
    format!("{:?}…", String::from_utf8_lossy(&name[..LONGEST]))
}
