//! What clients are still to be told: rows as they are found and written. Earlier versions don't know the table: whatever the
//! form of other rows, these have digests.

use portal_core::Timestamp;
use portal_core::id::{AccountId, ClientId, Id, OperationId, SessionId};
use portal_store::sealed::RowDigests;
use portal_store::{Corruption, Inserts, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};

use super::logout_notice::{self, Column};
use super::rows;
use crate::domain::LogoutNotice;

/// A notice as it is stored, and checked.
#[derive(Clone, Debug)]
pub struct StoredNotice {
    notice: LogoutNotice,
    revision: i64,
}

impl StoredNotice {
    /// What is to be told.
    #[must_use]
    pub const fn notice(&self) -> &LogoutNotice {
        &self.notice
    }
}

/// The table.
pub struct LogoutNotices {
    digests: RowDigests,
}

impl LogoutNotices {
    /// The table, stamped and checked with `digests`.
    #[must_use]
    pub const fn new(digests: RowDigests) -> Self {
        Self { digests }
    }

    /// Adds notices.
    pub async fn insert_all(
        &self,
        tx: &Tx,
        new: impl Iterator<Item = LogoutNotice> + Send,
    ) -> Result<(), StoreError> {
        let models: Vec<_> = new.map(|notice| self.stamped(&notice, 1)).collect::<Result<_, _>>()?;
        let mut inserts = Inserts::of(tx);
        rows::add_all::<logout_notice::Entity>(&mut inserts, models)?;
        inserts.run(tx).await
    }

    /// The clients to whom something is to be told at `now`, and how much: whom something waits for longest first.
    pub async fn clients_due(
        &self,
        tx: &ReadTx,
        now: Timestamp,
    ) -> Result<Vec<(ClientId, usize)>, StoreError> {
        let due = logout_notice::Entity::find()
            .select_only()
            .column(Column::ClientId)
            .column_as(Column::Id.count(), "notices")
            .filter(Column::NextAt.lte(now.as_micros()))
            .group_by(Column::ClientId)
            .order_by_asc(Column::NextAt.min());
        let due: Vec<(Uuid, i64)> = due.into_tuple().all(tx.conn()).await?;
        let count = |notices| usize::try_from(notices).unwrap_or_default();
        Ok(due.into_iter().map(|(id, notices)| (ClientId::from_uuid(id), count(notices))).collect())
    }

    /// `limit` at most of what is to be told to `client` at `now`, what waits longest first. One that is corrupt is an error in
    /// its place.
    pub async fn due(
        &self,
        tx: &ReadTx,
        client: ClientId,
        now: Timestamp,
        limit: u64,
    ) -> Result<Vec<(OperationId, Result<StoredNotice, StoreError>)>, StoreError> {
        let due = logout_notice::Entity::find()
            .filter(Column::ClientId.eq(client.uuid()))
            .filter(Column::NextAt.lte(now.as_micros()))
            .order_by_asc(Column::NextAt)
            .limit(limit);
        let due = due.all(tx.conn()).await?.into_iter();
        Ok(due.map(|model| (OperationId::from_uuid(model.id), self.checked(&model))).collect())
    }

    /// Writes what a notice has become: of two who try, the other finds that nothing was written. One that is gone stays so.
    pub async fn update(
        &self,
        tx: &Tx,
        stored: &StoredNotice,
        changed: LogoutNotice,
    ) -> Result<Option<StoredNotice>, StoreError> {
        let revision = stored.revision + 1;
        let done = logout_notice::Entity::update_many()
            .set(self.stamped(&changed, revision)?.into_active_model().reset_all())
            .filter(Column::Id.eq(changed.id.uuid()))
            .filter(Column::Revision.eq(stored.revision))
            .exec(tx.conn())
            .await?;
        Ok((done.rows_affected == 1).then_some(StoredNotice { notice: changed, revision }))
    }

    /// Forgets a notice, and says whether it was there.
    pub async fn delete(&self, tx: &Tx, id: OperationId) -> Result<bool, StoreError> {
        Ok(logout_notice::Entity::delete_by_id(id.uuid()).exec(tx.conn()).await?.rows_affected == 1)
    }

    fn stamped(&self, notice: &LogoutNotice, revision: i64) -> Result<logout_notice::Model, StoreError> {
        let mut model = logout_notice::Model {
            id: notice.id.uuid(),
            client_id: notice.client.uuid(),
            account_id: notice.account.uuid(),
            session_id: notice.session.uuid(),
            issuer: notice.issuer.clone(),
            failures: notice.failures.into(),
            next_at: notice.next_at.as_micros(),
            expires_at: notice.expires_at.as_micros(),
            revision,
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        Ok(model)
    }

    /// The notice in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: &logout_notice::Model) -> Result<StoredNotice, StoreError> {
        self.digests.check(model)?;
        let invalid = |_| rows::corrupt("logout_notice", "failures", &model.id, Corruption::ValueInvalid);
        let notice = LogoutNotice {
            id: OperationId::from_uuid(model.id),
            client: ClientId::from_uuid(model.client_id),
            account: AccountId::from_uuid(model.account_id),
            session: SessionId::from_uuid(model.session_id),
            issuer: model.issuer.clone(),
            failures: u32::try_from(model.failures).map_err(invalid)?,
            next_at: Timestamp::from_micros(model.next_at),
            expires_at: Timestamp::from_micros(model.expires_at),
        };
        Ok(StoredNotice { notice, revision: model.revision })
    }
}
