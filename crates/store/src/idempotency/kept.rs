//! Replies that are kept sealed.
//!
//! A reply may hold personal data, so it is kept as an envelope: under the key of the person it is about, or under a key
//! of the service if it is about nobody. Who seals and opens is the caller; here is where the bytes stand. Rows of earlier
//! versions hold the reply in the clear; it is given out until replies are kept sealed alone, and ends with its 24 hours.

use portal_core::Timestamp;
use portal_core::id::{Id, SubjectId};
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, Condition, DbErr};
use sea_orm_migration::SchemaManager;
use sea_orm_migration::sea_query::Table;

use super::{IdempotencyError, Key, LIFETIME, inserted};
use crate::{Corruption, ReadTx, StoreError, Tx, columns};

/// In which forms replies are kept. Both, as long as an earlier version may be asked for them that knows no sealed ones.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forms {
    /// In the clear and sealed.
    Both,
    /// In the clear alone.
    Plain,
    /// Sealed alone.
    Sealed,
}

/// A reply as it is kept.
#[derive(Clone)]
pub struct KeptReply {
    /// In the clear; empty once replies are kept sealed only. What [`Self::sealed`] says comes first.
    pub plain: Vec<u8>,
    /// Sealed.
    pub sealed: Option<SealedReply>,
}

/// A reply that was sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedReply {
    /// Whom the reply is about: it is sealed under this person's key. `None`: under a key of the service.
    pub subject: Option<SubjectId>,
    /// The envelope.
    pub envelope: Vec<u8>,
}

/// Shows lengths only.
impl std::fmt::Debug for KeptReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sealed = self.sealed.as_ref().map(|sealed| sealed.envelope.len());
        f.debug_struct("KeptReply").field("plain", &self.plain.len()).field("sealed", &sealed).finish()
    }
}

mod entity {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, DeriveEntityModel)]
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
        pub subject_id: Option<Uuid>,
        pub sealed_reply: Option<Vec<u8>>,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl std::fmt::Debug for Model {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Model").field("request_id", &self.request_id).finish_non_exhaustive()
        }
    }
}
use entity::Column;

/// The reply to the first request with this key, if there was one in the last [`LIFETIME`]. `forms` are those in which
/// replies are kept now.
///
/// # Errors
/// [`IdempotencyError::Mismatch`] if that request had another content; [`StoreError::Corrupt`] for a reply in the clear
/// alone where replies are kept [sealed](Forms::Sealed): whoever can write rows can take an envelope away and put any
/// reply in its place.
pub async fn recall(
    tx: &ReadTx,
    key: &Key,
    request_hash: &[u8; 32],
    forms: Forms,
    now: Timestamp,
) -> Result<Option<KeptReply>, IdempotencyError> {
    let found = entity::Entity::find()
        .filter(this(key))
        .filter(Column::ExpiresAt.gt(now.as_micros()))
        .one(tx.conn())
        .await
        .map_err(StoreError::from)?;
    let Some(first) = found else { return Ok(None) };
    if first.request_hash != request_hash {
        return Err(IdempotencyError::Mismatch);
    }
    let subject = first.subject_id.map(SubjectId::from_uuid);
    let sealed = first.sealed_reply.map(|envelope| SealedReply { subject, envelope });
    if sealed.is_none() && forms == Forms::Sealed {
        return Err(StoreError::Corrupt {
            table: "idempotency_key",
            column: "sealed_reply",
            row: first.request_id,
            cause: Corruption::EnvelopeMalformed,
        }
        .into());
    }
    Ok(Some(KeptReply { plain: first.reply, sealed }))
}

/// Keeps the reply for [`LIFETIME`].
///
/// # Errors
/// [`StoreError::Contended`] if a concurrent request with the same key was faster: return it, and the transaction is
/// run again.
pub async fn keep(
    tx: &Tx,
    key: &Key,
    request_hash: &[u8; 32],
    reply: &KeptReply,
    now: Timestamp,
) -> Result<(), StoreError> {
    let expired = Column::ExpiresAt.lte(now.as_micros());
    entity::Entity::delete_many().filter(this(key)).filter(expired).exec(tx.conn()).await?;
    let sealed = reply.sealed.as_ref();
    let row = entity::ActiveModel {
        caller: Set(key.caller.clone()),
        method: Set(key.method.to_owned()),
        request_id: Set(key.request_id.clone()),
        request_hash: Set(request_hash.to_vec()),
        reply: Set(reply.plain.clone()),
        expires_at: Set(now.plus(LIFETIME).as_micros()),
        subject_id: Set(sealed.and_then(|sealed| sealed.subject).map(SubjectId::uuid)),
        sealed_reply: Set(sealed.map(|sealed| sealed.envelope.clone())),
    };
    inserted(tx, entity::Entity::insert(row).exec_without_returning(tx.conn()).await)
}

/// Adds the columns of sealed replies to the table that [`super::create_table`] made: part of a later migration of every
/// service. What ran before goes on: both may be NULL.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn add_sealed_replies(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for mut column in [columns::id(Column::SubjectId), columns::bytes(Column::SealedReply)] {
        let alter = Table::alter().table(entity::Entity).add_column(column.null().take()).take();
        manager.alter_table(alter).await?;
    }
    Ok(())
}

/// Takes [`add_sealed_replies`] back.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn drop_sealed_replies(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for column in [Column::SealedReply, Column::SubjectId] {
        manager.alter_table(Table::alter().table(entity::Entity).drop_column(column).take()).await?;
    }
    Ok(())
}

fn this(key: &Key) -> Condition {
    Condition::all()
        .add(Column::Caller.eq(key.caller.as_str()))
        .add(Column::Method.eq(key.method))
        .add(Column::RequestId.eq(key.request_id.as_str()))
}
