//! Accounts: rows as they are found, opened and written.

use std::collections::HashSet;

use portal_core::id::{AccountId, Id, SubjectId};
use portal_core::{Role, Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_crypto::password::PasswordHash;
use portal_store::sealed::{DigestedRow, SealedColumn};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use portal_upkeep::migration::Mode;
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, ExprTrait, SimpleExpr};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::account::{self, Column};
use super::email_index::{EmailIndexes, KeyedIndex};
use super::{Listed, Seals, rows};
use crate::domain::{Account, Contact, DisplayName, Email, Profile, Profiled};

const EMAIL: SealedColumn<Sensitive<String>> = SealedColumn::new("account", "sealed_email", Padding::To64);
const DISPLAY_NAME: SealedColumn<Sensitive<String>> =
    SealedColumn::new("account", "sealed_display_name", Padding::To64);

/// Which accounts a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only the one with this e-mail address.
    pub email: Option<EmailIndexes>,
    /// Only those that hold this role.
    pub role: Option<Role>,
    /// Only those that are locked, or are not.
    pub locked: Option<bool>,
}

/// An account as it is stored, checked and not opened.
pub struct StoredAccount {
    model: account::Model,
    account: Account,
    /// What the next revision has in the place of its hash.
    new_password: Option<PasswordHash>,
    /// And what is personal about it then, with the indexes of its e-mail address if that is another.
    new_profile: Option<(Profile, Option<EmailIndexes>)>,
}

impl StoredAccount {
    /// What decides.
    #[must_use]
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// Whether this is the hash of its password.
    #[must_use]
    pub fn has_password(&self, hash: &PasswordHash) -> bool {
        self.model.password_hash == hash.as_str()
    }

    /// The hash of its password.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it can't be read.
    pub fn password_hash(&self) -> Result<PasswordHash, StoreError> {
        rows::to_password_hash(&self.model)
    }

    /// The same, whose next revision has this password.
    #[must_use]
    pub fn with_password(self, password: PasswordHash) -> Self {
        Self { new_password: Some(password), ..self }
    }

    /// The same, whose next revision has this profile, and these indexes if its e-mail address is another.
    #[must_use]
    pub fn with_profile(self, profile: Profile, email: Option<EmailIndexes>) -> Self {
        Self { new_profile: Some((profile, email)), ..self }
    }

    /// Whether it takes the key of its person to open it.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.model.email.is_empty()
    }
}

/// What an e-mail address has led to, before anybody has proven anything. Nothing of it is checked yet.
pub struct Candidate {
    model: account::Model,
    mode: Mode,
}

impl Candidate {
    /// Whose row it is said to be.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId::from_uuid(self.model.id)
    }

    /// The hash of its password; `None` if that can't be read, which no password is right for.
    #[must_use]
    pub fn password_hash(&self) -> Option<PasswordHash> {
        rows::to_password_hash(&self.model).ok()
    }
}

/// The table.
pub struct Accounts {
    pub(crate) seals: Seals,
}

impl Accounts {
    /// The table, sealed and checked with `seals`.
    #[must_use]
    pub const fn new(seals: Seals) -> Self {
        Self { seals }
    }

    /// The account with this id.
    pub async fn find(&self, tx: &ReadTx, id: AccountId) -> Result<Option<StoredAccount>, StoreError> {
        let Some(model) = account::Entity::find_by_id(id.uuid()).one(tx.conn()).await? else {
            return Ok(None);
        };
        let mode = self.seals.mode(tx).await?;
        self.checked(model, mode).map(Some)
    }

    /// The account with this e-mail address, for somebody who has not proven yet to be its owner.
    pub async fn candidate(
        &self,
        tx: &ReadTx,
        email: &EmailIndexes,
    ) -> Result<Option<Candidate>, StoreError> {
        let mode = self.seals.mode(tx).await?;
        let found = account::Entity::find().filter(email.found()).one(tx.conn()).await?;
        Ok(found.map(|model| Candidate { model, mode }))
    }

    /// Checks what is stored about somebody who has proven to know the password.
    pub fn admit(&self, candidate: Candidate) -> Result<StoredAccount, StoreError> {
        self.checked(candidate.model, candidate.mode)
    }

    /// Whether there is an account with this e-mail address.
    pub async fn is_taken(&self, tx: &ReadTx, email: &EmailIndexes) -> Result<bool, StoreError> {
        Ok(self.candidate(tx, email).await?.is_some())
    }

    /// Adds an account.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] if the e-mail address is taken.
    pub async fn insert(
        &self,
        tx: &Tx,
        (account, profile): (&Account, &Profile),
        credentials: (&EmailIndexes, &PasswordHash),
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        let mode = self.seals.mode(tx).await?;
        let (email, password) = credentials;
        let mut model = rows::from_account(account, email.written(mode), password);
        self.write(&mut model, profile, mode, key)?;
        account::Entity::insert(model.into_active_model().reset_all())
            .exec_without_returning(tx.conn())
            .await?;
        Ok(())
    }

    /// Stores `changed` as the next revision of `stored`. With the key of its person the cells are sealed for that
    /// revision; without it they stay as they are, bound to the one that they were sealed for. What more is known of the
    /// e-mail address is not in what this returns.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] if its new e-mail address is taken.
    pub async fn update(
        &self,
        tx: &Tx,
        mut stored: StoredAccount,
        changed: Account,
        key: Option<&SubjectKey>,
    ) -> Result<Profiled, StoreError> {
        let mode = self.seals.mode(tx).await?;
        let mut profile = key.map(|key| self.open(&stored, Some(key))).transpose()?;
        if let Some((new, email)) = stored.new_profile.take() {
            profile = Some(new);
            if let Some(email) = email {
                Self::index(&mut stored.model, email.written(mode));
            }
        }
        if let Some(password) = stored.new_password.take() {
            password.as_str().clone_into(&mut stored.model.password_hash);
        }
        let mut model = rows::changed(stored.model, &changed);
        match key.zip(profile.as_ref()) {
            Some((key, profile)) => self.write(&mut model, profile, mode, key)?,
            None => self.carry(&mut model, mode)?,
        }
        let done = account::Entity::update_many()
            .set(model.into_active_model().reset_all())
            .filter(Column::Id.eq(changed.id().uuid()))
            .filter(Column::Revision.eq(changed.revision() - 1))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)?;
        Ok(Profiled { account: changed, profile, contact: Contact::default() })
    }

    /// Takes an account away, with all that belongs to it but its sessions, which go before.
    pub async fn delete(&self, tx: &Tx, account: &Account) -> Result<(), StoreError> {
        let done = account::Entity::delete_many()
            .filter(Column::Id.eq(account.id().uuid()))
            .filter(Column::Revision.eq(account.revision()))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// What is personal about an account. One that [`StoredAccount::is_sealed`] takes the key of its person.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn open(&self, stored: &StoredAccount, key: Option<&SubjectKey>) -> Result<Profile, StoreError> {
        let model = &stored.model;
        if !stored.is_sealed() {
            return Self::plain(model);
        }
        let missing = || rows::corrupt("account", "sealed_email", &model.id, Corruption::KeyMissing);
        self.cells(model, key.ok_or_else(missing)?)
    }

    /// An account with what is personal about it; see [`Self::open`].
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn profiled(&self, stored: &StoredAccount, key: Option<&SubjectKey>) -> Result<Profiled, StoreError> {
        let profile = Some(self.open(stored, key)?);
        Ok(Profiled { account: stored.account.clone(), profile, contact: Contact::default() })
    }

    /// Whom the accounts belong to that are operators and not locked at `now`.
    pub async fn operators(&self, tx: &ReadTx, now: Timestamp) -> Result<Vec<SubjectId>, StoreError> {
        let subjects = account::Entity::find()
            .select_only()
            .column(Column::SubjectId)
            .filter(has_role(Role::Operator))
            .filter(not_locked(now));
        let subjects: Vec<Uuid> = subjects.into_tuple().all(tx.conn()).await?;
        Ok(subjects.into_iter().map(SubjectId::from_uuid).collect())
    }

    /// How many accounts other than `id` are operators that can sign in at `now`. One whose row is corrupt can't, nor can
    /// one of those who were `erased`.
    pub async fn other_operators(
        &self,
        tx: &ReadTx,
        id: AccountId,
        erased: &HashSet<SubjectId>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let others = account::Entity::find()
            .filter(Column::Id.ne(id.uuid()))
            .filter(has_role(Role::Operator))
            .filter(not_locked(now));
        let mode = self.seals.mode(tx).await?;
        let others = others.all(tx.conn()).await?.into_iter();
        let others = others.filter_map(|model| self.checked(model, mode).ok());
        Ok(others.filter(|other| !erased.contains(&other.account().subject())).count())
    }

    /// `size` accounts at most that `filter` shows, newest first, after `after`.
    pub async fn list(
        &self,
        tx: &ReadTx,
        filter: &Filter,
        page: (Option<AccountId>, usize),
        now: Timestamp,
    ) -> Result<Listed<StoredAccount, AccountId>, StoreError> {
        let (after, size) = page;
        let mut shown = Condition::all();
        if let Some(email) = &filter.email {
            shown = shown.add(email.found());
        }
        if let Some(role) = filter.role {
            shown = shown.add(has_role(role));
        }
        if let Some(locked) = filter.locked {
            shown = shown.add(if locked { not_locked(now).not() } else { not_locked(now) });
        }
        if let Some(after) = after {
            shown = shown.add(Column::Id.lt(after.uuid()));
        }
        let mode = self.seals.mode(tx).await?;
        let list = account::Entity::find().filter(shown).order_by_desc(Column::Id).limit(size as u64 + 1);
        let place = |model: &account::Model| AccountId::from_uuid(model.id);
        Listed::new(list.all(tx.conn()).await?, size, place, |model| self.checked(model, mode))
    }

    /// The account in `model`, checked against its digest once nobody writes rows without one.
    pub(crate) fn checked(&self, model: account::Model, mode: Mode) -> Result<StoredAccount, StoreError> {
        match mode {
            Mode::Old | Mode::Both => {}
            Mode::New => self.seals.digests.check(&model)?,
        }
        Ok(StoredAccount { account: rows::to_account(&model)?, model, new_password: None, new_profile: None })
    }

    /// What stands in `model` in the clear.
    pub(crate) fn plain(model: &account::Model) -> Result<Profile, StoreError> {
        rows::to_profile(model)
    }

    /// What stands in `model` sealed; checks its digest.
    pub(crate) fn sealed(&self, model: &account::Model, key: &SubjectKey) -> Result<Profile, StoreError> {
        self.seals.digests.check(model)?;
        self.cells(model, key)
    }

    /// Opens the cells of `model`.
    pub(crate) fn cells(&self, model: &account::Model, key: &SubjectKey) -> Result<Profile, StoreError> {
        let corrupt = |column, cause| rows::corrupt("account", column, &model.id, cause);
        if key.owner().subject.uuid() != model.subject_id {
            return Err(corrupt("sealed_email", Corruption::KeyMissing));
        }
        let (row, sealing) = (model.row_of_cells(), &self.seals.sealing);
        let absent = |column| corrupt(column, Corruption::ValueInvalid);
        let email = model.sealed_email.as_ref().ok_or_else(|| absent("sealed_email"))?;
        let name = model.sealed_display_name.as_ref().ok_or_else(|| absent("sealed_display_name"))?;
        let email = EMAIL.open(sealing, key, row, email)?;
        let name = DISPLAY_NAME.open(sealing, key, row, name)?;
        let email = Email::parse(email.expose()).map_err(|_| absent("sealed_email"))?;
        Ok(Profile { email, display_name: DisplayName::from(name) })
    }

    /// Checks that a password can be compared with what is stored.
    pub(crate) fn password_is_readable(stored: &StoredAccount) -> Result<(), StoreError> {
        rows::to_password_hash(&stored.model).map(drop)
    }

    /// Puts `profile` into `model` in the form of `mode`, and stamps it.
    pub(crate) fn write(
        &self,
        model: &mut account::Model,
        profile: &Profile,
        mode: Mode,
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        let plain = |text: &str| if mode == Mode::New { String::new() } else { text.to_owned() };
        let (email, name) = (profile.email.expose(), profile.display_name.expose());
        (model.email, model.display_name) = (plain(email), plain(name));
        if mode == Mode::Old {
            (model.sealed_email, model.sealed_display_name) = (None, None);
            (model.sealed_revision, model.row_digest) = (None, None);
            return Ok(());
        }
        self.seal(model, profile, key)?;
        self.seals.digests.stamp(model)
    }

    /// Fills the cells of `model`, for its revision.
    pub(crate) fn seal(
        &self,
        model: &mut account::Model,
        profile: &Profile,
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        rows::check_owner(key, model.subject_id, "account", "sealed_email")?;
        let (row, sealing) = (model.row(), &self.seals.sealing);
        let email = Sensitive::new(profile.email.expose().to_owned());
        model.sealed_email = Some(EMAIL.seal(sealing, key, row, &email)?);
        let name = Sensitive::new(profile.display_name.expose().to_owned());
        model.sealed_display_name = Some(DISPLAY_NAME.seal(sealing, key, row, &name)?);
        model.sealed_revision = None;
        Ok(())
    }

    /// Leaves the cells of `model`, the next revision of a row, as they are, and stamps it.
    fn carry(&self, model: &mut account::Model, mode: Mode) -> Result<(), StoreError> {
        if mode == Mode::New {
            model.sealed_revision = Some(model.sealed_revision.unwrap_or(model.revision - 1));
            return self.seals.digests.stamp(model);
        }
        // What stands in the clear is the truth: the migration seals it for this revision.
        (model.sealed_email, model.sealed_display_name, model.row_digest) = (None, None, None);
        Ok(())
    }

    /// Gives `model` another index.
    pub(crate) fn index(model: &mut account::Model, email: KeyedIndex) {
        model.email_index = email.index;
        model.email_index_generation = email.generation.map(i64::from);
    }
}

fn has_role(role: Role) -> SimpleExpr {
    Expr::col(Column::Roles).bit_and(rows::role_bit(role)).ne(0)
}

fn not_locked(now: Timestamp) -> Condition {
    Condition::any().add(Column::LockedUntil.is_null()).add(Column::LockedUntil.lte(now.as_micros()))
}
