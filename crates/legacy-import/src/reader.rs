//! The keys of an earlier system, and its records read with them.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::thread;

use portal_core::Sensitive;
use portal_crypto::suite::{Algorithm, Disabled, Suites};

use crate::key_id::KeyId;
use crate::open::{LegacyOpen, OpenError};
use crate::record::LegacyRecord;
use crate::verify::{InvalidSignature, LegacyVerify};

/// Fewer records than these are not worth a thread.
const SHARE: usize = 8;

/// Why a record can't be read. Never shows content.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its signature is not one of the key that it names.
    #[error(transparent)]
    Signature(#[from] InvalidSignature),
    /// It is sealed to a key that was not given.
    #[error("it is sealed to the Kyber-768 key {0}, which was not given")]
    UnknownKemKey(KeyId),
    /// It is signed by a key that was not given.
    #[error("it is signed by the Dilithium3 key {0}, which was not given")]
    UnknownSigner(KeyId),
}

/// Every key that the records may name.
pub struct Reader {
    open: BTreeMap<KeyId, LegacyOpen>,
    verify: BTreeMap<KeyId, LegacyVerify>,
}

impl Reader {
    /// A reader of what is sealed to one of `open` and signed by one of `verify`.
    ///
    /// # Errors
    /// [`Disabled`] if an algorithm that this needs is not among `suites`.
    pub fn new(
        suites: Suites,
        open: impl IntoIterator<Item = LegacyOpen>,
        verify: impl IntoIterator<Item = LegacyVerify>,
    ) -> Result<Self, Disabled> {
        for needed in [LegacyOpen::ALGORITHM, LegacyVerify::ALGORITHM, Algorithm::Aes256Gcm] {
            suites.require(needed)?;
        }
        Ok(Self {
            open: open.into_iter().map(|key| (key.id(), key)).collect(),
            verify: verify.into_iter().map(|key| (key.id(), key)).collect(),
        })
    }

    /// The plaintext of `record`, if the key that it names signed it.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(&self, record: &LegacyRecord) -> Result<Sensitive<Vec<u8>>, Unreadable> {
        let signer = record.signer();
        let signer = self.verify.get(&signer).ok_or(Unreadable::UnknownSigner(signer))?;
        let verified = signer.record(record)?;
        let key = self.open.get(&record.kem_key()).ok_or(Unreadable::UnknownKemKey(record.kem_key()))?;
        Ok(key.open(verified)?)
    }

    /// What each of `records` says, in their order: on all processors, since a record takes a third of a millisecond.
    #[must_use]
    pub fn read_all(&self, records: &[&LegacyRecord]) -> Vec<Result<Sensitive<Vec<u8>>, Unreadable>> {
        let read = |records: &[&LegacyRecord]| records.iter().map(|record| self.read(record)).collect();
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let share = records.len().div_ceil(processors).max(SHARE);
        if records.len() <= share {
            return read(records);
        }
        thread::scope(|scope| {
            let shares: Vec<_> =
                records.chunks(share).map(|share| scope.spawn(move || read(share))).collect();
            let joined = |share: thread::ScopedJoinHandle<'_, Vec<_>>| {
                share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            shares.into_iter().flat_map(joined).collect()
        })
    }

    /// Whether it has the key of Kyber-768 with this id.
    #[must_use]
    pub fn can_open(&self, key: KeyId) -> bool {
        self.open.contains_key(&key)
    }

    /// Whether it has the key of Dilithium3 with this id.
    #[must_use]
    pub fn can_verify(&self, key: KeyId) -> bool {
        self.verify.contains_key(&key)
    }
}
