//! The destruction of a subject's keys.
//!
//! One transaction deletes the keys of all generations and adds the subject to the shred ledger; from then on no key is
//! made for it. This process drops what it has of the subject before the call returns, other replicas within a second.
//! Whatever copy of the subject's data is left somewhere, a backup of the data for example, does not open any more, once
//! the last backup of the key database that still has the keys is gone too. Destroying keys is one half of erasing
//! somebody; the rows are the other.
//!
//! **Restoring.** Data of an earlier time is used with the keys of now. If the key database itself had to be put back,
//! [`Hierarchy::replay_shreds`] deletes again what the shred ledger says is gone, after the entries that the backup does
//! not have were added from a copy of the ledger ([`Hierarchy::add_shreds`]).

use std::collections::HashSet;

use portal_core::Timestamp;
use portal_core::id::SubjectId;
use portal_store::{ReadTx, StoreError, Tx};

use crate::KeysError;
use crate::error::Stored;
use crate::hierarchy::Hierarchy;
use crate::statement::ErasureStatement;
use crate::store::shreds::{self, ShredRow, SubjectTag};
use crate::store::state::KeyEvent;
use crate::store::{events, subjects};

/// Subjects or entries that one query is about.
const BATCH: u64 = 500;

/// What the destruction of a subject's keys came to. Another call later says the same.
#[derive(Clone, Debug)]
pub struct Erasure {
    /// What is stated.
    pub statement: ErasureStatement,
    /// The statement, signed; [`ErasureStatement::verify`] reads it.
    pub document: Vec<u8>,
}

/// An entry of the shred ledger. It names its subject by a keyed hash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shred {
    /// 1 for the first.
    pub position: u64,
    /// The keyed hash of the subject.
    pub tag: [u8; 32],
    /// How many keys were destroyed.
    pub keys: u64,
    /// When.
    pub at: Timestamp,
    /// Authenticates this entry and all before it.
    pub link: Vec<u8>,
}

/// What replaying the shred ledger came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Replayed {
    /// Entries in the ledger.
    pub entries: u64,
    /// Subjects whose keys had come back.
    pub subjects: u64,
    /// Keys that were deleted again.
    pub keys: u64,
}

/// A part of the shred ledger that was checked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ShredsChecked {
    /// How many entries it has.
    pub entries: u64,
    /// The position of the last one; `None` if there is none after it.
    pub next: Option<u64>,
    /// Where the ledger is not what was written: an entry was changed, or is missing.
    pub broken: Vec<u64>,
}

impl From<ShredRow> for Shred {
    fn from(row: ShredRow) -> Self {
        let ShredRow { position, tag, keys, at, link } = row;
        Self { position, tag, keys, at, link }
    }
}

impl Hierarchy {
    /// Destroys the keys of `subject`.
    pub(crate) async fn erase(&self, subject: SubjectId) -> Result<Erasure, KeysError> {
        self.secrets.statement.check()?;
        let (tag, now, tenant) = (self.secrets.shred.tag(subject), self.clock.now(), self.scope.tenant);
        let event = &self.event(KeyEvent::Shredded, "shred-ledger");
        let erase = |tx: Tx| async move {
            let keys = subjects::delete(&tx, tenant, subject).await?;
            if let Some(first) = shreds::find(&tx, tenant, &tag).await? {
                return Ok(first);
            }
            let (position, before) = shreds::end(&tx, tenant).await?;
            let mut row = ShredRow { position: position + 1, tag, keys, at: now, link: Vec::new() };
            row.link = self.secrets.shred.link(&before, &row);
            shreds::append(&tx, tenant, &row).await?;
            events::add(&tx, tenant, event, keys).await?;
            Ok::<_, KeysError>(row)
        };
        let row = self.database.run_tx("erase_subject", erase).await?;
        self.cache.purge_one(subject);
        self.seals.forget(subject);
        self.metrics.erased();
        self.scrub_later();
        self.scrub().await;
        let statement = ErasureStatement {
            service: self.scope.service,
            tenant,
            subject,
            at: row.at,
            keys: row.keys,
            position: row.position,
            backups_gone: row.at.plus(self.backup_retention),
        };
        Ok(Erasure { statement, document: self.secrets.statement.sign(&statement)? })
    }

    /// The entries of the shred ledger after `position`, `limit` at most.
    pub(crate) async fn shreds(&self, position: u64, limit: u64) -> Result<Vec<Shred>, KeysError> {
        let tenant = self.scope.tenant;
        let read = |tx: ReadTx| async move { shreds::after(&tx, tenant, position, limit).await };
        let rows = self.database.read("read_shreds", read).await?;
        Ok(rows.into_iter().map(Shred::from).collect())
    }

    /// Adds entries from a copy of the ledger that a restored key database does not have. Those that it has are passed
    /// over. Returns how many were added.
    pub(crate) async fn add_shreds(&self, entries: &[Shred]) -> Result<u64, KeysError> {
        let tenant = self.scope.tenant;
        let add = |tx: Tx| async move {
            let (end, mut before) = shreds::end(&tx, tenant).await?;
            let mut added = 0;
            for entry in entries.iter().filter(|entry| entry.position > end) {
                let Shred { position, tag, keys, at, link } = entry.clone();
                let row = ShredRow { position, tag, keys, at, link };
                // Our own key made the links: nobody else can put entries in, leave some out or change their order.
                if row.position != end + added + 1 || self.secrets.shred.link(&before, &row) != row.link {
                    return Err(KeysError::corrupt(Stored::Shred, row.position));
                }
                shreds::append(&tx, tenant, &row).await?;
                (added, before) = (added + 1, row.link);
            }
            Ok(added)
        };
        self.database.run_tx("add_shreds", add).await
    }

    /// Checks the shred ledger, and deletes the keys of all whom it names.
    pub(crate) async fn replay_shreds(&self) -> Result<Replayed, KeysError> {
        let mut replayed = Replayed { entries: self.verify_shreds().await?, ..Replayed::default() };
        let tenant = self.scope.tenant;
        let mut cursor = None;
        loop {
            let read = |tx: ReadTx| async move { subjects::subjects_after(&tx, tenant, cursor, BATCH).await };
            let found = &self.database.read("key_holders", read).await?;
            let Some(last) = found.last() else { break };
            cursor = Some(*last);
            let event = &self.event(KeyEvent::ShredsReplayed, "shred-ledger");
            let delete = |tx: Tx| async move {
                let erased = self.erased_among(&tx, found).await?;
                let mut keys = 0;
                for subject in &erased {
                    keys += subjects::delete(&tx, tenant, *subject).await?;
                }
                if keys > 0 {
                    events::add(&tx, tenant, event, keys).await?;
                }
                Ok::<_, KeysError>((erased, keys))
            };
            let (erased, keys) = self.database.run_tx("replay_shreds", delete).await?;
            for subject in &erased {
                self.cache.purge_one(*subject);
            }
            replayed.subjects += u64::try_from(erased.len()).unwrap_or(u64::MAX);
            replayed.keys += keys;
        }
        self.scrub_later();
        self.scrub().await;
        Ok(replayed)
    }

    /// Checks each link of the shred ledger, and returns how many entries there are.
    pub(crate) async fn verify_shreds(&self) -> Result<u64, KeysError> {
        let mut after = 0;
        loop {
            let checked = self.check_shreds(after, BATCH).await?;
            if let Some(position) = checked.broken.first() {
                return Err(KeysError::corrupt(Stored::Shred, position));
            }
            match checked.next {
                Some(next) => after = next,
                None => return Ok(after + checked.entries),
            }
        }
    }

    /// Checks the links of the entries after `after`, `limit` at most, and at the end of the ledger that it ends where the
    /// head says.
    pub(crate) async fn check_shreds(&self, after: u64, limit: u64) -> Result<ShredsChecked, KeysError> {
        let tenant = self.scope.tenant;
        let read = |tx: ReadTx| async move {
            let before = shreds::after(&tx, tenant, after.saturating_sub(1), u64::from(after > 0)).await?;
            let rows = shreds::after(&tx, tenant, after, limit).await?;
            Ok::<_, StoreError>((shreds::end(&tx, tenant).await?, before, rows))
        };
        let ((end, last_link), before, rows) = self.database.read("read_shreds", read).await?;
        let before = before.into_iter().next().filter(|row| row.position == after);
        let mut before = before.map(|row| row.link).unwrap_or_default();
        let mut checked = ShredsChecked { entries: rows.len() as u64, ..ShredsChecked::default() };
        let mut expected = after;
        for row in &rows {
            expected += 1;
            // A gap, an entry that was moved behind the end, or one that was changed.
            let sound = row.position == expected && row.position <= end;
            if !sound || self.secrets.shred.link(&before, row) != row.link {
                checked.broken.push(expected);
            }
            (expected, before) = (row.position, row.link.clone());
        }
        if checked.entries == limit {
            checked.next = Some(expected);
        } else if expected != end || before != last_link {
            checked.broken.push(end.max(expected));
            checked.broken.dedup();
        }
        Ok(checked)
    }

    /// Those of `subjects` that the shred ledger names.
    pub(crate) async fn erased_among(
        &self,
        tx: &ReadTx,
        subjects: &[SubjectId],
    ) -> Result<HashSet<SubjectId>, StoreError> {
        let tags: Vec<SubjectTag> = subjects.iter().map(|subject| self.secrets.shred.tag(*subject)).collect();
        let erased: HashSet<_> = shreds::among(tx, self.scope.tenant, &tags).await?.into_iter().collect();
        let named = subjects.iter().zip(tags).filter(|(_, tag)| erased.contains(tag));
        Ok(named.map(|(subject, _)| *subject).collect())
    }
}
