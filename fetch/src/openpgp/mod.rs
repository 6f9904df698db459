//! OpenPGP detached signatures and the keys they are made with.
//!
//! The library does the arithmetic and the packet formats; what a signature
//! *means* is decided here: which component of a key may sign, and whether it
//! may still, now. We are stricter than `gpg --verify`, which prints "Good
//! signature" with a warning where we refuse: an expired or revoked key vouches
//! for nothing, whenever the signature claims to have been made, because that
//! time is only the signer's word.
//!
//! Source: RFC 9580, sections 5.2 and 10.1.
//! Absent on purpose: designated revokers and third-party certifications; the
//! keystore says whom we trust, not a web.

mod certificate;
mod signature;

pub use certificate::{Certificate, CertificateError, KeyFault};
pub use signature::SignatureError;
pub(crate) use signature::{Signatures, SignedBytes};

#[cfg(test)]
mod tests;
