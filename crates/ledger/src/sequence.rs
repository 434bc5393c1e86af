//! The sequencer: gives positions to what was appended, grows the tree, signs its head.
//!
//! One process at a time holds the lease; each of its transactions begins by renewing that, so that a sequencer that was
//! paused can't write after its successor has begun. What it writes is on disk before anybody is told of it.

use std::future::Future;
use std::time::Duration;

use portal_core::Timestamp;
use portal_crypto::checkpoint::Checkpoint;
use portal_crypto::merkle::TreeHead;
use portal_crypto::merkle::tiles;
use portal_crypto::suite::Algorithm;
use portal_store::{Lease, StoreError, Tx, bulk, leases};
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::entity::{entry, head, pending};
use crate::rows::{commitment, lookup, position, signed};
use crate::schema::HEAD;
use crate::{LedgerError, Log, rows, tree};

/// The lease of the sequencer.
const LEASE: &str = "ledger_sequencer";
/// How long it holds without being renewed.
const LEASE_TIME: Duration = Duration::from_secs(10);
/// How often it is renewed when there is nothing to do.
const RENEWAL: Duration = Duration::from_secs(3);
/// How long it takes at most to see what another process has appended.
const TICK: Duration = Duration::from_millis(50);
/// Batches begin at least so long after each other: a batch costs the same for one entry and for a hundred, and who has
/// appended is not waiting for it.
const REST: Duration = Duration::from_millis(20);
/// The pause after a failure, and before asking for the lease again.
const PAUSE: Duration = Duration::from_secs(1);
/// Entries of a batch.
const BATCH: u64 = 4_000;
/// The columns of an entry.
const ENTRY: [entry::Column; 6] = [
    entry::Column::Position,
    entry::Column::Kind,
    entry::Column::Reference,
    entry::Column::Commitment,
    entry::Column::Lookup,
    entry::Column::RecordedAt,
];

/// What a transaction of the sequencer came to.
enum Done {
    /// Another process holds the lease by now.
    Lost,
    /// So many entries got their positions; the tree has this size.
    Sequenced { entries: u64, size: u64 },
}

impl Log {
    /// Gives positions and signs heads, until `stop` ends; as many processes as there are may do it at once: one does.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let held = tokio::select! {
                () = &mut stop => return,
                held = self.acquire() => held,
            };
            if let Some(lease) = held {
                tokio::select! {
                    () = &mut stop => {
                        self.release(&lease).await;
                        return;
                    }
                    () = self.hold(&lease) => {}
                }
            }
            tokio::select! {
                () = &mut stop => return,
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// Gives a position to everything that is appended by now, and signs the head: for commands that work alone.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn settle(&self) -> Result<(), LedgerError> {
        let Some(lease) = self.acquire().await else { return Ok(()) };
        let settled = self.settle_under(&lease).await;
        self.release(&lease).await;
        settled
    }

    async fn settle_under(&self, lease: &Lease) -> Result<(), LedgerError> {
        while let Done::Sequenced { entries: 1.., .. } = self.batch(lease).await? {}
        self.sign(lease).await
    }

    async fn acquire(&self) -> Option<Lease> {
        let inner = &self.0;
        let now = inner.clock.now();
        let acquire =
            |tx: Tx| async move { leases::acquire(&tx, LEASE, inner.holder, now, LEASE_TIME).await };
        let acquired: Result<_, StoreError> = inner.database.run_tx("acquire_sequencer", acquire).await;
        acquired.unwrap_or_else(|error| {
            tracing::warn!(%error, "the lease of the ledger can't be asked for");
            None
        })
    }

    async fn release(&self, lease: &Lease) {
        let release = |tx: Tx| async move { leases::release(&tx, lease).await };
        let released: Result<_, StoreError> = self.0.database.run_tx("release_sequencer", release).await;
        if let Err(error) = released {
            tracing::warn!(%error, "the lease of the ledger can't be given back");
        }
    }

    /// Works until the lease is lost or something fails.
    async fn hold(&self, lease: &Lease) {
        let (mut renewed, mut signed) = (Instant::now(), None::<Instant>);
        let mut unsigned = true;
        loop {
            let due = renewed.elapsed() >= RENEWAL;
            let begun = Instant::now();
            match self.work(lease, due).await {
                Ok(None) => {}
                Ok(Some(Done::Lost)) => return,
                Ok(Some(Done::Sequenced { entries, .. })) => {
                    renewed = Instant::now();
                    unsigned |= entries > 0;
                    if entries == BATCH {
                        continue;
                    }
                }
                Err(error) => return self.failed(&error),
            }
            if unsigned && signed.is_none_or(|at| at.elapsed() >= self.0.interval) {
                if let Err(error) = self.sign(lease).await {
                    return self.failed(&error);
                }
                (signed, unsigned) = (Some(Instant::now()), false);
            }
            sleep_until(begun + REST).await;
            // Awake at once when this process has appended, soon when another one has.
            let _ = timeout_at(begun + TICK, self.0.wake.notified()).await;
        }
    }

    fn failed(&self, error: &LedgerError) {
        tracing::error!(%error, cause = std::error::Error::source(error), "the ledger can't go on");
        self.0.metrics.failed(self.0.service);
    }

    /// A batch, if there is something to do or the lease is due.
    async fn work(&self, lease: &Lease, due: bool) -> Result<Option<Done>, LedgerError> {
        let waiting = self
            .0
            .database
            .read("peek_ledger", |tx| async move {
                let first = pending::Entity::find().select_only().column(pending::Column::Sequence).limit(1);
                Ok::<_, StoreError>(first.into_tuple::<i64>().one(tx.conn()).await?.is_some())
            })
            .await?;
        if waiting || due { Ok(Some(self.batch(lease).await?)) } else { Ok(None) }
    }

    /// Gives positions to up to [`BATCH`] entries.
    async fn batch(&self, lease: &Lease) -> Result<Done, LedgerError> {
        let started = Instant::now();
        let now = self.0.clock.now();
        let done = self.0.database.run_repeatable("sequence_ledger", |tx| async move {
            if leases::renew(&tx, lease, now, LEASE_TIME).await? {
                sequence(&tx).await
            } else {
                Ok(Done::Lost)
            }
        });
        let done: Done = done.await.map_err(LedgerError::Store)?;
        if let Done::Sequenced { entries: entries @ 1.., size } = done {
            self.0.metrics.batch(self.0.service, entries, started.elapsed());
            self.0.sequenced.send_replace(size);
        }
        Ok(done)
    }

    /// Signs the head of the tree, if it is larger than the newest signed one and a continuation of it.
    async fn sign(&self, lease: &Lease) -> Result<(), LedgerError> {
        let inner = &self.0;
        inner.suites.require(Algorithm::MlDsa65Ed25519)?;
        let before = inner.signed_heads.recall().await.map_err(LedgerError::Recall)?;
        let (head, stored) = inner
            .database
            .read("read_ledger_head", |tx| async move {
                let row = rows::head(&tx).await?;
                let size = position("ledger_head", "size", row.size)?;
                if let Some(before) = before {
                    grown_from(&tx, before, size).await?;
                }
                let head = TreeHead { size, root: tree::root(&tx, size).await? };
                Ok::<_, LedgerError>((head, row.checkpoint))
            })
            .await?;
        if stored.is_some() && before == Some(head) {
            return Ok(());
        }
        let now = inner.clock.now();
        let note = Checkpoint::new(&inner.origin, head, now)?.sign(&inner.key)?;
        // Noted where whoever writes this database can't reach, before anybody is shown it.
        inner.signed_heads.note(head).await.map_err(LedgerError::Recall)?;
        let note = &note;
        let publish = |tx: Tx| async move { publish(&tx, lease, (head.size, note), now).await };
        if inner.database.run_tx("publish_checkpoint", publish).await? {
            inner.metrics.signed(inner.service);
        }
        Ok(())
    }
}

/// Checks that the tree with `size` leaves begins with the one that was signed `before`.
async fn grown_from(tx: &portal_store::ReadTx, before: TreeHead, size: u64) -> Result<(), LedgerError> {
    if before.size > size || tree::root(tx, before.size).await? != before.root {
        return Err(LedgerError::Forked { size: before.size });
    }
    Ok(())
}

/// Stores the newest checkpoint, if the lease still holds.
async fn publish(
    tx: &Tx,
    lease: &Lease,
    (size, note): (u64, &str),
    now: Timestamp,
) -> Result<bool, StoreError> {
    if !leases::renew(tx, lease, now, LEASE_TIME).await? {
        return Ok(false);
    }
    let stored = head::Entity::update_many()
        .col_expr(head::Column::SignedSize, Expr::value(signed(size)?))
        .col_expr(head::Column::Checkpoint, Expr::value(note))
        .filter(head::Column::Id.eq(HEAD))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, stored.rows_affected)?;
    Ok(true)
}

/// Moves what waits into the log, in its order.
async fn sequence(tx: &Tx) -> Result<Done, StoreError> {
    let size = position("ledger_head", "size", rows::head(tx).await?.size)?;
    let waiting =
        pending::Entity::find().order_by_asc(pending::Column::Sequence).limit(BATCH).all(tx.conn()).await?;
    let Some(last) = waiting.last().map(|row| row.sequence) else {
        return Ok(Done::Sequenced { entries: 0, size });
    };
    let (mut leaves, mut entries) = (Vec::with_capacity(waiting.len()), Vec::with_capacity(waiting.len()));
    for (at, row) in (size..).zip(waiting) {
        let leaf = commitment("ledger_pending", row.sequence, &row.commitment)?.leaf_hash();
        leaves.push(leaf);
        entries.push(vec![
            signed(at)?.into(),
            row.kind.into(),
            row.reference.into(),
            row.commitment.into(),
            lookup(&leaf).into(),
            row.recorded_at.into(),
        ]);
    }
    let count = entries.len() as u64;
    let edge = tree::read(tx, tiles::edge(size)).await?;
    tree::write(tx, tiles::grow(size, edge, leaves).map_err(tree::missing)?).await?;
    bulk::insert::<entry::Entity>(tx, &ENTRY, entries).await?;
    grow_head(tx, size, size + count).await?;
    // This transaction sees no others than it has read: what was appended meanwhile stays, whatever its number.
    let done =
        pending::Entity::delete_many().filter(pending::Column::Sequence.lte(last)).exec(tx.conn()).await?;
    StoreError::check_rows(count, done.rows_affected)?;
    Ok(Done::Sequenced { entries: count, size: size + count })
}

async fn grow_head(tx: &Tx, from: u64, to: u64) -> Result<(), StoreError> {
    let grown = head::Entity::update_many()
        .col_expr(head::Column::Size, Expr::value(signed(to)?))
        .filter(head::Column::Id.eq(HEAD))
        .filter(head::Column::Size.eq(signed(from)?))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, grown.rows_affected)
}
