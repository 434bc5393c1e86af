//! Rows of the service's own keys.

use portal_core::Timestamp;
use portal_core::id::{Id, RootId, TenantId};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, QueryOrder};

use super::entity::secret::{ActiveModel, Column, Entity, Model};
use super::state::{KeyState, Purpose};
use super::{corrupt, time};

/// Which key: what for, of which column (else empty), and which of those that followed each other, from 1.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct SecretName {
    pub(crate) purpose: Purpose,
    pub(crate) scope: String,
    pub(crate) generation: u32,
}

/// A key of the service as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct SecretRow {
    pub(crate) name: SecretName,
    pub(crate) state: KeyState,
    /// The root key that it is wrapped under.
    pub(crate) root: RootId,
    /// The sealed key; `None` of a destroyed one.
    pub(crate) record: Option<Vec<u8>>,
    pub(crate) created: Timestamp,
    pub(crate) retired: Option<Timestamp>,
    pub(crate) destroyed: Option<Timestamp>,
}

impl TryFrom<Model> for SecretRow {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let bad = |column| corrupt("service_key", column, format!("{}/{}", row.purpose, row.generation));
        let name = SecretName {
            purpose: Purpose::from_id(row.purpose).ok_or_else(|| bad("purpose"))?,
            generation: u32::try_from(row.generation).map_err(|_| bad("generation"))?,
            scope: row.scope,
        };
        Ok(Self {
            name,
            state: KeyState::from_id(row.state)
                .ok_or_else(|| corrupt("service_key", "state", row.purpose))?,
            root: RootId::from_uuid(row.root_id),
            record: row.record,
            created: Timestamp::from_micros(row.created_at),
            retired: time(row.retired_at),
            destroyed: time(row.destroyed_at),
        })
    }
}

/// All keys of the service, those of one purpose and scope together, newest first.
pub(crate) async fn all(tx: &ReadTx, tenant: TenantId) -> Result<Vec<SecretRow>, StoreError> {
    let rows = Entity::find()
        .filter(Column::TenantId.eq(tenant.uuid()))
        .order_by_asc(Column::Purpose)
        .order_by_asc(Column::Scope)
        .order_by_desc(Column::Generation)
        .all(tx.conn())
        .await?;
    rows.into_iter().map(SecretRow::try_from).collect()
}

/// Adds a key; `false` if there is one of this name already.
pub(crate) async fn insert(tx: &Tx, tenant: TenantId, row: &SecretRow) -> Result<bool, StoreError> {
    let model = ActiveModel {
        tenant_id: Set(tenant.uuid()),
        purpose: Set(row.name.purpose.id()),
        scope: Set(row.name.scope.clone()),
        generation: Set(row.name.generation.into()),
        state: Set(row.state.id()),
        root_id: Set(row.root.uuid()),
        record: Set(row.record.clone()),
        created_at: Set(row.created.as_micros()),
        retired_at: Set(None),
        destroyed_at: Set(None),
    };
    let first = OnConflict::columns([Column::TenantId, Column::Purpose, Column::Scope, Column::Generation])
        .do_nothing()
        .to_owned();
    let inserted = Entity::insert(model).on_conflict(first).exec_without_returning(tx.conn()).await?;
    Ok(inserted == 1)
}

/// Moves the key from one state to another.
pub(crate) async fn set_state(
    tx: &Tx,
    tenant: TenantId,
    name: &SecretName,
    (from, to): (KeyState, KeyState),
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut update =
        this(tenant, name).col_expr(Column::State, Expr::value(to.id())).filter(Column::State.eq(from.id()));
    match to {
        KeyState::Active | KeyState::Disabled | KeyState::Pending => {}
        KeyState::Retired => update = update.col_expr(Column::RetiredAt, Expr::value(now.as_micros())),
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
    from: &SecretRow,
    (root, record): (RootId, &[u8]),
) -> Result<bool, StoreError> {
    let changed = this(tenant, &from.name)
        .col_expr(Column::RootId, Expr::value(root.uuid()))
        .col_expr(Column::Record, Expr::value(record.to_vec()))
        .filter(Column::Record.eq(from.record.clone()))
        .exec(tx.conn())
        .await?;
    Ok(changed.rows_affected == 1)
}

fn this(tenant: TenantId, name: &SecretName) -> sea_orm::UpdateMany<Entity> {
    Entity::update_many()
        .filter(Column::TenantId.eq(tenant.uuid()))
        .filter(Column::Purpose.eq(name.purpose.id()))
        .filter(Column::Scope.eq(name.scope.as_str()))
        .filter(Column::Generation.eq(i64::from(name.generation)))
}
