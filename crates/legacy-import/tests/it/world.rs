//! An import in a test: legacy records in a real database, the real keys of a service, the engines.

use std::ops::Range;
use std::sync::Arc;

use portal_core::id::{Id, SubjectId, TenantId};
use portal_core::{SystemClock, SystemEntropy, Workload};
use portal_crypto::envelope::Scope;
use portal_crypto::suite::Suites;
use portal_keys::{Ambient, Keys};
use portal_legacy_import::importer::Parts;
use portal_legacy_import::load::load;
use portal_legacy_import::record::Parts as RecordParts;
use portal_legacy_import::schema::Migrations;
use portal_legacy_import::{
    Cause, Content, ContentDigest, Export, Importer, LegacyOpen, LegacyVerify, Reader, RecordId, refusal,
};
use portal_store::{Database, StoreError, migrate};
use portal_testkit::TestDatabase;
use portal_upkeep::migration::{Migration, State};
use sea_orm::{ConnectionTrait, Statement};
use uuid::Uuid;

use crate::writer::{Value, Writer, line};

/// The columns of `legacy_record`.
pub const LEGACY: [&str; 10] = [
    "record_id",
    "subject_id",
    "source_table",
    "source_field",
    "kem_key_id",
    "kem_ciphertext",
    "nonce",
    "sealed",
    "signer_key_id",
    "signature",
];

pub struct World {
    pub database: Database,
    pub keys: Keys,
    pub importer: Importer,
}

impl World {
    /// With the keys of `writers` for the earlier system's.
    pub async fn new(test: &TestDatabase, writers: &[&Writer]) -> Self {
        let database = test.connect().await;
        migrate::up::<Migrations>(&database).await.unwrap();
        let scope = Scope { service: Workload::Consent, tenant: TenantId::DEFAULT };
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let metrics = portal_keys::Metrics::default();
        let ambient = Ambient { clock: clock.clone(), entropy: entropy.clone(), metrics };
        let keys = Keys::open(&test.keys("consent").await, scope, ambient).await.unwrap();
        let open = writers.iter().map(|writer| LegacyOpen::from_bytes(writer.kem_private()).unwrap());
        let verify = writers.iter().map(|writer| LegacyVerify::from_bytes(writer.signer_public()).unwrap());
        let reader = Reader::new(Suites::ALL, open, verify).unwrap();
        let (database, keys) = (database.clone(), keys.clone());
        let parts = Parts { database: database.clone(), keys: keys.clone(), reader, clock, entropy };
        Self { database, keys, importer: Importer::new(parts) }
    }

    pub async fn load(&self, parts: impl IntoIterator<Item = RecordParts>) {
        let lines: String = parts.into_iter().map(|parts| line(&parts) + "\n").collect();
        load(&self.database, Export::new(lines.as_bytes()), |_| {}).await.unwrap();
    }

    /// Imports and verifies.
    pub async fn run(&self) -> Migration {
        self.importer.start(None).await.unwrap();
        self.drive().await
    }

    /// Works until what was begun has ended.
    pub async fn drive(&self) -> Migration {
        self.importer.drive(std::future::pending(), |_| {}).await.unwrap()
    }

    pub async fn roll_back(&self) -> State {
        self.importer.roll_back().await.unwrap();
        self.drive().await.record.state
    }

    /// How many legacy and imported records there are.
    pub async fn counts(&self) -> (u64, u64) {
        let counts = self.importer.counts().await.unwrap();
        (counts.legacy, counts.imported)
    }

    pub async fn refusals(&self) -> Vec<(RecordId, Cause)> {
        let page = self.database.read::<_, StoreError, _, _>("refusals", |tx| async move {
            refusal::page(&tx, None, 1_000).await
        });
        page.await.unwrap().iter().map(|refusal| (refusal.record_id, refusal.cause)).collect()
    }

    /// The digest of what was imported; all of it opens.
    pub async fn imported_digest(&self) -> ContentDigest {
        let survey = self.importer.survey_imported().await.unwrap();
        assert_eq!(survey.unreadable, 0);
        survey.digest
    }

    pub async fn execute(&self, sql: &str) {
        execute(&self.database, sql).await;
    }

    /// Every byte of the table of legacy records.
    pub async fn legacy_bytes(&self) -> Vec<Vec<Vec<u8>>> {
        bytes(&self.database, "legacy_record", &LEGACY).await
    }
}

pub async fn execute(database: &Database, sql: &str) {
    let execute = database.run_tx::<_, StoreError, _, _>("damage", |tx| async move {
        tx.conn().execute_unprepared(sql).await?;
        Ok(())
    });
    execute.await.unwrap();
}

/// The bytes of columns of every row, in the order of the records.
pub async fn bytes(database: &Database, table: &str, columns: &[&str]) -> Vec<Vec<Vec<u8>>> {
    let sql = &format!("SELECT {} FROM {table} ORDER BY record_id", columns.join(", "));
    let read = database.read::<_, StoreError, _, _>("bytes", |tx| async move {
        let statement = Statement::from_string(tx.conn().get_database_backend(), sql.clone());
        Ok(tx.conn().query_all_raw(statement).await?)
    });
    let cell = |row: &sea_orm::QueryResult, column: &str| -> Vec<u8> {
        let text = || row.try_get::<String>("", column).map(String::into_bytes);
        let id = || row.try_get::<Uuid>("", column).map(|id| id.into_bytes().to_vec());
        row.try_get::<Vec<u8>>("", column).or_else(|_| id()).or_else(|_| text()).unwrap()
    };
    let rows = read.await.unwrap();
    rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()).collect()
}

/// SQL for bytes, as both databases read them.
pub fn blob(database: &TestDatabase, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if database.file().is_some() { format!("x'{hex}'") } else { format!("'\\x{hex}'") }
}

/// SQL for an id.
pub fn sql_id(database: &TestDatabase, id: impl Id) -> String {
    if database.file().is_some() { blob(database, id.uuid().as_bytes()) } else { format!("'{}'", id.uuid()) }
}

pub fn values(numbers: Range<u64>) -> Vec<Value> {
    numbers.map(|number| Value::new(60, number)).collect()
}

pub fn records(writer: &Writer, numbers: Range<u64>) -> Vec<RecordParts> {
    values(numbers).iter().map(|value| writer.parts(value)).collect()
}

/// The digest of these values.
pub fn digest<'a>(values: impl IntoIterator<Item = &'a Value>) -> ContentDigest {
    values.into_iter().fold(ContentDigest::default(), |digest, value| {
        digest.with(Content {
            record_id: value.record_id,
            subject_id: value.subject_id,
            table: &value.table,
            field: &value.field,
            plaintext: &value.plaintext,
        })
    })
}

pub fn subject(number: u64) -> SubjectId {
    Value::new(60, number).subject_id
}

pub fn id(number: u64) -> RecordId {
    Value::new(60, number).record_id
}
