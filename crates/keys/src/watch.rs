//! What goes on in the background: one task that follows what other replicas do, one that keeps keys fresh.
//!
//! The follower reads one row every 250 ms. It removes from the cache whom another replica has erased, and learns of new
//! epochs. If it has not succeeded for 750 ms, nothing cached is served until it does: so an erased subject's key is
//! used nowhere longer than a second.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use portal_core::Timestamp;
use tokio::time::MissedTickBehavior;

use crate::KeysError;
use crate::hierarchy::Hierarchy;
use crate::store::head::Head;
use crate::store::state::KeyState;
use crate::store::{epochs, head, shreds};

const TICK: Duration = Duration::from_millis(250);
/// The cache is used for this long after the last time that erasures were looked for.
const TRUST: Duration = Duration::from_millis(750);
/// Entries of the shred ledger that are read at once.
const BATCH: u64 = 1_000;

/// What the follower has seen.
#[derive(Default)]
pub(crate) struct Seen {
    head: Option<Head>,
    at: Timestamp,
    changed: bool,
    failing: bool,
}

/// Follows what other replicas do, until the task is dropped.
pub(crate) async fn follow(keys: Arc<Hierarchy>, mut seen: Seen) {
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        match keys.follow_once(&mut seen).await {
            Ok(()) if seen.failing => {
                seen.failing = false;
                tracing::info!("the key database is followed again");
            }
            Ok(()) => {}
            Err(error) if !seen.failing => {
                seen.failing = true;
                let cause = std::error::Error::source(&error);
                tracing::warn!(%error, cause, "the key database can't be followed; cached keys are not used");
            }
            Err(_) => {}
        }
    }
}

/// Keeps epoch keys open, wipes what is too old, writes counts down, until the task is dropped.
pub(crate) async fn maintain(keys: Arc<Hierarchy>) {
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        let now = keys.clock.now();
        keys.epochs.sweep(now);
        keys.seals.remember(keys.cache.sweep(now));
        keys.metrics.cached(keys.cache.len());
        keys.refresh_epochs().await;
        keys.scrub().await;
        if let Err(error) = keys.write_seals(false).await {
            tracing::warn!(%error, "numbers of seals could not be written down");
        }
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Hierarchy {
    /// Learns what has changed since it was last asked.
    pub(crate) async fn follow_once(&self, seen: &mut Seen) -> Result<(), KeysError> {
        let now = self.clock.now();
        let tenant = self.scope.tenant;
        let head =
            self.database.read("follow_keys", |tx| async move { head::read(&tx, tenant).await }).await?;
        let position = seen.head.map_or(head.shred_position, |seen| seen.shred_position);
        if head.shred_position < position || now < seen.at {
            // The key database was put back, or the clock was: nothing that was known before is worth anything.
            self.seals.remember(self.cache.clear());
            tracing::warn!("the key database or the clock was put back; all cached keys were dropped");
        } else if head.shred_position > position {
            self.purge_shredded(position).await?;
        }
        if seen.head.is_none_or(|seen| head.revision != seen.revision) {
            self.learn().await?;
        }
        let changed = seen.head.is_some_and(|seen| head != seen);
        if seen.changed && !changed {
            // Whoever deleted keys may have ended before the WAL could be wiped: an operator's command, say. While others
            // are at it a checkpoint would only be in their way.
            self.scrub_later();
        }
        seen.changed = changed;
        self.trust.extend(now, TRUST);
        (seen.head, seen.at) = (Some(head), now);
        Ok(())
    }

    /// Removes from the cache whom the shred ledger names after `position`.
    async fn purge_shredded(&self, mut position: u64) -> Result<(), KeysError> {
        let tenant = self.scope.tenant;
        loop {
            let rows = self
                .database
                .read("read_shreds", |tx| async move { shreds::after(&tx, tenant, position, BATCH).await })
                .await?;
            let Some(last) = rows.last() else { return Ok(()) };
            position = last.position;
            let tags: HashSet<_> = rows.iter().map(|row| row.tag).collect();
            self.cache.purge(&tags, |subject| self.secrets.shred.tag(subject)).await;
        }
    }

    /// Reads epochs and index keys again, and lets go of the subject keys: there may be new generations of some.
    async fn learn(&self) -> Result<(), KeysError> {
        self.seals.remember(self.cache.clear());
        let tenant = self.scope.tenant;
        let rows =
            self.database.read("read_epochs", |tx| async move { epochs::all(&tx, tenant).await }).await?;
        for row in rows {
            match row.state {
                KeyState::Active => {
                    let active = crate::epochs::Active { id: row.id, since: row.created };
                    self.epochs.set_active(Some(active));
                }
                KeyState::Retired => {}
                KeyState::Disabled | KeyState::Destroyed | KeyState::Pending => self.epochs.close(row.id),
            }
        }
        self.reload_index_keys().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From an erasure on, replicas may use what they have for as long as they trust their cache; and they look again before
    /// that ends, with time for the look itself.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_used_longer_than_a_second() {
        let mut ticks = ticks();
        ticks.tick().await;
        let before = tokio::time::Instant::now();
        ticks.tick().await;
        assert!(before.elapsed() * 2 <= TRUST, "{:?}", before.elapsed());
        assert!(before.elapsed() + TRUST <= Duration::from_secs(1));
    }
}
