//! What stands in one column as JSON: the record of a purpose in the clear; delegations and what is known of subjects
//! sealed. The forms are the store's own: the domain does not know them.

use portal_core::id::{Id, PurposeId};
use portal_core::{Sensitive, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::delegation::{Delegation, Kind, StatedBy, Verification};
use crate::domain::record::{Party, PartyRole, Record};
use crate::domain::subject::{AgeBand, Details};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct RecordColumn {
    processing: Vec<String>,
    legal_basis_term: String,
    parties: Vec<PartyColumn>,
    storage_locations: Vec<String>,
    storage_conditions: String,
    retention_event: String,
    withdrawal_method: String,
    data_source: String,
    processing_locations: Vec<String>,
    geographic_restrictions: String,
    rights: Vec<String>,
    service: String,
    codes_of_conduct: Vec<String>,
    impact_assessment: String,
    optional_personal_data: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct PartyColumn {
    id: String,
    name: String,
    role: String,
    address: String,
    email: String,
    phone: String,
    url: String,
    country: String,
}

#[derive(Deserialize, Serialize)]
struct DelegationColumn {
    delegate: String,
    kind: String,
    verification: Option<String>,
    detail: Option<String>,
    purposes: Vec<String>,
    from: Option<i64>,
    until: Option<i64>,
    stated_by: String,
}

#[derive(Deserialize, Serialize)]
struct DetailsColumn {
    reference: String,
    categories: Vec<String>,
    age: Option<String>,
    jurisdictions: Vec<String>,
}

/// Strings and numbers can't fail to serialise.
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) fn record(record: &Record) -> String {
    let record = record.clone();
    let party = |party: Party| PartyColumn {
        id: party.id,
        name: party.name,
        role: party.role.name().to_owned(),
        address: party.address,
        email: party.email,
        phone: party.phone,
        url: party.url,
        country: party.country,
    };
    text(&RecordColumn {
        processing: record.processing,
        legal_basis_term: record.legal_basis_term,
        parties: record.parties.into_iter().map(party).collect(),
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
    })
}

/// The record in `json`; `None` if it is none.
pub(super) fn read_record(json: &str) -> Option<Record> {
    let column: RecordColumn = serde_json::from_str(json).ok()?;
    let party = |party: PartyColumn| {
        Some(Party {
            id: party.id,
            name: party.name,
            role: PartyRole::from_name(&party.role)?,
            address: party.address,
            email: party.email,
            phone: party.phone,
            url: party.url,
            country: party.country,
        })
    };
    Some(Record {
        processing: column.processing,
        legal_basis_term: column.legal_basis_term,
        parties: column.parties.into_iter().map(party).collect::<Option<_>>()?,
        storage_locations: column.storage_locations,
        storage_conditions: column.storage_conditions,
        retention_event: column.retention_event,
        withdrawal_method: column.withdrawal_method,
        data_source: column.data_source,
        processing_locations: column.processing_locations,
        geographic_restrictions: column.geographic_restrictions,
        rights: column.rights,
        service: column.service,
        codes_of_conduct: column.codes_of_conduct,
        impact_assessment: column.impact_assessment,
        optional_personal_data: column.optional_personal_data,
    })
}

pub(super) fn delegation(delegation: &Delegation) -> Sensitive<String> {
    Sensitive::new(text(&DelegationColumn {
        delegate: delegation.delegate.expose().clone(),
        kind: delegation.kind.name().to_owned(),
        verification: delegation.verification.map(|method| method.name().to_owned()),
        detail: delegation.detail.as_ref().map(|detail| detail.expose().clone()),
        purposes: delegation.purposes.iter().map(ToString::to_string).collect(),
        from: delegation.from.map(Timestamp::as_micros),
        until: delegation.until.map(Timestamp::as_micros),
        stated_by: delegation.stated_by.name().to_owned(),
    }))
}

/// The delegation in `json`; `None` if it is none.
pub(super) fn read_delegation(json: &str) -> Option<Delegation> {
    let column: DelegationColumn = serde_json::from_str(json).ok()?;
    let verification = match column.verification {
        Some(name) => Some(Verification::from_name(&name)?),
        None => None,
    };
    Some(Delegation {
        delegate: Sensitive::new(column.delegate),
        kind: Kind::from_name(&column.kind)?,
        verification,
        detail: column.detail.map(Sensitive::new),
        purposes: column.purposes.iter().map(|id| PurposeId::parse(id).ok()).collect::<Option<_>>()?,
        from: column.from.map(Timestamp::from_micros),
        until: column.until.map(Timestamp::from_micros),
        stated_by: StatedBy::from_name(&column.stated_by)?,
    })
}

pub(super) fn details(details: &Details) -> Sensitive<String> {
    Sensitive::new(text(&DetailsColumn {
        reference: details.reference.expose().clone(),
        categories: details.categories.clone(),
        age: details.age.map(|age| age.name().to_owned()),
        jurisdictions: details.jurisdictions.clone(),
    }))
}

/// The details in `json`; `None` if there are none.
pub(super) fn read_details(json: &str) -> Option<Details> {
    let column: DetailsColumn = serde_json::from_str(json).ok()?;
    let age = match column.age {
        Some(name) => Some(AgeBand::from_name(&name)?),
        None => None,
    };
    Some(Details {
        reference: Sensitive::new(column.reference),
        categories: column.categories,
        age,
        jurisdictions: column.jurisdictions,
    })
}
