//! The handle that a service holds.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use portal_core::Timestamp;
use portal_core::id::{EpochId, RootId, SubjectId};
use portal_crypto::envelope::{Scope, SubjectKey};
use portal_crypto::kdf::ServiceSecret;
use portal_crypto::pair::{PairSigningKey, PairVerifyingKey};
use portal_crypto::row_digest::RowDigestKey;
use portal_crypto::suite::Suites;
use tokio::task::JoinSet;

use crate::erase::{Erasure, Replayed, Shred, ShredsChecked};
use crate::error::Stored;
use crate::hierarchy::{Ambient, Hierarchy};
use crate::inventory::Inventory;
use crate::rewrap::RewrapProgress;
use crate::roots::RootChange;
use crate::rotate::Rotation;
use crate::secrets::IndexKeys;
use crate::subjects::{Absent, SubjectKeys};
use crate::{KeysConfig, KeysError, upkeep, watch};

/// The keys of one service and tenant. Clones share everything; the background tasks end with the last one, or with
/// [`Keys::close`].
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

struct Shared {
    hierarchy: Arc<Hierarchy>,
    tasks: Mutex<JoinSet<()>>,
}

impl Keys {
    /// Opens the keys of `scope`: connects to the key database and brings its schema up to date, connects to the
    /// provider, and makes the first epoch and the service's own keys if there are none. Replicas may do so at once.
    ///
    /// # Errors
    /// [`KeysError`], one variant per cause.
    pub async fn open(config: &KeysConfig, scope: Scope, ambient: Ambient) -> Result<Self, KeysError> {
        let hierarchy = Arc::new(Hierarchy::open(config, scope, ambient).await?);
        let mut seen = watch::Seen::default();
        hierarchy.follow_once(&mut seen).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(watch::follow(Arc::clone(&hierarchy), seen));
        tasks.spawn(watch::maintain(Arc::clone(&hierarchy)));
        tasks.spawn(upkeep::run(Arc::clone(&hierarchy)));
        Ok(Self(Arc::new(Shared { hierarchy, tasks: Mutex::new(tasks) })))
    }

    /// Whose keys these are.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.hierarchy().scope
    }

    /// Which algorithms are switched on.
    #[must_use]
    pub fn suites(&self) -> Suites {
        self.hierarchy().root.suites
    }

    /// The secret that page tokens, token handles, the pepper and token signing keys are derived from.
    #[must_use]
    pub fn service_secret(&self) -> &ServiceSecret {
        &self.hierarchy().secrets.service_secret
    }

    /// The key of the digests of rows.
    #[must_use]
    pub fn digest_key(&self) -> &RowDigestKey {
        &self.hierarchy().secrets.row_digest
    }

    /// The keys of the blind index of a column.
    ///
    /// # Errors
    /// [`KeysError`] if they are not at hand and can't be opened or made.
    pub async fn index_keys(
        &self,
        table: &'static str,
        column: &'static str,
    ) -> Result<Arc<IndexKeys>, KeysError> {
        self.hierarchy().index_keys(table, column).await
    }

    /// The key of `subject`, if it is at hand: no IO.
    #[must_use]
    pub fn cached(&self, subject: SubjectId) -> Option<Arc<SubjectKey>> {
        self.hierarchy().cached(subject)
    }

    /// The key of `subject`, which must have one.
    ///
    /// # Errors
    /// [`KeysError::Missing`], [`KeysError::Erased`], [`KeysError::Unavailable`] and others.
    pub async fn subject(&self, subject: SubjectId) -> Result<Arc<SubjectKey>, KeysError> {
        self.hierarchy().subject(subject, Absent::Missing).await
    }

    /// The key of `subject`, a new one if it has none.
    ///
    /// # Errors
    /// [`KeysError::Erased`] if it had one, [`KeysError::Unavailable`] and others.
    pub async fn subject_or_new(&self, subject: SubjectId) -> Result<Arc<SubjectKey>, KeysError> {
        self.hierarchy().subject(subject, Absent::New).await
    }

    /// The keys of several subjects: one query for each 500 that are not at hand. What is wrong with one of them is told
    /// by [`SubjectKeys::get`].
    ///
    /// # Errors
    /// [`KeysError`] if the database or the provider failed.
    pub async fn subjects(&self, subjects: &[SubjectId]) -> Result<SubjectKeys, KeysError> {
        self.hierarchy().subjects(subjects, Absent::Missing).await
    }

    /// The keys of several subjects, new ones for those that have none: one transaction for each 500 of them.
    ///
    /// # Errors
    /// [`KeysError`] if the database or the provider failed.
    pub async fn subjects_or_new(&self, subjects: &[SubjectId]) -> Result<SubjectKeys, KeysError> {
        self.hierarchy().subjects(subjects, Absent::New).await
    }

    /// Opens what the keys of persons are wrapped under, so that whoever asks for those in the next seconds, in a
    /// transaction that keeps others waiting, need not wait for the provider.
    ///
    /// # Errors
    /// [`KeysError::Unavailable`] if the provider is; [`KeysError::Store`].
    pub async fn ready(&self) -> Result<(), KeysError> {
        self.hierarchy().ready().await
    }

    /// Destroys the keys of `subject`, and never makes another one for it. Called again it answers the same. Replicas stop
    /// using the keys within a second.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn erase(&self, subject: SubjectId) -> Result<Erasure, KeysError> {
        self.hierarchy().erase(subject).await
    }

    /// Those of `subjects` who were erased. Asks the key database and nobody else.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn erased(&self, subjects: &[SubjectId]) -> Result<HashSet<SubjectId>, KeysError> {
        let hierarchy = self.hierarchy();
        let find = |tx| async move { hierarchy.erased_among(&tx, subjects).await };
        Ok(hierarchy.database.read("find_erased", find).await?)
    }

    /// The key that statements of erasure are verified with.
    #[must_use]
    pub fn statement_key(&self) -> &PairVerifyingKey {
        self.hierarchy().secrets.statement.public()
    }

    /// The key that signs the checkpoints of the service's ledger, and receipts. Both halves sign: who uses it asks
    /// [`Self::suites`] whether that is switched on.
    #[must_use]
    pub fn ledger_key(&self) -> Arc<PairSigningKey> {
        Arc::clone(&self.hierarchy().secrets.ledger)
    }

    /// When [`Self::ledger_key`] was made.
    #[must_use]
    pub fn ledger_key_since(&self) -> Option<Timestamp> {
        self.hierarchy().secrets.ledger_since
    }

    /// The entries of the shred ledger after `position`, `limit` at most: to be kept apart from the backups.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn shreds(&self, position: u64, limit: u64) -> Result<Vec<Shred>, KeysError> {
        self.hierarchy().shreds(position, limit).await
    }

    /// Checks the links of the entries of the shred ledger after `position`, `limit` at most.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn check_shreds(&self, position: u64, limit: u64) -> Result<ShredsChecked, KeysError> {
        self.hierarchy().check_shreds(position, limit).await
    }

    /// Adds entries of the shred ledger that a key database which was put back does not have, and returns how many.
    /// [`Keys::replay_shreds`] has to follow.
    ///
    /// # Errors
    /// [`KeysError::Corrupt`] if they do not continue this ledger.
    pub async fn add_shreds(&self, entries: &[Shred]) -> Result<u64, KeysError> {
        self.hierarchy().add_shreds(entries).await
    }

    /// Checks the shred ledger and deletes the keys of all whom it names. To be called whenever data or keys were put
    /// back from a backup.
    ///
    /// # Errors
    /// [`KeysError::Corrupt`] if the ledger was changed.
    pub async fn replay_shreds(&self) -> Result<Replayed, KeysError> {
        self.hierarchy().replay_shreds().await
    }

    /// Begins a new epoch. What is wrapped under the one before stays there until [`Keys::rewrap`].
    ///
    /// # Errors
    /// [`KeysError`] if the provider or the database failed.
    pub async fn rotate_epoch(&self) -> Result<Rotation, KeysError> {
        let rotation = self.hierarchy().rotate_epoch(None).await?;
        rotation.ok_or_else(|| KeysError::corrupt(Stored::EpochKey, "active"))
    }

    /// Begins a new epoch if `expected` is still the active one; `None` if another one is, and nothing was done.
    ///
    /// # Errors
    /// [`KeysError`] if the provider or the database failed.
    pub async fn replace_epoch(&self, expected: EpochId) -> Result<Option<Rotation>, KeysError> {
        self.hierarchy().rotate_epoch(Some(expected)).await
    }

    /// Wraps all keys of retired epochs under the active one. It can be interrupted and called again; `report` is told
    /// after each batch.
    ///
    /// # Errors
    /// [`KeysError`] if the provider or the database failed; what was done until then stays done.
    pub async fn rewrap(
        &self,
        report: &(dyn Fn(RewrapProgress) + Send + Sync),
    ) -> Result<RewrapProgress, KeysError> {
        self.hierarchy().rewrap(None, report).await
    }

    /// Asks for [`Keys::rewrap`] in the background, by whichever replica is first, also after a restart.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn request_rewrap(&self) -> Result<(), KeysError> {
        self.hierarchy().want_rewrap(true).await
    }

    /// How many keys are wrapped under retired epochs.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn rewrap_pending(&self) -> Result<u64, KeysError> {
        self.hierarchy().rewrap_pending().await
    }

    /// All keys but subject keys, which are counted on their epochs. No key material.
    ///
    /// # Errors
    /// [`KeysError`] if the provider or the database failed.
    pub async fn inventory(&self) -> Result<Inventory, KeysError> {
        self.hierarchy().inventory().await
    }

    /// Switches a retired epoch off: what is wrapped under it does not open until it is switched on again.
    ///
    /// # Errors
    /// [`KeysError::State`] if it is not retired, [`KeysError::NoSuchKey`].
    pub async fn disable_epoch(&self, id: EpochId) -> Result<(), KeysError> {
        self.hierarchy().switch_epoch(id, false).await
    }

    /// Switches an epoch on again that was switched off.
    ///
    /// # Errors
    /// [`KeysError::State`] if it was not, [`KeysError::NoSuchKey`].
    pub async fn enable_epoch(&self, id: EpochId) -> Result<(), KeysError> {
        self.hierarchy().switch_epoch(id, true).await
    }

    /// Destroys an epoch key that nothing is wrapped under any more.
    ///
    /// # Errors
    /// [`KeysError::InUse`] if something is, [`KeysError::State`] if it is active or destroyed already,
    /// [`KeysError::NoSuchKey`].
    pub async fn destroy_epoch(&self, id: EpochId) -> Result<(), KeysError> {
        self.hierarchy().destroy_epoch(id).await
    }

    /// Makes a new root key in the provider and wraps epochs and service keys under it.
    ///
    /// # Errors
    /// [`KeysError::Rotating`] while another process does so; [`KeysError`]; [`Keys::rewrap_under_root`] goes on where it
    /// stopped.
    pub async fn rotate_root(&self) -> Result<RootChange, KeysError> {
        let change = self.hierarchy().rotate_root(None).await?;
        change.ok_or_else(|| KeysError::NoSuchKey("root".to_owned()))
    }

    /// As [`Keys::rotate_root`] if `expected` is still the active root key; `None` if another one is, and nothing was done.
    ///
    /// # Errors
    /// As [`Keys::rotate_root`].
    pub async fn replace_root(&self, expected: RootId) -> Result<Option<RootChange>, KeysError> {
        self.hierarchy().rotate_root(Some(expected)).await
    }

    /// Wraps under the provider's active root key what is wrapped under another one.
    ///
    /// # Errors
    /// [`KeysError`]; it can be called again.
    pub async fn rewrap_under_root(&self) -> Result<RootChange, KeysError> {
        self.hierarchy().rewrap_under_root().await
    }

    /// Destroys a retired root key that nothing of this service is wrapped under any more. Services that share a provider
    /// and a root key have to ask each other first.
    ///
    /// # Errors
    /// [`KeysError::RootInUse`] if something is, [`KeysError::Unavailable`] if the provider does not do it.
    pub async fn destroy_root(&self, id: RootId) -> Result<(), KeysError> {
        self.hierarchy().destroy_root(id).await
    }

    /// Makes a new key for the blind index of a column, and returns its generation. Older rows are found by the retired
    /// one until they are indexed anew.
    ///
    /// # Errors
    /// [`KeysError`] if the provider or the database failed.
    pub async fn rotate_index_key(
        &self,
        table: &'static str,
        column: &'static str,
    ) -> Result<u32, KeysError> {
        let active = self.index_keys(table, column).await?.active().generation();
        self.replace_index_key(table, column, active).await
    }

    /// [`Keys::rotate_index_key`], if `expected` is still the active generation; otherwise nothing is done.
    ///
    /// # Errors
    /// [`KeysError`] if the provider or the database failed.
    pub async fn replace_index_key(
        &self,
        table: &'static str,
        column: &'static str,
        expected: u32,
    ) -> Result<u32, KeysError> {
        self.hierarchy().rotate_index_key(table, column, expected).await
    }

    /// Destroys a retired key of a blind index. By it `found` rows are still found: whoever calls this has counted them,
    /// since the rows are in another database.
    ///
    /// # Errors
    /// [`KeysError::IndexInUse`] if there are any, [`KeysError::State`] if the key is not retired,
    /// [`KeysError::NoSuchKey`].
    pub async fn destroy_index_key(
        &self,
        table: &'static str,
        column: &'static str,
        (generation, found): (u32, u64),
    ) -> Result<(), KeysError> {
        self.hierarchy().destroy_index_key(table, column, (generation, found)).await
    }

    /// Notes that `name` has happened to the data, for good. Called again it changes nothing.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn reach(&self, name: &str) -> Result<(), KeysError> {
        self.hierarchy().reach(name).await
    }

    /// Takes back what [`Keys::reach`] noted, since an operator has put data back from before it; says whether it was
    /// noted.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn take_back(&self, name: &str) -> Result<bool, KeysError> {
        self.hierarchy().take_back(name).await
    }

    /// All that [`Keys::reach`] noted.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn reached(&self) -> Result<BTreeSet<String>, KeysError> {
        self.hierarchy().reached().await
    }

    /// Asks the key database for a sign of life.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn ping(&self) -> Result<(), KeysError> {
        Ok(self.hierarchy().database.ping().await?)
    }

    /// Ends the background tasks, writes down what is to be kept and closes the key database.
    pub async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        let hierarchy = self.hierarchy();
        if let Err(error) = hierarchy.write_seals(true).await {
            tracing::warn!(%error, "numbers of seals could not be written down");
        }
        hierarchy.trust.close();
        drop(hierarchy.cache.clear());
        hierarchy.database.close().await;
    }

    pub(crate) fn hierarchy(&self) -> &Hierarchy {
        &self.0.hierarchy
    }
}
