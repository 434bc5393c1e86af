//! An installation that has rows of an earlier version: they are sealed while the service works, can be put back, and are
//! blanked by the commit.

use portal_proto::valuation::v1 as pb;
use portal_store::migrate;
use portal_testkit::{TestDatabase, each_database};
use portal_valuation::Migrations;
use sea_orm::Value;
use sea_orm::prelude::Uuid;

use crate::sealed::Intruder;
use crate::world::{World, batch, new_id, synthetic};

const NAME: &str = "d0001_seal_records";

/// A row as an earlier version wrote it: with it there is something to move, and nothing is sealed yet.
async fn an_older_row(database: &TestDatabase) -> Intruder {
    let intruder = Intruder::of(database).await;
    migrate::up::<Migrations>(&intruder.0).await.unwrap();
    let sql = "INSERT INTO dataset (id, owner, display_name, description, task, feature_count, class_count, \
               feature_names, purpose_id, training_count, validation_count, revision, created_at, updated_at) \
               VALUES ($1, $1, 'old', '', 1, 2, 10, '', $1, 0, 0, 0, 1, 1)";
    assert_eq!(intruder.write(sql, &[Value::from(Uuid::from_u128(7))]).await, 1);
    intruder
}

impl Intruder {
    /// Does what an operator's call does, and waits until it is done.
    async fn steer(&self, (state, step): (&str, &str), end: &str) {
        let sql = "INSERT INTO data_migration (name, state, step, committed, changed_at) VALUES ($1, $2, $3, $4, 0) \
                   ON CONFLICT (name) DO UPDATE SET state = excluded.state, step = excluded.step";
        let values = [NAME.into(), state.into(), step.into(), false.into()];
        assert_eq!(self.write(sql, &values).await, 1);
        let progress = "UPDATE data_migration_progress SET cursor = NULL, at_end = $2, counted = $2, step_done = 0 WHERE name = $1";
        self.write(progress, &[NAME.into(), false.into()]).await;
        let mut last = String::new();
        for _ in 0..1_200 {
            last = self.column::<String>("data_migration", "state").await.remove(0);
            if last == end {
                return;
            }
            assert_ne!(
                last,
                "failed",
                "{:?}",
                self.column::<Option<String>>("data_migration", "failure_reason").await
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("it is {last}, not {end}");
    }

    /// Everything that the data migration may touch, as it stands in the database.
    async fn dump(&self) -> Vec<String> {
        let mut dump = Vec::new();
        for (table, columns) in [
            ("dataset", "revision, row_digest"),
            ("append", "revision, row_digest"),
            ("batch", "features, labels, sealed, row_digest"),
            ("valuation", "k, state, row_digest, result_digest"),
            ("exclusion", "subject_count, row_digest"),
            ("record_value", "value, standard_error, standing, percentile, measure, row_digest"),
            ("subject_value", "value, standard_error, standing, percentile, measure, row_digest"),
        ] {
            for column in columns.split(", ") {
                let hex = match column {
                    "features" | "labels" | "sealed" | "measure" | "row_digest" | "result_digest" => {
                        let mut cells = self.column::<Option<Vec<u8>>>(table, column).await;
                        cells.sort();
                        format!("{cells:?}")
                    }
                    "value" | "standard_error" | "percentile" => {
                        let mut cells = self.column::<Option<f64>>(table, column).await;
                        cells.sort_by(|a, b| a.partial_cmp(b).unwrap());
                        format!("{cells:?}")
                    }
                    _ => {
                        let mut cells = self.column::<Option<i64>>(table, column).await;
                        cells.sort_unstable();
                        format!("{cells:?}")
                    }
                };
                dump.push(format!("{table}.{column} {hex}"));
            }
        }
        dump
    }
}

each_database! {
    async fn rows_of_an_earlier_version_are_sealed_put_back_and_committed(database) {
        let intruder = an_older_row(database).await;
        let world = World::start(database).await;
        world.decisions.withdraw(&crate::world::person(3));
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
            let again = world.datasets().append_record_batch(request.clone()).await.unwrap().into_inner();
            assert_eq!(again, reply, "{what}");
            let second = world.valued(&world.start_valuation(&dataset).await.name).await;
            assert_eq!(world.record_values(&second.valuation_id).await, values, "{what}");
        };
        // Written as before: in the clear alone.
        assert_eq!(intruder.count("batch WHERE sealed IS NOT NULL OR row_digest IS NOT NULL").await, 0);
        assert_eq!(intruder.count("record_value WHERE measure IS NOT NULL OR standing = 0").await, 0);
        assert_eq!(intruder.count("idempotency_key WHERE sealed_reply IS NOT NULL").await, 0);
        let before = intruder.dump().await;

        intruder.steer(("running", "move"), "done").await;
        assert_eq!(intruder.count("batch WHERE sealed IS NULL OR row_digest IS NULL").await, 0);
        assert_eq!(intruder.count("record_value WHERE measure IS NULL OR row_digest IS NULL OR standing = 0").await, 0);
        intruder.steer(("rolling_back", "undo"), "rolled_back").await;
        assert_eq!(intruder.dump().await, before);

        intruder.steer(("running", "move"), "done").await;
        same("moved").await;
        assert_eq!(intruder.count("batch WHERE sealed IS NULL OR row_digest IS NULL").await, 0);
        assert_eq!(intruder.count("valuation WHERE row_digest IS NULL OR result_digest IS NULL").await, 0);
        assert_eq!(intruder.count("exclusion WHERE row_digest IS NULL").await, 0);
        assert_eq!(intruder.count("subject_value WHERE measure IS NULL OR standing = 0").await, 0);

        intruder.steer(("committing", "commit"), "done").await;
        for table in ["record_value", "subject_value"] {
            assert_eq!(intruder.count(&format!("{table} WHERE standing <> 0 OR value <> 0")).await, 0);
        }
        assert_eq!(intruder.column::<Vec<u8>>("batch", "features").await.concat(), Vec::<u8>::new());
        assert_eq!(intruder.column::<Vec<u8>>("batch", "labels").await.concat(), Vec::<u8>::new());
        same("committed").await;
        assert_eq!(intruder.count("record_value WHERE standing <> 0").await, 0);
    }
}
