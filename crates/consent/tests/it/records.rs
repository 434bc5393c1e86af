//! Decisions that were made elsewhere, many at a time.

use std::time::Duration;

use portal_core::SeededEntropy;
use portal_core::id::{Id, SubjectId};
use portal_mesh::status::reason_of;
use portal_testkit::each_database;
use prost::Message;
use tonic::{Code, Status};

use crate::sql;
use crate::world::{HOUR, Offer, World, fields, pb, refused, seconds};

const REQUEST_ID: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

/// What came of a record: the status after it, or the reason why not.
pub fn outcome(result: &pb::ConsentRecordResult) -> Result<pb::ConsentStatus, String> {
    match result.result.as_ref().unwrap() {
        pb::consent_record_result::Result::Reply(reply) => Ok(reply.consent.as_ref().unwrap().status()),
        pb::consent_record_result::Result::Error(error) => {
            let (code, message) = (Code::from(error.code), error.message.clone());
            let status = Status::with_details(code, message, error.encode_to_vec().into());
            Err(reason_of(&status).unwrap())
        }
    }
}

/// The receipt that a record names.
fn receipt(result: &pb::ConsentRecordResult) -> String {
    match result.result.as_ref().unwrap() {
        pb::consent_record_result::Result::Reply(reply) => reply.receipt_id.clone(),
        pb::consent_record_result::Result::Error(error) => panic!("{error:?}"),
    }
}

impl Offer {
    pub fn record(&self, subject: SubjectId, status: pb::ConsentStatus) -> pb::ConsentRecord {
        pb::ConsentRecord {
            subject_id: subject.to_string(),
            purpose_id: self.purpose.purpose_id.clone(),
            notice_id: self.notice.notice_id.clone(),
            language: "en".to_owned(),
            method: pb::IndicationMethod::Button.into(),
            status: status.into(),
            ..Default::default()
        }
    }
}

impl World {
    pub async fn record(&self, records: Vec<pb::ConsentRecord>) -> Vec<Result<pb::ConsentStatus, String>> {
        let request = pb::BatchRecordConsentsRequest { records, request_id: String::new() };
        let reply = self.consents(&self.controller).batch_record_consents(request).await.unwrap();
        reply.into_inner().results.iter().map(outcome).collect()
    }

    pub fn people(&self, count: usize, seed: u64) -> Vec<SubjectId> {
        let (now, entropy) = (self.mesh.host().clock.now(), SeededEntropy::new(seed));
        (0..count).map(|_| SubjectId::generate(now, &entropy)).collect()
    }

    /// `ago` before the present time of the test.
    pub fn ago(&self, ago: Duration) -> Option<prost_types::Timestamp> {
        Some(portal_mesh::convert::timestamp(self.mesh.host().clock.now().minus(ago)))
    }
}

each_database! {
    /// Each record succeeds or fails by itself, in order, with the reasons of the single calls.
    async fn each_by_itself(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let (anna, bert) = (world.anna.subject, world.bert.subject);
        use pb::ConsentStatus::{Expired, Given, Refused, RenewedGiven, Withdrawn};
        let record = |subject, status| offer.record(subject, status);
        let evidence = pb::Evidence {
            kind: pb::EvidenceKind::Form.into(),
            media_type: "text/plain".to_owned(),
            content: b"signed".to_vec(),
            ..Default::default()
        };
        let outcomes = world.record(vec![
            record(anna, Given),
            record(anna, RenewedGiven),
            pb::ConsentRecord { reason: "too many letters".to_owned(), ..record(anna, Withdrawn) },
            record(anna, Withdrawn),
            pb::ConsentRecord { evidence: vec![evidence], ..record(bert, Refused) },
            record(bert, RenewedGiven),
            pb::ConsentRecord { language: "fr".to_owned(), ..record(bert, Given) },
            pb::ConsentRecord { purpose_id: offer.notice.notice_id.clone(), ..record(bert, Given) },
            pb::ConsentRecord { notice_id: offer.purpose.purpose_id.clone(), ..record(bert, Given) },
            pb::ConsentRecord { valid_for: Some(seconds(31 * 86_400)), ..record(bert, Given) },
            record(bert, Expired),
            pb::ConsentRecord { subject_id: "bert".to_owned(), ..record(bert, Given) },
            pb::ConsentRecord { reason: "because".to_owned(), ..record(bert, Given) },
            record(bert, Given),
            record(bert, Given),
        ]).await;
        let told = |reason: &str| Err(reason.to_owned());
        assert_eq!(outcomes, [
            Ok(Given),
            Ok(RenewedGiven),
            Ok(Withdrawn),
            told("CONSENT_NOT_IN_FORCE"),
            Ok(Refused),
            told("CONSENT_NOT_IN_FORCE"),
            told("INVALID_FIELD"),
            told("PURPOSE_NOT_FOUND"),
            told("NOTICE_NOT_FOUND"),
            told("INVALID_FIELD"),
            told("INVALID_FIELD"),
            told("INVALID_FIELD"),
            told("INVALID_FIELD"),
            Ok(Given),
            Ok(Given),
        ]);
        let events = world.events(&world.anna).await;
        let steps: Vec<_> = events.iter().map(|event| (event.previous_status(), event.status())).collect();
        assert_eq!(steps, [(RenewedGiven, Withdrawn), (Given, RenewedGiven), (pb::ConsentStatus::Unknown, Given)]);
        assert_eq!(events[0].reason, "too many letters");
        assert!(events.iter().all(|event| event.actor_id == world.controller.account.to_string()));
        assert_eq!(world.events(&world.bert).await.len(), 2);
        assert_eq!(world.check(&world.bert, &offer.purpose).await.decision(), pb::Decision::Permit);
        let store = database.connect().await;
        let count = async |table: &str| sql::one::<i64>(&store, &format!("SELECT COUNT(*) FROM {table}")).await;
        assert_eq!((count("consent").await, count("consent_event").await, count("evidence").await), (2, 5, 1));
        // What is sealed opens for the single calls too, and rows written together pass as those written alone.
        world.consents(&world.anna).give_consent(offer.give(anna)).await.unwrap();
        assert_eq!(world.events(&world.anna).await.len(), 4);
    }

    /// Each record names the receipt of its event; one that changes nothing, that of the state that it found, be it from
    /// before the batch or from within it.
    async fn receipts_are_named(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        world.give(&world.anna, &offer).await.unwrap();
        use pb::ConsentStatus::{Given, Withdrawn};
        let subjects = [world.anna.subject, world.bert.subject, world.bert.subject];
        let records = || subjects.iter().map(|subject| offer.record(*subject, Given)).collect();
        let record = async |records, request_id: &str| {
            let request = pb::BatchRecordConsentsRequest { records, request_id: request_id.to_owned() };
            let reply = world.consents(&world.controller).batch_record_consents(request).await.unwrap();
            reply.into_inner().results.iter().map(receipt).collect::<Vec<_>>()
        };
        let first = record(records(), REQUEST_ID).await;
        assert_eq!(first[0], world.events(&world.anna).await[0].event_id);
        assert_eq!(first[1], world.events(&world.bert).await[0].event_id);
        assert_eq!(first[2], first[1]);
        assert_eq!(record(records(), REQUEST_ID).await, first);
        assert_eq!(record(records(), "").await, first);
        let withdrawn = record(vec![offer.record(world.bert.subject, Withdrawn)], "").await;
        assert!(withdrawn[0] != first[1] && withdrawn[0] == world.events(&world.bert).await[0].receipt_id);
        let store = database.connect().await;
        assert!(sql::run(&store, "DELETE FROM receipt", []).await > 0);
        assert_eq!(record(records(), "").await[0], "");
    }

    /// The time of the decision is kept, terms count from it, and an older decision does not undo a later one; an
    /// older withdrawal does.
    async fn times_of_events(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let (anna, bert) = (&world.anna, world.bert.subject);
        use pb::ConsentStatus::{Given, RenewedGiven, Withdrawn};
        let at = |subject, status, hours| pb::ConsentRecord {
            event_time: world.ago(HOUR * hours),
            ..offer.record(subject, status)
        };
        let old = 24 * 40;
        let ahead = pb::ConsentRecord {
            event_time: Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 }),
            ..offer.record(bert, Given)
        };
        let outcomes = world.record(vec![
            at(anna.subject, Given, old),
            at(anna.subject, RenewedGiven, old - 24),
            at(anna.subject, Given, old + 1),
            at(bert, Given, 2),
            at(bert, Withdrawn, 3),
            ahead,
        ]).await;
        let told = |reason: &str| Err(reason.to_owned());
        // The term of the first two is over by now.
        assert_eq!(outcomes, [
            Ok(pb::ConsentStatus::Expired),
            Ok(pb::ConsentStatus::Expired),
            told("EVENT_OUT_OF_ORDER"),
            Ok(Given),
            Ok(Withdrawn),
            told("INVALID_FIELD"),
        ]);
        let events = world.events(anna).await;
        assert_eq!((events.len(), events[0].status()), (2, RenewedGiven));
        assert_eq!(events[1].event_time, world.ago(HOUR * old));
        assert_eq!(events[1].record_time, world.ago(Duration::ZERO));
        assert_eq!(events[0].expire_time, world.ago(HOUR * (old - 24 - 30 * 24)));
        assert_eq!(world.check(anna, &offer.purpose).await.reason(), pb::Reason::ConsentExpired);
        assert_eq!(world.check(&world.bert, &offer.purpose).await.reason(), pb::Reason::ConsentWithdrawn);
        let events = world.events(&world.bert).await;
        assert_eq!(events[0].event_time, world.ago(HOUR * 3));
    }

    /// More than a chunk: every one is recorded, the same request again answers the same, and another with its id does
    /// not.
    async fn many_and_again(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let mut records: Vec<_> =
            world.people(2_300, 7).into_iter().map(|subject| offer.record(subject, pb::ConsentStatus::Given)).collect();
        records[1_500].language = "fr".to_owned();
        let request = pb::BatchRecordConsentsRequest { records, request_id: REQUEST_ID.to_owned() };
        let call = async |request: pb::BatchRecordConsentsRequest| {
            world.consents(&world.controller).batch_record_consents(request).await.map(tonic::Response::into_inner)
        };
        let reply = call(request.clone()).await.unwrap();
        assert_eq!(reply.results.len(), 2_300);
        let failed: Vec<_> = (0..2_300).filter(|at| outcome(&reply.results[*at]).is_err()).collect();
        assert_eq!(failed, [1_500]);
        let store = database.connect().await;
        let count = async |table: &str| sql::one::<i64>(&store, &format!("SELECT COUNT(*) FROM {table}")).await;
        for table in ["consent", "consent_event", "receipt"] {
            assert_eq!(count(table).await, 2_299, "{table}");
        }
        assert_eq!(count(&format!("{} WHERE kind = 1", sql::ENTRIES)).await, 2_299);
        assert_eq!(call(request.clone()).await.unwrap(), reply);
        assert_eq!(count("consent_event").await, 2_299);
        let mut other = request.clone();
        other.records.truncate(1);
        refused(call(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        // Without an id it is said again: nothing new.
        let again = call(pb::BatchRecordConsentsRequest { request_id: String::new(), ..request }).await.unwrap();
        let consents = |reply: &pb::BatchRecordConsentsResponse| {
            let consent = |result: &pb::ConsentRecordResult| match &result.result {
                Some(pb::consent_record_result::Result::Reply(reply)) => (reply.consent.clone(), None),
                refused => (None, refused.clone()),
            };
            reply.results.iter().map(consent).collect::<Vec<_>>()
        };
        assert_eq!(consents(&again), consents(&reply));
        assert_eq!(count("consent_event").await, 2_299);
    }

    /// A call that got only part of the way goes on there: what is in answers as it did, the rest is recorded.
    async fn cut_in_the_middle(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let people = world.people(1_500, 8);
        let records = people.iter().map(|subject| offer.record(*subject, pb::ConsentStatus::Given));
        assert!(world.record(records.collect()).await.iter().all(Result::is_ok));
        let store = database.connect().await;
        let withdrawn = "SELECT COUNT(*) FROM consent WHERE status = 'withdrawn'";
        let withdrawals = people.iter().map(|subject| offer.record(*subject, pb::ConsentStatus::Withdrawn));
        let request = pb::BatchRecordConsentsRequest { records: withdrawals.collect(), request_id: REQUEST_ID.to_owned() };
        let call = async |request: &pb::BatchRecordConsentsRequest| {
            world.consents(&world.controller).batch_record_consents(request.clone()).await.map(tonic::Response::into_inner)
        };
        // The second chunk fails: the place of its reply is taken by that to another request.
        let other = pb::BatchRecordConsentsRequest {
            records: vec![pb::ConsentRecord::default()],
            request_id: "0198c3a4-7d1e-7cc3-98c4-dc0c0c073990".to_owned(),
        };
        call(&other).await.unwrap();
        let columns = "request_hash, reply, expires_at, subject_id, sealed_reply";
        let blocker = format!(
            "INSERT INTO idempotency_key (caller, method, request_id, {columns})
             SELECT caller, method, '{REQUEST_ID}/1', {columns} FROM idempotency_key WHERE request_id = '{}/0'",
            other.request_id
        );
        sql::tamper(&store, &blocker).await;
        refused(call(&request).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        assert_eq!(sql::one::<i64>(&store, withdrawn).await, 1_000);
        sql::tamper(&store, &format!("DELETE FROM idempotency_key WHERE request_id = '{REQUEST_ID}/1'")).await;
        let reply = call(&request).await.unwrap();
        assert!(reply.results.iter().all(|result| outcome(result) == Ok(pb::ConsentStatus::Withdrawn)));
        assert_eq!(sql::one::<i64>(&store, withdrawn).await, 1_500);
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM consent_event").await, 3_000);
    }

    async fn bounds_and_rights(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let record = offer.record(world.anna.subject, pb::ConsentStatus::Given);
        let call = async |user: &portal_testkit::mesh::TestUser, count: usize| {
            let request = pb::BatchRecordConsentsRequest { records: vec![record.clone(); count], request_id: String::new() };
            world.consents(user).batch_record_consents(request).await
        };
        assert_eq!(fields(call(&world.controller, 10_001).await), ["records"]);
        assert!(world.events(&world.anna).await.is_empty());
        assert!(call(&world.controller, 0).await.unwrap().into_inner().results.is_empty());
        refused(call(&world.anna, 1).await, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        refused(call(&world.officer, 1).await, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
    }

    /// Batches and single calls about the same people at once: every consent is given once.
    async fn races(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let people = world.people(50, 9);
        let batch = || world.record(people.iter().map(|subject| offer.record(*subject, pb::ConsentStatus::Given)).collect());
        let batches = futures_util::future::join_all((0..4).map(|_| batch()));
        let singles = futures_util::future::join_all(people.iter().map(|subject| {
            let (mut client, request) = (world.consents(&world.controller), offer.give(*subject));
            async move { client.give_consent(request).await }
        }));
        let (batches, singles) = futures_util::future::join(batches, singles).await;
        assert!(batches.iter().flatten().all(|outcome| *outcome == Ok(pb::ConsentStatus::Given)));
        assert!(singles.iter().all(|reply| reply.as_ref().err().is_none_or(|status| status.code() == Code::Aborted)));
        let store = database.connect().await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM consent_event").await, 50);
        assert_eq!(sql::one::<i64>(&store, "SELECT MAX(version) FROM consent").await, 1);
    }
}
