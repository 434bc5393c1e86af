//! One row per tenant: whose database it is, and two counters that tell a replica whether it has missed anything.

use portal_core::Workload;
use portal_core::id::{Id, TenantId};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait as _, OnConflict};
use sea_orm::{ActiveValue::Set, QuerySelect};

use super::entity::head::{ActiveModel, Column, Entity};
use super::{corrupt, signed, unsigned};

/// What has happened so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    /// Grows with each change of epochs or service keys.
    pub(crate) revision: u64,
    /// The position of the last entry of the shred ledger; 0 while it is empty.
    pub(crate) shred_position: u64,
}

/// The workload whose keys the database holds for `tenant`, after noting `service` if it was nobody's.
pub(crate) async fn claim(tx: &Tx, tenant: TenantId, service: Workload) -> Result<String, StoreError> {
    let row = ActiveModel {
        tenant_id: Set(tenant.uuid()),
        service: Set(service.name().to_owned()),
        revision: Set(0),
        rewrap_wanted: Set(false),
        shred_position: Set(0),
        shred_link: Set(Vec::new()),
    };
    let unclaimed = OnConflict::column(Column::TenantId).do_nothing().to_owned();
    Entity::insert(row).on_conflict(unclaimed).exec_without_returning(tx.conn()).await?;
    let owner: Option<String> = Entity::find_by_id(tenant.uuid())
        .select_only()
        .column(Column::Service)
        .into_tuple()
        .one(tx.conn())
        .await?;
    owner.ok_or_else(|| missing(tenant))
}

/// The counters.
pub(crate) async fn read(tx: &ReadTx, tenant: TenantId) -> Result<Head, StoreError> {
    let found: Option<(i64, i64)> = Entity::find_by_id(tenant.uuid())
        .select_only()
        .columns([Column::Revision, Column::ShredPosition])
        .into_tuple()
        .one(tx.conn())
        .await?;
    let (revision, position) = found.ok_or_else(|| missing(tenant))?;
    Ok(Head {
        revision: unsigned(revision, "key_head", "revision")?,
        shred_position: unsigned(position, "key_head", "shred_position")?,
    })
}

/// Tells the other replicas that an epoch or a service key has changed.
pub(crate) async fn announce(tx: &Tx, tenant: TenantId) -> Result<(), StoreError> {
    let changed = Entity::update_many()
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::TenantId.eq(tenant.uuid()))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, changed.rows_affected)
}

/// Whether somebody has asked for rewrapping, and it is not done.
pub(crate) async fn wants_rewrap(tx: &ReadTx, tenant: TenantId) -> Result<bool, StoreError> {
    let found: Option<bool> = Entity::find_by_id(tenant.uuid())
        .select_only()
        .column(Column::RewrapWanted)
        .into_tuple()
        .one(tx.conn())
        .await?;
    found.ok_or_else(|| missing(tenant))
}

/// Asks for rewrapping, or says that it is done.
pub(crate) async fn want_rewrap(tx: &Tx, tenant: TenantId, wanted: bool) -> Result<(), StoreError> {
    let changed = Entity::update_many()
        .col_expr(Column::RewrapWanted, Expr::value(wanted))
        .filter(Column::TenantId.eq(tenant.uuid()))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, changed.rows_affected)
}

/// The last position and link of the shred ledger.
pub(super) async fn shred_end(tx: &ReadTx, tenant: TenantId) -> Result<(u64, Vec<u8>), StoreError> {
    let row = Entity::find_by_id(tenant.uuid()).one(tx.conn()).await?.ok_or_else(|| missing(tenant))?;
    Ok((unsigned(row.shred_position, "key_head", "shred_position")?, row.shred_link))
}

/// Moves the end of the shred ledger from `position` to the next one. Of two transactions that do so at once, the
/// slower one is run again: positions have no gaps and are committed in their order.
pub(super) async fn extend_shreds(
    tx: &Tx,
    tenant: TenantId,
    position: u64,
    link: &[u8],
) -> Result<(), StoreError> {
    let moved = Entity::update_many()
        .col_expr(Column::ShredPosition, Expr::value(signed(position + 1)))
        .col_expr(Column::ShredLink, Expr::value(link.to_vec()))
        .filter(Column::TenantId.eq(tenant.uuid()))
        .filter(Column::ShredPosition.eq(signed(position)))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, moved.rows_affected)
}

fn missing(tenant: TenantId) -> StoreError {
    corrupt("key_head", "tenant_id", tenant)
}
