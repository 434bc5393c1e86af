//! Whatever somebody changes in the database: the row is refused with its reason, and the others go on.

use portal_proto::valuation::v1 as pb;
use portal_testkit::each_database;
use sea_orm::Value;
use tonic::Code;

use crate::outage::reason;
use crate::sealed::{Intruder, assert_unreadable, list, uuid, withheld};
use crate::world::{World, assert_refused, batch, new_id, synthetic};

impl Intruder {
    /// Changes `rows` rows of `table`, has a look, and puts everything back.
    async fn meanwhile<T>(
        &self,
        table: &str,
        (change, values, rows): (&str, &[Value], u64),
        look: impl Future<Output = T>,
    ) -> T {
        self.write(&format!("CREATE TABLE kept AS SELECT * FROM {table}"), &[]).await;
        assert_eq!(self.write(change, values).await, rows, "{change}");
        let seen = look.await;
        self.write(&format!("DELETE FROM {table}"), &[]).await;
        self.write(&format!("INSERT INTO {table} SELECT * FROM kept"), &[]).await;
        self.write("DROP TABLE kept", &[]).await;
        seen
    }
}

/// Everything that can be done to one sealed cell: each byte with another bit, cut, extended, empty.
fn forgeries(cell: &[u8]) -> Vec<Vec<u8>> {
    let flip = |at: usize| {
        let mut forged = cell.to_vec();
        forged[at] ^= 1 << (at % 8);
        forged
    };
    let cut = [&cell[..cell.len() - 1], &cell[1..], &[]].map(<[u8]>::to_vec);
    (0..cell.len()).map(flip).chain(cut).chain([[cell, &[0]].concat()]).collect()
}

/// What makes a row of `table`, the highest value of a valuation, another one. `$1` is the valuation, `$2` another one of
/// the same records.
fn changes(table: &str, other_table: &str) -> Vec<String> {
    let of = |column: &str, row: &str| format!("{column} = (SELECT o.{column} FROM {table} o WHERE {row})");
    let below = "o.valuation_id = $1 AND o.position = 1";
    let elsewhere = "o.valuation_id = $2 AND o.position = 0";
    let other_column = format!(
        "measure = (SELECT o.measure FROM {other_table} o WHERE o.valuation_id = $1 \
         AND o.subject_id = {table}.subject_id LIMIT 1)"
    );
    let assign = [
        // Another row's cell, its digest, and both.
        of("measure", below),
        of("row_digest", below),
        format!("{}, {}", of("measure", below), of("row_digest", below)),
        // The same row's of another valuation.
        of("measure", elsewhere),
        format!("{}, {}", of("measure", elsewhere), of("row_digest", elsewhere)),
        // The same person's cell of another column.
        other_column,
        "measure = NULL".to_owned(),
        "row_digest = NULL".to_owned(),
        "measure = row_digest, row_digest = measure".to_owned(),
        // What stands in the clear.
        of("subject_id", below),
        "position = 1000".to_owned(),
        "value = 1".to_owned(),
        "standard_error = 0".to_owned(),
        "standing = 1".to_owned(),
        "percentile = 1".to_owned(),
    ];
    // Both are named in each statement, so that both may be given.
    let row = "WHERE valuation_id = $1 AND position = 0 AND valuation_id <> $2";
    assign.map(|assign| format!("UPDATE {table} SET {assign} {row}")).to_vec()
}

async fn subject_values(
    world: &World,
    valuation: &pb::Valuation,
) -> tonic::Response<pb::ListSubjectValuesResponse> {
    let request = pb::ListSubjectValuesRequest {
        valuation_id: valuation.valuation_id.clone(),
        page_size: 100,
        ..Default::default()
    };
    world.valuations().list_subject_values(request).await.unwrap()
}

each_database! {
    /// A value of a record that was changed is left out and counted; the others of its list and other lists are whole.
    async fn values_of_records(database) {
        let world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let dataset = world.filled(2, &synthetic(8, 4, 4)).await;
        let one = world.valued(&world.start_valuation(&dataset).await.name).await;
        let two = world.valued(&world.start_valuation(&dataset).await.name).await;
        let values = world.record_values(&one.valuation_id).await;
        let look = async |change: &str| {
            let page = world.valuations().list_record_values(list(&one)).await.unwrap();
            assert_eq!(withheld(&page).as_deref(), Some("1"), "{change}");
            assert_eq!(page.into_inner().record_values, values[1..], "{change}");
            let page = world.valuations().list_record_values(list(&two)).await.unwrap();
            assert_eq!((withheld(&page), page.into_inner().record_values.len()), (None, 8), "{change}");
        };
        let ids = [uuid(&one.valuation_id), uuid(&two.valuation_id)];
        let mut changes = changes("record_value", "subject_value");
        changes.push("UPDATE record_value SET record_id = 'other' WHERE valuation_id = $1 AND position = 0 AND valuation_id <> $2".to_owned());
        for change in &changes {
            intruder.meanwhile("record_value", (change, &ids, 1), look(change)).await;
        }
        let cells = intruder.read("SELECT measure FROM record_value WHERE valuation_id = $1 AND position = 0", &ids[..1]).await;
        let forged = "UPDATE record_value SET measure = $2 WHERE valuation_id = $1 AND position = 0";
        let cell: Vec<u8> = cells[0].try_get_by_index(0).unwrap();
        for (at, cell) in forgeries(&cell).into_iter().enumerate() {
            // With its digest; the digest alone is enough, so a few of them do.
            if at % 8 == 0 || at >= 67 {
                let values = [ids[0].clone(), Value::from(cell)];
                intruder.meanwhile("record_value", (forged, &values, 1), look(&format!("byte {at}"))).await;
            }
        }
        let page = world.valuations().list_record_values(list(&one)).await.unwrap();
        assert_eq!((withheld(&page), page.into_inner().record_values), (None, values));
    }

    /// The same of a person's value, which the person asks for alone.
    async fn values_of_people(database) {
        let world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let dataset = world.filled(2, &synthetic(8, 4, 4)).await;
        let one = world.valued(&world.start_valuation(&dataset).await.name).await;
        let two = world.valued(&world.start_valuation(&dataset).await.name).await;
        let values = subject_values(&world, &one).await.into_inner().subject_values;
        let get = |value: &pb::SubjectValue| pb::GetSubjectValueRequest {
            valuation_id: one.valuation_id.clone(),
            subject_id: value.subject_id.clone(),
        };
        let look = async |change: &str| {
            let page = subject_values(&world, &one).await;
            assert_eq!(withheld(&page).as_deref(), Some("1"), "{change}");
            assert_eq!(page.into_inner().subject_values, values[1..], "{change}");
            assert_eq!(withheld(&subject_values(&world, &two).await), None, "{change}");
            let status = assert_refused(
                world.valuations().get_subject_value(get(&values[0])).await, Code::DataLoss, "ROW_CORRUPT",
            );
            assert!(status.message().contains("subject_value"), "{status:?}");
            let other = world.valuations().get_subject_value(get(&values[1])).await.unwrap().into_inner();
            assert_eq!(other, values[1], "{change}");
        };
        let ids = [uuid(&one.valuation_id), uuid(&two.valuation_id)];
        for change in changes("subject_value", "record_value") {
            // Whoever takes a value away from somebody takes it from its place too: one person has one.
            if change.contains("SET subject_id") {
                continue;
            }
            intruder.meanwhile("subject_value", (&change, &ids, 1), look(&change)).await;
        }
        let counted = "UPDATE subject_value SET record_count = record_count + 1 WHERE valuation_id = $1 AND position = 0";
        intruder.meanwhile("subject_value", (counted, &ids[..1], 1), look(counted)).await;
        let given = "UPDATE subject_value SET subject_id = $2 WHERE valuation_id = $1 AND position = 0";
        let given_to = [ids[0].clone(), uuid(&new_id())];
        intruder.meanwhile("subject_value", (given, &given_to, 1), async {
            let page = subject_values(&world, &one).await;
            assert_eq!(withheld(&page).as_deref(), Some("1"));
            assert_eq!(page.into_inner().subject_values, values[1..]);
        }).await;
    }

    /// A dataset that was changed: also what it was before, put back.
    async fn datasets(database) {
        let world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let dataset = world.create(2).await;
        let id = dataset.dataset_id.as_str();
        let early = intruder.read("SELECT row_digest FROM dataset WHERE id = $1", &[uuid(id)]).await;
        let early: Vec<u8> = early[0].try_get_by_index(0).unwrap();
        world.append(id, &synthetic(8, 4, 4), 100).await.unwrap();
        let other = world.filled(2, &synthetic(8, 4, 4)).await;
        let other_id = uuid(&other.dataset_id);
        let look = async |change: &str| {
            let get = pb::GetDatasetRequest { dataset_id: id.to_owned() };
            assert_refused(world.datasets().get_dataset(get).await, Code::DataLoss, "ROW_CORRUPT");
            assert_eq!(world.dataset(&other.dataset_id).await, other, "{change}");
            let page = world.datasets().list_datasets(pb::ListDatasetsRequest::default()).await.unwrap();
            assert_eq!(withheld(&page).as_deref(), Some("1"), "{change}");
            assert_eq!(page.into_inner().datasets, std::slice::from_ref(&other), "{change}");
            let append = pb::AppendRecordBatchRequest {
                dataset_id: id.to_owned(),
                batch: Some(batch(&synthetic(1, 0, 1))),
                request_id: String::new(),
            };
            assert_refused(world.datasets().append_record_batch(append).await, Code::DataLoss, "ROW_CORRUPT");
            let started = world.valuations().start_valuation(crate::world::start_request(&dataset)).await;
            assert_refused(started, Code::DataLoss, "ROW_CORRUPT");
        };
        for assign in [
            "display_name = 'x'",
            "description = 'x'",
            "task = 3 - task",
            "feature_count = 3",
            "class_count = 9",
            "feature_names = 'x'",
            "purpose_id = $2",
            "training_count = training_count - 1",
            "validation_count = 0",
            "revision = revision + 1",
            "created_at = 1",
            "updated_at = 1",
            "row_digest = NULL",
            "row_digest = (SELECT o.row_digest FROM dataset o WHERE o.id = $2)",
        ] {
            let change = format!("UPDATE dataset SET {assign} WHERE id = $1 AND id <> $2");
            let values = [uuid(id), other_id.clone()];
            intruder.meanwhile("dataset", (&change, &values, 1), look(&change)).await;
        }
        let older = "UPDATE dataset SET row_digest = $2 WHERE id = $1";
        intruder.meanwhile("dataset", (older, &[uuid(id), Value::from(early)], 1), look(older)).await;
    }

    /// What was asked of a valuation and what came of it, and what was left out.
    async fn valuations(database) {
        let world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let dataset = world.filled(2, &synthetic(8, 4, 4)).await;
        world.decisions.withdraw(&crate::world::person(3));
        let one = world.valued(&world.start_valuation(&dataset).await.name).await;
        let two = world.valued(&world.start_valuation(&dataset).await.name).await;
        assert_eq!(one.exclusions.len(), 1);
        let get = |valuation: &pb::Valuation| pb::GetValuationRequest { valuation_id: valuation.valuation_id.clone() };
        let look = async |change: &str| {
            assert_refused(world.valuations().get_valuation(get(&one)).await, Code::DataLoss, "ROW_CORRUPT");
            assert_refused(world.valuations().list_record_values(list(&one)).await, Code::DataLoss, "ROW_CORRUPT");
            let whole = world.valuations().get_valuation(get(&two)).await.unwrap().into_inner();
            assert_eq!(whole, two, "{change}");
            let page = world.valuations().list_valuations(pb::ListValuationsRequest::default()).await.unwrap();
            assert_eq!(withheld(&page).as_deref(), Some("1"), "{change}");
            assert_eq!(page.into_inner().valuations, std::slice::from_ref(&two), "{change}");
        };
        let ids = [uuid(&one.valuation_id), uuid(&two.valuation_id)];
        let other = |column: &str| format!("{column} = (SELECT o.{column} FROM valuation o WHERE o.id = $2)");
        for assign in [
            "dataset_id = $2".to_owned(),
            "dataset_revision = dataset_revision + 1".to_owned(),
            "k = k + 1".to_owned(),
            "created_at = 1".to_owned(),
            "state = 4".to_owned(),
            "failure = 'INTERNAL'".to_owned(),
            "record_count = 1".to_owned(),
            "subject_count = 1".to_owned(),
            "value_sum = 1".to_owned(),
            "full_utility = 0".to_owned(),
            "empty_utility = 1".to_owned(),
            "min_value = -1".to_owned(),
            "max_value = 1".to_owned(),
            "ended_at = 1".to_owned(),
            "row_digest = NULL".to_owned(),
            "result_digest = NULL".to_owned(),
            "row_digest = result_digest, result_digest = row_digest".to_owned(),
            other("row_digest"),
            other("result_digest"),
        ] {
            let change = format!("UPDATE valuation SET {assign} WHERE id = $1 AND id <> $2");
            intruder.meanwhile("valuation", (&change, &ids, 1), look(&change)).await;
        }
        for assign in ["training_count = 0", "validation_count = 9", "subject_count = 0", "cause = 3", "row_digest = NULL"] {
            let change = format!("UPDATE exclusion SET {assign} WHERE valuation_id = $1");
            intruder.meanwhile("exclusion", (&change, &ids[..1], 1), look(&change)).await;
        }
    }

    /// The batches of a dataset and what says whose the records in them are: the dataset is not valued, others are.
    async fn records(database) {
        let world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let dataset = world.create(2).await;
        world.append(&dataset.dataset_id, &synthetic(12, 4, 4), 4).await.unwrap();
        let dataset = world.dataset(&dataset.dataset_id).await;
        let other = world.filled(2, &synthetic(12, 4, 4)).await;
        let ids = [uuid(&dataset.dataset_id), uuid(&other.dataset_id)];
        let this = "append_id = (SELECT id FROM append WHERE dataset_id = $1) AND position = 0 AND append_id <> $2";
        let of = |column: &str, row: &str| format!("{column} = (SELECT o.{column} FROM batch o WHERE {row})");
        let next = "o.append_id = batch.append_id AND o.position = 1";
        let elsewhere = "o.append_id = (SELECT id FROM append WHERE dataset_id = $2) AND o.position = 0";
        let batches = [
            of("sealed", next),
            format!("{}, {}", of("sealed", next), of("row_digest", next)),
            of("row_digest", next),
            of("sealed", elsewhere),
            format!("{}, {}", of("sealed", elsewhere), of("row_digest", elsewhere)),
            "labels = row_digest".to_owned(),
            "features = row_digest".to_owned(),
            "split = 3 - split".to_owned(),
        ];
        let batches = batches.iter().map(|assign| ("batch", format!("UPDATE batch SET {assign} WHERE {this}")));
        let first = "dataset_id = $1 AND record_id = 'r0' AND dataset_id <> $2";
        let theirs = "(SELECT append_id FROM record WHERE dataset_id = $2 AND record_id = 'r0')";
        let records = [
            "dataset_id = $2, record_id = 'new'".to_owned(),
            "record_id = 'new'".to_owned(),
            "revision = revision - 1".to_owned(),
            "subject_id = $2".to_owned(),
            "subject_id = (SELECT o.subject_id FROM record o WHERE o.dataset_id = $1 AND o.record_id = 'r1')".to_owned(),
            "batch_row = 1000".to_owned(),
            "position = 1000".to_owned(),
            format!("append_id = {theirs}, batch_row = 1000"),
        ];
        let records = records.iter().map(|assign| ("record", format!("UPDATE record SET {assign} WHERE {first}")));
        let appends = ["dataset_id = $2", "revision = revision + 1", "revision = 0", "row_digest = NULL"];
        let appends = appends.map(|assign| ("append", format!("UPDATE append SET {assign} WHERE dataset_id = $1 AND id <> $2")));
        let taken = ("record", format!("DELETE FROM record WHERE {first}"));
        for (table, change) in batches.chain(records).chain(appends).chain([taken]) {
            intruder.meanwhile(table, (&change, &ids, 1), async {
                let unreadable = assert_unreadable(&world, &dataset).await;
                assert_eq!(reason(&unreadable), "ROW_CORRUPT", "{change}");
                if !change.contains("dataset_id = $2") && !change.contains(theirs) {
                    world.valued(&world.start_valuation(&other).await.name).await;
                }
            }).await;
        }
        world.valued(&world.start_valuation(&dataset).await.name).await;
    }

    /// A kept reply is another request's: it does not open.
    async fn kept_replies(database) {
        let world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let create = |name: &str| {
            let dataset = pb::Dataset { display_name: name.to_owned(), ..world.dataset_message(2) };
            pb::CreateDatasetRequest { dataset: Some(dataset), request_id: new_id() }
        };
        let (one, two) = (create("One"), create("Two"));
        let first = world.datasets().create_dataset(one.clone()).await.unwrap().into_inner();
        world.datasets().create_dataset(two).await.unwrap();
        let id = Value::from(one.request_id.clone());
        for change in [
            "UPDATE idempotency_key SET sealed_reply = \
             (SELECT o.sealed_reply FROM idempotency_key o WHERE o.request_id <> $1) WHERE request_id = $1",
            "UPDATE idempotency_key SET sealed_reply = request_hash WHERE request_id = $1",
        ] {
            intruder.meanwhile("idempotency_key", (change, std::slice::from_ref(&id), 1), async {
                let refused = world.datasets().create_dataset(one.clone()).await;
                assert_refused(refused, Code::DataLoss, "ROW_CORRUPT");
            }).await;
        }
        assert_eq!(world.datasets().create_dataset(one).await.unwrap().into_inner(), first);
    }
}
