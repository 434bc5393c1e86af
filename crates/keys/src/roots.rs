//! Root keys: replaced, taken out of use, destroyed.
//!
//! The provider makes a new root key whenever it is asked. So only one process asks at a time, under a lease in the key
//! database, which all processes of the service and the operators' commands share.

use std::time::Duration;

use portal_core::entropy::random_bytes;
use portal_core::id::{Id, RootId};
use portal_crypto::wrapped::{KeyContext, WrappedKeyRecord};
use portal_store::{Lease, ReadTx, Tx, leases};

use crate::KeysError;
use crate::error::Stored;
use crate::hierarchy::Hierarchy;
use crate::store::epochs::{self, EpochRow};
use crate::store::events;
use crate::store::secrets::{self, SecretRow};
use crate::store::state::KeyEvent;

const LEASE: &str = "root-key";
/// By how much the lease outlives the longest call of the provider.
const MARGIN: Duration = Duration::from_secs(30);

/// What wrapping under another root key came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RootChange {
    /// The root key that everything is wrapped under now.
    pub root: RootId,
    /// Epoch keys that were wrapped again.
    pub epochs: u64,
    /// Keys of the service that were wrapped again.
    pub service_keys: u64,
}

impl Hierarchy {
    /// Makes a new root key, and wraps everything under it. With `instead_of`, only if that one is still the active one.
    pub(crate) async fn rotate_root(
        &self,
        instead_of: Option<RootId>,
    ) -> Result<Option<RootChange>, KeysError> {
        let lease = self.root_lease().await?;
        let replaced = self.replace_root(&lease, instead_of).await;
        let release = |tx: Tx| async move { leases::release(&tx, &lease).await };
        if let Err(error) = self.database.run_tx("release_root_key", release).await {
            tracing::warn!(%error, "the lease of a rotation ends by itself");
        }
        if replaced? { self.rewrap_under_root().await.map(Some) } else { Ok(None) }
    }

    /// Makes the new root key, and nothing else: what is wrapped under it afterwards any number of processes may wrap.
    async fn replace_root(&self, lease: &Lease, instead_of: Option<RootId>) -> Result<bool, KeysError> {
        if let Some(expected) = instead_of
            && self.root.active().await? != expected
        {
            return Ok(false);
        }
        // Whoever was held up for longer than the lease must not go on where another one has begun.
        let (now, time) = (self.clock.now(), self.root_lease_time());
        let renew = |tx: Tx| async move { leases::renew(&tx, lease, now, time).await };
        if !self.database.run_tx("renew_root_key", renew).await? {
            return Err(KeysError::Rotating);
        }
        self.root.rotate().await?;
        Ok(true)
    }

    async fn root_lease(&self) -> Result<Lease, KeysError> {
        let holder = RootId::from_bytes(random_bytes(&*self.entropy)).uuid();
        let (now, time) = (self.clock.now(), self.root_lease_time());
        let acquire = |tx: Tx| async move { leases::acquire(&tx, LEASE, holder, now, time).await };
        self.database.run_tx("lease_root_key", acquire).await?.ok_or(KeysError::Rotating)
    }

    /// Longer than the provider may take for a call, of which there is one between two looks at the lease.
    fn root_lease_time(&self) -> Duration {
        self.root.provider.timeout() + MARGIN
    }

    /// Wraps under the active root key what is wrapped under another one. It can be interrupted and called again.
    pub(crate) async fn rewrap_under_root(&self) -> Result<RootChange, KeysError> {
        let root = self.root.active().await?;
        let tenant = self.scope.tenant;
        let read = |tx: ReadTx| async move {
            Ok::<_, KeysError>((epochs::all(&tx, tenant).await?, secrets::all(&tx, tenant).await?))
        };
        let (epoch_rows, secret_rows) = self.database.read("wrapped_keys", read).await?;
        let mut change = RootChange { root, epochs: 0, service_keys: 0 };
        for row in epoch_rows.iter().filter(|row| row.record.is_some() && row.root != root) {
            change.epochs += u64::from(self.rewrap_epoch(row).await?);
        }
        for row in secret_rows.iter().filter(|row| row.record.is_some() && row.root != root) {
            change.service_keys += u64::from(self.rewrap_secret(row).await?);
        }
        self.scrub_later();
        self.scrub().await;
        Ok(change)
    }

    async fn rewrap_epoch(&self, row: &EpochRow) -> Result<bool, KeysError> {
        let context = KeyContext::epoch(self.scope, row.id);
        let record = row.record.as_deref().and_then(|record| WrappedKeyRecord::from_bytes(record).ok());
        let record = record.ok_or_else(|| KeysError::corrupt(Stored::EpochKey, row.id))?;
        let key = self.root.unwrap(&context, &record).await;
        let key = key.map_err(|failure| failure.of(Stored::EpochKey, row.id))?;
        let wrapped = self.root.wrap(&context, &key).await;
        let (root, record) = &wrapped.map_err(|failure| failure.of(Stored::EpochKey, row.id))?;
        let (event, tenant) = (&self.event(KeyEvent::RootChanged, row.id), self.scope.tenant);
        let replace = |tx: Tx| async move {
            let replaced = epochs::replace_record(&tx, tenant, row, (*root, record)).await?;
            if replaced {
                events::add(&tx, tenant, event, 1).await?;
            }
            Ok(replaced)
        };
        self.database.run_tx("rewrap_epoch_key", replace).await
    }

    async fn rewrap_secret(&self, row: &SecretRow) -> Result<bool, KeysError> {
        let base = self.base();
        let key = base.open_secret(row).await?;
        let new = base.wrap_secret(&row.name, &key).await?;
        let Some(record) = &new.record else {
            return Err(KeysError::corrupt(Stored::ServiceKey, &row.name));
        };
        let (event, tenant) = (&self.event(KeyEvent::RootChanged, &row.name), self.scope.tenant);
        let replace = |tx: Tx| async move {
            let replaced = secrets::replace_record(&tx, tenant, row, (new.root, record)).await?;
            if replaced {
                events::add(&tx, tenant, event, 1).await?;
            }
            Ok(replaced)
        };
        self.database.run_tx("rewrap_service_key", replace).await
    }

    /// Destroys a root key of the provider that nothing is wrapped under any more.
    pub(crate) async fn destroy_root(&self, id: RootId) -> Result<(), KeysError> {
        let tenant = self.scope.tenant;
        let count = |tx: ReadTx| async move {
            let epochs = epochs::all(&tx, tenant).await?;
            let secrets = secrets::all(&tx, tenant).await?;
            let epochs = epochs.iter().filter(|row| row.record.is_some() && row.root == id).count();
            let secrets = secrets.iter().filter(|row| row.record.is_some() && row.root == id).count();
            Ok::<_, KeysError>(epochs + secrets)
        };
        let keys = self.database.read("count_of_root", count).await?;
        if keys > 0 {
            let keys = u64::try_from(keys).unwrap_or(u64::MAX);
            return Err(KeysError::RootInUse { root: id, keys });
        }
        self.root.destroy(id).await
    }
}
