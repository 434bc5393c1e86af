//! What people do, in order: the happy paths and the rules along them.

use portal_testkit::each_database;
use prost_types::FieldMask;
use tonic::Code;

use crate::world::{HOUR, World, pb, purpose, refused, seconds};

fn status(consent: &pb::Consent) -> pb::ConsentStatus {
    consent.status()
}

each_database! {
    /// Give → list → withdraw → refuse: one current row, the whole history, and decisions that follow at once.
    async fn the_whole_story(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        assert_eq!(world.check(anna, &offer.purpose).await.reason(), pb::Reason::NoConsent);

        let given = world.give(anna, &offer).await.unwrap();
        assert_eq!(status(&given), pb::ConsentStatus::Given);
        assert_eq!(given.expire_time.unwrap().seconds - given.event_time.unwrap().seconds, 30 * 86_400);
        assert_eq!((given.notice_revision, given.purpose_revision, given.etag.as_str()), (1, 1, "1"));
        let decision = world.check(anna, &offer.purpose).await;
        assert_eq!((decision.decision(), decision.reason()), (pb::Decision::Permit, pb::Reason::ConsentGiven));
        assert_eq!(decision.consent_id, given.consent_id);

        let again = world.give(anna, &offer).await.unwrap();
        assert_eq!(again, given);
        let refusal = world.consents(anna).refuse_consent(offer.refuse(anna.subject)).await;
        refused(refusal, Code::FailedPrecondition, "CONSENT_IN_FORCE");

        let request = pb::WithdrawConsentRequest { reason: "too many letters".to_owned(), ..offer.withdraw(anna.subject) };
        let withdrawn = world.consents(anna).withdraw_consent(request).await.unwrap().into_inner();
        assert_eq!(status(withdrawn.consent.as_ref().unwrap()), pb::ConsentStatus::Withdrawn);
        let decision = world.check(anna, &offer.purpose).await;
        assert_eq!((decision.decision(), decision.reason()), (pb::Decision::Deny, pb::Reason::ConsentWithdrawn));
        let twice = world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await;
        refused(twice, Code::FailedPrecondition, "CONSENT_NOT_IN_FORCE");
        world.consents(anna).refuse_consent(offer.refuse(anna.subject)).await.unwrap();

        let listed = world.consents(anna).list_consents(pb::ListConsentsRequest::default()).await.unwrap().into_inner();
        assert_eq!(listed.consents.len(), 1);
        assert_eq!(status(&listed.consents[0]), pb::ConsentStatus::Refused);
        let events = world.events(anna).await;
        let steps: Vec<_> = events.iter().map(|event| (event.previous_status(), event.status())).collect();
        assert_eq!(steps, [
            (pb::ConsentStatus::Withdrawn, pb::ConsentStatus::Refused),
            (pb::ConsentStatus::Given, pb::ConsentStatus::Withdrawn),
            (pb::ConsentStatus::Unknown, pb::ConsentStatus::Given),
        ]);
        assert_eq!(events[1].reason, "too many letters");
        assert_eq!((events[2].language.as_str(), events[2].method()), ("en", pb::IndicationMethod::Button));
        assert!(events.iter().all(|event| event.actor_id == anna.account.to_string()));
        assert_eq!(events[1].event_id, withdrawn.receipt_id);
    }

    /// Three purposes are three consents; refusing one touches no other; a first record may be a refusal.
    async fn purposes_are_independent(database) {
        let world = World::start(database).await;
        let purposes = [world.published_purpose().await, world.published_purpose().await, world.published_purpose().await];
        let notice = world.published_notice(&purposes.each_ref()).await;
        let offers = purposes.map(|purpose| crate::world::Offer { purpose, notice: notice.clone() });
        let anna = &world.anna;
        world.give(anna, &offers[0]).await.unwrap();
        world.give(anna, &offers[1]).await.unwrap();
        let refusal = world.consents(anna).refuse_consent(offers[2].refuse(anna.subject)).await.unwrap().into_inner();
        assert_eq!(status(&refusal.consent.unwrap()), pb::ConsentStatus::Refused);
        assert_eq!(world.check(anna, &offers[0].purpose).await.decision(), pb::Decision::Permit);
        assert_eq!(world.check(anna, &offers[2].purpose).await.reason(), pb::Reason::ConsentRefused);

        let count = async |status: pb::ConsentStatus| {
            let request = pb::ListConsentsRequest { status: status.into(), ..Default::default() };
            world.consents(anna).list_consents(request).await.unwrap().into_inner().consents.len()
        };
        assert_eq!(count(pb::ConsentStatus::Unspecified).await, 3);
        assert_eq!(count(pb::ConsentStatus::Given).await, 2);
        assert_eq!(count(pb::ConsentStatus::Expired).await, 0);

        let request = pb::WithdrawAllConsentsRequest {
            subject_id: anna.subject.to_string(),
            request_id: "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f".to_owned(),
            ..Default::default()
        };
        let all = world.consents(anna).withdraw_all_consents(request.clone()).await.unwrap().into_inner();
        assert_eq!(all.replies.len(), 2);
        assert_eq!(world.consents(anna).withdraw_all_consents(request).await.unwrap().into_inner(), all);
        assert_eq!(world.events(anna).await.len(), 5);
        assert_eq!(count(pb::ConsentStatus::Withdrawn).await, 2);
    }

    /// Archived purpose: no new decision, no permit, but withdrawing works. So does it after the notice changed.
    async fn withdrawal_is_never_blocked(database) {
        let world = World::start(database).await;
        let (offer, anna, bert) = (world.offer().await, &world.anna, &world.bert);
        world.give(anna, &offer).await.unwrap();
        let mut changed = offer.notice.clone();
        changed.title = "Anew".to_owned();
        changed.material_change = true;
        let mask = FieldMask { paths: vec!["title".to_owned(), "material_change".to_owned()] };
        let request = pb::UpdateNoticeRequest { notice: Some(changed), update_mask: Some(mask), request_id: String::new() };
        let draft = world.notices(&world.controller).update_notice(request).await.unwrap().into_inner();
        assert_eq!((draft.revision, draft.state()), (2, pb::State::Draft));
        assert_eq!(world.check(anna, &offer.purpose).await.decision(), pb::Decision::Permit);
        world.publish_notice(&draft).await.unwrap();
        assert_eq!(world.check(anna, &offer.purpose).await.reason(), pb::Reason::RevisionOutdated);

        world.archive(&offer.purpose).await;
        assert_eq!(world.check(anna, &offer.purpose).await.reason(), pb::Reason::PurposeArchived);
        refused(world.give(bert, &offer).await, Code::FailedPrecondition, "PURPOSE_ARCHIVED");
        let refusal = world.consents(bert).refuse_consent(offer.refuse(bert.subject)).await;
        refused(refusal, Code::FailedPrecondition, "PURPOSE_ARCHIVED");
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        let nothing = world.consents(bert).withdraw_consent(offer.withdraw(bert.subject)).await;
        refused(nothing, Code::NotFound, "CONSENT_NOT_FOUND");
    }

    /// What was given ends by itself, in every answer at once, and can be given again.
    async fn expiry_is_read_from_the_clock(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        let request = pb::GiveConsentRequest { valid_for: Some(seconds(3_600)), ..offer.give(anna.subject) };
        let given = world.consents(anna).give_consent(request).await.unwrap().into_inner().consent.unwrap();
        world.mesh.clock.advance(HOUR);
        assert_eq!(world.check(anna, &offer.purpose).await.reason(), pb::Reason::ConsentExpired);
        let request = pb::GetConsentRequest { consent_id: given.consent_id.clone(), ..Default::default() };
        let read = world.consents(anna).get_consent(request).await.unwrap().into_inner();
        assert_eq!(status(&read), pb::ConsentStatus::Expired);
        let request = pb::ListConsentsRequest { status: pb::ConsentStatus::Expired.into(), ..Default::default() };
        let expired = world.consents(anna).list_consents(request).await.unwrap().into_inner();
        // The event of the end may come in between: the etag moves on with it.
        let shown: Vec<_> = expired.consents.iter().map(|consent| (&consent.consent_id, consent.status())).collect();
        assert_eq!(shown, [(&read.consent_id, pb::ConsentStatus::Expired)]);
        let request = pb::ListConsentsRequest { status: pb::ConsentStatus::Given.into(), ..Default::default() };
        assert!(world.consents(anna).list_consents(request).await.unwrap().into_inner().consents.is_empty());
        let again = world.give(anna, &offer).await.unwrap();
        assert_eq!((status(&again), again.consent_id), (pb::ConsentStatus::Given, given.consent_id));
        assert_eq!(world.events(anna).await[0].previous_status(), pb::ConsentStatus::Expired);
    }

    /// Published revisions stay as they were; the draft of the next one is beside them; etags guard.
    async fn revisions_and_etags(database) {
        let world = World::start(database).await;
        let mut client = world.purposes(&world.controller);
        let first = world.published_purpose().await;
        let mask = Some(FieldMask { paths: vec!["display_name".to_owned(), "validity".to_owned()] });
        let change = pb::Purpose { display_name: "Second".to_owned(), validity: None, ..first.clone() };
        let request = pb::UpdatePurposeRequest { purpose: Some(change), update_mask: mask, request_id: String::new() };
        let draft = client.update_purpose(request.clone()).await.unwrap().into_inner();
        assert_eq!((draft.revision, draft.state(), draft.display_name.as_str()), (2, pb::State::Draft, "Second"));
        assert_eq!((draft.validity, &draft.description), (None, &purpose().description));
        refused(client.update_purpose(request).await, Code::Aborted, "ETAG_MISMATCH");
        let get = |revision| pb::GetPurposeRequest { purpose_id: first.purpose_id.clone(), revision };
        let old = client.get_purpose(get(1)).await.unwrap().into_inner();
        assert_eq!((old.display_name.as_str(), old.validity), ("Newsletter", first.validity));
        let seen = world.purposes(&world.anna).get_purpose(get(0)).await.unwrap().into_inner();
        assert_eq!((seen.revision, seen.state()), (1, pb::State::Published));
        refused(client.get_purpose(get(2)).await, Code::NotFound, "PURPOSE_NOT_FOUND");
        let publish = pb::PublishPurposeRequest { purpose_id: first.purpose_id.clone(), etag: draft.etag.clone(), ..Default::default() };
        let second = client.publish_purpose(publish.clone()).await.unwrap().into_inner();
        assert_eq!((second.revision, second.state()), (2, pb::State::Published));
        refused(client.publish_purpose(publish).await, Code::Aborted, "ETAG_MISMATCH");
        let publish = pb::PublishPurposeRequest { purpose_id: first.purpose_id.clone(), ..Default::default() };
        refused(client.publish_purpose(publish).await, Code::FailedPrecondition, "NO_DRAFT");
        let archived = world.archive(&second).await;
        assert_eq!(world.archive(&second).await, archived);
        let mask = Some(FieldMask { paths: vec!["display_name".to_owned()] });
        let request = pb::UpdatePurposeRequest { purpose: Some(archived), update_mask: mask, request_id: String::new() };
        refused(client.update_purpose(request).await, Code::FailedPrecondition, "PURPOSE_ARCHIVED");
    }

    /// A notice is published after its purposes, with the hash of its canonical form.
    async fn notices_are_published_after_their_purposes(database) {
        let world = World::start(database).await;
        let purpose = world.draft_purpose().await;
        let draft = world.draft_notice(&[&purpose]).await;
        assert!(draft.content_hash.is_empty());
        refused(world.publish_notice(&draft).await, Code::FailedPrecondition, "PURPOSE_NOT_PUBLISHED");
        let offer = crate::world::Offer { purpose: purpose.clone(), notice: draft.clone() };
        refused(world.give(&world.anna, &offer).await, Code::FailedPrecondition, "PURPOSE_NOT_PUBLISHED");
        let publish = pb::PublishPurposeRequest { purpose_id: purpose.purpose_id.clone(), ..Default::default() };
        world.purposes(&world.controller).publish_purpose(publish).await.unwrap();
        refused(world.give(&world.anna, &offer).await, Code::FailedPrecondition, "NOTICE_NOT_PUBLISHED");
        let published = world.publish_notice(&draft).await.unwrap();
        let canonical = format!(
            r#"{{"bodies":{{"de-AT":"Wir schreiben Ihnen.","en":"We write to you."}},"purpose_ids":["{}"],"title":"How we use your data"}}"#,
            purpose.purpose_id
        );
        assert_eq!(published.content_hash, portal_crypto::hash::sha384(canonical.as_bytes()));
        let request = pb::ListNoticesRequest { purpose_id: purpose.purpose_id.clone(), ..Default::default() };
        let listed = world.notices(&world.anna).list_notices(request).await.unwrap().into_inner();
        assert_eq!(listed.notices, [published]);
        let other = world.published_purpose().await;
        let request = pb::ListNoticesRequest { purpose_id: other.purpose_id, ..Default::default() };
        assert!(world.notices(&world.anna).list_notices(request).await.unwrap().into_inner().notices.is_empty());
    }

    /// The next process has everything that was acknowledged, and takes page tokens of the one before.
    async fn a_restart_keeps_everything(database) {
        let mut world = World::start(database).await;
        let offer = world.offer().await;
        let given = world.give(&world.anna, &offer).await.unwrap();
        world.give(&world.bert, &offer).await.unwrap();
        let first = pb::ListConsentsRequest { page_size: 1, ..Default::default() };
        let token = world.consents(&world.officer).list_consents(first).await.unwrap().into_inner().next_page_token;
        world.restart().await;
        assert_eq!(world.check(&world.anna, &offer.purpose).await.decision(), pb::Decision::Permit);
        let request = pb::GetConsentRequest { consent_id: given.consent_id.clone(), ..Default::default() };
        assert_eq!(world.consents(&world.anna).get_consent(request).await.unwrap().into_inner(), given);
        assert_eq!(world.events(&world.anna).await.len(), 1);
        let rest = pb::ListConsentsRequest { page_size: 1, page_token: token, ..Default::default() };
        let rest = world.consents(&world.officer).list_consents(rest).await.unwrap().into_inner();
        assert_eq!((rest.consents.len(), rest.next_page_token.as_str()), (1, ""));
    }
}
