//! The same with the consent service itself: consents given and withdrawn through its own rpcs decide what is valued.

use std::collections::{BTreeSet, HashMap};

use portal_core::id::{Id, PurposeId};
use portal_core::{Role, Workload};
use portal_mesh::MeshChannel;
use portal_proto::consent::v1 as consent;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::notice_service_client::NoticeServiceClient;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_testkit::mesh::{TestUser, UserChannel};
use portal_testkit::{TestDatabase, TestMesh, each_database};
use portal_upkeep::{IntegrityConfig, MigrationConfig};

use crate::consent::Decisions;
use crate::world::{World, person, synthetic};

/// A published purpose with its notice.
struct Offer {
    purpose_id: String,
    notice_id: String,
}

async fn offer(channel: UserChannel) -> Offer {
    let mut purposes = PurposeServiceClient::new(channel.clone());
    let purpose = consent::Purpose {
        display_name: "Valuation".to_owned(),
        description: "We measure what your records contribute.".to_owned(),
        dpv_purposes: vec!["dpv:ResearchAndDevelopment".to_owned()],
        legal_basis: consent::LegalBasis::Consent.into(),
        personal_data: vec!["pd:Name".to_owned()],
        jurisdiction: "DE".to_owned(),
        ..consent::Purpose::default()
    };
    let request = consent::CreatePurposeRequest { purpose: Some(purpose), ..Default::default() };
    let purpose_id = purposes.create_purpose(request).await.unwrap().into_inner().purpose_id;
    let request = consent::PublishPurposeRequest { purpose_id: purpose_id.clone(), ..Default::default() };
    purposes.publish_purpose(request).await.unwrap();
    let mut notices = NoticeServiceClient::new(channel);
    let notice = consent::Notice {
        title: "How we use your data".to_owned(),
        bodies: HashMap::from([("en".to_owned(), "We value it.".to_owned())]),
        purpose_ids: vec![purpose_id.clone()],
        ..consent::Notice::default()
    };
    let request = consent::CreateNoticeRequest { notice: Some(notice), ..Default::default() };
    let notice_id = notices.create_notice(request).await.unwrap().into_inner().notice_id;
    let request = consent::PublishNoticeRequest { notice_id: notice_id.clone(), ..Default::default() };
    notices.publish_notice(request).await.unwrap();
    Offer { purpose_id, notice_id }
}

async fn give(channel: UserChannel, offer: &Offer, subject_id: String) {
    let request = consent::GiveConsentRequest {
        subject_id,
        purpose_id: offer.purpose_id.clone(),
        notice_id: offer.notice_id.clone(),
        language: "en".to_owned(),
        method: consent::IndicationMethod::Button.into(),
        ..Default::default()
    };
    ConsentServiceClient::new(channel).give_consent(request).await.unwrap();
}

async fn start_consent(mesh: &TestMesh, database: &TestDatabase) -> portal_mesh::Running {
    let config = portal_consent::Config {
        server: mesh.server(),
        identity: mesh.identity(Workload::Consent),
        database: database.config(),
        keys: database.keys("consent").await,
        upstreams: mesh.upstreams(&[]),
        migrations: MigrationConfig::alone(),
        decisions: portal_consent::DecisionConfig::default(),
        renewal: Default::default(),
        integrity: IntegrityConfig::on_demand(),
        organisation: Some(portal_consent::OrganisationConfig {
            party_id: "https://example.org".to_owned(),
            name: "Example".to_owned(),
            address: "1 Example Street".to_owned(),
            url: "https://example.org".to_owned(),
            storage_locations: vec!["DE".to_owned()],
            retention_event: "Until the consent ends".to_owned(),
            ..Default::default()
        }),
        authorization: Default::default(),
        telemetry: portal_mesh::config::TelemetryConfig::default(),
    };
    portal_consent::Service::start(config, mesh.host()).await.unwrap()
}

each_database! {
    async fn consents_decide_what_is_valued(database) {
        let mesh = TestMesh::start().await;
        let consent_database = TestDatabase::sqlite();
        let consent = start_consent(&mesh, &consent_database).await;
        let channel: MeshChannel = mesh.channel(Workload::Gateway, Workload::Consent, consent.local_addr());
        let controller = TestUser::with_roles(&[Role::Controller]);
        let as_controller = mesh.call_as(&controller, Workload::Consent, &channel);
        let offer = offer(as_controller.clone()).await;
        for number in 0..12 {
            give(as_controller.clone(), &offer, person(number)).await;
        }
        let purpose = PurposeId::parse(&offer.purpose_id).unwrap();
        let world = World::assemble(mesh, (Decisions::default(), purpose), consent, database).await;

        let dataset = world.filled(2, &synthetic(200, 100, 20)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let valued = |values: Vec<portal_proto::valuation::v1::RecordValue>| {
            values.into_iter().map(|value| value.subject_id).collect::<BTreeSet<_>>()
        };
        let people = valued(world.record_values(&valuation.valuation_id).await);
        assert_eq!(people, (0..12).map(person).collect());
        assert_eq!((valuation.exclusions[0].subject_count, valuation.exclusions[0].training_record_count), (8, 80));

        let request = consent::WithdrawConsentRequest {
            subject_id: person(3),
            purpose_id: offer.purpose_id.clone(),
            ..Default::default()
        };
        ConsentServiceClient::new(as_controller).withdraw_consent(request).await.unwrap();
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let people = valued(world.record_values(&valuation.valuation_id).await);
        assert_eq!(people, (0..12).filter(|number| *number != 3).map(person).collect());
    }
}
