//! Keys over an empty database and a root key of their own, and what tests do to them.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portal_core::id::{Id, SubjectId, TenantId};
use portal_core::{Clock, Entropy, ManualClock, SeededEntropy, SystemEntropy, Timestamp, Workload};
use portal_crypto::envelope::{Padding, Place, Scope, SubjectKey};
use portal_keys::{Ambient, Keys, KeysConfig, KeysError, Metrics, Provider, ProviderConfig};
use portal_store::{Database, StoreError};
use portal_testkit::TestDatabase;
use prometheus_client::registry::Registry;
use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use tempfile::TempDir;

pub const START: Timestamp = Timestamp::from_seconds(1_795_305_600);
pub const SCOPE: Scope = Scope { service: Workload::Auth, tenant: TenantId::DEFAULT };

/// A key database and a root key.
pub struct Fixture {
    pub config: KeysConfig,
    pub clock: Arc<ManualClock>,
    pub registry: Mutex<Registry>,
    pub database: Database,
    directory: TempDir,
    metrics: Metrics,
}

impl Fixture {
    pub async fn new(database: &TestDatabase) -> Self {
        let directory = TempDir::new().unwrap();
        let config = KeysConfig {
            provider: ProviderConfig::File {
                root_key_file: directory.path().join("root-keys"),
                passphrase_file: None,
            },
            provider_timeout: Duration::from_secs(5),
            database: database.config(),
            cache_ttl: Duration::from_secs(60),
            cache_max_subjects: 100_000,
            epoch: Duration::from_secs(90 * 86_400),
            backup_retention: Duration::from_secs(30 * 86_400),
            disabled_algorithms: Vec::new(),
            import_service_secret_file: None,
        };
        let clock = Arc::new(ManualClock::new(START));
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, portal_store::Metrics::default());
        let fixture = Self {
            database: database.connect().await,
            registry: Mutex::new(registry),
            config,
            clock,
            directory,
            metrics,
        };
        let ambient = fixture.ambient();
        Provider::create(&fixture.config, ambient.clock, ambient.entropy).await.unwrap();
        fixture
    }

    pub fn ambient(&self) -> Ambient {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        Ambient { clock, entropy, metrics: self.metrics.clone() }
    }

    /// A process that starts.
    pub async fn open(&self) -> Keys {
        self.try_open(&self.config).await.unwrap()
    }

    pub async fn try_open(&self, config: &KeysConfig) -> Result<Keys, KeysError> {
        Keys::open(config, SCOPE, self.ambient()).await
    }

    pub fn is_postgres(&self) -> bool {
        format!("{:?}", self.database).contains("PostgreSQL")
    }

    pub fn root_key_file(&self) -> PathBuf {
        self.directory.path().join("root-keys")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Moves the root keys away, or back.
    pub fn root_keys_are_there(&self, there: bool) {
        let (file, hidden) = (self.root_key_file(), self.path("hidden"));
        let (from, to) = if there { (hidden, file) } else { (file, hidden) };
        std::fs::rename(from, to).unwrap();
    }

    /// Runs a statement on the key database, as somebody who has got at it would.
    pub async fn sql(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> u64 {
        let values: &Vec<Value> = &values.into_iter().collect();
        let run = |tx: portal_store::Tx| async move {
            let backend = tx.conn().get_database_backend();
            let statement = Statement::from_sql_and_values(backend, sql, values.clone());
            Ok::<_, StoreError>(tx.conn().execute_raw(statement).await?.rows_affected())
        };
        self.database.run_tx("sql", run).await.unwrap()
    }

    /// Reads from the key database.
    pub async fn query(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Vec<QueryResult> {
        let values: &Vec<Value> = &values.into_iter().collect();
        let run = |tx: portal_store::ReadTx| async move {
            let backend = tx.conn().get_database_backend();
            let statement = Statement::from_sql_and_values(backend, sql, values.clone());
            Ok::<_, StoreError>(tx.conn().query_all_raw(statement).await?)
        };
        self.database.read("sql", run).await.unwrap()
    }

    pub async fn count(&self, from: &str) -> i64 {
        let rows = self.query(&format!("SELECT COUNT(*) AS n FROM {from}"), []).await;
        rows[0].try_get("", "n").unwrap()
    }

    /// Has the server write what it has in memory into the files of its tables.
    pub async fn write_files(&self) {
        if self.is_postgres() {
            self.sql("CHECKPOINT", []).await;
        }
    }

    /// The value of a counter or gauge, by its line in the exposition format; 0 if it is not there.
    pub fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock().unwrap()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

pub fn subject(number: u64) -> SubjectId {
    SubjectId::generate(START, &SeededEntropy::new(number))
}

pub fn subjects(numbers: std::ops::Range<u64>) -> Vec<SubjectId> {
    numbers.map(subject).collect()
}

pub fn place(subject: SubjectId) -> Place<'static> {
    Place { owner: SCOPE.owner(subject), table: "account", column: "email", row: [7; 16], row_version: 1 }
}

/// An envelope of the subject's own id.
pub fn seal(key: &SubjectKey) -> Vec<u8> {
    let subject = key.owner().subject;
    key.seal(&place(subject), Padding::None, &subject.bytes(), &SystemEntropy).unwrap()
}

/// Whether the key opens what [`seal`] sealed.
pub fn opens(key: &SubjectKey, envelope: &[u8]) -> bool {
    let subject = key.owner().subject;
    let opened = key.open(&place(subject), Padding::None, envelope);
    opened.is_ok_and(|plaintext| plaintext.expose() == &subject.bytes())
}

/// Waits for what the background tasks are going to do.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    for _ in 0..1_500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}
