//! Ends of consents become events by themselves, each once, however many replicas there are.

use std::time::Duration;

use portal_testkit::each_database;
use tonic::Code;

use crate::sql;
use crate::world::{HOUR, World, pb, refused, until};

const DAY: Duration = Duration::from_secs(86_400);

impl World {
    /// Waits until the service has recorded ends of `count` consents.
    async fn ended(&self, store: &portal_store::Database, count: i64) {
        let ended = "SELECT COUNT(*) FROM consent_event WHERE status = 'expired'";
        let wait = async {
            while sql::one::<i64>(store, ended).await < count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
        assert_eq!(sql::one::<i64>(store, ended).await, count);
    }
}

each_database! {
    /// Two replicas, a thousand consents that end: one event each, as of the end, by the service. Those that go on, and
    /// those that were withdrawn, have none.
    async fn once_each(database) {
        let mut world = World::start(database).await;
        let offer = world.offer().await;
        let people = world.people(1_200, 5);
        let record = |subject, status| offer.record(subject, status);
        let short = people[..1_100].iter().map(|subject| pb::ConsentRecord {
            valid_for: Some(crate::world::seconds(7_200)),
            ..record(*subject, pb::ConsentStatus::Given)
        });
        let long = people[1_100..].iter().map(|subject| record(*subject, pb::ConsentStatus::Given));
        world.record(short.chain(long).collect()).await;
        world.record(people[..50].iter().map(|subject| record(*subject, pb::ConsentStatus::Withdrawn)).collect()).await;
        let request = pb::GiveConsentRequest {
            valid_for: Some(crate::world::seconds(7_200)),
            ..offer.give(world.anna.subject)
        };
        world.consents(&world.anna).give_consent(request).await.unwrap();
        let store = database.connect().await;
        let second = world.second_replica().await;
        world.mesh.clock.advance(HOUR * 2);
        world.ended(&store, 1_051).await;
        let twice = "SELECT COUNT(*) FROM (SELECT consent_id FROM consent_event WHERE status = 'expired'
                     GROUP BY consent_id HAVING COUNT(*) > 1) AS twice";
        assert_eq!(sql::one::<i64>(&store, twice).await, 0);
        let events = world.events(&world.anna).await;
        assert_eq!((events.len(), events[0].status()), (2, pb::ConsentStatus::Expired));
        assert_eq!((events[0].previous_status(), events[0].actor_id.as_str()), (pb::ConsentStatus::Given, "workload/consent"));
        assert_eq!(events[0].event_time, events[1].expire_time);
        let in_ledger = "SELECT (SELECT COUNT(*) FROM ledger_pending) + (SELECT COUNT(*) FROM ledger_entry)";
        let events = sql::one::<i64>(&store, "SELECT COUNT(*) FROM consent_event").await;
        assert!(sql::one::<i64>(&store, in_ledger).await >= events);
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM consent WHERE status = 'given'").await, 100);
        assert_eq!(world.check(&world.anna, &offer.purpose).await.reason(), pb::Reason::ConsentExpired);
        second.stop().await;
    }

    /// After its end was recorded a consent is as one that has ended: nothing to withdraw or renew, and it can be given
    /// again. What had ended when it was told waits for what may still come.
    async fn what_comes_after(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        let told = |status, ago| pb::ConsentRecord {
            event_time: world.ago(ago),
            ..offer.record(world.bert.subject, status)
        };
        let records = vec![told(pb::ConsentStatus::Given, DAY * 40)];
        assert_eq!(world.record(records).await, [Ok(pb::ConsentStatus::Expired)]);
        world.mesh.clock.advance(DAY * 30 - HOUR / 2);
        let store = database.connect().await;
        world.ended(&store, 1).await;
        assert_eq!(world.events(&world.bert).await[0].status(), pb::ConsentStatus::Expired);
        let records = vec![told(pb::ConsentStatus::RenewedGiven, DAY * 35 + DAY * 30)];
        assert_eq!(world.record(records).await, [Err("EVENT_OUT_OF_ORDER".to_owned())]);
        let records = vec![told(pb::ConsentStatus::Withdrawn, DAY * 35 + DAY * 30)];
        assert_eq!(world.record(records).await, [Ok(pb::ConsentStatus::Withdrawn)]);

        world.mesh.clock.advance(HOUR);
        world.ended(&store, 2).await;
        let withdrawal = world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await;
        refused(withdrawal, Code::FailedPrecondition, "CONSENT_NOT_IN_FORCE");
        let renewal = world.consents(anna).renew_consent(offer.renew(anna.subject)).await;
        refused(renewal, Code::FailedPrecondition, "CONSENT_NOT_IN_FORCE");
        world.give(anna, &offer).await.unwrap();
        let events = world.events(anna).await;
        assert_eq!((events.len(), events[0].previous_status()), (3, pb::ConsentStatus::Expired));
        assert_eq!(crate::scans::scan(&world).await.state(), crate::world::common::ScanState::Clean);
    }

    /// Two replicas that are told to: whoever was in force here is asked once, in the language of the answer, under what
    /// is offered now. Nobody is asked who was erased, nor for what is archived, nor about what was over when it was told;
    /// and a request that nobody answers is not made again.
    async fn asked_again(database) {
        let mut world = World::start(database).await;
        world.restart_asking(14).await;
        let (offer, archived) = (world.offer().await, world.offer().await);
        let (anna, people) = (&world.anna.subject.clone(), world.people(700, 6));
        let week = Some(crate::world::seconds(7 * 86_400));
        let given = |subject, of: &crate::world::Offer| pb::ConsentRecord {
            valid_for: week,
            ..of.record(subject, pb::ConsentStatus::Given)
        };
        let old = pb::ConsentRecord { event_time: world.ago(DAY * 40), ..given(world.bert.subject, &offer) };
        let erased = people[0];
        let all = people.iter().chain([anna]).map(|subject| given(*subject, &offer));
        world.record(all.chain([given(*anna, &archived), old]).collect()).await;
        world.archive(&archived.purpose).await;
        world.keys().await.erase(erased).await.unwrap();
        let notice = pb::UpdateNoticeRequest {
            notice: Some(pb::Notice { notice_id: offer.notice.notice_id.clone(), ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["material_change".to_owned()] }),
            ..Default::default()
        };
        let edited = world.notices(&world.controller).update_notice(notice).await.unwrap().into_inner();
        let offered = world.publish_notice(&edited).await.unwrap();
        assert!(offered.revision > offer.notice.revision);
        let store = database.connect().await;
        let second = world.second_replica().await;
        // Connected before the certificates expire by the clock of the test.
        assert_eq!(world.events(&world.anna).await.len(), 2);
        world.mesh.clock.advance(DAY * 7);
        world.ended(&store, 703).await;
        let asked = "SELECT COUNT(*) FROM consent_event WHERE status = 'requested' AND previous_status = 'expired'";
        assert_eq!(sql::one::<i64>(&store, asked).await, 700);
        let events = world.events(&world.anna).await;
        let statuses: Vec<_> = events.iter().filter(|event| event.purpose_id == offer.purpose.purpose_id).collect();
        let [request, end, first] = statuses[..] else { panic!("{events:?}") };
        assert_eq!((request.status(), end.status()), (pb::ConsentStatus::Requested, pb::ConsentStatus::Expired));
        assert_eq!((&request.language, request.notice_revision), (&first.language, offered.revision));
        assert_eq!((request.actor_id.as_str(), request.event_time), ("workload/consent", world.ago(Duration::ZERO)));
        let last = |events: Vec<pb::ConsentEvent>| events[0].status();
        assert_eq!(last(world.events(&world.bert).await), pb::ConsentStatus::Expired);
        let of_erased = format!("SELECT COUNT(*) FROM consent_event WHERE status = 'requested' AND subject_id = {}", sql::id(&store, &erased.to_string()));
        assert_eq!(sql::one::<i64>(&store, &of_erased).await, 0);
        // What was recorded by itself is in the snapshot shortly after.
        let check = until(async || {
            let check = world.check(&world.anna, &offer.purpose).await;
            (check.status() == pb::ConsentStatus::Requested).then_some(check)
        });
        assert_eq!(check.await.decision(), pb::Decision::Deny);

        // Who answers has given anew; who does not is not asked again.
        let again = pb::GiveConsentRequest { valid_for: week, ..offer.give(*anna) };
        world.consents(&world.anna).give_consent(again).await.unwrap();
        assert_eq!(world.check(&world.anna, &offer.purpose).await.decision(), pb::Decision::Permit);
        world.mesh.clock.advance(DAY * 15);
        world.ended(&store, 704).await;
        assert_eq!(sql::one::<i64>(&store, asked).await, 701);
        assert_eq!(crate::scans::scan(&world).await.state(), crate::world::common::ScanState::Clean);
        second.stop().await;
    }
}
