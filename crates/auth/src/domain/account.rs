//! A person or a member of staff who can sign in.
//!
//! What decides ([`Account`]: roles, lock) is apart from what is personal ([`Profile`]): most calls need no personal data,
//! and so no key to open it with.
//!
//! Invariants: every account has the role `subject`, none has `service`; each change makes a new revision, whose number
//! is the etag.

use std::collections::BTreeSet;
use std::fmt;

use portal_core::id::{AccountId, SubjectId};
use portal_core::{Role, Sensitive, Timestamp};

use super::{Contact, Email};

/// The roles of an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Roles(BTreeSet<Role>);

/// `service` belongs to OAuth clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must not have the role service, which belongs to OAuth clients")]
pub struct NotForAccounts;

impl Roles {
    /// `subject` and nothing else.
    #[must_use]
    pub fn subject() -> Self {
        Self(BTreeSet::from([Role::Subject]))
    }

    /// `roles`, and `subject` as every account has.
    ///
    /// # Errors
    /// [`NotForAccounts`] if `service` is among them.
    pub fn new(roles: impl IntoIterator<Item = Role>) -> Result<Self, NotForAccounts> {
        let roles: BTreeSet<_> = roles.into_iter().chain([Role::Subject]).collect();
        if roles.contains(&Role::Service) { Err(NotForAccounts) } else { Ok(Self(roles)) }
    }

    /// Whether `role` is among them.
    #[must_use]
    pub fn contains(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = Role> + '_ {
        self.0.iter().copied()
    }
}

/// The name shown to people. `Debug` does not show it.
#[derive(Clone)]
pub struct DisplayName(Sensitive<String>);

impl DisplayName {
    /// A name whose length was checked.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self(Sensitive::new(name))
    }

    /// The name.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl From<Sensitive<String>> for DisplayName {
    fn from(name: Sensitive<String>) -> Self {
        Self(name)
    }
}

impl fmt::Debug for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[name]")
    }
}

/// How long an account is locked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lock {
    /// Until somebody lifts it.
    Open,
    /// Until then.
    Until(Timestamp),
}

/// The version of an account that a caller has read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Etag(pub String);

/// The account was changed since the caller read it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the account was changed since it was read")]
pub struct EtagMismatch;

/// What is personal about an account.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What the person signs in with.
    pub email: Email,
    /// The name shown to people.
    pub display_name: DisplayName,
}

impl Profile {
    /// What somebody who knows the person tries as a password first.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        let (email, name) = (self.email.expose(), self.display_name.expose());
        let local = email.split('@').next().unwrap_or_default();
        let parts = [email, name].into_iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
        [email, local, name].into_iter().chain(parts).filter(|word| !word.is_empty()).collect()
    }
}

/// An account with what is personal about it.
#[derive(Clone, Debug)]
pub struct Profiled {
    /// What decides.
    pub account: Account,
    /// What is personal; `None` if it can't be opened.
    pub profile: Option<Profile>,
    /// Whether it was confirmed, and what it is to become.
    pub contact: Contact,
}

/// An account, without anything personal.
#[derive(Clone, Debug)]
pub struct Account {
    id: AccountId,
    subject: SubjectId,
    roles: Roles,
    lock: Option<Lock>,
    revision: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// All parts of an account, as they are stored.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Its id.
    pub id: AccountId,
    /// The person it belongs to.
    pub subject: SubjectId,
    /// What it may do.
    pub roles: Roles,
    /// Whether it is locked, and how long.
    pub lock: Option<Lock>,
    /// Counts its changes, from 1.
    pub revision: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Account {
    /// A new account.
    #[must_use]
    pub fn create(ids: (AccountId, SubjectId), roles: Roles, now: Timestamp) -> Self {
        let (id, subject) = ids;
        Self { id, subject, roles, lock: None, revision: 1, created_at: now, updated_at: now }
    }

    /// An account as it was stored.
    #[must_use]
    pub fn from_parts(parts: Parts) -> Self {
        let Parts { id, subject, roles, lock, revision, created_at, updated_at } = parts;
        Self { id, subject, roles, lock, revision, created_at, updated_at }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> AccountId {
        self.id
    }

    /// The person it belongs to.
    #[must_use]
    pub const fn subject(&self) -> SubjectId {
        self.subject
    }

    /// What it may do.
    #[must_use]
    pub const fn roles(&self) -> &Roles {
        &self.roles
    }

    /// The lock as it was set, run out or not.
    #[must_use]
    pub const fn lock_set(&self) -> Option<Lock> {
        self.lock
    }

    /// The lock, if it holds at `now`.
    #[must_use]
    pub fn lock_at(&self, now: Timestamp) -> Option<Lock> {
        self.lock.filter(|lock| match lock {
            Lock::Open => true,
            Lock::Until(end) => *end > now,
        })
    }

    /// Counts its changes, from 1.
    #[must_use]
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// Its version, for callers.
    #[must_use]
    pub fn etag(&self) -> Etag {
        Etag(self.revision.to_string())
    }

    /// When it was created.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When it last changed.
    #[must_use]
    pub const fn updated_at(&self) -> Timestamp {
        self.updated_at
    }

    /// Checks that it is still what the caller read; `None` takes whatever stands.
    ///
    /// # Errors
    /// [`EtagMismatch`] if not.
    pub fn expect(&self, etag: Option<&Etag>) -> Result<(), EtagMismatch> {
        if etag.is_none_or(|etag| *etag == self.etag()) { Ok(()) } else { Err(EtagMismatch) }
    }

    /// The account with other roles.
    #[must_use]
    pub fn with_roles(self, roles: Roles, now: Timestamp) -> Self {
        Self { roles, ..self }.changed(now)
    }

    /// The account with another password, or with another hash of the same.
    #[must_use]
    pub fn with_password(self, now: Timestamp) -> Self {
        self.changed(now)
    }

    /// The account with another name or e-mail address, or with another state of that.
    #[must_use]
    pub fn with_profile(self, now: Timestamp) -> Self {
        self.changed(now)
    }

    /// The account, locked.
    #[must_use]
    pub fn locked(self, lock: Lock, now: Timestamp) -> Self {
        Self { lock: Some(lock), ..self }.changed(now)
    }

    /// The account without a lock.
    #[must_use]
    pub fn unlocked(self, now: Timestamp) -> Self {
        Self { lock: None, ..self }.changed(now)
    }

    fn changed(self, now: Timestamp) -> Self {
        Self { revision: self.revision + 1, updated_at: now, ..self }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::SeededEntropy;
    use portal_core::id::Id;

    use super::*;

    fn account(now: Timestamp) -> Account {
        let entropy = SeededEntropy::new(1);
        let ids = (AccountId::generate(now, &entropy), SubjectId::generate(now, &entropy));
        Account::create(ids, Roles::subject(), now)
    }

    #[test]
    fn a_lock_runs_out() {
        let (start, end) = (Timestamp::from_seconds(1), Timestamp::from_seconds(2));
        let locked = account(start).locked(Lock::Until(end), start);
        assert_eq!(locked.lock_at(start), Some(Lock::Until(end)));
        assert_eq!(locked.lock_at(end), None);
        assert_eq!(account(start).locked(Lock::Open, start).lock_at(end), Some(Lock::Open));
        assert_eq!(locked.unlocked(start).lock_at(start), None);
    }

    #[test]
    fn each_change_has_its_etag() {
        let now = Timestamp::from_seconds(1);
        let first = account(now);
        let etag = first.etag();
        assert_eq!(first.expect(Some(&etag)), Ok(()));
        let second = first.with_roles(Roles::new([Role::Auditor]).unwrap(), now);
        assert_eq!(second.expect(Some(&etag)), Err(EtagMismatch));
        assert_eq!(second.expect(None), Ok(()));
        assert!(second.roles().contains(Role::Subject));
        assert!(Roles::new([Role::Service]).is_err());
    }

    #[test]
    fn debug_shows_no_personal_data() {
        let profile = Profile {
            email: Email::parse("anna@example.org").unwrap(),
            display_name: DisplayName::new("Anna".to_owned()),
        };
        let account = account(Timestamp::from_seconds(1));
        let text = format!("{:?}", Profiled { account, profile: Some(profile), contact: Contact::default() });
        assert!(!text.to_lowercase().contains("anna"), "{text}");
    }
}
