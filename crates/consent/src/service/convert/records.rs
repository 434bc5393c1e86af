//! Decisions that were made elsewhere, on the wire.

use portal_core::id::OperationId;
use portal_core::{Invalid, Timestamp};
use portal_mesh::convert::parse_timestamp;
use portal_proto::consent::v1 as pb;
use portal_proto::google::rpc;
use prost::Message;
use tonic::Status;

use super::consents::{self, Decision as Fields};
use super::id;
use crate::app::records::{Asked, Decision, Item, Record, Shown};
use crate::domain::delegation::StatedBy;
use crate::domain::import::Import;
use crate::error::Error;

/// Records of one call.
pub(in crate::service) const MOST: usize = 10_000;

/// A record as it was sent at `now`, or everything that is wrong with it.
pub(in crate::service) fn record(record: pb::ConsentRecord, now: Timestamp) -> Asked {
    let mut invalid = Invalid::new();
    let event_at = event_time(&mut invalid, record.event_time, now);
    let status = record.status();
    let decided = match status {
        pb::ConsentStatus::Given | pb::ConsentStatus::Refused | pb::ConsentStatus::RenewedGiven => {
            if !record.reason.is_empty() {
                invalid.add("reason", "must be empty unless the status is WITHDRAWN");
            }
            decision(record)
        }
        pb::ConsentStatus::Withdrawn => withdrawal(record),
        pb::ConsentStatus::Unspecified
        | pb::ConsentStatus::Unknown
        | pb::ConsentStatus::Requested
        | pb::ConsentStatus::Expired
        | pb::ConsentStatus::Invalidated
        | pb::ConsentStatus::Revoked
        | pb::ConsentStatus::RequestDeferred => {
            Err(Invalid::field("status", "must be GIVEN, REFUSED, WITHDRAWN or RENEWED_GIVEN"))
        }
    };
    let (record, ()) = super::both(decided, invalid.finish(Some(())))?;
    Ok(Record { event_at, ..record })
}

fn event_time(
    invalid: &mut Invalid,
    time: Option<prost_types::Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let time = invalid.check("event_time", parse_timestamp(time?))?;
    if time > now {
        invalid.add("event_time", "must not be in the future");
        return None;
    }
    Some(time)
}

fn decision(record: pb::ConsentRecord) -> Asked {
    let status = record.status();
    let fields = Fields {
        subject_id: &record.subject_id,
        purpose_id: &record.purpose_id,
        notice_id: &record.notice_id,
        language: &record.language,
        method: record.method,
        evidence: record.evidence,
        valid_for: record.valid_for.filter(|_| status != pb::ConsentStatus::Refused),
        delegation: record.delegation,
        stated_by: StatedBy::Controller,
    };
    let decide = fields.parse()?;
    let shown = Shown { notice: decide.notice, language: decide.language };
    let decision = match status {
        pb::ConsentStatus::Refused => Decision::Refuse(shown),
        pb::ConsentStatus::RenewedGiven => Decision::Renew(shown, decide.valid_for),
        _ => Decision::Give(shown, decide.valid_for),
    };
    let (subject, purpose, method) = (decide.subject, decide.purpose, Some(decide.method));
    let (evidence, delegation) = (decide.evidence, decide.delegation);
    Ok(Record { subject, purpose, decision, method, evidence, event_at: None, delegation })
}

fn withdrawal(record: pb::ConsentRecord) -> Asked {
    let request = pb::WithdrawConsentRequest {
        subject_id: record.subject_id,
        purpose_id: record.purpose_id,
        reason: record.reason,
        method: record.method,
        evidence: record.evidence,
        delegation: record.delegation,
        ..Default::default()
    };
    // Only controllers record what was decided elsewhere.
    let withdraw = consents::withdraw(request, StatedBy::Controller)?;
    Ok(Record {
        subject: withdraw.subject,
        purpose: withdraw.purpose,
        decision: Decision::Withdraw(withdraw.reason),
        method: withdraw.method,
        evidence: withdraw.evidence,
        event_at: None,
        delegation: withdraw.delegation,
    })
}

/// What came of a record.
pub(in crate::service) fn result(item: &Item) -> pb::ConsentRecordResult {
    use pb::consent_record_result::Result;
    let result = match item {
        Ok(recorded) => Result::Reply(consents::reply(&recorded.seen)),
        Err(error) => Result::Error(status(error)),
    };
    pb::ConsentRecordResult { result: Some(result) }
}

/// An error as replies tell it: the same as a call of its own would answer.
fn status(error: &Error) -> rpc::Status {
    let status = Status::from(error);
    rpc::Status::decode(status.details()).unwrap_or_else(|_| rpc::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

/// As [`status`], encoded.
pub(in crate::service) fn refusal(error: &Error) -> Vec<u8> {
    status(error).encode_to_vec()
}

/// Results as they are kept: without the ids that the request has.
#[expect(clippy::ptr_arg, reason = "what a chunk comes to")]
pub(in crate::service) fn kept(items: &Vec<Item>) -> Vec<u8> {
    let mut results: Vec<_> = items.iter().map(result).collect();
    for consent in results.iter_mut().filter_map(consent) {
        consent.subject_id.clear();
        consent.purpose_id.clear();
    }
    pb::BatchRecordConsentsResponse { results }.encode_to_vec()
}

/// Kept results with the ids of the records that they are about.
pub(in crate::service) fn completed(
    kept: pb::BatchRecordConsentsResponse,
    records: &[Asked],
) -> Vec<pb::ConsentRecordResult> {
    let mut results = kept.results;
    for (result, record) in results.iter_mut().zip(records) {
        if let (Some(consent), Ok(record)) = (consent(result), record) {
            consent.subject_id = record.subject.to_string();
            consent.purpose_id = record.purpose.to_string();
        }
    }
    results
}

fn consent(result: &mut pb::ConsentRecordResult) -> Option<&mut pb::Consent> {
    match &mut result.result {
        Some(pb::consent_record_result::Result::Reply(reply)) => reply.consent.as_mut(),
        Some(pb::consent_record_result::Result::Error(_)) | None => None,
    }
}

/// Which import a stream is of, and the position of its first record.
pub(in crate::service) fn header(header: &pb::ImportHeader) -> Result<(OperationId, u64), Invalid> {
    let mut invalid = Invalid::new();
    let import = id(&mut invalid, "import_id", &header.import_id);
    let first = u64::try_from(header.first_record_index).map_err(|_| "must not be negative");
    let first = invalid.check("first_record_index", first);
    invalid.finish(import.zip(first))
}

/// How far an import is.
pub(in crate::service) fn imported(import: Import) -> pb::ImportConsentsResponse {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let refusal = |refusal: crate::domain::import::Refusal| pb::ImportRefusal {
        record_index: count(refusal.index),
        error: rpc::Status::decode(refusal.status.as_slice()).ok(),
    };
    pb::ImportConsentsResponse {
        import_id: import.id.to_string(),
        recorded_count: count(import.recorded),
        refused_count: count(import.refused),
        next_record_index: count(import.next),
        refusals: import.refusals.into_iter().map(refusal).collect(),
    }
}
