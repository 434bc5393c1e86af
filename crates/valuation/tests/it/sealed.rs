//! What the database holds, what is made of it when somebody changes it, and what is left of people who were erased.

use std::collections::{BTreeMap, HashSet};

use portal_core::id::{Id, SubjectId};
use portal_proto::google::longrunning::operation;
use portal_proto::google::rpc;
use portal_proto::valuation::v1 as pb;
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use portal_store::{Database, StoreError, Tx};
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use sea_orm::prelude::Uuid;
use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use tonic::{Code, Response};

use crate::world::{World, assert_refused, batch, new_id, person, start_request, synthetic};

/// Somebody with the database and without keys.
pub struct Intruder(pub Database);

impl Intruder {
    pub async fn of(database: &portal_testkit::TestDatabase) -> Self {
        Self(database.connect().await)
    }

    pub async fn read(&self, sql: &str, values: &[Value]) -> Vec<QueryResult> {
        let read = self.0.read("look", |tx| async move {
            let backend = tx.conn().get_database_backend();
            let statement = Statement::from_sql_and_values(backend, sql, values.to_vec());
            Ok::<_, StoreError>(tx.conn().query_all_raw(statement).await?)
        });
        read.await.unwrap()
    }

    /// Changes something; says how many rows.
    pub async fn write(&self, sql: &str, values: &[Value]) -> u64 {
        let write = self.0.run_tx("tamper", |tx: Tx| async move {
            let backend = tx.conn().get_database_backend();
            let statement = Statement::from_sql_and_values(backend, sql, values.to_vec());
            Ok::<_, StoreError>(tx.conn().execute_raw(statement).await?.rows_affected())
        });
        write.await.unwrap()
    }

    pub async fn count(&self, from: &str) -> i64 {
        let rows = self.read(&format!("SELECT COUNT(*) FROM {from}"), &[]).await;
        rows[0].try_get_by_index(0).unwrap()
    }

    /// One column of a table, in no order.
    pub async fn column<T: sea_orm::TryGetable>(&self, table: &str, column: &str) -> Vec<T> {
        let rows = self.read(&format!("SELECT {column} FROM {table}"), &[]).await;
        rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }
}

pub fn uuid(text: &str) -> Value {
    Uuid::parse_str(text).unwrap().into()
}

pub fn withheld<T>(response: &Response<T>) -> Option<String> {
    response.metadata().get("portal-rows-withheld").map(|header| header.to_str().unwrap().to_owned())
}

/// The smallest and the largest value, as a valuation tells them.
pub fn extremes(valuation: &pb::Valuation) -> (f64, f64) {
    let summary = valuation.summary.as_ref().unwrap();
    (summary.min_value, summary.max_value)
}

/// The same, of a list of values.
pub fn ends(values: &[pb::RecordValue]) -> (f64, f64) {
    (values.last().unwrap().value, values[0].value)
}

/// Runs a valuation that must fail because a record can't be read.
pub async fn assert_unreadable(world: &World, dataset: &pb::Dataset) -> rpc::Status {
    let operation = world.wait(&world.start_valuation(dataset).await.name).await;
    let Some(operation::Result::Error(error)) = operation.result else { panic!("{operation:?}") };
    assert_eq!(error.code, Code::DataLoss as i32, "{error:?}");
    error
}

pub fn list(valuation: &pb::Valuation) -> pb::ListRecordValuesRequest {
    pb::ListRecordValuesRequest {
        valuation_id: valuation.valuation_id.clone(),
        page_size: 100,
        ..Default::default()
    }
}

each_database! {
    /// Nothing that is about a person stands in the clear, from the first row on.
    async fn nothing_personal_is_stored_in_the_clear(database) {
        let mut world = World::start(database).await;
        let mut records = synthetic(20, 10, 4);
        // No row of numbers but this one has these bytes.
        let canary = [1_234.567_8_f32, -9_876.543];
        records[3].features = canary.to_vec();
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
        assert_eq!(values.len(), 20);
        assert_eq!(extremes(&valuation), ends(&values));

        let intruder = Intruder::of(database).await;
        assert_eq!(intruder.column::<Vec<u8>>("batch", "features").await.concat(), Vec::<u8>::new());
        assert_eq!(intruder.column::<Vec<u8>>("batch", "labels").await.concat(), Vec::<u8>::new());
        let sealed = intruder.column::<Vec<u8>>("batch", "sealed").await;
        let mut lengths: Vec<_> = sealed.iter().map(Vec::len).collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [3 * 46, 7 * 46, 20 * 46]);
        for number in canary {
            let bytes = number.to_le_bytes();
            assert!(!sealed.concat().windows(4).any(|window| window == bytes));
        }
        for table in ["record_value", "subject_value"] {
            for column in ["value", "percentile"] {
                assert!(intruder.column::<f64>(table, column).await.iter().all(|value| *value == 0.0));
            }
            assert_eq!(intruder.column::<Option<f64>>(table, "standard_error").await.iter().flatten().count(), 0);
            assert!(intruder.column::<i64>(table, "standing").await.iter().all(|rank| *rank == 0));
            assert!(intruder.column::<Vec<u8>>(table, "measure").await.iter().all(|sealed| sealed.len() == 34 + 33));
        }
        // Each is one person's.
        assert_eq!(intruder.count("valuation WHERE min_value IS NOT NULL OR max_value IS NOT NULL").await, 0);
        assert_eq!(intruder.column::<Vec<u8>>("idempotency_key", "reply").await, [Vec::<u8>::new()]);
        assert_eq!(intruder.count("idempotency_key WHERE sealed_reply IS NULL").await, 0);
        for table in ["dataset", "append", "batch", "valuation", "record_value", "subject_value"] {
            assert_eq!(intruder.count(&format!("{table} WHERE row_digest IS NULL")).await, 0, "{table}");
        }

        // Another process has everything that it needs.
        world.restart().await;
        let again = world.datasets().append_record_batch(request).await.unwrap().into_inner();
        assert_eq!(again, reply);
        assert_eq!(world.record_values(&valuation.valuation_id).await, values);
        let second = world.valued(&world.start_valuation(&dataset).await.name).await;
        assert_eq!(world.record_values(&second.valuation_id).await, values);
    }

    /// Records that were changed, or that changed their places, are not valued, and other datasets are.
    async fn changed_records_are_found(database) {
        let world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let good = world.filled(2, &synthetic(20, 10, 4)).await;
        let swap = |table: &str, column: &str, keys: [&str; 2]| {
            format!(
                "UPDATE {table} SET {column} = (SELECT o.{column} FROM {table} o WHERE o.dataset_id = $1 \
                 AND o.record_id = CASE WHEN {table}.record_id = '{0}' THEN '{1}' ELSE '{0}' END) \
                 WHERE dataset_id = $1 AND record_id IN ('{0}', '{1}')",
                keys[0], keys[1],
            )
        };
        let batch_of = "(SELECT id FROM append WHERE dataset_id = $1)";
        let tampers = [
            // Other people's records; each other's names; each other's numbers.
            (swap("record", "subject_id", ["r0", "r1"]), 2),
            ("UPDATE record SET record_id = 'other' WHERE dataset_id = $1 AND record_id = 'r0'".to_owned(), 1),
            ("UPDATE record SET batch_row = 1000 WHERE dataset_id = $1 AND record_id = 'r0'".to_owned(), 1),
            // The batch itself.
            (format!("UPDATE batch SET split = 3 - split WHERE append_id IN {batch_of}"), 2),
            (format!("UPDATE batch SET sealed = labels WHERE append_id IN {batch_of}"), 2),
            (format!("UPDATE batch SET sealed = NULL WHERE append_id IN {batch_of}"), 2),
            (format!("UPDATE batch SET row_digest = NULL WHERE append_id IN {batch_of}"), 2),
            // The clear form has nothing to say any more.
            (format!("UPDATE batch SET features = sealed, labels = sealed WHERE append_id IN {batch_of}"), 2),
            // What is part of the dataset.
            ("UPDATE append SET expires_at = 0 WHERE dataset_id = $1".to_owned(), 1),
            ("UPDATE append SET row_digest = NULL WHERE dataset_id = $1".to_owned(), 1),
        ];
        for (sql, rows) in tampers {
            let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
            assert_eq!(intruder.write(&sql, &[uuid(&dataset.dataset_id)]).await, rows, "{sql}");
            assert_unreadable(&world, &dataset).await;
        }
        world.valued(&world.start_valuation(&good).await.name).await;
    }

    /// A cell opens in its own place only, even for somebody who could make digests.
    async fn records_of_one_batch_do_not_change_places(database) {
        let world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let dataset = world.filled(2, &synthetic(4, 2, 1)).await;
        // All are the same person's: nothing but the place tells one cell from another.
        let sql = "UPDATE record SET batch_row = 7 - batch_row WHERE dataset_id = $1 \
                   AND record_id IN ('r0', 'r3') AND batch_row = $2";
        let move_to = |row: i64| vec![uuid(&dataset.dataset_id), Value::from(row)];
        assert_eq!(intruder.write(sql, &move_to(0)).await, 1);
        assert_unreadable(&world, &dataset).await;
    }

    /// A corrupt row is named where it alone is asked for, and left out and counted in lists; the rest is there.
    async fn changed_rows_are_left_out_and_counted(database) {
        let world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let other = world.valued(&world.start_valuation(&dataset).await.name).await;
        let id = &[uuid(&valuation.valuation_id)];
        let before = world.record_values(&valuation.valuation_id).await;

        // SQLite changes row after row: without the copy the second would get its own back.
        intruder.write("CREATE TABLE copy AS SELECT * FROM record_value", &[]).await;
        let swap = "UPDATE record_value SET measure = (SELECT o.measure FROM copy o \
                    WHERE o.valuation_id = $1 AND o.position = 1 - record_value.position) \
                    WHERE valuation_id = $1 AND position IN (0, 1)";
        assert_eq!(intruder.write(swap, id).await, 2);
        let page = world.valuations().list_record_values(list(&valuation)).await.unwrap();
        assert_eq!(withheld(&page).as_deref(), Some("2"));
        assert_eq!(page.into_inner().record_values, before[2..]);

        let plain = "UPDATE subject_value SET value = 7, standing = 1, percentile = 100 WHERE valuation_id = $1 AND position = 0";
        let highest = world.valuations().list_subject_values(pb::ListSubjectValuesRequest {
            valuation_id: valuation.valuation_id.clone(), ..Default::default()
        }).await.unwrap().into_inner().subject_values.remove(0);
        assert_eq!(intruder.write(plain, id).await, 1);
        let request = pb::GetSubjectValueRequest {
            valuation_id: valuation.valuation_id.clone(),
            subject_id: highest.subject_id,
        };
        let status = assert_refused(
            world.valuations().get_subject_value(request).await, Code::DataLoss, "ROW_CORRUPT",
        );
        assert!(status.message().contains("subject_value"), "{status:?}");

        for (column, value) in [("value_sum", "value_sum + 1"), ("record_count", "7"), ("owner", "dataset_id"), ("k", "1")] {
            let was = format!("UPDATE valuation SET {column} = {value} WHERE id = $1");
            let changed = world.valued(&world.start_valuation(&dataset).await.name).await;
            assert_eq!(intruder.write(&was, &[uuid(&changed.valuation_id)]).await, 1);
            if column != "owner" {
                let request = pb::GetValuationRequest { valuation_id: changed.valuation_id.clone() };
                let refused = world.valuations().get_valuation(request).await;
                assert_refused(refused, Code::DataLoss, "ROW_CORRUPT");
            }
        }
        let request = pb::ListValuationsRequest::default();
        let page = world.valuations().list_valuations(request).await.unwrap();
        assert_eq!(withheld(&page).as_deref(), Some("3"));
        let ids: HashSet<_> = page.into_inner().valuations.into_iter().map(|found| found.valuation_id).collect();
        assert_eq!(ids, HashSet::from([valuation.valuation_id.clone(), other.valuation_id]));
    }

    /// A dataset can't be given to somebody else.
    async fn a_dataset_with_another_owner_is_corrupt(database) {
        let world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let dataset = world.filled(2, &synthetic(4, 2, 1)).await;
        let other = TestUser::with_roles(&[portal_core::Role::Controller]);
        let sql = "UPDATE dataset SET owner = $2 WHERE id = $1";
        let values = [uuid(&dataset.dataset_id), Value::from(other.account.uuid())];
        assert_eq!(intruder.write(sql, &values).await, 1);
        let mut datasets = DatasetServiceClient::new(world.call_as(&other));
        let get = pb::GetDatasetRequest { dataset_id: dataset.dataset_id.clone() };
        let status = assert_refused(datasets.get_dataset(get).await, Code::DataLoss, "ROW_CORRUPT");
        assert!(status.message().contains("dataset"), "{status:?}");
        let page = datasets.list_datasets(pb::ListDatasetsRequest::default()).await.unwrap();
        assert_eq!((withheld(&page).as_deref(), page.into_inner().datasets), (Some("1"), Vec::new()));
    }

    /// A job whose row was changed does not keep the others waiting.
    async fn a_corrupt_job_is_not_in_the_way(database) {
        let mut world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        world.consent.take().unwrap().stop().await;
        let first = world.start_valuation(&dataset).await.name;
        world.service.take().unwrap().stop().await;
        assert_eq!(intruder.write("UPDATE valuation SET k = 1, lease_until = 0", &[]).await, 1);
        world.consent = Some(world.decisions.serve(&world.mesh, Some(world.consent_address)).await);
        let service = portal_valuation::Service::start(world.config(), world.mesh.host()).await.unwrap();
        world.reach(service);
        world.valued(&world.start_valuation(&dataset).await.name).await;
        let id = first.strip_prefix("operations/").unwrap().to_owned();
        let request = pb::GetValuationRequest { valuation_id: id };
        assert_refused(world.valuations().get_valuation(request).await, Code::DataLoss, "ROW_CORRUPT");
    }

    /// Of somebody who was erased nothing opens; everybody else is valued as before.
    async fn the_erased_are_left_out(database) {
        let world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        let before = world.valued(&world.start_valuation(&dataset).await.name).await;
        let values = world.record_values(&before.valuation_id).await;
        assert_eq!(extremes(&before), ends(&values));
        let keys = world.keys().await;
        keys.erase(SubjectId::parse(&person(1)).unwrap()).await.unwrap();
        // The service is told within a second.
        let mut left = None;
        for _ in 0..200 {
            let page = world.valuations().list_record_values(list(&before)).await.unwrap();
            left = withheld(&page).map(|header| (header, page.into_inner().record_values));
            if left.is_some() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        let (header, left) = left.unwrap();
        assert_eq!(header, "5");
        let others: Vec<_> = values.iter().filter(|value| value.subject_id != person(1)).cloned().collect();
        assert_eq!((left.len(), &left), (15, &others));
        // Nor does what is told of all values hold theirs.
        let request = pb::GetValuationRequest { valuation_id: before.valuation_id.clone() };
        let told = world.valuations().get_valuation(request).await.unwrap().into_inner();
        assert_eq!(extremes(&told), ends(&others));
        let listed = world.valuations().list_valuations(pb::ListValuationsRequest::default()).await.unwrap();
        assert_eq!(listed.into_inner().valuations, [told]);

        let after = world.valued(&world.start_valuation(&dataset).await.name).await;
        let counted = |split: pb::Split| {
            let records = synthetic(20, 10, 4);
            let theirs = records.iter().filter(|r| r.subject == person(1) && r.split == split);
            i64::try_from(theirs.count()).unwrap()
        };
        let expected = pb::Exclusion {
            cause: pb::exclusion::Cause::Unreadable.into(),
            training_record_count: counted(pb::Split::Train),
            validation_record_count: counted(pb::Split::Validation),
            subject_count: 1,
        };
        assert_eq!(after.exclusions, [expected]);
        let people: BTreeMap<_, usize> =
            world.record_values(&after.valuation_id).await.iter().fold(BTreeMap::new(), |mut people, value| {
                *people.entry(value.subject_id.clone()).or_default() += 1;
                people
            });
        assert_eq!(people.keys().cloned().collect::<Vec<_>>(), [person(0), person(2), person(3)]);
        let request = pb::GetSubjectValueRequest {
            valuation_id: before.valuation_id,
            subject_id: person(1),
        };
        let refused = world.valuations().get_subject_value(request).await;
        assert_refused(refused, Code::NotFound, "SUBJECT_ERASED");

        let mut more = synthetic(24, 0, 4).split_off(20);
        more[2].subject = person(1);
        let request = pb::AppendRecordBatchRequest {
            dataset_id: dataset.dataset_id.clone(),
            batch: Some(batch(&more)),
            request_id: String::new(),
        };
        let refused = world.datasets().append_record_batch(request).await;
        let status = assert_refused(refused, Code::NotFound, "SUBJECT_ERASED");
        assert!(status.message().starts_with("batch 0, row 1"), "{status:?}");
        let request = start_request(&dataset);
        assert!(world.valuations().start_valuation(request).await.is_ok());
    }

    /// Once the people at both ends are erased, what is told of the values is of the others; of nobody, nothing.
    async fn extremes_are_nobodys_who_was_erased(database) {
        let mut world = World::start(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let mut left = world.record_values(&valuation.valuation_id).await;
        let get = pb::GetValuationRequest { valuation_id: valuation.valuation_id.clone() };
        while !left.is_empty() {
            let gone = left[0].subject_id.clone();
            let keys = world.keys().await;
            keys.erase(SubjectId::parse(&gone).unwrap()).await.unwrap();
            keys.close().await;
            world.restart().await;
            left.retain(|value| value.subject_id != gone);
            let told = world.valuations().get_valuation(get.clone()).await.unwrap().into_inner();
            let expected = if left.is_empty() { (0.0, 0.0) } else { ends(&left) };
            assert_eq!(extremes(&told), expected);
        }
    }
}
