//! Passkeys: rows as they are found, opened and written. Earlier versions don't know the table: everything in it is sealed and
//! stamped, whatever the form of other rows.

use portal_core::id::{AccountId, FactorId, Id, SubjectId};
use portal_core::{Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_crypto::kdf::Label;
use portal_keys::{ServiceCells, ServiceColumn};
use portal_store::sealed::{DigestedRow, Row, SealedColumn};
use portal_store::{Corruption, ReadTx, Sealed, StoreError, Tx};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder,
};

use super::passkey::{self, Column};
use super::{Cells, Seals, rows};
use crate::domain::{CredentialId, DisplayName, Factor, FactorSecret, FactorState, HandleKey, Passkey};

const TABLE: &str = "passkey";
const DISPLAY_NAME: SealedColumn<Sensitive<String>> =
    SealedColumn::new(TABLE, "sealed_display_name", Padding::To64);
const CREDENTIAL: SealedColumn<Sensitive<Vec<u8>>> =
    SealedColumn::new(TABLE, "sealed_credential", Padding::To256);
/// The cells with what authenticators call them.
pub(crate) const CREDENTIAL_ID: ServiceColumn = ServiceColumn {
    key: Label::CredentialSealing,
    label: b"portal/passkey/credential-id/v1\0",
    table: TABLE,
    column: "sealed_credential_id",
};

/// A passkey as it is stored, checked and not opened.
pub struct StoredPasskey {
    model: passkey::Model,
}

impl StoredPasskey {
    /// Whose it is.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId::from_uuid(self.model.account_id)
    }

    /// Whose key it takes to open it.
    #[must_use]
    pub fn subject(&self) -> SubjectId {
        SubjectId::from_uuid(self.model.subject_id)
    }
}

/// The table.
pub struct Passkeys {
    seals: Seals,
    ids: ServiceCells,
    handles: HandleKey,
}

impl Passkeys {
    /// The table, sealed and checked with these.
    #[must_use]
    pub fn new(seals: &Seals, cells: &Cells) -> Self {
        Self { seals: seals.clone(), ids: cells.credential_ids.clone(), handles: cells.handles.clone() }
    }

    /// The passkeys of an account, oldest first.
    pub async fn of_account(
        &self,
        tx: &ReadTx,
        account: AccountId,
        key: &SubjectKey,
    ) -> Result<Vec<Factor>, StoreError> {
        self.rows(tx, account).await?.iter().map(|model| self.open_row(model, key)).collect()
    }

    /// What authenticators call the passkeys of an account: it takes no key of a person to tell.
    pub async fn ids(&self, tx: &ReadTx, account: AccountId) -> Result<Vec<CredentialId>, StoreError> {
        let id = |model: &passkey::Model| {
            self.seals.digests.check(model)?;
            self.ids.open(model.row(), &model.sealed_credential_id).map(CredentialId::new)
        };
        self.rows(tx, account).await?.iter().map(id).collect()
    }

    /// What takes as long as [`Self::ids`] takes for as many, and gives them back: nobody learns by time which are there.
    pub fn rehearse(&self, decoys: &[CredentialId]) -> Result<Vec<CredentialId>, StoreError> {
        let row = Row { id: [0; 16], version: 1 };
        let rehearsed = |decoy: &CredentialId| {
            let cell = self.ids.seal(row, decoy.as_bytes())?;
            self.ids.open(row, &cell).map(CredentialId::new)
        };
        decoys.iter().map(rehearsed).collect()
    }

    /// How many an account has, whatever is in their rows.
    pub async fn count(&self, tx: &ReadTx, account: AccountId) -> Result<u64, StoreError> {
        let of_account = Column::AccountId.eq(account.uuid());
        Ok(passkey::Entity::find().filter(of_account).count(tx.conn()).await?)
    }

    /// Whether an account has one; all rows are checked.
    pub async fn any(&self, tx: &ReadTx, account: AccountId) -> Result<bool, StoreError> {
        let rows = self.rows(tx, account).await?;
        rows.iter().try_for_each(|model| self.seals.digests.check(model))?;
        Ok(!rows.is_empty())
    }

    /// The passkey that an authenticator calls `id`.
    pub async fn find(&self, tx: &ReadTx, id: &CredentialId) -> Result<Option<StoredPasskey>, StoreError> {
        let hash = self.handles.credential_hash(id);
        let by_hash = Column::CredentialHash.eq(hash.as_bytes().as_slice());
        let found = passkey::Entity::find().filter(by_hash).one(tx.conn()).await?;
        let checked = |model| {
            self.seals.digests.check(&model)?;
            Ok(StoredPasskey { model })
        };
        found.map(checked).transpose()
    }

    /// All of it.
    pub fn open(&self, stored: &StoredPasskey, key: &SubjectKey) -> Result<Factor, StoreError> {
        self.open_row(&stored.model, key)
    }

    /// Adds a passkey.
    pub async fn insert(
        &self,
        tx: &Tx,
        (new, passkey): (&Factor, &Passkey),
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        let row = self.sealed((new, passkey), key)?.into_active_model().reset_all();
        passkey::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// Stores `next`, whose revision is the one after that which was found.
    pub async fn update(
        &self,
        tx: &Tx,
        (next, passkey): (&Factor, &Passkey),
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        let done = passkey::Entity::update_many()
            .set(self.sealed((next, passkey), key)?.into_active_model().reset_all())
            .filter(Column::Id.eq(next.id.uuid()))
            .filter(Column::Revision.eq(next.revision - 1))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// Removes those of `ids` that are passkeys, and says how many.
    pub async fn delete(&self, tx: &Tx, ids: &[FactorId]) -> Result<u64, StoreError> {
        let these = Column::Id.is_in(ids.iter().map(|id| id.uuid()));
        Ok(passkey::Entity::delete_many().filter(these).exec(tx.conn()).await?.rows_affected)
    }

    /// The factor in `model`, if that is what was written.
    pub(crate) fn open_row(&self, model: &passkey::Model, key: &SubjectKey) -> Result<Factor, StoreError> {
        self.seals.digests.check(model)?;
        let corrupt = |column, cause| rows::corrupt(TABLE, column, &model.id, cause);
        if key.owner().subject.uuid() != model.subject_id {
            return Err(corrupt("sealed_credential", Corruption::KeyMissing));
        }
        let (row, sealing) = (model.row(), &self.seals.sealing);
        let name = DISPLAY_NAME.open_option(sealing, key, row, model.sealed_display_name.as_ref())?;
        let credential = CREDENTIAL.open(sealing, key, row, &model.sealed_credential)?;
        let id = CredentialId::new(self.ids.open(row, &model.sealed_credential_id)?);
        if self.handles.credential_hash(&id).as_bytes().as_slice() != model.credential_hash {
            return Err(corrupt("credential_hash", Corruption::ValueInvalid));
        }
        Ok(Factor {
            id: FactorId::from_uuid(model.id),
            account: AccountId::from_uuid(model.account_id),
            name: name.map_or_else(|| DisplayName::new(String::new()), DisplayName::from),
            state: FactorState::Confirmed(Timestamp::from_micros(model.confirmed_at)),
            last_used_at: model.last_used_at.map(Timestamp::from_micros),
            secret: FactorSecret::Passkey(Passkey { id, credential }),
            revision: model.revision,
        })
    }

    async fn rows(&self, tx: &ReadTx, account: AccountId) -> Result<Vec<passkey::Model>, StoreError> {
        let of_account = Column::AccountId.eq(account.uuid());
        let rows = passkey::Entity::find().filter(of_account).order_by_asc(Column::Id);
        Ok(rows.all(tx.conn()).await?)
    }

    fn sealed(
        &self,
        (new, passkey): (&Factor, &Passkey),
        key: &SubjectKey,
    ) -> Result<passkey::Model, StoreError> {
        let confirmed_at = match new.state {
            FactorState::Confirmed(at) | FactorState::Pending(at) => at.as_micros(),
        };
        let mut model = passkey::Model {
            id: new.id.uuid(),
            account_id: new.account.uuid(),
            subject_id: key.owner().subject.uuid(),
            credential_hash: self.handles.credential_hash(&passkey.id).as_bytes().to_vec(),
            sealed_credential_id: Vec::new(),
            sealed_display_name: None,
            sealed_credential: Sealed::from_envelope(Vec::new()),
            confirmed_at,
            last_used_at: new.last_used_at.map(Timestamp::as_micros),
            revision: new.revision,
            row_digest: None,
        };
        let (row, sealing) = (model.row(), &self.seals.sealing);
        let name = Some(new.name.expose()).filter(|name| !name.is_empty());
        let name = name.map(|name| Sensitive::new(name.to_owned()));
        model.sealed_credential_id = self.ids.seal(row, passkey.id.as_bytes())?;
        model.sealed_display_name = DISPLAY_NAME.seal_option(sealing, key, row, name.as_ref())?;
        model.sealed_credential = CREDENTIAL.seal(sealing, key, row, &passkey.credential)?;
        self.seals.digests.stamp(&mut model)?;
        Ok(model)
    }
}
