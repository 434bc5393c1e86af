//! Accounts: creating, reading, roles, locks.

use portal_core::id::{AccountId, Id, SubjectId};
use portal_core::{Role, Timestamp};
use portal_mesh::Permit;
use portal_store::{StoreError, Tx};

use super::{App, Change, Reply, check_reach};
use crate::domain::{Account, DisplayName, Email, Etag, Lock, NewPassword, Roles, Target};
use crate::error::Error;
use crate::service::policy::{CreateAccount, GetAccount, ListAccounts, LockAccount, SetRoles, UnlockAccount};
use crate::store::accounts::Filter;
use crate::store::{accounts, revocations, sessions};

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

impl App {
    /// Creates an account with the role `subject`.
    pub(crate) async fn create_account(
        &self,
        _: Permit<CreateAccount>,
        new: NewAccount,
        change: &Change<Account>,
    ) -> Result<Reply<Account>, Error> {
        let now = change.now;
        let index = &self.email_index(&new.email);
        // Before the transaction: a hash takes longer than any transaction should.
        let hash = &self.passwords.hash(new.password).await?;
        let entropy = self.entropy.as_ref();
        let ids = (AccountId::generate(now, entropy), SubjectId::generate(now, entropy));
        let account = &Account::create(ids, new.email, new.display_name, Roles::subject(), now);
        self.database
            .run_tx("create_account", |tx| async move {
                let insert = async {
                    // Looked for first, so that of two identical requests at once the slower is run again by the
                    // database's rules and finds the other's reply, instead of meeting its e-mail address.
                    if accounts::find_by_email(&tx, index).await?.is_some() {
                        return Err(Error::EmailTaken);
                    }
                    match accounts::insert(&tx, account, index, hash).await {
                        Ok(()) => Ok(account.clone()),
                        Err(StoreError::Duplicate { .. }) => Err(Error::EmailTaken),
                        Err(error) => Err(error.into()),
                    }
                };
                change.once(&tx, insert).await
            })
            .await
    }

    /// Reads an account.
    pub(crate) async fn account(&self, permit: &Permit<GetAccount>, id: AccountId) -> Result<Account, Error> {
        check_reach(permit, id)?;
        self.database
            .read(
                "get_account",
                |tx| async move { accounts::find(&tx, id).await?.ok_or(Error::AccountNotFound) },
            )
            .await
    }

    /// Up to `limit` accounts, newest first.
    pub(crate) async fn list_accounts(
        &self,
        _: Permit<ListAccounts>,
        filter: &Filter,
        after: Option<AccountId>,
        limit: u64,
    ) -> Result<Vec<Account>, Error> {
        let now = self.now();
        self.database
            .read(
                "list_accounts",
                |tx| async move { Ok(accounts::list(&tx, filter, after, limit, now).await?) },
            )
            .await
    }

    /// Replaces the roles of an account. Its sessions go on; signed tokens with the old roles are revoked.
    pub(crate) async fn set_roles(
        &self,
        _: Permit<SetRoles>,
        asked: &AccountChange<Roles>,
        change: &Change<Account>,
    ) -> Result<Reply<Account>, Error> {
        let now = change.now;
        let roles = &asked.to;
        let reply = self
            .database
            .run_tx("set_roles", |tx| async move {
                let set = async {
                    let account = expected(&tx, asked).await?;
                    if !roles.contains(Role::Operator) {
                        keep_an_operator(&tx, &account, now).await?;
                    }
                    let account = account.with_roles(roles.clone(), now);
                    accounts::update(&tx, &account).await?;
                    revocations::append(&tx, &[Target::Account(account.id())], now).await?;
                    Ok(account)
                };
                change.once(&tx, set).await
            })
            .await;
        self.feed.nudge();
        reply
    }

    /// Locks an account and ends its sessions.
    pub(crate) async fn lock_account(
        &self,
        _: Permit<LockAccount>,
        asked: &AccountChange<Lock>,
        change: &Change<Account>,
    ) -> Result<Reply<Account>, Error> {
        let now = change.now;
        let reply = self
            .database
            .run_tx("lock_account", |tx| async move {
                let lock = async {
                    let account = expected(&tx, asked).await?;
                    keep_an_operator(&tx, &account, now).await?;
                    let account = account.locked(asked.to, now);
                    accounts::update(&tx, &account).await?;
                    let live = sessions::live_ids(&tx, account.id(), now).await?;
                    sessions::revoke(&tx, &live, now).await?;
                    revocations::append(&tx, &[Target::Account(account.id())], now).await?;
                    Ok(account)
                };
                change.once(&tx, lock).await
            })
            .await;
        self.feed.nudge();
        reply
    }

    /// Lifts a lock.
    pub(crate) async fn unlock_account(
        &self,
        _: Permit<UnlockAccount>,
        asked: &AccountChange<()>,
        change: &Change<Account>,
    ) -> Result<Reply<Account>, Error> {
        let now = change.now;
        self.database
            .run_tx("unlock_account", |tx| async move {
                let unlock = async {
                    let account = expected(&tx, asked).await?.unlocked(now);
                    accounts::update(&tx, &account).await?;
                    Ok(account)
                };
                change.once(&tx, unlock).await
            })
            .await
    }
}

async fn expected<T>(tx: &Tx, asked: &AccountChange<T>) -> Result<Account, Error> {
    let account = accounts::find(tx, asked.account).await?.ok_or(Error::AccountNotFound)?;
    account.expect(asked.etag.as_ref())?;
    Ok(account)
}

/// Refuses to take away the last operator who can sign in.
async fn keep_an_operator(tx: &Tx, account: &Account, now: Timestamp) -> Result<(), Error> {
    let is_operator = account.roles().contains(Role::Operator);
    if is_operator && accounts::other_operators(tx, account.id(), now).await? == 0 {
        return Err(Error::LastOperator);
    }
    Ok(())
}
