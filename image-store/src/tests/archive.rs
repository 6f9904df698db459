//! Makes tars, good and bad, byte by byte.

/// An archive being made. Every field of a header can be a lie.
#[derive(Debug, Clone, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
}

/// A header, before it is written.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) block: [u8; 512],
}

impl Header {
    pub(super) fn new(type_flag: u8, path: &str) -> Self {
        let mut header = Self { block: [0; 512] };
        header.put(0, path.as_bytes());
        header.put(257, b"ustar\x0000");
        header.block[156] = type_flag;
        let mode = if type_flag == b'5' { 0o755 } else { 0o644 };
        header.mode(mode).owner(0, 0).size(0).mtime(1_000_000_000)
    }

    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.block[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn octal(mut self, at: usize, width: usize, value: u64) -> Self {
        let text = format!("{value:0width$o}\0", width = width - 1);
        self.put(at, text.as_bytes());
        self
    }

    pub(super) fn mode(self, mode: u32) -> Self {
        self.octal(100, 8, u64::from(mode))
    }

    pub(super) fn owner(self, uid: u32, gid: u32) -> Self {
        self.octal(108, 8, u64::from(uid))
            .octal(116, 8, u64::from(gid))
    }

    pub(super) fn size(mut self, size: u64) -> Self {
        if size < 1 << 33 {
            return self.octal(124, 12, size);
        }
        self.put(124, &[0x80, 0, 0, 0]);
        self.put(128, &size.to_be_bytes());
        self
    }

    pub(super) fn mtime(self, mtime: u64) -> Self {
        self.octal(136, 12, mtime)
    }

    pub(super) fn link(mut self, target: &str) -> Self {
        self.put(157, target.as_bytes());
        self
    }

    pub(super) fn device(self, major: u64, minor: u64) -> Self {
        self.octal(329, 8, major).octal(337, 8, minor)
    }

    pub(super) fn sealed(mut self) -> [u8; 512] {
        self.put(148, b"        ");
        let sum: u64 = self.block.iter().map(|&b| u64::from(b)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.block
    }
}

impl Archive {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Header and data as they are.
    pub(super) fn member(self, header: Header, data: &[u8]) -> Self {
        let mut archive = self.raw(&header.sealed()).raw(data);
        let length = archive.bytes.len().next_multiple_of(512);
        archive.bytes.resize(length, 0);
        archive
    }

    pub(super) fn file(self, path: &str, data: &[u8]) -> Self {
        let header = Header::new(b'0', path).size(data.len() as u64);
        self.member(header, data)
    }

    pub(super) fn dir(self, path: &str) -> Self {
        self.member(Header::new(b'5', path), b"")
    }

    pub(super) fn dir_mode(self, path: &str, mode: u32) -> Self {
        self.member(Header::new(b'5', path).mode(mode), b"")
    }

    pub(super) fn symlink(self, path: &str, target: &str) -> Self {
        self.member(Header::new(b'2', path).link(target), b"")
    }

    pub(super) fn hard_link(self, path: &str, target: &str) -> Self {
        self.member(Header::new(b'1', path).link(target), b"")
    }

    /// An extended header for the next member (`x`) or all that follow (`g`).
    pub(super) fn pax(self, type_flag: u8, records: &[(&str, &[u8])]) -> Self {
        let mut payload = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let mut length = body + 1;
            while length != body + length.to_string().len() {
                length += 1;
            }
            payload.extend_from_slice(format!("{length} {key}=").as_bytes());
            payload.extend_from_slice(value);
            payload.push(b'\n');
        }
        let header = Header::new(type_flag, "PaxHeaders/x").size(payload.len() as u64);
        self.member(header, &payload)
    }

    /// GNU's `L` or `K`.
    pub(super) fn gnu_long(self, type_flag: u8, name: &str) -> Self {
        let payload = format!("{name}\0");
        let header = Header::new(type_flag, "././@LongLink").size(payload.len() as u64);
        self.member(header, payload.as_bytes())
    }

    /// Without the end marker.
    pub(super) fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.raw(&[0; 1024]).bytes
    }
}
