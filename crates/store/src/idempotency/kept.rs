//! Replies that are kept sealed.
//!
//! A reply may hold personal data, so it is kept as an envelope: under the key of the person it is about, or under a key
//! of the service if it is about nobody. Who seals and opens is the caller; here is where the bytes stand. Rows of earlier
//! versions hold the reply in the clear; it is given out until replies are kept sealed alone, and ends with its 24 hours.

use std::collections::HashMap;

use portal_core::Timestamp;
use portal_core::id::{Id, SubjectId};
use sea_orm::DbErr;
use sea_orm::entity::prelude::*;
use sea_orm_migration::SchemaManager;
use sea_orm_migration::sea_query::Table;

use super::{IdempotencyError, Key, LIFETIME};
use crate::{Corruption, Inserts, ReadTx, StoreError, Tx, bulk, columns};

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

/// What was found of a request id: a reply, and the hash of the request that it was the reply to.
pub struct Found {
    request_id: String,
    request_hash: Vec<u8>,
    reply: KeptReply,
}

impl Found {
    /// The reply, if it is the reply to a request with this hash. `forms` are those in which replies are kept now.
    ///
    /// # Errors
    /// As [`recall`].
    pub fn reply_to(&self, request_hash: &[u8; 32], forms: Forms) -> Result<KeptReply, IdempotencyError> {
        if self.request_hash != request_hash {
            return Err(IdempotencyError::Mismatch);
        }
        if self.reply.sealed.is_none() && forms == Forms::Sealed {
            return Err(StoreError::Corrupt {
                table: "idempotency_key",
                column: "sealed_reply",
                row: self.request_id.clone(),
                cause: Corruption::EnvelopeMalformed,
            }
            .into());
        }
        Ok(self.reply.clone())
    }
}

/// What is kept for these keys of the last [`LIFETIME`], as far as there is something. One query.
///
/// # Errors
/// [`StoreError`].
pub async fn find_all(tx: &ReadTx, keys: &[&Key], now: Timestamp) -> Result<HashMap<Key, Found>, StoreError> {
    let wanted = keys
        .iter()
        .map(|key| vec![key.caller.clone().into(), key.method.into(), key.request_id.clone().into()]);
    let key = [Column::Caller, Column::Method, Column::RequestId];
    let models = bulk::find::<entity::Entity>(tx, &key, wanted.collect()).await?;
    let mut found = HashMap::new();
    for model in models.into_iter().filter(|model| model.expires_at > now.as_micros()) {
        let key = keys.iter().find(|key| {
            (&key.caller, key.method, &key.request_id)
                == (&model.caller, model.method.as_str(), &model.request_id)
        });
        let Some(key) = key else { continue };
        let subject = model.subject_id.map(SubjectId::from_uuid);
        let sealed = model.sealed_reply.map(|envelope| SealedReply { subject, envelope });
        let reply = KeptReply { plain: model.reply, sealed };
        let (request_id, request_hash) = (model.request_id, model.request_hash);
        found.insert((*key).clone(), Found { request_id, request_hash, reply });
    }
    Ok(found)
}

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
    let found = find_all(tx, &[key], now).await?;
    found.get(key).map(|found| found.reply_to(request_hash, forms)).transpose()
}

/// A reply to be kept: whose request it is the reply to, the hash of its content, and the reply.
pub type Kept<'a> = (&'a Key, &'a [u8; 32], KeptReply);

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
    let mut inserts = Inserts::of(tx);
    keep_all(&mut inserts, vec![(key, request_hash, reply.clone())], now)?;
    inserts.run(tx).await
}

/// As [`keep`], for many replies to different requests, with what else is inserted.
///
/// # Errors
/// [`StoreError`]; as [`keep`] when they are inserted.
pub fn keep_all(inserts: &mut Inserts, replies: Vec<Kept<'_>>, now: Timestamp) -> Result<(), StoreError> {
    use Column::{Caller, ExpiresAt, Method, Reply, RequestHash, RequestId, SealedReply, SubjectId};
    let expires_at = now.plus(LIFETIME).as_micros();
    let row = |(key, request_hash, reply): Kept<'_>| -> Vec<Value> {
        let (subject, envelope) =
            reply.sealed.map_or((None, None), |sealed| (sealed.subject, Some(sealed.envelope)));
        vec![
            key.caller.clone().into(),
            key.method.into(),
            key.request_id.clone().into(),
            request_hash.to_vec().into(),
            reply.plain.into(),
            expires_at.into(),
            subject.map(portal_core::id::SubjectId::uuid).into(),
            envelope.into(),
        ]
    };
    let columns = [Caller, Method, RequestId, RequestHash, Reply, ExpiresAt, SubjectId, SealedReply];
    let rows = replies.into_iter().map(row).collect();
    let stale = (ExpiresAt, now.as_micros());
    inserts.add_over::<entity::Entity>(&columns, &[Caller, Method, RequestId], stale, rows)
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
