//! The key schedule against published vectors, the whole against another implementation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use ::hpke::aead::AesGcm256;
use ::hpke::kdf::HkdfSha256;
use ::hpke::kem::XWing;
use ::hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal};
use portal_core::{Entropy, SeededEntropy};
use proptest::prelude::*;
use shake::{ExtendableOutput, Shake128, Update, XofReader};

use super::*;
use crate::hex;

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

/// X-Wing with HKDF-SHA256 of draft-ietf-hpke-pq. Its AEAD is ChaCha20-Poly1305, whose key and nonce have the same length.
#[test]
fn draft_ietf_hpke_pq() {
    let vector: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/hpke-pq-x-wing.json")).unwrap();
    let bytes = |name: &str| hex::bytes(vector[name].as_str().unwrap());
    let key = DecapsulationKey::from_seed(&bytes("skRm").try_into().unwrap()).unwrap();
    assert_eq!(key.encapsulation_key().to_bytes().as_slice(), bytes("pkRm"));
    let shared = key.decapsulate(&bytes("enc")).unwrap();
    assert_eq!(shared.expose().as_slice(), bytes("shared_secret"));
    let suite = bytes("suite_id").try_into().unwrap();
    assert_eq!(suite, *b"HPKE\x64\x7a\x00\x01\x00\x03");
    let (key, nonce) = key_schedule(&suite, &shared, &bytes("info"));
    assert_eq!(key.expose().as_slice(), bytes("key"));
    assert_eq!(nonce.expose().as_slice(), bytes("base_nonce"));
}

/// RFC 9180, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, base mode: 1,000 messages of one context, accumulated
/// in SHAKE-128 as in the test vectors of Go (`crypto/hpke/testdata/rfc9180.json`).
#[test]
fn rfc_9180() {
    let array = |text: &str| hex::decode::<32>(text).unwrap();
    let secret = array("497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d");
    let public = array("430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c");
    let encapsulated = array("6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256");
    let info = hex::decode::<20>("4f6465206f6e2061204772656369616e2055726e").unwrap();

    // DHKEM, section 4.1.
    let agreed = backend::X25519Secret::from_bytes(&secret).unwrap().agree(&encapsulated).unwrap();
    let kem = b"KEM\x00\x20";
    let extracted = labeled_extract(kem, b"", b"eae_prk", agreed.expose());
    let shared = labeled_expand(kem, &extracted, b"shared_secret", &[encapsulated, public].concat());

    let (key, nonce) = key_schedule(b"HPKE\x00\x20\x00\x01\x00\x02", &shared, &info);
    let key = Aes256GcmKey::new(key.expose());
    let mut input = Shake128::default().finalize_xof();
    let mut output = Shake128::default();
    for sequence in 0..1_000_u16 {
        let [aad, plaintext] = [(); 2].map(|()| {
            let mut len = [0];
            input.read(&mut len);
            let mut bytes = vec![0; len[0].into()];
            input.read(&mut bytes);
            bytes
        });
        let mut nonce = *nonce.expose();
        for (byte, count) in nonce[10..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= count;
        }
        let mut sealed = Vec::new();
        key.seal(&nonce, &aad, &plaintext, &mut sealed).unwrap();
        output.update(&sealed);
    }
    let mut hash = [0; 16];
    output.finalize_xof().read(&mut hash);
    assert_eq!(hash, hex::decode("1702e73e1e71705faa8241022af1deea").unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_hpke_crate_opens_what_we_seal_and_the_other_way_round(
        seed: u64, info in "[a-z]{0,40}", aad in "[a-z]{0,40}", message in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = [0; 32];
        SeededEntropy::new(seed).fill(&mut bytes);
        let ours = DecapsulationKey::from_seed(&bytes).unwrap();
        let theirs = <XWing as Kem>::PrivateKey::from_bytes(&bytes).unwrap();
        let public = <XWing as Kem>::PublicKey::from_bytes(&ours.encapsulation_key().to_bytes()).unwrap();
        let (info, aad) = (info.as_bytes(), aad.as_bytes());

        let (enc, sealed) = seal(ours.encapsulation_key(), info, aad, &message).unwrap();
        let enc = <XWing as Kem>::EncappedKey::from_bytes(&enc).unwrap();
        let opened =
            single_shot_open::<AesGcm256, HkdfSha256, XWing>(&OpModeR::Base, &theirs, &enc, info, &sealed, aad);
        assert_eq!(opened.unwrap(), message);

        let (enc, sealed) =
            single_shot_seal::<AesGcm256, HkdfSha256, XWing>(&OpModeS::Base, &public, info, &message, aad).unwrap();
        assert_eq!(*open(&ours, info, aad, &enc.to_bytes(), &sealed).unwrap().expose(), message);
    }
}
