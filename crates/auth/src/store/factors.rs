//! Second factors, passkeys among them: rows as they are found, opened and written. Earlier versions don't know the table: everything in it is
//! sealed and stamped, whatever the form of other rows.

use std::collections::BTreeSet;

use portal_core::id::{AccountId, FactorId, Id};
use portal_core::{Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_store::sealed::{DigestedRow, SealedColumn};
use portal_store::{Corruption, ReadTx, Sealed, StoreError, Tx};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder};

use super::factor::{self, Column};
use super::passkeys::Passkeys;
use super::{Cells, Seals, rows};
use crate::domain::{DisplayName, Factor, FactorKind, FactorSecret, FactorState, HandleHash, Totp};

const TABLE: &str = "factor";
const DISPLAY_NAME: SealedColumn<Sensitive<String>> =
    SealedColumn::new(TABLE, "sealed_display_name", Padding::To64);
const SECRET: SealedColumn<Sensitive<Vec<u8>>> = SealedColumn::new(TABLE, "sealed_secret", Padding::To64);

/// The tables.
pub struct Factors {
    seals: Seals,
    /// Those that are passkeys, in a table of their own.
    pub passkeys: Passkeys,
}

impl Factors {
    /// The tables, sealed and checked with these.
    #[must_use]
    pub fn new(seals: &Seals, cells: &Cells) -> Self {
        Self { seals: seals.clone(), passkeys: Passkeys::new(seals, cells) }
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
        let mut factors = self.passkeys.of_account(tx, account, key).await?;
        for model in rows.all(tx.conn()).await? {
            factors.push(self.open(&model, key)?);
        }
        factors.sort_unstable_by_key(|factor| factor.id);
        Ok(factors)
    }

    /// Of which kinds an account has factors that count. All rows are checked: that one counts is in its digest.
    pub async fn kinds(&self, tx: &ReadTx, account: AccountId) -> Result<BTreeSet<FactorKind>, StoreError> {
        let rows = factor::Entity::find().filter(Column::AccountId.eq(account.uuid())).all(tx.conn()).await?;
        rows.iter().try_for_each(|model| self.seals.digests.check(model))?;
        let passkey = self.passkeys.any(tx, account).await?.then_some(Ok(FactorKind::Passkey));
        rows.iter().filter(|model| model.confirmed_at.is_some()).map(kind).chain(passkey).collect()
    }

    /// Adds a factor.
    pub async fn insert(&self, tx: &Tx, new: &Factor, key: &SubjectKey) -> Result<(), StoreError> {
        if let FactorSecret::Passkey(passkey) = &new.secret {
            return self.passkeys.insert(tx, (new, passkey), key).await;
        }
        let row = self.sealed(new, key)?.into_active_model().reset_all();
        factor::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// Stores `changed` as the next revision.
    pub async fn update(&self, tx: &Tx, changed: &Factor, key: &SubjectKey) -> Result<(), StoreError> {
        let next = Factor { revision: changed.revision + 1, ..changed.clone() };
        if let FactorSecret::Passkey(passkey) = &changed.secret {
            return self.passkeys.update(tx, (&next, passkey), key).await;
        }
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
        let passkeys = self.passkeys.delete(tx, ids).await?;
        StoreError::check_rows(ids.len() as u64, done.rows_affected + passkeys)
    }

    /// The factor in `model`, if that is what was written.
    pub(crate) fn open(&self, model: &factor::Model, key: &SubjectKey) -> Result<Factor, StoreError> {
        self.seals.digests.check(model)?;
        let corrupt = |column, cause| rows::corrupt(TABLE, column, &model.id, cause);
        if key.owner().subject.uuid() != model.subject_id {
            return Err(corrupt("sealed_secret", Corruption::KeyMissing));
        }
        let row = model.row();
        let name =
            DISPLAY_NAME.open_option(&self.seals.sealing, key, row, model.sealed_display_name.as_ref())?;
        let secret = SECRET.open(&self.seals.sealing, key, row, &model.sealed_secret)?;
        let last_step = model.last_step.map(i64::unsigned_abs);
        let secret = match kind(model)? {
            FactorKind::RecoveryCodes => codes(secret.expose()).map(FactorSecret::RecoveryCodes),
            FactorKind::Totp => Totp::from_parts(secret, last_step).map(FactorSecret::Totp),
            FactorKind::Passkey => None,
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
            FactorSecret::Passkey(passkey) => (passkey.credential.clone(), None),
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
        model.sealed_display_name = DISPLAY_NAME.seal_option(&self.seals.sealing, key, row, name.as_ref())?;
        model.sealed_secret = SECRET.seal(&self.seals.sealing, key, row, &secret)?;
        self.seals.digests.stamp(&mut model)?;
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
