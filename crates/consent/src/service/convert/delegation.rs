//! Who decides for a subject, on the wire.

use portal_core::id::PurposeId;
use portal_core::{Invalid, Sensitive};
use portal_mesh::Permit;
use portal_mesh::convert::{parse_timestamp, timestamp};
use portal_mesh::policy::Action;
use portal_proto::consent::v1 as pb;

use super::id;
use crate::domain::delegation::{Delegation, Kind, StatedBy, Verification};

const MAX_PURPOSES: usize = 100;

/// Who says who decides: whoever records for everybody does it for the controller, others for themselves.
pub(in crate::service) fn stated_by<A: Action>(permit: &Permit<A>) -> StatedBy {
    if permit.only().is_none() { StatedBy::Controller } else { StatedBy::Subject }
}

/// The delegation in the field `delegation`, if there is one.
pub(in crate::service) fn delegation(
    invalid: &mut Invalid,
    value: Option<pb::Delegation>,
    stated_by: StatedBy,
) -> Option<Delegation> {
    let value = value?;
    let delegate = invalid.text("delegation.delegate_id", value.delegate_id, 1, 256);
    let kind = match pb::DelegationKind::try_from(value.kind) {
        Ok(pb::DelegationKind::Guardian) => Some(Kind::Guardian),
        Ok(pb::DelegationKind::Representative) => Some(Kind::Representative),
        Ok(pb::DelegationKind::Unspecified) | Err(_) => {
            invalid.add("delegation.kind", "must be a known kind of delegation");
            None
        }
    };
    let verification = verification(invalid, value.verification);
    let detail = invalid.text("delegation.verification_detail", value.verification_detail, 0, 500);
    let purposes = purposes(invalid, &value.purpose_ids);
    let mut time = |field: &str, value: Option<prost_types::Timestamp>| {
        value.and_then(|value| invalid.check(field, parse_timestamp(value)))
    };
    let from = time("delegation.valid_from", value.valid_from);
    let until = time("delegation.valid_until", value.valid_until);
    if from.zip(until).is_some_and(|(from, until)| until <= from) {
        invalid.add("delegation.valid_until", "must be after valid_from");
    }
    Some(Delegation {
        delegate: Sensitive::new(delegate?),
        kind: kind?,
        verification,
        detail: detail.filter(|text| !text.is_empty()).map(Sensitive::new),
        purposes,
        from,
        until,
        stated_by,
    })
}

fn verification(invalid: &mut Invalid, value: i32) -> Option<Verification> {
    match pb::VerificationMethod::try_from(value) {
        Ok(pb::VerificationMethod::Unspecified) => None,
        Ok(pb::VerificationMethod::Document) => Some(Verification::Document),
        Ok(pb::VerificationMethod::ElectronicId) => Some(Verification::ElectronicId),
        Ok(pb::VerificationMethod::InPerson) => Some(Verification::InPerson),
        Ok(pb::VerificationMethod::OfficialDecision) => Some(Verification::OfficialDecision),
        Ok(pb::VerificationMethod::Payment) => Some(Verification::Payment),
        Err(_) => {
            invalid.add("delegation.verification", "must be a known method");
            None
        }
    }
}

fn purposes(invalid: &mut Invalid, values: &[String]) -> Vec<PurposeId> {
    const FIELD: &str = "delegation.purpose_ids";
    if values.len() > MAX_PURPOSES {
        invalid.add(FIELD, format_args!("must have at most {MAX_PURPOSES} items"));
        return Vec::new();
    }
    let ids = values.iter().enumerate();
    ids.filter_map(|(index, text)| id(invalid, &format!("{FIELD}[{index}]"), text)).collect()
}

pub(super) fn message(delegation: Delegation) -> pb::Delegation {
    let kind = match delegation.kind {
        Kind::Guardian => pb::DelegationKind::Guardian,
        Kind::Representative => pb::DelegationKind::Representative,
    };
    let verification = match delegation.verification {
        None => pb::VerificationMethod::Unspecified,
        Some(Verification::Document) => pb::VerificationMethod::Document,
        Some(Verification::ElectronicId) => pb::VerificationMethod::ElectronicId,
        Some(Verification::InPerson) => pb::VerificationMethod::InPerson,
        Some(Verification::OfficialDecision) => pb::VerificationMethod::OfficialDecision,
        Some(Verification::Payment) => pb::VerificationMethod::Payment,
    };
    pb::Delegation {
        delegate_id: delegation.delegate.expose().clone(),
        kind: kind.into(),
        verification: verification.into(),
        verification_detail: delegation.detail.map(|detail| detail.expose().clone()).unwrap_or_default(),
        purpose_ids: delegation.purposes.iter().map(ToString::to_string).collect(),
        valid_from: delegation.from.map(timestamp),
        valid_until: delegation.until.map(timestamp),
    }
}
