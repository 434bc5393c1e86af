//! Datasets and appends: whole or not at all, once per request id, faults by row and column.

use std::time::Duration;

use portal_proto::valuation::v1 as pb;
use portal_proto::valuation::v1::append_records_request::Payload;
use portal_store::StoreError;
use portal_testkit::{TestDatabase, each_database};
use sea_orm::{ConnectionTrait, Statement};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::world::{
    Change, World, assert_field, assert_refused, batch, batches, digits, new_id, person, synthetic,
};

async fn create(world: &World, change: impl FnOnce(&mut pb::Dataset)) -> Result<pb::Dataset, Status> {
    let mut dataset = world.dataset_message(2);
    change(&mut dataset);
    let request = pb::CreateDatasetRequest { dataset: Some(dataset), request_id: String::new() };
    Ok(world.datasets().create_dataset(request).await?.into_inner())
}

async fn append(
    world: &World,
    dataset: &pb::Dataset,
    change: impl FnOnce(&mut pb::RecordBatch),
) -> Result<pb::AppendRecordBatchResponse, Status> {
    let mut batch = batch(&synthetic(4, 0, 2));
    change(&mut batch);
    let request = pb::AppendRecordBatchRequest {
        dataset_id: dataset.dataset_id.clone(),
        batch: Some(batch),
        request_id: String::new(),
    };
    Ok(world.datasets().append_record_batch(request).await?.into_inner())
}

/// Rows that a table has, as the database itself sees it.
async fn rows(database: &TestDatabase, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM {table}");
    let sql = sql.as_str();
    let database = database.connect().await;
    let count = database.read("count", |tx| async move {
        let statement = Statement::from_string(tx.conn().get_database_backend(), sql);
        let row = tx.conn().query_one_raw(statement).await?.unwrap();
        Ok::<i64, StoreError>(row.try_get_by_index(0)?)
    });
    count.await.unwrap()
}

const RECORD_TABLES: [&str; 4] = ["append", "batch", "staged_record", "record"];

/// Waits until nothing is left of any append.
async fn assert_nothing_left(database: &TestDatabase) {
    let mut left = Vec::new();
    for _ in 0..100 {
        left.clear();
        for table in RECORD_TABLES {
            left.push((table, rows(database, table).await));
        }
        if left.iter().all(|(_, count)| *count == 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("left behind: {left:?}");
}

each_database! {
    async fn a_dataset_is_created_read_and_listed(database) {
        let world = World::start(database).await;
        let first = create(&world, |dataset| dataset.feature_names = vec!["x".to_owned(), "y".to_owned()]).await.unwrap();
        assert_eq!(first.owner_account_id, world.controller.account.to_string());
        assert_eq!((first.revision, first.training_record_count), (0, 0));
        assert_eq!(first.feature_names, ["x", "y"]);
        assert_eq!(world.dataset(&first.dataset_id).await, first);
        world.mesh.clock.advance(Duration::from_secs(1));
        let second = create(&world, |_| ()).await.unwrap();
        let mut request = pb::ListDatasetsRequest { page_size: 1, ..pb::ListDatasetsRequest::default() };
        let page = world.datasets().list_datasets(request.clone()).await.unwrap().into_inner();
        assert_eq!(page.datasets, [second]);
        request.page_token = page.next_page_token;
        let page = world.datasets().list_datasets(request.clone()).await.unwrap().into_inner();
        assert_eq!((page.datasets, page.next_page_token), (vec![first], String::new()));

        request.purpose_id = new_id();
        assert_field(world.datasets().list_datasets(request.clone()).await, "page_token");
        request.page_token = "garbage".to_owned();
        request.page_size = -1;
        assert_field(world.datasets().list_datasets(request.clone()).await, "page_token");
        assert_field(world.datasets().list_datasets(request.clone()).await, "page_size");
    }

    async fn bad_datasets_are_refused_by_field(database) {
        let world = World::start(database).await;
        let table: [(Change<pb::Dataset>, &str); 11] = [
            (|d| d.display_name.clear(), "dataset.display_name"),
            (|d| d.display_name = "x".repeat(201), "dataset.display_name"),
            (|d| d.task = 0, "dataset.task"),
            (|d| d.task = 77, "dataset.task"),
            (|d| d.feature_count = 0, "dataset.feature_count"),
            (|d| d.feature_count = 65_537, "dataset.feature_count"),
            (|d| d.class_count = -1, "dataset.class_count"),
            (|d| d.task = pb::Task::Regression.into(), "dataset.class_count"),
            (|d| d.purpose_id = "x".to_owned(), "dataset.purpose_id"),
            (|d| d.feature_names = vec!["only one".to_owned()], "dataset.feature_names"),
            (|d| d.privacy_budget = Some(pb::PrivacyBudget::default()), "dataset.privacy_budget"),
        ];
        for (change, field) in table {
            assert_field(create(&world, change).await, field);
        }
        let nothing = pb::CreateDatasetRequest::default();
        assert_field(world.datasets().create_dataset(nothing).await, "dataset");
        assert_eq!(rows(database, "dataset").await, 0);
        let unknown = pb::GetDatasetRequest { dataset_id: new_id() };
        assert_refused(world.datasets().get_dataset(unknown).await, Code::NotFound, "DATASET_NOT_FOUND");
    }

    async fn bad_batches_are_refused_by_row_and_column(database) {
        let world = World::start(database).await;
        let dataset = create(&world, |_| ()).await.unwrap();
        let table: [(Change<pb::RecordBatch>, &str); 13] = [
            (|b| b.features[5] = f32::NAN, "batch.features[5]"),
            (|b| b.features[0] = f32::INFINITY, "batch.features[0]"),
            (|b| b.features.truncate(7), "batch.features"),
            (|b| b.labels[3] = 10.0, "batch.labels[3]"),
            (|b| b.labels[3] = 0.5, "batch.labels[3]"),
            (|b| b.labels[3] = f32::NEG_INFINITY, "batch.labels[3]"),
            (|b| b.labels.truncate(3), "batch.labels"),
            (|b| b.record_ids[2] = b.record_ids[0].clone(), "batch.record_ids[2]"),
            (|b| b.record_ids[1] = "x".repeat(129), "batch.record_ids[1]"),
            (|b| b.subject_ids[1] = "anna".to_owned(), "batch.subject_ids[1]"),
            (|b| b.subject_ids.truncate(3), "batch.subject_ids"),
            (|b| b.split = 0, "batch.split"),
            (|b| b.arrow_ipc = vec![1], "batch.arrow_ipc"),
        ];
        for (change, field) in table {
            assert_field(append(&world, &dataset, change).await, field);
        }
        assert_field(append(&world, &dataset, |b| *b = pb::RecordBatch { split: 1, ..pb::RecordBatch::default() }).await, "batch.record_ids");
        let too_large = append(&world, &dataset, |b| b.features = vec![1.0; 1_200_000]).await;
        assert!(too_large.is_err());
        assert_nothing_left(database).await;
        assert_eq!(world.dataset(&dataset.dataset_id).await, dataset);
    }

    async fn a_batch_is_stored_once_per_request_id(database) {
        let world = World::start(database).await;
        let create = pb::CreateDatasetRequest { dataset: Some(world.dataset_message(2)), request_id: new_id() };
        let dataset = world.datasets().create_dataset(create.clone()).await.unwrap().into_inner();
        assert_eq!(world.datasets().create_dataset(create.clone()).await.unwrap().into_inner(), dataset);
        let mut request = pb::AppendRecordBatchRequest {
            dataset_id: dataset.dataset_id.clone(),
            batch: Some(batch(&synthetic(4, 0, 2))),
            request_id: new_id(),
        };
        let first = world.datasets().append_record_batch(request.clone()).await.unwrap().into_inner();
        assert_eq!((first.appended_count, first.dataset_revision), (4, 1));
        let again = world.datasets().append_record_batch(request.clone()).await.unwrap().into_inner();
        assert_eq!(again, first);
        assert_eq!(world.dataset(&dataset.dataset_id).await.training_record_count, 4);
        request.batch.as_mut().unwrap().labels[0] = 0.0;
        request.batch.as_mut().unwrap().labels[1] = 1.0;
        let reused = |result: Result<(), Status>| {
            assert_refused(result, Code::InvalidArgument, "REQUEST_ID_REUSED");
        };
        reused(world.datasets().append_record_batch(request.clone()).await.map(drop));
        request.request_id = "x".to_owned();
        assert_field(world.datasets().append_record_batch(request).await, "request_id");
        let other = pb::CreateDatasetRequest { dataset: Some(world.dataset_message(3)), ..create };
        reused(world.datasets().create_dataset(other).await.map(drop));
        assert_eq!(rows(database, "dataset").await, 1);
    }

    async fn a_stream_is_stored_whole(database) {
        let world = World::start(database).await;
        let dataset = world.create(64).await;
        let records = digits();
        let reply = world.append(&dataset.dataset_id, &records, 250).await.unwrap();
        assert_eq!((reply.appended_count, reply.dataset_revision), (1_797, 1));
        let after = world.dataset(&dataset.dataset_id).await;
        assert_eq!((after.training_record_count, after.validation_record_count), (1_297, 500));
        assert_ne!(after.etag, dataset.etag);
        assert_eq!(rows(database, "record").await, 1_797);
        assert_eq!(rows(database, "staged_record").await, 0);
    }

    async fn a_stream_that_breaks_leaves_nothing(database) {
        let world = World::start(database).await;
        let dataset = world.create(2).await;
        let id = dataset.dataset_id.as_str();
        let message = |payload| pb::AppendRecordsRequest { payload: Some(payload) };
        let good: Vec<_> = batches(&synthetic(3_000, 0, 10), 1_000);
        let begin = || message(Payload::DatasetId(id.to_owned()));

        // The client goes away: the stream never ends, the call is dropped.
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let mut client = world.datasets();
        let mut call = JoinSet::new();
        call.spawn(async move {
            let stream = futures_util::stream::unfold(receiver, |mut receiver: tokio::sync::mpsc::Receiver<_>| async {
                receiver.recv().await.map(|message| (message, receiver))
            });
            client.append_records(stream).await
        });
        sender.send(begin()).await.unwrap();
        for batch in &good {
            sender.send(message(Payload::Batch(batch.clone()))).await.unwrap();
        }
        while rows(database, "batch").await < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(world.dataset(id).await, dataset, "staged records are visible");
        assert_eq!(rows(database, "record").await, 0);
        call.shutdown().await;
        assert_nothing_left(database).await;

        // A later batch is bad: named by batch, row and column.
        let mut bad = good[2].clone();
        bad.features[7] = f32::NAN;
        let messages = [begin(), message(Payload::Batch(good[0].clone())), message(Payload::Batch(bad))];
        let refused = world.datasets().append_records(futures_util::stream::iter(messages)).await;
        assert!(refused.as_ref().unwrap_err().message().contains("batch 1, row 3, column 1"));
        assert_field(refused, "batch.features[7]");

        // No dataset first, twice, or nothing at all.
        let first = [message(Payload::Batch(good[0].clone()))];
        assert_field(world.datasets().append_records(futures_util::stream::iter(first)).await, "dataset_id");
        let twice = [begin(), begin()];
        assert_field(world.datasets().append_records(futures_util::stream::iter(twice)).await, "dataset_id");
        let none: [pb::AppendRecordsRequest; 0] = [];
        assert_field(world.datasets().append_records(futures_util::stream::iter(none)).await, "dataset_id");
        assert_field(world.datasets().append_records(futures_util::stream::iter([begin()])).await, "batch");
        assert_nothing_left(database).await;
        assert_eq!(world.dataset(id).await, dataset);
    }

    async fn a_record_id_is_taken_once(database) {
        let world = World::start(database).await;
        let dataset = world.create(2).await;
        let id = dataset.dataset_id.as_str();
        let records = synthetic(3_000, 0, 10);
        // The stream repeats one of its own.
        let mut repeated = records.clone();
        repeated[2_500].id = "r7".to_owned();
        let status = assert_refused(world.append(id, &repeated, 1_000).await, Code::AlreadyExists, "DUPLICATE_RECORD");
        assert!(status.message().starts_with("batch 2, row 500:"), "{}", status.message());
        assert_nothing_left(database).await;
        // The dataset has it.
        world.append(id, &records[..10], 1_000).await.unwrap();
        let status = assert_refused(world.append(id, &records[5..20], 3).await, Code::AlreadyExists, "DUPLICATE_RECORD");
        assert!(status.message().starts_with("batch 0, row 0:"), "{}", status.message());
        let status = append(&world, &dataset, |_| ()).await;
        assert_refused(status, Code::AlreadyExists, "DUPLICATE_RECORD");
        let after = world.dataset(id).await;
        assert_eq!((after.training_record_count, after.revision), (10, 1));
        assert_eq!(rows(database, "record").await, 10);
        // Another dataset may have the same ids.
        let other = world.create(2).await;
        world.append(&other.dataset_id, &records[..10], 1_000).await.unwrap();
    }

    async fn concurrent_appends_all_count(database) {
        let world = World::start(database).await;
        let dataset = world.create(2).await;
        let mut calls = JoinSet::new();
        for number in 0..20 {
            let mut records = synthetic(5, 0, 5);
            for (row, record) in records.iter_mut().enumerate() {
                record.id = format!("{number}/{row}");
                record.subject = person(number);
            }
            let (mut client, batch) = (world.datasets(), batch(&records));
            let request = pb::AppendRecordBatchRequest {
                dataset_id: dataset.dataset_id.clone(),
                batch: Some(batch),
                request_id: String::new(),
            };
            calls.spawn(async move { client.append_record_batch(request).await.unwrap().into_inner().dataset_revision });
        }
        let mut revisions = calls.join_all().await;
        revisions.sort_unstable();
        assert_eq!(revisions, (1..=20).collect::<Vec<_>>());
        assert_eq!(world.dataset(&dataset.dataset_id).await.training_record_count, 100);
    }
}
