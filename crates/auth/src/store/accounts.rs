//! Accounts.

use portal_core::id::{AccountId, Id};
use portal_core::{Role, Timestamp};
use portal_crypto::password::PasswordHash;
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::sea_query::{Expr, ExprTrait, SimpleExpr};
use sea_orm::{ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

use super::account::{self, Column};
use super::rows;
use crate::domain::Account;

/// The keyed hash of an e-mail address.
pub type EmailIndex = [u8; 32];

/// Which accounts a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only the one with this e-mail address.
    pub email: Option<EmailIndex>,
    /// Only those that hold this role.
    pub role: Option<Role>,
    /// Only those that are locked, or are not.
    pub locked: Option<bool>,
}

/// The account with this id.
pub async fn find(tx: &ReadTx, id: AccountId) -> Result<Option<Account>, StoreError> {
    let row = account::Entity::find_by_id(id.uuid()).one(tx.conn()).await?;
    row.map(rows::to_account).transpose()
}

/// The account with this e-mail address, and its password's hash.
pub async fn find_by_email(
    tx: &ReadTx,
    email: &EmailIndex,
) -> Result<Option<(Account, PasswordHash)>, StoreError> {
    let by_index = Column::EmailIndex.eq(email.as_slice());
    let Some(row) = account::Entity::find().filter(by_index).one(tx.conn()).await? else { return Ok(None) };
    let hash = rows::to_password_hash(row.id, &row.password_hash)?;
    Ok(Some((rows::to_account(row)?, hash)))
}

/// Adds an account.
///
/// # Errors
/// [`StoreError::Duplicate`] if the e-mail address is taken.
pub async fn insert(
    tx: &Tx,
    account: &Account,
    email: &EmailIndex,
    password: &PasswordHash,
) -> Result<(), StoreError> {
    let row = rows::from_account(account, email, password);
    account::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// Stores the next revision of an account.
pub async fn update(tx: &Tx, account: &Account) -> Result<(), StoreError> {
    let done = account::Entity::update_many()
        .col_expr(Column::Roles, Expr::value(rows::role_bits(account.roles())))
        .col_expr(Column::LockedUntil, Expr::value(rows::locked_until(account.lock_set())))
        .col_expr(Column::Revision, Expr::value(account.revision()))
        .col_expr(Column::UpdatedAt, Expr::value(account.updated_at().as_micros()))
        .filter(Column::Id.eq(account.id().uuid()))
        .filter(Column::Revision.eq(account.revision() - 1))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, done.rows_affected)
}

/// How many accounts other than `id` are operators that can sign in at `now`.
pub async fn other_operators(tx: &ReadTx, id: AccountId, now: Timestamp) -> Result<u64, StoreError> {
    let others = account::Entity::find()
        .filter(Column::Id.ne(id.uuid()))
        .filter(has_role(Role::Operator))
        .filter(not_locked(now));
    Ok(others.count(tx.conn()).await?)
}

/// Up to `limit` accounts that `filter` shows, newest first, after `after`.
pub async fn list(
    tx: &ReadTx,
    filter: &Filter,
    after: Option<AccountId>,
    limit: u64,
    now: Timestamp,
) -> Result<Vec<Account>, StoreError> {
    let mut shown = Condition::all();
    if let Some(email) = &filter.email {
        shown = shown.add(Column::EmailIndex.eq(email.as_slice()));
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
    let list = account::Entity::find().filter(shown).order_by_desc(Column::Id).limit(limit);
    list.all(tx.conn()).await?.into_iter().map(rows::to_account).collect()
}

fn has_role(role: Role) -> SimpleExpr {
    Expr::col(Column::Roles).bit_and(rows::role_bit(role)).ne(0)
}

fn not_locked(now: Timestamp) -> Condition {
    Condition::any().add(Column::LockedUntil.is_null()).add(Column::LockedUntil.lte(now.as_micros()))
}
