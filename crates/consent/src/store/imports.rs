//! How far imports are: one row each, written in the transactions of the records themselves.

use portal_core::Timestamp;
use portal_core::id::{Id, OperationId};
use portal_store::{Inserts, StoreError};
use prost::Message;
use sea_orm::IntoActiveModel;
use sea_orm::entity::prelude::*;

use crate::domain::import::{Import, Refusal};
use crate::store::entity::consent_import;
use crate::store::rows::{RowName, integer};
use crate::store::{Reading, Writing, add_all};

/// The refusals as their column holds them.
#[derive(Clone, PartialEq, Message)]
struct Refusals {
    #[prost(message, repeated, tag = "1")]
    refusals: Vec<RefusalRow>,
}

#[derive(Clone, PartialEq, Message)]
struct RefusalRow {
    #[prost(uint64, tag = "1")]
    index: u64,
    /// A `google.rpc.Status`.
    #[prost(bytes = "vec", tag = "2")]
    status: Vec<u8>,
}

/// The import of this id, whoever began it.
pub(crate) async fn find(tx: &Reading<'_>, id: OperationId) -> Result<Option<Import>, StoreError> {
    let model = consent_import::Entity::find_by_id(id.uuid()).one(tx.conn()).await?;
    let Some(model) = model else { return Ok(None) };
    // The table is younger than digests.
    tx.seals().verify(&model)?;
    read(&model).map(Some)
}

/// What a row says.
pub(in crate::store) fn read(model: &consent_import::Model) -> Result<Import, StoreError> {
    let name = RowName { table: "consent_import", row: model.import_id };
    let count = |column, value: i64| u64::try_from(value).map_err(|_| name.corrupt(column));
    let refusals = Refusals::decode(model.refusals.as_slice()).map_err(|_| name.corrupt("refusals"))?;
    let refusal = |row: RefusalRow| Refusal { index: row.index, status: row.status };
    Ok(Import {
        id: OperationId::from_uuid(model.import_id),
        caller: model.caller.clone(),
        next: count("next_record_index", model.next_record_index)?,
        recorded: count("recorded", model.recorded)?,
        refused: count("refused", model.refused)?,
        refusals: refusals.refusals.into_iter().map(refusal).collect(),
        version: count("version", model.version)?,
        created_at: Timestamp::from_micros(model.created_at),
        updated_at: Timestamp::from_micros(model.updated_at),
    })
}

fn model(tx: &Writing<'_>, import: &Import) -> Result<consent_import::Model, StoreError> {
    let row = |refusal: &Refusal| RefusalRow { index: refusal.index, status: refusal.status.clone() };
    let refusals = Refusals { refusals: import.refusals.iter().map(row).collect() };
    let mut model = consent_import::Model {
        import_id: import.id.uuid(),
        caller: import.caller.clone(),
        next_record_index: integer(import.next),
        recorded: integer(import.recorded),
        refused: integer(import.refused),
        refusals: refusals.encode_to_vec(),
        version: integer(import.version),
        created_at: import.created_at.as_micros(),
        updated_at: import.updated_at.as_micros(),
        row_digest: None,
    };
    tx.seals().stamp(&mut model)?;
    Ok(model)
}

/// Adds a new import.
pub(crate) async fn insert(tx: &Writing<'_>, import: &Import) -> Result<(), StoreError> {
    let mut inserts = Inserts::of(tx.tx());
    add_all(&mut inserts, vec![model(tx, import)?])?;
    inserts.run(tx.tx()).await
}

/// Writes how far the import is, over the version before. The refusals are written only if there are `new_refusals`: they
/// may be many, and most chunks have none to add.
pub(crate) async fn save(tx: &Writing<'_>, import: &Import, new_refusals: bool) -> Result<(), StoreError> {
    use consent_import::Column::{ImportId, Refusals, Version};
    let mut row = model(tx, import)?.into_active_model().reset_all();
    if !new_refusals {
        row.not_set(Refusals);
    }
    let result = consent_import::Entity::update_many()
        .set(row)
        .filter(ImportId.eq(import.id.uuid()))
        .filter(Version.eq(integer(import.version) - 1))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, result.rows_affected)
}
