//! Rows to domain types and back. A row that does not hold what its columns promise is a typed error.

use portal_core::id::{AccountId, Id, SessionId, SubjectId};
use portal_core::{Role, Timestamp};
use portal_crypto::envelope::{SealError, SubjectKey};
use portal_crypto::hash::Sha256;
use portal_crypto::password::PasswordHash;
use portal_crypto::token::KeyId;
use portal_store::{Corruption, Inserts, StoreError};
use sea_orm::prelude::Uuid;
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, Iterable};

use super::email_index::KeyedIndex;
use super::{account, revocation, session, token_pair};
use crate::domain::account::Parts;
use crate::domain::session::StoredPair;
use crate::domain::{Account, DisplayName, Email, Lock, Profile, Revocation, Roles, Session, Target};

/// The kind of a revoked key; its id follows, since a UUID is too short for it.
const SIGNING_KEY: &str = "signing_key/";
const FOREVER: i64 = i64::MAX;

/// The bit of a role; bits never change their meaning.
pub const fn role_bit(role: Role) -> i64 {
    match role {
        Role::Subject => 1,
        Role::Controller => 2,
        Role::Officer => 4,
        Role::Auditor => 8,
        Role::Operator => 16,
        Role::Service => 32,
    }
}

pub fn role_bits(roles: &Roles) -> i64 {
    roles.iter().map(role_bit).sum()
}

fn roles(bits: i64) -> Option<Roles> {
    let roles = Roles::new(Role::ALL.into_iter().filter(|role| bits & role_bit(*role) != 0)).ok()?;
    (role_bits(&roles) == bits).then_some(roles)
}

pub const fn locked_until(lock: Option<Lock>) -> Option<i64> {
    match lock {
        None => None,
        Some(Lock::Open) => Some(FOREVER),
        Some(Lock::Until(end)) => Some(end.as_micros()),
    }
}

const fn lock(locked_until: Option<i64>) -> Option<Lock> {
    match locked_until {
        None => None,
        Some(FOREVER) => Some(Lock::Open),
        Some(end) => Some(Lock::Until(Timestamp::from_micros(end))),
    }
}

/// Adds a row to what is inserted.
pub fn add<E>(inserts: &mut Inserts, model: E::Model) -> Result<(), StoreError>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<E::ActiveModel>,
{
    add_all::<E>(inserts, [model])
}

/// Adds rows of one table, however many.
pub fn add_all<E>(inserts: &mut Inserts, models: impl IntoIterator<Item = E::Model>) -> Result<(), StoreError>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<E::ActiveModel>,
{
    let columns: Vec<E::Column> = E::Column::iter().collect();
    let values = |model: E::Model| {
        let row = model.into_active_model();
        columns.iter().filter_map(|column| row.get(*column).into_value()).collect()
    };
    inserts.add::<E>(&columns, models.into_iter().map(values).collect())
}

/// A row that does not hold what it must.
pub fn corrupt(
    table: &'static str,
    column: &'static str,
    row: &impl ToString,
    cause: Corruption,
) -> StoreError {
    StoreError::Corrupt { table, column, row: row.to_string(), cause }
}

fn invalid(table: &'static str, column: &'static str, row: &impl ToString) -> StoreError {
    corrupt(table, column, row, Corruption::ValueInvalid)
}

/// Checks that `key` is the one of the person that a row is about: under another one nobody could open it.
pub fn check_owner(
    key: &SubjectKey,
    subject: Uuid,
    table: &'static str,
    column: &'static str,
) -> Result<(), StoreError> {
    if key.owner().subject.uuid() == subject {
        return Ok(());
    }
    Err(StoreError::Sealing { table, column, source: SealError::Owner })
}

pub fn to_account(row: &account::Model) -> Result<Account, StoreError> {
    let roles = roles(row.roles).ok_or_else(|| invalid("account", "roles", &row.id))?;
    Ok(Account::from_parts(Parts {
        id: AccountId::from_uuid(row.id),
        subject: SubjectId::from_uuid(row.subject_id),
        roles,
        lock: lock(row.locked_until),
        revision: row.revision,
        created_at: Timestamp::from_micros(row.created_at),
        updated_at: Timestamp::from_micros(row.updated_at),
    }))
}

pub fn to_password_hash(row: &account::Model) -> Result<PasswordHash, StoreError> {
    PasswordHash::parse(&row.password_hash).map_err(|_| invalid("account", "password_hash", &row.id))
}

/// What stands in the clear.
pub fn to_profile(row: &account::Model) -> Result<Profile, StoreError> {
    let email = Email::parse(&row.email).map_err(|_| invalid("account", "email", &row.id))?;
    Ok(Profile { email, display_name: DisplayName::new(row.display_name.clone()) })
}

/// A new row without anything personal, not stamped.
pub fn from_account(account: &Account, email: KeyedIndex, password: &PasswordHash) -> account::Model {
    account::Model {
        id: account.id().uuid(),
        subject_id: account.subject().uuid(),
        email_index: email.index,
        email: String::new(),
        display_name: String::new(),
        password_hash: password.as_str().to_owned(),
        roles: role_bits(account.roles()),
        locked_until: locked_until(account.lock_set()),
        revision: account.revision(),
        created_at: account.created_at().as_micros(),
        updated_at: account.updated_at().as_micros(),
        sealed_email: None,
        sealed_display_name: None,
        email_index_generation: email.generation.map(i64::from),
        sealed_revision: None,
        row_digest: None,
    }
}

/// The row of the next revision, not stamped.
pub fn changed(row: account::Model, account: &Account) -> account::Model {
    account::Model {
        roles: role_bits(account.roles()),
        locked_until: locked_until(account.lock_set()),
        revision: account.revision(),
        updated_at: account.updated_at().as_micros(),
        ..row
    }
}

pub fn to_session(row: &session::Model) -> Session {
    Session {
        id: SessionId::from_uuid(row.id),
        account: AccountId::from_uuid(row.account_id),
        remember_me: row.remember_me,
        created_at: Timestamp::from_micros(row.created_at),
        last_used_at: Timestamp::from_micros(row.last_used_at),
        access_expires_at: Timestamp::from_micros(row.access_expires_at),
        refresh_expires_at: Timestamp::from_micros(row.refresh_expires_at),
        revoked_at: row.revoked_at.map(Timestamp::from_micros),
    }
}

/// A new row without anything personal, not stamped.
pub fn from_session(session: &Session, subject: SubjectId) -> session::Model {
    session::Model {
        id: session.id.uuid(),
        account_id: session.account.uuid(),
        device_name: String::new(),
        remember_me: session.remember_me,
        created_at: session.created_at.as_micros(),
        last_used_at: session.last_used_at.as_micros(),
        access_expires_at: session.access_expires_at.as_micros(),
        refresh_expires_at: session.refresh_expires_at.as_micros(),
        revoked_at: session.revoked_at.map(Timestamp::as_micros),
        subject_id: Some(subject.uuid()),
        sealed_device_name: None,
        row_digest: None,
    }
}

/// The row with the times that `session` has now, not stamped.
pub fn renewed(row: session::Model, session: &Session) -> session::Model {
    session::Model {
        last_used_at: session.last_used_at.as_micros(),
        access_expires_at: session.access_expires_at.as_micros(),
        refresh_expires_at: session.refresh_expires_at.as_micros(),
        ..row
    }
}

pub fn to_pair(row: &token_pair::Model) -> StoredPair {
    StoredPair {
        session: SessionId::from_uuid(row.session_id),
        issued_at: Timestamp::from_micros(row.issued_at),
        access_expires_at: Timestamp::from_micros(row.access_expires_at),
        refresh_expires_at: Timestamp::from_micros(row.refresh_expires_at),
        spent_at: row.spent_at.map(Timestamp::from_micros),
    }
}

pub fn to_revocation(row: &revocation::Model) -> Result<Revocation, StoreError> {
    let target = match row.kind.as_str() {
        "account" => Target::Account(AccountId::from_uuid(row.target_id)),
        "session" => Target::Session(SessionId::from_uuid(row.target_id)),
        kind => {
            let thumbprint = kind.strip_prefix(SIGNING_KEY).and_then(KeyId::parse).map(|id| id.thumbprint());
            let thumbprint = thumbprint.filter(|thumbprint| key_target(thumbprint) == row.target_id);
            Target::SigningKey(thumbprint.ok_or_else(|| invalid("revocation", "kind", &row.position))?)
        }
    };
    Ok(Revocation { position: row.position, at: Timestamp::from_micros(row.revoked_at), target })
}

/// A new row, not stamped.
pub fn from_revocation(revocation: &Revocation) -> revocation::Model {
    let (kind, target_id) = match revocation.target {
        Target::Account(id) => ("account".to_owned(), id.uuid()),
        Target::Session(id) => ("session".to_owned(), id.uuid()),
        Target::SigningKey(thumbprint) => {
            (format!("{SIGNING_KEY}{}", KeyId::from_thumbprint(&thumbprint)), key_target(&thumbprint))
        }
    };
    revocation::Model {
        position: revocation.position,
        revoked_at: revocation.at.as_micros(),
        kind,
        target_id,
        row_digest: None,
    }
}

/// What stands for a key where others have a UUID: half of its thumbprint. The rest does not fit.
fn key_target(thumbprint: &Sha256) -> Uuid {
    let [target @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *thumbprint;
    Uuid::from_bytes(target)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn roles_round_trip_and_unknown_bits_are_refused() {
        let some = Roles::new([Role::Operator, Role::Auditor]).unwrap();
        assert_eq!(roles(role_bits(&some)), Some(some));
        for bits in [0, 2, 33, 65] {
            assert_eq!(roles(bits), None, "{bits}");
        }
    }

    #[test]
    fn locks_round_trip() {
        for some in [None, Some(Lock::Open), Some(Lock::Until(Timestamp::from_seconds(5)))] {
            assert_eq!(lock(locked_until(some)), some);
        }
    }
}
