//! File trees as lists of tar entries, honest and hostile alike.
//!
//! Names go into the headers as they are given: `..`, absolute names and
//! duplicates are the point of half the tests. Nothing here touches a disk.

use std::fs;
use std::path::Path;
use std::process::Command;

use tar::{EntryType, Header};

/// Debian's static busybox, the one program in most test images.
pub const BUSYBOX: &str = "/bin/busybox";

/// One tar entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name in the header, unchecked.
    pub path: String,
    /// What it is.
    pub kind: EntryType,
    /// Permission bits, with setuid and its kin.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since the epoch.
    pub mtime: u64,
    /// Contents of a regular file.
    pub data: Vec<u8>,
    /// Target of a link, unchecked.
    pub link: String,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, written as `SCHILY.xattr` records.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// An entry owned by root, from 2001-09-09.
    pub fn new(path: impl Into<String>, kind: EntryType, mode: u32) -> Self {
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 1_000_000_000,
            data: Vec::new(),
            link: String::new(),
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }

    fn pax_records(&self, path: &str) -> Vec<(String, Vec<u8>)> {
        let mut records = Vec::new();
        if path.len() > 100 {
            records.push(("path".into(), path.as_bytes().to_vec()));
        }
        if self.link.len() > 100 {
            records.push(("linkpath".into(), self.link.as_bytes().to_vec()));
        }
        for (name, value) in &self.xattrs {
            records.push((format!("SCHILY.xattr.{name}"), value.clone()));
        }
        records
    }

    fn write(&self, prefix: &str, out: &mut Vec<u8>) {
        let path = format!("{prefix}{}", self.path);
        let records = self.pax_records(&path);
        if !records.is_empty() {
            let body: Vec<u8> = records.iter().flat_map(|(k, v)| pax_record(k, v)).collect();
            let mut header = Header::new_ustar();
            fill(&mut header.as_old_mut().name, b"paxheader");
            header.set_entry_type(EntryType::XHeader);
            header.set_size(body.len() as u64);
            header.set_cksum();
            append(out, &header, &body);
        }
        let mut header = Header::new_ustar();
        fill(&mut header.as_old_mut().name, path.as_bytes());
        // A hard link's target is a name in the archive, so it moves with the prefix.
        let link = match self.kind {
            EntryType::Link => format!("{prefix}{}", self.link),
            _ => self.link.clone(),
        };
        fill(&mut header.as_old_mut().linkname, link.as_bytes());
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(self.uid);
        header.set_gid(self.gid);
        header.set_mtime(self.mtime);
        header.set_size(self.data.len() as u64);
        if let Some(ustar) = header.as_ustar_mut() {
            ustar.set_device_major(self.device.0);
            ustar.set_device_minor(self.device.1);
        }
        header.set_cksum();
        append(out, &header, &self.data);
    }
}

fn fill(field: &mut [u8], value: &[u8]) {
    let n = value.len().min(field.len());
    field.fill(0);
    field[..n].copy_from_slice(&value[..n]);
}

fn append(out: &mut Vec<u8>, header: &Header, data: &[u8]) {
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if length.to_string().len() + rest > length {
        length += 1;
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// A list of entries, in the order they will stand in the tar.
#[derive(Debug, Clone, Default)]
pub struct Rootfs {
    /// The entries.
    pub entries: Vec<Entry>,
}

impl Rootfs {
    /// Nothing at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// A small system around Debian's static busybox: its applets in `/bin`,
    /// users root, daemon (1) and app (1000), `/etc`, `/tmp`, `/home/app`.
    pub fn busybox() -> Self {
        let program = fs::read(BUSYBOX)
            .unwrap_or_else(|e| panic!("cannot read {BUSYBOX} ({e}); install busybox-static"));
        let applets = Command::new(BUSYBOX)
            .arg("--list")
            .output()
            .unwrap_or_else(|e| panic!("cannot run {BUSYBOX}: {e}"));
        let mut fs = Self::new();
        for dir in [
            "bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "usr/bin", "var",
        ] {
            fs = fs.dir(dir, 0o755);
        }
        fs = fs
            .dir("tmp", 0o1777)
            .dir("home/app", 0o755)
            .owned("home/app", 1000, 1000)
            .file("bin/busybox", 0o755, program)
            .file(
                "etc/passwd",
                0o644,
                "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\napp:x:1000:1000:app:/home/app:/bin/sh\n",
            )
            .file(
                "etc/group",
                0o644,
                "root:x:0:\ndaemon:x:1:\napp:x:1000:\nextra:x:2000:app\n",
            );
        for applet in String::from_utf8_lossy(&applets.stdout).lines() {
            if applet != "busybox" {
                fs = fs.symlink(&format!("bin/{applet}"), "busybox");
            }
        }
        fs
    }

    /// Adds any entry.
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Adds a directory.
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(Entry::new(path, EntryType::Directory, mode))
    }

    /// Adds a regular file.
    pub fn file(self, path: &str, mode: u32, data: impl Into<Vec<u8>>) -> Self {
        let mut entry = Entry::new(path, EntryType::Regular, mode);
        entry.data = data.into();
        self.entry(entry)
    }

    /// Adds a symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        let mut entry = Entry::new(path, EntryType::Symlink, 0o777);
        entry.link = target.into();
        self.entry(entry)
    }

    /// Adds a hard link to an earlier entry (or to whatever `target` says).
    pub fn hardlink(self, path: &str, target: &str) -> Self {
        let mut entry = Entry::new(path, EntryType::Link, 0o644);
        entry.link = target.into();
        self.entry(entry)
    }

    /// Adds a character device.
    pub fn char_device(self, path: &str, major: u32, minor: u32) -> Self {
        let mut entry = Entry::new(path, EntryType::Char, 0o666);
        entry.device = (major, minor);
        self.entry(entry)
    }

    /// Changes the owner of the entries named `path`.
    pub fn owned(mut self, path: &str, uid: u64, gid: u64) -> Self {
        for entry in self.entries.iter_mut().filter(|e| e.path == path) {
            (entry.uid, entry.gid) = (uid, gid);
        }
        self
    }

    /// Adds an extended attribute to the entries named `path`.
    pub fn xattr(mut self, path: &str, name: &str, value: &[u8]) -> Self {
        for entry in self.entries.iter_mut().filter(|e| e.path == path) {
            entry.xattrs.push((name.into(), value.into()));
        }
        self
    }

    /// The tar, every name after `prefix` (`""`, or `rootfs/` for an ACI).
    pub fn tar(&self, prefix: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for entry in &self.entries {
            entry.write(prefix, &mut out);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    /// Unpacks it below `dir` with GNU tar, as a bundle for another runtime.
    pub fn unpack(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        crate::Cmd::new("tar")
            .args(["--extract", "--numeric-owner", "--xattrs", "--directory"])
            .arg(dir)
            .stdin(self.tar(""))
            .run()
            .ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gnu_tar_reads_what_is_written_here() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("d/{}", "n".repeat(180));
        Rootfs::new()
            .dir("d", 0o750)
            .file("d/x", 0o600, "x")
            .hardlink("h", "d/x")
            .file(&long, 0o755, "long")
            .xattr(&long, "user.colour", b"red")
            .symlink("s", "d/x")
            .unpack(dir.path());
        assert_eq!(fs::read(dir.path().join(&long)).unwrap(), b"long");
        assert_eq!(fs::read(dir.path().join("h")).unwrap(), b"x");
        assert_eq!(fs::read(dir.path().join("s")).unwrap(), b"x");
    }

    #[test]
    fn pax_lengths_count_themselves() {
        assert_eq!(pax_record("path", b"abc"), b"12 path=abc\n");
        for n in 80..110 {
            let record = pax_record("k", &vec![b'v'; n]);
            let text = String::from_utf8(record.clone()).unwrap();
            let length: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(length, record.len());
        }
    }
}
