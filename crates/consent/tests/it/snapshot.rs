//! Decisions from the snapshot: what was answered here is known here at once, what another replica committed soon, and a
//! replica that lost its database answers nobody.

use portal_consent::Source;
use portal_mesh::{MeshChannel, Metrics};
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::decision_service_client::DecisionServiceClient;
use portal_testkit::mesh::TestUser;
use portal_testkit::{TestDatabase, each_database};
use tonic::{Code, Status};

use crate::sql::{self, tamper};
use crate::world::{Offer, World, fields, pb, question, refused, until};

const REQUEST_ID: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

/// What a replica decides about somebody.
async fn decided(
    world: &World,
    replica: &MeshChannel,
    user: &TestUser,
    offer: &Offer,
) -> Result<pb::Reason, Status> {
    let mut client = DecisionServiceClient::new(world.through(&world.officer, replica));
    let answer = client.check_consent(question(user.subject, &offer.purpose)).await?;
    Ok(answer.into_inner().reason())
}

/// How many questions were answered from a snapshot.
fn from_snapshot(metrics: &Metrics) -> u64 {
    let text = metrics.encode().unwrap();
    let line =
        text.lines().find(|line| line.starts_with("portal_consent_answers_total{source=\"snapshot\"}"));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Waits until a replica answers from its snapshot.
async fn snapshot_is_used(world: &World, replica: (&MeshChannel, &Metrics), whose: (&TestUser, &Offer)) {
    until(async || {
        let before = from_snapshot(replica.1);
        decided(world, replica.0, whose.0, whose.1).await.unwrap();
        (from_snapshot(replica.1) > before).then_some(())
    })
    .await;
}

each_database! {
    /// Whatever is changed, by whichever way: the next decision rests on it.
    async fn what_was_answered_is_known(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        let here = world.anonymous();
        snapshot_is_used(&world, (&here, &world.metrics), (anna, &offer)).await;
        let reason = async || decided(&world, &here, anna, &offer).await.unwrap();
        for _ in 0..20 {
            world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
            assert_eq!(reason().await, pb::Reason::ConsentWithdrawn);
            world.consents(anna).refuse_consent(offer.refuse(anna.subject)).await.unwrap();
            assert_eq!(reason().await, pb::Reason::ConsentRefused);
            world.give(anna, &offer).await.unwrap();
            assert_eq!(reason().await, pb::Reason::ConsentGiven);
        }
        let all = pb::WithdrawAllConsentsRequest { subject_id: anna.subject.to_string(), ..Default::default() };
        world.consents(anna).withdraw_all_consents(all).await.unwrap();
        assert_eq!(reason().await, pb::Reason::ConsentWithdrawn);
        world.give(anna, &offer).await.unwrap();
        let update = pb::UpdateNoticeRequest {
            notice: Some(pb::Notice { notice_id: offer.notice.notice_id.clone(), material_change: true, ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["material_change".to_owned()] }),
            ..Default::default()
        };
        let notice = world.notices(&world.controller).update_notice(update).await.unwrap().into_inner();
        assert_eq!(reason().await, pb::Reason::ConsentGiven);
        world.publish_notice(&notice).await.unwrap();
        assert_eq!(reason().await, pb::Reason::RevisionOutdated);
        world.archive(&offer.purpose).await;
        assert_eq!(reason().await, pb::Reason::PurposeArchived);
        assert!(from_snapshot(&world.metrics) > 20);
    }

    /// A withdrawal at one replica denies at the other, and stays.
    async fn another_replica_hears_of_it(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        let (replica, there, metrics) = world.replica(world.database()).await;
        snapshot_is_used(&world, (&there, &metrics), (anna, &offer)).await;
        let reason = async || decided(&world, &there, anna, &offer).await.unwrap();
        for _ in 0..3 {
            assert_eq!(reason().await, pb::Reason::ConsentGiven);
            world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
            let seen = until(async || Some(reason().await).filter(|reason| *reason != pb::Reason::ConsentGiven)).await;
            assert_eq!(seen, pb::Reason::ConsentWithdrawn);
            for _ in 0..20 {
                assert_eq!(reason().await, pb::Reason::ConsentWithdrawn);
            }
            world.give(anna, &offer).await.unwrap();
            until(async || Some(reason().await).filter(|reason| *reason == pb::Reason::ConsentGiven)).await;
        }
        world.archive(&offer.purpose).await;
        until(async || Some(reason().await).filter(|reason| *reason == pb::Reason::PurposeArchived)).await;
        replica.stop().await;
    }

    /// A replica that repeats another one's answer knows what it says.
    async fn a_repeated_answer_is_known(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        let (replica, there, metrics) = world.replica(world.database()).await;
        snapshot_is_used(&world, (&there, &metrics), (anna, &offer)).await;
        let withdraw = pb::WithdrawConsentRequest { request_id: REQUEST_ID.to_owned(), ..offer.withdraw(anna.subject) };
        let first = world.consents(anna).withdraw_consent(withdraw.clone()).await.unwrap().into_inner();
        let mut client = ConsentServiceClient::new(world.through(anna, &there));
        assert_eq!(client.withdraw_consent(withdraw.clone()).await.unwrap().into_inner(), first);
        assert_eq!(decided(&world, &there, anna, &offer).await.unwrap(), pb::Reason::ConsentWithdrawn);

        world.give(anna, &offer).await.unwrap();
        until(async || decided(&world, &there, anna, &offer).await.ok().filter(|reason| *reason == pb::Reason::ConsentGiven)).await;
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        let again = client.withdraw_consent(offer.withdraw(anna.subject)).await;
        refused(again, Code::FailedPrecondition, "CONSENT_NOT_IN_FORCE");
        assert_eq!(decided(&world, &there, anna, &offer).await.unwrap(), pb::Reason::ConsentWithdrawn);
        replica.stop().await;
    }

    /// What is corrupt when it is loaded permits nothing, and everything else is answered.
    async fn corrupt_rows_are_not_believed(database) {
        let world = World::start(database).await;
        let (offer, other, anna) = (world.offer().await, world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        world.give(anna, &other).await.unwrap();
        let store = database.connect().await;
        let of = |offer: &Offer| format!("WHERE purpose_id = {}", sql::id(&store, &offer.purpose.purpose_id));
        tamper(&store, &format!("UPDATE consent SET version = version + 1 {}", of(&offer))).await;
        let (replica, there, metrics) = world.replica(world.database()).await;
        snapshot_is_used(&world, (&there, &metrics), (anna, &other)).await;
        for _ in 0..20 {
            refused(decided(&world, &there, anna, &offer).await, Code::DataLoss, "ROW_CORRUPT");
            assert_eq!(decided(&world, &there, anna, &other).await.unwrap(), pb::Reason::ConsentGiven);
        }
        tamper(&store, &format!("UPDATE consent SET version = version - 1 {}", of(&offer))).await;
        assert_eq!(decided(&world, &there, anna, &offer).await.unwrap(), pb::Reason::ConsentGiven);
        replica.stop().await;
    }

    /// The rule, and every step that led there, with its place in the ledger; without the words of the subject.
    async fn decisions_are_explained(database) {
        for source in [Source::Snapshot, Source::Database] {
            let database = if source == Source::Snapshot { database } else { &TestDatabase::sqlite() };
            let world = World::deciding_from(database, source).await;
            let (offer, anna) = (world.offer().await, &world.anna);
            let explain = async |user: &TestUser, asked: pb::CheckConsentRequest| {
                let request = pb::ExplainDecisionRequest { request: Some(asked) };
                world.decisions(user).explain_decision(request).await.map(tonic::Response::into_inner)
            };
            let asked = question(anna.subject, &offer.purpose);
            let nothing = explain(anna, asked.clone()).await.unwrap();
            assert_eq!((nothing.response.unwrap().reason(), nothing.events.len()), (pb::Reason::NoConsent, 0));
            world.give(anna, &offer).await.unwrap();
            let withdraw = pb::WithdrawConsentRequest { reason: "enough".to_owned(), ..offer.withdraw(anna.subject) };
            world.consents(anna).withdraw_consent(withdraw).await.unwrap();
            let explained = explain(anna, asked.clone()).await.unwrap();
            let response = explained.response.unwrap();
            assert_eq!(response.reason(), pb::Reason::ConsentWithdrawn);
            assert!(explained.rule.contains("took the consent back"), "{}", explained.rule);
            let steps: Vec<_> = explained.events.iter().map(pb::ConsentEvent::status).collect();
            assert_eq!(steps, [pb::ConsentStatus::Given, pb::ConsentStatus::Withdrawn]);
            assert!(explained.events.iter().all(|event| event.reason.is_empty()));
            let placed = until(async || explain(anna, asked.clone()).await.unwrap().response.unwrap().ledger_index).await;
            assert_eq!(explain(anna, asked.clone()).await.unwrap().events[1].ledger_index, Some(placed));
            let index = async || world.check(anna, &offer.purpose).await.ledger_index;
            assert_eq!(until(index).await, placed, "as checks say");

            refused(explain(&world.bert, asked.clone()).await, Code::PermissionDenied, "NOT_YOUR_DATA");
            assert_eq!(fields(world.decisions(anna).explain_decision(pb::ExplainDecisionRequest::default()).await), ["request"]);
            let bad = pb::CheckConsentRequest { purpose_id: "x".to_owned(), ..asked };
            assert_eq!(fields(explain(anna, bad).await), ["request.purpose_id"]);
        }
    }
}

/// Cut off from the database, a replica stops to answer; it never permits what was withdrawn meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_its_database_answers_nobody() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let (world, proxy) = (World::start(&database).await, database.proxy().unwrap());
    let (offer, anna) = (world.offer().await, &world.anna);
    world.give(anna, &offer).await.unwrap();
    let (replica, there, metrics) = world.replica(proxy.config()).await;
    snapshot_is_used(&world, (&there, &metrics), (anna, &offer)).await;
    let ask = async || decided(&world, &there, anna, &offer).await;
    proxy.cut();
    world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
    let silent = until(async || ask().await.err()).await;
    assert!([Code::Unavailable, Code::DeadlineExceeded].contains(&silent.code()), "{silent:?}");
    for _ in 0..3 {
        assert!(ask().await.is_err());
    }
    proxy.heal();
    assert_eq!(until(async || ask().await.ok()).await, pb::Reason::ConsentWithdrawn);
    replica.stop().await;
}
