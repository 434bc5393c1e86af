//! Authenticated encryption: AES-256-GCM (NIST SP 800-38D) with 96-bit nonces and 128-bit tags.
//!
//! A sealed message is its ciphertext with the tag after it. A nonce must never be used twice under one key; with random
//! nonces that holds for 2^28 messages under one key with room to spare. GCM alone does not commit to its key: who lets
//! others choose keys or ciphertexts adds a commitment. [`XAes256GcmKey`] takes longer nonces.

mod xaes;

use portal_core::Sensitive;
use zeroize::Zeroize;

pub use self::xaes::{X_NONCE_LEN, XAes256GcmKey};
use crate::backend;

/// The length of a nonce of AES-256-GCM.
pub const NONCE_LEN: usize = 12;
/// The length of a tag.
pub const TAG_LEN: usize = 16;

/// The plaintext is longer than the 2^36 − 32 bytes that GCM allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too long to be sealed in one message")]
pub struct SealError;

/// The message was not sealed under this key with this nonce and this associated data.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the sealed message does not open")]
pub struct OpenError;

/// A key of AES-256-GCM with its key schedule. Wiped on drop; has no `Debug` and no `Clone`.
pub struct Aes256GcmKey(backend::Aes256Gcm);

impl Aes256GcmKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(backend::Aes256Gcm::new(key))
    }

    /// Appends ciphertext and tag of `plaintext` to `out`: 16 bytes more than the plaintext.
    ///
    /// # Errors
    /// [`SealError`]; `out` is then as it was.
    pub fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let start = out.len();
        // At once, so that no growing of the buffer leaves a copy of the plaintext behind.
        out.reserve(plaintext.len() + TAG_LEN);
        out.extend_from_slice(plaintext);
        let in_out = out.get_mut(start..).unwrap_or_default();
        if let Some(tag) = self.0.seal_in_place(nonce, aad, in_out) {
            out.extend_from_slice(&tag);
            Ok(())
        } else {
            in_out.zeroize();
            out.truncate(start);
            Err(SealError)
        }
    }

    /// The plaintext of `sealed`, which is ciphertext and tag.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Sensitive<Vec<u8>>, OpenError> {
        let (ciphertext, tag) = sealed.split_last_chunk().ok_or(OpenError)?;
        let mut text = ciphertext.to_vec();
        self.open_in_place(nonce, aad, &mut text, tag)?;
        Ok(Sensitive::new(text))
    }

    /// As [`Self::open`], into `out`, whose length must be that of the plaintext. For what fits on the stack; the caller
    /// wipes `out`.
    ///
    /// # Errors
    /// [`OpenError`]; `out` then holds nothing of the plaintext.
    pub fn open_into(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        let fits = sealed.len().checked_sub(TAG_LEN) == Some(out.len());
        if fits && self.0.open_into(nonce, aad, sealed, out) { Ok(()) } else { Err(OpenError) }
    }

    /// Encrypts `in_out` where it stands and gives its tag.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; TAG_LEN], SealError> {
        self.0.seal_in_place(nonce, aad, in_out).ok_or(SealError)
    }

    /// Decrypts `in_out` where it stands.
    ///
    /// # Errors
    /// [`OpenError`]; `in_out` then holds nothing of the plaintext.
    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError> {
        if self.0.open_in_place(nonce, aad, in_out, tag) { Ok(()) } else { Err(OpenError) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const NONCE: [u8; 12] = [9; 12];

    #[test]
    fn all_forms_agree() {
        let key = Aes256GcmKey::new(&[7; 32]);
        let mut sealed = b"header".to_vec();
        key.seal(&NONCE, b"aad", b"plaintext", &mut sealed).unwrap();
        let (header, sealed) = sealed.split_at(6);
        assert_eq!(header, b"header");
        assert_eq!(key.open(&NONCE, b"aad", sealed).unwrap().expose(), b"plaintext");
        let mut buffer = *b"plaintext";
        let tag = key.seal_in_place(&NONCE, b"aad", &mut buffer).unwrap();
        assert_eq!([buffer.as_slice(), &tag].concat(), sealed);
        key.open_in_place(&NONCE, b"aad", &mut buffer, &tag).unwrap();
        assert_eq!(&buffer, b"plaintext");
        let mut out = [0; 9];
        key.open_into(&NONCE, b"aad", sealed, &mut out).unwrap();
        assert_eq!(&out, b"plaintext");
    }

    #[test]
    fn what_does_not_open_shows_nothing() {
        let key = Aes256GcmKey::new(&[7; 32]);
        let mut sealed = Vec::new();
        key.seal(&NONCE, b"aad", b"plaintext", &mut sealed).unwrap();
        assert_eq!(key.open(&NONCE, b"AAD", &sealed).err(), Some(OpenError));
        assert_eq!(key.open(&[8; 12], b"aad", &sealed).err(), Some(OpenError));
        assert_eq!(Aes256GcmKey::new(&[8; 32]).open(&NONCE, b"aad", &sealed).err(), Some(OpenError));
        for len in 0..sealed.len() {
            assert_eq!(key.open(&NONCE, b"aad", &sealed[..len]).err(), Some(OpenError), "{len} bytes");
        }
        for len in [8, 10] {
            assert_eq!(key.open_into(&NONCE, b"aad", &sealed, &mut vec![0; len]), Err(OpenError));
        }
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut out = [0xaa; 9];
            assert_eq!(key.open_into(&NONCE, b"aad", &changed, &mut out), Err(OpenError), "bit {bit}");
            assert!(out == [0; 9] || out == [0xaa; 9], "{out:x?}");
            let (text, tag) = changed.split_last_chunk_mut::<16>().unwrap();
            let before = text.to_vec();
            assert_eq!(key.open_in_place(&NONCE, b"aad", text, tag), Err(OpenError), "bit {bit}");
            assert!(text == [0; 9] || text == before, "{text:x?}");
        }
    }
}
