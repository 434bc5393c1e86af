//! What the body of a transaction is given.
//!
//! Invariants: only [`crate::Database`] makes a [`Tx`] or [`ReadTx`], and only it commits. Every statement goes
//! through [`Conn`], which notes a failure: the transaction is then rolled back whatever the body makes of the error.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement};

use crate::StoreError;

/// A transaction that may change data. It can do all that a [`ReadTx`] can: pass `&tx` to functions that take `&ReadTx`.
#[derive(Debug)]
pub struct Tx(ReadTx);

/// A transaction that sees one state of the data and changes nothing.
#[derive(Debug)]
pub struct ReadTx(Arc<Conn>);

/// What statements run on: give it to sea-orm, as in `Entity::find().one(tx.conn())`.
#[derive(Debug)]
pub struct Conn {
    inner: DatabaseTransaction,
    verdict: AtomicU8,
}

/// What the statements so far allow. The greatest wins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It may commit.
    Sound = 0,
    /// A statement failed: it must roll back.
    Doomed = 1,
    /// It must roll back and may succeed if run again.
    Retry = 2,
}

impl Tx {
    pub(crate) fn new(conn: Arc<Conn>) -> Self {
        Self(ReadTx(conn))
    }

    /// Says that another transaction was faster, so that this one is rolled back and run again.
    pub(crate) fn lost_race(&self) {
        self.0.0.rule(Verdict::Retry);
    }
}

impl Deref for Tx {
    type Target = ReadTx;

    fn deref(&self) -> &ReadTx {
        &self.0
    }
}

impl ReadTx {
    pub(crate) fn new(conn: Arc<Conn>) -> Self {
        Self(conn)
    }

    /// What statements run on.
    #[must_use]
    pub fn conn(&self) -> &Conn {
        &self.0
    }
}

impl Conn {
    pub(crate) fn new(inner: DatabaseTransaction) -> Self {
        Self { inner, verdict: AtomicU8::new(Verdict::Sound as u8) }
    }

    pub(crate) fn into_inner(self) -> (DatabaseTransaction, Verdict) {
        let verdict = match self.verdict.into_inner() {
            0 => Verdict::Sound,
            1 => Verdict::Doomed,
            _ => Verdict::Retry,
        };
        (self.inner, verdict)
    }

    fn rule(&self, verdict: Verdict) {
        self.verdict.fetch_max(verdict as u8, Ordering::Relaxed);
    }

    fn note<T>(&self, result: Result<T, DbErr>) -> Result<T, DbErr> {
        if let Err(error) = &result {
            let contended = matches!(StoreError::from(error.clone()), StoreError::Contended(_));
            self.rule(if contended { Verdict::Retry } else { Verdict::Doomed });
        }
        result
    }
}

#[async_trait]
impl ConnectionTrait for Conn {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.note(self.inner.execute_raw(statement).await)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.note(self.inner.execute_unprepared(sql).await)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.note(self.inner.query_one_raw(statement).await)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.note(self.inner.query_all_raw(statement).await)
    }
}
