//! Recoveries that were asked for: rows as they are found, opened and written. Earlier versions don't know the table:
//! everything in it is sealed and stamped, whatever the form of other rows.

use std::sync::Arc;

use portal_core::{Entropy, Timestamp};
use portal_crypto::kdf::Label;
use portal_keys::{Keys, ServiceCells, ServiceColumn};
use portal_store::sealed::{DigestedRow, RowDigests};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};

use super::recovery_request::{self, Column};
use super::rows;
use crate::domain::Email;

const TABLE: &str = "recovery_request";
const EMAIL: ServiceColumn = ServiceColumn {
    key: Label::MailSealing,
    label: b"portal/recovery-request/v1\0",
    table: TABLE,
    column: "sealed_email",
};

/// The table.
#[derive(Clone)]
pub struct RecoveryRequests {
    cells: ServiceCells,
    digests: RowDigests,
}

impl RecoveryRequests {
    /// The table, sealed and checked with these.
    #[must_use]
    pub fn new(keys: &Keys, digests: RowDigests, entropy: Arc<dyn Entropy>) -> Self {
        Self { cells: ServiceCells::new(keys, EMAIL, entropy), digests }
    }

    /// Adds a request.
    pub async fn insert(
        &self,
        tx: &Tx,
        (id, email): (Uuid, &Email),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let requested_at = now.as_micros();
        let mut model =
            recovery_request::Model { id, sealed_email: Vec::new(), requested_at, row_digest: None };
        model.sealed_email = self.cells.seal(model.row(), &padded(email))?;
        self.digests.stamp(&mut model)?;
        let row = model.into_active_model().reset_all();
        recovery_request::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// `limit` requests at most, oldest first, with the address of each; one that is corrupt is an error in its place.
    pub async fn oldest(
        &self,
        tx: &ReadTx,
        limit: u64,
    ) -> Result<Vec<(Uuid, Result<Email, StoreError>)>, StoreError> {
        let oldest = recovery_request::Entity::find().order_by_asc(Column::Id).limit(limit);
        let oldest = oldest.all(tx.conn()).await?;
        Ok(oldest.iter().map(|model| (model.id, self.open(model))).collect())
    }

    /// Forgets a request, and says whether it was there.
    pub async fn delete(&self, tx: &Tx, id: Uuid) -> Result<bool, StoreError> {
        Ok(recovery_request::Entity::delete_by_id(id).exec(tx.conn()).await?.rows_affected == 1)
    }

    /// The address in `model`, if that is what was written.
    pub(crate) fn open(&self, model: &recovery_request::Model) -> Result<Email, StoreError> {
        self.digests.check(model)?;
        let invalid = || rows::corrupt(TABLE, EMAIL.column, &model.id, Corruption::ValueInvalid);
        let text = String::from_utf8(self.cells.open(model.row(), &model.sealed_email)?);
        Email::parse(&text.map_err(|_| invalid())?).map_err(|_| invalid())
    }
}

/// An address of whatever length takes as much room: [`Email::parse`] ignores white space around it.
fn padded(email: &Email) -> Vec<u8> {
    let mut bytes = email.expose().as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(64), b' ');
    bytes
}

/// Forgets requests that were made before `then`, and says how many.
pub async fn purge(tx: &Tx, then: Timestamp) -> Result<u64, StoreError> {
    let old = Column::RequestedAt.lte(then.as_micros());
    Ok(recovery_request::Entity::delete_many().filter(old).exec(tx.conn()).await?.rows_affected)
}
