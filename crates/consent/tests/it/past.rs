//! What stood at an earlier time, by the time of the decision and by the time of its record.

use std::time::Duration;

use portal_core::{Clock, Timestamp};
use portal_mesh::convert::timestamp;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use tonic::{Code, Status};

use crate::sql;
use crate::world::{HOUR, World, fields, pb, question, refused};

use pb::ConsentStatus::{Expired, Given, Withdrawn};

const SECOND: Duration = Duration::from_secs(1);

type Time = Option<prost_types::Timestamp>;

impl World {
    fn now(&self) -> Timestamp {
        self.mesh.clock.now()
    }

    async fn consent_then(
        &self,
        user: &TestUser,
        id: &str,
        (at, as_of): (Time, Time),
    ) -> Result<pb::Consent, Status> {
        let request = pb::GetConsentRequest { consent_id: id.to_owned(), at, as_of };
        self.consents(user).get_consent(request).await.map(tonic::Response::into_inner)
    }

    /// All pages, of two consents each.
    async fn consents_then(
        &self,
        user: &TestUser,
        mut request: pb::ListConsentsRequest,
    ) -> Result<Vec<pb::Consent>, Status> {
        request.page_size = 2;
        let mut all = Vec::new();
        loop {
            let page = self.consents(user).list_consents(request.clone()).await?.into_inner();
            assert!(page.consents.len() <= 2);
            all.extend(page.consents);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(all);
            }
        }
    }
}

fn when(at: Timestamp) -> Time {
    Some(timestamp(at))
}

each_database! {
    async fn a_consent_as_it_stood(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        let start = world.now();
        world.mesh.clock.advance(HOUR);
        let given = world.give(anna, &offer).await.unwrap();
        let id = &given.consent_id;
        world.mesh.clock.advance(HOUR);
        let withdrawn = world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        let withdrawn = withdrawn.into_inner().consent.unwrap();
        world.mesh.clock.advance(HOUR);
        let last = world.give(anna, &offer).await.unwrap();
        let (first, second) = (start.plus(HOUR), start.plus(HOUR * 2));
        for (at, expected) in [
            (first, &given),
            (second.minus(SECOND), &given),
            (second, &withdrawn),
            (world.now().minus(SECOND), &withdrawn),
            (world.now(), &last),
        ] {
            assert_eq!(&world.consent_then(anna, id, (when(at), None)).await.unwrap(), expected);
            assert_eq!(&world.consent_then(anna, id, (None, when(at))).await.unwrap(), expected);
            assert_eq!(&world.consent_then(&world.officer, id, (when(at), when(at))).await.unwrap(), expected);
        }
        // What ends by itself has ended at a time after its end, and has not before.
        let end = start.plus(HOUR * 3 + Duration::from_secs(30 * 86_400));
        world.mesh.clock.advance(Duration::from_secs(31 * 86_400));
        let status = async |at| world.consent_then(anna, id, (when(at), None)).await.unwrap().status();
        assert_eq!((status(end.minus(SECOND)).await, status(end).await), (Given, Expired));

        let not_found = async |at| world.consent_then(anna, id, (when(at), None)).await;
        refused(not_found(first.minus(SECOND)).await, Code::NotFound, "CONSENT_NOT_FOUND");
        let bert = world.consent_then(&world.bert, id, (when(start), None)).await;
        refused(bert, Code::PermissionDenied, "NOT_YOUR_DATA");
        let ahead = when(world.now().plus(SECOND));
        assert_eq!(fields(world.consent_then(anna, id, (ahead, ahead)).await), ["at", "as_of"]);
        let bad = Some(prost_types::Timestamp { seconds: 0, nanos: -1 });
        assert_eq!(fields(world.consent_then(anna, "x", (bad, None)).await), ["consent_id", "at"]);
    }

    /// A withdrawal that is told late: before it was told nobody knew; since then it counts from its own time on, also for
    /// what was given after it.
    async fn what_was_known_and_what_was_so(database) {
        let world = World::start(database).await;
        let (offer, bert) = (world.offer().await, &world.bert);
        let start = world.now();
        let at = |hours: u32| start.plus(HOUR * hours);
        world.mesh.clock.advance(HOUR * 2);
        let given = world.give(bert, &offer).await.unwrap();
        world.mesh.clock.advance(HOUR);
        let late = pb::ConsentRecord { event_time: when(at(1)), ..offer.record(bert.subject, Withdrawn) };
        assert_eq!(world.record(vec![late]).await, [Ok(Withdrawn)]);
        world.mesh.clock.advance(HOUR);
        world.give(bert, &offer).await.unwrap();
        let then = async |at, as_of| {
            let found = world.consent_then(bert, &given.consent_id, (when(at), when(as_of))).await;
            found.map(|consent| consent.status()).map_err(|status| status.code())
        };
        let expected = [
            ((at(2), at(2)), Ok(Given)),
            ((at(1), at(2)), Err(Code::NotFound)),
            ((at(1), at(3)), Ok(Withdrawn)),
            ((at(2), at(3)), Ok(Withdrawn)),
            ((at(3), at(4)), Ok(Withdrawn)),
            ((at(4), at(4)), Ok(Given)),
            ((at(4), at(3)), Ok(Withdrawn)),
            ((at(4), at(1)), Err(Code::NotFound)),
        ];
        for ((at, as_of), status) in expected {
            assert_eq!(then(at, as_of).await, status, "{at:?} {as_of:?}");
        }
        let request = pb::CheckConsentRequest { at: when(at(3)), ..question(bert.subject, &offer.purpose) };
        let answer = world.decisions(&world.officer).check_consent(request).await.unwrap().into_inner();
        assert_eq!(answer.reason(), pb::Reason::ConsentWithdrawn);
    }

    async fn consents_of_a_person_as_they_stood(database) {
        let world = World::deciding_from(database, portal_consent::Source::Database).await;
        let anna = &world.anna;
        let mut offers = Vec::new();
        for _ in 0..5 {
            offers.push(world.offer().await);
        }
        let mut given = Vec::new();
        for offer in &offers {
            world.mesh.clock.advance(HOUR);
            given.insert(0, world.give(anna, offer).await.unwrap());
        }
        world.give(&world.bert, &offers[0]).await.unwrap();
        let then = world.now();
        world.mesh.clock.advance(HOUR);
        world.consents(anna).withdraw_consent(offers[1].withdraw(anna.subject)).await.unwrap();
        let mine = pb::ListConsentsRequest { subject_id: anna.subject.to_string(), ..Default::default() };
        let at = |at| pb::ListConsentsRequest { at: when(at), ..mine.clone() };
        assert_eq!(world.consents_then(anna, at(then)).await.unwrap(), given);
        assert_eq!(world.consents_then(&world.officer, at(then)).await.unwrap(), given);
        assert_eq!(world.consents_then(anna, at(then.minus(HOUR))).await.unwrap(), given[1..]);
        assert_eq!(world.consents_then(anna, at(then.minus(HOUR * 9))).await.unwrap(), []);
        let now = world.consents_then(anna, at(world.now())).await.unwrap();
        assert_eq!(now, world.consents_then(anna, mine.clone()).await.unwrap());
        assert_eq!((now.len(), now[0].status()), (5, Withdrawn));
        let in_status = async |at, status: pb::ConsentStatus| {
            let request = pb::ListConsentsRequest { as_of: when(at), status: status.into(), ..mine.clone() };
            world.consents_then(anna, request).await.unwrap().len()
        };
        assert_eq!([in_status(then, Given).await, in_status(then, Withdrawn).await], [5, 0]);
        assert_eq!([in_status(world.now(), Given).await, in_status(world.now(), Withdrawn).await], [4, 1]);
        let one = pb::ListConsentsRequest { purpose_id: offers[3].purpose.purpose_id.clone(), ..at(then) };
        assert_eq!(world.consents_then(anna, one).await.unwrap(), given[1..2]);

        let everybody = pb::ListConsentsRequest { subject_id: String::new(), ..at(then) };
        assert_eq!(fields(world.consents_then(&world.officer, everybody.clone()).await), ["subject_id"]);
        assert_eq!(world.consents_then(anna, everybody).await.unwrap(), given);
        refused(world.consents_then(&world.bert, at(then)).await, Code::PermissionDenied, "NOT_YOUR_DATA");
        assert_eq!(fields(world.consents_then(anna, at(world.now().plus(SECOND))).await), ["at"]);
        let first = world.consents(anna).list_consents(pb::ListConsentsRequest { page_size: 2, ..at(then) }).await;
        let page_token = first.unwrap().into_inner().next_page_token;
        let other = pb::ListConsentsRequest { page_token, ..at(then.minus(SECOND)) };
        assert_eq!(fields(world.consents(anna).list_consents(other).await), ["page_token"]);

        // One whose history is not what was written is left out.
        let store = database.connect().await;
        let forged = format!("UPDATE consent_event SET status = 'refused' WHERE consent_id = {}", sql::id(&store, &given[0].consent_id));
        sql::tamper(&store, &forged).await;
        let reply = world.consents(anna).list_consents(at(then)).await.unwrap();
        assert_eq!(reply.metadata().get("portal-rows-withheld").unwrap(), "1");
        assert_eq!(reply.into_inner().consents, given[1..]);
        let found = world.consent_then(anna, &given[0].consent_id, (when(then), None)).await;
        refused(found, Code::DataLoss, "ROW_CORRUPT");
    }
}
