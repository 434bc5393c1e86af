//! Sessions and their tokens.

use portal_core::Timestamp;
use portal_core::id::{AccountId, Id, SessionId};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::ActiveValue::Set;
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::session::{self, Column};
use super::{rows, token_pair};
use crate::domain::session::StoredPair;
use crate::domain::{HandleHash, Session};

/// The session with this id.
pub async fn find(tx: &ReadTx, id: SessionId) -> Result<Option<Session>, StoreError> {
    let row = session::Entity::find_by_id(id.uuid()).one(tx.conn()).await?;
    Ok(row.map(rows::to_session))
}

/// Adds a session.
pub async fn insert(tx: &Tx, session: &Session) -> Result<(), StoreError> {
    session::Entity::insert(rows::from_session(session)).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// Stores the times of a session.
pub async fn update(tx: &Tx, session: &Session) -> Result<(), StoreError> {
    let done = session::Entity::update_many()
        .col_expr(Column::LastUsedAt, Expr::value(session.last_used_at.as_micros()))
        .col_expr(Column::AccessExpiresAt, Expr::value(session.access_expires_at.as_micros()))
        .col_expr(Column::RefreshExpiresAt, Expr::value(session.refresh_expires_at.as_micros()))
        .filter(Column::Id.eq(session.id.uuid()))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, done.rows_affected)
}

/// Ends these sessions.
pub async fn revoke(tx: &Tx, ids: &[SessionId], now: Timestamp) -> Result<(), StoreError> {
    let done = session::Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(Some(now.as_micros())))
        .filter(Column::Id.is_in(ids.iter().map(|id| id.uuid())))
        .filter(Column::RevokedAt.is_null())
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(ids.len() as u64, done.rows_affected)
}

/// The ids of an account's live sessions.
pub async fn live_ids(tx: &ReadTx, account: AccountId, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
    let ids = session::Entity::find().select_only().column(Column::Id).filter(live(account, now));
    let ids: Vec<Uuid> = ids.into_tuple().all(tx.conn()).await?;
    Ok(ids.into_iter().map(SessionId::from_uuid).collect())
}

/// Up to `limit` of an account's live sessions, last used first, after `after`.
pub async fn list(
    tx: &ReadTx,
    account: AccountId,
    after: Option<(Timestamp, SessionId)>,
    limit: u64,
    now: Timestamp,
) -> Result<Vec<Session>, StoreError> {
    let mut shown = live(account, now);
    if let Some((last_used, id)) = after {
        let same =
            Condition::all().add(Column::LastUsedAt.eq(last_used.as_micros())).add(Column::Id.lt(id.uuid()));
        shown = shown.add(Condition::any().add(Column::LastUsedAt.lt(last_used.as_micros())).add(same));
    }
    let list = session::Entity::find()
        .filter(shown)
        .order_by_desc(Column::LastUsedAt)
        .order_by_desc(Column::Id)
        .limit(limit);
    Ok(list.all(tx.conn()).await?.into_iter().map(rows::to_session).collect())
}

/// Adds the tokens that `session` gives out now.
pub async fn insert_pair(
    tx: &Tx,
    session: &Session,
    access: &HandleHash,
    refresh: &HandleHash,
) -> Result<(), StoreError> {
    let row = token_pair::ActiveModel {
        refresh_hash: Set(refresh.as_bytes().to_vec()),
        access_hash: Set(access.as_bytes().to_vec()),
        session_id: Set(session.id.uuid()),
        issued_at: Set(session.last_used_at.as_micros()),
        access_expires_at: Set(session.access_expires_at.as_micros()),
        refresh_expires_at: Set(session.refresh_expires_at.as_micros()),
        spent_at: Set(None),
    };
    token_pair::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// The pair with this refresh token.
pub async fn find_by_refresh(tx: &ReadTx, refresh: &HandleHash) -> Result<Option<StoredPair>, StoreError> {
    let row = token_pair::Entity::find_by_id(refresh.as_bytes().to_vec()).one(tx.conn()).await?;
    Ok(row.as_ref().map(rows::to_pair))
}

/// The pair with this access token.
pub async fn find_by_access(tx: &ReadTx, access: &HandleHash) -> Result<Option<StoredPair>, StoreError> {
    let by_hash = token_pair::Column::AccessHash.eq(access.as_bytes().as_slice());
    let row = token_pair::Entity::find().filter(by_hash).one(tx.conn()).await?;
    Ok(row.as_ref().map(rows::to_pair))
}

/// Spends a refresh token, once: of two who try, the other's transaction is run again and finds it spent.
pub async fn spend(tx: &Tx, refresh: &HandleHash, now: Timestamp) -> Result<(), StoreError> {
    let done = token_pair::Entity::update_many()
        .col_expr(token_pair::Column::SpentAt, Expr::value(Some(now.as_micros())))
        .filter(token_pair::Column::RefreshHash.eq(refresh.as_bytes().as_slice()))
        .filter(token_pair::Column::SpentAt.is_null())
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, done.rows_affected)
}

/// Forgets tokens and sessions that have expired, and says how many rows went.
pub async fn purge(tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
    let expired = token_pair::Column::RefreshExpiresAt.lte(now.as_micros());
    let pairs = token_pair::Entity::delete_many().filter(expired).exec(tx.conn()).await?;
    let expired = Column::RefreshExpiresAt.lte(now.as_micros());
    let sessions = session::Entity::delete_many().filter(expired).exec(tx.conn()).await?;
    Ok(pairs.rows_affected + sessions.rows_affected)
}

fn live(account: AccountId, now: Timestamp) -> Condition {
    Condition::all()
        .add(Column::AccountId.eq(account.uuid()))
        .add(Column::RevokedAt.is_null())
        .add(Column::RefreshExpiresAt.gt(now.as_micros()))
}
