//! A pair of tokens with the session and the account that it is of: one question, where each would be one. It is asked for each
//! call that comes with a token the gateway does not remember.

use std::collections::HashMap;

use portal_store::{ReadTx, StoreError};
use portal_upkeep::migration::Mode;
use sea_orm::sea_query::extension::postgres::PgFunc;
use sea_orm::sea_query::{Alias, ArrayType, Expr, ExprTrait, IntoCondition, Query, SelectStatement};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, IdenStatic, Iterable, QueryResult,
    Value,
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
        let (column, hash) = match token {
            Token::Access(hash) => (token_pair::Column::AccessHash, hash),
            Token::Refresh(hash) => (token_pair::Column::RefreshHash, hash),
        };
        let this = Expr::col((token_pair::Entity, column)).eq(hash.as_bytes().as_slice());
        let statement = tx.conn().get_database_backend().build(&question(this));
        let Some(row) = tx.conn().query_one_raw(statement).await? else { return Ok(None) };
        self.checked(&row, self.seals.mode(tx).await?).map(Some)
    }

    /// The pair with each of these refresh tokens, in their order.
    pub async fn find_all(
        &self,
        tx: &ReadTx,
        refresh: &[HandleHash],
    ) -> Result<Vec<Option<Live>>, StoreError> {
        let column = Expr::col((token_pair::Entity, token_pair::Column::RefreshHash));
        let hashes = refresh.iter().map(|hash| Value::from(hash.as_bytes().as_slice()));
        let these = match tx.conn().get_database_backend() {
            // As an array, the text is the same however many there are, and is parsed once.
            DbBackend::Postgres => {
                let hashes = Value::Array(ArrayType::Bytes, Some(Box::new(hashes.collect())));
                column.eq(PgFunc::any(Expr::val(hashes)))
            }
            _ => column.is_in(hashes),
        };
        let statement = tx.conn().get_database_backend().build(&question(these));
        let mode = self.seals.mode(tx).await?;
        let mut found = HashMap::with_capacity(refresh.len());
        for row in tx.conn().query_all_raw(statement).await? {
            let live = self.checked(&row, mode)?;
            found.insert(live.tokens.refresh_hash().to_vec(), live);
        }
        Ok(refresh.iter().map(|hash| found.remove(hash.as_bytes().as_slice())).collect())
    }

    fn checked(&self, row: &QueryResult, mode: Mode) -> Result<Live, StoreError> {
        Ok(Live {
            tokens: self.pairs.checked(model(row, PAIR)?, mode)?,
            session: self.sessions.checked(model(row, SESSION)?, mode)?,
            account: self.accounts.checked(model(row, ACCOUNT)?, mode)?,
            context: session_context::Model::from_query_result_optional(row, CONTEXT)?
                .map(|context| self.contexts.checked(context))
                .transpose()?,
        })
    }
}

fn model<M: FromQueryResult>(row: &QueryResult, prefix: &str) -> Result<M, StoreError> {
    Ok(M::from_query_result(row, prefix)?)
}

fn question(which: impl IntoCondition) -> SelectStatement {
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
        .cond_where(which);
    select
}

fn columns<E: EntityTrait>(select: &mut SelectStatement, prefix: &str) {
    for column in E::Column::iter() {
        let name = Alias::new(format!("{prefix}{}", column.as_str()));
        select.expr_as(Expr::col(column.as_column_ref()), name);
    }
}
