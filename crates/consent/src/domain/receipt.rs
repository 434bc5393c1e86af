//! The parts of a receipt's record, from what the service knows.
//!
//! Places are told in DPV terms. Of whoever decides for a subject a receipt has a name of its own, and a hash of what was
//! said of them: so the ledger commits to all of it, and a receipt that is passed on tells of nobody else.

use portal_core::id::{ReceiptId, SubjectId};
use portal_receipt::record::{self, IndicatedBy};

use super::canonical;
use crate::domain::consent::{Event, Evidence, Indication};
use crate::domain::delegation::{Delegation, Kind, StatedBy, Verification};
use crate::domain::purpose::{LegalBasis, Terms};
use crate::domain::record::{Party, PartyRole};
use crate::domain::status::Status;
use crate::domain::subject::{AgeBand, Details};

/// The person, with what is known of them.
pub(crate) fn subject(id: SubjectId, known: Option<&Details>) -> record::Subject {
    let Some(known) = known else {
        return record::Subject { id, categories: Vec::new(), jurisdictions: Vec::new() };
    };
    let mut categories = known.categories.clone();
    let age = known.age.map(|age| if age == AgeBand::Adult { "dpv:Adult" } else { "dpv:Child" });
    if let Some(age) = age.filter(|age| !categories.iter().any(|category| category == age)) {
        categories.push(age.to_owned());
    }
    record::Subject { id, categories, jurisdictions: places(&known.jurisdictions) }
}

pub(crate) fn event(event: &Event) -> record::Event {
    record::Event {
        sequence: event.sequence,
        previous: status_of(event.previous),
        status: status_of(event.status),
        event_at: event.event_at,
        recorded_at: event.recorded_at,
        expires_at: event.expires_at,
        indication: event.method.map(indication_of),
        indicated_by: side_of(event),
        recorded_by: Some(event.actor.clone()),
    }
}

/// Whose act the event is.
const fn side_of(event: &Event) -> IndicatedBy {
    match (&event.delegation, event.status) {
        (Some(_), _) => IndicatedBy::Delegate,
        (
            None,
            Status::Given
            | Status::Refused
            | Status::RenewedGiven
            | Status::RequestDeferred
            | Status::Withdrawn,
        ) => IndicatedBy::Subject,
        (None, Status::Invalidated | Status::Requested | Status::Revoked) => IndicatedBy::Controller,
        (None, Status::Expired | Status::Unknown) => IndicatedBy::Rule,
    }
}

const fn status_of(status: Status) -> record::Status {
    match status {
        Status::Expired => record::Status::Expired,
        Status::Given => record::Status::Given,
        Status::Invalidated => record::Status::Invalidated,
        Status::Refused => record::Status::Refused,
        Status::RenewedGiven => record::Status::RenewedGiven,
        Status::RequestDeferred => record::Status::RequestDeferred,
        Status::Requested => record::Status::Requested,
        Status::Revoked => record::Status::Revoked,
        Status::Unknown => record::Status::Unknown,
        Status::Withdrawn => record::Status::Withdrawn,
    }
}

const fn indication_of(method: Indication) -> record::Indication {
    match method {
        Indication::AutomatedSignal => record::Indication::AutomatedSignal,
        Indication::Button => record::Indication::Button,
        Indication::Checkbox => record::Indication::Checkbox,
        Indication::ExplicitStatement => record::Indication::ExplicitStatement,
        Indication::Signature => record::Indication::Signature,
        Indication::Spoken => record::Indication::Spoken,
        Indication::Written => record::Indication::Written,
    }
}

/// What a purpose says.
pub(crate) fn terms(terms: &Terms) -> record::Terms {
    let record = &terms.record;
    let basis = match record.legal_basis_term.as_str() {
        "" => basis_of(terms.legal_basis),
        exact => exact,
    };
    record::Terms {
        name: terms.display_name.clone(),
        purposes: terms.dpv_purposes.clone(),
        legal_basis: basis.to_owned(),
        personal_data: terms.personal_data.clone(),
        special_category: terms.special_category,
        processing: record.processing.clone(),
        recipients: terms.recipients.clone(),
        storage: places(&record.storage_locations),
        retention: terms.retention,
        jurisdictions: said(&terms.jurisdiction).map(|text| place(&text)).into_iter().collect(),
        withdrawal: said(&record.withdrawal_method),
        retention_event: said(&record.retention_event),
        storage_conditions: said(&record.storage_conditions),
        data_source: said(&record.data_source),
        processing_locations: places(&record.processing_locations),
        restrictions: said(&record.geographic_restrictions),
        rights: record.rights.clone(),
        service: said(&record.service),
        codes_of_conduct: record.codes_of_conduct.clone(),
        impact_assessment: said(&record.impact_assessment),
        optional_personal_data: record.optional_personal_data.clone(),
    }
}

/// An organisation or office.
pub(crate) fn party(party: &Party) -> record::Party {
    record::Party {
        id: party.id.clone(),
        role: role_of(party.role).to_owned(),
        name: party.name.clone(),
        address: said(&party.address),
        contact: None,
        email: said(&party.email),
        phone: said(&party.phone),
        url: said(&party.url),
        country: said(&party.country).map(|text| place(&text)),
    }
}

const fn role_of(role: PartyRole) -> &'static str {
    match role {
        PartyRole::Authority => "dpv:Authority",
        PartyRole::Controller => "dpv:DataController",
        PartyRole::DataProtectionOfficer => "dpv:DataProtectionOfficer",
        PartyRole::JointController => "dpv:JointDataControllers",
        PartyRole::Processor => "dpv:DataProcessor",
        PartyRole::Recipient => "dpv:Recipient",
        PartyRole::Representative => "dpv:Representative",
        PartyRole::ThirdParty => "dpv:ThirdParty",
    }
}

/// Who decided for the subject, as the receipt `of` the event has them.
pub(crate) fn delegation(of: ReceiptId, delegation: &Delegation) -> record::Delegation {
    let kind = match delegation.kind {
        Kind::Guardian => "dpv:GuardianOfDataSubject",
        Kind::Representative => "dpv:Representative",
    };
    record::Delegation {
        kind: kind.to_owned(),
        delegate: record::Delegation::pseudonym(of, delegation.delegate.expose()),
        verified: delegation.verification.is_some() && delegation.stated_by == StatedBy::Controller,
        expires_at: delegation.until,
        verified_by: delegation.verification.map(Verification::name).map(str::to_owned),
        content_hash: Some(canonical::delegation_hash(of, delegation)),
    }
}

const fn basis_of(basis: LegalBasis) -> &'static str {
    match basis {
        LegalBasis::Consent => "dpv:Consent",
        LegalBasis::Contract => "dpv:Contract",
        LegalBasis::ExplicitConsent => "dpv:ExplicitlyExpressedConsent",
        LegalBasis::LegalObligation => "dpv:LegalObligation",
        LegalBasis::LegitimateInterest => "dpv:LegitimateInterest",
        LegalBasis::PublicInterest => "dpv:PublicInterest",
        LegalBasis::VitalInterest => "dpv:VitalInterest",
    }
}

/// A document that is kept as proof.
pub(crate) fn evidence(evidence: &Evidence) -> record::Evidence {
    record::Evidence {
        kind: evidence.kind.name().to_owned(),
        media_type: evidence.media_type.clone(),
        content_hash: evidence.content_hash,
    }
}

/// A country or subdivision as DPV has it; terms are as they are.
fn place(text: &str) -> String {
    if text.contains(':') { text.to_owned() } else { format!("loc:{text}") }
}

fn places(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| place(text)).collect()
}

fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
