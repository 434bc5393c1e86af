//! AES-256-GCM and CMAC of aws-lc-rs. The library frees key schedules through `OPENSSL_free`, which wipes them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cmac;
use portal_core::Sensitive;

/// A key schedule of AES-256-GCM.
pub(crate) struct Aes256Gcm(LessSafeKey);

impl Aes256Gcm {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "fails on a key of another length, or when there is no memory"
        )]
        let key = UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Encrypts `in_out` and gives the tag; `None` past the length that GCM allows.
    pub(crate) fn seal_in_place(&self, nonce: &[u8; 12], aad: &[u8], in_out: &mut [u8]) -> Option<[u8; 16]> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), in_out).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Decrypts `in_out` if the tag is right; if not, `in_out` holds nothing of the plaintext afterwards.
    pub(crate) fn open_in_place(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; 16],
    ) -> bool {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place_separate_tag(nonce, Aad::from(aad), tag, in_out).is_ok()
    }

    /// Decrypts into `out`, which has the length of the ciphertext, if the tag that follows it is right; if not, `out`
    /// holds nothing of the plaintext afterwards.
    pub(crate) fn open_into(&self, nonce: &[u8; 12], aad: &[u8], sealed: &[u8], out: &mut [u8]) -> bool {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        sealed.split_last_chunk::<16>().is_some_and(|(ciphertext, tag)| {
            self.0.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out).is_ok()
        })
    }
}

/// A key of CMAC with AES-256 (NIST SP 800-38B).
pub(crate) struct CmacAes256(cmac::Key);

impl CmacAes256 {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "fails on a key of another length, or when there is no memory"
        )]
        Self(cmac::Key::new(cmac::AES_256, key).expect("a key of 32 bytes"))
    }

    /// The tag of `message`. The library leaves its copy of the tag unwiped.
    pub(crate) fn tag(&self, message: &[u8]) -> Option<Sensitive<[u8; 16]>> {
        cmac::sign(&self.0, message).ok()?.as_ref().try_into().ok().map(Sensitive::new)
    }
}
