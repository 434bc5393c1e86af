//! Opens the pools.
//!
//! SQLite: WAL, `synchronous = FULL` (a commit that returned survives a power cut), foreign keys on, a single writer,
//! since SQLite allows one at a time and waiting in a fair queue beats waiting in a busy loop; a few read-only
//! connections, opened when needed. The page caches are small: the operating system caches the file anyway.
//!
//! PostgreSQL: every connection is serialisable by default, and the server ends statements and idle transactions that
//! a lost process left behind.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{self, ConnectOptions, Connection};
use sea_orm::{SqlxPostgresConnector, SqlxSqliteConnector};

use crate::database::Pools;
use crate::{DatabaseConfig, DatabaseFailure};

/// How long a transaction waits for a connection, and SQLite for another process's write.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is tested before use.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// The database can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The database refused, or is not there.
    #[error("the database could not be opened")]
    Database(#[source] DatabaseFailure),
    /// The SQLite file could not be created.
    #[error("the database file {} could not be created", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An in-memory database would be lost with the process, and each connection would see another one.
    #[error("an in-memory database can't be used: name a file")]
    InMemory,
    /// Neither or both are set.
    #[error("set exactly one of url and url_file")]
    OneUrl,
    /// Secrets are read from files only.
    #[error("a database URL with a password must stand in url_file")]
    PasswordInUrl,
    /// The scheme or a parameter is unknown.
    #[error("the database URL must be sqlite:<file> or postgres://<user>@<host>/<database>")]
    Url,
    /// The file that should hold the URL can't be read.
    #[error("the file {} with the database URL could not be read", path.display())]
    UrlFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

pub(crate) async fn open(config: &DatabaseConfig) -> Result<Pools, ConnectError> {
    let url = config.resolve()?;
    if url.starts_with("sqlite:") {
        open_sqlite(&url, config).await
    } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        let pool = open_postgres(&url, config.max_connections()).await?;
        Ok(Pools::Postgres(SqlxPostgresConnector::from_sqlx_postgres_pool(pool)))
    } else {
        Err(ConnectError::Url)
    }
}

async fn open_sqlite(url: &str, config: &DatabaseConfig) -> Result<Pools, ConnectError> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(ConnectError::InMemory);
    }
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|_| ConnectError::Url)?
        .busy_timeout(ACQUIRE_TIMEOUT)
        .foreign_keys(true)
        .pragma("temp_store", "memory")
        .pragma("trusted_schema", "off")
        .disable_statement_logging();
    create_private(options.get_filename())?;

    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // A rollback that failed (disk full) leaves the connection inside its transaction: such a one is replaced.
        .before_acquire(|conn, _| Box::pin(async move { Ok(!conn.is_in_transaction()) }))
        .connect_with(
            options
                .clone()
                .create_if_missing(false)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .pragma("journal_size_limit", "16777216")
                .pragma("secure_delete", if config.secure_delete() { "on" } else { "off" })
                .pragma("cache_size", "-1024"),
        )
        .await
        .map_err(|error| ConnectError::Database(error.into()))?;
    // Lazily: the file is in WAL mode only since the writer opened it.
    let readers = SqlitePoolOptions::new()
        .max_connections(config.max_connections().min(4))
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(Duration::from_secs(60))
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(|conn, _| Box::pin(async move { Ok(!conn.is_in_transaction()) }))
        .connect_lazy_with(options.read_only(true).pragma("cache_size", "-512"));
    Ok(Pools::Sqlite {
        writer: SqlxSqliteConnector::from_sqlx_sqlite_pool(writer),
        readers: SqlxSqliteConnector::from_sqlx_sqlite_pool(readers),
    })
}

/// Creates the file for its owner alone; SQLite gives its WAL the same mode. A file that exists is never opened here:
/// closing it again would drop the locks this process may hold on it.
fn create_private(path: &Path) -> Result<(), ConnectError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(ConnectError::File { path: path.to_owned(), source }),
    }
}

async fn open_postgres(url: &str, max_connections: u32) -> Result<PgPool, ConnectError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| ConnectError::Url)?
        .application_name("portal")
        .options([
            ("default_transaction_isolation", "serializable"),
            ("idle_in_transaction_session_timeout", "60s"),
            ("statement_timeout", "30s"),
        ])
        .disable_statement_logging();
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(Duration::from_secs(300))
        .max_lifetime(Duration::from_secs(1_800))
        .test_before_acquire(false)
        .before_acquire(|conn, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_IDLE {
                    conn.ping().await?;
                }
                Ok::<bool, sqlx::Error>(true)
            })
        })
        .connect_with(options)
        .await
        .map_err(|error| ConnectError::Database(error.into()))
}
