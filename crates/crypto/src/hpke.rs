//! Hybrid public key encryption (RFC 9180), base mode, one message: what seals a key or a file to a public key.
//!
//! One suite: KEM X-Wing (0x647A), KDF HKDF-SHA256 (0x0001), AEAD AES-256-GCM (0x0002). Base mode says nothing about
//! who sealed; `info` and `aad` bind the message to its purpose. Every message has its own key, so its nonce is the one
//! of sequence number 0.

use portal_core::Sensitive;

use crate::aead::{Aes256GcmKey, NONCE_LEN, OpenError};
use crate::backend;
use crate::kem::SharedSecret;
use crate::kem::x_wing::{Ciphertext, DecapsulationKey, EncapsulationKey};

/// The length of the encapsulated key.
pub const ENCAPSULATED_KEY_LEN: usize = crate::kem::x_wing::CIPHERTEXT_LEN;

/// "HPKE", the ids of KEM, KDF and AEAD (RFC 9180, section 5.1).
const SUITE: [u8; 10] = *b"HPKE\x64\x7a\x00\x01\x00\x02";
const MODE_BASE: u8 = 0;

/// The message could not be sealed to this key: its X25519 half is of small order, the message is longer than GCM
/// allows, or the cryptographic library failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("could not seal to this key")]
pub struct HpkeSealError;

/// Seals `plaintext` so that only the holder of `recipient`'s other half opens it: the encapsulated key, and the
/// ciphertext with its tag.
///
/// # Errors
/// [`HpkeSealError`].
pub fn seal(
    recipient: &EncapsulationKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<(Ciphertext, Vec<u8>), HpkeSealError> {
    let (encapsulated, secret) = recipient.encapsulate().map_err(|_| HpkeSealError)?;
    let (key, nonce) = key_schedule(&SUITE, &secret, info);
    let mut ciphertext = Vec::new();
    Aes256GcmKey::new(key.expose())
        .seal(nonce.expose(), aad, plaintext, &mut ciphertext)
        .map_err(|_| HpkeSealError)?;
    Ok((encapsulated, ciphertext))
}

/// Opens what [`seal`] made for this key with the same `info` and `aad`.
///
/// # Errors
/// [`OpenError`], whatever the reason.
pub fn open(
    recipient: &DecapsulationKey,
    info: &[u8],
    aad: &[u8],
    encapsulated: &[u8],
    ciphertext: &[u8],
) -> Result<Sensitive<Vec<u8>>, OpenError> {
    let secret = recipient.decapsulate(encapsulated).map_err(|_| OpenError)?;
    let (key, nonce) = key_schedule(&SUITE, &secret, info);
    Aes256GcmKey::new(key.expose()).open(nonce.expose(), aad, ciphertext)
}

/// RFC 9180, section 5.1, for the base mode: the key and the nonce of the first message.
fn key_schedule(
    suite: &[u8; 10],
    shared: &SharedSecret,
    info: &[u8],
) -> (Sensitive<[u8; 32]>, Sensitive<[u8; NONCE_LEN]>) {
    let psk_id_hash = labeled_extract(suite, b"", b"psk_id_hash", b"");
    let info_hash = labeled_extract(suite, b"", b"info_hash", info);
    let context = [&[MODE_BASE], psk_id_hash.expose().as_slice(), info_hash.expose()].concat();
    let secret = labeled_extract(suite, shared.expose(), b"secret", b"");
    let key = labeled_expand(suite, &secret, b"key", &context);
    let nonce = labeled_expand(suite, &secret, b"base_nonce", &context);
    (key, nonce)
}

/// `LabeledExtract` (RFC 9180, section 4); HKDF-Extract is HMAC under the salt (RFC 5869, section 2.2).
fn labeled_extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Sensitive<[u8; 32]> {
    Sensitive::new(backend::Hmac::new(salt).tag(&[b"HPKE-v1", suite, label, ikm]))
}

/// `LabeledExpand` (RFC 9180, section 4).
fn labeled_expand<const N: usize>(
    suite: &[u8],
    secret: &Sensitive<[u8; 32]>,
    label: &[u8],
    info: &[u8],
) -> Sensitive<[u8; N]> {
    #[expect(clippy::cast_possible_truncation, reason = "32 or 12")]
    let len = (N as u16).to_be_bytes();
    backend::hkdf_expand(secret.expose(), &[&len, b"HPKE-v1", suite, label, info])
}

#[cfg(test)]
mod tests;
