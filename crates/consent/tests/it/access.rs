//! Who reaches what.

use portal_core::{Role, Workload};
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::decision_service_client::DecisionServiceClient;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use tonic::Code;

use crate::world::{World, fields, pb, question, refused};

const NOT_YOURS: (Code, &str) = (Code::PermissionDenied, "NOT_YOUR_DATA");
const NOT_ALLOWED: (Code, &str) = (Code::PermissionDenied, "ROLE_NOT_ALLOWED");

each_database! {
    /// Subject B on subject A's consents: refused on every method, and nothing happens.
    async fn nobody_reaches_another_subjects_data(database) {
        let world = World::start(database).await;
        let (offer, anna, bert) = (world.offer().await, &world.anna, &world.bert);
        let given = world.give(anna, &offer).await.unwrap();
        let mut client = world.consents(bert);
        let (code, name) = NOT_YOURS;
        refused(client.give_consent(offer.give(anna.subject)).await, code, name);
        refused(client.refuse_consent(offer.refuse(anna.subject)).await, code, name);
        refused(client.withdraw_consent(offer.withdraw(anna.subject)).await, code, name);
        let subject_id = anna.subject.to_string();
        let all = pb::WithdrawAllConsentsRequest { subject_id: subject_id.clone(), ..Default::default() };
        refused(client.withdraw_all_consents(all).await, code, name);
        refused(client.get_consent(pb::GetConsentRequest { consent_id: given.consent_id.clone(), ..Default::default() }).await, code, name);
        let list = pb::ListConsentsRequest { subject_id: subject_id.clone(), ..Default::default() };
        refused(client.list_consents(list).await, code, name);
        let events = pb::ListConsentEventsRequest { subject_id, ..Default::default() };
        refused(client.list_consent_events(events).await, code, name);
        let events = pb::ListConsentEventsRequest { consent_id: given.consent_id, ..Default::default() };
        refused(client.list_consent_events(events).await, code, name);
        let mut decisions = world.decisions(bert);
        refused(decisions.check_consent(question(anna.subject, &offer.purpose)).await, code, name);
        let batch = pb::BatchCheckConsentsRequest {
            requests: vec![question(bert.subject, &offer.purpose), question(anna.subject, &offer.purpose)],
        };
        refused(decisions.batch_check_consents(batch).await, code, name);
        let own = client.list_consents(pb::ListConsentsRequest::default()).await.unwrap().into_inner();
        assert!(own.consents.is_empty());
        assert_eq!(world.events(anna).await.len(), 1);
    }

    /// Controllers record for anybody, officers read everybody, and neither does the other's work.
    async fn controllers_and_officers(database) {
        let world = World::start(database).await;
        let (offer, anna, bert) = (world.offer().await, &world.anna, &world.bert);
        world.consents(&world.controller).give_consent(offer.give(anna.subject)).await.unwrap();
        world.give(bert, &offer).await.unwrap();
        let withdraw = pb::WithdrawConsentRequest { reason: "private".to_owned(), ..offer.withdraw(anna.subject) };
        world.consents(anna).withdraw_consent(withdraw).await.unwrap();

        let everybody = pb::ListConsentsRequest::default();
        let all = world.consents(&world.officer).list_consents(everybody.clone()).await.unwrap().into_inner();
        assert_eq!(all.consents.len(), 2);
        refused(world.consents(&world.controller).list_consents(everybody).await, NOT_ALLOWED.0, NOT_ALLOWED.1);
        let (code, name) = NOT_YOURS;
        refused(world.consents(&world.officer).give_consent(offer.give(anna.subject)).await, code, name);

        let request = pb::ListConsentEventsRequest { subject_id: anna.subject.to_string(), ..Default::default() };
        for (user, reason) in [(&world.officer, "private"), (anna, "private"), (&world.controller, "")] {
            let events = world.consents(user).list_consent_events(request.clone()).await.unwrap().into_inner().events;
            assert_eq!((events.len(), events[0].reason.as_str()), (2, reason));
            assert_eq!(events[1].actor_id, world.controller.account.to_string());
        }
    }

    /// Drafts are for those who write them; what is published is for everyone who is signed in.
    async fn drafts_are_hidden(database) {
        let world = World::start(database).await;
        let draft = world.draft_purpose().await;
        let offer = world.offer().await;
        let hidden = world.draft_notice(&[&offer.purpose]).await;
        let auditor = TestUser::with_roles(&[Role::Auditor]);
        for user in [&world.anna, &auditor] {
            let get = |id: &str| pb::GetPurposeRequest { purpose_id: id.to_owned(), revision: 0 };
            refused(world.purposes(user).get_purpose(get(&draft.purpose_id)).await, Code::NotFound, "PURPOSE_NOT_FOUND");
            world.purposes(user).get_purpose(get(&offer.purpose.purpose_id)).await.unwrap();
            let listed = world.purposes(user).list_purposes(pb::ListPurposesRequest::default()).await.unwrap();
            assert_eq!(listed.into_inner().purposes, std::slice::from_ref(&offer.purpose));
            let drafts = pb::ListPurposesRequest { state: pb::State::Draft.into(), ..Default::default() };
            assert!(world.purposes(user).list_purposes(drafts).await.unwrap().into_inner().purposes.is_empty());
            let notice = pb::GetNoticeRequest { notice_id: hidden.notice_id.clone(), revision: 0 };
            refused(world.notices(user).get_notice(notice).await, Code::NotFound, "NOTICE_NOT_FOUND");
            let notices = world.notices(user).list_notices(pb::ListNoticesRequest::default()).await.unwrap();
            assert_eq!(notices.into_inner().notices, std::slice::from_ref(&offer.notice));
            let create = pb::CreatePurposeRequest { purpose: Some(crate::world::purpose()), ..Default::default() };
            refused(world.purposes(user).create_purpose(create).await, NOT_ALLOWED.0, NOT_ALLOWED.1);
            let publish = pb::PublishNoticeRequest { notice_id: hidden.notice_id.clone(), ..Default::default() };
            refused(world.notices(user).publish_notice(publish).await, NOT_ALLOWED.0, NOT_ALLOWED.1);
        }
        let mut controller = world.purposes(&world.controller);
        let drafts = pb::ListPurposesRequest { state: pb::State::Draft.into(), ..Default::default() };
        assert_eq!(controller.list_purposes(drafts).await.unwrap().into_inner().purposes, std::slice::from_ref(&draft));
        let all = controller.list_purposes(pb::ListPurposesRequest::default()).await.unwrap().into_inner().purposes;
        assert_eq!(all.len(), 2);
    }

    /// Without a token: nothing. Valuation asks on its own behalf, and does nothing else; other workloads don't even ask.
    async fn workloads(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        world.give(anna, &offer).await.unwrap();
        let asked = question(anna.subject, &offer.purpose);
        let batch = pb::BatchCheckConsentsRequest { requests: vec![asked.clone()] };

        let mut anonymous = PurposeServiceClient::new(world.anonymous());
        let listed = anonymous.list_purposes(pb::ListPurposesRequest::default()).await;
        refused(listed, Code::Unauthenticated, "TOKEN_MISSING");
        let mut valuation = DecisionServiceClient::new(world.workload(Workload::Valuation));
        assert_eq!(valuation.check_consent(asked).await.unwrap().into_inner().decision(), pb::Decision::Permit);
        let answers = valuation.batch_check_consents(batch.clone()).await.unwrap().into_inner().responses;
        assert_eq!(answers[0].decision(), pb::Decision::Permit);
        let mut writes = ConsentServiceClient::new(world.workload(Workload::Valuation));
        let write = writes.give_consent(offer.give(anna.subject)).await;
        refused(write, Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED");
        let mut auth = DecisionServiceClient::new(world.workload(Workload::Auth));
        refused(auth.batch_check_consents(batch).await, Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED");
    }

    /// Pages join without gap or repetition; a token works for its own caller, method and filters only.
    async fn pages(database) {
        let world = World::start(database).await;
        let mut purposes = Vec::new();
        for _ in 0..5 {
            purposes.push(world.published_purpose().await);
            world.mesh.clock.advance(std::time::Duration::from_millis(2));
        }
        let notice = world.published_notice(&purposes.iter().collect::<Vec<_>>()).await;
        let anna = &world.anna;
        for purpose in &purposes {
            let offer = crate::world::Offer { purpose: purpose.clone(), notice: notice.clone() };
            world.give(anna, &offer).await.unwrap();
        }
        let (mut seen, mut token, mut first_token) = (Vec::new(), String::new(), None);
        loop {
            let request = pb::ListConsentsRequest { page_size: 2, page_token: token, ..Default::default() };
            let page = world.consents(anna).list_consents(request).await.unwrap().into_inner();
            seen.extend(page.consents.into_iter().map(|consent| consent.purpose_id));
            token = page.next_page_token;
            if token.is_empty() { break }
            first_token.get_or_insert(token.clone());
        }
        seen.sort();
        let mut expected: Vec<_> = purposes.iter().map(|purpose| purpose.purpose_id.clone()).collect();
        expected.sort();
        assert_eq!(seen, expected);

        let token = first_token.unwrap();
        let request = pb::ListConsentsRequest { page_token: token.clone(), ..Default::default() };
        assert_eq!(fields(world.consents(&world.bert).list_consents(request.clone()).await), ["page_token"]);
        assert_eq!(fields(world.consents(&world.officer).list_consents(request.clone()).await), ["page_token"]);
        let filtered = pb::ListConsentsRequest { status: pb::ConsentStatus::Given.into(), ..request };
        assert_eq!(fields(world.consents(anna).list_consents(filtered).await), ["page_token"]);
        let other = pb::ListPurposesRequest { page_token: token.clone(), ..Default::default() };
        assert_eq!(fields(world.purposes(anna).list_purposes(other).await), ["page_token"]);
        let altered = pb::ListConsentsRequest { page_token: format!("{token}A"), ..Default::default() };
        assert_eq!(fields(world.consents(anna).list_consents(altered).await), ["page_token"]);

        let (mut newest_first, mut token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListPurposesRequest { page_size: 2, page_token: token, ..Default::default() };
            let page = world.purposes(anna).list_purposes(request).await.unwrap().into_inner();
            newest_first.extend(page.purposes);
            token = page.next_page_token;
            if token.is_empty() { break }
        }
        purposes.reverse();
        assert_eq!(newest_first, purposes);

        let (mut events, mut token) = (0, String::new());
        loop {
            let subject_id = anna.subject.to_string();
            let request = pb::ListConsentEventsRequest { subject_id, page_size: 2, page_token: token, ..Default::default() };
            let page = world.consents(anna).list_consent_events(request).await.unwrap().into_inner();
            events += page.events.len();
            token = page.next_page_token;
            if token.is_empty() { break }
        }
        assert_eq!(events, 5);
    }
}
