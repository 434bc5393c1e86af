//! Receipts: each change has one, it verifies with the keys of the ledger alone, and only its subject reaches it.

use std::time::Duration;

use portal_core::Scope;
use portal_crypto::cose::Key;
use portal_crypto::suite::Suites;
use portal_proto::consent::v1::receipt_service_client::ReceiptServiceClient;
use portal_receipt::record::{Delegation, IndicatedBy, Status};
use portal_receipt::{Proof, Record, Report, dpv, export, verify};
use portal_testkit::each_database;
use portal_testkit::mesh::{TestUser, UserChannel};
use tonic::Code;

use crate::record;
use crate::sealed::evidence;
use crate::subjects::{for_child, guardian, register, subject};
use crate::world::{Offer, World, fields, pb, refused};

fn receipts(world: &World, user: &TestUser) -> ReceiptServiceClient<UserChannel> {
    ReceiptServiceClient::new(world.channel(user))
}

async fn get(world: &World, user: &TestUser, id: &str) -> Result<pb::Receipt, tonic::Status> {
    let request = pb::GetReceiptRequest { receipt_id: id.to_owned() };
    Ok(receipts(world, user).get_receipt(request).await?.into_inner())
}

async fn list(world: &World, user: &TestUser, of: &TestUser) -> Result<Vec<pb::Receipt>, tonic::Status> {
    let request = pb::ListReceiptsRequest { subject_id: of.subject.to_string(), ..Default::default() };
    Ok(receipts(world, user).list_receipts(request).await?.into_inner().receipts)
}

/// The receipt once a checkpoint covers it: the sequencer runs by itself.
async fn proven(world: &World, user: &TestUser, id: &str) -> pb::Receipt {
    for _ in 0..600 {
        let receipt = get(world, user, id).await.unwrap();
        if !receipt.inclusion.is_empty() {
            return receipt;
        }
        world.mesh.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no checkpoint covers the receipt")
}

async fn offline(world: &World, receipt: &pb::Receipt) -> Report {
    let keys = Key::both(world.keys().await.ledger_key().verifying_key());
    let inclusion = (!receipt.inclusion.is_empty()).then_some(receipt.inclusion.as_slice());
    verify(&Proof { cose: &receipt.cose, inclusion }, &keys, Suites::ALL)
}

/// Whether `record` says what [`record::complete`], [`subject`] and [`guardian`] do.
fn is_whole(record: &Record, world: &World) {
    let some = |text: &str| Some(text.to_owned());
    let terms = record.purpose.terms.as_ref().unwrap();
    assert!(!record.purpose.abridged && record.purpose.content_hash.is_some());
    assert_eq!(terms.legal_basis, "dpv:ExpressedConsent");
    assert_eq!(terms.processing, ["dpv:Collect", "https://w3id.org/dpv#Store"]);
    assert_eq!(
        (terms.storage.as_slice(), terms.jurisdictions.as_slice()),
        (["loc:AT", "loc:EU"].map(String::from).as_slice(), ["loc:AT"].map(String::from).as_slice())
    );
    assert_eq!(
        (terms.retention, &terms.retention_event),
        (Some(Duration::from_secs(86_400)), &some("Until the project ends"))
    );
    assert_eq!(terms.withdrawal, some("https://example.com/withdraw"));
    assert_eq!(
        (terms.rights.len(), terms.optional_personal_data.len(), &terms.service),
        (2, 1, &some("Newsletter"))
    );
    let roles: Vec<_> = record.parties.iter().map(|party| party.role.as_str()).collect();
    assert_eq!(roles, ["dpv:DataController", "dpv:DataProcessor"]);
    assert_eq!(
        (&record.parties[0].email, &record.parties[0].country),
        (&some("dpo@example.com"), &some("loc:DE"))
    );
    assert_eq!(record.subject.categories, ["dpv:Customer", "dpv:Child"]);
    assert_eq!(record.subject.jurisdictions, ["loc:FR"]);
    assert_eq!(record.event.indicated_by, IndicatedBy::Delegate);
    assert_eq!(record.event.recorded_by, Some(world.controller.account.to_string()));
    let delegation = record.delegation.as_ref().unwrap();
    assert_eq!((delegation.kind.as_str(), delegation.verified), ("dpv:GuardianOfDataSubject", true));
    assert_eq!(delegation.verified_by, some("official_decision"));
}

each_database! {
    /// What an application records for somebody is told from what they record themselves, in their history and in the receipt.
    async fn a_decision_through_an_application_says_so(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let application = world.anna.clone().through_client(&[Scope::ConsentRecord]);
        let client = application.via_client();
        world.consents(&application).give_consent(offer.give(world.anna.subject)).await.unwrap();
        world.mesh.clock.advance(Duration::from_secs(1));
        world.consents(&world.anna).withdraw_consent(offer.withdraw(world.anna.subject)).await.unwrap();
        let mut events = world.events(&world.anna).await;
        events.sort_by_key(|event| event.record_time.map(|time| time.seconds));
        let by: Vec<_> = events.iter().map(|event| (event.actor_id.clone(), event.actor_client_id.clone())).collect();
        let anna = world.anna.account.to_string();
        assert_eq!(by, [(anna.clone(), client.clone()), (anna.clone(), String::new())]);
        let listed = list(&world, &world.anna, &world.anna).await.unwrap();
        let mut recorded = Vec::new();
        for receipt in &listed {
            let receipt = proven(&world, &world.anna, &receipt.receipt_id).await;
            recorded.push(offline(&world, &receipt).await.record.unwrap().event.recorded_by.unwrap());
        }
        assert!(recorded.contains(&anna) && recorded.contains(&format!("{anna} via client/{client}")), "{recorded:?}");
    }

    /// Giving, refusing, withdrawing: a receipt each, told by the reply, that says what was decided and verifies offline.
    async fn every_change_has_a_receipt(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        let give = pb::GiveConsentRequest { evidence: evidence(), ..offer.give(world.anna.subject) };
        world.consents(&world.anna).give_consent(give).await.unwrap();
        world.mesh.clock.advance(Duration::from_secs(1));
        world.consents(&world.anna).withdraw_consent(offer.withdraw(world.anna.subject)).await.unwrap();
        world.consents(&world.bert).refuse_consent(offer.refuse(world.bert.subject)).await.unwrap();
        let listed = list(&world, &world.anna, &world.anna).await.unwrap();
        let events = world.events(&world.anna).await;
        let ids = |receipts: &[pb::Receipt]| receipts.iter().map(|receipt| receipt.receipt_id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&listed), events.iter().map(|event| event.event_id.clone()).collect::<Vec<_>>());
        let statuses = [Status::Withdrawn, Status::Given];
        for (receipt, status) in listed.iter().zip(statuses) {
            let receipt = proven(&world, &world.anna, &receipt.receipt_id).await;
            let report = offline(&world, &receipt).await;
            assert!(report.valid() && report.included.is_some(), "{:?}", report.findings);
            let record = report.record.unwrap();
            assert_eq!(record.event.status, status);
            assert_eq!((record.event.indicated_by, record.delegation), (IndicatedBy::Subject, None));
            assert_eq!(record.parties[0].role, "dpv:DataController");
            assert_eq!(record.subject.id, world.anna.subject);
            assert_eq!(record.id.to_string(), receipt.receipt_id);
            assert_eq!(record.consent.to_string(), receipt.consent_id);
            let events = world.events(&world.anna).await;
            let event = events.iter().find(|event| event.event_id == receipt.receipt_id).unwrap();
            let place = report.included.map(|included| i64::try_from(included.leaf_index).unwrap());
            assert_eq!((&event.receipt_id, event.ledger_index), (&receipt.receipt_id, place));
            let terms = record.purpose.terms.unwrap();
            assert_eq!((terms.name.as_str(), terms.legal_basis.as_str()), ("Newsletter", "dpv:Consent"));
            assert_eq!(record.notice.content_hash.unwrap().as_slice(), offer.notice.content_hash);
            assert!(receipt.json.contains("dpv:ConsentReceipt") && receipt.json.contains(status.term()));
            assert!(receipt.cose.len() + receipt.inclusion.len() < 8_192);
            let mut asked = pb::VerifyReceiptRequest { cose: receipt.cose, inclusion: receipt.inclusion };
            let answer = receipts(&world, &world.bert).verify_receipt(asked.clone()).await.unwrap().into_inner();
            assert!(answer.valid && answer.steps.len() == 6, "{answer:?}");
            let last = asked.cose.len() - 1;
            asked.cose[last] ^= 1;
            let answer = receipts(&world, &world.bert).verify_receipt(asked).await.unwrap().into_inner();
            assert!(!answer.valid);
            assert_eq!(answer.steps.last().unwrap().name, "signature");
        }
        let refusals = list(&world, &world.bert, &world.bert).await.unwrap();
        assert_eq!(refusals.len(), 1);
        assert!(refusals[0].json.contains("dpv:ConsentRefused"));
    }

    /// What the purpose said, who takes part, what is known of the person, who decided for them and how: all of it stands
    /// in the receipt, and under its leaf; of the delegate just a name that is the receipt's own.
    async fn receipts_have_the_whole_record(database) {
        let world = World::start(database).await;
        let child = &world.anna;
        register(&world, child, subject()).await;
        let purpose = record::publish(&world, &record::create(&world, record::complete()).await).await.unwrap();
        let notice = world.published_notice(&[&purpose]).await;
        let offer = Offer { purpose, notice };
        let give = pb::GiveConsentRequest { evidence: evidence(), ..for_child(&offer, child.subject, guardian()) };
        world.consents(&world.controller).give_consent(give).await.unwrap();
        let withdraw = pb::WithdrawConsentRequest { delegation: Some(guardian()), ..offer.withdraw(child.subject) };
        world.consents(&world.controller).withdraw_consent(withdraw).await.unwrap();
        let batch = pb::ConsentRecord { delegation: Some(guardian()), ..offer.record(child.subject, pb::ConsentStatus::Given) };
        assert_eq!(world.record(vec![batch]).await, [Ok(pb::ConsentStatus::Given)]);
        let mut delegates = Vec::new();
        for listed in list(&world, child, child).await.unwrap() {
            let receipt = proven(&world, child, &listed.receipt_id).await;
            assert!(receipt.cose.len() < 8_192, "{}", receipt.cose.len());
            assert!(!receipt.json.contains("mother") && !receipt.json.contains("12/2026"));
            let report = offline(&world, &receipt).await;
            assert!(report.valid() && report.included.is_some(), "{:?}", report.findings);
            let record = report.record.unwrap();
            is_whole(&record, &world);
            let delegation = record.delegation.clone().unwrap();
            assert_eq!(delegation.delegate, Delegation::pseudonym(record.id, "mother of 4711"));
            delegates.push((delegation.delegate, delegation.content_hash));
            let lacks = dpv::validate(&export::document(&record));
            // A withdrawal is under no notice anew.
            assert_eq!(lacks.is_empty(), record.event.status != Status::Withdrawn, "{lacks:?}");
        }
        assert_eq!(delegates.len(), 3);
        assert!(delegates.iter().all(|one| delegates.iter().filter(|other| one.0 == other.0 || one.1 == other.1).count() == 1));
    }

    /// In every format, under its media type; an unknown one is refused.
    async fn receipts_are_exported(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        world.give(&world.anna, &offer).await.unwrap();
        let id = list(&world, &world.anna, &world.anna).await.unwrap().remove(0).receipt_id;
        proven(&world, &world.anna, &id).await;
        let export = async |format: i32| {
            let request = pb::ExportReceiptRequest { receipt_id: id.clone(), format };
            receipts(&world, &world.anna).export_receipt(request).await.map(tonic::Response::into_inner)
        };
        let whole = export(pb::ReceiptFormat::Cose.into()).await.unwrap();
        assert!(whole.media_type.starts_with("application/cose"));
        let report = offline(&world, &pb::Receipt { cose: whole.content, ..Default::default() }).await;
        assert!(report.valid() && report.included.is_some());
        let json = async |format: pb::ReceiptFormat| {
            serde_json::from_slice::<serde_json::Value>(&export(format.into()).await.unwrap().content).unwrap()
        };
        assert_eq!(json(pb::ReceiptFormat::DpvJsonld).await["@type"], "dpv:ConsentReceipt");
        assert_eq!(json(pb::ReceiptFormat::Kantara11).await["consentReceiptID"], id);
        assert_eq!(json(pb::ReceiptFormat::FhirR5).await["decision"], "permit");
        for unknown in [0, 99] {
            assert_eq!(fields(export(unknown).await), ["format"]);
        }
    }

    /// Nobody reaches another's receipts; controllers and officers reach them; an id without a receipt is not found.
    async fn others_are_refused(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        world.give(&world.anna, &offer).await.unwrap();
        let id = list(&world, &world.anna, &world.anna).await.unwrap().remove(0).receipt_id;
        let denied = Code::PermissionDenied;
        refused(get(&world, &world.bert, &id).await, denied, "NOT_YOUR_DATA");
        refused(list(&world, &world.bert, &world.anna).await, denied, "NOT_YOUR_DATA");
        let request = pb::ExportReceiptRequest { receipt_id: id.clone(), format: 1 };
        refused(receipts(&world, &world.bert).export_receipt(request).await, denied, "NOT_YOUR_DATA");
        for user in [&world.officer, &world.controller] {
            assert_eq!(get(&world, user, &id).await.unwrap().receipt_id, id);
        }
        let none = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";
        refused(get(&world, &world.anna, none).await, Code::NotFound, "RECEIPT_NOT_FOUND");
        assert_eq!(fields(get(&world, &world.anna, "x").await), ["receipt_id"]);
        for cose in [vec![], vec![0; 64 * 1_024 + 1]] {
            let request = pb::VerifyReceiptRequest { cose, inclusion: vec![] };
            assert_eq!(fields(receipts(&world, &world.anna).verify_receipt(request).await), ["cose"]);
        }
    }

    /// Who was erased has no receipts any more, whoever asks; others still are told that they may not.
    async fn the_erased_have_none(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        world.give(&world.anna, &offer).await.unwrap();
        let id = list(&world, &world.anna, &world.anna).await.unwrap().remove(0).receipt_id;
        world.keys().await.erase(world.anna.subject).await.unwrap();
        let mut answer = get(&world, &world.anna, &id).await;
        // Another process of the service erased; this one hears of it within a second.
        for _ in 0..100 {
            if answer.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = get(&world, &world.anna, &id).await;
        }
        refused(answer, Code::NotFound, "SUBJECT_ERASED");
        refused(get(&world, &world.bert, &id).await, Code::PermissionDenied, "NOT_YOUR_DATA");
        refused(list(&world, &world.anna, &world.anna).await, Code::NotFound, "SUBJECT_ERASED");
    }
}
