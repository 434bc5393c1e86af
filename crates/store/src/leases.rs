//! Named leases: one process at a time does a thing, and takes over when the one before it is gone.
//!
//! A lease is a row: a name, who holds it, until when, and its term, a number that grows with every new holder. What is
//! done under a lease is safe only if each of its transactions begins with [`renew`] and gives up when that says no:
//! both holders then write the same row, so a holder that was paused for too long and comes back can't commit anything
//! after its successor has begun.
//!
//! ```
//! # use std::time::Duration;
//! # use portal_core::Timestamp;
//! # use portal_store::{Lease, StoreError, Tx, leases};
//! # async fn work(_: &Tx) -> Result<(), StoreError> { Ok(()) }
//! # const TIME: Duration = Duration::from_secs(5);
//! # async fn body(tx: &Tx, lease: &Lease, now: Timestamp) -> Result<bool, StoreError> {
//! if !leases::renew(tx, lease, now, TIME).await? {
//!     return Ok(false); // somebody else works on it by now
//! }
//! work(tx).await?;
//! # Ok(true) }
//! ```
//!
//! The clocks of the processes may differ by less than the time of the lease; if they differ by more, a lease changes
//! hands too early, which costs work and nothing else.

use std::time::Duration;

use portal_core::Timestamp;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ActiveValue::Set, Condition, DbErr};
use sea_orm_migration::SchemaManager;
use sea_orm_migration::sea_query::{Index, Table};

use crate::{ReadTx, StoreError, Tx, columns};

/// A lease that was acquired; perhaps lost since.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lease {
    name: &'static str,
    holder: Uuid,
    term: i64,
}

impl Lease {
    /// What it is about.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How many holders there were, this one included.
    #[must_use]
    pub const fn term(&self) -> i64 {
        self.term
    }
}

mod entity {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel)]
    #[sea_orm(table_name = "lease")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub holder: Uuid,
        pub term: i64,
        pub expires_at: i64,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
use entity::{Column, Entity};

/// Takes the lease `name` for `holder`, a random id of the process or task, until `now + time`. `None` if another one
/// holds it; also if `holder` itself does, since two tasks of one process must not share it.
///
/// # Errors
/// [`StoreError`].
pub async fn acquire(
    tx: &Tx,
    name: &'static str,
    holder: Uuid,
    now: Timestamp,
    time: Duration,
) -> Result<Option<Lease>, StoreError> {
    let row = entity::ActiveModel {
        name: Set(name.to_owned()),
        holder: Set(holder),
        term: Set(1),
        expires_at: Set(now.plus(time).as_micros()),
    };
    let free = Expr::col((Entity, Column::ExpiresAt)).lte(now.as_micros());
    let take_over = OnConflict::column(Column::Name)
        .update_columns([Column::Holder, Column::ExpiresAt])
        .value(Column::Term, Expr::col((Entity, Column::Term)).add(1_i64))
        .action_and_where(free)
        .to_owned();
    let taken = Entity::insert(row).on_conflict(take_over).exec_without_returning(tx.conn()).await?;
    if taken == 0 {
        return Ok(None);
    }
    let row = Entity::find_by_id(name).one(tx.conn()).await?;
    Ok(row.map(|row| Lease { name, holder, term: row.term }))
}

/// Lengthens the lease until `now + time`, and says whether it was still held. If not, it stays lost, and the
/// transaction must not go on.
///
/// # Errors
/// [`StoreError`].
pub async fn renew(tx: &Tx, lease: &Lease, now: Timestamp, time: Duration) -> Result<bool, StoreError> {
    let update = Entity::update_many()
        .col_expr(Column::ExpiresAt, Expr::value(now.plus(time).as_micros()))
        .filter(held(lease));
    Ok(update.exec(tx.conn()).await?.rows_affected == 1)
}

/// Gives the lease back, so that the next holder need not wait. A lease that was lost already stays with its holder.
///
/// # Errors
/// [`StoreError`].
pub async fn release(tx: &Tx, lease: &Lease) -> Result<(), StoreError> {
    let update = Entity::update_many().col_expr(Column::ExpiresAt, Expr::value(0_i64)).filter(held(lease));
    update.exec(tx.conn()).await?;
    Ok(())
}

/// Until when somebody holds `name`; `None` if nobody does at `now`.
///
/// # Errors
/// [`StoreError`].
pub async fn held_until(tx: &ReadTx, name: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let row = Entity::find_by_id(name).filter(Column::ExpiresAt.gt(now.as_micros())).one(tx.conn()).await?;
    Ok(row.map(|row| Timestamp::from_micros(row.expires_at)))
}

/// Creates the table; part of a migration of every service.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn create_table(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Entity)
        .col(columns::text(Column::Name))
        .col(columns::id(Column::Holder))
        .col(columns::integer(Column::Term))
        .col(columns::timestamp(Column::ExpiresAt))
        .primary_key(Index::create().col(Column::Name))
        .take();
    manager.create_table(table).await
}

/// Drops the table: [`create_table`] taken back.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn drop_table(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(Entity).take()).await
}

fn held(lease: &Lease) -> Condition {
    Condition::all()
        .add(Column::Name.eq(lease.name))
        .add(Column::Holder.eq(lease.holder))
        .add(Column::Term.eq(lease.term))
}
