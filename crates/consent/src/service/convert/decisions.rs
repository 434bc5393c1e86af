//! Decisions on the wire.

use portal_core::{Invalid, Timestamp};
use portal_mesh::convert::{parse_timestamp, timestamp};
use portal_proto::consent::v1 as pb;

use super::consents::status_message;
use super::{id, texts};
use crate::domain::decision::{Answer, Question, Reason};

const MAX_QUESTIONS: usize = 1_000;

/// One question, asked at `now`.
pub(in crate::service) fn question(
    request: pb::CheckConsentRequest,
    now: Timestamp,
) -> Result<Question, Invalid> {
    let mut invalid = Invalid::new();
    let question = parse(&mut invalid, "", request, now);
    invalid.finish(question)
}

/// Several questions, asked at `now`.
pub(in crate::service) fn questions(
    request: pb::BatchCheckConsentsRequest,
    now: Timestamp,
) -> Result<Vec<Question>, Invalid> {
    if request.requests.len() > MAX_QUESTIONS {
        return Err(Invalid::field("requests", format_args!("must have at most {MAX_QUESTIONS} items")));
    }
    let mut invalid = Invalid::new();
    let questions = (0..)
        .zip(request.requests)
        .filter_map(|(index, request): (usize, _)| {
            parse(&mut invalid, &format!("requests[{index}]."), request, now)
        })
        .collect();
    invalid.finish(Some(questions))
}

fn parse(
    invalid: &mut Invalid,
    prefix: &str,
    request: pb::CheckConsentRequest,
    now: Timestamp,
) -> Option<Question> {
    let path = |field: &str| format!("{prefix}{field}");
    let subject = id(invalid, &path("subject_id"), &request.subject_id);
    let purpose = id(invalid, &path("purpose_id"), &request.purpose_id);
    let personal_data = texts(invalid, &path("personal_data"), request.personal_data, 100, 200);
    let recipient = invalid.text(&path("recipient"), request.recipient, 0, 200)?;
    let at = match request.at {
        None => now,
        Some(at) => invalid.check(&path("at"), parse_timestamp(at))?,
    };
    if at > now {
        invalid.add(&path("at"), "must not be in the future");
    }
    let recipient = Some(recipient).filter(|recipient| !recipient.is_empty());
    subject.zip(purpose).map(|(subject, purpose)| Question { subject, purpose, personal_data, recipient, at })
}

pub(in crate::service) fn message(answer: &Answer) -> pb::CheckConsentResponse {
    let decision = if answer.reason.permits() { pb::Decision::Permit } else { pb::Decision::Deny };
    pb::CheckConsentResponse {
        decision: decision.into(),
        reason: reason_message(answer.reason).into(),
        consent_id: answer.consent.map(|id| id.to_string()).unwrap_or_default(),
        status: status_message(answer.status).into(),
        expire_time: answer.expires_at.map(timestamp),
        ledger_index: None,
    }
}

const fn reason_message(reason: Reason) -> pb::Reason {
    match reason {
        Reason::ConsentExpired => pb::Reason::ConsentExpired,
        Reason::ConsentGiven => pb::Reason::ConsentGiven,
        Reason::ConsentInvalidated => pb::Reason::ConsentInvalidated,
        Reason::ConsentRefused => pb::Reason::ConsentRefused,
        Reason::ConsentRequested => pb::Reason::ConsentRequested,
        Reason::ConsentRevoked => pb::Reason::ConsentRevoked,
        Reason::ConsentWithdrawn => pb::Reason::ConsentWithdrawn,
        Reason::NoConsent => pb::Reason::NoConsent,
        Reason::NotYetGiven => pb::Reason::NotYetGiven,
        Reason::PersonalDataNotCovered => pb::Reason::PersonalDataNotCovered,
        Reason::PurposeArchived => pb::Reason::PurposeArchived,
        Reason::PurposeUnknown => pb::Reason::PurposeUnknown,
        Reason::RecipientNotCovered => pb::Reason::RecipientNotCovered,
        Reason::RecordCorrupt => pb::Reason::RecordCorrupt,
        Reason::RevisionOutdated => pb::Reason::RevisionOutdated,
    }
}
