//! The signed statement that somebody's keys were destroyed.
//!
//! It is to be believed for decades, so it is a COSE object with a signature of Ed25519 and one of ML-DSA-65
//! ([`portal_crypto::statement`]), and both must verify. The payload is JSON; it names the subject, since it is given to
//! that person or their controller, and to nobody else.

use portal_core::id::{Id, SubjectId, TenantId};
use portal_core::{Timestamp, Workload};
use portal_crypto::pair::{PairSigningKey, PairVerifyingKey};
use portal_crypto::statement;
use portal_crypto::suite::{Algorithm, Suites};
use serde::{Deserialize, Serialize};

use crate::KeysError;

/// The media type of the payload; protected by the signatures.
pub const MEDIA_TYPE: &str = "application/vnd.portal.erasure-statement.v1+json";

/// What a statement says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ErasureStatement {
    /// The service that held the keys.
    pub service: Workload,
    /// The tenant that the data was kept for.
    pub tenant: TenantId,
    /// Whose keys were destroyed.
    pub subject: SubjectId,
    /// When.
    pub at: Timestamp,
    /// How many there were.
    pub keys: u64,
    /// The entry in the service's shred ledger, 1 for the first.
    pub position: u64,
    /// From then on no backup of the key database has the keys any more: until then a copy of the data and of the keys
    /// could in principle be brought together again.
    pub backups_gone: Timestamp,
}

/// The document is not a statement signed by this key. Says nothing about its content.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a statement that this key has signed")]
pub struct InvalidStatement;

/// The payload, in the order in which it is written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    service: String,
    tenant: String,
    subject: String,
    erased_at_micros: i64,
    erased_at: String,
    keys_destroyed: u64,
    shred_ledger_position: u64,
    backups_gone_micros: i64,
    backups_gone_on: String,
}

impl ErasureStatement {
    /// What `document` says, if `key` has signed it.
    ///
    /// # Errors
    /// [`InvalidStatement`].
    pub fn verify(document: &[u8], key: &PairVerifyingKey) -> Result<Self, InvalidStatement> {
        let payload =
            statement::verify(document, MEDIA_TYPE, key, Suites::ALL).map_err(|_| InvalidStatement)?;
        let payload: Payload = serde_json::from_slice(&payload).map_err(|_| InvalidStatement)?;
        Self::parse(&payload).ok_or(InvalidStatement)
    }

    fn parse(payload: &Payload) -> Option<Self> {
        Some(Self {
            service: payload.service.parse().ok()?,
            tenant: TenantId::parse(&payload.tenant).ok()?,
            subject: SubjectId::parse(&payload.subject).ok()?,
            at: Timestamp::from_micros(payload.erased_at_micros),
            keys: payload.keys_destroyed,
            position: payload.shred_ledger_position,
            backups_gone: Timestamp::from_micros(payload.backups_gone_micros),
        })
    }

    fn payload(&self) -> Payload {
        let mut day = self.backups_gone.to_string();
        day.truncate("2026-12-22".len());
        Payload {
            service: self.service.name().to_owned(),
            tenant: self.tenant.to_string(),
            subject: self.subject.to_string(),
            erased_at_micros: self.at.as_micros(),
            erased_at: self.at.to_string(),
            keys_destroyed: self.keys,
            shred_ledger_position: self.position,
            backups_gone_micros: self.backups_gone.as_micros(),
            backups_gone_on: day,
        }
    }
}

/// The key that signs statements.
pub(crate) struct StatementKey {
    pair: PairSigningKey,
    suites: Suites,
}

impl StatementKey {
    pub(crate) const fn new(pair: PairSigningKey, suites: Suites) -> Self {
        Self { pair, suites }
    }

    pub(crate) fn public(&self) -> &PairVerifyingKey {
        self.pair.verifying_key()
    }

    /// Whether signing is switched on.
    pub(crate) fn check(&self) -> Result<(), KeysError> {
        Ok(self.suites.require(Algorithm::MlDsa65Ed25519)?)
    }

    /// The signed document.
    pub(crate) fn sign(&self, erasure: &ErasureStatement) -> Result<Vec<u8>, KeysError> {
        self.check()?;
        let payload = serde_json::to_vec(&erasure.payload()).map_err(|_| KeysError::Crypto)?;
        statement::sign(MEDIA_TYPE, &payload, &self.pair).map_err(|_| KeysError::Crypto)
    }
}
