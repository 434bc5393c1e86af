//! Bad input: every wrong field is named, and nothing is written.

use std::collections::HashMap;

use portal_testkit::each_database;
use prost_types::FieldMask;
use tonic::Code;

use crate::world::{World, fields, notice, pb, purpose, refused, seconds};

const UUID: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

each_database! {
    async fn purposes_and_notices(database) {
        let world = World::start(database).await;
        let mut purposes = world.purposes(&world.controller);
        let long = "x".repeat(201);
        let table: Vec<(pb::Purpose, Vec<&str>)> = vec![
            (pb::Purpose::default(), vec!["purpose.display_name", "purpose.legal_basis"]),
            (pb::Purpose { display_name: long.clone(), ..purpose() }, vec!["purpose.display_name"]),
            (pb::Purpose { display_name: "a\u{0}".to_owned(), ..purpose() }, vec!["purpose.display_name"]),
            (pb::Purpose { description: "x".repeat(4_001), ..purpose() }, vec!["purpose.description"]),
            (pb::Purpose { legal_basis: 99, ..purpose() }, vec!["purpose.legal_basis"]),
            (pb::Purpose { personal_data: vec![String::new()], ..purpose() }, vec!["purpose.personal_data[0]"]),
            (pb::Purpose { recipients: vec!["a".to_owned(); 2], ..purpose() }, vec!["purpose.recipients[1]"]),
            (pb::Purpose { dpv_purposes: vec!["a".to_owned(); 51], ..purpose() }, vec!["purpose.dpv_purposes"]),
            (pb::Purpose { validity: Some(seconds(-1)), ..purpose() }, vec!["purpose.validity"]),
            (pb::Purpose { retention: Some(seconds(0)), ..purpose() }, vec!["purpose.retention"]),
            (pb::Purpose { jurisdiction: "Germany".to_owned(), ..purpose() }, vec!["purpose.jurisdiction"]),
        ];
        for (bad, expect) in table {
            let request = pb::CreatePurposeRequest { purpose: Some(bad), request_id: String::new() };
            assert_eq!(fields(purposes.create_purpose(request).await), expect);
        }
        let nothing = pb::CreatePurposeRequest { purpose: None, request_id: "x".to_owned() };
        assert_eq!(fields(purposes.create_purpose(nothing).await), ["purpose", "request_id"]);
        let empty = pb::UpdatePurposeRequest { purpose: Some(pb::Purpose { etag: "?".to_owned(), ..Default::default() }), ..Default::default() };
        assert_eq!(fields(purposes.update_purpose(empty).await), ["purpose.purpose_id", "purpose.etag", "update_mask"]);
        let given = pb::UpdatePurposeRequest {
            purpose: Some(pb::Purpose { purpose_id: UUID.to_owned(), ..purpose() }),
            update_mask: Some(FieldMask { paths: vec!["revision".to_owned()] }),
            request_id: String::new(),
        };
        assert_eq!(fields(purposes.update_purpose(given).await), ["update_mask"]);
        let list = pb::ListPurposesRequest { page_size: -1, page_token: "x".to_owned(), state: 9 };
        assert_eq!(fields(purposes.list_purposes(list).await), ["state", "page_size", "page_token"]);
        let get = pb::GetPurposeRequest { purpose_id: "{x}".to_owned(), revision: -1 };
        assert_eq!(fields(purposes.get_purpose(get).await), ["purpose_id", "revision"]);
        let listed = purposes.list_purposes(pb::ListPurposesRequest::default()).await.unwrap().into_inner();
        assert!(listed.purposes.is_empty());

        let published = world.published_purpose().await;
        let good = notice(&[&published]);
        let body = |tag: &str, text: &str| HashMap::from([(tag.to_owned(), text.to_owned())]);
        let table: Vec<(pb::Notice, Vec<&str>)> = vec![
            (pb::Notice::default(), vec!["notice.title", "notice.bodies", "notice.purpose_ids"]),
            (pb::Notice { title: long, ..good.clone() }, vec!["notice.title"]),
            (pb::Notice { bodies: body("e", "x"), ..good.clone() }, vec!["notice.bodies"]),
            (pb::Notice { bodies: body("EN", ""), ..good.clone() }, vec!["notice.bodies[en]"]),
            (pb::Notice { bodies: body("en", &"x".repeat(65_537)), ..good.clone() }, vec!["notice.bodies[en]"]),
            (pb::Notice { purpose_ids: vec!["x".to_owned()], ..good.clone() }, vec!["notice.purpose_ids[0]"]),
            (pb::Notice { purpose_ids: vec![published.purpose_id.clone(); 2], ..good.clone() }, vec!["notice.purpose_ids[1]"]),
        ];
        let mut notices = world.notices(&world.controller);
        for (bad, expect) in table {
            let request = pb::CreateNoticeRequest { notice: Some(bad), request_id: String::new() };
            assert_eq!(fields(notices.create_notice(request).await), expect);
        }
        let unknown = pb::Notice { purpose_ids: vec![UUID.to_owned()], ..good };
        let request = pb::CreateNoticeRequest { notice: Some(unknown), request_id: String::new() };
        refused(notices.create_notice(request).await, Code::NotFound, "PURPOSE_NOT_FOUND");
        let list = pb::ListNoticesRequest { purpose_id: "x".to_owned(), ..Default::default() };
        assert_eq!(fields(notices.list_notices(list).await), ["purpose_id"]);
        assert!(notices.list_notices(pb::ListNoticesRequest::default()).await.unwrap().into_inner().notices.is_empty());
    }

    async fn consents(database) {
        let world = World::start(database).await;
        let (offer, anna) = (world.offer().await, &world.anna);
        let mut client = world.consents(anna);
        let good = offer.give(anna.subject);
        let evidence = pb::Evidence {
            kind: pb::EvidenceKind::Form.into(),
            media_type: "image/png".to_owned(),
            content: vec![1; 1_024],
            content_hash: Vec::new(),
        };
        let with = |evidence: pb::Evidence| vec![evidence];
        let table: Vec<(pb::GiveConsentRequest, Vec<&str>)> = vec![
            (
                pb::GiveConsentRequest { request_id: "1".to_owned(), ..Default::default() },
                vec!["subject_id", "purpose_id", "notice_id", "language", "method", "request_id"],
            ),
            (pb::GiveConsentRequest { method: 77, ..good.clone() }, vec!["method"]),
            (pb::GiveConsentRequest { language: "fr".to_owned(), ..good.clone() }, vec!["language"]),
            (pb::GiveConsentRequest { valid_for: Some(seconds(-5)), ..good.clone() }, vec!["valid_for"]),
            (pb::GiveConsentRequest { valid_for: Some(seconds(31 * 86_400)), ..good.clone() }, vec!["valid_for"]),
            (pb::GiveConsentRequest { evidence: vec![evidence.clone(); 9], ..good.clone() }, vec!["evidence"]),
            (
                pb::GiveConsentRequest { evidence: with(pb::Evidence { content: vec![0; (1 << 20) + 1], ..evidence.clone() }), ..good.clone() },
                vec!["evidence[0].content"],
            ),
            (
                pb::GiveConsentRequest { evidence: with(pb::Evidence { content_hash: vec![0; 48], ..evidence.clone() }), ..good.clone() },
                vec!["evidence[0].content_hash"],
            ),
            (
                pb::GiveConsentRequest {
                    evidence: with(pb::Evidence { kind: 0, media_type: "png".to_owned(), ..evidence.clone() }),
                    ..good.clone()
                },
                vec!["evidence[0].kind", "evidence[0].media_type"],
            ),
        ];
        for (bad, expect) in table {
            assert_eq!(fields(client.give_consent(bad).await), expect);
        }
        let unknown = pb::GiveConsentRequest { purpose_id: UUID.to_owned(), ..good.clone() };
        refused(client.give_consent(unknown).await, Code::NotFound, "PURPOSE_NOT_FOUND");
        let unknown = pb::GiveConsentRequest { notice_id: UUID.to_owned(), ..good.clone() };
        refused(client.give_consent(unknown).await, Code::NotFound, "NOTICE_NOT_FOUND");
        let other = world.offer().await;
        let other = pb::GiveConsentRequest { notice_id: other.notice.notice_id, ..good.clone() };
        assert_eq!(fields(client.give_consent(other).await), ["notice_id"]);
        let long = pb::WithdrawConsentRequest { reason: "x".repeat(2_001), ..offer.withdraw(anna.subject) };
        assert_eq!(fields(client.withdraw_consent(long).await), ["reason"]);
        let both = pb::ListConsentEventsRequest {
            consent_id: UUID.to_owned(), subject_id: UUID.to_owned(), ..Default::default()
        };
        assert_eq!(fields(client.list_consent_events(both).await), ["consent_id"]);
        assert_eq!(fields(client.list_consent_events(pb::ListConsentEventsRequest::default()).await), ["consent_id"]);
        let unknown = pb::GetConsentRequest { consent_id: UUID.to_owned(), ..Default::default() };
        refused(client.get_consent(unknown).await, Code::NotFound, "CONSENT_NOT_FOUND");
        assert!(world.events(anna).await.is_empty());

        let full = pb::GiveConsentRequest { evidence: vec![evidence; 8], language: "DE-at".to_owned(), ..good };
        client.give_consent(full).await.unwrap();
        assert_eq!(world.events(anna).await[0].language, "de-AT");
    }

    /// Special categories need an explicit statement; methods that come later say so.
    async fn preconditions(database) {
        let world = World::start(database).await;
        let request = pb::CreatePurposeRequest {
            purpose: Some(pb::Purpose { special_category: true, ..purpose() }),
            request_id: String::new(),
        };
        let purpose = world.purposes(&world.controller).create_purpose(request).await.unwrap().into_inner();
        let publish = pb::PublishPurposeRequest { purpose_id: purpose.purpose_id.clone(), ..Default::default() };
        world.purposes(&world.controller).publish_purpose(publish).await.unwrap();
        let notice = world.published_notice(&[&purpose]).await;
        let offer = crate::world::Offer { purpose, notice };
        let anna = &world.anna;
        refused(world.give(anna, &offer).await, Code::FailedPrecondition, "EXPLICIT_STATEMENT_NEEDED");
        let method = pb::IndicationMethod::ExplicitStatement.into();
        let explicit = pb::GiveConsentRequest { method, ..offer.give(anna.subject) };
        world.consents(anna).give_consent(explicit).await.unwrap();
    }
}
