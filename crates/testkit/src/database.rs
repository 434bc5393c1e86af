//! An empty database for one test, on either kind of server.

use std::path::PathBuf;
use std::sync::Arc;

use portal_core::SeededEntropy;
use portal_store::{Database, DatabaseConfig, Metrics};
use tempfile::TempDir;

use crate::{EphemeralPostgres, FaultProxy};

const FILE: &str = "test.db";

/// An empty database that is gone when this is dropped.
pub struct TestDatabase {
    url: String,
    keeper: Keeper,
    #[cfg(feature = "mesh")]
    keys: crate::keys::KeyDatabases,
}

/// What the database is gone with.
pub(crate) enum Keeper {
    Directory(TempDir),
    Server(Arc<EphemeralPostgres>),
}

impl TestDatabase {
    /// A SQLite file in a directory of its own.
    #[must_use]
    pub fn sqlite() -> Self {
        let directory = TempDir::with_prefix("portal-sqlite-").expect("a temporary directory");
        let url = format!("sqlite:{}", directory.path().join(FILE).display());
        Self::new(url, Keeper::Directory(directory))
    }

    /// A database of this process's PostgreSQL, or `None` where PostgreSQL is not installed: says so, and the test
    /// should return.
    ///
    /// # Panics
    /// If PostgreSQL is not installed and the environment variable `PORTAL_REQUIRE_ALL` is `1`.
    pub async fn postgres() -> Option<Self> {
        Some(Self::on(EphemeralPostgres::shared()?).await)
    }

    /// A database of `server`.
    ///
    /// # Panics
    /// If it can't be made.
    pub async fn on(server: Arc<EphemeralPostgres>) -> Self {
        let url = server.fresh_url().await;
        Self::new(url, Keeper::Server(server))
    }

    fn new(url: String, keeper: Keeper) -> Self {
        Self {
            url,
            keeper,
            #[cfg(feature = "mesh")]
            keys: crate::keys::KeyDatabases::default(),
        }
    }

    /// How to connect to it: the `[database]` section of a service.
    #[must_use]
    pub fn config(&self) -> DatabaseConfig {
        DatabaseConfig::from_url(&self.url)
    }

    /// How to connect to it, for another process.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A way to it that can be cut. `None` for a file, which nothing stands in front of.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn proxy(&self) -> Option<FaultProxy> {
        match &self.keeper {
            Keeper::Directory(_) => None,
            Keeper::Server(server) => Some(FaultProxy::start(server.directory(), &self.url)),
        }
    }

    /// The keys of the service `name` beside this database: a key database of the same kind, and a root key in a file.
    /// The same for the same `name`, so that what was stored before a restart is opened after it, and by a replica.
    ///
    /// # Panics
    /// If they can't be made.
    #[cfg(feature = "mesh")]
    pub async fn keys(&self, name: &str) -> portal_keys::KeysConfig {
        self.keys.of(name, &self.keeper).await
    }

    /// [`Self::keys`] as TOML, for another process.
    ///
    /// # Panics
    /// As [`Self::keys`].
    #[cfg(feature = "mesh")]
    pub async fn keys_section(&self, name: &str) -> String {
        self.keys.section(name, &self.keeper).await
    }

    /// The file of a SQLite database, alone with its WAL in a directory.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        match &self.keeper {
            Keeper::Directory(directory) => Some(directory.path().join(FILE)),
            Keeper::Server(_) => None,
        }
    }

    /// The directory with the files that hold its tables: of SQLite its own, of PostgreSQL those of the server's databases.
    #[must_use]
    pub fn tables(&self) -> PathBuf {
        match &self.keeper {
            Keeper::Directory(directory) => directory.path().to_owned(),
            Keeper::Server(server) => server.directory().join("data/base"),
        }
    }

    /// Connects to it.
    pub async fn connect(&self) -> Database {
        self.connect_with(Metrics::default()).await
    }

    /// Connects to it and counts in `metrics`.
    pub async fn connect_with(&self, metrics: Metrics) -> Database {
        let entropy = Arc::new(SeededEntropy::new(1));
        Database::connect(&self.config(), entropy, metrics).await.expect("the test database")
    }
}

/// Makes of each function a test module with one test on SQLite and one on PostgreSQL, named
/// `<function>::sqlite` and `<function>::postgres`.
///
/// ```
/// portal_testkit::each_database! {
///     /// What it shows.
///     async fn answers(database) {
///         database.connect().await.ping().await.unwrap();
///     }
/// }
/// ```
#[macro_export]
macro_rules! each_database {
    ($($(#[$doc:meta])* async fn $name:ident($database:ident) $body:block)+) => {$(
        $(#[$doc])*
        mod $name {
            #[allow(unused_imports, reason = "a body may need nothing from around it")]
            use super::*;
            use $crate::tokio;

            async fn check($database: &$crate::TestDatabase) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(database) = $crate::TestDatabase::postgres().await {
                    check(&database).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                check(&$crate::TestDatabase::sqlite()).await;
            }
        }
    )+};
}
