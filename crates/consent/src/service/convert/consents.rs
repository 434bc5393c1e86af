//! Consents and their events on the wire.

use portal_core::id::{ConsentId, EventId, Id, SubjectId};
use portal_core::{Invalid, Sensitive, Timestamp};
use portal_crypto::hash::sha384;
use portal_mesh::caller::VIA;
use portal_mesh::convert::{parse_timestamp, timestamp};
use portal_proto::consent::v1 as pb;
use prost::Message;

use super::decisions::ledger_index;
use super::delegation::delegation;
use super::{id, optional_id, revision, term};
use crate::app::consents::{Decide, Listed, Seen, Withdraw, Withdrawn, Words};
use crate::domain::consent::{Evidence, EvidenceKind, Indication};
use crate::domain::delegation::{Delegation, StatedBy};
use crate::domain::language::Language;
use crate::domain::past::When;
use crate::domain::status::Status;
use crate::store::consents::Filter;
use crate::store::events::EventsOf;
use crate::store::{ConsentPosition, EventPosition};

const MAX_EVIDENCE: usize = 8;
const MAX_EVIDENCE_BYTES: usize = 1 << 20;
const MAX_REASON: usize = 2_000;

/// Whose consents are withdrawn, why, and by whom.
type WithdrawAll = (SubjectId, (Option<Sensitive<String>>, Option<Delegation>));

/// The fields that giving and refusing share.
pub(in crate::service) struct Decision<'a> {
    pub(in crate::service) subject_id: &'a str,
    pub(in crate::service) purpose_id: &'a str,
    pub(in crate::service) notice_id: &'a str,
    pub(in crate::service) language: &'a str,
    pub(in crate::service) method: i32,
    pub(in crate::service) evidence: Vec<pb::Evidence>,
    pub(in crate::service) valid_for: Option<prost_types::Duration>,
    pub(in crate::service) delegation: Option<pb::Delegation>,
    pub(in crate::service) stated_by: StatedBy,
}

impl Decision<'_> {
    pub(in crate::service) fn parse(self) -> Result<Decide, Invalid> {
        let mut invalid = Invalid::new();
        let subject = id(&mut invalid, "subject_id", self.subject_id);
        let purpose = id(&mut invalid, "purpose_id", self.purpose_id);
        let notice = id(&mut invalid, "notice_id", self.notice_id);
        let language = invalid.check("language", Language::parse(self.language));
        let indication = method(&mut invalid, self.method);
        if indication == Some(None) {
            invalid.add("method", "must be set");
        }
        let evidence = evidence(&mut invalid, self.evidence);
        let valid_for = term(&mut invalid, "valid_for", self.valid_for);
        let delegation = delegation(&mut invalid, self.delegation, self.stated_by);
        let ids = subject.zip(purpose).zip(notice);
        let command = ids.zip(language.zip(indication.flatten())).map(
            |(((subject, purpose), notice), (language, method))| Decide {
                subject,
                purpose,
                notice,
                language,
                method,
                evidence,
                valid_for,
                delegation,
            },
        );
        invalid.finish(command)
    }
}

pub(in crate::service) fn withdraw(
    request: pb::WithdrawConsentRequest,
    stated_by: StatedBy,
) -> Result<Withdraw, Invalid> {
    let mut invalid = Invalid::new();
    let subject = id(&mut invalid, "subject_id", &request.subject_id);
    let purpose = id(&mut invalid, "purpose_id", &request.purpose_id);
    let reason = reason(&mut invalid, request.reason);
    let method = method(&mut invalid, request.method);
    let evidence = evidence(&mut invalid, request.evidence);
    let delegation = delegation(&mut invalid, request.delegation, stated_by);
    let command = subject.zip(purpose).zip(method).map(|((subject, purpose), method)| Withdraw {
        subject,
        purpose,
        method,
        reason,
        evidence,
        delegation,
    });
    invalid.finish(command)
}

pub(in crate::service) fn withdraw_all(
    request: pb::WithdrawAllConsentsRequest,
    stated_by: StatedBy,
) -> Result<WithdrawAll, Invalid> {
    let mut invalid = Invalid::new();
    let subject = id(&mut invalid, "subject_id", &request.subject_id);
    let reason = reason(&mut invalid, request.reason);
    let delegation = delegation(&mut invalid, request.delegation, stated_by);
    invalid.finish(subject.map(|subject| (subject, (reason, delegation))))
}

/// The consent that is asked for, and the time if it is not now.
pub(in crate::service) fn asked(
    request: &pb::GetConsentRequest,
    now: Timestamp,
) -> Result<(ConsentId, Option<When>), Invalid> {
    let mut invalid = Invalid::new();
    let id = id(&mut invalid, "consent_id", &request.consent_id);
    let when = when(&mut invalid, (request.at, request.as_of), now);
    invalid.finish(id.zip(when))
}

/// The time that is asked for, if it is not now.
fn when(
    invalid: &mut Invalid,
    (at, as_of): (Option<prost_types::Timestamp>, Option<prost_types::Timestamp>),
    now: Timestamp,
) -> Option<Option<When>> {
    let mut parse = |field: &str, time: Option<prost_types::Timestamp>| {
        let Some(time) = time else { return Some(None) };
        let time = invalid.check(field, parse_timestamp(time))?;
        if time > now {
            invalid.add(field, "must not be in the future");
        }
        Some(Some(time))
    };
    Some(match parse("at", at).zip(parse("as_of", as_of))? {
        (None, None) => None,
        (at, as_of) => {
            let recorded = as_of.unwrap_or(now);
            Some(When { decided: at.unwrap_or(recorded), recorded })
        }
    })
}

pub(in crate::service) fn filter(
    request: &pb::ListConsentsRequest,
    now: Timestamp,
) -> Result<(Filter, Option<When>), Invalid> {
    let mut invalid = Invalid::new();
    let subject = optional_id(&mut invalid, "subject_id", &request.subject_id);
    let purpose = optional_id(&mut invalid, "purpose_id", &request.purpose_id);
    let status = pb::ConsentStatus::try_from(request.status).map_err(|_| "must be a known status");
    let status = invalid.check("status", status);
    let when = when(&mut invalid, (request.at, request.as_of), now);
    let filter = subject.zip(purpose).zip(status).map(|((subject, purpose), status)| Filter {
        subject,
        purpose,
        status: status_of(status),
    });
    invalid.finish(filter.zip(when))
}

pub(in crate::service) fn events_of(request: &pb::ListConsentEventsRequest) -> Result<EventsOf, Invalid> {
    let mut invalid = Invalid::new();
    let consent = optional_id(&mut invalid, "consent_id", &request.consent_id);
    let subject = optional_id(&mut invalid, "subject_id", &request.subject_id);
    let of = match consent.zip(subject) {
        Some((Some(consent), None)) => Some(EventsOf::Consent(consent)),
        Some((None, Some(subject))) => Some(EventsOf::Subject(subject)),
        Some((None, None) | (Some(_), Some(_))) => {
            invalid.add("consent_id", "must be set if and only if subject_id is not");
            None
        }
        None => None,
    };
    invalid.finish(of)
}

pub(in crate::service) fn message(seen: &Seen) -> pb::Consent {
    let facts = seen.consent.facts();
    pb::Consent {
        consent_id: facts.id.to_string(),
        subject_id: facts.subject.to_string(),
        purpose_id: facts.purpose.to_string(),
        notice_id: facts.basis.notice.to_string(),
        notice_revision: revision(facts.basis.notice_revision),
        status: status_message(seen.consent.status_at(seen.at)).into(),
        event_time: Some(timestamp(facts.event_at)),
        record_time: Some(timestamp(facts.recorded_at)),
        expire_time: facts.expires_at.map(timestamp),
        etag: facts.version.to_string(),
        purpose_revision: revision(facts.basis.purpose_revision),
    }
}

pub(in crate::service) fn reply(seen: &Seen) -> pb::ConsentReply {
    let receipt_id = seen.event.map(|id| id.to_string()).unwrap_or_default();
    pb::ConsentReply { consent: Some(message(seen)), receipt_id }
}

pub(in crate::service) fn encode(seen: &Seen) -> Vec<u8> {
    reply(seen).encode_to_vec()
}

pub(in crate::service) fn replies(withdrawn: &Withdrawn) -> pb::WithdrawAllConsentsResponse {
    pb::WithdrawAllConsentsResponse { replies: withdrawn.consents.iter().map(reply).collect() }
}

/// What is kept of a reply beside the message itself, which does not have it: decoded as that message it is not seen.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::service) struct BesideReply {
    /// Far beyond the numbers of fields that the message may get.
    #[prost(uint64, tag = "100000")]
    withheld: u64,
}

impl BesideReply {
    /// How many rows were withheld from the reply that was kept.
    pub(in crate::service) fn withheld(&self) -> usize {
        usize::try_from(self.withheld).unwrap_or(usize::MAX)
    }
}

/// The reply as it is kept, with how many rows were withheld: a repeated request is told so too.
pub(in crate::service) fn kept_replies(withdrawn: &Withdrawn) -> Vec<u8> {
    let mut kept = replies(withdrawn).encode_to_vec();
    let withheld = u64::try_from(withdrawn.withheld).unwrap_or(u64::MAX);
    kept.extend(BesideReply { withheld }.encode_to_vec());
    kept
}

/// A step of history; the subject's own words only for those who may read them.
pub(in crate::service) fn event(listed: Listed, words: Words) -> pb::ConsentEvent {
    let Listed { event, position, has_receipt } = listed;
    let receipt_id = if has_receipt { event.id.to_string() } else { String::new() };
    let (actor_id, actor_client_id) = match event.actor.split_once(VIA) {
        Some((account, client)) => (account.to_owned(), client.to_owned()),
        None => (event.actor, String::new()),
    };
    let reason = event.reason.filter(|_| words == Words::Shown).map(|reason| reason.expose().clone());
    pb::ConsentEvent {
        event_id: event.id.to_string(),
        consent_id: event.consent.to_string(),
        subject_id: event.subject.to_string(),
        purpose_id: event.purpose.to_string(),
        purpose_revision: revision(event.basis.purpose_revision),
        notice_id: event.basis.notice.to_string(),
        notice_revision: revision(event.basis.notice_revision),
        language: event.language.map(|language| language.to_string()).unwrap_or_default(),
        previous_status: status_message(event.previous).into(),
        status: status_message(event.status).into(),
        method: method_message(event.method).into(),
        reason: reason.unwrap_or_default(),
        actor_id,
        event_time: Some(timestamp(event.event_at)),
        record_time: Some(timestamp(event.recorded_at)),
        expire_time: event.expires_at.map(timestamp),
        ledger_index: position.map(ledger_index),
        receipt_id,
        delegation: event.delegation.filter(|_| words == Words::Shown).map(super::delegation::message),
        actor_client_id,
    }
}

pub(in crate::service) fn status_message(status: Status) -> pb::ConsentStatus {
    match status {
        Status::Expired => pb::ConsentStatus::Expired,
        Status::Given => pb::ConsentStatus::Given,
        Status::Invalidated => pb::ConsentStatus::Invalidated,
        Status::Refused => pb::ConsentStatus::Refused,
        Status::RenewedGiven => pb::ConsentStatus::RenewedGiven,
        Status::RequestDeferred => pb::ConsentStatus::RequestDeferred,
        Status::Requested => pb::ConsentStatus::Requested,
        Status::Revoked => pb::ConsentStatus::Revoked,
        Status::Unknown => pb::ConsentStatus::Unknown,
        Status::Withdrawn => pb::ConsentStatus::Withdrawn,
    }
}

/// A place in a list of consents, as page tokens hold it.
pub(in crate::service) fn position(position: ConsentPosition) -> [u8; 24] {
    let mut bytes = [0; 24];
    let (time, id) = bytes.split_at_mut(8);
    time.copy_from_slice(&position.recorded_at.as_micros().to_be_bytes());
    id.copy_from_slice(position.id.uuid().as_bytes());
    bytes
}

pub(in crate::service) fn parse_position(bytes: [u8; 24]) -> Option<ConsentPosition> {
    let (time, id) = bytes.split_first_chunk()?;
    let recorded_at = Timestamp::from_micros(i64::from_be_bytes(*time));
    Some(ConsentPosition { recorded_at, id: ConsentId::from_uuid(uuid::Uuid::from_slice(id).ok()?) })
}

/// A place in a list of events, as page tokens hold it.
pub(in crate::service) fn event_position(position: EventPosition) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (time, rest) = bytes.split_at_mut(8);
    let (sequence, id) = rest.split_at_mut(8);
    time.copy_from_slice(&position.recorded_at.as_micros().to_be_bytes());
    sequence.copy_from_slice(&position.sequence.to_be_bytes());
    id.copy_from_slice(position.id.uuid().as_bytes());
    bytes
}

pub(in crate::service) fn parse_event_position(bytes: [u8; 32]) -> Option<EventPosition> {
    let (time, rest) = bytes.split_first_chunk()?;
    let (sequence, id) = rest.split_first_chunk()?;
    let recorded_at = Timestamp::from_micros(i64::from_be_bytes(*time));
    let id = EventId::from_uuid(uuid::Uuid::from_slice(id).ok()?);
    Some(EventPosition { recorded_at, sequence: u64::from_be_bytes(*sequence), id })
}

fn status_of(status: pb::ConsentStatus) -> Option<Status> {
    match status {
        pb::ConsentStatus::Unspecified => None,
        pb::ConsentStatus::Expired => Some(Status::Expired),
        pb::ConsentStatus::Given => Some(Status::Given),
        pb::ConsentStatus::Invalidated => Some(Status::Invalidated),
        pb::ConsentStatus::Refused => Some(Status::Refused),
        pb::ConsentStatus::RenewedGiven => Some(Status::RenewedGiven),
        pb::ConsentStatus::RequestDeferred => Some(Status::RequestDeferred),
        pb::ConsentStatus::Requested => Some(Status::Requested),
        pb::ConsentStatus::Revoked => Some(Status::Revoked),
        pb::ConsentStatus::Unknown => Some(Status::Unknown),
        pb::ConsentStatus::Withdrawn => Some(Status::Withdrawn),
    }
}

pub(super) fn reason(invalid: &mut Invalid, value: String) -> Option<Sensitive<String>> {
    invalid.text("reason", value, 0, MAX_REASON).filter(|text| !text.is_empty()).map(Sensitive::new)
}

/// The outer option is `None` after a violation.
#[expect(clippy::option_option, reason = "a violation is not an absence")]
fn method(invalid: &mut Invalid, value: i32) -> Option<Option<Indication>> {
    let known = pb::IndicationMethod::try_from(value).map_err(|_| "must be a known method");
    Some(match invalid.check("method", known)? {
        pb::IndicationMethod::Unspecified => None,
        pb::IndicationMethod::AutomatedSignal => Some(Indication::AutomatedSignal),
        pb::IndicationMethod::Button => Some(Indication::Button),
        pb::IndicationMethod::Checkbox => Some(Indication::Checkbox),
        pb::IndicationMethod::ExplicitStatement => Some(Indication::ExplicitStatement),
        pb::IndicationMethod::Signature => Some(Indication::Signature),
        pb::IndicationMethod::Spoken => Some(Indication::Spoken),
        pb::IndicationMethod::Written => Some(Indication::Written),
    })
}

fn method_message(method: Option<Indication>) -> pb::IndicationMethod {
    match method {
        None => pb::IndicationMethod::Unspecified,
        Some(Indication::AutomatedSignal) => pb::IndicationMethod::AutomatedSignal,
        Some(Indication::Button) => pb::IndicationMethod::Button,
        Some(Indication::Checkbox) => pb::IndicationMethod::Checkbox,
        Some(Indication::ExplicitStatement) => pb::IndicationMethod::ExplicitStatement,
        Some(Indication::Signature) => pb::IndicationMethod::Signature,
        Some(Indication::Spoken) => pb::IndicationMethod::Spoken,
        Some(Indication::Written) => pb::IndicationMethod::Written,
    }
}

pub(super) fn evidence(invalid: &mut Invalid, values: Vec<pb::Evidence>) -> Vec<Evidence> {
    if values.len() > MAX_EVIDENCE {
        invalid.add("evidence", format_args!("must have at most {MAX_EVIDENCE} items"));
        return Vec::new();
    }
    (0..).zip(values).filter_map(|(index, value)| one_evidence(invalid, index, value)).collect()
}

fn one_evidence(invalid: &mut Invalid, index: usize, value: pb::Evidence) -> Option<Evidence> {
    let path = |field: &str| format!("evidence[{index}].{field}");
    let kind = match pb::EvidenceKind::try_from(value.kind) {
        Ok(pb::EvidenceKind::Delegation) => Some(EvidenceKind::Delegation),
        Ok(pb::EvidenceKind::Form) => Some(EvidenceKind::Form),
        Ok(pb::EvidenceKind::Log) => Some(EvidenceKind::Log),
        Ok(pb::EvidenceKind::Recording) => Some(EvidenceKind::Recording),
        Ok(pb::EvidenceKind::Screenshot) => Some(EvidenceKind::Screenshot),
        Ok(pb::EvidenceKind::Unspecified) | Err(_) => {
            invalid.add(&path("kind"), "must be a known kind of evidence");
            None
        }
    };
    let media_type = invalid.text(&path("media_type"), value.media_type, 3, 127);
    let has_both_parts =
        |text: &String| text.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
    if media_type.as_ref().is_some_and(|text| !has_both_parts(text)) {
        invalid.add(&path("media_type"), "must be a media type such as image/png");
    }
    if value.content.is_empty() || value.content.len() > MAX_EVIDENCE_BYTES {
        invalid.add(&path("content"), "must have 1 byte to 1 MiB");
        return None;
    }
    let content_hash = sha384(&value.content);
    if !value.content_hash.is_empty() && value.content_hash != content_hash {
        invalid.add(&path("content_hash"), "must be the SHA-384 of the content");
    }
    let content = Sensitive::new(value.content);
    kind.zip(media_type).map(|(kind, media_type)| Evidence { kind, media_type, content, content_hash })
}
