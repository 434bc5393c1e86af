//! XAES-256-GCM (C2SP): AES-256-GCM with nonces of 192 bits, for keys that many writers share and nobody counts.
//!
//! The first half of the nonce derives a key per message (NIST SP 800-108r1 in counter mode over CMAC-AES-256, one
//! block each), the second half is the nonce of AES-256-GCM under it. Random nonces are safe for 2^80 messages.

use portal_core::Sensitive;
use zeroize::Zeroizing;

use super::{Aes256GcmKey, NONCE_LEN, OpenError, SealError, TAG_LEN};
use crate::backend;

/// The length of a nonce of XAES-256-GCM.
pub const X_NONCE_LEN: usize = 24;

/// A key of XAES-256-GCM. Wiped on drop; has no `Debug` and no `Clone`.
pub struct XAes256GcmKey(backend::CmacAes256);

impl XAes256GcmKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(backend::CmacAes256::new(key))
    }

    /// Appends ciphertext and tag of `plaintext` to `out`: 16 bytes more than the plaintext.
    ///
    /// # Errors
    /// [`SealError`]; `out` is then as it was.
    pub fn seal(
        &self,
        nonce: &[u8; X_NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let (key, nonce) = self.message_key(nonce).ok_or(SealError)?;
        key.seal(nonce, aad, plaintext, out)
    }

    /// The plaintext of `sealed`, which is ciphertext and tag.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        &self,
        nonce: &[u8; X_NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Sensitive<Vec<u8>>, OpenError> {
        let (key, nonce) = self.message_key(nonce).ok_or(OpenError)?;
        key.open(nonce, aad, sealed)
    }

    /// Encrypts `in_out` where it stands and gives its tag.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_in_place(
        &self,
        nonce: &[u8; X_NONCE_LEN],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; TAG_LEN], SealError> {
        let (key, nonce) = self.message_key(nonce).ok_or(SealError)?;
        key.seal_in_place(nonce, aad, in_out)
    }

    /// Decrypts `in_out` where it stands.
    ///
    /// # Errors
    /// [`OpenError`]; `in_out` then holds nothing of the plaintext.
    pub fn open_in_place(
        &self,
        nonce: &[u8; X_NONCE_LEN],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError> {
        let (key, nonce) = self.message_key(nonce).ok_or(OpenError)?;
        key.open_in_place(nonce, aad, in_out, tag)
    }

    /// The key of the message with this nonce, and the nonce of AES-256-GCM under it. `None` if the cryptographic
    /// library failed.
    fn message_key<'nonce>(
        &self,
        nonce: &'nonce [u8; X_NONCE_LEN],
    ) -> Option<(Aes256GcmKey, &'nonce [u8; NONCE_LEN])> {
        let (head, tail) = nonce.split_first_chunk::<12>()?;
        let mut key = Zeroizing::new([0; 32]);
        for (counter, half) in [1, 2].into_iter().zip(key.chunks_exact_mut(16)) {
            let mut block = [0, counter, b'X', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            block.last_chunk_mut::<12>()?.copy_from_slice(head);
            half.copy_from_slice(self.0.tag(&block)?.expose());
        }
        Some((Aes256GcmKey::new(&key), tail.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use shake::{ExtendableOutput, Shake128, Update, XofReader};

    use super::*;
    use crate::hex;

    /// The two vectors of the specification: the first bit of the block under the CMAC key is 0, then 1.
    #[test]
    fn c2sp_examples() {
        let check = |key: u8, aad: &[u8], expected: &str| {
            let key = XAes256GcmKey::new(&[key; 32]);
            let mut sealed = Vec::new();
            key.seal(b"ABCDEFGHIJKLMNOPQRSTUVWX", aad, b"XAES-256-GCM", &mut sealed).unwrap();
            assert_eq!(sealed, hex::decode::<28>(expected).unwrap());
            assert_eq!(
                key.open(b"ABCDEFGHIJKLMNOPQRSTUVWX", aad, &sealed).unwrap().expose(),
                b"XAES-256-GCM"
            );
        };
        check(1, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        check(3, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d");
    }

    /// The accumulated test of the specification, 10,000 messages.
    #[test]
    fn c2sp_accumulated() {
        let mut input = Shake128::default().finalize_xof();
        let mut output = Shake128::default();
        let mut sealed = Vec::new();
        for _ in 0..10_000 {
            let (mut key, mut nonce) = ([0; 32], [0; 24]);
            input.read(&mut key);
            input.read(&mut nonce);
            let [plaintext, aad] = [(); 2].map(|()| {
                let mut len = [0];
                input.read(&mut len);
                let mut bytes = vec![0; len[0].into()];
                input.read(&mut bytes);
                bytes
            });
            let key = XAes256GcmKey::new(&key);
            sealed.clear();
            key.seal(&nonce, &aad, &plaintext, &mut sealed).unwrap();
            assert_eq!(*key.open(&nonce, &aad, &sealed).unwrap().expose(), plaintext);
            output.update(&sealed);
            let (text, tag) = sealed.split_last_chunk_mut::<16>().unwrap();
            key.open_in_place(&nonce, &aad, text, tag).unwrap();
            assert_eq!(key.seal_in_place(&nonce, &aad, text).unwrap(), *tag);
        }
        let mut hash = [0; 32];
        output.finalize_xof().read(&mut hash);
        let expected = "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939";
        assert_eq!(hash, hex::decode(expected).unwrap());
    }

    #[test]
    fn both_halves_of_the_nonce_count() {
        let key = XAes256GcmKey::new(&[7; 32]);
        let mut sealed = Vec::new();
        key.seal(&[9; 24], b"aad", b"plaintext", &mut sealed).unwrap();
        for at in 0..24 {
            let mut nonce = [9; 24];
            *nonce.get_mut(at).unwrap() ^= 1;
            assert_eq!(key.open(&nonce, b"aad", &sealed).err(), Some(OpenError), "byte {at}");
        }
        assert_eq!(key.open(&[9; 24], b"AAD", &sealed).err(), Some(OpenError));
        assert_eq!(key.open(&[9; 24], b"aad", b"short").err(), Some(OpenError));
    }
}
