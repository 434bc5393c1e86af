//! Rows of the shred ledger: who was erased, under a keyed hash, in the order of commits and without gaps.

use portal_core::Timestamp;
use portal_core::id::{Id, TenantId};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, QueryOrder, QuerySelect};

use super::entity::shred::{ActiveModel, Column, Entity, Model};
use super::{corrupt, head, signed, unsigned};

/// The keyed hash of a subject.
pub(crate) type SubjectTag = [u8; 32];

/// One entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ShredRow {
    /// 1 for the first.
    pub(crate) position: u64,
    pub(crate) tag: SubjectTag,
    /// How many keys were destroyed.
    pub(crate) keys: u64,
    pub(crate) at: Timestamp,
    /// Authenticates the entry and all before it.
    pub(crate) link: Vec<u8>,
}

impl TryFrom<Model> for ShredRow {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let tag = row.subject_tag.try_into();
        Ok(Self {
            position: unsigned(row.position, "shred", "position")?,
            tag: tag.map_err(|_| corrupt("shred", "subject_tag", row.position))?,
            keys: unsigned(row.keys, "shred", "keys")?,
            at: Timestamp::from_micros(row.shredded_at),
            link: row.link,
        })
    }
}

/// The last position, 0 if there is none, and its link.
pub(crate) async fn end(tx: &ReadTx, tenant: TenantId) -> Result<(u64, Vec<u8>), StoreError> {
    head::shred_end(tx, tenant).await
}

/// Appends the entry at the position after the last one.
pub(crate) async fn append(tx: &Tx, tenant: TenantId, row: &ShredRow) -> Result<(), StoreError> {
    head::extend_shreds(tx, tenant, row.position - 1, &row.link).await?;
    let model = ActiveModel {
        tenant_id: Set(tenant.uuid()),
        position: Set(signed(row.position)),
        subject_tag: Set(row.tag.to_vec()),
        keys: Set(signed(row.keys)),
        shredded_at: Set(row.at.as_micros()),
        link: Set(row.link.clone()),
    };
    Entity::insert(model).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// The entry about `tag`.
pub(crate) async fn find(
    tx: &ReadTx,
    tenant: TenantId,
    tag: &SubjectTag,
) -> Result<Option<ShredRow>, StoreError> {
    let row = Entity::find()
        .filter(Column::TenantId.eq(tenant.uuid()))
        .filter(Column::SubjectTag.eq(tag.to_vec()))
        .one(tx.conn())
        .await?;
    row.map(ShredRow::try_from).transpose()
}

/// Those of `tags` that are in the ledger.
pub(crate) async fn among(
    tx: &ReadTx,
    tenant: TenantId,
    tags: &[SubjectTag],
) -> Result<Vec<SubjectTag>, StoreError> {
    let tags: Vec<Vec<u8>> = tags.iter().map(|tag| tag.to_vec()).collect();
    let found: Vec<Vec<u8>> = Entity::find()
        .select_only()
        .column(Column::SubjectTag)
        .filter(Column::TenantId.eq(tenant.uuid()))
        .filter(super::any(tx, Column::SubjectTag, tags))
        .into_tuple()
        .all(tx.conn())
        .await?;
    found.into_iter().map(|tag| tag.try_into().map_err(|_| corrupt("shred", "subject_tag", tenant))).collect()
}

/// The entries after `position`, in their order, `limit` at most.
pub(crate) async fn after(
    tx: &ReadTx,
    tenant: TenantId,
    position: u64,
    limit: u64,
) -> Result<Vec<ShredRow>, StoreError> {
    let rows = Entity::find()
        .filter(Column::TenantId.eq(tenant.uuid()))
        .filter(Column::Position.gt(signed(position)))
        .order_by_asc(Column::Position)
        .limit(limit)
        .all(tx.conn())
        .await?;
    rows.into_iter().map(ShredRow::try_from).collect()
}
