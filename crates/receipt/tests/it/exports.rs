//! Exports: against the published schema where there is one, and member by member.

use portal_receipt::export;
use portal_receipt::record::{Event, Record, Status};
use serde_json::{Value, json};

use super::records::{for_child, given, guardian, on, strings, withdrawn};
use super::schema::violations;

/// The published file has comments before its first member.
fn schema() -> Value {
    let text = include_str!("../data/kantara/schema.json");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    serde_json::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap()
}

fn with_status(status: Status) -> Record {
    let given = given();
    Record { event: Event { status, ..given.event }, ..given }
}

#[test]
fn kantara_is_of_its_schema() {
    let schema = schema();
    let secret = on(|terms| terms.special_category = true);
    let alone = on(|terms| terms.recipients.clear());
    for record in [given(), for_child(), withdrawn(), secret, alone] {
        let receipt = export::kantara_1_1(&record);
        assert_eq!(violations(&schema, &receipt), Vec::<String>::new(), "{receipt:#}");
        let mut less = receipt.clone();
        less.as_object_mut().unwrap().remove("policyUrl");
        assert_eq!(violations(&schema, &less), ["$: required"], "the schema is applied");
        let mut other = receipt;
        other["services"][0]["purposes"][0]["thirdPartyDisclosure"] = json!("no");
        assert!(!violations(&schema, &other).is_empty());
    }
}

#[test]
fn kantara_says_what_the_record_says() {
    let receipt = export::kantara_1_1(&given());
    assert_eq!(receipt["version"], "KI-CR-v1.1.0");
    assert_eq!(receipt["consentTimestamp"], 1_795_305_600);
    assert_eq!(receipt["consentReceiptID"], "11111111-1111-1111-1111-111111111111");
    assert_eq!(receipt["piiPrincipalId"], "33333333-3333-3333-3333-333333333333");
    assert_eq!(receipt["language"], "en");
    assert_eq!(receipt["consentStatus"], "dpv:ConsentGiven");
    let purpose = &receipt["services"][0]["purposes"][0];
    assert_eq!(purpose["piiCategory"], json!(["pd:EmailAddress", "pd:Name"]));
    assert_eq!(purpose["consentType"], "EXPLICIT");
    assert_eq!(purpose["thirdPartyName"], "ex:Beta");
    assert_eq!(purpose["termination"], "2027-11-22T00:00:00Z");
    assert_eq!(receipt["piiControllers"][0]["email"], "contact@example.com");
    assert_eq!(receipt["piiControllers"][0]["address"]["addressCountry"], "IE");
    assert_eq!(receipt["consentGivenBy"], "dpv:DataSubject");
    assert_eq!(export::kantara_1_1(&for_child())["consentGivenBy"], "dpv:GuardianOfDataSubject");
    assert_eq!(receipt["sensitive"], false);
    let secret = export::kantara_1_1(&on(|terms| terms.special_category = true));
    assert_eq!(secret["spiCat"], json!(["pd:EmailAddress", "pd:Name"]));
    let contract = export::kantara_1_1(&on(|terms| terms.legal_basis = "dpv:Contract".to_owned()));
    assert_eq!(contract["services"][0]["purposes"][0]["consentType"], "N/A");
    assert_eq!(export::kantara_1_1(&withdrawn())["consentStatus"], "dpv:ConsentWithdrawn");
}

/// Only what is in force permits, in every status.
#[test]
fn fhir_permits_only_what_is_in_force() {
    let expect = [
        ("unknown", "deny"),
        ("draft", "deny"),
        ("draft", "deny"),
        ("active", "deny"),
        ("active", "permit"),
        ("active", "permit"),
        ("inactive", "deny"),
        ("inactive", "deny"),
        ("entered-in-error", "deny"),
        ("inactive", "deny"),
    ];
    for (status, (state, decision)) in Status::ALL.into_iter().zip(expect) {
        let consent = export::fhir_r5(&with_status(status));
        assert_eq!(
            (&consent["status"], &consent["decision"]),
            (&json!(state), &json!(decision)),
            "{status:?}"
        );
    }
}

#[test]
fn fhir_says_what_the_record_says() {
    let consent = export::fhir_r5(&given());
    assert_eq!(consent["resourceType"], "Consent");
    assert_eq!(consent["date"], "2026-11-22");
    assert_eq!(consent["subject"]["identifier"]["value"], "urn:uuid:33333333-3333-3333-3333-333333333333");
    assert_eq!(consent["period"], json!({"start": "2026-11-22T00:00:00Z", "end": "2027-11-22T00:00:00Z"}));
    let provision = &consent["provision"][0];
    assert_eq!(provision["purpose"][0], json!({"system": "https://w3id.org/dpv", "code": "Marketing"}));
    assert_eq!(provision["code"][0]["coding"][0]["code"], "pd:EmailAddress");
    assert_eq!(provision["actor"][0]["reference"]["display"], "ex:Beta");
    assert_eq!(consent["controller"][0]["display"], "Acme");
    assert_eq!(consent.get("verification"), None);
    assert_eq!(provision["actor"][1]["role"]["coding"][0]["code"], "DataProcessor");
    assert_eq!(provision["actor"][1]["reference"]["display"], "Beta Ltd");
    assert_eq!(consent["grantor"][0]["type"], "Patient");
    let consent = export::fhir_r5(&for_child());
    assert_eq!(consent["verification"][0]["verified"], true);
    assert_eq!(consent["verification"][0]["verificationType"]["text"], "document");
    assert_eq!(consent["verification"][0]["verifiedWith"]["identifier"]["value"], guardian().delegate);
    assert_eq!(consent["grantor"][0]["identifier"]["value"], guardian().delegate);
    assert_eq!(export::fhir_r5(&withdrawn()).get("provision"), None);
}

#[test]
fn json_ld_says_what_the_record_says() {
    let receipt = export::dpv_json_ld(&given());
    assert_eq!(receipt["@type"], "dpv:ConsentReceipt");
    assert_eq!(receipt["@context"]["dpv"], "https://w3id.org/dpv#");
    let record = &receipt["dpv:hasRecordOfActivity"];
    assert_eq!(record["dpv:hasConsentStatus"]["@type"], "dpv:ConsentGiven");
    assert_eq!(record["dpv:hasConsentStatus"]["dpv:isIndicatedBy"], "dpv:DataSubject");
    assert_eq!(record["dpv:hasConsentStatus"]["dpv:hasIndicationMethod"], "Checkbox");
    assert_eq!(record["dpv:hasNotice"]["spdx:checksum"]["spdx:checksumValue"], "55".repeat(48));
    assert_eq!(
        record["dpv:hasProcess"]["dpv:hasPurpose"],
        json!(strings(&["dpv:Marketing", "dpv:CommunicationManagement"]))
    );
    let storage = &record["dpv:hasProcess"]["dpv:hasStorageCondition"];
    assert_eq!(storage[0]["dpv:hasLocation"], "loc:IE");
    assert_eq!(storage[1]["dpv:hasDuration"]["rdf:value"], "P180D");
    assert_eq!(storage[2]["dpv:hasDuration"]["@type"], "dpv:UntilEventDuration");
    assert_eq!(storage[3]["dct:description"], "Encrypted, deleted with the account");
    let process = &record["dpv:hasProcess"];
    assert_eq!(process["dpv:hasPersonalData"][0], "pd:EmailAddress");
    assert_eq!(process["dpv:hasPersonalData"][1]["dpv:hasNecessity"], "dpv:Optional");
    assert_eq!(process["dpv:hasRight"][0]["@type"], json!(["dpv:DataSubjectRight", "eu-gdpr:A15"]));
    assert_eq!(process["dpv:hasService"]["dct:title"], "Newsletter");
    assert_eq!(process["dpv:hasDataSource"], "From the person");
    assert_eq!(process["dpv:hasConsentControl"]["dpv:isExercisedAt"], "https://example.com/manage-consent");
    assert_eq!(process["spdx:checksum"]["spdx:checksumValue"], "88".repeat(48));
    assert_eq!(record["dpv:hasDataProcessor"], "ex:Beta");
    assert_eq!(record["dpv:hasEntity"][1]["dpv:hasLocation"], "loc:DE");
    let child = &export::dpv_json_ld(&for_child())["dpv:hasRecordOfActivity"];
    let by = &child["dpv:hasConsentStatus"]["dpv:isIndicatedBy"];
    assert_eq!(
        (&by["@type"], &by["@id"]),
        (&json!("dpv:GuardianOfDataSubject"), &json!(guardian().delegate))
    );
    assert_eq!(child["dpv:hasDataSubject"]["@type"], json!(["dpv:DataSubject", "dpv:Child"]));
    assert_eq!(record["dpv:hasRecordOfEvidence"]["spdx:checksum"]["spdx:checksumValue"], "77".repeat(48));
    let secret = export::dpv_json_ld(&on(|terms| terms.special_category = true));
    let data = &secret["dpv:hasRecordOfActivity"]["dpv:hasProcess"]["dpv:hasPersonalData"][0];
    assert_eq!(data["@type"], "dpv:SpecialCategoryPersonalData");
}
