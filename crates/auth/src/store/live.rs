//! A pair of tokens with the session and the account that it is of: one question, where each would be one. It is asked for each
//! call that comes with a token the gateway does not remember.

use portal_store::{ReadTx, StoreError};
use sea_orm::sea_query::{Alias, Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, IdenStatic, Iterable, QueryResult,
};

use super::accounts::{Accounts, StoredAccount};
use super::contexts::{Contexts, StoredContext};
use super::sessions::{Sessions, StoredSession};
use super::token_pairs::{StoredTokens, TokenPairs};
use super::{Seals, account, session, session_context, token_pair};
use crate::domain::HandleHash;

/// Before the names of the columns of each table.
const PAIR: &str = "p_";
const SESSION: &str = "s_";
const ACCOUNT: &str = "a_";
const CONTEXT: &str = "c_";

/// By which of its tokens a pair is looked for.
#[derive(Clone, Copy)]
pub enum Token<'a> {
    /// The access token.
    Access(&'a HandleHash),
    /// The refresh token.
    Refresh(&'a HandleHash),
}

/// A pair, and all that it belongs to, checked and not opened.
pub struct Live {
    /// The pair.
    pub tokens: StoredTokens,
    /// Its session.
    pub session: StoredSession,
    /// Whose session that is.
    pub account: StoredAccount,
    /// What more is known of the session.
    pub context: Option<StoredContext>,
}

/// The tables.
pub struct Lives {
    seals: Seals,
    pairs: TokenPairs,
    sessions: Sessions,
    accounts: Accounts,
    contexts: Contexts,
}

impl Lives {
    /// The tables, checked with `seals`.
    #[must_use]
    pub fn new(seals: &Seals) -> Self {
        Self {
            seals: seals.clone(),
            pairs: TokenPairs::new(seals.clone()),
            sessions: Sessions::new(seals.clone()),
            accounts: Accounts::new(seals.clone()),
            contexts: Contexts::new(seals.sealing.clone(), seals.digests.clone()),
        }
    }

    /// The pair with this token. Whether it, its session or its account is over is for the caller to say.
    pub async fn find(&self, tx: &ReadTx, token: Token<'_>) -> Result<Option<Live>, StoreError> {
        let statement = tx.conn().get_database_backend().build(&question(token));
        let Some(row) = tx.conn().query_one_raw(statement).await? else { return Ok(None) };
        let mode = self.seals.mode(tx).await?;
        Ok(Some(Live {
            tokens: self.pairs.checked(model(&row, PAIR)?, mode)?,
            session: self.sessions.checked(model(&row, SESSION)?, mode)?,
            account: self.accounts.checked(model(&row, ACCOUNT)?, mode)?,
            context: session_context::Model::from_query_result_optional(&row, CONTEXT)?
                .map(|context| self.contexts.checked(context))
                .transpose()?,
        }))
    }
}

fn model<M: FromQueryResult>(row: &QueryResult, prefix: &str) -> Result<M, StoreError> {
    Ok(M::from_query_result(row, prefix)?)
}

fn question(token: Token<'_>) -> SelectStatement {
    let (column, hash) = match token {
        Token::Access(hash) => (token_pair::Column::AccessHash, hash),
        Token::Refresh(hash) => (token_pair::Column::RefreshHash, hash),
    };
    let mut select = Query::select();
    columns::<token_pair::Entity>(&mut select, PAIR);
    columns::<session::Entity>(&mut select, SESSION);
    columns::<account::Entity>(&mut select, ACCOUNT);
    columns::<session_context::Entity>(&mut select, CONTEXT);
    let of = |column: token_pair::Column| Expr::col((token_pair::Entity, column));
    let session = |column: session::Column| Expr::col((session::Entity, column));
    let context = Expr::col((session_context::Entity, session_context::Column::SessionId));
    select
        .from(token_pair::Entity)
        .inner_join(
            session::Entity,
            of(token_pair::Column::SessionId).equals((session::Entity, session::Column::Id)),
        )
        .inner_join(
            account::Entity,
            session(session::Column::AccountId).equals((account::Entity, account::Column::Id)),
        )
        .left_join(session_context::Entity, context.equals((session::Entity, session::Column::Id)))
        .and_where(of(column).eq(hash.as_bytes().to_vec()));
    select
}

fn columns<E: EntityTrait>(select: &mut SelectStatement, prefix: &str) {
    for column in E::Column::iter() {
        let name = Alias::new(format!("{prefix}{}", column.as_str()));
        select.expr_as(Expr::col(column.as_column_ref()), name);
    }
}
