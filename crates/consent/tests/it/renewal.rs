//! Renewing: only what is in force, for a new term.

use std::time::Duration;

use portal_testkit::each_database;
use tonic::Code;

use crate::world::{Offer, World, pb, refused, seconds};

const DAY: Duration = Duration::from_secs(86_400);

impl Offer {
    pub fn renew(&self, subject: portal_core::id::SubjectId) -> pb::RenewConsentRequest {
        let pb::GiveConsentRequest { subject_id, purpose_id, notice_id, language, method, .. } =
            self.give(subject);
        pb::RenewConsentRequest { subject_id, purpose_id, notice_id, language, method, ..Default::default() }
    }
}

each_database! {
    /// Nothing → refused; in force → a new term from now, as its own event; ended, withdrawn or archived → refused.
    async fn a_new_term(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        let renew = async |request: pb::RenewConsentRequest| {
            world.consents(anna).renew_consent(request).await.map(tonic::Response::into_inner)
        };
        refused(renew(offer.renew(anna.subject)).await, Code::FailedPrecondition, "CONSENT_NOT_IN_FORCE");
        assert!(world.events(anna).await.is_empty());
        let given = world.give(anna, &offer).await.unwrap();
        world.mesh.clock.advance(DAY * 20);
        let request = pb::RenewConsentRequest {
            valid_for: Some(seconds(25 * 86_400)),
            request_id: "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f".to_owned(),
            ..offer.renew(anna.subject)
        };
        let reply = renew(request.clone()).await.unwrap();
        assert_eq!(renew(request).await.unwrap(), reply);
        let renewed = reply.consent.unwrap();
        assert_eq!((renewed.status(), &renewed.consent_id), (pb::ConsentStatus::RenewedGiven, &given.consent_id));
        let end = given.event_time.unwrap().seconds + 45 * 86_400;
        assert_eq!(renewed.expire_time.unwrap().seconds, end);
        let events = world.events(anna).await;
        assert_eq!((events.len(), events[0].previous_status()), (2, pb::ConsentStatus::Given));

        world.mesh.clock.advance(DAY * 24);
        assert_eq!(world.check(anna, &offer.purpose).await.reason(), pb::Reason::ConsentGiven);
        world.mesh.clock.advance(DAY);
        refused(renew(offer.renew(anna.subject)).await, Code::FailedPrecondition, "CONSENT_NOT_IN_FORCE");
        world.give(anna, &offer).await.unwrap();
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        refused(renew(offer.renew(anna.subject)).await, Code::FailedPrecondition, "CONSENT_NOT_IN_FORCE");
    }

    /// The same rules as giving, and nobody renews for somebody else.
    async fn the_rules_of_giving(database) {
        let world = World::start(database).await;
        let (offer, anna, bert) = (world.offer().await, &world.anna, &world.bert);
        world.give(anna, &offer).await.unwrap();
        let too_long = pb::RenewConsentRequest { valid_for: Some(seconds(31 * 86_400)), ..offer.renew(anna.subject) };
        assert_eq!(crate::world::fields(world.consents(anna).renew_consent(too_long).await), ["valid_for"]);
        let by_another = world.consents(bert).renew_consent(offer.renew(anna.subject)).await;
        refused(by_another, Code::PermissionDenied, "NOT_YOUR_DATA");
        world.consents(&world.controller).renew_consent(offer.renew(anna.subject)).await.unwrap();
        assert_eq!(world.events(anna).await[0].actor_id, world.controller.account.to_string());
        world.archive(&offer.purpose).await;
        let archived = world.consents(anna).renew_consent(offer.renew(anna.subject)).await;
        refused(archived, Code::FailedPrecondition, "PURPOSE_ARCHIVED");
    }
}
