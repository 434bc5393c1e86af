//! Legacy records become imported ones: the data migration, and what it does with those that it can't read.
//!
//! - **Move** reads each legacy record with the keys of the earlier system, checks its signature, and writes the imported
//!   record beside it. The legacy record is not touched.
//! - **Verify** reads each legacy record once more, opens the imported one, and compares. What it finds not imported it
//!   imports.
//! - **Undo** deletes the imported records. Where the legacy record can no longer be read, the imported one stays: it is
//!   the last copy. So do those whose legacy records an earlier commit has deleted.
//! - **Commit** compares again, and deletes a legacy record in the transaction in which it was found to be the same.
//!
//! A record that is refused stops nothing: it stays where it is and is noted with its [`Cause`], by every step that looks
//! at it. That of a person who was erased is not imported; its imported form goes at once, and itself with the commit.
//!
//! Keys that the import made for people stay after a rollback: a key without data tells nothing, and the next import
//! takes the same.

mod changes;
mod look;

use std::sync::Arc;

use async_trait::async_trait;
use portal_core::Clock;
use portal_keys::Keys;
use portal_store::{ReadTx, StoreError, Tx};
use portal_upkeep::Page;
use portal_upkeep::migration::{Batch, DataMigration, MigrationError, Step};
use sea_orm::sea_query::{Expr, ExprTrait as _, Query, SelectStatement};
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use subtle::ConstantTimeEq as _;

use crate::content::Content;
use crate::imported::{self, Seals};
use crate::reader::Reader;
use crate::refusal::{self, Cause};
use crate::store::entity::{Column, Entity};
use changes::Changes;
use look::{Found, Readable, Seen};

/// What it is called.
pub const NAME: &str = "d0001_import_legacy_records";

/// The migration.
pub struct ImportRecords {
    reader: Arc<Reader>,
    seals: Seals,
    keys: Keys,
    clock: Arc<dyn Clock>,
}

impl ImportRecords {
    /// Of what `reader` can read, sealed by `seals` under `keys`.
    #[must_use]
    pub fn new(reader: Arc<Reader>, seals: Seals, keys: Keys, clock: Arc<dyn Clock>) -> Self {
        Self { reader, seals, keys, clock }
    }

    fn changes(&self) -> Changes {
        Changes::new(self.clock.now())
    }

    /// Whether `readable` has an imported form, which then says the same.
    fn compare(&self, readable: &Readable) -> Result<bool, MigrationError> {
        let Some(row) = &readable.imported else { return Ok(false) };
        self.check(readable, row)?;
        Ok(true)
    }

    /// The imported form of `readable`, opened once before its old form is out of sight.
    fn import(&self, readable: &Readable) -> Result<imported::Model, MigrationError> {
        let Readable { record, value, key, .. } = readable;
        let row = self.seals.seal(record, value, key, self.clock.now())?;
        self.check(readable, &row)?;
        Ok(row)
    }

    /// Opens `row` and compares it with what it was made of.
    fn check(&self, readable: &Readable, row: &imported::Model) -> Result<(), MigrationError> {
        let value = self.seals.open(row, &readable.key)?;
        let legacy = Content::of(&readable.record, readable.value.expose());
        match differing(legacy, imported::content(row, &value)) {
            None => Ok(()),
            Some(column) => {
                let row = readable.record.record_id().to_string();
                Err(MigrationError::Mismatch { table: imported::TABLE, column, row })
            }
        }
    }
}

/// The first column in which an imported record says something else than the legacy one.
fn differing(legacy: Content<'_>, imported: Content<'_>) -> Option<&'static str> {
    let columns = [
        ("record_id", legacy.record_id == imported.record_id),
        ("subject_id", legacy.subject_id == imported.subject_id),
        ("source_table", legacy.table == imported.table),
        ("source_field", legacy.field == imported.field),
        ("value", legacy.plaintext.ct_eq(imported.plaintext).into()),
    ];
    columns.into_iter().find(|(_, same)| !same).map(|(column, _)| column)
}

#[async_trait]
impl DataMigration for ImportRecords {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "Makes records sealed under the keys of their persons of what an earlier system sealed"
    }

    /// After another export was loaded, or a key was found.
    fn repeats(&self) -> bool {
        true
    }

    async fn ready(&self) -> Result<(), MigrationError> {
        Ok(self.keys.ready().await?)
    }

    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError> {
        Ok(count(tx, step).await?)
    }

    async fn move_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let (found, mut batch) = look::page(tx, page).await?;
        let new: Vec<Found> = found.into_iter().filter(Found::is_new).collect();
        batch.rows = new.len() as u64;
        let mut changes = self.changes();
        for seen in self.read(new).await? {
            match seen {
                Seen::Readable(readable) => changes.insert(self.import(&readable)?),
                Seen::Refused(found, cause) => changes.refuse(&found, cause),
            }
        }
        changes.write(tx).await?;
        Ok(batch)
    }

    async fn verify_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let (found, mut batch) = look::page(tx, page).await?;
        batch.rows = found.len() as u64;
        let mut changes = self.changes();
        for seen in self.read(found).await? {
            match seen {
                Seen::Readable(readable) if self.compare(&readable)? => {
                    changes.accept(&readable);
                    let row = readable.imported.map(|row| self.seals.verified(row, self.clock.now()));
                    changes.confirm(row.transpose()?);
                }
                Seen::Readable(readable) => {
                    batch.moved += 1;
                    changes.accept(&readable);
                    changes.insert(self.import(&readable)?);
                }
                Seen::Refused(found, cause) => {
                    if cause == Cause::SubjectErased {
                        changes.drop_imported(&found);
                    }
                    changes.refuse(&found, cause);
                }
            }
        }
        changes.write(tx).await?;
        Ok(batch)
    }

    async fn undo_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let (found, mut batch) = look::page(tx, page).await?;
        let (imported, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|found| found.imported.is_some());
        batch.rows = imported.len() as u64;
        let mut changes = self.changes();
        others.iter().for_each(|found| changes.forget(found));
        let read = look::read_all(&self.reader, &imported);
        for (found, read) in imported.iter().zip(read) {
            match read {
                Ok(_) => {
                    changes.drop_imported(found);
                    changes.forget(found);
                }
                Err(cause) => changes.refuse(found, cause),
            }
        }
        changes.write(tx).await?;
        Ok(batch)
    }

    async fn commit_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let (found, mut batch) = look::page(tx, page).await?;
        let mut changes = self.changes();
        for seen in self.read(found).await? {
            match seen {
                Seen::Readable(readable) => {
                    if !self.compare(&readable)? {
                        changes.insert(self.import(&readable)?);
                    }
                    changes.accept(&readable);
                    changes.drop_legacy(readable.record.record_id());
                }
                Seen::Refused(found, cause) if cause.stays() => changes.refuse(&found, cause),
                Seen::Refused(found, _) => {
                    changes.drop_imported(&found);
                    changes.forget(&found);
                    changes.drop_legacy(found.row.record_id);
                }
            }
        }
        batch.rows = changes.legacy_dropped();
        changes.write(tx).await?;
        Ok(batch)
    }
}

/// How many rows `step` has to do.
///
/// # Errors
/// [`StoreError`].
pub async fn count(tx: &ReadTx, step: Step) -> Result<u64, StoreError> {
    let concerned = match step {
        Step::Commit => {
            let stays = refusal::entity::Column::Cause.ne(Cause::SubjectErased.name());
            Condition::all().add(Expr::not_exists(refused().and_where(stays).take()))
        }
        Step::Move => Condition::all().add(Expr::not_exists(imported())).add(Expr::not_exists(refused())),
        Step::Undo => Condition::all().add(Expr::exists(imported())).add(Expr::not_exists(refused())),
        Step::Verify => Condition::all(),
    };
    Ok(Entity::find().filter(concerned).count(tx.conn()).await?)
}

/// The imported form of a legacy row.
fn imported() -> SelectStatement {
    use imported::entity::{Column as Of, Entity as Imported};
    let same = Expr::col((Imported, Of::RecordId)).equals((Entity, Column::RecordId));
    Query::select().expr(Expr::val(1)).from(Imported).and_where(same).take()
}

/// What was noted about a legacy row.
fn refused() -> SelectStatement {
    use refusal::entity::{Column as Of, Entity as Refusals};
    let same = Expr::col((Refusals, Of::RecordId)).equals((Entity, Column::RecordId));
    Query::select().expr(Expr::val(1)).from(Refusals).and_where(same).take()
}
