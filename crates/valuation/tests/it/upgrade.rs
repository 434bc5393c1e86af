//! An installation that has rows of an earlier version: they are sealed while the service works, can be put back, and are
//! blanked by the commit.

use std::time::Duration;

use portal_core::id::{Id, SubjectId};
use portal_proto::common::v1::{self as common, MigrationState as State};
use portal_proto::valuation::v1 as pb;
use portal_store::migrate;
use portal_testkit::{TestDatabase, each_database};
use portal_valuation::Migrations;
use sea_orm::prelude::Uuid;
use sea_orm::{QueryResult, Value};
use tonic::Code;

use crate::sealed::{Intruder, ends, extremes, list, uuid, withheld};
use crate::world::{World, assert_refused, batch, new_id, person, synthetic};

pub const NAME: &str = "d0001_seal_records";

/// What an operator asks of the migration.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    Commit,
    RollBack,
    Start,
    Verify,
}

/// Asks, and waits until it is done.
pub async fn steer(world: &World, ask: Ask) -> common::Migration {
    let (mut migrations, name, request_id) =
        (world.migrations(&world.operator), NAME.to_owned(), String::new());
    let asked = match ask {
        Ask::Commit => migrations.commit_migration(common::CommitMigrationRequest { name, request_id }).await,
        Ask::RollBack => {
            migrations.rollback_migration(common::RollbackMigrationRequest { name, request_id }).await
        }
        Ask::Start => {
            let request = common::StartMigrationRequest { name, ..Default::default() };
            migrations.start_migration(request).await
        }
        Ask::Verify => migrations.verify_migration(common::VerifyMigrationRequest { name, request_id }).await,
    };
    asked.unwrap();
    let end = if matches!(ask, Ask::RollBack) { State::RolledBack } else { State::Done };
    let reached = async {
        loop {
            let request = common::GetMigrationRequest { name: NAME.to_owned() };
            let migration = migrations.get_migration(request).await.unwrap().into_inner();
            assert_ne!(migration.state(), State::Failed, "{ask:?}: {}", migration.failure_reason);
            if migration.state() == end {
                return migration;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap()
}

/// A row as an earlier version wrote it: with it there is something to move, and nothing is sealed yet.
pub async fn an_older_row(database: &TestDatabase) -> Intruder {
    let intruder = Intruder::of(database).await;
    migrate::up::<Migrations>(&intruder.0).await.unwrap();
    let sql = "INSERT INTO dataset (id, owner, display_name, description, task, feature_count, class_count, \
               feature_names, purpose_id, training_count, validation_count, revision, created_at, updated_at) \
               VALUES ($1, $1, 'old', '', 1, 2, 10, '', $1, 0, 0, 0, 1, 1)";
    assert_eq!(intruder.write(sql, &[Value::from(Uuid::from_u128(7))]).await, 1);
    intruder
}

impl Intruder {
    /// Everything that the data migration may touch, as it stands in the database: every column of every row.
    async fn dump(&self) -> Vec<String> {
        let mut dump = Vec::new();
        for (table, key) in [
            ("dataset", "id"),
            ("append", "id"),
            ("batch", "append_id, position"),
            ("record", "dataset_id, record_id"),
            ("valuation", "id"),
            ("exclusion", "valuation_id, cause"),
            ("record_value", "valuation_id, position"),
            ("subject_value", "valuation_id, position"),
        ] {
            for row in self.read(&format!("SELECT * FROM {table} ORDER BY {key}"), &[]).await {
                let cells: Vec<_> = row.column_names().iter().map(|column| cell(&row, column)).collect();
                dump.push(format!("{table} {}", cells.join(" ")));
            }
        }
        assert!(dump.len() > 20);
        dump
    }
}

/// A value with every bit of it, whatever its type.
fn cell(row: &QueryResult, column: &str) -> String {
    let bytes = row.try_get::<Option<Vec<u8>>>("", column).map(|value| format!("{value:?}"));
    let bytes = bytes.or_else(|_| row.try_get::<Option<i64>>("", column).map(|value| format!("{value:?}")));
    let float =
        || row.try_get::<Option<f64>>("", column).map(|value| format!("{:?}", value.map(f64::to_bits)));
    let bytes = bytes.or_else(|_| float());
    let bytes = bytes.or_else(|_| row.try_get::<Option<Uuid>>("", column).map(|value| format!("{value:?}")));
    bytes.or_else(|_| row.try_get::<Option<String>>("", column).map(|value| format!("{value:?}"))).unwrap()
}

fn floats(numbers: &[f32]) -> Value {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>().into()
}

/// Appends two records and ends a valuation as an earlier version does, which knows nothing of seals and digests. Says how
/// many rows of these the migration has to move.
async fn write_like_before(intruder: &Intruder, dataset: &pb::Dataset, valuation: &pb::Valuation) -> i64 {
    let (append, dataset_id) = (Value::from(Uuid::from_u128(0xa)), uuid(&dataset.dataset_id));
    let sql = "INSERT INTO append (id, dataset_id, revision, expires_at) VALUES ($1, $2, $3, 9)";
    let revision = Value::from(dataset_revision(intruder, dataset).await + 1);
    assert_eq!(intruder.write(sql, &[append.clone(), dataset_id.clone(), revision.clone()]).await, 1);
    let sql = "INSERT INTO batch (append_id, position, split, features, labels) VALUES ($1, 0, 1, $2, $3)";
    let values = [append.clone(), floats(&[0.25, 0.5, 0.75, 0.5]), floats(&[2.0, 7.0])];
    assert_eq!(intruder.write(sql, &values).await, 1);
    // One person who is known, and one who is not.
    for (row, subject) in [(0_i64, person(0)), (1, person(77))] {
        let sql = "INSERT INTO record (dataset_id, record_id, append_id, position, batch_row, subject_id, revision) \
                   VALUES ($1, $2, $3, 0, $4, $5, $6)";
        let values = [
            dataset_id.clone(),
            format!("late{row}").into(),
            append.clone(),
            row.into(),
            uuid(&subject),
            revision.clone(),
        ];
        assert_eq!(intruder.write(sql, &values).await, 1);
    }
    // Beneath the digest, if there is one.
    let sql = "UPDATE dataset SET revision = $2, training_count = training_count + 2 WHERE id = $1";
    assert_eq!(intruder.write(sql, &[dataset_id, revision]).await, 1);
    let id = [uuid(&valuation.valuation_id), Value::from(Uuid::from_u128(0xb))];
    let sql = "INSERT INTO valuation (id, dataset_id, dataset_revision, owner, method, k, state, failure, attempt, \
               lease_owner, lease_until, done_units, total_units, run_started_at, measured_at, record_count, \
               subject_count, value_sum, full_utility, empty_utility, min_value, max_value, created_at, started_at, ended_at) \
               SELECT $2, dataset_id, dataset_revision, owner, method, k, state, failure, attempt, \
               lease_owner, lease_until, done_units, total_units, run_started_at, measured_at, record_count, \
               subject_count, value_sum, full_utility, empty_utility, min_value, max_value, created_at, started_at, ended_at \
               FROM valuation WHERE id = $1";
    assert_eq!(intruder.write(sql, &id).await, 1);
    let sql = "INSERT INTO record_value (valuation_id, position, record_id, subject_id, value, standard_error, standing, percentile) \
               SELECT $2, position, record_id, subject_id, value, standard_error, standing, percentile \
               FROM record_value WHERE valuation_id = $1";
    let values = intruder.write(sql, &id).await;
    assert!(values > 0);
    // Append, batch, valuation, values.
    3 + i64::try_from(values).unwrap()
}

async fn dataset_revision(intruder: &Intruder, dataset: &pb::Dataset) -> i64 {
    let rows =
        intruder.read("SELECT revision FROM dataset WHERE id = $1", &[uuid(&dataset.dataset_id)]).await;
    rows[0].try_get_by_index(0).unwrap()
}

each_database! {
    async fn rows_of_an_earlier_version_are_sealed_put_back_and_committed(database) {
        let intruder = an_older_row(database).await;
        let world = World::start(database).await;
        world.decisions.withdraw(&person(3));
        let records = synthetic(20, 10, 4);
        let dataset = world.create(2).await;
        let request = pb::AppendRecordBatchRequest {
            dataset_id: dataset.dataset_id.clone(),
            batch: Some(batch(&records[..20])),
            request_id: new_id(),
        };
        let reply = world.datasets().append_record_batch(request.clone()).await.unwrap().into_inner();
        world.append(&dataset.dataset_id, &records[20..], 7).await.unwrap();
        let dataset = world.dataset(&dataset.dataset_id).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let values = world.record_values(&valuation.valuation_id).await;
        assert_eq!(values.len(), 15);
        let same = async |what: &str| {
            assert_eq!(world.record_values(&valuation.valuation_id).await, values, "{what}");
            assert_eq!(world.dataset(&dataset.dataset_id).await, dataset, "{what}");
            let second = world.valued(&world.start_valuation(&dataset).await.name).await;
            assert_eq!(world.record_values(&second.valuation_id).await, values, "{what}");
        };
        let again = async || world.datasets().append_record_batch(request.clone()).await;
        // Written as before: in the clear alone.
        assert_eq!(extremes(&valuation), ends(&values));
        assert_eq!(intruder.count("valuation WHERE min_value IS NULL OR max_value IS NULL").await, 0);
        assert_eq!(intruder.count("batch WHERE sealed IS NOT NULL OR row_digest IS NOT NULL").await, 0);
        assert_eq!(intruder.count("record_value WHERE measure IS NOT NULL OR standing = 0").await, 0);
        assert_eq!(intruder.count("idempotency_key WHERE sealed_reply IS NOT NULL").await, 0);
        let before = intruder.dump().await;

        steer(&world, Ask::Start).await;
        assert_eq!(intruder.count("batch WHERE sealed IS NULL OR row_digest IS NULL").await, 0);
        assert_eq!(intruder.count("record_value WHERE measure IS NULL OR row_digest IS NULL OR standing = 0").await, 0);
        steer(&world, Ask::RollBack).await;
        assert_eq!(intruder.dump().await, before);

        steer(&world, Ask::Start).await;
        same("moved").await;
        assert_eq!(again().await.unwrap().into_inner(), reply);
        assert_eq!(intruder.count("batch WHERE sealed IS NULL OR row_digest IS NULL").await, 0);
        assert_eq!(intruder.count("valuation WHERE row_digest IS NULL OR result_digest IS NULL").await, 0);
        assert_eq!(intruder.count("exclusion WHERE row_digest IS NULL").await, 0);
        assert_eq!(intruder.count("subject_value WHERE measure IS NULL OR standing = 0").await, 0);

        steer(&world, Ask::Commit).await;
        for table in ["record_value", "subject_value"] {
            assert_eq!(intruder.count(&format!("{table} WHERE standing <> 0 OR value <> 0")).await, 0);
        }
        assert_eq!(intruder.column::<Vec<u8>>("batch", "features").await.concat(), Vec::<u8>::new());
        assert_eq!(intruder.column::<Vec<u8>>("batch", "labels").await.concat(), Vec::<u8>::new());
        assert_eq!(intruder.count("valuation WHERE min_value IS NOT NULL OR max_value IS NOT NULL").await, 0);
        same("committed").await;
        // A reply that stands in the clear alone could be anybody's by now.
        assert_refused(again().await, Code::DataLoss, "ROW_CORRUPT");
        let get = pb::GetValuationRequest { valuation_id: valuation.valuation_id.clone() };
        assert_eq!(world.valuations().get_valuation(get).await.unwrap().into_inner(), valuation);
        assert_eq!(intruder.count("record_value WHERE standing <> 0").await, 0);
    }

    /// While both forms are there, an earlier version may still be writing: what it wrote counts, is moved when the
    /// migration verifies, and what it wrote after that is moved by the commit.
    async fn what_an_earlier_version_writes_is_heeded(database) {
        let intruder = an_older_row(database).await;
        let mut world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let values = world.record_values(&valuation.valuation_id).await;
        let moved = steer(&world, Ask::Start).await;
        // The older dataset, the new one, its append with two batches, the valuation and its values.
        assert_eq!((moved.rows_total, moved.rows_done), (2 + 3 + 1 + 20 + 4, 2 + 3 + 1 + 20 + 4));

        let late = write_like_before(&intruder, &dataset, &valuation).await;
        let grown = world.dataset(&dataset.dataset_id).await;
        assert_eq!(grown.training_record_count, 22);
        let copy = Uuid::from_u128(0xb).to_string();
        assert_eq!(world.record_values(&copy).await, values);
        let second = world.valued(&world.start_valuation(&grown).await.name).await;
        let second_values = world.record_values(&second.valuation_id).await;
        assert_eq!(second_values.len(), 22);
        assert!(second_values.iter().any(|value| value.record_id == "late1" && value.subject_id == person(77)));

        let verified = steer(&world, Ask::Verify).await;
        assert_eq!(verified.rows_done, moved.rows_done + late);
        assert_eq!(intruder.count("batch WHERE sealed IS NULL OR row_digest IS NULL").await, 0);
        assert_eq!(intruder.count("record_value WHERE measure IS NULL OR row_digest IS NULL").await, 0);
        assert_eq!(intruder.count("valuation WHERE row_digest IS NULL OR result_digest IS NULL").await, 0);
        let renamed = "UPDATE dataset SET display_name = 'Renamed' WHERE id = $1";
        assert_eq!(intruder.write(renamed, &[uuid(&dataset.dataset_id)]).await, 1);
        let worth = "UPDATE record_value SET percentile = percentile / 2 WHERE valuation_id = $1";
        assert_eq!(intruder.write(worth, &[uuid(&copy)]).await, 20);

        steer(&world, Ask::Commit).await;
        let renamed = pb::Dataset { display_name: "Renamed".to_owned(), ..grown };
        let halved: Vec<_> = values
            .iter()
            .map(|value| pb::RecordValue { percentile: value.percentile / 2.0, ..value.clone() })
            .collect();
        for round in ["committed", "restarted"] {
            assert_eq!(world.dataset(&dataset.dataset_id).await, renamed, "{round}");
            assert_eq!(world.record_values(&valuation.valuation_id).await, values, "{round}");
            assert_eq!(world.record_values(&copy).await, halved, "{round}");
            assert_eq!(world.record_values(&second.valuation_id).await, second_values, "{round}");
            let third = world.valued(&world.start_valuation(&renamed).await.name).await;
            assert_eq!(world.record_values(&third.valuation_id).await, second_values, "{round}");
            world.restart().await;
        }
        assert_eq!(intruder.count("batch WHERE LENGTH(features) > 0 OR LENGTH(labels) > 0").await, 0);
        assert_eq!(intruder.count("record_value WHERE standing <> 0 OR value <> 0 OR percentile <> 0").await, 0);
    }

    /// Until the commit a new form that somebody changed is made again: what stands in the clear is the truth.
    async fn a_changed_new_form_is_made_again(database) {
        let intruder = an_older_row(database).await;
        let world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let values = world.record_values(&valuation.valuation_id).await;
        steer(&world, Ask::Start).await;
        let swapped = "UPDATE record_value SET measure = (SELECT o.measure FROM record_value o \
                       WHERE o.valuation_id = record_value.valuation_id AND o.position = 1) WHERE position = 0";
        assert_eq!(intruder.write(swapped, &[]).await, 1);
        steer(&world, Ask::Verify).await;
        steer(&world, Ask::Commit).await;
        assert_eq!(world.record_values(&valuation.valuation_id).await, values);
        world.valued(&world.start_valuation(&dataset).await.name).await;
    }

    /// Somebody who was erased before: nothing of them is sealed, it goes with the commit, and others are as before.
    async fn the_erased_go_with_the_commit(database) {
        an_older_row(database).await;
        let world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let values = world.record_values(&valuation.valuation_id).await;
        let keys = world.keys().await;
        keys.erase(SubjectId::parse(&person(1)).unwrap()).await.unwrap();
        for ask in [Ask::Start, Ask::Verify, Ask::Commit] {
            steer(&world, ask).await;
        }
        let page = world.valuations().list_record_values(list(&valuation)).await.unwrap();
        assert_eq!(withheld(&page).as_deref(), Some("5"));
        let others: Vec<_> = values.into_iter().filter(|value| value.subject_id != person(1)).collect();
        assert_eq!(page.into_inner().record_values, others);
        let after = world.valued(&world.start_valuation(&dataset).await.name).await;
        assert_eq!(after.exclusions.len(), 1);
        assert_eq!(after.exclusions[0].cause(), pb::exclusion::Cause::Unreadable);
        assert_eq!(after.exclusions[0].subject_count, 1);
        assert_eq!(world.record_values(&after.valuation_id).await.len(), 15);
        keys.close().await;
    }

    /// While records stand in the clear alone, or in both forms, whoever was erased is left out all the same: of those
    /// who are valued, and of those whom others are compared with.
    async fn the_erased_are_left_out_before_the_commit(database) {
        an_older_row(database).await;
        let mut world = World::start(database).await;
        let mut records = synthetic(20, 10, 3);
        // Persons 0 to 2 train; validation is of 3, 4 and 5.
        for record in &mut records[20..] {
            record.subject = person(3 + usize::from(record.label > 4.0) + usize::from(record.label > 7.0));
        }
        let theirs = |subject: &str, split: pb::Split| {
            let theirs = records.iter().filter(|record| record.subject == subject && record.split == split);
            i64::try_from(theirs.count()).unwrap()
        };
        let dataset = world.filled(2, &records).await;
        let keys = world.keys().await;
        let erased = [person(1), person(3)];
        for erased in &erased {
            keys.erase(SubjectId::parse(erased).unwrap()).await.unwrap();
        }
        keys.close().await;
        // That it is told within a second is tested elsewhere.
        world.restart().await;
        let check = async |what: &str| {
            let valued = world.valued(&world.start_valuation(&dataset).await.name).await;
            let expected = pb::Exclusion {
                cause: pb::exclusion::Cause::Unreadable.into(),
                training_record_count: theirs(&erased[0], pb::Split::Train),
                validation_record_count: theirs(&erased[1], pb::Split::Validation),
                subject_count: 2,
            };
            assert!(expected.training_record_count > 0 && expected.validation_record_count > 0);
            assert_eq!(valued.exclusions, [expected], "{what}");
            let values = world.record_values(&valued.valuation_id).await;
            assert!(values.iter().all(|value| value.subject_id != erased[0]), "{what}");
            values
        };
        let before = check("in the clear").await;
        steer(&world, Ask::Start).await;
        assert_eq!(check("in both forms").await, before);
        steer(&world, Ask::Verify).await;
        steer(&world, Ask::Commit).await;
        assert_eq!(check("sealed").await, before);
    }
}
