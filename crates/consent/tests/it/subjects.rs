//! Subjects, and whom it takes to consent for a child.

use portal_core::id::{Id, SubjectId};
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use tonic::Code;

use crate::scans::scan;
use crate::sql;
use crate::world::{Offer, World, common, fields, pb, refused};

const REFERENCE: &str = "customer 4711";

pub fn subject() -> pb::Subject {
    pb::Subject {
        reference: REFERENCE.to_owned(),
        categories: vec!["dpv:Customer".to_owned()],
        age_band: pb::AgeBand::AgeBand14.into(),
        jurisdictions: vec!["FR".to_owned()],
        ..Default::default()
    }
}

fn create(subject: pb::Subject) -> pb::CreateSubjectRequest {
    pb::CreateSubjectRequest { subject: Some(subject), ..Default::default() }
}

/// Registers the holder of an account.
pub async fn register(world: &World, user: &TestUser, subject: pb::Subject) -> pb::Subject {
    let subject = pb::Subject { subject_id: user.subject.to_string(), ..subject };
    world.subjects(&world.controller).create_subject(create(subject)).await.unwrap().into_inner()
}

pub fn guardian() -> pb::Delegation {
    pb::Delegation {
        delegate_id: "mother of 4711".to_owned(),
        kind: pb::DelegationKind::Guardian.into(),
        verification: pb::VerificationMethod::OfficialDecision.into(),
        verification_detail: "decision 12/2026".to_owned(),
        ..Default::default()
    }
}

pub fn for_child(offer: &Offer, child: SubjectId, delegation: pb::Delegation) -> pb::GiveConsentRequest {
    pb::GiveConsentRequest { delegation: Some(delegation), ..offer.give(child) }
}

each_database! {
    /// Created once, found by id and reference, listed newest first; sealed at rest.
    async fn created_found_listed(database) {
        let world = World::start(database).await;
        let mut controller = world.subjects(&world.controller);
        let request = pb::CreateSubjectRequest { request_id: SubjectId::from_uuid(uuid::Uuid::from_u128(7)).to_string(), ..create(subject()) };
        let created = controller.create_subject(request.clone()).await.unwrap().into_inner();
        assert_eq!(controller.create_subject(request).await.unwrap().into_inner(), created);
        assert_eq!((created.reference.as_str(), created.age_band()), (REFERENCE, pb::AgeBand::AgeBand14));
        let lookup = |reference: &str| pb::LookupSubjectRequest { reference: reference.to_owned() };
        let mut officer = world.subjects(&world.officer);
        assert_eq!(officer.lookup_subject(lookup(REFERENCE)).await.unwrap().into_inner(), created);
        let get = pb::GetSubjectRequest { subject_id: created.subject_id.clone() };
        assert_eq!(officer.get_subject(get).await.unwrap().into_inner(), created);
        refused(officer.lookup_subject(lookup("4711")).await, Code::NotFound, "SUBJECT_NOT_FOUND");
        let unknown = pb::GetSubjectRequest { subject_id: world.bert.subject.to_string() };
        refused(officer.get_subject(unknown.clone()).await, Code::NotFound, "SUBJECT_NOT_FOUND");
        let twice = controller.create_subject(create(subject())).await;
        refused(twice, Code::AlreadyExists, "SUBJECT_EXISTS");
        register(&world, &world.anna, pb::Subject { reference: String::new(), ..subject() }).await;
        let twice = pb::Subject { subject_id: world.anna.subject.to_string(), reference: "other".to_owned(), ..subject() };
        refused(controller.create_subject(create(twice)).await, Code::AlreadyExists, "SUBJECT_EXISTS");

        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let list = pb::ListSubjectsRequest { page_size: 1, page_token: token };
            let page = officer.list_subjects(list).await.unwrap().into_inner();
            seen.extend(page.subjects.into_iter().map(|subject| subject.subject_id));
            token = page.next_page_token;
            if token.is_empty() { break }
        }
        let mut expect = vec![created.subject_id.clone(), world.anna.subject.to_string()];
        expect.sort();
        expect.reverse();
        assert_eq!(seen, expect);
        let own = pb::GetSubjectRequest { subject_id: world.anna.subject.to_string() };
        world.subjects(&world.anna).get_subject(own.clone()).await.unwrap();
        refused(world.subjects(&world.bert).get_subject(own).await, Code::PermissionDenied, "NOT_YOUR_DATA");
        refused(world.subjects(&world.bert).create_subject(create(subject())).await, Code::PermissionDenied, "ROLE_NOT_ALLOWED");

        let store = database.connect().await;
        let rows = sql::everything(&store, "subject").await;
        for word in [REFERENCE, "Customer", r#"["FR"]"#] {
            assert!(!sql::contains(&rows, word), "{word}");
        }
        assert_eq!(scan(&world).await.state(), common::ScanState::Clean);
        let forge = "UPDATE subject SET created_at = 1";
        sql::tamper(&store, forge).await;
        let get = pb::GetSubjectRequest { subject_id: created.subject_id.clone() };
        refused(officer.get_subject(get).await, Code::DataLoss, "ROW_CORRUPT");
        assert_eq!(scan(&world).await.findings.iter().filter(|found| found.table == "subject").count(), 2);
    }

    /// Wrong fields are named, and nothing is registered.
    async fn bad_subjects(database) {
        let world = World::start(database).await;
        let mut controller = world.subjects(&world.controller);
        let text = |text: &str| vec![text.to_owned()];
        for (bad, expect) in [
            (pb::Subject { reference: String::new(), ..subject() }, "subject.reference"),
            (pb::Subject { reference: "x".repeat(257), ..subject() }, "subject.reference"),
            (pb::Subject { categories: text("dpv:Marketing"), ..subject() }, "subject.categories[0]"),
            (pb::Subject { age_band: 99, ..subject() }, "subject.age_band"),
            (pb::Subject { jurisdictions: text("France"), ..subject() }, "subject.jurisdictions[0]"),
            (pb::Subject { subject_id: "x".to_owned(), ..subject() }, "subject.subject_id"),
        ] {
            assert_eq!(fields(controller.create_subject(create(bad)).await), [expect]);
        }
        assert_eq!(fields(controller.create_subject(pb::CreateSubjectRequest::default()).await), ["subject"]);
        let listed = controller.list_subjects(pb::ListSubjectsRequest::default()).await.unwrap().into_inner();
        assert!(listed.subjects.is_empty());
    }

    /// A child consents by a guardian whom a controller has verified, and refuses and withdraws alone.
    async fn children_need_a_verified_guardian(database) {
        let world = World::start(database).await;
        let (offer, child) = (world.offer().await, &world.anna);
        register(&world, child, subject()).await;
        let needed = (Code::FailedPrecondition, "GUARDIAN_NEEDED");
        refused(world.give(child, &offer).await, needed.0, needed.1);
        let mut own = world.consents(child);
        refused(own.give_consent(for_child(&offer, child.subject, guardian())).await, needed.0, needed.1);
        let mut controller = world.consents(&world.controller);
        let give = |delegation: pb::Delegation| for_child(&offer, child.subject, delegation);
        let unverified = pb::Delegation { verification: 0, ..guardian() };
        refused(controller.give_consent(give(unverified)).await, needed.0, needed.1);
        let friend = pb::Delegation { kind: pb::DelegationKind::Representative.into(), ..guardian() };
        refused(controller.give_consent(give(friend)).await, needed.0, needed.1);
        let elsewhere = pb::Delegation { purpose_ids: vec![child.subject.to_string()], ..guardian() };
        assert_eq!(fields(controller.give_consent(give(elsewhere)).await), ["delegation"]);
        let nobody = pb::Delegation { delegate_id: String::new(), kind: 0, verification: 9, ..guardian() };
        let expect = ["delegation.delegate_id", "delegation.kind", "delegation.verification"];
        assert_eq!(fields(controller.give_consent(give(nobody)).await), expect);
        assert!(world.events(child).await.is_empty());

        own.refuse_consent(offer.refuse(child.subject)).await.unwrap();
        let given = controller.give_consent(give(guardian())).await.unwrap().into_inner().consent.unwrap();
        assert_eq!(given.status(), pb::ConsentStatus::Given);
        own.withdraw_consent(offer.withdraw(child.subject)).await.unwrap();
        let events = world.events(child).await;
        let who = |event: &pb::ConsentEvent| event.delegation.clone();
        assert_eq!(events.iter().map(who).collect::<Vec<_>>(), [None, Some(guardian()), None]);
        let list = pb::ListConsentEventsRequest { subject_id: child.subject.to_string(), ..Default::default() };
        let seen = controller.list_consent_events(list).await.unwrap().into_inner().events;
        assert!(seen.iter().all(|event| event.delegation.is_none()));
        let rows = sql::everything(&database.connect().await, "consent_event").await;
        assert!(!sql::contains(&rows, "mother") && !sql::contains(&rows, "12/2026"));
        assert_eq!(scan(&world).await.state(), common::ScanState::Clean);

        register(&world, &world.bert, pb::Subject { reference: "b".to_owned(), jurisdictions: vec!["AT".to_owned()], ..subject() }).await;
        world.give(&world.bert, &offer).await.unwrap();
    }

    /// As long as nobody can say how old somebody is of whom something is known, they can't consent; but withdraw.
    async fn without_keys_a_child_withdraws_but_does_not_consent(database) {
        let world = World::start(database).await;
        let (offer, child) = (world.offer().await, &world.anna);
        register(&world, child, subject()).await;
        let mut controller = world.consents(&world.controller);
        controller.give_consent(for_child(&offer, child.subject, guardian())).await.unwrap();
        let other = world.offer().await;
        world.provider_is_there(false);
        world.mesh.clock.advance(std::time::Duration::from_secs(60));
        refused(world.give(child, &other).await, Code::Unavailable, "KEYS_UNAVAILABLE");
        world.consents(child).withdraw_consent(offer.withdraw(child.subject)).await.unwrap();
        world.give(&world.bert, &other).await.unwrap();
        world.provider_is_there(true);
        world.mesh.clock.advance(std::time::Duration::from_secs(1));
        refused(world.give(child, &other).await, Code::FailedPrecondition, "GUARDIAN_NEEDED");
    }

    /// Whoever was erased is not found, and nothing is known of them.
    async fn the_erased_are_not_found(database) {
        let world = World::start(database).await;
        register(&world, &world.anna, subject()).await;
        let mut officer = world.subjects(&world.officer);
        world.keys().await.erase(world.anna.subject).await.unwrap();
        world.mesh.clock.advance(std::time::Duration::from_secs(61));
        let get = pb::GetSubjectRequest { subject_id: world.anna.subject.to_string() };
        let known = officer.get_subject(get).await.unwrap().into_inner();
        assert_eq!((known.reference.as_str(), known.categories.len()), ("", 0));
        assert_eq!(scan(&world).await.state(), common::ScanState::Clean);
    }
}
