//! The state machine: bytes in, members out.

use super::error::{TarError, TarFault, printable};
use super::header::Header;
use super::pax::Pax;
use super::sparse::{self, MapReader, PaxForm};
use super::{BLOCK, Data, Device, Entry, Kind, Meta, Piece};

/// A long name or link: nothing longer than a path can be used anyway.
const LONGEST_GNU_NAME: u64 = 64 << 10;
/// A PAX header: room for some extended attributes of 64 KiB each.
const LONGEST_PAX: u64 = 1 << 20;

/// Receives what a [`Scanner`] finds.
pub(crate) trait Sink {
    /// What stops the scan.
    type Error: From<TarError>;

    /// A member, before its data. `offset` is its header's place.
    fn entry(&mut self, entry: Entry, offset: u64) -> Result<(), Self::Error>;

    /// The next bytes of the data of the member that came last, without holes.
    fn data(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// Reads an archive that is pushed to it in pieces of any size. Memory is
/// bounded by the limits above, whatever sizes the archive claims.
#[derive(Debug)]
pub(crate) struct Scanner {
    /// Bytes taken so far.
    offset: u64,
    state: State,
    /// A block that has not come completely yet, and how much of it has.
    block: [u8; 512],
    filled: usize,
    global: Pax,
    /// Extension headers seen for the member to come.
    local: Option<Pax>,
    gnu_name: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    /// Header and name of the member being read, for errors.
    header_at: u64,
    name: Option<String>,
}

#[derive(Debug)]
enum State {
    Header,
    Extension {
        kind: Extension,
        remaining: u64,
        payload: Vec<u8>,
    },
    /// More map entries of an old GNU sparse member.
    OldSparse(Box<Sparse>),
    /// The map of a PAX 1.0 sparse member.
    SparseMap(Box<Sparse>, MapReader),
    Data {
        data: u64,
        padding: u64,
    },
    /// One zero block; a second must follow.
    HalfEnd,
    End,
}

#[derive(Debug, Clone, Copy)]
enum Extension {
    Global,
    Local,
    GnuName,
    GnuLink,
    /// A volume label.
    Ignored,
}

/// A sparse member whose map is still being read.
#[derive(Debug)]
struct Sparse {
    path: Vec<u8>,
    meta: Meta,
    /// Of the file.
    size: u64,
    /// In the archive, from here on.
    stored: u64,
    regions: Vec<sparse::Region>,
}

/// Whether an archive without its end marker counts as complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndMarker {
    /// At least one zero block must come.
    Required,
    /// The end of the input behind a member's last byte will do, as for Go's
    /// archive/tar: umoci before 0.5 leaves out even the padding of the last
    /// member. So will a part of a zero block, as for GNU tar.
    Optional,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self {
            offset: 0,
            state: State::Header,
            block: [0; 512],
            filled: 0,
            global: Pax::default(),
            local: None,
            gnu_name: None,
            gnu_link: None,
            header_at: 0,
            name: None,
        }
    }

    /// Bytes taken or passed over so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes. After an error the scanner is of no more use.
    pub(crate) fn feed<S: Sink>(&mut self, mut bytes: &[u8], sink: &mut S) -> Result<(), S::Error> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::End => {
                    self.offset += bytes.len() as u64;
                    return Ok(());
                }
                State::Data { data, padding } => {
                    let (now, rest) = split(bytes, *data);
                    *data -= now.len() as u64;
                    let (fill, rest) = split(rest, if *data == 0 { *padding } else { 0 });
                    *padding -= fill.len() as u64;
                    let done = *data == 0 && *padding == 0;
                    self.offset += (now.len() + fill.len()) as u64;
                    bytes = rest;
                    if !now.is_empty() {
                        sink.data(now)?;
                    }
                    if done {
                        self.next_member();
                    }
                }
                _ => {
                    let (now, rest) = split(bytes, BLOCK - self.filled as u64);
                    self.block[self.filled..self.filled + now.len()].copy_from_slice(now);
                    self.filled += now.len();
                    self.offset += now.len() as u64;
                    bytes = rest;
                    if self.filled == self.block.len() {
                        self.filled = 0;
                        self.block(sink)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Passes over file data and its padding, unseen, as far as an archive of
    /// `size` bytes has them.
    pub(crate) fn skip(&mut self, size: u64) {
        let State::Data { data, padding } = &mut self.state else {
            return;
        };
        for part in [data, padding] {
            let now = (*part).min(size.saturating_sub(self.offset));
            *part -= now;
            self.offset += now;
        }
        if matches!(
            self.state,
            State::Data {
                data: 0,
                padding: 0
            }
        ) {
            self.next_member();
        }
    }

    /// Ends the archive.
    pub(crate) fn finish(&self, marker: EndMarker) -> Result<(), TarError> {
        let complete = match self.state {
            State::End | State::HalfEnd => true,
            State::Header => {
                marker == EndMarker::Optional
                    && is_zero(&self.block[..self.filled])
                    && !self.has_extension()
            }
            State::Data { data: 0, .. } => marker == EndMarker::Optional,
            _ => false,
        };
        if complete {
            return Ok(());
        }
        Err(TarError {
            entry: self.name.clone(),
            offset: self.offset,
            fault: TarFault::Truncated,
        })
    }

    fn has_extension(&self) -> bool {
        self.local.is_some() || self.gnu_name.is_some() || self.gnu_link.is_some()
    }

    fn next_member(&mut self) {
        self.state = State::Header;
        self.name = None;
    }

    fn fault(&self, fault: TarFault) -> TarError {
        TarError {
            entry: self.name.clone(),
            offset: self.header_at,
            fault,
        }
    }

    /// A complete block, outside of file data.
    fn block<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        match std::mem::replace(&mut self.state, State::Header) {
            State::Header if is_zero(&self.block) => {
                if self.has_extension() {
                    return Err(self.fault(TarFault::StrayExtension))?;
                }
                self.state = State::HalfEnd;
                Ok(())
            }
            State::HalfEnd if is_zero(&self.block) => {
                self.state = State::End;
                Ok(())
            }
            State::HalfEnd => Err(self.fault(TarFault::LoneZeroBlock))?,
            State::Header => self.header(sink),
            State::Extension {
                kind,
                remaining,
                mut payload,
            } => {
                let (now, _) = split(&self.block[..], remaining);
                payload.extend_from_slice(now);
                let remaining = remaining - now.len() as u64;
                if remaining > 0 {
                    self.state = State::Extension {
                        kind,
                        remaining,
                        payload,
                    };
                    return Ok(());
                }
                Ok(self.extension(kind, &payload).map_err(|f| self.fault(f))?)
            }
            State::OldSparse(mut sparse) => {
                let more = self.block[504] != 0;
                sparse::push_old_entries(&mut sparse.regions, &self.block[..504])
                    .map_err(|f| self.fault(f))?;
                if more {
                    self.state = State::OldSparse(sparse);
                    return Ok(());
                }
                self.sparse_member(*sparse, sink)
            }
            State::SparseMap(mut sparse, mut reader) => {
                let Some(stored) = sparse.stored.checked_sub(BLOCK) else {
                    let fault = TarFault::BadSparseMap("the map is longer than the data");
                    return Err(self.fault(fault))?;
                };
                sparse.stored = stored;
                match reader.block(&self.block[..]).map_err(|f| self.fault(f))? {
                    Some(regions) => {
                        sparse.regions = regions;
                        self.sparse_member(*sparse, sink)
                    }
                    None => {
                        self.state = State::SparseMap(sparse, reader);
                        Ok(())
                    }
                }
            }
            State::Data { .. } | State::End => Ok(()),
        }
    }

    fn header<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        self.header_at = self.offset - BLOCK;
        let block = self.block;
        let header = Header(&block);
        let member = self.header_block(&header).map_err(|fault| {
            if self.name.is_none() && fault != TarFault::Checksum {
                self.name = Some(printable(&header.path()));
            }
            self.fault(fault)
        })?;
        match member {
            None => Ok(()),
            Some(Member::Plain(entry, stored)) => self.announce(entry, stored, sink),
            Some(Member::Sparse(sparse)) => self.sparse_member(sparse, sink),
        }
    }

    /// Understands a header block; `None` if there is more to read before the
    /// member is known.
    fn header_block(&mut self, header: &Header<'_>) -> Result<Option<Member>, TarFault> {
        header.verify()?;
        let size = header.size()?;
        let extension = match header.type_flag() {
            b'g' => Some((Extension::Global, LONGEST_PAX)),
            b'x' | b'X' => Some((Extension::Local, LONGEST_PAX)),
            b'L' => Some((Extension::GnuName, LONGEST_GNU_NAME)),
            b'K' => Some((Extension::GnuLink, LONGEST_GNU_NAME)),
            b'V' => Some((Extension::Ignored, LONGEST_GNU_NAME)),
            _ => None,
        };
        if let Some((kind, limit)) = extension {
            if size > limit {
                return Err(TarFault::ExtensionTooLarge { size, limit });
            }
            if size == 0 {
                self.extension(kind, &[])?;
            } else {
                self.state = State::Extension {
                    kind,
                    remaining: size,
                    payload: Vec::new(),
                };
            }
            return Ok(None);
        }
        self.member(header, size)
    }

    fn extension(&mut self, kind: Extension, payload: &[u8]) -> Result<(), TarFault> {
        let until_nul = || {
            let end = payload.iter().position(|&b| b == 0);
            payload[..end.unwrap_or(payload.len())].to_owned()
        };
        match kind {
            Extension::Global => self.global.apply(payload)?,
            Extension::Local => {
                let local = self.local.get_or_insert_with(|| self.global.clone());
                local.apply(payload)?;
            }
            Extension::GnuName => self.gnu_name = Some(until_nul()),
            Extension::GnuLink => self.gnu_link = Some(until_nul()),
            Extension::Ignored => {}
        }
        Ok(())
    }

    fn member(&mut self, header: &Header<'_>, size: u64) -> Result<Option<Member>, TarFault> {
        let mut pax = self.local.take().unwrap_or_else(|| self.global.clone());
        let gnu_name = self.gnu_name.take();
        let gnu_link = self.gnu_link.take();
        let path = pax.sparse.name.take().or(pax.path.take()).or(gnu_name);
        let path = path.unwrap_or_else(|| header.path());
        self.name = Some(printable(&path));

        let size = pax.size.unwrap_or(size);
        // Beyond that no file can be, and no sum of ours can overflow.
        if i64::try_from(size.saturating_add(self.offset).saturating_add(BLOCK)).is_err() {
            return Err(TarFault::BadNumber { field: "size" });
        }
        let id = |from_pax: Option<u64>, from_header: Result<u64, TarFault>, field| {
            let id = from_pax.map_or(from_header, Ok)?;
            // The last one is -1, "leave it alone", for every system call.
            u32::try_from(id)
                .ok()
                .filter(|&id| id != u32::MAX)
                .ok_or(TarFault::BadNumber { field })
        };
        let meta = Meta {
            mode: (header.mode()? & 0o7777) as u16,
            uid: id(pax.uid, header.uid(), "uid")?,
            gid: id(pax.gid, header.gid(), "gid")?,
            mtime: pax.mtime.map_or_else(|| header.mtime(), Ok)?,
            xattrs: std::mem::take(&mut pax.xattrs),
        };
        let link = || {
            let link = pax.link_path.clone().or(gnu_link);
            link.unwrap_or_else(|| header.link_path().to_owned())
        };
        let (what, kind) = match header.type_flag() {
            b'0' | b'\0' | b'7' if !path.ends_with(b"/") => {
                return self.regular(path, meta, size, &pax);
            }
            b'S' => {
                let (table, more, real) = header.gnu_sparse()?;
                let mut regions = Vec::new();
                sparse::push_old_entries(&mut regions, table)?;
                let sparse = Sparse {
                    path,
                    meta,
                    size: real,
                    stored: size,
                    regions,
                };
                if more {
                    self.state = State::OldSparse(Box::new(sparse));
                    return Ok(None);
                }
                return Ok(Some(Member::Sparse(sparse)));
            }
            // Old writers marked a directory by its slash only.
            b'5' | b'0' | b'\0' | b'7' => ("directory", Kind::Directory),
            b'2' => ("symlink", Kind::Symlink(link())),
            b'3' => ("character device", Kind::Char(device(header)?)),
            b'4' => ("block device", Kind::Block(device(header)?)),
            b'6' => ("fifo", Kind::Fifo),
            // A link's size is that of its target, and no data follows.
            b'1' => {
                let kind = Kind::HardLink(link());
                return Ok(Some(Member::Plain(Entry { path, meta, kind }, 0)));
            }
            other => return Err(TarFault::UnknownType(char::from(other))),
        };
        if size != 0 {
            return Err(TarFault::UnexpectedData { what, size });
        }
        Ok(Some(Member::Plain(Entry { path, meta, kind }, 0)))
    }

    fn regular(
        &mut self,
        path: Vec<u8>,
        meta: Meta,
        stored: u64,
        pax: &Pax,
    ) -> Result<Option<Member>, TarFault> {
        let (size, regions) = match pax.sparse.form()? {
            PaxForm::None => {
                let pieces = match stored {
                    0 => Vec::new(),
                    len => vec![Piece {
                        at: 0,
                        len,
                        from: self.offset,
                    }],
                };
                let data = Data {
                    size: stored,
                    pieces,
                };
                let kind = Kind::Regular(data);
                return Ok(Some(Member::Plain(Entry { path, meta, kind }, stored)));
            }
            PaxForm::Map { size, regions } => (size, Some(regions.to_vec())),
            PaxForm::MapInData { size } => (size, None),
        };
        let in_data = regions.is_none();
        let sparse = Sparse {
            path,
            meta,
            size,
            stored,
            regions: regions.unwrap_or_default(),
        };
        if in_data {
            self.state = State::SparseMap(Box::new(sparse), MapReader::default());
            return Ok(None);
        }
        Ok(Some(Member::Sparse(sparse)))
    }

    /// A sparse member whose map is complete; its data begins here.
    fn sparse_member<S: Sink>(&mut self, sparse: Sparse, sink: &mut S) -> Result<(), S::Error> {
        let Sparse {
            path,
            meta,
            size,
            stored,
            regions,
        } = sparse;
        let data = sparse::place(&regions, size, stored, self.offset);
        let kind = Kind::Regular(data.map_err(|f| self.fault(f))?);
        self.announce(Entry { path, meta, kind }, stored, sink)
    }

    fn announce<S: Sink>(
        &mut self,
        entry: Entry,
        stored: u64,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        sink.entry(entry, self.header_at)?;
        if stored > 0 {
            self.state = State::Data {
                data: stored,
                padding: stored.next_multiple_of(BLOCK) - stored,
            };
        } else {
            self.next_member();
        }
        Ok(())
    }
}

enum Member {
    /// With the number of bytes that follow in the archive.
    Plain(Entry, u64),
    Sparse(Sparse),
}

fn device(header: &Header<'_>) -> Result<Device, TarFault> {
    let (major, minor) = header.device()?;
    // The kernel's dev_t: 12 and 20 bits.
    if major >= 1 << 12 || minor >= 1 << 20 {
        let field = "device number";
        return Err(TarFault::BadNumber { field });
    }
    Ok(Device {
        major: major as u32,
        minor: minor as u32,
    })
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|&b| b == 0)
}

/// The first `n` bytes, or all there are, and the rest.
fn split(bytes: &[u8], n: u64) -> (&[u8], &[u8]) {
    let n = usize::try_from(n).map_or(bytes.len(), |n| n.min(bytes.len()));
    bytes.split_at(n)
}
