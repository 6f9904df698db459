//! Options of netlink sockets (netlink(7)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Makes the kernel explain its refusals in words, leave the refused request
/// out of the answer, and list only what a request for a list asks for.
///
/// # Errors
/// `ENOPROTOOPT` when `socket` is no netlink socket.
pub fn be_precise(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::NETLINK_EXT_ACK)?;
    set(socket, libc::NETLINK_CAP_ACK)?;
    set(socket, libc::NETLINK_GET_STRICT_CHK)
}

fn set(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int, which lives until the call returns.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// One instruction of a classic BPF program: code, jump if true, jump if
/// false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// Lets only those messages wake the owner of `socket` for which the classic
/// BPF `program` returns something other than 0 (socket(7),
/// `SO_ATTACH_FILTER`).
///
/// # Errors
/// `EINVAL` for a program that the kernel does not accept.
pub fn attach_filter(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len())
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: `program` points to `len` instructions; both live until the call
    // returns, and the kernel copies them.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
