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
    key.seal(nonce.expose(), aad, plaintext, &mut ciphertext).map_err(|_| HpkeSealError)?;
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
    key.open(nonce.expose(), aad, ciphertext)
}

/// RFC 9180, section 5.1, for the base mode: the key and the nonce of the first message.
fn key_schedule(
    suite: &[u8; 10],
    shared: &SharedSecret,
    info: &[u8],
) -> (Aes256GcmKey, Sensitive<[u8; NONCE_LEN]>) {
    let psk_id_hash = labeled_extract(suite, b"", b"psk_id_hash", b"");
    let info_hash = labeled_extract(suite, b"", b"info_hash", info);
    let context: [&[u8]; 3] = [&[MODE_BASE], psk_id_hash.expose(), info_hash.expose()];
    let secret = labeled_extract(suite, shared.expose(), b"secret", b"");
    let key = labeled_expand::<32>(suite, &secret, b"key", &context);
    let nonce = labeled_expand(suite, &secret, b"base_nonce", &context);
    (Aes256GcmKey::new(key.expose()), nonce)
}

/// `LabeledExtract` (RFC 9180, section 4); HKDF-Extract is HMAC under the salt (RFC 5869, section 2.2).
fn labeled_extract(suite: &[u8; 10], salt: &[u8], label: &[u8], ikm: &[u8]) -> Sensitive<[u8; 32]> {
    Sensitive::new(backend::Hmac::new(salt).tag(&[b"HPKE-v1", suite, label, ikm]))
}

/// `LabeledExpand` (RFC 9180, section 4).
fn labeled_expand<const N: usize>(
    suite: &[u8; 10],
    secret: &Sensitive<[u8; 32]>,
    label: &[u8],
    [mode, psk_id_hash, info_hash]: &[&[u8]; 3],
) -> Sensitive<[u8; N]> {
    #[expect(clippy::cast_possible_truncation, reason = "32 or 12")]
    let len = (N as u16).to_be_bytes();
    backend::hkdf_expand(secret.expose(), &[&len, b"HPKE-v1", suite, label, mode, psk_id_hash, info_hash])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use portal_core::SeededEntropy;

    use super::*;

    #[test]
    fn opens_for_its_key_info_and_aad_only() {
        let entropy = SeededEntropy::new(1);
        let (ours, _) = DecapsulationKey::generate(&entropy).unwrap();
        let (theirs, _) = DecapsulationKey::generate(&entropy).unwrap();
        let (enc, sealed) = seal(ours.encapsulation_key(), b"info", b"aad", b"message").unwrap();
        assert_eq!(enc.len(), ENCAPSULATED_KEY_LEN);
        assert_eq!(sealed.len(), 7 + 16);
        assert_eq!(open(&ours, b"info", b"aad", &enc, &sealed).unwrap().expose(), b"message");
        assert!(open(&theirs, b"info", b"aad", &enc, &sealed).is_err());
        assert!(open(&ours, b"inf", b"oaad", &enc, &sealed).is_err());
        assert!(open(&ours, b"info", b"", &enc, &sealed).is_err());
        assert!(open(&ours, b"info", b"aad", &enc[1..], &sealed).is_err());
        assert!(open(&ours, b"info", b"aad", &enc, &sealed[1..]).is_err());
        for at in [0, 1_087, 1_088, 1_119] {
            let mut changed = enc;
            changed[at] ^= 1;
            assert!(open(&ours, b"info", b"aad", &changed, &sealed).is_err(), "byte {at}");
        }
    }
}
