//! The change stream on the wire.
//!
//! A resume token names the change after which to go on, whoever reads and whatever the filter. It is made by this service:
//! another one's is refused, and one of before the database was put back does not fit.

use std::collections::BTreeSet;

use portal_core::id::{AckId, EventId, Id, PurposeId};
use portal_core::{Invalid, Timestamp};
use portal_crypto::page_token::PageTokenKey;
use portal_mesh::convert::timestamp;
use portal_mesh::policy::Action;
use portal_proto::consent::v1 as pb;
use prost::Message;

use super::consents;
use super::decisions::ledger_index;
use crate::app::changes::{Acked, Place, Told};
use crate::app::consents::{Seen, Words};
use crate::service::policy::WatchConsentChanges;
use crate::store::changes::AckPosition;

const MAX_PURPOSES: usize = 1_000;
const MAX_RECIPIENT: usize = 128;

pub(in crate::service) fn watch(
    key: &PageTokenKey,
    request: &pb::WatchConsentChangesRequest,
) -> Result<(Option<Place>, BTreeSet<PurposeId>), Invalid> {
    let mut invalid = Invalid::new();
    let place = if request.resume_token.is_empty() {
        Some(None)
    } else {
        invalid.check("resume_token", open(key, &request.resume_token)).map(Some)
    };
    if request.purpose_ids.len() > MAX_PURPOSES {
        invalid.add("purpose_ids", format_args!("must have at most {MAX_PURPOSES} items"));
        return invalid.finish(None);
    }
    let purposes = (0..).zip(&request.purpose_ids);
    let purposes = purposes
        .filter_map(|(index, id): (usize, _)| super::id(&mut invalid, &format!("purpose_ids[{index}]"), id));
    let purposes = purposes.collect();
    invalid.finish(place.map(|place| (place, purposes)))
}

pub(in crate::service) fn change(key: &PageTokenKey, told: Told) -> pb::ConsentChange {
    let resume_token = seal(key, told.place);
    let Some(listed) = told.event else {
        return pb::ConsentChange { resume_token, withheld: true, ..Default::default() };
    };
    let event = &listed.event;
    let seen = Seen { consent: event.consent_after(), at: event.recorded_at, event: Some(event.id) };
    let consent = Some(consents::message(&seen));
    let event = Some(consents::event(listed, Words::Withheld));
    pb::ConsentChange { resume_token, consent, event, withheld: false }
}

pub(in crate::service) fn ack(
    key: &PageTokenKey,
    request: &pb::AckConsentChangesRequest,
) -> Result<(Place, String), Invalid> {
    let mut invalid = Invalid::new();
    let place = invalid.check("resume_token", open(key, &request.resume_token));
    let recipient = invalid.text("recipient", request.recipient.clone(), 1, MAX_RECIPIENT);
    invalid.finish(place.zip(recipient))
}

pub(in crate::service) fn acked(acked: &Acked) -> pb::AckConsentChangesResponse {
    pb::AckConsentChangesResponse {
        record_time: Some(timestamp(acked.ack.recorded_at)),
        ledger_index: acked.position.map(ledger_index),
    }
}

pub(in crate::service) fn encode(value: &Acked) -> Vec<u8> {
    acked(value).encode_to_vec()
}

/// Whose acknowledgements are listed: everybody's, if none is named.
pub(in crate::service) fn recipient_filter(name: &str) -> Result<Option<&str>, Invalid> {
    let mut invalid = Invalid::new();
    // Line breaks would make page tokens of one filter fit another.
    if name.chars().count() > MAX_RECIPIENT || name.contains('\n') {
        invalid.add("recipient", format_args!("must be one line of at most {MAX_RECIPIENT} characters"));
    }
    invalid.finish(Some(Some(name).filter(|name| !name.is_empty())))
}

pub(in crate::service) fn ack_message(acked: &Acked) -> pb::ConsentChangeAck {
    let Acked { ack, position } = acked;
    pb::ConsentChangeAck {
        ack_id: ack.id.to_string(),
        caller_id: ack.caller.clone(),
        recipient: ack.recipient.clone(),
        change_ledger_index: ledger_index(ack.position),
        record_time: Some(timestamp(ack.recorded_at)),
        ledger_index: position.map(ledger_index),
    }
}

/// A place in a list of acknowledgements, as page tokens hold it.
pub(in crate::service) fn ack_position(position: AckPosition) -> [u8; 24] {
    join(position.recorded_at.as_micros().to_be_bytes(), position.id.bytes())
}

pub(in crate::service) fn parse_ack_position(bytes: [u8; 24]) -> Option<AckPosition> {
    let (time, id) = split(&bytes)?;
    Some(AckPosition {
        recorded_at: Timestamp::from_micros(i64::from_be_bytes(time)),
        id: AckId::from_bytes(id),
    })
}

fn seal(key: &PageTokenKey, place: Place) -> String {
    key.seal(WatchConsentChanges::METHOD.as_bytes(), &join(place.position.to_be_bytes(), place.event.bytes()))
}

fn open(key: &PageTokenKey, token: &str) -> Result<Place, &'static str> {
    let bytes = key.open(WatchConsentChanges::METHOD.as_bytes(), token).ok();
    let place = bytes.as_deref().and_then(split).map(|(position, event)| Place {
        position: u64::from_be_bytes(position),
        event: EventId::from_bytes(event),
    });
    place.ok_or("must be a resume_token of this stream, unchanged")
}

fn join(number: [u8; 8], id: [u8; 16]) -> [u8; 24] {
    let mut bytes = [0; 24];
    let (first, second) = bytes.split_at_mut(8);
    first.copy_from_slice(&number);
    second.copy_from_slice(&id);
    bytes
}

fn split(bytes: &[u8]) -> Option<([u8; 8], [u8; 16])> {
    let (number, id) = bytes.split_first_chunk()?;
    Some((*number, id.try_into().ok()?))
}
