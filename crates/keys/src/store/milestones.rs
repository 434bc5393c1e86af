//! Rows of milestones. They are added, and taken back by an operator alone.

use std::collections::BTreeSet;

use portal_core::Timestamp;
use portal_core::id::{Id, TenantId};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

use super::entity::milestone::{ActiveModel, Column, Entity};

/// The names of all of them.
pub(crate) async fn all(tx: &ReadTx, tenant: TenantId) -> Result<BTreeSet<String>, StoreError> {
    let rows = Entity::find().filter(Column::TenantId.eq(tenant.uuid())).all(tx.conn()).await?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

/// Adds it, if it is not there.
pub(crate) async fn add(tx: &Tx, tenant: TenantId, name: &str, now: Timestamp) -> Result<(), StoreError> {
    let row = ActiveModel {
        tenant_id: Set(tenant.uuid()),
        name: Set(name.to_owned()),
        reached_at: Set(now.as_micros()),
    };
    let known = OnConflict::columns([Column::TenantId, Column::Name]).do_nothing().to_owned();
    Entity::insert(row).on_conflict(known).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// Takes it back; says whether it was there.
pub(crate) async fn remove(tx: &Tx, tenant: TenantId, name: &str) -> Result<bool, StoreError> {
    let removed = Entity::delete_by_id((tenant.uuid(), name.to_owned())).exec(tx.conn()).await?;
    Ok(removed.rows_affected == 1)
}
