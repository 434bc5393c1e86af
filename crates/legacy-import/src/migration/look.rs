//! A page of legacy rows, with what was imported of them and noted about them; and what they say.

use std::collections::HashMap;
use std::sync::Arc;

use portal_core::Sensitive;
use portal_core::id::{Id as _, SubjectId};
use portal_crypto::envelope::SubjectKey;
use portal_keys::{KeysError, SubjectKeys};
use portal_store::{StoreError, Tx};
use portal_upkeep::Page;
use portal_upkeep::migration::{Batch, MigrationError};
use sea_orm::prelude::Uuid;

use super::ImportRecords;
use crate::reader::Reader;
use crate::record::{LegacyRecord, RecordId};
use crate::refusal::{self, Cause};
use crate::{imported, store};

/// A legacy row and what there is about it.
pub(super) struct Found {
    /// The row.
    pub(super) row: store::Row,
    /// What it was imported to.
    pub(super) imported: Option<imported::Model>,
    /// Whether it was noted as refused.
    pub(super) refused: bool,
}

impl Found {
    /// Whether nothing was made of it yet.
    pub(super) fn is_new(&self) -> bool {
        self.imported.is_none() && !self.refused
    }
}

/// A record that can be read, and the key of its person.
pub(super) struct Readable {
    pub(super) record: LegacyRecord,
    pub(super) value: Sensitive<Vec<u8>>,
    pub(super) imported: Option<imported::Model>,
    pub(super) refused: bool,
    pub(super) key: Arc<SubjectKey>,
}

/// What came of reading a row.
pub(super) enum Seen {
    Readable(Box<Readable>),
    Refused(Box<Found>, Cause),
}

/// The rows of a page. How many of them the batch has done, the step says.
pub(super) async fn page(tx: &Tx, page: &Page) -> Result<(Vec<Found>, Batch), StoreError> {
    let after = page.after.as_deref().and_then(|key| Uuid::from_slice(key).ok()).map(RecordId::from_uuid);
    let rows = store::rows(tx, after, page.limit).await?;
    let last = rows.last().map(|row| row.record_id.uuid().as_bytes().to_vec());
    let batch = Batch { rows: 0, ..Batch::of(page, rows.len(), last) };
    let ids: Vec<RecordId> = rows.iter().map(|row| row.record_id).collect();
    let imported = imported::among(tx, &ids).await?;
    let mut imported: HashMap<Uuid, _> = imported.into_iter().map(|row| (row.record_id, row)).collect();
    let refusals = refusal::among(tx, &ids).await?;
    let refused: std::collections::HashSet<RecordId> =
        refusals.iter().map(|refusal| refusal.record_id).collect();
    let found = rows.into_iter().map(|row| Found {
        imported: imported.remove(&row.record_id.uuid()),
        refused: refused.contains(&row.record_id),
        row,
    });
    Ok((found.collect(), batch))
}

/// What each of the rows says, or why it says nothing that is believed.
pub(super) fn read_all(reader: &Reader, found: &[Found]) -> Vec<Result<Sensitive<Vec<u8>>, Cause>> {
    let records: Vec<&LegacyRecord> =
        found.iter().filter_map(|found| found.row.record.as_ref().ok()).collect();
    let mut read = reader.read_all(&records).into_iter();
    let mut next = |found: &Found| match &found.row.record {
        Ok(_) => read.next().map_or(Err(Cause::Malformed), |read| read.map_err(Cause::from)),
        Err(_) => Err(Cause::Malformed),
    };
    found.iter().map(&mut next).collect()
}

impl ImportRecords {
    /// Reads rows, and finds the keys of their people: new ones for those of whom nothing was imported yet.
    pub(super) async fn read(&self, found: Vec<Found>) -> Result<Vec<Seen>, MigrationError> {
        let subjects: Vec<SubjectId> = found.iter().map(|found| found.row.subject_id).collect();
        let present = self.keys.subjects(&subjects).await?;
        let (erased, alive): (Vec<Found>, Vec<Found>) =
            found.into_iter().partition(|found| is_erased(&present, found.row.subject_id));
        let refused = |found| Seen::Refused(Box::new(found), Cause::SubjectErased);
        let mut seen: Vec<Seen> = erased.into_iter().map(refused).collect();

        let read = read_all(&self.reader, &alive);
        let new = alive.iter().zip(&read).filter(|(found, read)| found.imported.is_none() && read.is_ok());
        let new: Vec<SubjectId> = new.map(|(found, _)| found.row.subject_id).collect();
        let made = self.keys.subjects_or_new(&new).await?;
        for (found, read) in alive.into_iter().zip(read) {
            seen.push(with_key(found, read, &present, &made)?);
        }
        Ok(seen)
    }
}

fn is_erased(keys: &SubjectKeys, subject: SubjectId) -> bool {
    matches!(keys.get(subject), Err(KeysError::Erased(_)))
}

fn with_key(
    found: Found,
    read: Result<Sensitive<Vec<u8>>, Cause>,
    present: &SubjectKeys,
    made: &SubjectKeys,
) -> Result<Seen, MigrationError> {
    let value = match read {
        Ok(value) => value,
        Err(cause) => return Ok(Seen::Refused(Box::new(found), cause)),
    };
    let subject = found.row.subject_id;
    let key = match &found.imported {
        None => made.get(subject),
        // Its key is there, or the row is lost; it may not be about the person whom the legacy record is about.
        Some(row) if imported::subject(row) == subject => match present.get(subject) {
            Err(KeysError::Missing(_)) => return Err(imported::without_key(row).into()),
            key => key,
        },
        Some(row) => {
            return Err(MigrationError::Mismatch {
                table: imported::TABLE,
                column: "subject_id",
                row: row.record_id.to_string(),
            });
        }
    };
    let key = match key {
        Ok(key) => Arc::clone(key),
        // Between the two looks.
        Err(KeysError::Erased(_)) => return Ok(Seen::Refused(Box::new(found), Cause::SubjectErased)),
        Err(error) => return Err(error.into()),
    };
    let Found { row, imported, refused } = found;
    Ok(match row.record {
        Ok(record) => Seen::Readable(Box::new(Readable { record, value, imported, refused, key })),
        Err(error) => return Err(error.into()),
    })
}
