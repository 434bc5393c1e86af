//! Consent of FHIR R5. `decision` is `permit` only for a consent that is in force.

use serde_json::{Map, Value, json};

use super::day;
use crate::record::{IndicatedBy, Party, Record, Status, Terms};

/// Ids that are UUIDs, as URIs.
const URI: &str = "urn:ietf:rfc:3986";
/// Terms of the Data Privacy Vocabulary.
const DPV: &str = "https://w3id.org/dpv";

pub(super) fn consent(record: &Record) -> Value {
    let event = &record.event;
    let mut consent = json!({
        "resourceType": "Consent",
        "id": record.id.to_string(),
        "identifier": [{"system": URI, "value": format!("urn:uuid:{}", record.consent)}],
        "status": status(event.status),
        "category": [{"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/consentcategorycodes",
            "code": "npp",
            "display": "Notice of Privacy Practices",
        }]}],
        "subject": person(record),
        "date": day(event.event_at),
        "period": period(record),
        "grantor": [grantor(record)],
        "sourceReference": [{
            "type": "DocumentReference",
            "identifier": {
                "system": URI,
                "value": format!("urn:uuid:{}#{}", record.notice.id, record.notice.revision),
            },
        }],
        "decision": if event.status.permits() { "permit" } else { "deny" },
    });
    if let Some(members) = consent.as_object_mut() {
        add(members, record);
    }
    consent
}

/// What is there only if it says something.
fn add(members: &mut Map<String, Value>, record: &Record) {
    let controllers: Vec<Value> = record.controllers().map(organization).collect();
    if !controllers.is_empty() {
        members.insert("controller".to_owned(), Value::from(controllers));
    }
    if let (IndicatedBy::Delegate, Some(delegation)) = (record.event.indicated_by, &record.delegation) {
        let verification = json!([{
            "verified": delegation.verified,
            "verificationType": {"text": delegation.verified_by.as_deref().unwrap_or("none")},
            "verifiedWith": {
                "type": "RelatedPerson",
                "identifier": {"value": delegation.delegate},
            },
        }]);
        members.insert("verification".to_owned(), verification);
    }
    if let Some(terms) = &record.purpose.terms {
        members.insert("regulatoryBasis".to_owned(), json!([concept(&terms.legal_basis)]));
        members.insert("provision".to_owned(), json!([provision(record, terms)]));
    }
}

fn provision(record: &Record, terms: &Terms) -> Value {
    let mut provision = Map::new();
    provision.insert("period".to_owned(), period(record));
    let mut say = |name: &str, values: Vec<Value>| {
        if !values.is_empty() {
            provision.insert(name.to_owned(), Value::from(values));
        }
    };
    let recipients = terms.recipients.iter().map(|name| json!({"reference": {"display": name}}));
    let others = record.parties.iter().filter(|party| !record.controllers().any(|one| one == *party));
    let others = others.map(|party| json!({"role": concept(&party.role), "reference": organization(party)}));
    say("actor", recipients.chain(others).collect());
    say("action", terms.processing.iter().map(|term| concept(term)).collect());
    say("purpose", terms.purposes.iter().map(|term| coding(term)).collect());
    say("code", terms.personal_data.iter().map(|term| concept(term)).collect());
    Value::Object(provision)
}

/// The codes of `http://hl7.org/fhir/consent-state-codes`. A refusal is in force too: as a denial.
const fn status(status: Status) -> &'static str {
    match status {
        Status::Given | Status::Refused | Status::RenewedGiven => "active",
        Status::Requested | Status::RequestDeferred => "draft",
        Status::Expired | Status::Revoked | Status::Withdrawn => "inactive",
        Status::Invalidated => "entered-in-error",
        Status::Unknown => "unknown",
    }
}

fn period(record: &Record) -> Value {
    let start = record.event.event_at.to_string();
    match record.event.expires_at {
        Some(end) => json!({"start": start, "end": end.to_string()}),
        None => json!({"start": start}),
    }
}

fn person(record: &Record) -> Value {
    json!({
        "type": "Patient",
        "identifier": {"system": URI, "value": format!("urn:uuid:{}", record.subject.id)},
    })
}

/// Who decided: somebody for the person, if so.
fn grantor(record: &Record) -> Value {
    match (record.event.indicated_by, &record.delegation) {
        (IndicatedBy::Delegate, Some(delegation)) => json!({
            "type": "RelatedPerson",
            "identifier": {"value": delegation.delegate},
            "display": delegation.kind,
        }),
        _ => person(record),
    }
}

fn organization(party: &Party) -> Value {
    json!({
        "type": "Organization",
        "identifier": {"value": party.id},
        "display": party.name,
    })
}

fn concept(term: &str) -> Value {
    json!({"coding": [coding(term)]})
}

/// A term of the vocabulary or its extensions, whose prefix is part of the code.
fn coding(term: &str) -> Value {
    match term.strip_prefix("dpv:") {
        Some(code) => json!({"system": DPV, "code": code}),
        None => json!({"system": DPV, "code": term}),
    }
}
