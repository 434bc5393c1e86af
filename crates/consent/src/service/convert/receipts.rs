//! Receipts.

use portal_core::id::{EventId, Id, ReceiptId};
use portal_core::{Invalid, Timestamp};
use portal_crypto::cose::receipt;
use portal_mesh::convert::timestamp;
use portal_mesh::status::reason;
use portal_proto::consent::v1 as pb;
use portal_receipt::{Report, export};
use tonic::Status;

use super::{id, optional_id};
use crate::app::receipts::Issued;
use crate::store::receipts::{ReceiptPosition, ReceiptsOf};

pub(in crate::service) fn receipt_id(text: &str) -> Result<ReceiptId, Invalid> {
    let mut invalid = Invalid::new();
    let parsed = id(&mut invalid, "receipt_id", text);
    invalid.finish(parsed)
}

pub(in crate::service) fn receipts_of(request: &pb::ListReceiptsRequest) -> Result<ReceiptsOf, Invalid> {
    let mut invalid = Invalid::new();
    let subject = id(&mut invalid, "subject_id", &request.subject_id);
    let consent = optional_id(&mut invalid, "consent_id", &request.consent_id);
    invalid.finish(subject.zip(consent).map(|(subject, consent)| ReceiptsOf { subject, consent }))
}

pub(in crate::service) fn format(value: i32) -> Result<pb::ReceiptFormat, Invalid> {
    match pb::ReceiptFormat::try_from(value) {
        Ok(pb::ReceiptFormat::Unspecified) | Err(_) => {
            Err(Invalid::field("format", "must be a known format"))
        }
        Ok(format) => Ok(format),
    }
}

pub(in crate::service) fn message(issued: &Issued) -> pb::Receipt {
    let record = &issued.record;
    pb::Receipt {
        receipt_id: record.id.to_string(),
        cose: issued.cose.clone(),
        inclusion: issued.inclusion.clone().unwrap_or_default(),
        json: export::dpv_json_ld(record).to_string(),
        subject_id: issued.subject().to_string(),
        consent_id: record.consent.to_string(),
        event_id: record.id.to_string(),
        create_time: Some(timestamp(record.event.recorded_at)),
    }
}

pub(in crate::service) fn export(
    issued: &Issued,
    format: pb::ReceiptFormat,
) -> Result<pb::ExportReceiptResponse, Status> {
    let record = &issued.record;
    let (media_type, content) = match format {
        pb::ReceiptFormat::Unspecified | pb::ReceiptFormat::Cose => {
            let whole = match &issued.inclusion {
                Some(inclusion) => receipt::embed(&issued.cose, inclusion),
                None => Ok(issued.cose.clone()),
            };
            (export::COSE, whole.map_err(|_| reason::INTERNAL.status())?)
        }
        pb::ReceiptFormat::DpvJsonld => (export::DPV_JSON_LD, text(&export::dpv_json_ld(record))),
        pb::ReceiptFormat::Kantara11 => (export::KANTARA_1_1, text(&export::kantara_1_1(record))),
        pb::ReceiptFormat::FhirR5 => (export::FHIR_R5, text(&export::fhir_r5(record))),
    };
    Ok(pb::ExportReceiptResponse { media_type: media_type.to_owned(), content })
}

fn text(json: &serde_json::Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

pub(in crate::service) fn report(report: &Report) -> pb::VerifyReceiptResponse {
    let steps = report.findings.iter().map(|finding| pb::VerificationStep {
        name: finding.step.name().to_owned(),
        passed: finding.passed,
        detail: finding.detail.clone(),
    });
    pb::VerifyReceiptResponse { valid: report.valid(), steps: steps.collect() }
}

/// A place in a list of receipts, as page tokens hold it.
pub(in crate::service) fn position(position: ReceiptPosition) -> [u8; 24] {
    let mut bytes = [0; 24];
    let (time, id) = bytes.split_at_mut(8);
    time.copy_from_slice(&position.recorded_at.as_micros().to_be_bytes());
    id.copy_from_slice(position.id.uuid().as_bytes());
    bytes
}

pub(in crate::service) fn parse_position(bytes: [u8; 24]) -> Option<ReceiptPosition> {
    let (time, id) = bytes.split_first_chunk()?;
    let recorded_at = Timestamp::from_micros(i64::from_be_bytes(*time));
    Some(ReceiptPosition { recorded_at, id: EventId::from_uuid(uuid::Uuid::from_slice(id).ok()?) })
}
