//! Sealing a file so that the kernel checks every page that is read from it.
//!
//! Source: the kernel's `Documentation/filesystems/fsverity.rst`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const HASH_SHA256: u32 = 1;

/// `struct fsverity_enable_arg`.
#[repr(C)]
#[derive(Default)]
struct EnableArg {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,
    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}

/// `struct fsverity_digest` with room for the digest.
#[repr(C)]
struct DigestArg {
    digest_algorithm: u16,
    digest_size: u16,
    digest: [u8; 32],
}

const IOC_WRITE: u64 = 1;
const IOC_READ: u64 = 2;

const fn request(direction: u64, number: u64, size: u64) -> u64 {
    direction << 30 | size << 16 | (b'f' as u64) << 8 | number
}

const ENABLE: u64 = request(IOC_WRITE, 133, size_of::<EnableArg>() as u64);
/// The size is that of the header alone.
const MEASURE: u64 = request(IOC_READ | IOC_WRITE, 134, 4);

/// Seals the file (`FS_IOC_ENABLE_VERITY`, SHA-256, blocks of `block_size`
/// bytes, which is a power of two from 1024 to the file system's block size, no
/// salt). `file` must be open for reading only, and nobody may have it open for
/// writing.
///
/// # Errors
/// `EEXIST` if it is sealed, `EOPNOTSUPP` or `ENOTTY` if the file system or the
/// kernel cannot, `ETXTBSY` if somebody may write to it, `EINVAL` for a block
/// size that is not supported.
pub fn enable(file: BorrowedFd<'_>, block_size: u32) -> io::Result<()> {
    let arg = EnableArg {
        version: 1,
        hash_algorithm: HASH_SHA256,
        block_size,
        ..EnableArg::default()
    };
    // SAFETY: the kernel reads one struct fsverity_enable_arg, which `arg` is in
    // layout and size (128 bytes) and which outlives the call; its two pointers
    // are null and their sizes 0.
    let failed = unsafe { libc::ioctl(file.as_raw_fd(), ENABLE as _, &raw const arg) } < 0;
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The SHA-256 fs-verity digest of a sealed file (`FS_IOC_MEASURE_VERITY`).
///
/// # Errors
/// `ENODATA` if it is not sealed, `EOPNOTSUPP` or `ENOTTY` if it cannot be,
/// `EOVERFLOW` or `EINVAL` if it is sealed with another hash function.
pub fn measure(file: BorrowedFd<'_>) -> io::Result<[u8; 32]> {
    let mut arg = DigestArg {
        digest_algorithm: 0,
        digest_size: 32,
        digest: [0; 32],
    };
    // SAFETY: the kernel reads and writes one struct fsverity_digest, which
    // `arg` is in layout; it writes at most `digest_size` bytes behind the
    // header, and there are that many.
    let failed = unsafe { libc::ioctl(file.as_raw_fd(), MEASURE as _, &raw mut arg) } < 0;
    if failed {
        return Err(io::Error::last_os_error());
    }
    if u32::from(arg.digest_algorithm) != HASH_SHA256 || arg.digest_size != 32 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    Ok(arg.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `linux/fsverity.h` has them.
    #[test]
    fn the_requests_are_the_kernels() {
        assert_eq!(size_of::<EnableArg>(), 128);
        assert_eq!(ENABLE, 0x4080_6685);
        assert_eq!(MEASURE, 0xc004_6686);
    }
}
