//! Subjects on the wire.

use portal_core::id::{Id, SubjectId};
use portal_core::{Invalid, Sensitive};
use portal_mesh::convert::timestamp;
use portal_proto::consent::v1 as pb;
use prost::Message;

use super::optional_id;
use super::record::{each, terms};
use crate::domain::subject::{AgeBand, Details, Subject};
use crate::domain::terms::{List, is_jurisdiction};

/// The etag of every subject: it is written once.
const ETAG: &str = "1";

pub(in crate::service) fn create(
    request: pb::CreateSubjectRequest,
) -> Result<(Option<SubjectId>, Details), Invalid> {
    let Some(subject) = request.subject else {
        return Err(Invalid::field("subject", "must be set"));
    };
    let mut invalid = Invalid::new();
    let id = optional_id(&mut invalid, "subject.subject_id", &subject.subject_id);
    // Who has an account is found by its id.
    let least = usize::from(subject.subject_id.is_empty());
    let reference = invalid.text("subject.reference", subject.reference, least, 256);
    let categories = terms(&mut invalid, "subject.categories", subject.categories, List::SubjectCategories);
    let age = match pb::AgeBand::try_from(subject.age_band) {
        Ok(age) => age_of(age),
        Err(_) => {
            invalid.add("subject.age_band", "must be a known age band");
            None
        }
    };
    let must = (20, "must be a country or subdivision code such as DE or US-CA");
    let jurisdictions =
        each(&mut invalid, "subject.jurisdictions", subject.jurisdictions, must, is_jurisdiction);
    let details = reference.map(|reference| Details {
        reference: Sensitive::new(reference),
        categories,
        age,
        jurisdictions,
    });
    invalid.finish(id.zip(details))
}

pub(in crate::service) fn subject_id(text: &str) -> Result<SubjectId, Invalid> {
    SubjectId::parse(text).map_err(|error| Invalid::field("subject_id", error))
}

pub(in crate::service) fn reference(text: String) -> Result<String, Invalid> {
    let mut invalid = Invalid::new();
    let reference = invalid.text("reference", text, 1, 256);
    invalid.finish(reference)
}

pub(in crate::service) fn message(subject: &Subject) -> pb::Subject {
    let details = &subject.details;
    pb::Subject {
        subject_id: subject.id.to_string(),
        reference: details.reference.expose().clone(),
        categories: details.categories.clone(),
        age_band: age_message(details.age).into(),
        jurisdictions: details.jurisdictions.clone(),
        etag: ETAG.to_owned(),
        create_time: Some(timestamp(subject.created_at)),
        update_time: Some(timestamp(subject.created_at)),
    }
}

pub(in crate::service) fn encode(subject: &Subject) -> Vec<u8> {
    message(subject).encode_to_vec()
}

pub(in crate::service) fn position(id: SubjectId) -> [u8; 16] {
    id.uuid().into_bytes()
}

const fn age_of(age: pb::AgeBand) -> Option<AgeBand> {
    match age {
        pb::AgeBand::Unspecified => None,
        pb::AgeBand::Adult => Some(AgeBand::Adult),
        pb::AgeBand::AgeBand13 => Some(AgeBand::Thirteen),
        pb::AgeBand::AgeBand14 => Some(AgeBand::Fourteen),
        pb::AgeBand::AgeBand15 => Some(AgeBand::Fifteen),
        pb::AgeBand::AgeBand16To17 => Some(AgeBand::SixteenToSeventeen),
        pb::AgeBand::Child => Some(AgeBand::Child),
        pb::AgeBand::Under13 => Some(AgeBand::UnderThirteen),
    }
}

const fn age_message(age: Option<AgeBand>) -> pb::AgeBand {
    match age {
        None => pb::AgeBand::Unspecified,
        Some(AgeBand::Adult) => pb::AgeBand::Adult,
        Some(AgeBand::Child) => pb::AgeBand::Child,
        Some(AgeBand::Fifteen) => pb::AgeBand::AgeBand15,
        Some(AgeBand::Fourteen) => pb::AgeBand::AgeBand14,
        Some(AgeBand::SixteenToSeventeen) => pb::AgeBand::AgeBand16To17,
        Some(AgeBand::Thirteen) => pb::AgeBand::AgeBand13,
        Some(AgeBand::UnderThirteen) => pb::AgeBand::Under13,
    }
}
