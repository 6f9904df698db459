//! Installing a compiled seccomp filter (seccomp(2)).

use std::io;

use bitflags::bitflags;

/// Bytes of one BPF instruction (`struct sock_filter`).
pub const INSTRUCTION: usize = size_of::<libc::sock_filter>();

bitflags! {
    /// `SECCOMP_FILTER_FLAG_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct FilterFlags: u32 {
        /// All threads get the filter.
        const TSYNC = 1;
        /// Every action but allowing is logged.
        const LOG = 2;
        /// The filter asks for no mitigation of speculative store bypass.
        const SPEC_ALLOW = 4;
    }
}

/// A filter program, ready for the kernel.
#[derive(Debug, Clone)]
pub struct Program(Vec<libc::sock_filter>);

impl Program {
    /// Takes the program as libseccomp exports it: instructions in the
    /// machine's byte order. The kernel checks it when it is installed.
    ///
    /// # Errors
    /// `EINVAL` when the length is no whole number of instructions between 1
    /// and 4096 (`BPF_MAXINSNS`).
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        let (instructions, rest) = bytes.as_chunks::<INSTRUCTION>();
        if !rest.is_empty() || instructions.is_empty() || instructions.len() > 4096 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(Self(
            instructions
                .iter()
                .map(|[a, b, jt, jf, k @ ..]| libc::sock_filter {
                    code: u16::from_ne_bytes([*a, *b]),
                    jt: *jt,
                    jf: *jf,
                    k: u32::from_ne_bytes(*k),
                })
                .collect(),
        ))
    }

    /// The program as [`Self::from_bytes`] takes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * INSTRUCTION);
        for instruction in &self.0 {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jt, instruction.jf]);
            bytes.extend(instruction.k.to_ne_bytes());
        }
        bytes
    }

    /// Puts the calling process under this filter, for good and for all it
    /// executes.
    ///
    /// # Errors
    /// `EACCES` with neither `CAP_SYS_ADMIN` nor `no_new_privs`, `EINVAL` for
    /// a program that the kernel rejects.
    pub fn install(&self, flags: FilterFlags) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: self.0.len() as u16,
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: `program` points at `len` instructions that live as long as
        // `self`; the kernel copies them and writes nothing.
        let done = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags.bits(),
                &raw const program,
            )
        };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_whole_instructions() {
        assert!(Program::from_bytes(&[]).is_err());
        assert!(Program::from_bytes(&[0; INSTRUCTION - 1]).is_err());
        assert!(Program::from_bytes(&[0; INSTRUCTION * 4097]).is_err());
        let allow = Program::from_bytes(&[6, 0, 1, 2, 0, 0, 0xff, 0x7f]).unwrap();
        let [only] = allow.0.as_slice() else {
            panic!("one instruction")
        };
        assert_eq!((only.code, only.jt, only.jf), (6, 1, 2));
        assert_eq!(only.k, u32::from_ne_bytes([0, 0, 0xff, 0x7f]));
        assert_eq!(allow.to_bytes(), [6, 0, 1, 2, 0, 0, 0xff, 0x7f]);
    }
}
