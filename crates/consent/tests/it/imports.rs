//! Imports: each record is in once, whatever happens to the streams.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use portal_core::id::{Id, OperationId};
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use tonic::{Code, Status};

use crate::records::outcome;
use crate::sql;
use crate::world::{World, fields, pb, refused};

const IMPORT: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

fn header(first_record_index: i64) -> pb::ImportConsentsRequest {
    let header = pb::ImportHeader { import_id: IMPORT.to_owned(), first_record_index };
    pb::ImportConsentsRequest { item: Some(pb::import_consents_request::Item::Header(header)) }
}

fn item(record: &pb::ConsentRecord) -> pb::ImportConsentsRequest {
    pb::ImportConsentsRequest { item: Some(pb::import_consents_request::Item::Record(record.clone())) }
}

fn messages(first: usize, records: &[pb::ConsentRecord]) -> Vec<pb::ImportConsentsRequest> {
    let header = header(i64::try_from(first).unwrap());
    std::iter::once(header).chain(records[first.min(records.len())..].iter().map(item)).collect()
}

async fn import(
    world: &World,
    user: &TestUser,
    messages: Vec<pb::ImportConsentsRequest>,
) -> Result<pb::ImportConsentsResponse, Status> {
    let reply = world.consents(user).import_consents(stream::iter(messages)).await;
    reply.map(tonic::Response::into_inner)
}

each_database! {
    /// A stream is cut, the service is started again, records overlap: each is in once, and the end says the same as often
    /// as it is asked.
    async fn each_record_once(database) {
        let mut world = World::start(database).await;
        let offer = world.offer().await;
        let people = world.people(3_300, 3);
        let mut records: Vec<_> =
            people.iter().map(|subject| offer.record(*subject, pb::ConsentStatus::Given)).collect();
        records[10].language = "fr".to_owned();
        records[3_000].subject_id.clear();
        let controller = world.controller.clone();

        // The stream does not end, and is cut when two chunks are in.
        let endless = stream::iter(messages(0, &records[..2_500])).chain(stream::pending());
        let mut client = world.consents(&controller);
        let mut cut = tokio::task::JoinSet::new();
        cut.spawn(async move { client.import_consents(endless).await });
        let mut known = import(&world, &controller, vec![header(0)]).await.unwrap();
        while known.next_record_index < 2_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            known = import(&world, &controller, vec![header(0)]).await.unwrap();
        }
        cut.abort_all();
        assert!(cut.join_next().await.unwrap().unwrap_err().is_cancelled());
        world.restart().await;
        assert_eq!((known.next_record_index, known.recorded_count, known.refused_count), (2_000, 1_999, 1));
        assert_eq!(import(&world, &controller, vec![header(0)]).await.unwrap(), known);

        let gap = import(&world, &controller, messages(2_001, &records)).await;
        refused(gap, Code::FailedPrecondition, "IMPORT_GAP");
        let done = import(&world, &controller, messages(1_500, &records)).await.unwrap();
        assert_eq!((done.next_record_index, done.recorded_count, done.refused_count), (3_300, 3_298, 2));
        let refusals: Vec<_> = done.refusals.iter().map(|refusal| {
            let error = pb::consent_record_result::Result::Error(refusal.error.clone().unwrap());
            (refusal.record_index, outcome(&pb::ConsentRecordResult { result: Some(error) }).unwrap_err())
        }).collect();
        assert_eq!(refusals, [(10, "INVALID_FIELD".to_owned()), (3_000, "INVALID_FIELD".to_owned())]);
        for first in [0, 3_300] {
            assert_eq!(import(&world, &controller, messages(first, &records)).await.unwrap(), done);
        }
        let store = database.connect().await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM consent_event").await, 3_298);
        assert_eq!(sql::one::<i64>(&store, "SELECT MAX(version) FROM consent").await, 1);
    }

    /// Two streams of one import at once: each record is in once.
    async fn two_streams(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let people = world.people(2_000, 4);
        let records: Vec<_> =
            people.iter().map(|subject| offer.record(*subject, pb::ConsentStatus::Given)).collect();
        let stream = || import(&world, &world.controller, messages(0, &records));
        let (one, other) = futures_util::future::join(stream(), stream()).await;
        let ended: Vec<_> = [one, other].into_iter().filter_map(Result::ok).collect();
        assert!(!ended.is_empty());
        assert!(ended.iter().all(|reply| (reply.recorded_count, reply.next_record_index) == (2_000, 2_000)));
        let store = database.connect().await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM consent_event").await, 2_000);
    }

    /// Who may, whose import it is, what a stream must look like; a row that somebody changed is not believed.
    async fn bounds_and_rights(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let record = offer.record(world.anna.subject, pb::ConsentStatus::Given);
        let records = std::slice::from_ref(&record);
        let (controller, anna) = (&world.controller, &world.anna);
        refused(import(&world, anna, messages(0, records)).await, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        assert_eq!(fields(import(&world, controller, Vec::new()).await), ["header"]);
        assert_eq!(fields(import(&world, controller, vec![item(&record)]).await), ["header"]);
        assert_eq!(fields(import(&world, controller, vec![header(-1)]).await), ["first_record_index"]);
        assert_eq!(fields(import(&world, controller, vec![header(0), header(0)]).await), ["record"]);
        refused(import(&world, controller, vec![header(1)]).await, Code::FailedPrecondition, "IMPORT_GAP");
        let done = import(&world, controller, messages(0, records)).await.unwrap();
        assert_eq!((done.recorded_count, done.next_record_index), (1, 1));
        let other = TestUser::with_roles(&[portal_core::Role::Controller]);
        refused(import(&world, &other, messages(0, records)).await, Code::NotFound, "IMPORT_NOT_FOUND");
        let store = database.connect().await;
        assert!(OperationId::parse(IMPORT).is_ok());
        for change in ["next_record_index = 0", "recorded = 7", "caller = 'account/x'", "version = 9"] {
            sql::keep(&store, "consent_import").await;
            sql::tamper(&store, &format!("UPDATE consent_import SET {change}")).await;
            refused(import(&world, controller, messages(0, records)).await, Code::DataLoss, "ROW_CORRUPT");
            sql::put_back(&store, "consent_import").await;
        }
        assert_eq!(import(&world, controller, vec![header(1)]).await.unwrap(), done);
    }
}
