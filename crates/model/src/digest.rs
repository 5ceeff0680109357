//! Numbers derived from content: SHA-256 over length-prefixed fields, cut to 64 bits.
//!
//! Identities, peer classes, slots and port sets are numbered by what they are, so that two hosts agree without talking
//! and a second pass over the same input makes the same numbers. Whoever makes many of them checks for collisions.

use sha2::{Digest, Sha256};

/// Collects fields and makes one 64-bit number of them. Fields are length-prefixed: `("ab","c")` and `("a","bc")` differ.
#[derive(Clone)]
pub struct Digest64(Sha256);

impl Digest64 {
    /// Begins a digest in its own domain, for example `"identity"`.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let mut this = Self(Sha256::new());
        this.text(domain);
        this
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.bytes(&number.to_be_bytes())
    }

    /// The first eight bytes of the SHA-256, big-endian.
    #[must_use]
    pub fn finish(self) -> u64 {
        let digest = self.0.finalize();
        digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}
