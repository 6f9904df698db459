//! A reader that lets through exactly the bytes that were promised.

use std::io::{self, Read};

use image_store::hash::Hasher;
use manifests::digest::Digest;

/// Why bytes are not those that were promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// More bytes than declared; how many more is nobody's business.
    #[error("{from} sends more than the {size} bytes that {digest} has")]
    TooLong {
        /// Who sent them.
        from: String,
        /// Whose bytes they should be.
        digest: Digest,
        /// The declared size.
        size: u64,
    },
    /// Fewer bytes than declared.
    #[error("{digest} from {from} ends after {got} of {size} bytes; fetch it again")]
    Truncated {
        /// Who sent them.
        from: String,
        /// Whose bytes they should be.
        digest: Digest,
        /// The declared size.
        size: u64,
        /// What came.
        got: u64,
    },
    /// The right number of the wrong bytes.
    #[error(
        "what {from} sent for {digest} has the digest {actual}: damaged or forged, do not use it"
    )]
    Forged {
        /// Who sent them.
        from: String,
        /// What was asked for.
        digest: Digest,
        /// What came.
        actual: Digest,
    },
}

/// Counts and hashes what passes, and answers the end of the bytes with an
/// error (a [`BlobError`] inside the [`io::Error`]) unless all of them came.
/// Never reads more than one byte beyond the declared size.
pub(crate) struct Verified<R> {
    inner: R,
    from: String,
    digest: Digest,
    size: u64,
    got: u64,
    hasher: Option<Hasher>,
}

impl<R: Read> Verified<R> {
    /// Expects `size` bytes with this `digest`; `from` names the sender in
    /// messages.
    pub(crate) fn new(inner: R, from: String, digest: Digest, size: u64) -> Self {
        let hasher = Hasher::new(digest.algorithm());
        Self {
            inner,
            from,
            digest,
            size,
            got: 0,
            hasher: Some(hasher),
        }
    }

    fn end(&mut self) -> Result<(), BlobError> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(()); // asked again after the end
        };
        let (from, digest) = (self.from.clone(), self.digest.clone());
        if self.got < self.size {
            let (size, got) = (self.size, self.got);
            return Err(BlobError::Truncated {
                from,
                digest,
                size,
                got,
            });
        }
        let actual = hasher.finish();
        if actual != digest {
            return Err(BlobError::Forged {
                from,
                digest,
                actual,
            });
        }
        Ok(())
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.got).saturating_add(1);
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let n = self.inner.read(&mut buf[..room])?;
        if n == 0 && room > 0 {
            self.end().map_err(io::Error::other)?;
            return Ok(0);
        }
        self.got += n as u64;
        if self.got > self.size {
            return Err(io::Error::other(BlobError::TooLong {
                from: self.from.clone(),
                digest: self.digest.clone(),
                size: self.size,
            }));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..n]);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use image_store::hash::digest_of;
    use manifests::digest::Algorithm;

    use super::*;

    fn read(bytes: &[u8], promised: &[u8]) -> Result<Vec<u8>, String> {
        let digest = digest_of(Algorithm::Sha256, promised);
        let mut out = Vec::new();
        Verified::new(bytes, "the test".into(), digest, promised.len() as u64)
            .read_to_end(&mut out)
            .map(|_| out)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn only_the_promised_bytes_pass() {
        assert_eq!(read(b"abc", b"abc").unwrap(), b"abc");
        assert_eq!(read(b"", b"").unwrap(), b"");
        assert!(
            read(b"abcd", b"abc")
                .unwrap_err()
                .contains("more than the 3 bytes")
        );
        assert!(
            read(b"ab", b"abc")
                .unwrap_err()
                .contains("after 2 of 3 bytes")
        );
        assert!(
            read(b"abd", b"abc")
                .unwrap_err()
                .contains("damaged or forged")
        );
    }

    #[test]
    fn an_endless_body_ends_at_the_declared_size() {
        let digest = digest_of(Algorithm::Sha256, b"abc");
        let mut verified = Verified::new(io::repeat(b'a'), "the test".into(), digest, 3);
        assert!(io::copy(&mut verified, &mut io::sink()).is_err());
        assert_eq!(verified.got, 4);
    }
}
