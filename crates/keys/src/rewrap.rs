//! Subject keys of retired epochs, wrapped under the active one.
//!
//! What is left to do stands in the rows themselves: it can be interrupted anywhere and called again, and two processes
//! that do it at once do each key once. No field is touched, and no key changes: only what it is wrapped under.

use std::sync::Arc;

use portal_core::id::EpochId;
use portal_store::{Lease, ReadTx, StoreError, Tx};

use crate::KeysError;
use crate::epochs::Opened;
use crate::hierarchy::Hierarchy;
use crate::store::state::{KeyEvent, KeyState};
use crate::store::subjects::{self, Cursor, SubjectRow};
use crate::store::{epochs, events};
use crate::upkeep::may_go_on;

/// Keys that one transaction wraps.
const BATCH: u64 = 4_000;

/// How far rewrapping is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RewrapProgress {
    /// Keys that were wrapped under a retired epoch at the beginning.
    pub total: u64,
    /// Keys that are wrapped under the active one now.
    pub done: u64,
    /// Keys that did not open. They stay as they are, and their epoch can't be destroyed.
    pub corrupt: u64,
}

/// How the transaction of a part of a batch ended.
enum Part {
    /// So many keys were wrapped, and so many could not be opened.
    Done { wrapped: u64, corrupt: u64 },
    /// Another epoch has become the active one.
    OtherEpoch,
    /// The lease was lost.
    Stopped,
}

impl Hierarchy {
    /// Wraps all keys of retired epochs under the active one. `report` is told after each batch. Under a lease, it stops
    /// when that is lost.
    pub(crate) async fn rewrap(
        &self,
        lease: Option<&Lease>,
        report: &(dyn Fn(RewrapProgress) + Send + Sync),
    ) -> Result<RewrapProgress, KeysError> {
        let tenant = self.scope.tenant;
        let read = |tx: ReadTx| async move {
            Ok::<_, KeysError>((
                epochs::all(&tx, tenant).await?,
                subjects::count_by_epoch(&tx, tenant).await?,
            ))
        };
        let (rows, counts) = self.database.read("epochs_to_rewrap", read).await?;
        let retired = |id| rows.iter().any(|row| row.id == id && row.state == KeyState::Retired);
        let counts: Vec<_> = counts.into_iter().filter(|(id, _)| retired(*id)).collect();
        let total = counts.iter().map(|(_, count)| count).sum();
        let mut progress = RewrapProgress { total, ..RewrapProgress::default() };
        report(progress);
        for (id, _) in counts {
            if !self.rewrap_epoch_keys(id, lease, &mut progress, report).await? {
                break;
            }
        }
        Ok(progress)
    }

    /// Wraps the keys of one epoch; `false` if it has to stop.
    async fn rewrap_epoch_keys(
        &self,
        id: EpochId,
        lease: Option<&Lease>,
        progress: &mut RewrapProgress,
        report: &(dyn Fn(RewrapProgress) + Send + Sync),
    ) -> Result<bool, KeysError> {
        let tenant = self.scope.tenant;
        let mut rows = self.keys_of_epoch(id, None).await?;
        while let Some(last) = rows.last() {
            // The next ones are read while these are written.
            let next = self.keys_of_epoch(id, Some((last.subject, last.generation)));
            let (goes_on, next) = tokio::join!(self.rewrap_batch((id, &rows), lease, progress), next);
            if !goes_on? {
                return Ok(false);
            }
            report(*progress);
            rows = next?;
        }
        let event = &self.event(KeyEvent::Rewrapped, id);
        let done = |tx: Tx| async move {
            if subjects::count_of_epoch(&tx, tenant, id).await? == 0 {
                events::add(&tx, tenant, event, 1).await?;
            }
            Ok::<_, StoreError>(())
        };
        self.database.run_tx("rewrapped", done).await?;
        Ok(true)
    }

    /// A batch of the keys of an epoch, after `cursor`.
    async fn keys_of_epoch(
        &self,
        id: EpochId,
        cursor: Option<Cursor>,
    ) -> Result<Vec<SubjectRow>, StoreError> {
        let tenant = self.scope.tenant;
        let read = |tx: ReadTx| async move { subjects::of_epoch(&tx, tenant, id, cursor, BATCH).await };
        self.database.read("keys_of_epoch", read).await
    }

    /// Wraps a batch under the active epoch, in smaller parts where others get in the way; `false` if it has to stop.
    async fn rewrap_batch(
        &self,
        (id, rows): (EpochId, &[SubjectRow]),
        lease: Option<&Lease>,
        progress: &mut RewrapProgress,
    ) -> Result<bool, KeysError> {
        let mut parts = vec![rows];
        while let Some(rows) = parts.pop() {
            match self.rewrap_part(id, rows, lease).await {
                Ok(Part::Done { wrapped, corrupt }) => {
                    progress.done += wrapped;
                    progress.corrupt += corrupt;
                    self.metrics.rewrapped(wrapped);
                }
                Ok(Part::OtherEpoch) => {
                    self.reload_active_epoch().await?;
                    parts.push(rows);
                }
                Ok(Part::Stopped) => return Ok(false),
                Err(KeysError::Store(StoreError::Conflict { .. })) if rows.len() > 1 => {
                    let (left, right) = rows.split_at(rows.len() / 2);
                    parts.extend([right, left]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn rewrap_part(
        &self,
        id: EpochId,
        rows: &[SubjectRow],
        lease: Option<&Lease>,
    ) -> Result<Part, KeysError> {
        // Opened anew for each part, since all together may take longer than they may be used.
        let from = self.epoch(id).await?;
        let to = self.epoch(self.active_epoch().await?.id).await?;
        let (records, corrupt) = self.rewrapped(rows, &from, &to);
        let (records, to) = (&records, to.key.id());
        let (tenant, now) = (self.scope.tenant, self.clock.now());
        let write = |tx: Tx| async move {
            if !may_go_on(&tx, lease, now).await? {
                return Ok(Part::Stopped);
            }
            let active = epochs::find(&tx, tenant, to).await?;
            if active.is_none_or(|row| row.state != KeyState::Active) {
                return Ok(Part::OtherEpoch);
            }
            let wrapped = subjects::rewrap(&tx, tenant, id, records).await?;
            Ok::<_, KeysError>(Part::Done { wrapped, corrupt })
        };
        self.database.run_tx("rewrap_keys", write).await
    }

    /// The records under the new epoch, and how many keys did not open.
    fn rewrapped(
        &self,
        rows: &[SubjectRow],
        from: &Arc<Opened>,
        to: &Arc<Opened>,
    ) -> (Vec<subjects::NewRecord>, u64) {
        let mut records = Vec::with_capacity(rows.len());
        let mut corrupt = 0;
        for row in rows {
            let record = row.record();
            let new = record.and_then(|old| from.key.rewrap(&to.key, row.subject, &old, &*self.entropy).ok());
            match new {
                Some(record) => records.push((row.subject, record)),
                None => {
                    corrupt += 1;
                    tracing::error!(subject = %row.subject, generation = row.generation, "a subject key is corrupt");
                }
            }
        }
        (records, corrupt)
    }
}
