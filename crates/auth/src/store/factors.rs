//! Second factors: rows as they are found, opened and written. Earlier versions don't know the table: everything in it is
//! sealed and stamped, whatever the form of other rows.

use std::collections::BTreeSet;

use portal_core::id::{AccountId, FactorId, Id};
use portal_core::{Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_store::sealed::{DigestedRow, RowDigests, SealedColumn, Sealing};
use portal_store::{Corruption, ReadTx, Sealed, StoreError, Tx};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder};

use super::factor::{self, Column};
use super::rows;
use crate::domain::{DisplayName, Factor, FactorKind, FactorSecret, FactorState, HandleHash, Totp};

const TABLE: &str = "factor";
const DISPLAY_NAME: SealedColumn<Sensitive<String>> =
    SealedColumn::new(TABLE, "sealed_display_name", Padding::To64);
const SECRET: SealedColumn<Sensitive<Vec<u8>>> = SealedColumn::new(TABLE, "sealed_secret", Padding::To64);

/// The table.
pub struct Factors {
    sealing: Sealing,
    digests: RowDigests,
}

impl Factors {
    /// The table, sealed and checked with these.
    #[must_use]
    pub const fn new(sealing: Sealing, digests: RowDigests) -> Self {
        Self { sealing, digests }
    }

    /// The factors of an account, oldest first. One row that is corrupt fails the whole: who can't see every factor must not
    /// let anybody in.
    pub async fn of_account(
        &self,
        tx: &ReadTx,
        account: AccountId,
        key: &SubjectKey,
    ) -> Result<Vec<Factor>, StoreError> {
        let rows =
            factor::Entity::find().filter(Column::AccountId.eq(account.uuid())).order_by_asc(Column::Id);
        rows.all(tx.conn()).await?.iter().map(|model| self.open(model, key)).collect()
    }

    /// Of which kinds an account has factors that count. All rows are checked: that one counts is in its digest.
    pub async fn kinds(&self, tx: &ReadTx, account: AccountId) -> Result<BTreeSet<FactorKind>, StoreError> {
        let rows = factor::Entity::find().filter(Column::AccountId.eq(account.uuid())).all(tx.conn()).await?;
        rows.iter().try_for_each(|model| self.digests.check(model))?;
        rows.iter().filter(|model| model.confirmed_at.is_some()).map(kind).collect()
    }

    /// Adds a factor.
    pub async fn insert(&self, tx: &Tx, new: &Factor, key: &SubjectKey) -> Result<(), StoreError> {
        let row = self.sealed(new, key)?.into_active_model().reset_all();
        factor::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// Stores `changed` as the next revision.
    pub async fn update(&self, tx: &Tx, changed: &Factor, key: &SubjectKey) -> Result<(), StoreError> {
        let next = Factor { revision: changed.revision + 1, ..changed.clone() };
        let done = factor::Entity::update_many()
            .set(self.sealed(&next, key)?.into_active_model().reset_all())
            .filter(Column::Id.eq(changed.id.uuid()))
            .filter(Column::Revision.eq(changed.revision))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// Removes factors.
    pub async fn delete(&self, tx: &Tx, ids: &[FactorId]) -> Result<(), StoreError> {
        let these = Column::Id.is_in(ids.iter().map(|id| id.uuid()));
        let done = factor::Entity::delete_many().filter(these).exec(tx.conn()).await?;
        StoreError::check_rows(ids.len() as u64, done.rows_affected)
    }

    /// The factor in `model`, if that is what was written.
    pub(crate) fn open(&self, model: &factor::Model, key: &SubjectKey) -> Result<Factor, StoreError> {
        self.digests.check(model)?;
        let corrupt = |column, cause| rows::corrupt(TABLE, column, &model.id, cause);
        if key.owner().subject.uuid() != model.subject_id {
            return Err(corrupt("sealed_secret", Corruption::KeyMissing));
        }
        let row = model.row();
        let name = DISPLAY_NAME.open_option(&self.sealing, key, row, model.sealed_display_name.as_ref())?;
        let secret = SECRET.open(&self.sealing, key, row, &model.sealed_secret)?;
        let last_step = model.last_step.map(i64::unsigned_abs);
        let secret = match kind(model)? {
            FactorKind::RecoveryCodes => codes(secret.expose()).map(FactorSecret::RecoveryCodes),
            FactorKind::Totp => Totp::from_parts(secret, last_step).map(FactorSecret::Totp),
        };
        let state = match (model.confirmed_at, model.pending_until) {
            (Some(at), None) => Some(FactorState::Confirmed(Timestamp::from_micros(at))),
            (None, Some(until)) => Some(FactorState::Pending(Timestamp::from_micros(until))),
            (Some(_), Some(_)) | (None, None) => None,
        };
        Ok(Factor {
            id: FactorId::from_uuid(model.id),
            account: AccountId::from_uuid(model.account_id),
            name: name.map_or_else(|| DisplayName::new(String::new()), DisplayName::from),
            state: state.ok_or_else(|| corrupt("confirmed_at", Corruption::ValueInvalid))?,
            last_used_at: model.last_used_at.map(Timestamp::from_micros),
            secret: secret.ok_or_else(|| corrupt("sealed_secret", Corruption::ValueInvalid))?,
            revision: model.revision,
        })
    }

    fn sealed(&self, new: &Factor, key: &SubjectKey) -> Result<factor::Model, StoreError> {
        let (confirmed_at, pending_until) = match new.state {
            FactorState::Confirmed(at) => (Some(at.as_micros()), None),
            FactorState::Pending(until) => (None, Some(until.as_micros())),
        };
        let (secret, last_step) = match &new.secret {
            FactorSecret::RecoveryCodes(codes) => {
                (Sensitive::new(codes.iter().flat_map(|code| *code.as_bytes()).collect()), None)
            }
            FactorSecret::Totp(totp) => {
                let (secret, last_step) = totp.parts();
                (secret.clone(), last_step.and_then(|step| i64::try_from(step).ok()))
            }
        };
        let mut model = factor::Model {
            id: new.id.uuid(),
            account_id: new.account.uuid(),
            subject_id: key.owner().subject.uuid(),
            kind: new.kind().name().to_owned(),
            sealed_display_name: None,
            sealed_secret: Sealed::from_envelope(Vec::new()),
            confirmed_at,
            pending_until,
            last_used_at: new.last_used_at.map(Timestamp::as_micros),
            last_step,
            revision: new.revision,
            row_digest: None,
        };
        let row = model.row();
        let name = Some(new.name.expose()).filter(|name| !name.is_empty());
        let name = name.map(|name| Sensitive::new(name.to_owned()));
        model.sealed_display_name = DISPLAY_NAME.seal_option(&self.sealing, key, row, name.as_ref())?;
        model.sealed_secret = SECRET.seal(&self.sealing, key, row, &secret)?;
        self.digests.stamp(&mut model)?;
        Ok(model)
    }
}

/// Forgets factors that wait for their first code no longer, and says how many.
pub async fn purge(tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
    let late = Column::PendingUntil.lte(now.as_micros());
    Ok(factor::Entity::delete_many().filter(late).exec(tx.conn()).await?.rows_affected)
}

fn kind(model: &factor::Model) -> Result<FactorKind, StoreError> {
    let kind = FactorKind::ALL.into_iter().find(|kind| kind.name() == model.kind);
    kind.ok_or_else(|| rows::corrupt(TABLE, "kind", &model.id, Corruption::ValueInvalid))
}

fn codes(bytes: &[u8]) -> Option<Vec<HandleHash>> {
    let (codes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| codes.iter().copied().map(HandleHash::from_bytes).collect())
}
