//! Ceremonies with passkeys that have begun: rows as they are found, opened and written. Earlier versions don't know the table:
//! everything in it is sealed and stamped, whatever the form of other rows.

use portal_core::id::{AccountId, Id};
use portal_core::{Sensitive, Timestamp};
use portal_crypto::kdf::Label;
use portal_keys::{ServiceCells, ServiceColumn};
use portal_store::sealed::{DigestedRow, RowDigests};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};

use super::passkey_ceremony::{self, Column};
use super::{Cells, Seals, rows};
use crate::domain::{Awaited, Ceremony, HandleHash};

const TABLE: &str = "passkey_ceremony";
/// The cells with the challenges.
pub(crate) const STATE: ServiceColumn = ServiceColumn {
    key: Label::CeremonySealing,
    label: b"portal/passkey-ceremony/state/v1\0",
    table: TABLE,
    column: "sealed_state",
};

/// The table.
pub struct Ceremonies {
    digests: RowDigests,
    states: ServiceCells,
}

impl Ceremonies {
    /// The table, sealed and checked with these.
    #[must_use]
    pub fn new(seals: &Seals, cells: &Cells) -> Self {
        Self { digests: seals.digests.clone(), states: cells.ceremonies.clone() }
    }

    /// Adds a ceremony.
    pub async fn insert(&self, tx: &Tx, hash: &HandleHash, new: &Ceremony) -> Result<(), StoreError> {
        let (awaits, account) = match new.awaited {
            Awaited::Anybody => ("anybody", None),
            Awaited::Nobody => ("nobody", None),
            Awaited::Owner(account) => ("owner", Some(account)),
            Awaited::Registration(account) => ("registration", Some(account)),
        };
        let mut model = passkey_ceremony::Model {
            ceremony_hash: hash.as_bytes().to_vec(),
            awaits: awaits.to_owned(),
            account_id: account.map(Id::uuid),
            sealed_state: Vec::new(),
            expires_at: new.expires_at.as_micros(),
            row_digest: None,
        };
        model.sealed_state = self.states.seal(model.row(), new.state.expose())?;
        self.digests.stamp(&mut model)?;
        let row = model.into_active_model().reset_all();
        passkey_ceremony::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// The ceremony of this handle, unless it has ended.
    pub async fn find(
        &self,
        tx: &ReadTx,
        hash: &HandleHash,
        now: Timestamp,
    ) -> Result<Option<Ceremony>, StoreError> {
        let found = passkey_ceremony::Entity::find_by_id(hash.as_bytes().to_vec())
            .filter(Column::ExpiresAt.gt(now.as_micros()))
            .one(tx.conn())
            .await?;
        found.map(|model| self.open(&model)).transpose()
    }

    /// Ends a ceremony: of two who use it, the other's transaction is run again and does not find it.
    pub async fn delete(&self, tx: &Tx, hash: &HandleHash) -> Result<(), StoreError> {
        let done = passkey_ceremony::Entity::delete_by_id(hash.as_bytes().to_vec()).exec(tx.conn()).await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// The ceremony in `model`, if that is what was written.
    pub(crate) fn open(&self, model: &passkey_ceremony::Model) -> Result<Ceremony, StoreError> {
        self.digests.check(model)?;
        let awaited = match (model.awaits.as_str(), model.account_id.map(AccountId::from_uuid)) {
            ("anybody", None) => Awaited::Anybody,
            ("nobody", None) => Awaited::Nobody,
            ("owner", Some(account)) => Awaited::Owner(account),
            ("registration", Some(account)) => Awaited::Registration(account),
            _ => {
                let row = Uuid::from_bytes(model.row().id);
                return Err(rows::corrupt(TABLE, "awaits", &row, Corruption::ValueInvalid));
            }
        };
        let state = Sensitive::new(self.states.open(model.row(), &model.sealed_state)?);
        Ok(Ceremony { awaited, state, expires_at: Timestamp::from_micros(model.expires_at) })
    }
}

/// Forgets ceremonies that have ended, and says how many.
pub async fn purge(tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
    let ended = Column::ExpiresAt.lte(now.as_micros());
    Ok(passkey_ceremony::Entity::delete_many().filter(ended).exec(tx.conn()).await?.rows_affected)
}
