//! Checks: what is unknown is denied with a reason, and the past is answered as it was.

use std::time::Duration;

use portal_core::Clock;
use portal_mesh::convert::timestamp;
use portal_testkit::each_database;

use crate::world::{World, fields, pb, question};

each_database! {
    async fn unknown_is_denied_with_a_reason(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        let draft = world.draft_purpose().await;
        let mut client = world.decisions(&world.officer);
        let nowhere = pb::Purpose { purpose_id: "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f".to_owned(), ..Default::default() };
        let other_data = vec!["pd:HealthData".to_owned()];
        let covered = vec!["pd:EmailAddress".to_owned()];
        let asked = question(anna.subject, &offer.purpose);
        let batch = vec![
            (asked.clone(), pb::Reason::ConsentGiven),
            (question(world.bert.subject, &offer.purpose), pb::Reason::NoConsent),
            (question(anna.subject, &nowhere), pb::Reason::PurposeUnknown),
            (question(anna.subject, &draft), pb::Reason::PurposeUnknown),
            (pb::CheckConsentRequest { personal_data: covered, ..asked.clone() }, pb::Reason::ConsentGiven),
            (pb::CheckConsentRequest { personal_data: other_data, ..asked.clone() }, pb::Reason::PersonalDataNotCovered),
            (pb::CheckConsentRequest { recipient: "Mailer Ltd".to_owned(), ..asked.clone() }, pb::Reason::ConsentGiven),
            (pb::CheckConsentRequest { recipient: "Broker".to_owned(), ..asked.clone() }, pb::Reason::RecipientNotCovered),
        ];
        let requests = batch.iter().map(|(request, _)| request.clone()).collect();
        let request = pb::BatchCheckConsentsRequest { requests };
        let answers = client.batch_check_consents(request).await.unwrap().into_inner().responses;
        for (answer, (request, reason)) in answers.iter().zip(&batch) {
            let permit = *reason == pb::Reason::ConsentGiven;
            let decision = if permit { pb::Decision::Permit } else { pb::Decision::Deny };
            assert_eq!((answer.decision(), answer.reason()), (decision, *reason), "{request:?}");
            // Its event may get its place in the ledger meanwhile.
            let alone = client.check_consent(request.clone()).await.unwrap().into_inner();
            let placed = |answer: &pb::CheckConsentResponse| pb::CheckConsentResponse { ledger_index: None, ..answer.clone() };
            assert_eq!(placed(&alone), placed(answer));
        }
        assert_eq!(answers[1].status(), pb::ConsentStatus::Unknown);

        let thousand = pb::BatchCheckConsentsRequest { requests: vec![asked.clone(); 1_000] };
        let answers = client.batch_check_consents(thousand).await.unwrap().into_inner().responses;
        assert!(answers.len() == 1_000 && answers.iter().all(|answer| answer.decision() == pb::Decision::Permit));
        let too_many = pb::BatchCheckConsentsRequest { requests: vec![asked.clone(); 1_001] };
        assert_eq!(fields(client.batch_check_consents(too_many).await), ["requests"]);
        let bad = pb::CheckConsentRequest { subject_id: "x".to_owned(), purpose_id: String::new(), ..asked.clone() };
        assert_eq!(fields(client.check_consent(bad.clone()).await), ["subject_id", "purpose_id"]);
        let bad = pb::BatchCheckConsentsRequest { requests: vec![asked, bad] };
        assert_eq!(fields(client.batch_check_consents(bad).await), ["requests[1].subject_id", "requests[1].purpose_id"]);
    }

    async fn the_past_is_answered_as_it_was(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        let step = || { world.mesh.clock.advance(Duration::from_secs(10)); world.mesh.clock.now() };
        let before = step();
        step();
        world.give(anna, &offer).await.unwrap();
        let given = step();
        world.consents(anna).withdraw_consent(offer.withdraw(anna.subject)).await.unwrap();
        let withdrawn = step();
        let mut client = world.decisions(&world.officer);
        let expect = [
            (before, pb::Reason::NotYetGiven),
            (given.minus(Duration::from_secs(1)), pb::Reason::ConsentGiven),
            (given, pb::Reason::ConsentWithdrawn),
            (withdrawn, pb::Reason::ConsentWithdrawn),
        ];
        for (at, reason) in expect {
            let request = pb::CheckConsentRequest { at: Some(timestamp(at)), ..question(anna.subject, &offer.purpose) };
            assert_eq!(client.check_consent(request).await.unwrap().into_inner().reason(), reason);
        }
        let future = Some(timestamp(withdrawn.plus(Duration::from_secs(1))));
        let request = pb::CheckConsentRequest { at: future, ..question(anna.subject, &offer.purpose) };
        assert_eq!(fields(client.check_consent(request).await), ["at"]);
    }
}
