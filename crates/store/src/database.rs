//! Transactions: begun, retried, measured and ended here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use portal_core::Entropy;
use portal_core::entropy::random_bytes;
use sea_orm::sqlx;
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, IsolationLevel,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::Instant;

use crate::metrics::Outcome;
use crate::tx::{Conn, Verdict};
use crate::{ConnectError, DatabaseConfig, Metrics, ReadTx, StoreError, Tx, connect};

/// How often a transaction is tried.
const MAX_ATTEMPTS: u32 = 8;
/// From this attempt on a transaction runs alone in this process, so that it can't be overtaken for ever.
const ALONE_FROM: u32 = 3;
/// The pause before the second attempt lasts this long at most, doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// A table is written anew at once or not now, and takes as long as it takes.
const REWRITE_SETTINGS: &[&str] = &["SET lock_timeout = '200ms'", "SET statement_timeout = 0"];
/// PostgreSQL's code for a lock that was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// A service's database. Clones share the connections.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    pools: Pools,
    turns: RwLock<()>,
    entropy: Arc<dyn Entropy>,
    metrics: Metrics,
}

pub(crate) enum Pools {
    Postgres(DatabaseConnection),
    Sqlite { writer: DatabaseConnection, readers: DatabaseConnection },
}

#[derive(Clone, Copy)]
enum Access {
    Batch,
    Migrate,
    Read,
    Repeatable,
    Write,
}

/// How one attempt ended, if not well.
enum Failure<E> {
    Body(E),
    Contended,
    Store(StoreError),
}

impl<E> From<StoreError> for Failure<E> {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Contended(_)) { Self::Contended } else { Self::Store(error) }
    }
}

/// Held during an attempt: many at a time share it, one that has lost too often has it alone.
enum Turn<'a> {
    Alone(#[expect(dead_code, reason = "held for its drop")] RwLockWriteGuard<'a, ()>),
    Shared(#[expect(dead_code, reason = "held for its drop")] RwLockReadGuard<'a, ()>),
    Unneeded,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.0.pools {
            Pools::Postgres(_) => "PostgreSQL",
            Pools::Sqlite { .. } => "SQLite",
        };
        f.debug_tuple("Database").field(&kind).finish()
    }
}

impl Database {
    /// Opens the database, and creates the file of a SQLite database for its owner alone if there is none.
    /// `entropy` spreads retries.
    ///
    /// # Errors
    /// [`ConnectError`] if the configuration is wrong or the database can't be reached.
    pub async fn connect(
        config: &DatabaseConfig,
        entropy: Arc<dyn Entropy>,
        metrics: Metrics,
    ) -> Result<Self, ConnectError> {
        let pools = connect::open(config).await?;
        Ok(Self(Arc::new(Inner { pools, turns: RwLock::new(()), entropy, metrics })))
    }

    /// Runs `body` in a transaction that may change data, and commits if it returns `Ok`.
    ///
    /// `name` stands in logs and metrics. `body` is run again when another transaction got in the way, so it must have
    /// no effect outside the database, and borrows what it needs:
    ///
    /// ```
    /// # use portal_store::{Database, StoreError, Tx};
    /// # struct Command; struct Receipt;
    /// # struct Repository;
    /// # impl Repository { async fn insert(&self, _: &Tx, _: &Command) -> Result<Receipt, StoreError> { Ok(Receipt) } }
    /// # #[allow(non_upper_case_globals)] const repository: Repository = Repository;
    /// #[derive(Debug, thiserror::Error)]
    /// enum AppError {
    ///     #[error(transparent)]
    ///     Store(#[from] StoreError),
    /// }
    ///
    /// struct App {
    ///     database: Database,
    /// }
    ///
    /// impl App {
    ///     async fn withdraw(&self, command: Command) -> Result<Receipt, AppError> {
    ///         let command = &command; // a reference can be moved into each attempt
    ///         self.database
    ///             .run_tx("withdraw_consent", |tx| async move {
    ///                 let receipt = repository.insert(&tx, command).await?;
    ///                 Ok(receipt)
    ///             })
    ///             .await
    ///     }
    /// }
    /// # fn is_send<T: Send>(_: T) {}
    /// # fn a_service_can_await_it(app: &App) { is_send(app.withdraw(Command)) }
    /// ```
    ///
    /// Never call it inside a `body`: the inner transaction would wait for the outer one.
    ///
    /// # Errors
    /// What `body` returns; [`StoreError`] as `E` if the database failed, or conflicts did not end.
    pub async fn run_tx<T, E, F, Fut>(&self, name: &'static str, body: F) -> Result<T, E>
    where
        F: Fn(Tx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<StoreError>,
    {
        self.run(name, Access::Write, |conn| body(Tx::new(conn))).await
    }

    /// Runs `body` in a transaction that changes the form of many rows and not what they say: a batch of a data
    /// migration. As [`Self::run_tx`], but on PostgreSQL at REPEATABLE READ: it gets in the way of another transaction
    /// only over a row that both write, where a serialisable one that reads much conflicts with nearly everything.
    ///
    /// PostgreSQL may take some tenths of a second to write its end to disk: if the server crashes meanwhile, the last
    /// batches were never done. So a batch keeps in the same transaction how far it is, and nobody is told of it before.
    ///
    /// A batch that locks the rows it is about to change when it reads them (`FOR UPDATE SKIP LOCKED`) passes over those
    /// that are being written, and is not overtaken on the others.
    ///
    /// # Errors
    /// As [`Self::run_tx`].
    pub async fn run_batch<T, E, F, Fut>(&self, name: &'static str, body: F) -> Result<T, E>
    where
        F: Fn(Tx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<StoreError>,
    {
        self.run(name, Access::Batch, |conn| body(Tx::new(conn))).await
    }

    /// As [`Self::run_tx`], but on PostgreSQL at REPEATABLE READ: for a transaction whose writes alone decide whether it may
    /// be, by a unique key, a version or a lease that each of its kind writes too. It gets in the way of another one only
    /// over a row that both write.
    ///
    /// # Errors
    /// As [`Self::run_tx`].
    pub async fn run_repeatable<T, E, F, Fut>(&self, name: &'static str, body: F) -> Result<T, E>
    where
        F: Fn(Tx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<StoreError>,
    {
        self.run(name, Access::Repeatable, |conn| body(Tx::new(conn))).await
    }

    /// Runs `body` on one unchanging state of the data. On SQLite neither readers nor the writer wait for each other.
    ///
    /// # Errors
    /// What `body` returns; [`StoreError`] as `E` if the database failed.
    pub async fn read<T, E, F, Fut>(&self, name: &'static str, body: F) -> Result<T, E>
    where
        F: Fn(ReadTx) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<StoreError>,
    {
        self.run(name, Access::Read, |conn| body(ReadTx::new(conn))).await
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], mostly.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read("ping", |tx| async move {
            tx.conn().execute_unprepared("SELECT 1").await?;
            Ok(())
        })
        .await
    }

    /// Makes the files forget what was deleted, as far as the database can: SQLite moves its WAL into the file and cuts
    /// it to nothing, so that with [`DatabaseConfig::with_secure_delete`] no deleted byte is left. Says whether that is
    /// so now: a reader that still looks at an older state is not waited for, call again later. PostgreSQL has
    /// nothing to do here and answers `true`: see [`Self::rewrite`]; its WAL goes with time.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], mostly.
    pub async fn scrub(&self) -> Result<bool, StoreError> {
        let Pools::Sqlite { writer, .. } = &self.0.pools else { return Ok(true) };
        let checkpoint = Statement::from_string(DbBackend::Sqlite, "PRAGMA wal_checkpoint(TRUNCATE)");
        let Some(row) = writer.query_one_raw(checkpoint).await? else { return Ok(false) };
        Ok(row.try_get_by_index::<i32>(0)? == 0)
    }

    /// As [`Self::scrub`], and also of what was deleted without [`DatabaseConfig::with_secure_delete`]: SQLite writes its
    /// file anew (VACUUM). Everybody who writes waits for it, and it takes room for a second copy. PostgreSQL has nothing
    /// to do here either.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], mostly.
    pub async fn compact(&self) -> Result<bool, StoreError> {
        if let Pools::Sqlite { writer, .. } = &self.0.pools {
            writer.execute_unprepared("VACUUM").await?;
        }
        self.scrub().await
    }

    /// Makes PostgreSQL forget what was deleted from `table`: it writes the table anew (VACUUM FULL) and cuts the old file to
    /// nothing. A plain VACUUM only gives the room free: the bytes stay in their page until something is written over them.
    /// Says whether that is done: whoever has the table open is not waited for longer than a moment, since all others
    /// would wait behind; call again later. SQLite has nothing to do here, see [`Self::scrub`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], mostly.
    pub async fn rewrite(&self, table: &'static str) -> Result<bool, StoreError> {
        let Pools::Postgres(pool) = &self.0.pools else { return Ok(true) };
        let pool = pool.get_postgres_connection_pool();
        // Closed afterwards: what is set for this statement is no other's business.
        let mut connection = pool.acquire().await.map_err(|error| StoreError::from(&error))?.detach();
        for setting in REWRITE_SETTINGS {
            sqlx::raw_sql(*setting)
                .execute(&mut connection)
                .await
                .map_err(|error| StoreError::from(&error))?;
        }
        let rewrite = sqlx::AssertSqlSafe(format!("VACUUM (FULL) {table}"));
        let rewritten = sqlx::raw_sql(rewrite).execute(&mut connection).await;
        let in_use =
            |error: &sqlx::Error| error.as_database_error()?.code().map(|code| code == LOCK_NOT_AVAILABLE);
        match rewritten {
            Ok(_) => Ok(true),
            Err(error) if in_use(&error) == Some(true) => Ok(false),
            Err(error) => Err(StoreError::from(&error)),
        }
    }

    /// Waits for running transactions and closes all connections. Later transactions fail with
    /// [`StoreError::Unavailable`].
    pub async fn close(&self) {
        let connections = match &self.0.pools {
            Pools::Postgres(pool) => vec![pool],
            // The writer last: it checkpoints the WAL when nobody else has the file open.
            Pools::Sqlite { writer, readers } => vec![readers, writer],
        };
        for connection in connections {
            if let Err(error) = connection.close_by_ref().await {
                tracing::warn!(error = %StoreError::from(error), "a database pool did not close");
            }
        }
    }

    /// A transaction for schema changes: sees what others committed while it waited for its lock.
    pub(crate) async fn begin_migration(&self) -> Result<DatabaseTransaction, StoreError> {
        self.begin(Access::Migrate).await
    }

    async fn run<T, E, F, Fut>(&self, name: &'static str, access: Access, body: F) -> Result<T, E>
    where
        F: Fn(Arc<Conn>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<StoreError>,
    {
        let started = Instant::now();
        let mut attempt = 1;
        let result = loop {
            let turn = self.turn(access, attempt).await;
            let result = self.attempt(access, &body).await;
            drop(turn);
            if !matches!(result, Err(Failure::Contended)) || attempt == MAX_ATTEMPTS {
                break result;
            }
            tracing::debug!(transaction = name, attempt, "conflict, trying again");
            self.0.metrics.retried(name);
            self.pause(attempt).await;
            attempt += 1;
        };
        let (outcome, result) = match result {
            Ok(value) => (Outcome::Committed, Ok(value)),
            Err(Failure::Body(error)) => (Outcome::RolledBack, Err(error)),
            Err(Failure::Contended) => {
                tracing::warn!(transaction = name, attempts = attempt, "gave up after conflicts");
                (Outcome::Conflict, Err(StoreError::Conflict { attempts: attempt }.into()))
            }
            Err(Failure::Store(error)) => {
                let cause = std::error::Error::source(&error);
                tracing::warn!(transaction = name, %error, cause, "transaction failed");
                (Outcome::Failed, Err(error.into()))
            }
        };
        self.0.metrics.ended(name, outcome, started.elapsed());
        result
    }

    async fn attempt<T, E, F, Fut>(&self, access: Access, body: &F) -> Result<T, Failure<E>>
    where
        F: Fn(Arc<Conn>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let conn = Arc::new(Conn::new(self.begin(access).await?));
        let result = body(Arc::clone(&conn)).await;
        // Dropping a transaction rolls it back, here and when the body panics or is cancelled.
        let (tx, verdict) = Arc::into_inner(conn).ok_or(StoreError::Escaped)?.into_inner();
        let failure = match (result, verdict) {
            (Ok(value), Verdict::Sound) => {
                tx.commit().await.map_err(StoreError::from)?;
                return Ok(value);
            }
            (_, Verdict::Retry) => Failure::Contended,
            (Ok(_), Verdict::Doomed) => Failure::Store(StoreError::Doomed),
            (Err(error), Verdict::Sound | Verdict::Doomed) => Failure::Body(error),
        };
        if let Err(error) = tx.rollback().await {
            // The connection is replaced then, which has the same effect.
            tracing::warn!(error = %StoreError::from(error), "a transaction could not be rolled back");
        }
        Err(failure)
    }

    async fn begin(&self, access: Access) -> Result<DatabaseTransaction, StoreError> {
        let (connection, isolation_level, access_mode, mode) = match (&self.0.pools, access) {
            // Connections to PostgreSQL are serialisable by default: saying so again costs a round trip.
            (Pools::Postgres(pool), Access::Write) => (pool, None, None, None),
            (Pools::Postgres(pool), Access::Batch | Access::Repeatable) => {
                (pool, Some(IsolationLevel::RepeatableRead), None, None)
            }
            (Pools::Postgres(pool), Access::Migrate) => {
                (pool, Some(IsolationLevel::ReadCommitted), None, None)
            }
            (Pools::Postgres(pool), Access::Read) => {
                (pool, Some(IsolationLevel::RepeatableRead), Some(AccessMode::ReadOnly), None)
            }
            (Pools::Sqlite { readers, .. }, Access::Read) => {
                (readers, None, None, Some(SqliteTransactionMode::Deferred))
            }
            // Immediate: a transaction that starts by reading can't lose its right to write half-way.
            (
                Pools::Sqlite { writer, .. },
                Access::Batch | Access::Migrate | Access::Repeatable | Access::Write,
            ) => (writer, None, None, Some(SqliteTransactionMode::Immediate)),
        };
        let options = TransactionOptions { isolation_level, access_mode, sqlite_transaction_mode: mode };
        let transaction = connection.begin_with_options(options).await?;
        if let (Pools::Postgres(_), Access::Batch) = (&self.0.pools, access) {
            transaction.execute_unprepared("SET LOCAL synchronous_commit = off").await?;
        }
        Ok(transaction)
    }

    async fn turn(&self, access: Access, attempt: u32) -> Turn<'_> {
        match (&self.0.pools, access) {
            (Pools::Postgres(_), Access::Batch | Access::Repeatable | Access::Write)
                if attempt >= ALONE_FROM =>
            {
                Turn::Alone(self.0.turns.write().await)
            }
            (Pools::Postgres(_), Access::Batch | Access::Repeatable | Access::Write) => {
                Turn::Shared(self.0.turns.read().await)
            }
            _ => Turn::Unneeded,
        }
    }

    /// Waits a random time, longer the more attempts have failed.
    async fn pause(&self, attempt: u32) {
        let bound = FIRST_PAUSE * 2_u32.pow(attempt.min(6) - 1);
        let share = f64::from(u16::from_le_bytes(random_bytes(&*self.0.entropy))) / f64::from(u16::MAX);
        tokio::time::sleep(bound.mul_f64(share)).await;
    }
}
