//! The record in standard terms: what a purpose may say, and what it must say before it is published.

use portal_testkit::each_database;
use prost_types::FieldMask;

use crate::world::{World, fields, pb, purpose, seconds};

fn party() -> pb::Party {
    pb::Party {
        party_id: "https://example.com".to_owned(),
        name: "Example Ltd".to_owned(),
        role: pb::PartyRole::Controller.into(),
        address: "2 Example Street".to_owned(),
        email: "dpo@example.com".to_owned(),
        phone: "+49 30 1".to_owned(),
        url: "https://example.com/privacy".to_owned(),
        country: "DE".to_owned(),
    }
}

/// A purpose that says everything.
pub fn complete() -> pb::Purpose {
    let text = |text: &str| text.to_owned();
    pb::Purpose {
        processing: vec![text("dpv:Collect"), text("https://w3id.org/dpv#Store")],
        legal_basis_term: text("dpv:ExpressedConsent"),
        parties: vec![party(), pb::Party { role: pb::PartyRole::Processor.into(), ..party() }],
        storage_locations: vec![text("AT"), text("loc:EU")],
        storage_conditions: text("Encrypted, deleted with the account"),
        retention: Some(seconds(86_400)),
        retention_event: text("Until the project ends"),
        withdrawal_method: text("https://example.com/withdraw"),
        data_source: text("The subject"),
        processing_locations: vec![text("DE-BE")],
        geographic_restrictions: text("Not outside the EEA"),
        rights: vec![text("eu-gdpr:A17"), text("dpv:DataSubjectRight")],
        service: text("Newsletter"),
        codes_of_conduct: vec![text("Code")],
        impact_assessment: text("https://example.com/dpia"),
        optional_personal_data: vec![text("pd:Name")],
        jurisdiction: text("AT"),
        ..purpose()
    }
}

pub async fn create(world: &World, purpose: pb::Purpose) -> pb::Purpose {
    let request = pb::CreatePurposeRequest { purpose: Some(purpose), ..Default::default() };
    world.purposes(&world.controller).create_purpose(request).await.unwrap().into_inner()
}

pub async fn publish(world: &World, purpose: &pb::Purpose) -> Result<pb::Purpose, tonic::Status> {
    let request = pb::PublishPurposeRequest { purpose_id: purpose.purpose_id.clone(), ..Default::default() };
    Ok(world.purposes(&world.controller).publish_purpose(request).await?.into_inner())
}

/// `purpose` as somebody would write it: without what the service gives.
fn written(purpose: pb::Purpose) -> pb::Purpose {
    pb::Purpose {
        purpose_id: String::new(),
        revision: 0,
        state: 0,
        etag: String::new(),
        create_time: None,
        update_time: None,
        ..purpose
    }
}

each_database! {
    /// Terms that are not in their list, and values of another form, are named.
    async fn unknown_terms_are_named(database) {
        let world = World::start(database).await;
        let mut purposes = world.purposes(&world.controller);
        let text = |text: &str| vec![text.to_owned()];
        let table: Vec<(pb::Purpose, &str)> = vec![
            (pb::Purpose { dpv_purposes: text("dpv:Spying"), ..complete() }, "purpose.dpv_purposes[0]"),
            (pb::Purpose { dpv_purposes: text("DirectMarketing"), ..complete() }, "purpose.dpv_purposes[0]"),
            (pb::Purpose { processing: text("dpv:DirectMarketing"), ..complete() }, "purpose.processing[0]"),
            (pb::Purpose { legal_basis_term: "dpv:Marketing".to_owned(), ..complete() }, "purpose.legal_basis_term"),
            (pb::Purpose { personal_data: text("e-mail address"), ..complete() }, "purpose.personal_data[0]"),
            (pb::Purpose { rights: text("eu-gdpr:A99"), ..complete() }, "purpose.rights[0]"),
            (pb::Purpose { storage_locations: text("Germany"), ..complete() }, "purpose.storage_locations[0]"),
            (pb::Purpose { processing_locations: text("de"), ..complete() }, "purpose.processing_locations[0]"),
            (pb::Purpose { parties: vec![party(), pb::Party { role: 0, ..party() }], ..complete() }, "purpose.parties[1].role"),
            (pb::Purpose { parties: vec![pb::Party { name: String::new(), ..party() }], ..complete() }, "purpose.parties[0].name"),
            (pb::Purpose { parties: vec![pb::Party { party_id: String::new(), ..party() }], ..complete() }, "purpose.parties[0].party_id"),
            (pb::Purpose { parties: vec![pb::Party { country: "Germany".to_owned(), ..party() }], ..complete() }, "purpose.parties[0].country"),
            (pb::Purpose { parties: vec![party(); 51], ..complete() }, "purpose.parties"),
            (pb::Purpose { withdrawal_method: "x".repeat(1_001), ..complete() }, "purpose.withdrawal_method"),
        ];
        for (bad, expect) in table {
            let request = pb::CreatePurposeRequest { purpose: Some(bad), ..Default::default() };
            assert_eq!(fields(purposes.create_purpose(request).await), [expect]);
        }
    }

    /// What a purpose says comes back as it was said, also from the published revision, also after changes of single
    /// fields.
    async fn what_is_said_comes_back(database) {
        let world = World::start(database).await;
        let draft = create(&world, complete()).await;
        assert_eq!(written(draft.clone()), complete());
        let published = publish(&world, &draft).await.unwrap();
        assert_eq!(written(published.clone()), complete());

        let change = pb::Purpose {
            purpose_id: draft.purpose_id.clone(),
            rights: vec!["eu-gdpr:A15".to_owned()],
            service: "ignored".to_owned(),
            ..Default::default()
        };
        let mut purposes = world.purposes(&world.controller);
        let update = |paths: &[&str]| pb::UpdatePurposeRequest {
            purpose: Some(change.clone()),
            update_mask: Some(FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() }),
            request_id: String::new(),
        };
        let changed = purposes.update_purpose(update(&["rights"])).await.unwrap().into_inner();
        assert_eq!(written(changed), pb::Purpose { rights: change.rights.clone(), ..complete() });
        assert_eq!(fields(purposes.update_purpose(update(&["colour"])).await), ["update_mask"]);
        let first = pb::GetPurposeRequest { purpose_id: draft.purpose_id, revision: 1 };
        assert_eq!(written(purposes.get_purpose(first).await.unwrap().into_inner()), complete());
    }

    /// Every field that a complete record must have is there when a purpose is published, or named.
    async fn what_a_complete_record_lacks_is_named(database) {
        let mut world = World::start(database).await;
        world.restart_without_organisation().await;
        let bare = pb::Purpose { personal_data: Vec::new(), jurisdiction: String::new(), ..purpose() };
        let bare = create(&world, bare).await;
        let expect = [
            "purpose.personal_data", "purpose.jurisdiction", "purpose.storage_locations", "purpose.retention",
            "purpose.parties",
        ];
        assert_eq!(fields(publish(&world, &bare).await), expect);
        let mute = pb::Party { address: String::new(), ..party() };
        let unreachable = pb::Party { email: String::new(), phone: String::new(), url: String::new(), ..party() };
        let none = pb::Party { role: pb::PartyRole::Processor.into(), ..party() };
        let table: Vec<(pb::Purpose, &[&str])> = vec![
            (pb::Purpose { parties: vec![mute, unreachable], ..complete() }, &["purpose.parties[0].address", "purpose.parties[1].email"]),
            (pb::Purpose { parties: vec![none], ..complete() }, &["purpose.parties"]),
            (pb::Purpose { retention: None, retention_event: String::new(), ..complete() }, &["purpose.retention"]),
            (pb::Purpose { legal_basis_term: "dpv:Contract".to_owned(), ..complete() }, &["purpose.legal_basis_term"]),
            (pb::Purpose { optional_personal_data: vec!["pd:Age".to_owned()], ..complete() }, &["purpose.optional_personal_data"]),
        ];
        for (lacking, expect) in table {
            let draft = create(&world, lacking).await;
            assert_eq!(fields(publish(&world, &draft).await), expect);
        }
        let draft = create(&world, pb::Purpose { withdrawal_method: String::new(), ..complete() }).await;
        assert!(!publish(&world, &draft).await.unwrap().withdrawal_method.is_empty());
    }

    /// What a purpose leaves out, the organisation's configuration says, and from then on the revision says it.
    async fn the_organisation_completes_it(database) {
        let mut world = World::start(database).await;
        let draft = create(&world, pb::Purpose { jurisdiction: String::new(), ..purpose() }).await;
        assert!(draft.parties.is_empty() && draft.storage_locations.is_empty());
        let published = publish(&world, &draft).await.unwrap();
        let [controller] = &published.parties[..] else { panic!("{:?}", published.parties) };
        assert_eq!((controller.name.as_str(), controller.role()), ("Example Society", pb::PartyRole::Controller));
        assert_eq!((published.jurisdiction.as_str(), &published.storage_locations[..]), ("DE", &["DE".to_owned()][..]));
        assert_eq!(published.retention_event, "Until the consent ends");
        assert_eq!(published.rights, ["eu-gdpr:A17"]);
        world.restart_without_organisation().await;
        let get = pb::GetPurposeRequest { purpose_id: draft.purpose_id, revision: 1 };
        assert_eq!(world.purposes(&world.anna).get_purpose(get).await.unwrap().into_inner(), published);
    }
}
