//! Rows of epoch keys.

use portal_core::Timestamp;
use portal_core::id::{EpochId, Id, RootId, TenantId};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait as _, OnConflict};
use sea_orm::{ActiveValue::Set, QueryOrder};

use super::entity::epoch::{ActiveModel, Column, Entity, Model};
use super::state::KeyState;
use super::{corrupt, time};

/// An epoch key as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct EpochRow {
    pub(crate) id: EpochId,
    pub(crate) state: KeyState,
    /// The root key that it is wrapped under.
    pub(crate) root: RootId,
    /// The sealed key; `None` of a destroyed one.
    pub(crate) record: Option<Vec<u8>>,
    pub(crate) created: Timestamp,
    pub(crate) retired: Option<Timestamp>,
    pub(crate) destroyed: Option<Timestamp>,
}

impl TryFrom<Model> for EpochRow {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let state =
            KeyState::from_id(row.state).ok_or_else(|| corrupt("epoch_key", "state", row.epoch_id))?;
        Ok(Self {
            id: EpochId::from_uuid(row.epoch_id),
            state,
            root: RootId::from_uuid(row.root_id),
            record: row.record,
            created: Timestamp::from_micros(row.created_at),
            retired: time(row.retired_at),
            destroyed: time(row.destroyed_at),
        })
    }
}

/// The epoch `id`.
pub(crate) async fn find(tx: &ReadTx, tenant: TenantId, id: EpochId) -> Result<Option<EpochRow>, StoreError> {
    let row = Entity::find_by_id((tenant.uuid(), id.uuid())).one(tx.conn()).await?;
    row.map(EpochRow::try_from).transpose()
}

/// The epoch that wraps new subject keys.
pub(crate) async fn active(tx: &ReadTx, tenant: TenantId) -> Result<Option<EpochRow>, StoreError> {
    let row = Entity::find()
        .filter(Column::TenantId.eq(tenant.uuid()))
        .filter(Column::State.eq(KeyState::Active.id()))
        .one(tx.conn())
        .await?;
    row.map(EpochRow::try_from).transpose()
}

/// All epochs, newest first.
pub(crate) async fn all(tx: &ReadTx, tenant: TenantId) -> Result<Vec<EpochRow>, StoreError> {
    let rows = Entity::find()
        .filter(Column::TenantId.eq(tenant.uuid()))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::EpochId)
        .all(tx.conn())
        .await?;
    rows.into_iter().map(EpochRow::try_from).collect()
}

/// Adds an active epoch; `false` if there is an active one already.
pub(crate) async fn insert(tx: &Tx, tenant: TenantId, row: &EpochRow) -> Result<bool, StoreError> {
    let model = ActiveModel {
        tenant_id: Set(tenant.uuid()),
        epoch_id: Set(row.id.uuid()),
        state: Set(row.state.id()),
        root_id: Set(row.root.uuid()),
        record: Set(row.record.clone()),
        created_at: Set(row.created.as_micros()),
        retired_at: Set(None),
        destroyed_at: Set(None),
    };
    // No target: the index of the active one is meant as well as the key.
    let only_one = OnConflict::new().do_nothing().to_owned();
    let inserted = Entity::insert(model).on_conflict(only_one).exec_without_returning(tx.conn()).await?;
    Ok(inserted == 1)
}

/// Moves the epoch from one state to another.
pub(crate) async fn set_state(
    tx: &Tx,
    tenant: TenantId,
    id: EpochId,
    (from, to): (KeyState, KeyState),
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut update = Entity::update_many()
        .col_expr(Column::State, Expr::value(to.id()))
        .filter(Column::TenantId.eq(tenant.uuid()))
        .filter(Column::EpochId.eq(id.uuid()))
        .filter(Column::State.eq(from.id()));
    match to {
        KeyState::Active | KeyState::Disabled | KeyState::Pending => {}
        KeyState::Retired => {
            let first = Expr::col(Column::RetiredAt).if_null(now.as_micros());
            update = update.col_expr(Column::RetiredAt, first);
        }
        KeyState::Destroyed => {
            update = update
                .col_expr(Column::DestroyedAt, Expr::value(now.as_micros()))
                .col_expr(Column::Record, Expr::value(None::<Vec<u8>>));
        }
    }
    let changed = update.exec(tx.conn()).await?;
    StoreError::check_rows(1, changed.rows_affected)
}

/// Replaces the sealed key by one under another root; `false` if it is not `from` any more.
pub(crate) async fn replace_record(
    tx: &Tx,
    tenant: TenantId,
    from: &EpochRow,
    (root, record): (RootId, &[u8]),
) -> Result<bool, StoreError> {
    let changed = Entity::update_many()
        .col_expr(Column::RootId, Expr::value(root.uuid()))
        .col_expr(Column::Record, Expr::value(record.to_vec()))
        .filter(Column::TenantId.eq(tenant.uuid()))
        .filter(Column::EpochId.eq(from.id.uuid()))
        .filter(Column::Record.eq(from.record.clone()))
        .exec(tx.conn())
        .await?;
    Ok(changed.rows_affected == 1)
}
