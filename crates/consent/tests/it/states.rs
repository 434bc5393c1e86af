//! Requests, deferrals, revocations and invalidations, and what a material revision of a purpose does.

use portal_testkit::each_database;
use prost_types::FieldMask;
use tonic::Code;

use crate::world::{Offer, World, fields, pb, refused, seconds};

const REQUEST: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

fn ask(offer: &Offer, subject_id: &str) -> pb::RequestConsentRequest {
    pb::RequestConsentRequest {
        subject_id: subject_id.to_owned(),
        purpose_id: offer.purpose.purpose_id.clone(),
        notice_id: offer.notice.notice_id.clone(),
        language: "en".to_owned(),
        ..Default::default()
    }
}

fn revocation(offer: &Offer, subject_id: &str) -> pb::RevokeConsentRequest {
    let (subject_id, purpose_id) = (subject_id.to_owned(), offer.purpose.purpose_id.clone());
    pb::RevokeConsentRequest {
        subject_id,
        purpose_id,
        reason: "project over".to_owned(),
        ..Default::default()
    }
}

each_database! {
    /// Asked, put off, asked again, given: each a step with its event, and none but the last permits.
    async fn requested_deferred_given(database) {
        use pb::ConsentStatus::{Given, RequestDeferred, Requested};
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        let subject_id = anna.subject.to_string();
        let mut controller = world.consents(&world.controller);
        let request = pb::RequestConsentRequest { request_id: REQUEST.to_owned(), ..ask(&offer, &subject_id) };
        let asked = controller.request_consent(request.clone()).await.unwrap().into_inner();
        assert_eq!(asked.consent.as_ref().unwrap().status(), Requested);
        assert_eq!(controller.request_consent(request).await.unwrap().into_inner(), asked);
        assert_eq!(world.check(anna, &offer.purpose).await.reason(), pb::Reason::ConsentRequested);

        let defer = pb::DeferConsentRequest {
            subject_id: subject_id.clone(), purpose_id: offer.purpose.purpose_id.clone(), ..Default::default()
        };
        let put_off = world.consents(anna).defer_consent(defer.clone()).await.unwrap().into_inner().consent.unwrap();
        assert_eq!(put_off.status(), RequestDeferred);
        world.consents(anna).defer_consent(defer.clone()).await.unwrap();
        controller.request_consent(ask(&offer, &subject_id)).await.unwrap();
        let given = world.give(anna, &offer).await.unwrap();
        assert_eq!(given.status(), Given);
        let steps: Vec<_> = world.events(anna).await.iter().rev().map(pb::ConsentEvent::status).collect();
        assert_eq!(steps, [Requested, RequestDeferred, Requested, Given]);
        refused(world.consents(anna).defer_consent(defer).await, Code::FailedPrecondition, "CONSENT_NOT_REQUESTED");
        let again = controller.request_consent(ask(&offer, &subject_id)).await;
        refused(again, Code::FailedPrecondition, "CONSENT_IN_FORCE");
    }

    /// A request ends by itself; what was never asked can't be put off; a draft can't be asked for.
    async fn requests_end(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        let subject_id = anna.subject.to_string();
        let defer = pb::DeferConsentRequest {
            subject_id: subject_id.clone(), purpose_id: offer.purpose.purpose_id.clone(), ..Default::default()
        };
        refused(world.consents(anna).defer_consent(defer.clone()).await, Code::NotFound, "CONSENT_NOT_FOUND");
        let mut controller = world.consents(&world.controller);
        let request = pb::RequestConsentRequest { valid_for: Some(seconds(60)), ..ask(&offer, &subject_id) };
        controller.request_consent(request).await.unwrap();
        world.mesh.clock.advance(std::time::Duration::from_secs(60));
        assert_eq!(world.check(anna, &offer.purpose).await.reason(), pb::Reason::ConsentExpired);
        refused(world.consents(anna).defer_consent(defer).await, Code::FailedPrecondition, "CONSENT_NOT_REQUESTED");
        world.give(anna, &offer).await.unwrap();

        let draft = world.draft_notice(&[&offer.purpose]).await;
        let unpublished = Offer { purpose: offer.purpose.clone(), notice: draft };
        let request = controller.request_consent(ask(&unpublished, &subject_id)).await;
        refused(request, Code::FailedPrecondition, "NOTICE_NOT_PUBLISHED");
        let wrong = pb::RequestConsentRequest { language: "fr".to_owned(), ..ask(&offer, &world.bert.subject.to_string()) };
        assert_eq!(fields(controller.request_consent(wrong).await), ["language"]);
        let nothing = pb::RequestConsentRequest { request_id: "x".to_owned(), ..Default::default() };
        let expect = ["subject_id", "purpose_id", "notice_id", "language", "request_id"];
        assert_eq!(fields(controller.request_consent(nothing).await), expect);
    }

    /// The controller ends one consent and an officer another: for good, whatever became of the purpose, with the reason
    /// for those who may read it.
    async fn revoked_and_invalidated(database) {
        let world = World::start(database).await;
        let (offer, anna, bert) = (world.offer().await, &world.anna, &world.bert);
        world.give(anna, &offer).await.unwrap();
        world.give(bert, &offer).await.unwrap();
        world.archive(&offer.purpose).await;
        let mut controller = world.consents(&world.controller);
        let revoke = revocation(&offer, &anna.subject.to_string());
        let revoked = controller.revoke_consent(revoke.clone()).await.unwrap().into_inner().consent.unwrap();
        assert_eq!(revoked.status(), pb::ConsentStatus::Revoked);
        assert_eq!(world.events(anna).await[0].reason, "project over");
        refused(controller.revoke_consent(revoke.clone()).await, Code::FailedPrecondition, "CONSENT_NOT_IN_FORCE");
        refused(world.give(anna, &offer).await, Code::FailedPrecondition, "PURPOSE_ARCHIVED");
        assert_eq!(world.check(bert, &offer.purpose).await.status(), pb::ConsentStatus::Given);

        let invalidate = pb::InvalidateConsentRequest {
            subject_id: bert.subject.to_string(),
            purpose_id: offer.purpose.purpose_id.clone(),
            reason: "coerced".to_owned(),
            ..Default::default()
        };
        let mut officer = world.consents(&world.officer);
        let wordless = pb::InvalidateConsentRequest { reason: String::new(), ..invalidate.clone() };
        assert_eq!(fields(officer.invalidate_consent(wordless).await), ["reason"]);
        let not_allowed = (Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        refused(controller.invalidate_consent(invalidate.clone()).await, not_allowed.0, not_allowed.1);
        refused(officer.revoke_consent(revoke.clone()).await, not_allowed.0, not_allowed.1);
        refused(world.consents(anna).revoke_consent(revoke).await, not_allowed.0, not_allowed.1);
        let ended = officer.invalidate_consent(invalidate).await.unwrap().into_inner().consent.unwrap();
        assert_eq!(ended.status(), pb::ConsentStatus::Invalidated);
        let refusal = world.consents(bert).refuse_consent(offer.refuse(bert.subject)).await;
        refused(refusal, Code::FailedPrecondition, "PURPOSE_ARCHIVED");
        let withdrawal = world.consents(bert).withdraw_consent(offer.withdraw(bert.subject)).await;
        refused(withdrawal, Code::FailedPrecondition, "CONSENT_NOT_IN_FORCE");
    }

    /// What was revoked stays so, under a purpose that is in force.
    async fn closed_is_closed(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        let mut controller = world.consents(&world.controller);
        controller.revoke_consent(revocation(&offer, &anna.subject.to_string())).await.unwrap();
        let closed = (Code::FailedPrecondition, "CONSENT_CLOSED");
        refused(world.give(anna, &offer).await, closed.0, closed.1);
        refused(world.consents(anna).refuse_consent(offer.refuse(anna.subject)).await, closed.0, closed.1);
        let request = controller.request_consent(ask(&offer, &anna.subject.to_string())).await;
        refused(request, closed.0, closed.1);
        assert_eq!(world.check(anna, &offer.purpose).await.reason(), pb::Reason::ConsentRevoked);
        assert_eq!(world.events(anna).await.len(), 2);
    }

    /// A material revision of the purpose needs consent again; an editorial one does not.
    async fn material_revisions_of_purposes(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        let mut purposes = world.purposes(&world.controller);
        for (material_change, expect) in [(false, pb::Reason::ConsentGiven), (true, pb::Reason::RevisionOutdated)] {
            let purpose_id = offer.purpose.purpose_id.clone();
            let paths = vec!["material_change".to_owned(), "description".to_owned()];
            let update = pb::UpdatePurposeRequest {
                purpose: Some(pb::Purpose {
                    purpose_id: purpose_id.clone(), material_change, description: "New".to_owned(), ..Default::default()
                }),
                update_mask: Some(FieldMask { paths }),
                request_id: String::new(),
            };
            purposes.update_purpose(update).await.unwrap();
            let publish = pb::PublishPurposeRequest { purpose_id, ..Default::default() };
            let published = purposes.publish_purpose(publish).await.unwrap().into_inner();
            assert_eq!(published.material_change, material_change);
            assert_eq!(world.check(anna, &offer.purpose).await.reason(), expect);
        }
        let again = world.give(anna, &offer).await.unwrap();
        assert_eq!((again.status(), again.purpose_revision), (pb::ConsentStatus::RenewedGiven, 3));
        assert_eq!(world.check(anna, &offer.purpose).await.reason(), pb::Reason::ConsentGiven);
    }
}
