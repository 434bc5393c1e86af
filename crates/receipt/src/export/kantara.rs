//! Kantara Consent Receipt 1.1.
//!
//! That format tells of consents that were given. What became of others stands in `consentStatus`, a member of ours beside
//! its own, so that nobody takes a refusal for a consent.

use serde_json::{Map, Value, json};

use super::iso_8601;
use crate::record::{IndicatedBy, Indication, Party, Record, Terms};

/// Text that the schema demands and the record does not have.
const NOT_SAID: &str = "N/A";

pub(super) fn receipt(record: &Record) -> Value {
    let nothing = Terms::default();
    let terms = record.purpose.terms.as_ref().unwrap_or(&nothing);
    let controllers: Vec<Value> = record.controllers().map(controller).collect();
    let sensitive: &[String] = if terms.special_category { &terms.personal_data } else { &[] };
    let mut receipt = json!({
        "version": "KI-CR-v1.1.0",
        "jurisdiction": or_not_said(&terms.jurisdictions.join(", ")),
        "consentTimestamp": record.event.event_at.as_seconds().max(0),
        "collectionMethod": record.event.indication.map_or(NOT_SAID, Indication::words),
        "consentReceiptID": record.id.to_string(),
        "piiPrincipalId": record.subject.id.to_string(),
        "piiControllers": controllers,
        "policyUrl": format!("urn:uuid:{}#{}", record.notice.id, record.notice.revision),
        "services": [{
            "service": or_not_said(terms.service.as_ref().unwrap_or(&terms.name)),
            "purposes": [purpose(record, terms)],
        }],
        "sensitive": terms.special_category,
        "spiCat": sensitive,
        "consentStatus": record.event.status.term(),
        "consentGivenBy": giver(record),
    });
    if let (Some(members), Some(language)) = (receipt.as_object_mut(), &record.notice.language) {
        members.insert("language".to_owned(), Value::from(language.as_str()));
    }
    receipt
}

/// Whose act it was: a member of ours, as the format knows of nobody but the person.
fn giver(record: &Record) -> &str {
    match (record.event.indicated_by, &record.delegation) {
        (IndicatedBy::Delegate, Some(delegation)) => &delegation.kind,
        (IndicatedBy::Delegate, None) => "dpv:Representative",
        (IndicatedBy::Subject, _) => "dpv:DataSubject",
        (IndicatedBy::Controller, _) => "dpv:DataController",
        (IndicatedBy::Rule, _) => "dpv:Technology",
    }
}

fn purpose(record: &Record, terms: &Terms) -> Value {
    let consent = match (terms.legal_basis.as_str(), record.event.indication) {
        (basis, _) if !basis.contains("Consent") => NOT_SAID,
        (_, Some(Indication::AutomatedSignal)) => "IMPLICIT",
        _ => "EXPLICIT",
    };
    let termination = match (record.event.expires_at, terms.retention) {
        (Some(end), _) => end.to_string(),
        (None, Some(retention)) => iso_8601(retention),
        (None, None) => {
            let told = terms.retention_event.as_ref().or(terms.withdrawal.as_ref());
            told.cloned().unwrap_or_else(|| NOT_SAID.to_owned())
        }
    };
    let mut purpose = json!({
        "purpose": or_not_said(&terms.name),
        "purposeCategory": terms.purposes,
        "consentType": consent,
        "piiCategory": terms.personal_data,
        "primaryPurpose": true,
        "termination": termination,
        "thirdPartyDisclosure": !terms.recipients.is_empty(),
    });
    if let (Some(members), false) = (purpose.as_object_mut(), terms.recipients.is_empty()) {
        members.insert("thirdPartyName".to_owned(), Value::from(terms.recipients.join(", ")));
    }
    purpose
}

fn controller(party: &Party) -> Value {
    let said = |value: &Option<String>| value.clone().unwrap_or_else(|| NOT_SAID.to_owned());
    let mut address = Map::new();
    if let Some(street) = &party.address {
        address.insert("streetAddress".to_owned(), Value::from(street.as_str()));
    }
    if let Some(country) = &party.country {
        let country = country.strip_prefix("loc:").unwrap_or(country);
        address.insert("addressCountry".to_owned(), Value::from(country));
    }
    let mut controller = json!({
        "piiController": party.name,
        "contact": said(&party.contact),
        "address": address,
        "email": said(&party.email),
        "phone": said(&party.phone),
    });
    if let (Some(members), Some(url)) = (controller.as_object_mut(), &party.url) {
        members.insert("piiControllerUrl".to_owned(), Value::from(url.as_str()));
    }
    controller
}

fn or_not_said(text: &str) -> &str {
    if text.is_empty() { NOT_SAID } else { text }
}
