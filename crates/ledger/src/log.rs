//! The log of a service: what its clients are shown of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use portal_core::entropy::random_bytes;
use portal_core::{Clock, Entropy, Timestamp, Workload};
use portal_crypto::checkpoint::{Checkpoint, NoteKey};
use portal_crypto::hash::Sha256;
use portal_crypto::merkle::tiles::Plan;
use portal_crypto::merkle::{TreeHead, proof};
use portal_crypto::pair::{PairSigningKey, PairVerifyingKey};
use portal_crypto::suite::Suites;
use portal_store::{Database, ReadTx, StoreError};
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect};
use tokio::sync::{Notify, watch};

use crate::entity::entry;
use crate::rows::{commitment, corrupt, lookup, position, signed};
use crate::{Commitment, LedgerError, Metrics, rows, tree};

/// Recalls the newest head that was signed, from a place that whoever writes the database of the log can't reach: a log
/// that was set back, or another one in its place, is not signed.
#[async_trait]
pub trait SignedHeads: Send + Sync {
    /// The newest head that was noted.
    async fn recall(&self) -> Result<Option<TreeHead>, Box<dyn std::error::Error + Send + Sync>>;
    /// Notes a head that is about to be published.
    async fn note(&self, head: TreeHead) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// What a log works with.
pub struct Host {
    /// Whose log it is.
    pub service: Workload,
    /// The name of the log, `<trust domain>/<service>`.
    pub origin: String,
    /// Where it is.
    pub database: Database,
    /// Signs its heads.
    pub key: Arc<PairSigningKey>,
    /// Which algorithms are switched on.
    pub suites: Suites,
    /// What was signed.
    pub signed_heads: Arc<dyn SignedHeads>,
    /// A head is signed this often at most.
    pub interval: Duration,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Names the process.
    pub entropy: Arc<dyn Entropy>,
    /// Where it is counted.
    pub metrics: Metrics,
}

/// The log of a service. Clones share it.
#[derive(Clone)]
pub struct Log(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) service: Workload,
    pub(crate) origin: String,
    pub(crate) database: Database,
    pub(crate) key: Arc<PairSigningKey>,
    pub(crate) suites: Suites,
    pub(crate) signed_heads: Arc<dyn SignedHeads>,
    pub(crate) interval: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    /// Names this process among those that may hold the lease.
    pub(crate) holder: Uuid,
    pub(crate) wake: Notify,
    pub(crate) sequenced: watch::Sender<u64>,
    /// The note that was verified last: every proof begins with one, and most of them with the same.
    verified: Mutex<Option<Signed>>,
}

/// A checkpoint with the note that proves it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
}

/// A leaf as the public may see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PublicEntry {
    /// Where it is, from 0.
    pub position: u64,
    /// What the leaf is over.
    pub commitment: Commitment,
    /// When it was appended.
    pub recorded_at: Timestamp,
}

/// Names a leaf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeafRef {
    /// By its position.
    Position(u64),
    /// By its hash.
    Hash(Sha256),
}

/// Shows that a leaf is in the tree with `head`: checked by [`proof::verify_inclusion`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inclusion {
    /// The leaf.
    pub position: u64,
    /// Its hash.
    pub leaf: Sha256,
    /// The tree.
    pub head: TreeHead,
    /// The sibling hashes, from the leaf upwards.
    pub path: Vec<Sha256>,
}

/// Shows that the tree with `new` begins with the one with `old`: checked by [`proof::verify_consistency`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Consistency {
    /// The older tree.
    pub old: TreeHead,
    /// The newer tree.
    pub new: TreeHead,
    /// The hashes of RFC 9162, 2.1.4.
    pub path: Vec<Sha256>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Log").field(&self.0.origin).finish()
    }
}

impl Log {
    /// The log in the database of `host`, which has the tables of [`crate::schema`].
    #[must_use]
    pub fn new(host: Host) -> Self {
        let Host { service, origin, database, key, suites, signed_heads, interval, clock, entropy, metrics } =
            host;
        let holder = Uuid::from_bytes(random_bytes(&*entropy));
        let (wake, sequenced) = (Notify::new(), watch::Sender::new(0));
        Self(Arc::new(Inner {
            service,
            origin,
            database,
            key,
            suites,
            signed_heads,
            interval,
            clock,
            metrics,
            holder,
            wake,
            sequenced,
            verified: Mutex::new(None),
        }))
    }

    /// Its name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// The key that verifies its checkpoints.
    #[must_use]
    pub fn verifying_key(&self) -> &PairVerifyingKey {
        self.0.key.verifying_key()
    }

    /// The same key as notes name it: Ed25519, ML-DSA-65.
    #[must_use]
    pub fn note_keys(&self) -> [NoteKey; 2] {
        NoteKey::both(&self.0.origin, self.verifying_key())
    }

    /// To be called after a transaction that appended is committed: it gets its position at once, rather than soon.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Follows the size of the log, as far as the sequencer runs in this process.
    #[must_use]
    pub fn sequenced(&self) -> watch::Receiver<u64> {
        self.0.sequenced.subscribe()
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// [`LedgerError::NotSigned`], [`LedgerError::Checkpoint`] if the stored one is not this log's; others.
    pub async fn checkpoint(&self) -> Result<Signed, LedgerError> {
        let head = |tx: ReadTx| async move { Ok::<_, LedgerError>(rows::head(&tx).await?.checkpoint) };
        let note = self.0.database.read("get_checkpoint", head).await?.ok_or(LedgerError::NotSigned)?;
        let last = self.0.verified.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(signed) = last.filter(|signed| signed.note == note) {
            return Ok(signed);
        }
        let checkpoint = Checkpoint::verify(&note, &self.0.origin, self.verifying_key(), self.0.suites)?;
        let signed = Signed { checkpoint, note };
        *self.0.verified.lock().unwrap_or_else(PoisonError::into_inner) = Some(signed.clone());
        Ok(signed)
    }

    /// The proof that a leaf is in the tree of `size` leaves, of the newest checkpoint if none is named.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::OutOfRange`]; [`LedgerError::Store`] if a row is not what was signed.
    pub async fn inclusion(&self, leaf: LeafRef, size: Option<u64>) -> Result<Inclusion, LedgerError> {
        let signed = self.checkpoint().await?.checkpoint.head;
        let prove = |tx: ReadTx| async move {
            let (at, leaf) = find(&tx, leaf).await?;
            let size = size.unwrap_or(signed.size);
            if size > signed.size {
                return Err(LedgerError::OutOfRange);
            }
            let plan = Plan::inclusion(at, size).ok_or(LedgerError::OutOfRange)?;
            let root = if size == signed.size { signed.root } else { tree::root(&tx, size).await? };
            let head = TreeHead { size, root };
            let path = tree::resolve(&tx, &plan).await?;
            let proven = proof::verify_inclusion(&leaf, at, &head, &path);
            proven.map_err(|_| corrupt("ledger_entry", "commitment", at))?;
            Ok(Inclusion { position: at, leaf, head, path })
        };
        self.0.database.read("prove_inclusion", prove).await
    }

    /// The proof that the log only grew from the tree of `old` leaves to that of `new`, of the newest checkpoint if none
    /// is named.
    ///
    /// # Errors
    /// [`LedgerError::OutOfRange`]; [`LedgerError::Store`] if a row is not what was signed.
    pub async fn consistency(&self, old: u64, new: Option<u64>) -> Result<Consistency, LedgerError> {
        let signed = self.checkpoint().await?.checkpoint.head;
        let new = new.unwrap_or(signed.size);
        if new > signed.size {
            return Err(LedgerError::OutOfRange);
        }
        let plan = Plan::consistency(old, new).ok_or(LedgerError::OutOfRange)?;
        let (plan, prove) = (&plan, new);
        let prove = |tx: ReadTx| async move {
            let old = TreeHead { size: old, root: tree::root(&tx, old).await? };
            let root = if prove == signed.size { signed.root } else { tree::root(&tx, prove).await? };
            let new = TreeHead { size: prove, root };
            let path = tree::resolve(&tx, plan).await?;
            let proven = proof::verify_consistency(&old, &new, &path);
            proven.map_err(|_| corrupt("ledger_tile", "hashes", old.size))?;
            Ok::<_, LedgerError>(Consistency { old, new, path })
        };
        self.0.database.read("prove_consistency", prove).await
    }

    /// Leaves from position `from` on, `limit` at most, in their order: those under the newest checkpoint.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn entries(&self, from: u64, limit: u64) -> Result<Vec<PublicEntry>, LedgerError> {
        let signed = self.checkpoint().await?.checkpoint.head;
        let limit = limit.min(signed.size.saturating_sub(from));
        let read = |tx: ReadTx| async move { Ok::<_, LedgerError>(read_entries(&tx, from, limit).await?) };
        self.0.database.read("list_ledger_entries", read).await
    }
}

async fn find(tx: &ReadTx, leaf: LeafRef) -> Result<(u64, Sha256), LedgerError> {
    let query = match leaf {
        LeafRef::Position(at) => entry::Column::Position.eq(signed(at).map_err(|_| LedgerError::NotFound)?),
        LeafRef::Hash(hash) => entry::Column::Lookup.eq(lookup(&hash)),
    };
    let rows = entry::Entity::find().filter(query).order_by_asc(entry::Column::Position).all(tx.conn());
    for row in rows.await.map_err(StoreError::from)? {
        let found = commitment("ledger_entry", row.position, &row.commitment)?.leaf_hash();
        if matches!(leaf, LeafRef::Position(_)) || leaf == LeafRef::Hash(found) {
            return Ok((position("ledger_entry", "position", row.position)?, found));
        }
    }
    Err(LedgerError::NotFound)
}

pub(crate) async fn read_entries(tx: &ReadTx, from: u64, limit: u64) -> Result<Vec<PublicEntry>, StoreError> {
    let rows: Vec<(i64, Vec<u8>, i64)> = entry::Entity::find()
        .select_only()
        .columns([entry::Column::Position, entry::Column::Commitment, entry::Column::RecordedAt])
        .filter(entry::Column::Position.gte(signed(from)?))
        .order_by_asc(entry::Column::Position)
        .limit(limit)
        .into_tuple()
        .all(tx.conn())
        .await?;
    let read = |(expected, (at, bytes, recorded_at)): (u64, (i64, Vec<u8>, i64))| {
        let position = position("ledger_entry", "position", at)?;
        if position != expected {
            return Err(corrupt("ledger_entry", "position", expected));
        }
        let commitment = commitment("ledger_entry", at, &bytes)?;
        Ok(PublicEntry { position, commitment, recorded_at: Timestamp::from_micros(recorded_at) })
    };
    (from..).zip(rows).map(read).collect()
}
