//! What the fuzz targets in `fuzz/` run, and what the tests run on their corpus: every parser of bytes from outside, with
//! what must hold of whatever they take. A target answers whether it took the input; each must end, and in no panic.

use std::sync::LazyLock;

use portal_core::id::{EpochId, Id, SubjectId, TenantId};
use portal_core::{Entropy, Sensitive, Timestamp, Workload};

use crate::bulk;
use crate::cose::{self, Expect, Key};
use crate::envelope::{Header, Owner, Padding, Place, Scope, SubjectKey};
use crate::epoch::{EpochKey, SubjectKeyRecord};
use crate::jws;
use crate::key::KeyBytes;
use crate::keyring::Keyring;
use crate::pair::PairSigningKey;
use crate::suite::{Algorithm, Suites};
use crate::token::{self, KeySet};
use crate::wrapped::WrappedKeyRecord;

/// A target.
pub type Target = fn(&[u8]) -> bool;

/// Every target, by the name of its corpus.
pub const TARGETS: [(&str, Target); 4] =
    [("envelope", envelope), ("keyring", keyring), ("cose", cose), ("jose", jose)];

/// The media type of the signed objects of the corpus.
pub const MEDIA_TYPE: &str = "text/plain";

/// The type of the JSON objects and the issuer and audience of the tokens of the corpus.
pub const NAME: &str = "portal";

/// The passphrase of the sealed keyrings of the corpus.
pub const PASSPHRASE: &[u8] = b"passphrase";

/// When the tokens of the corpus are valid.
pub const NOW: Timestamp = Timestamp::from_seconds(1_763_800_000);

/// Gives the same bytes again and again: sealing the same thing twice gives the same bytes.
pub struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x5a);
    }
}

/// The owner of the envelopes of the corpus.
#[must_use]
pub fn owner() -> Owner {
    Owner { service: Workload::Auth, tenant: TenantId::DEFAULT, subject: SubjectId::from_bytes([0x22; 16]) }
}

/// Where the envelopes of the corpus stand.
#[must_use]
pub fn place() -> Place<'static> {
    Place { owner: owner(), table: "account", column: "email", row: [0x33; 16], row_version: 7 }
}

fn fixed_key() -> KeyBytes {
    KeyBytes::generate(&Fixed)
}

/// The key of the envelopes of the corpus; without AES-256-GCM it seals with XAES-256-GCM.
#[must_use]
pub fn subject_key(suites: Suites) -> SubjectKey {
    SubjectKey::new(fixed_key(), owner(), 1, suites)
}

/// The key of the records of the corpus.
#[must_use]
pub fn epoch_key() -> EpochKey {
    let scope: Scope = owner().scope();
    EpochKey::new(&fixed_key(), EpochId::from_bytes([0x66; 16]), scope, Suites::ALL)
}

/// The key of the signed objects of the corpus. `None` if the cryptographic library fails.
#[must_use]
pub fn signing_key() -> Option<&'static PairSigningKey> {
    static KEY: LazyLock<Option<PairSigningKey>> =
        LazyLock::new(|| PairSigningKey::from_seed(&[0x5a; 64]).ok());
    KEY.as_ref()
}

/// Envelopes, records of keys, and streams.
pub fn envelope(data: &[u8]) -> bool {
    let key = subject_key(Suites::ALL);
    let mut taken = false;
    for padding in [Padding::None, Padding::To16] {
        if let Ok(opened) = key.open(&place(), padding, data) {
            assert!(Header::read(data).is_ok_and(|header| header.generation == 1));
            let suites = match Header::read(data).map(|header| header.algorithm) {
                Ok(Algorithm::XAes256Gcm) => Suites::all_but([Algorithm::Aes256Gcm]),
                _ => Suites::ALL,
            };
            let again = subject_key(suites).seal(&place(), padding, opened.expose(), &Fixed);
            assert!(again.is_ok_and(|again| again.len() == data.len()));
            taken = true;
        }
    }
    if let Ok(record) = SubjectKeyRecord::from_bytes(data) {
        assert!(record.to_bytes() == *data);
        taken |= epoch_key().unwrap(owner().subject, &record).is_ok();
    }
    if let Ok(record) = WrappedKeyRecord::from_bytes(data) {
        assert!(record.to_bytes() == data);
        taken = true;
    }
    if let Ok(opened) = bulk::open(&fixed_key(), b"context", data) {
        assert_eq!(bulk::sealed_len(opened.expose().len()), Some(data.len()));
        taken = true;
    }
    seals_and_opens(&key, data);
    taken
}

/// Whatever the data is as a plaintext, what is sealed opens, and cut by a byte it does not.
fn seals_and_opens(key: &SubjectKey, data: &[u8]) {
    let sealed = key.seal(&place(), Padding::To64, data, &Fixed).unwrap_or_default();
    let opened = key.open(&place(), Padding::To64, &sealed);
    assert!(opened.is_ok_and(|opened| opened.expose() == data));
    let cut = sealed.split_last().map(|(_, cut)| cut).unwrap_or_default();
    assert!(key.open(&place(), Padding::To64, cut).is_err());
}

/// Files of root keys, sealed and not.
pub fn keyring(data: &[u8]) -> bool {
    let passphrase = Sensitive::new(PASSPHRASE.to_vec());
    let plain = Keyring::parse(data, None).ok();
    let sealed = if costs_little(data) { Keyring::parse(data, Some(&passphrase)).ok() } else { None };
    assert!(plain.is_none() || sealed.is_none());
    let Some(keyring) = plain.or(sealed) else { return false };
    let file = keyring.to_file();
    let again = Keyring::parse(file.expose(), None);
    assert!(again.is_ok_and(|again| again.to_file().expose() == file.expose()));
    true
}

/// Whether the passphrase costs no more than those of the corpus: the bounds let a file ask for a minute and a gigabyte.
fn costs_little(data: &[u8]) -> bool {
    let Ok(file) = serde_json::from_slice::<serde_json::Value>(data) else { return true };
    let cost = |name: &str| file.get("passphrase").and_then(|of| of.get(name)?.as_u64()).unwrap_or(0);
    cost("memory_kib") <= 64 && cost("passes") <= 4
}

/// Signed objects and keys in CBOR.
pub fn cose(data: &[u8]) -> bool {
    let Some(pair) = signing_key() else { return false };
    let keys = Key::both(pair.verifying_key());
    let expect =
        Expect { content_type: Some(MEDIA_TYPE), keys: &keys, external_aad: &[], suites: Suites::ALL };
    let (one, all) = (cose::verify1(data, &expect), cose::verify(data, &expect));
    assert!(one.is_err() || all.is_err());
    let key = Key::from_cose_key(data);
    if let Ok(key) = &key {
        assert!(Key::from_cose_key(&key.to_cose_key()).is_ok_and(|again| again == *key));
    }
    one.is_ok() || all.is_ok() || key.is_ok()
}

/// Tokens, key sets and signed objects in JSON.
pub fn jose(data: &[u8]) -> bool {
    let (Ok(text), Some(pair)) = (std::str::from_utf8(data), signing_key()) else { return false };
    let mut keys = KeySet::new();
    keys.insert(pair.verifying_key().ml_dsa_65().clone());
    let expect = token::Expect {
        issuer: NAME,
        audience: NAME,
        now: NOW,
        leeway: std::time::Duration::ZERO,
        suites: Suites::ALL,
    };
    let token = token::verify(text, &keys, &expect);
    let object = jws::verify(text, NAME, pair.verifying_key(), Suites::ALL);
    let set = KeySet::from_jwks_json(text);
    if let Ok(set) = &set {
        assert!(KeySet::from_jwks_json(&set.to_jwks_json()).is_ok_and(|again| again == *set));
    }
    token.is_ok() || object.is_ok() || set.is_ok()
}

#[cfg(test)]
mod tests;
