//! Ends of consents become events by themselves, each once, however many replicas there are.

use std::time::Duration;

use portal_testkit::each_database;
use tonic::Code;

use crate::sql;
use crate::world::{HOUR, World, pb, refused};

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
}
