//! Work that one replica does for all, under a lease: a new epoch when the active one is old enough, wrapping the keys of
//! older ones under it once somebody has asked for that, and wiping what was deleted ([`crate::scrub`]).

use std::sync::Arc;
use std::time::Duration;

use portal_core::entropy::random_bytes;
use portal_core::id::{Id, RootId};
use portal_store::{Lease, ReadTx, StoreError, Tx, leases};

use crate::KeysError;
use crate::hierarchy::Hierarchy;
use crate::rewrap::RewrapProgress;
use crate::store::state::KeyState;
use crate::store::{epochs, head, subjects};

const LEASE: &str = "keys";
/// A holder that is silent for longer is gone.
pub(crate) const LEASE_TIME: Duration = Duration::from_secs(30);
/// How often it is looked whether there is something to do.
const EVERY: Duration = Duration::from_secs(5);

/// Does what is due, until the task is dropped.
pub(crate) async fn run(keys: Arc<Hierarchy>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = keys.do_what_is_due().await {
            let cause = std::error::Error::source(&error);
            tracing::warn!(%error, cause, "epochs could not be looked after");
        }
        if let Err(error) = keys.rewrite_tables().await {
            let cause = std::error::Error::source(&error);
            tracing::warn!(%error, cause, "deleted keys could not be wiped from the tables yet");
        }
    }
}

impl Hierarchy {
    /// Begins a new epoch if the active one is old enough, and rewraps if that was asked for. `None` if there was
    /// nothing to do, or another replica does it.
    pub(crate) async fn do_what_is_due(&self) -> Result<Option<RewrapProgress>, KeysError> {
        let tenant = self.scope.tenant;
        let (rotates, rewraps) = (self.rotation_is_due().await?, self.rewrap_is_wanted().await?);
        if !rotates && !rewraps {
            return Ok(None);
        }
        let holder = RootId::from_bytes(random_bytes(&*self.entropy)).uuid();
        let now = self.clock.now();
        let take = |tx: Tx| async move { leases::acquire(&tx, LEASE, holder, now, LEASE_TIME).await };
        let Some(lease) = &self.database.run_tx("take_keys_lease", take).await? else { return Ok(None) };
        if rotates {
            let active = self.reload_active_epoch().await?;
            if self.is_old(active.since) && self.rotate_epoch(Some(active.id)).await?.is_some() {
                self.want_rewrap(true).await?;
            }
        }
        let progress = self.rewrap(Some(lease), &|_| {}).await?;
        // What is corrupt would be found again and again: it waits for somebody to look.
        if progress.done + progress.corrupt == progress.total {
            self.want_rewrap(false).await?;
        }
        let release = |tx: Tx| async move { leases::release(&tx, lease).await };
        self.database.run_tx("release_keys_lease", release).await?;
        tracing::info!(%tenant, done = progress.done, corrupt = progress.corrupt, "subject keys were rewrapped");
        Ok(Some(progress))
    }

    async fn rotation_is_due(&self) -> Result<bool, KeysError> {
        Ok(self.is_old(self.active_epoch().await?.since))
    }

    fn is_old(&self, since: portal_core::Timestamp) -> bool {
        self.clock.now().since(since) >= self.epoch_time
    }

    async fn rewrap_is_wanted(&self) -> Result<bool, KeysError> {
        let tenant = self.scope.tenant;
        let read = |tx: ReadTx| async move { head::wants_rewrap(&tx, tenant).await };
        Ok(self.database.read("rewrap_is_wanted", read).await?)
    }

    /// Asks for rewrapping in the background, by whichever replica comes first; or says that it is done.
    pub(crate) async fn want_rewrap(&self, wanted: bool) -> Result<(), KeysError> {
        let tenant = self.scope.tenant;
        let write = |tx: Tx| async move { head::want_rewrap(&tx, tenant, wanted).await };
        Ok(self.database.run_tx("want_rewrap", write).await?)
    }

    /// How many keys are wrapped under retired epochs.
    pub(crate) async fn rewrap_pending(&self) -> Result<u64, KeysError> {
        let tenant = self.scope.tenant;
        let read = |tx: ReadTx| async move {
            let rows = epochs::all(&tx, tenant).await?;
            let counts = subjects::count_by_epoch(&tx, tenant).await?;
            let retired = |id| rows.iter().any(|row| row.id == id && row.state == KeyState::Retired);
            Ok::<_, StoreError>(
                counts.into_iter().filter(|(id, _)| retired(*id)).map(|(_, count)| count).sum(),
            )
        };
        Ok(self.database.read("rewrap_pending", read).await?)
    }
}

/// Whether the work may go on: under a lease, only while it is held.
pub(crate) async fn may_go_on(
    tx: &Tx,
    lease: Option<&Lease>,
    now: portal_core::Timestamp,
) -> Result<bool, StoreError> {
    match lease {
        None => Ok(true),
        Some(lease) => leases::renew(tx, lease, now, LEASE_TIME).await,
    }
}
