//! ISO/IEC TS 27560 in DPV JSON-LD: a `dpv:ConsentReceipt` with one `dpv:ConsentRecord`.

use portal_core::Timestamp;

use super::{hex, iso_8601};
use crate::dpv::{Document, Node, Property, Value, Values};
use crate::record::{Evidence, IndicatedBy, Indication, Party, Record, Terms};

/// What the guide calls the profiles that this conforms to.
const RECEIPT_SCHEMA: &str = "https://w3id.org/dpv/schema/dpv-27560#receipt-record";
const RECORD_SCHEMA: &str = "https://w3id.org/dpv/schema/dpv-27560#record";

/// What the prefixes stand for.
const CONTEXT: [(&str, &str); 9] = [
    ("dct", "http://purl.org/dc/terms/"),
    ("dpv", "https://w3id.org/dpv#"),
    ("eu-gdpr", "https://w3id.org/dpv/legal/eu/gdpr#"),
    ("loc", "https://w3id.org/dpv/loc#"),
    ("pd", "https://w3id.org/dpv/pd#"),
    ("rdf", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"),
    ("schema", "https://schema.org/"),
    ("skos", "http://www.w3.org/2004/02/skos/core#"),
    ("spdx", "http://spdx.org/rdf/terms#"),
];

/// The record as a document.
#[must_use]
pub fn document(record: &Record) -> Document {
    let context = CONTEXT
        .iter()
        .fold(Node::default(), |node, (prefix, meaning)| node.with(Property::named(prefix), *meaning));
    let receipt = Node::new("dpv:ConsentReceipt")
        .with_id(urn(&record.id))
        .with(Property::named("@context"), context)
        .with(Property::Identifier, record.id.to_string())
        .with(Property::ConformsTo, RECEIPT_SCHEMA)
        .with(Property::Created, record.event.recorded_at.to_string())
        .with(Property::Publisher, record.keeper.as_str())
        .with(Property::ReceiptRecipient, "dpv:DataSubject")
        .with(Property::RecordOfActivity, consent_record(record));
    Document::of(receipt)
}

fn consent_record(record: &Record) -> Node {
    let subject = Node {
        id: Some(urn(&record.subject.id)),
        types: Values::some(
            ["dpv:DataSubject"].into_iter().chain(record.subject.categories.iter().map(String::as_str)),
        ),
        ..Node::default()
    };
    let subject = subject
        .with(Property::Identifier, record.subject.id.to_string())
        .with(Property::Jurisdiction, Values::some(&record.subject.jurisdictions));
    Node::new("dpv:ConsentRecord")
        .with_id(urn(&record.consent))
        .with(Property::Identifier, record.consent.to_string())
        .with(Property::ConformsTo, RECORD_SCHEMA)
        .with(Property::DataSubject, subject)
        .with(Property::DataController, Values::some(record.controllers().map(|party| party.id.as_str())))
        .with(Property::DataProcessor, ids(record, "dpv:DataProcessor"))
        .with(Property::Notice, notice(record))
        .with(Property::Process, process(record))
        .with(Property::ConsentStatus, status(record))
        .with(Property::Entity, Values::some(record.parties.iter().map(party)))
        .with(Property::named("dpv:hasRecordOfEvidence"), Values::some(record.evidence.iter().map(evidence)))
}

fn notice(record: &Record) -> Node {
    let notice = &record.notice;
    Node::new("dpv:ConsentNotice")
        .with_id(urn(&notice.id))
        .with(Property::HasIdentifier, notice.id.to_string())
        .with(Property::named("schema:version"), notice.revision.to_string())
        .with(Property::Language, notice.language.as_deref())
        .with(Property::named("spdx:checksum"), notice.content_hash.as_ref().map(|hash| checksum(hash)))
}

fn process(record: &Record) -> Node {
    let purpose = &record.purpose;
    let node = Node::new("dpv:Process")
        .with_id(urn(&purpose.id))
        .with(Property::Identifier, purpose.id.to_string())
        .with(Property::named("schema:version"), purpose.revision.to_string())
        .with(Property::named("spdx:checksum"), purpose.content_hash.as_ref().map(|hash| checksum(hash)));
    match &purpose.terms {
        Some(terms) => said(node, terms),
        None => node,
    }
}

fn said(node: Node, terms: &Terms) -> Node {
    let control = terms
        .withdrawal
        .as_ref()
        .map(|place| Node::new("dpv:WithdrawConsent").with(Property::Exercised, place));
    node.with(Property::Title, terms.name.as_str())
        .with(Property::Purpose, Values::some(&terms.purposes))
        .with(Property::LegalBasis, terms.legal_basis.as_str())
        .with(
            Property::PersonalData,
            Values::some(terms.personal_data.iter().map(|term| personal_data(terms, term))),
        )
        .with(Property::Processing, Values::some(&terms.processing))
        .with(Property::Recipient, Values::some(&terms.recipients))
        .with(Property::StorageCondition, Values::some(storage(terms)))
        .with(Property::Jurisdiction, Values::some(&terms.jurisdictions))
        .with(Property::ConsentControl, control)
        .with(Property::named("dpv:hasDataSource"), terms.data_source.as_deref())
        .with(Property::Location, Values::some(&terms.processing_locations))
        .with(Property::named("dpv:hasRule"), terms.restrictions.as_deref().map(titled("dpv:Prohibition")))
        .with(Property::Right, Values::some(terms.rights.iter().map(|term| right(term))))
        .with(Property::Service, terms.service.as_deref().map(titled("dpv:Service")))
        .with(
            Property::OrganisationalMeasure,
            Values::some(terms.codes_of_conduct.iter().map(|code| titled("dpv:CodeOfConduct")(code))),
        )
        .with(Property::Assessment, terms.impact_assessment.as_deref().map(titled("dpv:DPIA")))
}

/// A thing of this type that is known by what it is called.
fn titled(of: &str) -> impl Fn(&str) -> Node {
    move |title| Node::new(of).with(Property::Title, title)
}

fn right(term: &str) -> Node {
    Node { types: Values::some(["dpv:DataSubjectRight", term]), ..Node::default() }
}

fn personal_data(terms: &Terms, term: &String) -> Value {
    let optional = terms.optional_personal_data.contains(term);
    let of = if terms.special_category { "dpv:SpecialCategoryPersonalData" } else { "dpv:PersonalData" };
    if !terms.special_category && !optional {
        return term.into();
    }
    let necessity = optional.then_some("dpv:Optional");
    Node::new(of).with(Property::Broader, term).with(Property::Necessity, necessity).into()
}

fn storage(terms: &Terms) -> impl Iterator<Item = Node> {
    let lasting = |of: &str, value: String| {
        let duration = Node::new(of).with(Property::RdfValue, value);
        Node::new("dpv:StorageDuration").with(Property::Duration, duration)
    };
    let location = Node::new("dpv:StorageLocation").with(Property::Location, Values::some(&terms.storage));
    let time = terms.retention.map(|time| lasting("dpv:TemporalDuration", iso_8601(time)));
    let event = terms.retention_event.clone().map(|event| lasting("dpv:UntilEventDuration", event));
    let how = terms.storage_conditions.as_deref();
    let how = how.map(|how| Node::new("dpv:StorageCondition").with(Property::Description, how));
    let place = (!terms.storage.is_empty()).then_some(location);
    place.into_iter().chain(time).chain(event).chain(how)
}

fn status(record: &Record) -> Node {
    let event = &record.event;
    let by: Value = match (event.indicated_by, &record.delegation) {
        (IndicatedBy::Delegate, Some(delegation)) => Node::new(&delegation.kind)
            .with_id(delegation.delegate.as_str())
            .with(Property::named("dpv:hasStatus"), delegation.verified.then_some("dpv:Verified"))
            .with(Property::Justification, delegation.verified_by.as_deref())
            .with(Property::Duration, delegation.expires_at.map(until))
            .with(
                Property::named("spdx:checksum"),
                delegation.content_hash.as_ref().map(|hash| checksum(hash)),
            )
            .into(),
        (IndicatedBy::Subject, _) => "dpv:DataSubject".into(),
        (IndicatedBy::Delegate, None) => "dpv:Representative".into(),
        (IndicatedBy::Controller, _) => "dpv:DataController".into(),
        (IndicatedBy::Rule, _) => "dpv:Technology".into(),
    };
    Node::new(event.status.term())
        .with_id(urn(&record.id))
        .with(Property::IndicatedAt, event.event_at.to_string())
        .with(Property::Indicated, by)
        .with(Property::IndicationMethod, event.indication.map(Indication::words))
        .with(Property::Duration, event.expires_at.map(until))
        .with(Property::named("dct:creator"), event.recorded_by.as_deref())
        .with(Property::named("dct:dateSubmitted"), event.recorded_at.to_string())
}

fn until(end: Timestamp) -> Node {
    Node::new("dpv:UntilTimeDuration").with(Property::RdfValue, end.to_string())
}

fn party(party: &Party) -> Node {
    let contact = Node::new("schema:ContactPoint")
        .with(Property::named("schema:name"), party.contact.as_deref())
        .with(Property::Email, party.email.as_deref())
        .with(Property::Telephone, party.phone.as_deref())
        .with(Property::StreetAddress, party.address.as_deref());
    let contact = (!contact.properties.is_empty()).then_some(contact);
    Node::new(&party.role)
        .with_id(party.id.as_str())
        .with(Property::HasIdentifier, party.id.as_str())
        .with(Property::Name, party.name.as_str())
        .with(Property::ContactPoint, contact)
        .with(Property::Url, party.url.as_deref())
        .with(Property::Location, party.country.as_deref())
}

fn evidence(evidence: &Evidence) -> Node {
    Node::new("schema:DigitalDocument")
        .with(Property::named("schema:encodingFormat"), evidence.media_type.as_str())
        .with(Property::Title, evidence.kind.as_str())
        .with(Property::named("spdx:checksum"), checksum(&evidence.content_hash))
}

fn checksum(hash: &[u8]) -> Node {
    Node::new("spdx:Checksum")
        .with(Property::named("spdx:algorithm"), "spdx:checksumAlgorithm_sha384")
        .with(Property::named("spdx:checksumValue"), hex(hash))
}

fn ids(record: &Record, role: &str) -> Values {
    Values::some(record.parties_as(role).map(|party| party.id.as_str()))
}

fn urn(id: &impl std::fmt::Display) -> String {
    format!("urn:uuid:{id}")
}
