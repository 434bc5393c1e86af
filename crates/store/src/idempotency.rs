//! Request ids (AIP-155): the same request again answers with the first reply and changes nothing.
//!
//! Both functions run in the transaction of the change itself, so a reply is remembered if and only if the change
//! happened. Of concurrent identical requests one commits; the others lose the race for the key, are run again by
//! [`crate::Database::run_tx`], and find its reply.
//!
//! ```
//! # use portal_core::Timestamp;
//! # use portal_store::{Tx, idempotency::{self, IdempotencyError, Key}};
//! # async fn change(tx: &Tx) -> Result<Vec<u8>, IdempotencyError> { Ok(Vec::new()) }
//! # async fn body(tx: &Tx, key: &Key, hash: &[u8; 32], now: Timestamp) -> Result<Vec<u8>, IdempotencyError> {
//! if let Some(reply) = idempotency::replay(tx, key, hash, now).await? {
//!     return Ok(reply);
//! }
//! let reply = change(tx).await?;
//! idempotency::remember(tx, key, hash, &reply, now).await?;
//! # Ok(reply) }
//! ```
//!
//! [`replay`] and [`remember`] keep replies in the clear; [`recall`] and [`keep`] are the same for replies that are
//! sealed, in the same table.

use std::time::Duration;

use portal_core::Timestamp;
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, Condition, DbErr};
use sea_orm_migration::SchemaManager;
use sea_orm_migration::sea_query::{Index, Table};

mod kept;

pub use kept::{
    Forms, Found, Kept, KeptReply, SealedReply, add_sealed_replies, drop_sealed_replies, find_all, keep,
    keep_all, recall,
};

use crate::{DatabaseFailure, StoreError, Tx, columns};

/// How long a reply is remembered.
pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Whose request it is, of which method, and the id the caller gave it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    /// The caller: nobody finds another caller's reply.
    pub caller: String,
    /// The full name of the method.
    pub method: &'static str,
    /// `request_id` of the request.
    pub request_id: String,
}

/// A reply can't be replayed or remembered.
#[derive(Debug, thiserror::Error)]
pub enum IdempotencyError {
    /// The request id was used before, for a request with another content.
    #[error("the request id was used for another request")]
    Mismatch,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

mod entity {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel)]
    #[sea_orm(table_name = "idempotency_key")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub caller: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub method: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub request_id: String,
        pub request_hash: Vec<u8>,
        pub reply: Vec<u8>,
        pub expires_at: i64,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
use entity::Column;

/// The reply to the first request with this key, if there was one in the last [`LIFETIME`].
///
/// # Errors
/// [`IdempotencyError::Mismatch`] if that request had another content.
pub async fn replay(
    tx: &Tx,
    key: &Key,
    request_hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Vec<u8>>, IdempotencyError> {
    let found = entity::Entity::find()
        .filter(this(key))
        .filter(Column::ExpiresAt.gt(now.as_micros()))
        .one(tx.conn())
        .await
        .map_err(StoreError::from)?;
    match found {
        None => Ok(None),
        Some(first) if first.request_hash == request_hash => Ok(Some(first.reply)),
        Some(_) => Err(IdempotencyError::Mismatch),
    }
}

/// Remembers the reply for [`LIFETIME`].
///
/// # Errors
/// [`StoreError::Contended`] if a concurrent request with the same key was faster: return it, and the transaction is
/// run again.
pub async fn remember(
    tx: &Tx,
    key: &Key,
    request_hash: &[u8; 32],
    reply: &[u8],
    now: Timestamp,
) -> Result<(), StoreError> {
    let expired = Column::ExpiresAt.lte(now.as_micros());
    entity::Entity::delete_many().filter(this(key)).filter(expired).exec(tx.conn()).await?;
    let row = entity::ActiveModel {
        caller: Set(key.caller.clone()),
        method: Set(key.method.to_owned()),
        request_id: Set(key.request_id.clone()),
        request_hash: Set(request_hash.to_vec()),
        reply: Set(reply.to_vec()),
        expires_at: Set(now.plus(LIFETIME).as_micros()),
    };
    inserted(tx, entity::Entity::insert(row).exec_without_returning(tx.conn()).await)
}

/// A row that is there already was written by a concurrent request.
fn inserted(tx: &Tx, result: Result<u64, DbErr>) -> Result<(), StoreError> {
    match result.map_err(StoreError::from) {
        Ok(_) => Ok(()),
        Err(StoreError::Duplicate { .. }) => {
            tx.lost_race();
            Err(StoreError::Contended(DatabaseFailure::plain(
                "the request id was taken by a concurrent request",
            )))
        }
        Err(error) => Err(error),
    }
}

/// Forgets replies that are no longer valid, and says how many.
///
/// # Errors
/// [`StoreError`].
pub async fn purge(tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
    let expired = Column::ExpiresAt.lte(now.as_micros());
    Ok(entity::Entity::delete_many().filter(expired).exec(tx.conn()).await?.rows_affected)
}

/// Creates the table; part of every service's first migration.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn create_table(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(entity::Entity)
        .col(columns::text(Column::Caller))
        .col(columns::text(Column::Method))
        .col(columns::text(Column::RequestId))
        .col(columns::bytes(Column::RequestHash))
        .col(columns::bytes(Column::Reply))
        .col(columns::timestamp(Column::ExpiresAt))
        .primary_key(Index::create().col(Column::Caller).col(Column::Method).col(Column::RequestId))
        .take();
    manager.create_table(table).await?;
    let index = Index::create()
        .name("idempotency_key_expires_at")
        .table(entity::Entity)
        .col(Column::ExpiresAt)
        .take();
    manager.create_index(index).await
}

/// Drops the table: [`create_table`] taken back.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn drop_table(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(entity::Entity).take()).await
}

fn this(key: &Key) -> Condition {
    Condition::all()
        .add(Column::Caller.eq(key.caller.as_str()))
        .add(Column::Method.eq(key.method))
        .add(Column::RequestId.eq(key.request_id.as_str()))
}
