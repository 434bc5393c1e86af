//! Twenty at once, and the same request again.

use portal_testkit::each_database;
use tonic::{Code, Status};

use crate::world::{World, pb, refused};

const REQUEST_ID: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

async fn twenty(world: &World, request: pb::GiveConsentRequest) -> Vec<Result<pb::ConsentReply, Status>> {
    let calls = (0..20).map(|_| {
        let (mut client, request) = (world.consents(&world.anna), request.clone());
        async move { client.give_consent(request).await.map(tonic::Response::into_inner) }
    });
    futures_util::future::join_all(calls).await
}

each_database! {
    /// One event, twenty equal replies.
    async fn twenty_with_one_request_id(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let request = pb::GiveConsentRequest { request_id: REQUEST_ID.to_owned(), ..offer.give(world.anna.subject) };
        let replies: Vec<_> = twenty(&world, request).await.into_iter().map(Result::unwrap).collect();
        assert!(replies.iter().all(|reply| *reply == replies[0]));
        assert_eq!(world.events(&world.anna).await.len(), 1);
    }

    /// One event; everyone is told the same state, or to try again.
    async fn twenty_without_a_request_id(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let replies = twenty(&world, offer.give(world.anna.subject)).await;
        let given: Vec<_> = replies.iter().filter_map(|reply| reply.as_ref().ok()).collect();
        assert!(!given.is_empty());
        assert!(given.iter().all(|reply| *reply == given[0]));
        assert!(replies.iter().all(|reply| reply.as_ref().err().is_none_or(|status| status.code() == Code::Aborted)));
        assert_eq!(world.events(&world.anna).await.len(), 1);
    }

    /// Of twenty withdrawals one happens; the others find nothing in force.
    async fn twenty_withdrawals(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        let calls = (0..20).map(|_| {
            let (mut client, request) = (world.consents(anna), offer.withdraw(anna.subject));
            async move { client.withdraw_consent(request).await }
        });
        let replies = futures_util::future::join_all(calls).await;
        assert_eq!(replies.iter().filter(|reply| reply.is_ok()).count(), 1);
        assert_eq!(world.events(anna).await.len(), 2);
    }

    /// Same id, same body: the first reply, even after the state moved on. Same id, other body: refused. Another
    /// caller's id is another id.
    async fn request_ids(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        let give = pb::GiveConsentRequest { request_id: REQUEST_ID.to_owned(), ..offer.give(anna.subject) };
        let first = world.consents(anna).give_consent(give.clone()).await.unwrap().into_inner();
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        let again = world.consents(anna).give_consent(give.clone()).await.unwrap().into_inner();
        assert_eq!(again, first);
        assert_eq!(world.events(anna).await.len(), 2);
        let other = pb::GiveConsentRequest { language: "de-AT".to_owned(), ..give.clone() };
        refused(world.consents(anna).give_consent(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        let as_controller = world.consents(&world.controller).give_consent(give).await.unwrap().into_inner();
        assert_ne!(as_controller, first);
        let events = world.events(anna).await;
        assert_eq!((events.len(), &events[0].actor_id), (3, &world.controller.account.to_string()));

        let create = pb::CreateNoticeRequest {
            notice: Some(crate::world::notice(&[&offer.purpose])),
            request_id: REQUEST_ID.to_owned(),
        };
        let mut notices = world.notices(&world.controller);
        let first = notices.create_notice(create.clone()).await.unwrap().into_inner();
        // A map is sent in any order: a rebuilt one must still be the same request.
        for _ in 0..8 {
            let mut rebuilt = create.clone();
            let bodies = rebuilt.notice.as_mut().unwrap();
            bodies.bodies = create.notice.clone().unwrap().bodies.into_iter().collect();
            assert_eq!(notices.create_notice(rebuilt).await.unwrap().into_inner(), first);
        }
    }
}
