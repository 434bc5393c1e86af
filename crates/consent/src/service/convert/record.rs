//! The part of a purpose that informs, and parties, on the wire.

use portal_core::Invalid;
use portal_proto::consent::v1 as pb;

use super::texts;
use crate::domain::purpose::Purpose;
use crate::domain::record::{Field, Party, PartyRole, Record};
use crate::domain::terms::{List, is_jurisdiction, is_place, is_term};

const MAX_PARTIES: usize = 50;

/// The fields of a purpose that make its record.
const PATHS: [&str; 15] = [
    "codes_of_conduct",
    "data_source",
    "geographic_restrictions",
    "impact_assessment",
    "legal_basis_term",
    "optional_personal_data",
    "parties",
    "processing",
    "processing_locations",
    "retention_event",
    "rights",
    "service",
    "storage_conditions",
    "storage_locations",
    "withdrawal_method",
];

/// The record of `purpose`.
pub(super) fn record(invalid: &mut Invalid, purpose: &pb::Purpose) -> Record {
    let mut record = Record::default();
    for path in PATHS {
        if let Some(field) = field(invalid, path, purpose) {
            record.set(field);
        }
    }
    record
}

/// The field of the record that `path` names, as `purpose` has it; `None` if it names none.
pub(super) fn field(invalid: &mut Invalid, path: &str, purpose: &pb::Purpose) -> Option<Field> {
    let from = purpose.clone();
    let at = &format!("purpose.{path}");
    Some(match path {
        "codes_of_conduct" => Field::CodesOfConduct(texts(invalid, at, from.codes_of_conduct, 20, 500)),
        "data_source" => Field::DataSource(words(invalid, at, from.data_source, 1_000)),
        "geographic_restrictions" => {
            Field::GeographicRestrictions(words(invalid, at, from.geographic_restrictions, 1_000))
        }
        "impact_assessment" => Field::ImpactAssessment(words(invalid, at, from.impact_assessment, 500)),
        "legal_basis_term" => Field::LegalBasisTerm(legal_basis_term(invalid, at, from.legal_basis_term)),
        "optional_personal_data" => {
            Field::OptionalPersonalData(personal_data(invalid, at, from.optional_personal_data))
        }
        "parties" => Field::Parties(parties(invalid, at, from.parties)),
        "processing" => Field::Processing(terms(invalid, at, from.processing, List::Processing)),
        "processing_locations" => {
            Field::ProcessingLocations(locations(invalid, at, from.processing_locations))
        }
        "retention_event" => Field::RetentionEvent(words(invalid, at, from.retention_event, 500)),
        "rights" => Field::Rights(terms(invalid, at, from.rights, List::Rights)),
        "service" => Field::Service(words(invalid, at, from.service, 200)),
        "storage_conditions" => Field::StorageConditions(words(invalid, at, from.storage_conditions, 1_000)),
        "storage_locations" => Field::StorageLocations(locations(invalid, at, from.storage_locations)),
        "withdrawal_method" => Field::WithdrawalMethod(words(invalid, at, from.withdrawal_method, 1_000)),
        _ => return None,
    })
}

/// Terms that must be in `list`.
pub(super) fn terms(invalid: &mut Invalid, at: &str, values: Vec<String>, list: List) -> Vec<String> {
    let must = "must be a term of the list in DPV 2.3, such as dpv:ServiceProvision for a purpose";
    each(invalid, at, values, (50, must), |value| list.has(value))
}

/// Categories of personal data.
pub(super) fn personal_data(invalid: &mut Invalid, at: &str, values: Vec<String>) -> Vec<String> {
    let must = "must be a term such as pd:EmailAddress, or an IRI";
    each(invalid, at, values, (100, must), is_term)
}

/// Countries, subdivisions and DPV locations.
fn locations(invalid: &mut Invalid, at: &str, values: Vec<String>) -> Vec<String> {
    let must = "must be a country or subdivision code such as DE, or a term such as loc:EU";
    each(invalid, at, values, (50, must), is_place)
}

/// At most `most` texts that are as they must be, each once.
pub(super) fn each(
    invalid: &mut Invalid,
    at: &str,
    values: Vec<String>,
    (most, must): (usize, &str),
    fits: impl Fn(&str) -> bool,
) -> Vec<String> {
    let values = texts(invalid, at, values, most, 200);
    for (index, _) in values.iter().enumerate().filter(|(_, value)| !fits(value)) {
        invalid.add(&format!("{at}[{index}]"), must);
    }
    values
}

fn words(invalid: &mut Invalid, at: &str, value: String, most: usize) -> String {
    invalid.text(at, value, 0, most).unwrap_or_default()
}

fn legal_basis_term(invalid: &mut Invalid, at: &str, value: String) -> String {
    if !value.is_empty() && !List::LegalBases.has(&value) {
        invalid.add(at, "must be a legal basis or type of consent of DPV 2.3");
    }
    value
}

fn parties(invalid: &mut Invalid, at: &str, values: Vec<pb::Party>) -> Vec<Party> {
    if values.len() > MAX_PARTIES {
        invalid.add(at, format_args!("must have at most {MAX_PARTIES} items"));
        return Vec::new();
    }
    let parties = values.into_iter().enumerate();
    parties.filter_map(|(index, value)| party(invalid, &format!("{at}[{index}]"), value)).collect()
}

/// One party, whose fields are at `at`.
pub(in crate::service) fn party(invalid: &mut Invalid, at: &str, value: pb::Party) -> Option<Party> {
    let mut text = |field: &str, value: String, (least, most): (usize, usize)| {
        invalid.text(&format!("{at}.{field}"), value, least, most)
    };
    let id = text("party_id", value.party_id, (1, 256));
    let name = text("name", value.name, (1, 200));
    let address = text("address", value.address, (0, 500));
    let email = text("email", value.email, (0, 254));
    let phone = text("phone", value.phone, (0, 50));
    let url = text("url", value.url, (0, 500));
    if !value.country.is_empty() && (value.country.len() != 2 || !is_jurisdiction(&value.country)) {
        invalid.add(&format!("{at}.country"), "must be a country code such as DE");
    }
    let role = match pb::PartyRole::try_from(value.role) {
        Ok(pb::PartyRole::Authority) => PartyRole::Authority,
        Ok(pb::PartyRole::Controller) => PartyRole::Controller,
        Ok(pb::PartyRole::DataProtectionOfficer) => PartyRole::DataProtectionOfficer,
        Ok(pb::PartyRole::JointController) => PartyRole::JointController,
        Ok(pb::PartyRole::Processor) => PartyRole::Processor,
        Ok(pb::PartyRole::Recipient) => PartyRole::Recipient,
        Ok(pb::PartyRole::Representative) => PartyRole::Representative,
        Ok(pb::PartyRole::ThirdParty) => PartyRole::ThirdParty,
        Ok(pb::PartyRole::Unspecified) | Err(_) => {
            invalid.add(&format!("{at}.role"), "must be a known role");
            return None;
        }
    };
    let country = value.country;
    let (id, name, address) = (id?, name?, address?);
    Some(Party { id, name, role, address, email: email?, phone: phone?, url: url?, country })
}

/// `message` with the record of `purpose`.
pub(super) fn with_record(message: pb::Purpose, purpose: &Purpose) -> pb::Purpose {
    let record = purpose.terms.record.clone();
    pb::Purpose {
        processing: record.processing,
        legal_basis_term: record.legal_basis_term,
        parties: record.parties.into_iter().map(party_message).collect(),
        storage_locations: record.storage_locations,
        storage_conditions: record.storage_conditions,
        retention_event: record.retention_event,
        withdrawal_method: record.withdrawal_method,
        data_source: record.data_source,
        processing_locations: record.processing_locations,
        geographic_restrictions: record.geographic_restrictions,
        rights: record.rights,
        service: record.service,
        codes_of_conduct: record.codes_of_conduct,
        impact_assessment: record.impact_assessment,
        optional_personal_data: record.optional_personal_data,
        material_change: purpose.terms.material_change,
        ..message
    }
}

fn party_message(party: Party) -> pb::Party {
    let role = match party.role {
        PartyRole::Authority => pb::PartyRole::Authority,
        PartyRole::Controller => pb::PartyRole::Controller,
        PartyRole::DataProtectionOfficer => pb::PartyRole::DataProtectionOfficer,
        PartyRole::JointController => pb::PartyRole::JointController,
        PartyRole::Processor => pb::PartyRole::Processor,
        PartyRole::Recipient => pb::PartyRole::Recipient,
        PartyRole::Representative => pb::PartyRole::Representative,
        PartyRole::ThirdParty => pb::PartyRole::ThirdParty,
    };
    pb::Party {
        party_id: party.id,
        name: party.name,
        role: role.into(),
        address: party.address,
        email: party.email,
        phone: party.phone,
        url: party.url,
        country: party.country,
    }
}
