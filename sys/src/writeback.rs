//! Asking for dirty pages to be written before anyone waits for them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Starts writing the file's dirty pages of this range to the disk and returns
/// (`sync_file_range(2)`, `SYNC_FILE_RANGE_WRITE`). Nothing is promised to be
/// durable; a later `fsync` has less to wait for.
///
/// # Errors
/// `ESPIPE` for what is not a file, `EIO`, `ENOSPC`.
pub fn start(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    let number =
        |n: u64| libc::off64_t::try_from(n).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL));
    let (offset, length) = (number(offset)?, number(length)?);
    let flags = libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: four integers go in, one comes out, and the descriptor is
    // borrowed, so it is open.
    let failed = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, flags) } < 0;
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
