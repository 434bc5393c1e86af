//! Requests, deferrals, revocations and invalidations on the wire.

use portal_core::Invalid;
use portal_proto::consent::v1 as pb;

use super::consents::{evidence, reason};
use super::delegation::delegation;
use super::{id, term};
use crate::app::acts::{Ask, Ending};
use crate::domain::delegation::StatedBy;
use crate::domain::language::Language;

pub(in crate::service) fn ask(request: &pb::RequestConsentRequest) -> Result<Ask, Invalid> {
    let mut invalid = Invalid::new();
    let subject = id(&mut invalid, "subject_id", &request.subject_id);
    let purpose = id(&mut invalid, "purpose_id", &request.purpose_id);
    let notice = id(&mut invalid, "notice_id", &request.notice_id);
    let language = invalid.check("language", Language::parse(&request.language));
    let valid_for = term(&mut invalid, "valid_for", request.valid_for);
    let ids = subject.zip(purpose).zip(notice).zip(language);
    invalid.finish(ids.map(|(((subject, purpose), notice), language)| Ask {
        subject,
        purpose,
        notice,
        language,
        valid_for,
    }))
}

pub(in crate::service) fn defer(
    request: pb::DeferConsentRequest,
    stated_by: StatedBy,
) -> Result<Ending, Invalid> {
    let mut invalid = Invalid::new();
    let delegation = delegation(&mut invalid, request.delegation, stated_by);
    let ending = about(&mut invalid, &request.subject_id, &request.purpose_id);
    invalid.finish(ending.map(|ending| Ending { delegation, ..ending }))
}

pub(in crate::service) fn revoke(request: pb::RevokeConsentRequest) -> Result<Ending, Invalid> {
    let mut invalid = Invalid::new();
    let ending = about(&mut invalid, &request.subject_id, &request.purpose_id);
    let reason = reason(&mut invalid, request.reason);
    let evidence = evidence(&mut invalid, request.evidence);
    invalid.finish(ending.map(|ending| Ending { reason, evidence, ..ending }))
}

pub(in crate::service) fn invalidate(request: pb::InvalidateConsentRequest) -> Result<Ending, Invalid> {
    let mut invalid = Invalid::new();
    let ending = about(&mut invalid, &request.subject_id, &request.purpose_id);
    if request.reason.is_empty() {
        invalid.add("reason", "must say what was found");
    }
    let reason = reason(&mut invalid, request.reason);
    let evidence = evidence(&mut invalid, request.evidence);
    invalid.finish(ending.map(|ending| Ending { reason, evidence, ..ending }))
}

fn about(invalid: &mut Invalid, subject_id: &str, purpose_id: &str) -> Option<Ending> {
    let subject = id(invalid, "subject_id", subject_id);
    let purpose = id(invalid, "purpose_id", purpose_id);
    let (subject, purpose) = subject.zip(purpose)?;
    Some(Ending { subject, purpose, reason: None, evidence: Vec::new(), delegation: None })
}
