//! Decisions on the wire.

use portal_core::{Invalid, Timestamp};
use portal_mesh::convert::{parse_timestamp, timestamp};
use portal_proto::consent::v1 as pb;

use super::consents::{self, status_message};
use super::{id, texts};
use crate::app::consents::Words;
use crate::app::decisions::Explained;
use crate::domain::decision::{Question, Reason};
use crate::domain::snapshot::Answered;

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

/// The question that is to be explained, asked at `now`.
pub(in crate::service) fn explained(
    request: pb::ExplainDecisionRequest,
    now: Timestamp,
) -> Result<Question, Invalid> {
    let Some(request) = request.request else { return Err(Invalid::field("request", "must be set")) };
    let mut invalid = Invalid::new();
    let question = parse(&mut invalid, "request.", request, now);
    invalid.finish(question)
}

pub(in crate::service) fn explanation(explained: Explained) -> pb::ExplainDecisionResponse {
    let Explained { answered, events } = explained;
    let events = events.into_iter().map(|listed| consents::event(listed, Words::Withheld));
    pb::ExplainDecisionResponse {
        response: Some(message(&answered)),
        rule: rule(answered.answer.reason).to_owned(),
        events: events.collect(),
    }
}

/// A place in the ledger as messages have it.
pub(in crate::service) fn ledger_index(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

pub(in crate::service) fn message(answered: &Answered) -> pb::CheckConsentResponse {
    let Answered { answer, position } = answered;
    let decision = if answer.reason.permits() { pb::Decision::Permit } else { pb::Decision::Deny };
    pb::CheckConsentResponse {
        decision: decision.into(),
        reason: reason_message(answer.reason).into(),
        consent_id: answer.consent.map(|id| id.to_string()).unwrap_or_default(),
        status: status_message(answer.status).into(),
        expire_time: answer.expires_at.map(timestamp),
        ledger_index: position.map(ledger_index),
    }
}

/// The rule that led to an answer, in a sentence.
const fn rule(reason: Reason) -> &'static str {
    match reason {
        Reason::ConsentExpired => {
            "A consent ends when its time is over: this one ended before the asked time."
        }
        Reason::ConsentGiven => {
            "Data may be used if a consent is in force at the asked time, and the revision of the purpose that it was \
             given to covers the data and the recipient: all of that holds."
        }
        Reason::ConsentInvalidated => "A consent that was found not to have been valid permits nothing.",
        Reason::ConsentRefused => "The subject was asked and refused: nothing is permitted.",
        Reason::ConsentRequested => "Who was asked and has not answered has permitted nothing.",
        Reason::ConsentRevoked => {
            "A consent that was ended by somebody other than its subject permits nothing."
        }
        Reason::ConsentWithdrawn => "The subject took the consent back: from then on nothing is permitted.",
        Reason::NoConsent => {
            "Nothing is permitted without a consent: there is none of this subject to this purpose."
        }
        Reason::NotYetGiven => "A consent does not reach back: at the asked time nothing had been recorded.",
        Reason::PersonalDataNotCovered => {
            "A consent covers the data that its revision of the purpose names: the asked data is not among it."
        }
        Reason::PurposeArchived => "For a purpose that is archived no data is used any more.",
        Reason::PurposeUnknown => "A purpose that was not published by the asked time permits nothing.",
        Reason::RecipientNotCovered => {
            "A consent covers the recipients that its revision of the purpose names: the asked one is not among them."
        }
        Reason::RecordCorrupt => "A record that is not what was written permits nothing.",
        Reason::RevisionOutdated => {
            "After a revision that changed the terms, consent is needed again: there is none to the new terms."
        }
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
