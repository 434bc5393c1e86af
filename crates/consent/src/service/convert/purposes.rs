//! Purposes on the wire.

use std::time::Duration;

use portal_core::Invalid;
use portal_core::id::{Id, PurposeId};
use portal_mesh::convert::timestamp;
use portal_proto::consent::v1 as pb;
use prost::Message;

use super::record::{field, personal_data, record, terms, with_record};
use super::{duration_message, etag, id, revision, state, term, texts};
use crate::app::purposes::Target;
use crate::domain::purpose::{LegalBasis, Patch, Purpose, Terms};
use crate::domain::terms::{List, is_jurisdiction};
use crate::store::{View, Which};

pub(in crate::service) fn create(request: pb::CreatePurposeRequest) -> Result<Terms, Invalid> {
    let Some(purpose) = request.purpose else {
        return Err(Invalid::field("purpose", "must be set"));
    };
    let mut invalid = Invalid::new();
    let record = record(&mut invalid, &purpose);
    let mut fields = Fields { invalid: &mut invalid };
    let name = fields.display_name(purpose.display_name);
    let description = fields.description(purpose.description);
    let dpv_purposes = fields.dpv_purposes(purpose.dpv_purposes);
    let basis = fields.legal_basis(purpose.legal_basis);
    let personal_data = fields.personal_data(purpose.personal_data);
    let recipients = fields.recipients(purpose.recipients);
    let retention = fields.term("purpose.retention", purpose.retention);
    let validity = fields.term("purpose.validity", purpose.validity);
    let jurisdiction = fields.jurisdiction(purpose.jurisdiction);
    let parsed = name.zip(description).zip(basis.zip(jurisdiction)).map(
        |((display_name, description), (legal_basis, jurisdiction))| Terms {
            display_name,
            description,
            dpv_purposes,
            legal_basis,
            personal_data,
            special_category: purpose.special_category,
            recipients,
            retention,
            validity,
            jurisdiction,
            record,
            material_change: purpose.material_change,
        },
    );
    invalid.finish(parsed)
}

pub(in crate::service) fn update(request: pb::UpdatePurposeRequest) -> Result<(Target, Patch), Invalid> {
    let Some(purpose) = request.purpose else {
        return Err(Invalid::field("purpose", "must be set"));
    };
    let mut invalid = Invalid::new();
    let id = id(&mut invalid, "purpose.purpose_id", &purpose.purpose_id);
    let etag = etag(&mut invalid, "purpose.etag", &purpose.etag);
    let paths = request.update_mask.unwrap_or_default().paths;
    if paths.is_empty() {
        invalid.add("update_mask", "must name at least one field");
    }
    let mut fields = Fields { invalid: &mut invalid };
    let mut patch = Patch::default();
    for path in paths {
        let from = purpose.clone();
        match path.as_str() {
            "description" => patch.description = fields.description(from.description),
            "display_name" => patch.display_name = fields.display_name(from.display_name),
            "dpv_purposes" => patch.dpv_purposes = Some(fields.dpv_purposes(from.dpv_purposes)),
            "material_change" => patch.material_change = Some(from.material_change),
            "jurisdiction" => patch.jurisdiction = fields.jurisdiction(from.jurisdiction),
            "legal_basis" => patch.legal_basis = fields.legal_basis(from.legal_basis),
            "personal_data" => patch.personal_data = Some(fields.personal_data(from.personal_data)),
            "recipients" => patch.recipients = Some(fields.recipients(from.recipients)),
            "retention" => patch.retention = Some(fields.term("purpose.retention", from.retention)),
            "special_category" => patch.special_category = Some(from.special_category),
            "validity" => patch.validity = Some(fields.term("purpose.validity", from.validity)),
            path => match field(fields.invalid, path, &from) {
                Some(field) => patch.record.push(field),
                None => fields
                    .invalid
                    .add("update_mask", "must name fields of a purpose that a caller can change"),
            },
        }
    }
    invalid.finish(id.map(|id| (Target { id, etag }, patch)))
}

pub(in crate::service) fn target(purpose_id: &str, version: &str) -> Result<Target, Invalid> {
    let mut invalid = Invalid::new();
    let id = id(&mut invalid, "purpose_id", purpose_id);
    let etag = etag(&mut invalid, "etag", version);
    invalid.finish(id.map(|id| Target { id, etag }))
}

pub(in crate::service) fn get(
    request: &pb::GetPurposeRequest,
    sees_drafts: bool,
) -> Result<(PurposeId, Which), Invalid> {
    let mut invalid = Invalid::new();
    let id = id(&mut invalid, "purpose_id", &request.purpose_id);
    let which = which(&mut invalid, request.revision, sees_drafts);
    invalid.finish(id.zip(which))
}

/// Which revision a `revision` field means.
pub(super) fn which(invalid: &mut Invalid, revision: i32, sees_drafts: bool) -> Option<Which> {
    match invalid.check("revision", u32::try_from(revision).map_err(|_| "must not be negative"))? {
        0 if sees_drafts => Some(Which::Newest),
        0 => Some(Which::Published),
        revision => Some(Which::Revision(revision)),
    }
}

/// What a list with this `state` filter shows; `None` if the caller sees nothing of it.
pub(in crate::service) fn view(filter: i32, sees_drafts: bool) -> Result<Option<View>, Invalid> {
    let state = pb::State::try_from(filter).map_err(|_| Invalid::field("state", "must be a known state"))?;
    Ok(match (state, sees_drafts) {
        (pb::State::Unspecified, true) => Some(View::All),
        (pb::State::Unspecified, false) | (pb::State::Published, _) => Some(View::Published),
        (pb::State::Draft, true) => Some(View::Drafts),
        (pb::State::Archived, true) => Some(View::Archived),
        (pb::State::Draft | pb::State::Archived, false) => None,
    })
}

pub(in crate::service) fn message(purpose: &Purpose) -> pb::Purpose {
    let facts = purpose.life.facts();
    let terms = &purpose.terms;
    let message = pb::Purpose {
        purpose_id: purpose.id.to_string(),
        display_name: terms.display_name.clone(),
        description: terms.description.clone(),
        dpv_purposes: terms.dpv_purposes.clone(),
        legal_basis: basis_message(terms.legal_basis).into(),
        personal_data: terms.personal_data.clone(),
        special_category: terms.special_category,
        recipients: terms.recipients.clone(),
        retention: duration_message(terms.retention),
        validity: duration_message(terms.validity),
        jurisdiction: terms.jurisdiction.clone(),
        revision: revision(purpose.revision),
        state: state(purpose.state()).into(),
        etag: facts.version.to_string(),
        create_time: Some(timestamp(facts.created_at)),
        update_time: Some(timestamp(facts.updated_at)),
        ..pb::Purpose::default()
    };
    with_record(message, purpose)
}

pub(in crate::service) fn encode(purpose: &Purpose) -> Vec<u8> {
    message(purpose).encode_to_vec()
}

pub(in crate::service) fn position(id: PurposeId) -> [u8; 16] {
    id.uuid().into_bytes()
}

const fn basis_message(basis: LegalBasis) -> pb::LegalBasis {
    match basis {
        LegalBasis::Consent => pb::LegalBasis::Consent,
        LegalBasis::Contract => pb::LegalBasis::Contract,
        LegalBasis::ExplicitConsent => pb::LegalBasis::ExplicitConsent,
        LegalBasis::LegalObligation => pb::LegalBasis::LegalObligation,
        LegalBasis::LegitimateInterest => pb::LegalBasis::LegitimateInterest,
        LegalBasis::PublicInterest => pb::LegalBasis::PublicInterest,
        LegalBasis::VitalInterest => pb::LegalBasis::VitalInterest,
    }
}

/// The rules of each field of a purpose.
struct Fields<'a> {
    invalid: &'a mut Invalid,
}

impl Fields<'_> {
    fn display_name(&mut self, value: String) -> Option<String> {
        self.invalid.text("purpose.display_name", value, 1, 200)
    }

    fn description(&mut self, value: String) -> Option<String> {
        self.invalid.text("purpose.description", value, 0, 4_000)
    }

    fn dpv_purposes(&mut self, values: Vec<String>) -> Vec<String> {
        terms(self.invalid, "purpose.dpv_purposes", values, List::Purposes)
    }

    fn personal_data(&mut self, values: Vec<String>) -> Vec<String> {
        personal_data(self.invalid, "purpose.personal_data", values)
    }

    fn recipients(&mut self, values: Vec<String>) -> Vec<String> {
        texts(self.invalid, "purpose.recipients", values, 100, 200)
    }

    fn term(&mut self, field: &str, message: Option<prost_types::Duration>) -> Option<Duration> {
        term(self.invalid, field, message)
    }

    /// ISO 3166-1 alpha-2, or a subdivision of ISO 3166-2, by its form.
    fn jurisdiction(&mut self, value: String) -> Option<String> {
        if value.is_empty() || is_jurisdiction(&value) {
            return Some(value);
        }
        self.invalid.add("purpose.jurisdiction", "must be a country or subdivision code such as DE or US-CA");
        None
    }

    fn legal_basis(&mut self, value: i32) -> Option<LegalBasis> {
        match pb::LegalBasis::try_from(value) {
            Ok(pb::LegalBasis::Consent) => Some(LegalBasis::Consent),
            Ok(pb::LegalBasis::Contract) => Some(LegalBasis::Contract),
            Ok(pb::LegalBasis::ExplicitConsent) => Some(LegalBasis::ExplicitConsent),
            Ok(pb::LegalBasis::LegalObligation) => Some(LegalBasis::LegalObligation),
            Ok(pb::LegalBasis::LegitimateInterest) => Some(LegalBasis::LegitimateInterest),
            Ok(pb::LegalBasis::PublicInterest) => Some(LegalBasis::PublicInterest),
            Ok(pb::LegalBasis::VitalInterest) => Some(LegalBasis::VitalInterest),
            Ok(pb::LegalBasis::Unspecified) | Err(_) => {
                self.invalid.add("purpose.legal_basis", "must be a known legal basis");
                None
            }
        }
    }
}
