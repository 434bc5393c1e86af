//! What all records of a table say, in one number: read page by page, while nobody changes them.

use portal_core::id::{Id, SubjectId};
use portal_keys::{Keys, KeysError};
use portal_store::{Database, StoreError};

use crate::content::{Content, ContentDigest};
use crate::imported::{self, Seals};
use crate::reader::Reader;
use crate::record::{LegacyRecord, RecordId};
use crate::store::{self, Row};

/// Rows of a page.
const PAGE: u32 = 500;

/// What was read of a table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Survey {
    /// Records that the digest is of.
    pub records: u64,
    /// Rows that could not be read, and are not part of it.
    pub unreadable: u64,
    /// What the records say.
    pub digest: ContentDigest,
}

impl Survey {
    fn add(&mut self, content: Content<'_>) {
        self.records += 1;
        self.digest = self.digest.with(content);
    }
}

/// Reads every legacy record.
///
/// # Errors
/// [`StoreError`]. What is wrong with a record is none.
pub async fn legacy(database: &Database, reader: &Reader) -> Result<Survey, StoreError> {
    let (mut survey, mut after) = (Survey::default(), None);
    loop {
        let page = database.read::<_, StoreError, _, _>("survey_legacy_records", |tx| async move {
            store::rows(&tx, after, PAGE).await
        });
        let rows = page.await?;
        let Some(last) = rows.last() else { return Ok(survey) };
        after = Some(last.record_id);
        let all = rows.len() as u64;
        let records: Vec<LegacyRecord> =
            rows.into_iter().filter_map(|Row { record, .. }| record.ok()).collect();
        let before = survey.records;
        let read = reader.read_all(&records.iter().collect::<Vec<_>>());
        for (record, value) in
            records.iter().zip(read).filter_map(|(record, read)| Some((record, read.ok()?)))
        {
            survey.add(Content::of(record, value.expose()));
        }
        survey.unreadable += all - (survey.records - before);
    }
}

/// Opens every imported record.
///
/// # Errors
/// [`KeysError`] if keys or rows can't be had. What is wrong with a row is none.
pub async fn imported(database: &Database, seals: &Seals, keys: &Keys) -> Result<Survey, KeysError> {
    let (mut survey, mut after) = (Survey::default(), None);
    loop {
        let page = database.read::<_, StoreError, _, _>("survey_imported_records", |tx| async move {
            imported::page(&tx, after, PAGE).await
        });
        let rows = page.await?;
        let Some(last) = rows.last() else { return Ok(survey) };
        after = Some(RecordId::from_uuid(last.record_id));
        let subjects: Vec<SubjectId> = rows.iter().map(imported::subject).collect();
        let present = keys.subjects(&subjects).await?;
        for row in &rows {
            let key = present.get(imported::subject(row)).ok();
            match key.and_then(|key| seals.open(row, key).ok()) {
                Some(value) => survey.add(imported::content(row, &value)),
                None => survey.unreadable += 1,
            }
        }
    }
}
