//! The change stream: everything, in order, from any place on; and what its readers acknowledge.

use portal_core::Workload;
use portal_proto::consent::v1::consent_change_service_client::ConsentChangeServiceClient;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use tonic::{Code, Status, Streaming};

use crate::sql::{self, tamper};
use crate::world::{HOUR, Offer, World, fields, pb, refused, until};

const REQUEST_ID: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

async fn watch(
    world: &World,
    resume_token: &str,
    offers: &[&Offer],
) -> Result<Streaming<pb::ConsentChange>, Status> {
    let request = pb::WatchConsentChangesRequest {
        resume_token: resume_token.to_owned(),
        purpose_ids: offers.iter().map(|offer| offer.purpose.purpose_id.clone()).collect(),
    };
    Ok(world.changes(&world.controller).watch_consent_changes(request).await?.into_inner())
}

/// The next `count` changes.
async fn next(stream: &mut Streaming<pb::ConsentChange>, count: usize) -> Vec<pb::ConsentChange> {
    let mut changes = Vec::new();
    for _ in 0..count {
        let change = tokio::time::timeout(std::time::Duration::from_secs(60), stream.message()).await;
        changes.push(change.expect("a change within a minute").unwrap().expect("the stream goes on"));
    }
    changes
}

async fn give_and_withdraw(world: &World, user: &TestUser, offer: &Offer, times: usize) {
    for _ in 0..times {
        world.give(user, offer).await.unwrap();
        let withdraw =
            pb::WithdrawConsentRequest { reason: "enough".to_owned(), ..offer.withdraw(user.subject) };
        world.consents(user).withdraw_consent(withdraw).await.unwrap();
    }
}

/// Every change of a subject and purpose follows on the one before.
fn in_order(changes: &[pb::ConsentChange], user: &TestUser, offer: &Offer, from: usize) -> usize {
    let subject = user.subject.to_string();
    let mut expected = from;
    for change in changes {
        let (consent, event) = (change.consent.as_ref().unwrap(), change.event.as_ref().unwrap());
        if consent.subject_id != subject || consent.purpose_id != offer.purpose.purpose_id {
            continue;
        }
        expected += 1;
        assert_eq!(consent.etag, expected.to_string());
        assert_eq!((consent.status, &consent.consent_id), (event.status, &event.consent_id));
        assert!(event.reason.is_empty(), "the words of a subject are not streamed");
    }
    expected - from
}

each_database! {
    /// From the first change on, from each one on, of one purpose; live; and after the service was stopped.
    async fn nothing_is_missed(database) {
        let mut world = World::start(database).await;
        let (offer, other) = (world.offer().await, world.offer().await);
        let mut stream = watch(&world, "", &[]).await.unwrap();
        give_and_withdraw(&world, &world.anna, &offer, 2).await;
        give_and_withdraw(&world, &world.bert, &offer, 1).await;
        world.give(&world.anna, &other).await.unwrap();
        let all = next(&mut stream, 7).await;
        let counts = [
            in_order(&all, &world.anna, &offer, 0),
            in_order(&all, &world.bert, &offer, 0),
            in_order(&all, &world.anna, &other, 0),
        ];
        assert_eq!(counts, [4, 2, 1]);
        let places: Vec<_> = all.iter().map(|change| change.event.as_ref().unwrap().ledger_index.unwrap()).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        for (at, change) in all.iter().enumerate().take(6) {
            let mut rest = watch(&world, &change.resume_token, &[]).await.unwrap();
            assert_eq!(next(&mut rest, 6 - at).await, all[at + 1..]);
        }
        let mut of_other = watch(&world, "", &[&other]).await.unwrap();
        assert_eq!(next(&mut of_other, 1).await, all[6..]);
        let mut of_other = watch(&world, &all[2].resume_token, &[&other]).await.unwrap();
        assert_eq!(next(&mut of_other, 1).await, all[6..], "a token fits any filter");

        world.give(&world.anna, &offer).await.unwrap();
        assert_eq!(in_order(&next(&mut stream, 1).await, &world.anna, &offer, 4), 1);
        world.stop().await;
        let ended = stream.message().await.unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
        world.start_again().await;
        give_and_withdraw(&world, &world.bert, &other, 1).await;
        let mut stream = watch(&world, &all[5].resume_token, &[]).await.unwrap();
        let rest = next(&mut stream, 4).await;
        assert_eq!(rest[0], all[6]);
        assert_eq!((in_order(&rest, &world.anna, &offer, 4), in_order(&rest, &world.bert, &other, 0)), (1, 2));
    }

    /// A storm of changes at two replicas while readers come and go: each reader gets all of them, in order.
    async fn a_storm_is_told_whole(database) {
        let world = World::start(database).await;
        let (offer, other) = (world.offer().await, world.offer().await);
        let storm = async {
            let all = [(&world.anna, &offer), (&world.anna, &other), (&world.bert, &offer), (&world.bert, &other)];
            futures_util::future::join_all(all.map(|(user, offer)| give_and_withdraw(&world, user, offer, 5))).await;
        };
        let reader = async {
            let (mut told, mut token) = (Vec::new(), String::new());
            while told.len() < 40 {
                // Each connection is dropped after a few changes.
                let mut stream = watch(&world, &token, &[]).await.unwrap();
                let some = (1 + told.len() % 7).min(40 - told.len());
                told.extend(next(&mut stream, some).await);
                token = told.last().unwrap().resume_token.clone();
            }
            told
        };
        let (told, ()) = tokio::join!(reader, storm);
        for user in [&world.anna, &world.bert] {
            assert_eq!((in_order(&told, user, &offer, 0), in_order(&told, user, &other, 0)), (10, 10));
        }
        let mut stream = watch(&world, "", &[]).await.unwrap();
        assert_eq!(next(&mut stream, 40).await, told);
    }

    /// What is not of this stream is refused; what is not there any more is told apart.
    async fn tokens_of_other_streams(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer, 1).await;
        let mut stream = watch(&world, "", &[]).await.unwrap();
        let changes = next(&mut stream, 2).await;
        let list = pb::ListConsentEventsRequest { subject_id: world.anna.subject.to_string(), page_size: 1, ..Default::default() };
        let page = world.consents(&world.officer).list_consent_events(list).await.unwrap().into_inner().next_page_token;
        let mut longer = changes[0].resume_token.clone();
        longer.push('A');
        for token in ["x", "AQAB", page.as_str(), longer.as_str()] {
            assert_eq!(fields(watch(&world, token, &[]).await.map(drop)), ["resume_token"], "{token}");
            let ack = pb::AckConsentChangesRequest { resume_token: token.to_owned(), ..Default::default() };
            let refused = world.changes(&world.controller).ack_consent_changes(ack).await;
            assert_eq!(fields(refused), ["resume_token", "recipient"]);
        }
        let bad = pb::WatchConsentChangesRequest { purpose_ids: vec!["x".to_owned()], ..Default::default() };
        let refusal = world.changes(&world.controller).watch_consent_changes(bad).await.map(drop);
        assert_eq!(fields(refusal), ["purpose_ids[0]"]);

        // As if the database had been put back, and another change had come in its place.
        let store = database.connect().await;
        let place = changes[1].event.as_ref().unwrap().ledger_index.unwrap();
        let other = sql::id(&store, REQUEST_ID);
        tamper(&store, &format!("UPDATE ledger_entry SET reference = {other} WHERE position = {place}")).await;
        let gone = watch(&world, &changes[1].resume_token, &[]).await.map(drop);
        refused(gone, Code::OutOfRange, "RESUME_UNKNOWN");
        let ack = pb::AckConsentChangesRequest {
            resume_token: changes[1].resume_token.clone(),
            recipient: "crm".to_owned(),
            ..Default::default()
        };
        let gone = world.changes(&world.controller).ack_consent_changes(ack).await;
        refused(gone, Code::OutOfRange, "RESUME_UNKNOWN");
        assert!(watch(&world, &changes[0].resume_token, &[]).await.is_ok());
    }

    /// Of a corrupt record it is told that it is corrupt, whatever the filter, and the stream goes on.
    async fn a_corrupt_change_is_told_as_that(database) {
        let world = World::start(database).await;
        let (offer, other) = (world.offer().await, world.offer().await);
        give_and_withdraw(&world, &world.anna, &offer, 1).await;
        world.give(&world.bert, &other).await.unwrap();
        next(&mut watch(&world, "", &[]).await.unwrap(), 3).await;
        let store = database.connect().await;
        tamper(&store, "UPDATE consent_event SET actor = 'nobody' WHERE sequence = 2").await;
        let mut stream = watch(&world, "", &[&other]).await.unwrap();
        let changes = next(&mut stream, 2).await;
        assert!(changes[0].withheld && changes[0].consent.is_none() && changes[0].event.is_none());
        assert_eq!(in_order(&changes[1..], &world.bert, &other, 0), 1);
        let mut rest = watch(&world, &changes[0].resume_token, &[]).await.unwrap();
        assert_eq!(next(&mut rest, 1).await, changes[1..]);
    }

    /// What a recipient acknowledges is kept, in the ledger, and only goes forward.
    async fn acknowledgements_are_proof(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer, 1).await;
        let changes = next(&mut watch(&world, "", &[]).await.unwrap(), 2).await;
        let ack = |change: &pb::ConsentChange, recipient: &str, request_id: &str| pb::AckConsentChangesRequest {
            resume_token: change.resume_token.clone(),
            recipient: recipient.to_owned(),
            request_id: request_id.to_owned(),
        };
        // A token is valid for less than the hour that passes.
        let send = async |request: pb::AckConsentChangesRequest| {
            let reply = world.changes(&world.controller).ack_consent_changes(request).await;
            reply.map(tonic::Response::into_inner)
        };
        let first = send(ack(&changes[1], "crm", REQUEST_ID)).await.unwrap();
        world.mesh.clock.advance(HOUR);
        assert_eq!(send(ack(&changes[1], "crm", REQUEST_ID)).await.unwrap(), first);
        for change in &changes {
            let again = send(ack(change, "crm", "")).await.unwrap();
            assert_eq!(again.record_time, first.record_time, "it was told before");
        }
        refused(send(ack(&changes[0], "crm", REQUEST_ID)).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        send(ack(&changes[0], "mailer", "")).await.unwrap();
        send(ack(&changes[1], "mailer", "")).await.unwrap();
        assert_eq!(fields(send(ack(&changes[1], "", "")).await), ["recipient"]);
        assert_eq!(fields(send(ack(&changes[1], &"x".repeat(129), "")).await), ["recipient"]);

        let list = async |request: pb::ListConsentChangeAcksRequest| {
            world.changes(&world.officer).list_consent_change_acks(request).await.map(tonic::Response::into_inner)
        };
        let all = until(async || {
            let acks = list(pb::ListConsentChangeAcksRequest::default()).await.unwrap().acks;
            acks.iter().all(|ack| ack.ledger_index.is_some()).then_some(acks)
        }).await;
        let place = |change: &pb::ConsentChange| change.event.as_ref().unwrap().ledger_index.unwrap();
        let told: Vec<_> = all.iter().map(|ack| (ack.recipient.as_str(), ack.change_ledger_index)).collect();
        assert_eq!(told.len(), 3);
        assert!(told[..2].contains(&("mailer", place(&changes[0]))) && told[..2].contains(&("mailer", place(&changes[1]))));
        assert_eq!(told[2], ("crm", place(&changes[1])));
        assert_eq!(all[2].record_time, first.record_time);
        assert!(all.iter().all(|ack| ack.caller_id == world.controller.account.to_string()));
        let of_crm = pb::ListConsentChangeAcksRequest { recipient: "crm".to_owned(), ..Default::default() };
        assert_eq!(list(of_crm).await.unwrap().acks, all[2..]);
        let mut paged = Vec::new();
        let mut request = pb::ListConsentChangeAcksRequest { page_size: 2, ..Default::default() };
        loop {
            let page = list(request.clone()).await.unwrap();
            paged.extend(page.acks);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(paged, all);
        // A changed acknowledgement is not shown.
        let store = database.connect().await;
        tamper(&store, "UPDATE change_ack SET position = position + 1 WHERE recipient = 'crm'").await;
        assert_eq!(list(pb::ListConsentChangeAcksRequest::default()).await.unwrap().acks.len(), 2);
        refused(send(ack(&changes[1], "crm", "")).await, Code::DataLoss, "ROW_CORRUPT");
    }

    /// Those who work with the data, on whose behalf ever; not its subjects.
    async fn who_may_watch(database) {
        let world = World::start(database).await;
        let nobody = world.changes(&world.anna).watch_consent_changes(pb::WatchConsentChangesRequest::default()).await;
        refused(nobody.map(drop), Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        let list = world.changes(&world.controller).list_consent_change_acks(pb::ListConsentChangeAcksRequest::default()).await;
        refused(list, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        let mut valuation = ConsentChangeServiceClient::new(world.workload(Workload::Valuation));
        let mut stream = valuation.watch_consent_changes(pb::WatchConsentChangesRequest::default()).await.unwrap().into_inner();
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer, 1).await;
        let changes = next(&mut stream, 2).await;
        let ack = pb::AckConsentChangesRequest {
            resume_token: changes[1].resume_token.clone(),
            recipient: "valuation".to_owned(),
            ..Default::default()
        };
        valuation.ack_consent_changes(ack).await.unwrap();
    }
}
