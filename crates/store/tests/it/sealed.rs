//! Sealed columns and row digests through the database: what opens, and each way in which it must not.

use std::sync::Arc;

use async_trait::async_trait;
use portal_core::id::{EpochId, Id, SubjectId, TenantId};
use portal_core::{SeededEntropy, Timestamp, Workload};
use portal_crypto::envelope::{Padding, Scope, SubjectKey};
use portal_crypto::epoch::EpochKey;
use portal_crypto::key::KeyBytes;
use portal_crypto::row_digest::RowDigestKey;
use portal_crypto::suite::Suites;
use portal_store::sealed::{Cell, DigestedRow, KeysOfSubject, Row, RowDigests, SealedColumn, Sealing};
use portal_store::{Corruption, Database, Metrics, Sealed, StoreError, columns, migrate};
use portal_testkit::{TestDatabase, each_database};
use prometheus_client::registry::Registry;
use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel, prelude::Uuid};
use sea_orm_migration::sea_query::Table;
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

const NAME: SealedColumn<String> = SealedColumn::new("person", "name", Padding::To64);
const NOTE: SealedColumn<String> = SealedColumn::new("person", "note", Padding::None);

pub mod person {
    use portal_store::Sealed;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel, PartialEq)]
    #[sea_orm(table_name = "person")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub subject: Uuid,
        pub name: Sealed<String>,
        pub note: Option<Sealed<String>>,
        pub kind: String,
        pub seen_at: Option<i64>,
        pub version: i64,
        pub digest: Option<Vec<u8>>,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
use person::Column;

impl DigestedRow for person::Model {
    fn row(&self) -> Row {
        Row { id: self.id.into_bytes(), version: self.version.unsigned_abs() }
    }

    fn digest(&self) -> Option<&[u8]> {
        self.digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.digest = Some(digest.to_vec());
    }
}

struct First;

impl MigrationName for First {
    fn name(&self) -> &'static str {
        "m0001_person"
    }
}

#[async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(person::Entity)
            .col(columns::id(Column::Id).primary_key())
            .col(columns::id(Column::Subject))
            .col(columns::bytes(Column::Name))
            .col(columns::bytes(Column::Note).null())
            .col(columns::text(Column::Kind))
            .col(columns::timestamp(Column::SeenAt).null())
            .col(columns::integer(Column::Version))
            .col(columns::bytes(Column::Digest).null())
            .take();
        manager.create_table(table).await
    }
}

struct Migrations;

impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First)]
    }
}

/// An empty table of persons.
pub async fn prepared_persons(database: &TestDatabase) -> Database {
    let database = database.connect().await;
    migrate::up::<Migrations>(&database).await.unwrap();
    database
}

/// A repository of persons, and the keys of two of them.
struct World {
    database: Database,
    sealing: Sealing,
    digests: RowDigests,
    registry: Registry,
    anna: SubjectKey,
    bert: SubjectKey,
}

fn key(subject: u128, generation: u32) -> SubjectKey {
    let entropy = SeededEntropy::new(u64::from(generation));
    let scope = Scope { service: Workload::Consent, tenant: TenantId::DEFAULT };
    let epoch = EpochKey::new(
        &KeyBytes::generate(&entropy),
        EpochId::from_uuid(Uuid::from_u128(1)),
        scope,
        Suites::ALL,
    );
    let subject = SubjectId::from_uuid(Uuid::from_u128(subject));
    epoch.new_subject_key(subject, generation, Timestamp::default(), &entropy).unwrap().0
}

impl World {
    async fn new(database: &TestDatabase) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let database = database.connect_with(metrics.clone()).await;
        migrate::up::<Migrations>(&database).await.unwrap();
        let sealing = Sealing::new(Arc::new(SeededEntropy::new(7)), &metrics);
        let digests = RowDigests::new(RowDigestKey::new(&[9; 32]), &metrics);
        Self { database, sealing, digests, registry, anna: key(1, 1), bert: key(2, 1) }
    }

    /// Version 3 of a row.
    fn model(&self, id: u128, key: &SubjectKey, name: &str, note: Option<&str>) -> person::Model {
        let row = Row { id: Uuid::from_u128(id).into_bytes(), version: 3 };
        let note = note.map(str::to_owned);
        let mut model = person::Model {
            id: Uuid::from_u128(id),
            subject: key.owner().subject.uuid(),
            name: NAME.seal(&self.sealing, key, row, &name.to_owned()).unwrap(),
            note: NOTE.seal_option(&self.sealing, key, row, note.as_ref()).unwrap(),
            kind: "customer".to_owned(),
            seen_at: Some(-5),
            version: 3,
            digest: None,
        };
        self.digests.stamp(&mut model).unwrap();
        model
    }

    async fn insert(&self, model: person::Model) {
        let model = &model;
        let insert = self.database.run_tx("insert", |tx| async move {
            person::Entity::insert(model.clone().into_active_model())
                .exec_without_returning(tx.conn())
                .await?;
            Ok::<_, StoreError>(())
        });
        insert.await.unwrap();
    }

    async fn find(&self, id: u128) -> person::Model {
        let find = self.database.read("find", |tx| async move {
            Ok::<_, StoreError>(person::Entity::find_by_id(Uuid::from_u128(id)).one(tx.conn()).await?)
        });
        find.await.unwrap().unwrap()
    }

    /// What somebody does who can write to the database but has no key.
    async fn tamper(&self, sql: &str) {
        let tamper = self.database.run_tx("tamper", |tx| async move {
            Ok::<_, StoreError>(tx.conn().execute_unprepared(sql).await?.rows_affected())
        });
        assert!(tamper.await.unwrap() > 0, "{sql}");
    }

    fn open(&self, model: &person::Model, key: &SubjectKey) -> Result<(String, Option<String>), StoreError> {
        let name = NAME.open(&self.sealing, key, model.row(), &model.name)?;
        Ok((name, NOTE.open_option(&self.sealing, key, model.row(), model.note.as_ref())?))
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

fn cause<T>(result: Result<T, StoreError>) -> (&'static str, Corruption) {
    match result.err().unwrap() {
        StoreError::Corrupt { table, column, row, cause } => {
            assert_eq!((table, row.len()), ("person", 36));
            (column, cause)
        }
        error => panic!("{error}"),
    }
}

each_database! {
    /// The same values come back through sea-orm, NULL included.
    async fn opens_what_was_sealed(database) {
        let world = World::new(database).await;
        world.insert(world.model(1, &world.anna, "Anna Žofie", Some("likes tea"))).await;
        world.insert(world.model(2, &world.bert, "", None)).await;
        let (one, two) = (world.find(1).await, world.find(2).await);
        assert_eq!(world.open(&one, &world.anna).unwrap(), ("Anna Žofie".to_owned(), Some("likes tea".to_owned())));
        assert_eq!(world.open(&two, &world.bert).unwrap(), (String::new(), None));
        world.digests.check(&one).unwrap();
        world.digests.check(&two).unwrap();
        assert_eq!((one.name.envelope().len(), one.note.unwrap().envelope().len()), (64 + 34, 9 + 34));
    }

    /// Swaps between rows, columns and people, cuts, and cells of an older version.
    async fn refuses_what_was_moved(database) {
        let world = World::new(database).await;
        world.insert(world.model(1, &world.anna, "Anna", Some("one"))).await;
        world.insert(world.model(2, &world.anna, "Hanna", Some("two"))).await;
        world.insert(world.model(3, &world.bert, "Bert", Some("three"))).await;
        world.insert(world.model(4, &world.anna, "Nan", Some("four"))).await;
        world.insert(world.model(5, &world.anna, "Ann", Some("five"))).await;
        world.insert(world.model(6, &world.anna, "Anne", Some("six"))).await;
        let refused = |name| (name, Corruption::EnvelopeRefused);

        let uuid = |id: u128| if database_is_postgres(&world) {
            format!("'{}'", Uuid::from_u128(id))
        } else {
            format!("x'{}'", Uuid::from_u128(id).simple())
        };
        world.tamper(&format!(
            "UPDATE person SET name = (SELECT name FROM person WHERE id = {}) WHERE id = {}", uuid(2), uuid(1)
        )).await;
        assert_eq!(cause(world.open(&world.find(1).await, &world.anna)), refused("name"), "from another row");
        world.tamper(&format!(
            "UPDATE person SET note = (SELECT note FROM person WHERE id = {}) WHERE id = {}", uuid(3), uuid(2)
        )).await;
        assert_eq!(cause(world.open(&world.find(2).await, &world.anna)), refused("note"), "from another person");
        world.tamper(&format!("UPDATE person SET note = name WHERE id = {}", uuid(3))).await;
        assert_eq!(cause(world.open(&world.find(3).await, &world.bert)), refused("note"), "from another column");
        world.tamper(&format!("UPDATE person SET version = 4 WHERE id = {}", uuid(4))).await;
        assert_eq!(cause(world.open(&world.find(4).await, &world.anna)), refused("name"), "from an older version");
        world.tamper(&format!("UPDATE person SET name = substr(name, 1, 17) WHERE id = {}", uuid(5))).await;
        assert_eq!(cause(world.open(&world.find(5).await, &world.anna)), ("name", Corruption::EnvelopeMalformed));
        let stranger = world.open(&world.find(6).await, &world.bert);
        assert_eq!(cause(stranger), refused("name"), "the key of another person");
        let text = world.metrics();
        assert!(text.contains("store_sealed_cell_refusals_total{cause=\"envelope_refused\"} 5"), "{text}");
    }

    /// What is sealed and opened is counted by suite, and every 64th time it is measured.
    async fn cells_are_counted_and_measured(database) {
        let world = World::new(database).await;
        let models: Vec<_> = (0..65).map(|id| world.model(id, &world.anna, "Anna", Some("note"))).collect();
        for model in &models[..33] {
            world.open(model, &world.anna).unwrap();
        }
        let text = world.metrics();
        for (operation, cells, measured) in [("seal", 130, 3), ("open", 66, 2)] {
            let labels = format!("{{operation=\"{operation}\",suite=\"AES-256-GCM\"}}");
            for line in [
                format!("store_sealed_cells_total{labels} {cells}"),
                format!("store_sealed_cell_duration_seconds_count{labels} {measured}"),
            ] {
                assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
            }
            let sum = format!("store_sealed_cell_duration_seconds_sum{labels} ");
            let sum = text.lines().find_map(|line| line.strip_prefix(&sum)).unwrap();
            assert!(sum.parse::<f64>().unwrap() > 0.0);
        }
    }

    /// Whatever column is changed, added or taken away by somebody without the key, the digest says so.
    async fn a_digest_covers_every_column(database) {
        let world = World::new(database).await;
        let changes = [
            "subject = id", "name = note", "note = NULL", "kind = 'admin'", "seen_at = NULL", "seen_at = -6",
            "version = 4", "digest = NULL", "digest = name",
        ];
        for (id, change) in (11..).zip(changes) {
            world.insert(world.model(id, &world.anna, "Anna", Some("note"))).await;
            world.digests.check(&world.find(id).await).unwrap();
            world.tamper(&format!("UPDATE person SET {change} WHERE version = 3")).await;
            let row = world.find(id).await;
            assert_eq!(cause(world.digests.check(&row)), ("", Corruption::DigestMismatch), "{change}");
            world.tamper("DELETE FROM person").await;
        }
        let mut other = world.model(1, &world.anna, "Anna", None);
        other.id = Uuid::from_u128(2);
        assert!(world.digests.check(&other).is_err(), "a copy of a row is not a row");
    }
}

fn database_is_postgres(world: &World) -> bool {
    format!("{:?}", world.database).contains("PostgreSQL")
}

/// A person with a second generation of keys, the first of them lost.
struct Second(SubjectKey, Option<SubjectKey>);

impl KeysOfSubject for Second {
    fn sealing(&self) -> &SubjectKey {
        &self.0
    }

    fn opening(&self, generation: u32) -> Option<&SubjectKey> {
        [Some(&self.0), self.1.as_ref()].into_iter().flatten().find(|key| key.generation() == generation)
    }
}

#[test]
fn each_cell_is_opened_by_the_generation_it_names() {
    let sealing = Sealing::new(Arc::new(SeededEntropy::new(7)), &Metrics::default());
    let row = Row { id: [1; 16], version: 1 };
    let old = NAME.seal(&sealing, &key(1, 1), row, &"old".to_owned()).unwrap();
    let both = Second(key(1, 2), Some(key(1, 1)));
    let new = NAME.seal(&sealing, &both, row, &"new".to_owned()).unwrap();
    assert_eq!(NAME.open(&sealing, &both, row, &old).unwrap(), "old");
    assert_eq!(NAME.open(&sealing, &both, row, &new).unwrap(), "new");
    let lost = Second(key(1, 2), None);
    assert_eq!(cause(NAME.open(&sealing, &lost, row, &old)), ("name", Corruption::KeyMissing));
}

/// The keys of a person as the hierarchy gives them out: the newest, which holds the older ones.
#[test]
fn a_key_opens_the_cells_of_those_it_comes_after() {
    let sealing = Sealing::new(Arc::new(SeededEntropy::new(7)), &Metrics::default());
    let row = Row { id: [1; 16], version: 1 };
    let first = NAME.seal(&sealing, &key(1, 1), row, &"first".to_owned()).unwrap();
    let second = NAME.seal(&sealing, &key(1, 2), row, &"second".to_owned()).unwrap();
    let fourth = NAME.seal(&sealing, &key(1, 4), row, &"fourth".to_owned()).unwrap();
    let newest = Arc::new(key(1, 3).after(key(1, 2).after(key(1, 1))));
    assert_eq!(NAME.open(&sealing, &newest, row, &first).unwrap(), "first");
    assert_eq!(NAME.open(&sealing, &newest, row, &second).unwrap(), "second");
    let third = NAME.seal(&sealing, &newest, row, &"third".to_owned()).unwrap();
    assert_eq!(third.envelope()[2..6], 3_u32.to_be_bytes());
    assert_eq!(NAME.open(&sealing, &newest, row, &third).unwrap(), "third");
    assert_eq!(cause(NAME.open(&sealing, &newest, row, &fourth)), ("name", Corruption::KeyMissing));
    let other = key(2, 3).after(key(2, 2).after(key(2, 1)));
    assert_eq!(cause(NAME.open(&sealing, &other, row, &first)), ("name", Corruption::EnvelopeRefused));
}

#[test]
fn among_many_one_bad_cell_spoils_no_other() {
    let sealing = Sealing::new(Arc::new(SeededEntropy::new(7)), &Metrics::default());
    let key = key(1, 1);
    let rows: Vec<Row> = (0..5).map(|id| Row { id: [id; 16], version: 1 }).collect();
    let values: Vec<String> = (0..5).map(|number| format!("value {number}")).collect();
    let cells = rows.iter().zip(&values).map(|(row, value)| Cell { keys: &key, row: *row, value });
    let mut sealed = NAME.seal_many(&sealing, cells).unwrap();
    let mut flipped = sealed[3].clone().into_envelope();
    flipped[40] ^= 1;
    sealed[3] = Sealed::from_envelope(flipped);
    let cells = rows.iter().zip(&sealed).map(|(row, value)| Cell { keys: &key, row: *row, value });
    let opened = NAME.open_many(&sealing, cells);
    for (number, opened) in opened.into_iter().enumerate() {
        if number == 3 {
            assert_eq!(cause(opened), ("name", Corruption::EnvelopeRefused));
        } else {
            assert_eq!(opened.unwrap(), values[number]);
        }
    }
}

#[test]
fn errors_and_debug_tell_the_place_and_no_content() {
    let sealing = Sealing::new(Arc::new(SeededEntropy::new(7)), &Metrics::default());
    let row = Row { id: [0xab; 16], version: 1 };
    let sealed = NAME.seal(&sealing, &key(1, 1), row, &"Anna Canary".to_owned()).unwrap();
    let error = NAME.open(&sealing, &key(2, 1), row, &sealed).unwrap_err();
    let text = "the row abababab-abab-abab-abab-abababababab of person is corrupt in name: the envelope does not open";
    assert_eq!(error.to_string(), text);
    assert!(!format!("{error:?} {sealed:?} {sealing:?}").contains("Anna"));
}
