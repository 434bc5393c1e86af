//! Accounts: creating, reading, roles, locks.

use portal_core::id::{AccountId, Id, SubjectId};
use portal_core::{Role, Timestamp};
use portal_crypto::envelope::SubjectKey;
use portal_keys::KeysError;
use portal_mesh::Permit;
use portal_store::idempotency::KeptReply;
use portal_store::{ReadTx, StoreError, Tx};
use portal_upkeep::audit::Happened;

use super::change::Outcome;
use super::post::Addressee;
use super::subject_keys::KnownOf;
use super::{App, Change, Reply, check_reach};
use crate::domain::{
    Account, Contact, DisplayName, Email, Etag, Lock, NewPassword, Profile, Profiled, Purpose, Roles, Target,
    Tombstone,
};
use crate::error::Error;
use crate::service::policy::{CreateAccount, GetAccount, ListAccounts, LockAccount, SetRoles, UnlockAccount};
use crate::store::Listed;
use crate::store::accounts::{Filter, StoredAccount};
use crate::store::contacts::Contacts;
use crate::store::email_index::EmailIndexes;

/// Somebody who wants an account.
pub struct NewAccount {
    /// What the person will sign in with.
    pub email: Email,
    /// The same.
    pub password: NewPassword,
    /// The name shown to people.
    pub display_name: DisplayName,
}

/// A change of one account.
pub struct AccountChange<T> {
    /// Which.
    pub account: AccountId,
    /// The version the caller has read; `None` changes whatever stands.
    pub etag: Option<Etag>,
    /// What it becomes.
    pub to: T,
}

/// What is shown by the id of an account.
pub enum Shown {
    /// The account.
    Account(Box<Profiled>),
    /// What is left of it.
    Tombstone(Tombstone),
}

/// What is known before an account is created.
enum Known {
    Answered(KeptReply),
    Free,
    Taken,
}

impl App {
    /// Creates an account with the role `subject`.
    pub(crate) async fn create_account(
        &self,
        permit: Permit<CreateAccount>,
        new: NewAccount,
        change: &Change<Profiled>,
    ) -> Result<Reply<Profiled>, Error> {
        let client = permit.caller().client_address();
        let attempt = self.attempts.admit(client, &self.address_hash(&new.email))?;
        let emails = &self.emails.of(&new.email).await?;
        // Before the transaction: a hash takes longer than any transaction should.
        let profile = Profile { email: new.email, display_name: new.display_name };
        let hash = &self.passwords.hash(attempt, new.password, &profile).await?;
        // Looked for before a key is made, so that nobody leaves keys behind by asking for what can't be had.
        match self.known(emails, change).await? {
            Known::Answered(kept) => return self.reply(change, Outcome::Again(kept)).await,
            Known::Taken => return Err(Error::EmailTaken),
            Known::Free => {}
        }
        let (now, entropy) = (change.now, self.entropy.as_ref());
        let ids = (AccountId::generate(now, entropy), SubjectId::generate(now, entropy));
        let key = &*self.keys.subject_or_new(ids.1).await?;
        let (account, profile) = (&Account::create(ids, Roles::subject(), now), &profile);
        let happened = &created(&permit.caller().key(), account);
        let outcome = self
            .database
            .run_tx("create_account", |tx| async move {
                let insert = async {
                    // Again in the transaction, so that of two identical requests at once the slower is run again by
                    // the database's rules and finds the other's reply, instead of meeting its e-mail address; and so
                    // that an address is found that was indexed under another key.
                    if self.accounts.is_taken(&tx, emails).await? {
                        return Err(Error::EmailTaken);
                    }
                    match self.accounts.insert(&tx, (account, profile), (emails, hash), key).await {
                        Ok(()) => {}
                        Err(StoreError::Duplicate { .. }) => return Err(Error::EmailTaken),
                        Err(error) => return Err(error.into()),
                    }
                    let to = Addressee { account: account.id(), email: &profile.email, key };
                    self.post_token(&tx, to, Purpose::Verify, now).await?;
                    self.note(&tx, happened.clone(), now).await?;
                    let (account, profile) = (account.clone(), Some(profile.clone()));
                    Ok(Profiled { account, profile, contact: Contact::default() })
                };
                self.once(&tx, change, Some(key), insert).await
            })
            .await?;
        self.due.notify_one();
        self.reply(change, outcome).await
    }

    async fn known(&self, emails: &EmailIndexes, change: &Change<Profiled>) -> Result<Known, Error> {
        self.database
            .read("find_taken", |tx| async move {
                if let Some(kept) = change.before(&tx, &self.seals).await? {
                    return Ok(Known::Answered(kept));
                }
                let taken = self.accounts.is_taken(&tx, emails).await?;
                Ok(if taken { Known::Taken } else { Known::Free })
            })
            .await
    }

    /// Reads an account, or what is left of it.
    pub(crate) async fn account(&self, permit: &Permit<GetAccount>, id: AccountId) -> Result<Shown, Error> {
        check_reach(permit, id)?;
        self.shown(id).await
    }

    /// The same, whoever asks.
    pub(super) async fn shown(&self, id: AccountId) -> Result<Shown, Error> {
        let find = |tx| async move {
            let Some(stored) = self.accounts.find(&tx, id).await? else {
                let stone = self.tombstones.find(&tx, id).await?.ok_or(Error::AccountNotFound)?;
                return Ok::<_, Error>(Err(stone));
            };
            Ok(Ok((stored, self.contacts.find(&tx, id).await?)))
        };
        let (stored, contact) = match self.database.read("get_account", find).await? {
            Ok(found) => found,
            Err(stone) => return Ok(Shown::Tombstone(stone)),
        };
        let key =
            if stored.is_sealed() || contact.is_some() { Some(self.key_of(&stored).await?) } else { None };
        let profiled = self.accounts.profiled(&stored, key.as_deref())?;
        let contact =
            contact.zip(key).map(|(contact, key)| self.contacts.open(&contact, &key)).transpose()?;
        Ok(Shown::Account(Box::new(Profiled { contact: contact.unwrap_or_default(), ..profiled })))
    }

    /// What is left of `size` deleted accounts at most, newest first.
    pub(crate) async fn list_tombstones(
        &self,
        _: Permit<ListAccounts>,
        after: Option<AccountId>,
        size: usize,
    ) -> Result<Listed<Tombstone, AccountId>, Error> {
        let list = |tx| async move { Ok::<_, Error>(self.tombstones.list(&tx, (after, size)).await?) };
        self.database.read("list_tombstones", list).await
    }

    /// `size` accounts at most, newest first.
    pub(crate) async fn list_accounts(
        &self,
        _: Permit<ListAccounts>,
        filter: &Filter,
        after: Option<AccountId>,
        size: usize,
    ) -> Result<Listed<Profiled, AccountId>, Error> {
        let now = self.now();
        let list = |tx| async move {
            let listed = self.accounts.list(&tx, filter, (after, size), now).await?;
            let ids = listed.rows.iter().map(|stored| stored.account().id());
            let contacts = self.contacts.find_all(&tx, ids).await?;
            Ok::<_, Error>((listed, contacts))
        };
        let (listed, mut contacts) = self.database.read("list_accounts", list).await?;
        let sealed = listed.rows.iter().filter(|stored| stored.is_sealed());
        let subjects: Vec<_> = sealed.map(|stored| stored.account().subject()).collect();
        let keys = &self.keys.subjects(&subjects).await?;
        listed.opened(|stored| {
            let key = match stored.is_sealed().then(|| keys.get(stored.account().subject())).transpose() {
                Ok(key) => key,
                Err(KeysError::Erased(_)) => return Ok(None),
                // Told as the row's fault.
                Err(KeysError::Corrupt { .. } | KeysError::Missing(_)) => None,
                Err(error) => return Err(error.into()),
            };
            let profiled = self.accounts.profiled(&stored, key.map(|key| &**key))?;
            let contact = contacts.remove(&stored.account().id()).transpose()?.zip(key);
            let contact = contact.map(|(contact, key)| self.contacts.open(&contact, key)).transpose()?;
            Ok(Some(Profiled { contact: contact.unwrap_or_default(), ..profiled }))
        })
    }

    /// Replaces the roles of an account. Its sessions go on; signed tokens with the old roles are revoked.
    pub(crate) async fn set_roles(
        &self,
        permit: Permit<SetRoles>,
        asked: &AccountChange<Roles>,
        change: &Change<Profiled>,
    ) -> Result<Reply<Profiled>, Error> {
        let now = change.now;
        let roles = &asked.to;
        let happened = &Happened::new("account.set_roles", permit.caller().key())
            .on(asked.account)
            .with("roles", names(roles));
        let known = &self.known_of(asked.account).await?;
        let key = known.key.as_deref();
        let outcome = self
            .database
            .run_tx("set_roles", |tx| async move {
                let set = async {
                    let stored = self.expected(&tx, asked).await?;
                    if !roles.contains(Role::Operator) {
                        self.keep_an_operator(&tx, stored.account(), (known, now)).await?;
                    }
                    let account = stored.account().clone().with_roles(roles.clone(), now);
                    self.revocations.append(&tx, &[Target::Account(account.id())], now).await?;
                    self.note(&tx, happened.clone(), now).await?;
                    let updated = self.accounts.update(&tx, stored, account, key).await?;
                    self.with_contact(&tx, updated, key).await
                };
                self.once(&tx, change, key, set).await
            })
            .await;
        self.feed.nudge();
        self.reply(change, outcome?).await
    }

    /// Locks an account and ends its sessions.
    pub(crate) async fn lock_account(
        &self,
        permit: Permit<LockAccount>,
        asked: &AccountChange<Lock>,
        change: &Change<Profiled>,
    ) -> Result<Reply<Profiled>, Error> {
        let now = change.now;
        let happened = &Happened::new("account.lock", permit.caller().key()).on(asked.account);
        let known = &self.known_of(asked.account).await?;
        let key = known.key.as_deref();
        let outcome = self
            .database
            .run_tx("lock_account", |tx| async move {
                let lock = async {
                    let stored = self.expected(&tx, asked).await?;
                    self.keep_an_operator(&tx, stored.account(), (known, now)).await?;
                    let account = stored.account().clone().locked(asked.to, now);
                    let live = self.sessions.live_ids(&tx, account.id(), now).await?;
                    self.sessions.revoke(&tx, &live, now).await?;
                    self.revocations.append(&tx, &[Target::Account(account.id())], now).await?;
                    self.sign_account_out_of_clients(&tx, (account.id(), None), now).await?;
                    self.note(&tx, happened.clone().with("sessions_ended", live.len()), now).await?;
                    self.keep_address(&tx, account.id(), key).await?;
                    self.forget_clients(&tx, account.id()).await?;
                    let updated = self.accounts.update(&tx, stored, account, key).await?;
                    self.with_contact(&tx, updated, key).await
                };
                self.once(&tx, change, key, lock).await
            })
            .await;
        self.feed.nudge();
        self.reply(change, outcome?).await
    }

    /// Lifts a lock.
    pub(crate) async fn unlock_account(
        &self,
        permit: Permit<UnlockAccount>,
        asked: &AccountChange<()>,
        change: &Change<Profiled>,
    ) -> Result<Reply<Profiled>, Error> {
        let now = change.now;
        let happened = &Happened::new("account.unlock", permit.caller().key()).on(asked.account);
        let known = &self.known_of(asked.account).await?;
        let key = known.key.as_deref();
        let outcome = self
            .database
            .run_tx("unlock_account", |tx| async move {
                let unlock = async {
                    let stored = self.expected(&tx, asked).await?;
                    let account = stored.account().clone().unlocked(now);
                    // So are failures to sign in, unless the address can't be had.
                    if key.is_some() || !stored.is_sealed() {
                        let address = self.address_hash(&self.accounts.open(&stored, key)?.email);
                        self.failures.clear(&tx, &address).await?;
                    }
                    self.failures.clear(&tx, &self.factor_hash(account.id())).await?;
                    self.note(&tx, happened.clone(), now).await?;
                    let updated = self.accounts.update(&tx, stored, account, key).await?;
                    self.with_contact(&tx, updated, key).await
                };
                self.once(&tx, change, key, unlock).await
            })
            .await?;
        self.reply(change, outcome).await
    }

    /// The same account with what is known of its e-mail address; without the key of its person, as far as that can be told.
    pub(super) async fn with_contact(
        &self,
        tx: &ReadTx,
        profiled: Profiled,
        key: Option<&SubjectKey>,
    ) -> Result<Profiled, Error> {
        let Some(stored) = self.contacts.find(tx, profiled.account.id()).await? else { return Ok(profiled) };
        let contact = match key {
            Some(key) => self.contacts.open(&stored, key)?,
            None => Contacts::unopened(&stored),
        };
        Ok(Profiled { contact, ..profiled })
    }

    pub(super) async fn expected<T>(
        &self,
        tx: &Tx,
        asked: &AccountChange<T>,
    ) -> Result<StoredAccount, Error> {
        let stored = self.accounts.find(tx, asked.account).await?.ok_or(Error::AccountNotFound)?;
        stored.account().expect(asked.etag.as_ref())?;
        Ok(stored)
    }

    /// Refuses to take away the last operator who can sign in. Whoever was erased can't.
    pub(super) async fn keep_an_operator(
        &self,
        tx: &Tx,
        account: &Account,
        (known, now): (&KnownOf, Timestamp),
    ) -> Result<(), Error> {
        let is_operator = account.roles().contains(Role::Operator);
        if !is_operator || known.erased.contains(&account.subject()) {
            return Ok(());
        }
        match self.accounts.other_operators(tx, account.id(), &known.erased, now).await? {
            0 => Err(Error::LastOperator),
            _ => Ok(()),
        }
    }
}

/// That `account` is created by `actor`.
pub(super) fn created(actor: &str, account: &Account) -> Happened {
    Happened::new("account.create", actor).on(account.id()).with("roles", names(account.roles()))
}

fn names(roles: &Roles) -> String {
    roles.iter().map(Role::name).collect::<Vec<_>>().join(",")
}
