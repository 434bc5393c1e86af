//! AES-256-GCM of `aes-gcm` and CMAC of `cmac`. Both use the processor's AES instructions where it has them; the code for
//! those that have none is in constant time.

use aes_gcm::KeyInit;
use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use cmac::{Cmac, Mac};
use portal_core::Sensitive;

/// A key schedule of AES-256-GCM.
pub(crate) struct Aes256Gcm(aes_gcm::Aes256Gcm);

impl Aes256Gcm {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(aes_gcm::Aes256Gcm::new(key.into()))
    }

    /// Encrypts `in_out` and gives the tag; `None` past the length that GCM allows.
    pub(crate) fn seal_in_place(&self, nonce: &[u8; 12], aad: &[u8], in_out: &mut [u8]) -> Option<[u8; 16]> {
        self.0.encrypt_inout_detached(nonce.into(), aad, in_out.into()).ok().map(Into::into)
    }

    /// Decrypts `in_out` if the tag is right; if not, `in_out` stays as it is.
    pub(crate) fn open_in_place(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; 16],
    ) -> bool {
        self.0.decrypt_inout_detached(nonce.into(), aad, in_out.into(), tag.into()).is_ok()
    }

    /// Decrypts into `out`, which has the length of the ciphertext, if the tag that follows it is right; if not, `out`
    /// stays as it is.
    pub(crate) fn open_into(&self, nonce: &[u8; 12], aad: &[u8], sealed: &[u8], out: &mut [u8]) -> bool {
        let Some((ciphertext, tag)) = sealed.split_last_chunk::<16>() else { return false };
        InOutBuf::new(ciphertext, out)
            .is_ok_and(|buffer| self.0.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()).is_ok())
    }
}

/// A key of CMAC with AES-256 (NIST SP 800-38B).
pub(crate) struct CmacAes256(Cmac<aes::Aes256>);

impl CmacAes256 {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(Cmac::new(key.into()))
    }

    /// The tag of `message`.
    pub(crate) fn tag(&self, message: &[u8]) -> Option<Sensitive<[u8; 16]>> {
        let mut mac = self.0.clone();
        mac.update(message);
        Some(Sensitive::new(mac.finalize().into_bytes().into()))
    }
}
