//! AES-256-GCM of aws-lc-rs on the same field, and nothing else.

use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// As long as the bytes that Portal binds a field of this table to.
const BOUND: [u8; 96] = [5; 96];

/// A key, a field and its ciphertext.
pub struct Raw {
    key: LessSafeKey,
    plaintext: [u8; measure::FIELD],
    ciphertext: [u8; measure::FIELD],
    tag: Vec<u8>,
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([9; 12])
}

impl Raw {
    pub fn new(plaintext: &[u8; measure::FIELD]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes");
        let (key, mut ciphertext) = (LessSafeKey::new(key), *plaintext);
        let tag = key.seal_in_place_separate_tag(nonce(), Aad::from(BOUND), &mut ciphertext);
        let tag = tag.expect("it seals").as_ref().to_vec();
        Self { key, plaintext: *plaintext, ciphertext, tag }
    }

    pub fn seal(&self) {
        let mut field = black_box(self.plaintext);
        let tag = self.key.seal_in_place_separate_tag(nonce(), Aad::from(BOUND), &mut field);
        drop(black_box((field, tag.expect("it seals"))));
    }

    pub fn open(&self) {
        let mut out = [0; measure::FIELD];
        let opened = self.key.open_separate_gather(
            nonce(),
            Aad::from(BOUND),
            black_box(&self.ciphertext),
            &self.tag,
            &mut out,
        );
        opened.expect("it opens");
        black_box(out);
    }
}
