//! Sessions: rows as they are found, opened and written.

use portal_core::id::{AccountId, Id, SessionId};
use portal_core::{Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_store::sealed::{DigestedRow, SealedColumn};
use portal_store::{Corruption, Inserts, ReadTx, StoreError, Tx, bulk};
use portal_upkeep::migration::Mode;
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::session::{self, Column};
use super::{Listed, Seals, rows};
use crate::domain::{Context, DeviceName, NamedSession, Session};

const DEVICE_NAME: SealedColumn<Sensitive<String>> =
    SealedColumn::new("session", "sealed_device_name", Padding::To64);

/// Ids in one statement: a database takes only so many.
const CHUNK: usize = 500;

/// A session as it is stored, checked and not opened.
pub struct StoredSession {
    model: session::Model,
    session: Session,
}

impl StoredSession {
    /// What decides.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Whether it takes the key of its person to open it.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.model.device_name.is_empty() && self.model.sealed_device_name.is_some()
    }
}

/// Where a list of sessions goes on: the last use and the id of a session.
pub type Place = (Timestamp, SessionId);

/// The table.
pub struct Sessions {
    pub(crate) seals: Seals,
}

impl Sessions {
    /// The table, sealed and checked with `seals`.
    #[must_use]
    pub const fn new(seals: Seals) -> Self {
        Self { seals }
    }

    /// The session with this id.
    pub async fn find(&self, tx: &ReadTx, id: SessionId) -> Result<Option<StoredSession>, StoreError> {
        let Some(model) = session::Entity::find_by_id(id.uuid()).one(tx.conn()).await? else {
            return Ok(None);
        };
        let mode = self.seals.mode(tx).await?;
        self.checked(model, mode).map(Some)
    }

    /// Adds a session.
    pub fn add(
        &self,
        inserts: &mut Inserts,
        new: &NamedSession,
        key: &SubjectKey,
        mode: Mode,
    ) -> Result<(), StoreError> {
        let mut model = rows::from_session(&new.session, key.owner().subject);
        self.write(&mut model, &new.device_name, mode, key)?;
        rows::add::<session::Entity>(inserts, model)
    }

    /// Stores the times that each session has now, beside how it was stored.
    pub async fn update(&self, tx: &Tx, renewed: Vec<(StoredSession, Session)>) -> Result<(), StoreError> {
        let mode = self.seals.mode(tx).await?;
        let expected = renewed.len() as u64;
        let row = |(stored, session): (StoredSession, Session)| {
            let mut model = rows::renewed(stored.model, &session);
            self.stamp(&mut model, mode)?;
            Ok(vec![
                model.id.into(),
                model.last_used_at.into(),
                model.access_expires_at.into(),
                model.refresh_expires_at.into(),
                model.row_digest.into(),
            ])
        };
        let rows = renewed.into_iter().map(row).collect::<Result<_, StoreError>>()?;
        let set = [Column::LastUsedAt, Column::AccessExpiresAt, Column::RefreshExpiresAt, Column::RowDigest];
        let done = bulk::update::<session::Entity>(tx, &[Column::Id], &set, rows).await?;
        StoreError::check_rows(expected, done)
    }

    /// Ends these sessions, one that is corrupt as well: that stays so.
    pub async fn revoke(&self, tx: &Tx, ids: &[SessionId], now: Timestamp) -> Result<(), StoreError> {
        let mode = self.seals.mode(tx).await?;
        let mut revoked = Vec::with_capacity(ids.len());
        for ids in ids.chunks(CHUNK) {
            let live = session::Entity::find()
                .filter(Column::Id.is_in(ids.iter().map(|id| id.uuid())))
                .filter(Column::RevokedAt.is_null());
            for mut model in live.all(tx.conn()).await? {
                let sound = mode != Mode::New || self.seals.digests.check(&model).is_ok();
                model.revoked_at = Some(now.as_micros());
                if sound {
                    self.stamp(&mut model, mode)?;
                }
                revoked.push(vec![model.id.into(), model.revoked_at.into(), model.row_digest.into()]);
            }
        }
        let set = [Column::RevokedAt, Column::RowDigest];
        let done = bulk::update::<session::Entity>(tx, &[Column::Id], &set, revoked).await?;
        StoreError::check_rows(ids.len() as u64, done)
    }

    /// Takes all sessions of an account away, with their tokens, and says how many.
    pub async fn delete_all(&self, tx: &Tx, account: AccountId) -> Result<u64, StoreError> {
        let of = Column::AccountId.eq(account.uuid());
        Ok(session::Entity::delete_many().filter(of).exec(tx.conn()).await?.rows_affected)
    }

    /// The ids of an account's live sessions.
    pub async fn live_ids(
        &self,
        tx: &ReadTx,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let ids = session::Entity::find().select_only().column(Column::Id).filter(live(account, now));
        let ids: Vec<Uuid> = ids.into_tuple().all(tx.conn()).await?;
        Ok(ids.into_iter().map(SessionId::from_uuid).collect())
    }

    /// Those of these sessions that have not ended. One that is corrupt has not, unless it says so.
    pub async fn going_on(
        &self,
        tx: &ReadTx,
        ids: &[SessionId],
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mode = self.seals.mode(tx).await?;
        let mut going_on = Vec::new();
        for ids in ids.chunks(CHUNK) {
            let these = session::Entity::find()
                .filter(Column::Id.is_in(ids.iter().map(|id| id.uuid())))
                .filter(Column::RevokedAt.is_null());
            for model in these.all(tx.conn()).await? {
                let id = SessionId::from_uuid(model.id);
                match self.checked(model, mode) {
                    Ok(stored) if !stored.session.is_live(now) => {}
                    Ok(_) => going_on.push(id),
                    Err(error @ StoreError::Corrupt { .. }) => {
                        tracing::error!(%error, "a session ends with its person: the row is corrupt");
                        going_on.push(id);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(going_on)
    }

    /// `size` of an account's live sessions at most, last used first, after `after`.
    pub async fn list(
        &self,
        tx: &ReadTx,
        account: AccountId,
        page: (Option<Place>, usize),
        now: Timestamp,
    ) -> Result<Listed<StoredSession, Place>, StoreError> {
        let (after, size) = page;
        let mut shown = live(account, now);
        if let Some((last_used, id)) = after {
            let same = Condition::all()
                .add(Column::LastUsedAt.eq(last_used.as_micros()))
                .add(Column::Id.lt(id.uuid()));
            shown = shown.add(Condition::any().add(Column::LastUsedAt.lt(last_used.as_micros())).add(same));
        }
        let mode = self.seals.mode(tx).await?;
        let list = session::Entity::find()
            .filter(shown)
            .order_by_desc(Column::LastUsedAt)
            .order_by_desc(Column::Id)
            .limit(size as u64 + 1);
        let place = |model: &session::Model| {
            (Timestamp::from_micros(model.last_used_at), SessionId::from_uuid(model.id))
        };
        Listed::new(list.all(tx.conn()).await?, size, place, |model| self.checked(model, mode))
    }

    /// The session with its device's name. One that [`StoredSession::is_sealed`] takes the key of its person.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn open(&self, stored: &StoredSession, key: Option<&SubjectKey>) -> Result<NamedSession, StoreError> {
        let model = &stored.model;
        let device_name = if stored.is_sealed() {
            let missing =
                || rows::corrupt("session", "sealed_device_name", &model.id, Corruption::KeyMissing);
            self.cell(model, key.ok_or_else(missing)?)?
        } else {
            DeviceName::new(model.device_name.clone())
        };
        let session = stored.session.clone();
        // What more is known is in another table.
        let context = Context::by_password(session.created_at);
        Ok(NamedSession { session, device_name, context, client: None })
    }

    /// Forgets sessions that have expired, and says how many.
    pub async fn purge(&self, tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
        let expired = Column::RefreshExpiresAt.lte(now.as_micros());
        Ok(session::Entity::delete_many().filter(expired).exec(tx.conn()).await?.rows_affected)
    }

    /// The session in `model`, checked against its digest once nobody writes rows without one.
    pub(crate) fn checked(&self, model: session::Model, mode: Mode) -> Result<StoredSession, StoreError> {
        match mode {
            Mode::Old | Mode::Both => {}
            Mode::New => self.seals.digests.check(&model)?,
        }
        Ok(StoredSession { session: rows::to_session(&model), model })
    }

    /// What the device of `model` calls itself, sealed.
    pub(crate) fn sealed(&self, model: &session::Model, key: &SubjectKey) -> Result<DeviceName, StoreError> {
        if model.device_name.is_empty() && model.sealed_device_name.is_none() {
            return Ok(DeviceName::new(String::new()));
        }
        self.cell(model, key)
    }

    /// Opens the cell of `model`.
    fn cell(&self, model: &session::Model, key: &SubjectKey) -> Result<DeviceName, StoreError> {
        let corrupt = |cause| rows::corrupt("session", "sealed_device_name", &model.id, cause);
        if Some(key.owner().subject.uuid()) != model.subject_id {
            return Err(corrupt(Corruption::KeyMissing));
        }
        let sealed = model.sealed_device_name.as_ref().ok_or_else(|| corrupt(Corruption::ValueInvalid))?;
        Ok(DeviceName::from(DEVICE_NAME.open(&self.seals.sealing, key, model.row(), sealed)?))
    }

    /// Puts `name` into `model` in the form of `mode`, and stamps it.
    pub(crate) fn write(
        &self,
        model: &mut session::Model,
        name: &DeviceName,
        mode: Mode,
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        model.device_name = if mode == Mode::New { String::new() } else { name.expose().to_owned() };
        if mode == Mode::Old {
            (model.subject_id, model.sealed_device_name) = (None, None);
        } else {
            self.seal(model, name, key)?;
        }
        self.stamp(model, mode)
    }

    /// Fills the cell of `model`; one of a device without a name stays empty.
    pub(crate) fn seal(
        &self,
        model: &mut session::Model,
        name: &DeviceName,
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        model.sealed_device_name = None;
        if !name.expose().is_empty() {
            rows::check_owner(key, model.subject_id.unwrap_or_default(), "session", "sealed_device_name")?;
            let name = Sensitive::new(name.expose().to_owned());
            let sealed = DEVICE_NAME.seal(&self.seals.sealing, key, model.row(), &name)?;
            model.sealed_device_name = Some(sealed);
        }
        Ok(())
    }

    fn stamp(&self, model: &mut session::Model, mode: Mode) -> Result<(), StoreError> {
        let unsealed = model.sealed_device_name.is_none() && !model.device_name.is_empty();
        if mode == Mode::Old || mode == Mode::Both && unsealed {
            // The migration stamps it when it seals it.
            model.row_digest = None;
            return Ok(());
        }
        self.seals.digests.stamp(model)
    }
}

fn live(account: AccountId, now: Timestamp) -> Condition {
    Condition::all()
        .add(Column::AccountId.eq(account.uuid()))
        .add(Column::RevokedAt.is_null())
        .add(Column::RefreshExpiresAt.gt(now.as_micros()))
}
