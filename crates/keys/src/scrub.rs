//! Deleted keys leave the files of the database as well.
//!
//! SQLite overwrites what is deleted, and its WAL is emptied at each destruction. PostgreSQL leaves deleted rows in their
//! pages, where VACUUM gives their room free without touching the bytes: so the tables of keys are written anew, once a
//! minute at most and by one process for all. Its WAL, and whatever archives and replicas keep of that, is not ours to
//! wipe: it holds the records of keys until the server has used it up, under epoch keys that are not in it in the clear.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::entropy::random_bytes;
use portal_core::id::{Id, RootId};
use portal_store::{ReadTx, Tx, leases};

use crate::KeysError;
use crate::hierarchy::Hierarchy;

/// Held by whoever writes the tables anew.
const REWRITING: &str = "rewrite-tables";
/// Taken from when they were begun to be written anew, and never given back: they are not more often than this.
const REWRITTEN: &str = "tables-rewritten";
const EVERY: Duration = Duration::from_secs(60);
/// A process that takes longer for it is gone.
const LONGEST: Duration = Duration::from_secs(600);
/// What holds keys.
const TABLES: [&str; 3] = ["subject_key", "epoch_key", "service_key"];
const NOTHING: i64 = i64::MAX;

/// What was deleted and may still stand somewhere.
pub(crate) struct ScrubDue {
    /// In the WAL of SQLite.
    wal: AtomicBool,
    /// In the tables of PostgreSQL: since when, in microseconds.
    tables: AtomicI64,
}

impl Default for ScrubDue {
    fn default() -> Self {
        Self { wal: AtomicBool::new(false), tables: AtomicI64::new(NOTHING) }
    }
}

impl Hierarchy {
    /// Something was deleted that must not be found any more.
    pub(crate) fn scrub_later(&self) {
        self.scrub_due.wal.store(true, Ordering::Release);
        self.scrub_due.tables.store(self.clock.now().as_micros(), Ordering::Release);
    }

    /// Wipes what was deleted from the WAL of SQLite, if something was and nobody looks at an older state.
    pub(crate) async fn scrub(&self) {
        if !self.scrub_due.wal.swap(false, Ordering::AcqRel) {
            return;
        }
        match self.database.scrub().await {
            Ok(true) => {}
            Ok(false) => self.scrub_due.wal.store(true, Ordering::Release),
            Err(error) => {
                self.scrub_due.wal.store(true, Ordering::Release);
                tracing::warn!(%error, "deleted keys could not be wiped from the database's WAL yet");
            }
        }
    }

    /// Writes the tables of PostgreSQL anew, if something was deleted and nobody has done so since. Says whether it did.
    pub(crate) async fn rewrite_tables(&self) -> Result<bool, KeysError> {
        let since = self.scrub_due.tables.load(Ordering::Acquire);
        if since == NOTHING {
            return Ok(false);
        }
        let (since, now) = (Timestamp::from_micros(since), self.clock.now());
        let held = |tx: ReadTx| async move { leases::held_until(&tx, REWRITTEN, now).await };
        if let Some(until) = self.database.read("tables_rewritten", held).await? {
            if until.minus(EVERY) > since {
                self.rewritten(since);
            }
            return Ok(false);
        }
        let holder = RootId::from_bytes(random_bytes(&*self.entropy)).uuid();
        let take = |tx: Tx| async move { leases::acquire(&tx, REWRITING, holder, now, LONGEST).await };
        let Some(lease) = &self.database.run_tx("take_rewrite_lease", take).await? else { return Ok(false) };
        let rewritten = self.rewrite_each().await;
        let done = matches!(rewritten, Ok(true));
        let end = |tx: Tx| async move {
            if done {
                leases::acquire(&tx, REWRITTEN, holder, now, EVERY).await?;
            }
            leases::release(&tx, lease).await
        };
        self.database.run_tx("release_rewrite_lease", end).await?;
        if done {
            self.rewritten(since);
        }
        rewritten
    }

    async fn rewrite_each(&self) -> Result<bool, KeysError> {
        for table in TABLES {
            if !self.database.rewrite(table).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What was deleted at `since` is gone; something may have been deleted later.
    fn rewritten(&self, since: Timestamp) {
        let due = &self.scrub_due.tables;
        let all =
            due.compare_exchange(since.as_micros(), NOTHING, Ordering::AcqRel, Ordering::Acquire).is_ok();
        tracing::debug!(all, "deleted keys were wiped from the tables");
    }
}
