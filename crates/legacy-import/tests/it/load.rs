//! The table of legacy records, on both databases.

use portal_legacy_import::load::{LoadError, Loaded, load};
use portal_legacy_import::store::{self, InsertError};
use portal_legacy_import::{Export, LegacyRecord, RecordId};
use portal_store::{Corruption, Database, StoreError, migrate};
use portal_testkit::TestDatabase;
use sea_orm::ConnectionTrait;
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

use crate::writer::{Value, Writer, line};

struct Migrations;

impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Table)]
    }
}

struct Table;

impl MigrationName for Table {
    fn name(&self) -> &'static str {
        "legacy_record"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Table {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        store::schema::create_table(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        store::schema::drop_table(manager).await
    }
}

async fn database(test: &TestDatabase) -> Database {
    let database = test.connect().await;
    migrate::up::<Migrations>(&database).await.unwrap();
    database
}

/// The export of these values, and what they say.
fn export(writer: &Writer, numbers: std::ops::Range<u64>) -> (String, Vec<Vec<u8>>) {
    let values: Vec<_> = numbers.map(|number| Value::new(30, number)).collect();
    let lines: String = values.iter().map(|value| line(&writer.parts(value)) + "\n").collect();
    (lines, values.into_iter().map(|value| value.plaintext).collect())
}

async fn put(database: &Database, text: &str) -> Result<Loaded, LoadError> {
    load(database, Export::new(text.as_bytes()), |_| {}).await
}

async fn page(
    database: &Database,
    after: Option<RecordId>,
    limit: u32,
) -> Result<Vec<LegacyRecord>, StoreError> {
    database.read("page", |tx| async move { store::page(&tx, after, limit).await }).await
}

async fn execute(database: &Database, sql: &str) {
    let execute = database.run_tx::<_, StoreError, _, _>("damage", |tx| async move {
        tx.conn().execute_unprepared(sql).await?;
        Ok(())
    });
    execute.await.unwrap();
}

async fn count(database: &Database) -> u64 {
    database.read::<_, StoreError, _, _>("count", |tx| async move { store::count(&tx).await }).await.unwrap()
}

portal_testkit::each_database! {
    /// In the order of the ids, whatever that of the file; by pages; and each is read.
    async fn what_is_loaded_is_there(test) {
        let database = database(test).await;
        let writer = Writer::new(30);
        let (text, plaintexts) = export(&writer, 0..600);
        let mut lines: Vec<_> = text.lines().collect();
        lines.reverse();
        let text = lines.join("\n");
        let mut told = Vec::new();
        let loaded = load(&database, Export::new(text.as_bytes()), |loaded| told.push(loaded.inserted));
        assert_eq!(loaded.await.unwrap(), Loaded { inserted: 600, present: 0 });
        assert_eq!(told, [250, 500, 600]);
        assert_eq!(count(&database).await, 600);
        let (reader, mut read, mut after) = (writer.reader(), Vec::new(), None);
        loop {
            let records = page(&database, after, 256).await.unwrap();
            let Some(last) = records.last() else { break };
            after = Some(last.record_id());
            read.extend(records.iter().map(|record| reader.read(record).unwrap().expose().clone()));
        }
        assert!(read == plaintexts);
    }

    /// As after a kill: the file is loaded again from its beginning.
    async fn what_is_there_is_passed_over(test) {
        let database = database(test).await;
        let writer = Writer::new(31);
        let (half, _) = export(&writer, 0..300);
        let (whole, _) = export(&writer, 0..301);
        assert_eq!(put(&database, &half).await.unwrap(), Loaded { inserted: 300, present: 0 });
        // Sealing is repeatable, signing as well: both exports have the same records.
        assert_eq!(put(&database, &whole).await.unwrap(), Loaded { inserted: 1, present: 300 });
        let twice = format!("{whole}{whole}");
        assert_eq!(put(&database, &twice).await.unwrap(), Loaded { inserted: 0, present: 602 });
        assert_eq!(count(&database).await, 301);
    }

    async fn the_same_record_twice_in_a_batch_is_one(test) {
        let database = database(test).await;
        let (one, _) = export(&Writer::new(32), 0..1);
        assert_eq!(put(&database, &format!("{one}{one}")).await.unwrap(), Loaded { inserted: 1, present: 1 });
        assert_eq!(count(&database).await, 1);
    }

    /// One id, two records: neither the file nor the table is believed.
    async fn another_record_of_an_id_is_refused(test) {
        let database = database(test).await;
        let (writer, other) = (Writer::new(33), Writer::new(34));
        let (one, _) = export(&writer, 0..3);
        let (differs, _) = export(&other, 1..2);
        let id = Value::new(30, 1).record_id;
        let refused = put(&database, &format!("{one}{differs}")).await.unwrap_err();
        assert!(matches!(refused, LoadError::Insert(InsertError::Differs(told)) if told == id), "{refused}");
        assert_eq!(count(&database).await, 0, "nothing of the batch");
        put(&database, &one).await.unwrap();
        let refused = put(&database, &differs).await.unwrap_err();
        assert!(matches!(refused, LoadError::Insert(InsertError::Differs(told)) if told == id), "{refused}");
        assert_eq!(count(&database).await, 3);
    }

    async fn a_line_that_is_no_record_ends_the_load(test) {
        let database = database(test).await;
        let (text, _) = export(&Writer::new(35), 0..252);
        let refused = put(&database, &format!("{text}{{}}\n")).await.unwrap_err();
        assert!(matches!(&refused, LoadError::Export(error) if error.line == 253), "{refused}");
        assert_eq!(count(&database).await, 250, "the batch before it");
    }

    /// Every column, one after the other.
    async fn a_row_that_is_no_record_is_told(test) {
        let database = database(test).await;
        let (text, _) = export(&Writer::new(36), 0..2);
        let id = Value::new(30, 0).record_id;
        for (column, wrong) in [
            ("source_table", "'A'"),
            ("source_field", "''"),
            ("kem_key_id", "''"),
            ("kem_ciphertext", "''"),
            ("nonce", "''"),
            ("sealed", "''"),
            ("signer_key_id", "''"),
            ("signature", "''"),
        ] {
            let change = &format!("UPDATE legacy_record SET {column} = {wrong}");
            execute(&database, "DELETE FROM legacy_record").await;
            put(&database, &text).await.unwrap();
            execute(&database, change).await;
            let error = page(&database, None, 10).await.unwrap_err();
            let StoreError::Corrupt { table, column: told, row, cause } = error else { panic!("{error:?}") };
            assert_eq!((table, told, cause), (store::TABLE, column, Corruption::ValueInvalid));
            assert_eq!(row, id.to_string());
        }
    }
}
