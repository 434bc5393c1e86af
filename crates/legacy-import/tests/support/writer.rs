//! An earlier system, as far as it wrote records: for tests and `examples/legacy_fixture.rs`, in no product.
//!
//! All of it follows from a seed but the keys and signatures of Dilithium3, since `pqc_dilithium` takes neither a seed nor
//! a key that it did not just make.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, dead_code)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portal_core::id::{Id, SubjectId};
use portal_core::{Entropy, SeededEntropy};
use portal_crypto::aead::Aes256GcmKey;
use portal_crypto::hash::sha256;
use portal_crypto::suite::Suites;
use portal_legacy_import::record::Parts;
use portal_legacy_import::{KeyId, LegacyOpen, LegacyRecord, LegacyVerify, Reader, RecordId};
use rand_core::{CryptoRng, RngCore};
use uuid::Uuid;

/// Records of one subject, one for each of these.
const FIELDS: [(&str, &str); 5] = [
    ("account", "email"),
    ("account", "display_name"),
    ("account", "phone"),
    ("profile", "postal_address"),
    ("profile", "date_of_birth"),
];

/// A value and where it belongs.
#[derive(Clone)]
pub struct Value {
    pub record_id: RecordId,
    pub subject_id: SubjectId,
    pub table: String,
    pub field: String,
    pub plaintext: Vec<u8>,
}

impl Value {
    /// Value `number` of the system that belongs to `seed`; ids ascend with the number.
    pub fn new(seed: u64, number: u64) -> Self {
        let subject = number / FIELDS.len() as u64;
        let (table, field) = FIELDS[usize::try_from(number % FIELDS.len() as u64).unwrap()];
        Self {
            record_id: RecordId::from_uuid(id(seed, "record", number)),
            subject_id: SubjectId::from_uuid(id(seed, "subject", subject)),
            table: table.to_owned(),
            field: field.to_owned(),
            plaintext: plaintext(seed, field, subject).into_bytes(),
        }
    }
}

/// Version 7, with the number for the time.
fn id(seed: u64, kind: &str, number: u64) -> Uuid {
    let random = sha256(format!("{seed} {kind} {number}").as_bytes());
    uuid::Builder::from_unix_timestamp_millis(1_600_000_000_000 + number, random.first_chunk().unwrap())
        .into_uuid()
}

fn plaintext(seed: u64, field: &str, subject: u64) -> String {
    match field {
        "email" => format!("person.{subject}.{seed}@legacy.example"),
        "display_name" => format!("Zoë Nº {subject} Müller-Łukasiewicz"),
        // Some have none, which is a value of its own.
        "phone" if subject.is_multiple_of(11) => String::new(),
        "phone" => format!("+49 30 {:07}", subject % 10_000_000),
        "postal_address" => {
            format!("{subject} Long Street\n").repeat(1 + usize::try_from(subject % 17).unwrap())
        }
        _ => format!("19{:02}-{:02}-{:02}", subject % 100, 1 + subject % 12, 1 + subject % 28),
    }
}

/// Its keys.
pub struct Writer {
    kem: pqc_kyber::Keypair,
    signer: pqc_dilithium::Keypair,
    seed: u64,
}

impl Writer {
    /// New keys: that of Kyber-768 belongs to `seed`, that of Dilithium3 is always another one.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 64];
        SeededEntropy::new(seed).fill(&mut bytes);
        Self { kem: pqc_kyber::derive(&bytes).unwrap(), signer: pqc_dilithium::Keypair::generate(), seed }
    }

    /// The private key of Kyber-768.
    pub fn kem_private(&self) -> &[u8] {
        &self.kem.secret
    }

    /// The public key of Dilithium3.
    pub fn signer_public(&self) -> &[u8] {
        &self.signer.public
    }

    /// The names of both.
    pub fn key_ids(&self) -> (KeyId, KeyId) {
        (KeyId::of(&self.kem.public), KeyId::of(&self.signer.public))
    }

    /// Who can read what this writes.
    pub fn reader(&self) -> Reader {
        Reader::new(
            Suites::ALL,
            [LegacyOpen::from_bytes(self.kem_private()).unwrap()],
            [LegacyVerify::from_bytes(self.signer_public()).unwrap()],
        )
        .unwrap()
    }

    /// `value` sealed and signed.
    pub fn record(&self, value: &Value) -> LegacyRecord {
        LegacyRecord::try_from(self.parts(value)).unwrap()
    }

    /// As [`Self::record`], to be tampered with.
    pub fn parts(&self, value: &Value) -> Parts {
        let draft = format!("{} {} {:?}", self.seed, value.record_id, value.plaintext);
        let mut entropy =
            Rng(SeededEntropy::new(u64::from_be_bytes(*sha256(draft.as_bytes()).first_chunk().unwrap())));
        let (kem_ciphertext, secret) = pqc_kyber::encapsulate(&self.kem.public, &mut entropy).unwrap();
        let mut nonce = vec![0; 12];
        entropy.fill_bytes(&mut nonce);
        let (kem_key, signer) = self.key_ids();
        let unsealed = Parts {
            record_id: value.record_id,
            subject_id: value.subject_id,
            table: value.table.clone(),
            field: value.field.clone(),
            kem_key,
            kem_ciphertext: kem_ciphertext.to_vec(),
            nonce,
            sealed: vec![0; 16],
            signer,
            signature: vec![0; 3_293],
        };
        let place = LegacyRecord::try_from(clone(&unsealed)).unwrap().place();
        let mut sealed = Vec::new();
        let nonce = unsealed.nonce.as_slice().try_into().unwrap();
        Aes256GcmKey::new(&secret).seal(nonce, &place, &value.plaintext, &mut sealed).unwrap();
        self.sign(Parts { sealed, ..unsealed })
    }

    /// Signs whatever stands in `parts`.
    pub fn sign(&self, parts: Parts) -> Parts {
        let unsigned = LegacyRecord::try_from(clone(&parts)).unwrap();
        Parts { signature: self.signer.sign(&unsigned.signed_bytes()).to_vec(), ..parts }
    }
}

/// A copy of `parts`.
pub fn clone(parts: &Parts) -> Parts {
    Parts {
        table: parts.table.clone(),
        field: parts.field.clone(),
        kem_ciphertext: parts.kem_ciphertext.clone(),
        nonce: parts.nonce.clone(),
        sealed: parts.sealed.clone(),
        signature: parts.signature.clone(),
        ..*parts
    }
}

/// The line of an export, as docs/legacy-format.md describes it.
pub fn line(parts: &Parts) -> String {
    serde_json::json!({
        "record_id": parts.record_id.to_string(),
        "subject_id": parts.subject_id.to_string(),
        "table": parts.table,
        "field": parts.field,
        "kem_key_id": parts.kem_key.to_string(),
        "kem_ciphertext": BASE64.encode(&parts.kem_ciphertext),
        "nonce": BASE64.encode(&parts.nonce),
        "sealed": BASE64.encode(&parts.sealed),
        "signer_key_id": parts.signer.to_string(),
        "signature": BASE64.encode(&parts.signature),
    })
    .to_string()
}

/// What `pqc_kyber` takes its randomness from.
struct Rng(SeededEntropy);

impl RngCore for Rng {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Rng {}
