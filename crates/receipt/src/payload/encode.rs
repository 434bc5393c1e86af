//! Records as CBOR. Each function is one map; the numbers are its keys, and they never change their meaning.

use std::collections::BTreeMap;
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::Id;

use crate::cbor::Item;
use crate::record::{Delegation, Event, Evidence, Notice, Party, Purpose, Record, Subject, Terms};

pub(super) fn record(record: &Record) -> Item {
    let id = |id: [u8; 16]| Some(bytes(&id));
    map([
        (1, id(record.id.bytes())),
        (2, id(record.consent.bytes())),
        (3, Some(text(&record.keeper))),
        (4, Some(subject(&record.subject))),
        (5, Some(event(&record.event))),
        (6, Some(notice(&record.notice))),
        (7, Some(purpose(&record.purpose))),
        (8, list(&record.parties, party)),
        (9, record.delegation.as_ref().map(delegation)),
        (10, list(&record.evidence, evidence)),
    ])
}

fn subject(subject: &Subject) -> Item {
    map([
        (1, Some(bytes(&subject.id.bytes()))),
        (2, texts(&subject.categories)),
        (3, texts(&subject.jurisdictions)),
    ])
}

fn event(event: &Event) -> Item {
    map([
        (1, Some(Item::Int(i64::try_from(event.sequence).unwrap_or(i64::MAX)))),
        (2, Some(Item::Int(event.previous as i64))),
        (3, Some(Item::Int(event.status as i64))),
        (4, Some(time(event.event_at))),
        (5, Some(time(event.recorded_at))),
        (6, event.expires_at.map(time)),
        (7, event.indication.map(|indication| Item::Int(indication as i64))),
        (8, Some(Item::Int(event.indicated_by as i64))),
        (9, event.recorded_by.as_deref().map(text)),
    ])
}

fn notice(notice: &Notice) -> Item {
    map([
        (1, Some(bytes(&notice.id.bytes()))),
        (2, Some(Item::Int(i64::from(notice.revision)))),
        (3, notice.language.as_deref().map(text)),
        (4, notice.content_hash.as_ref().map(|hash| bytes(hash))),
    ])
}

fn purpose(purpose: &Purpose) -> Item {
    map([
        (1, Some(bytes(&purpose.id.bytes()))),
        (2, Some(Item::Int(i64::from(purpose.revision)))),
        (3, purpose.terms.as_ref().map(terms)),
        (4, purpose.content_hash.as_ref().map(|hash| bytes(hash))),
        (5, purpose.abridged.then_some(Item::Bool(true))),
    ])
}

fn terms(terms: &Terms) -> Item {
    map([
        (1, Some(text(&terms.name))),
        (2, texts(&terms.purposes)),
        (3, Some(text(&terms.legal_basis))),
        (4, texts(&terms.personal_data)),
        (5, terms.special_category.then_some(Item::Bool(true))),
        (6, texts(&terms.processing)),
        (7, texts(&terms.recipients)),
        (8, texts(&terms.storage)),
        (9, terms.retention.map(seconds)),
        (10, texts(&terms.jurisdictions)),
        (11, terms.withdrawal.as_deref().map(text)),
        (12, terms.retention_event.as_deref().map(text)),
        (13, terms.storage_conditions.as_deref().map(text)),
        (14, terms.data_source.as_deref().map(text)),
        (15, texts(&terms.processing_locations)),
        (16, terms.restrictions.as_deref().map(text)),
        (17, texts(&terms.rights)),
        (18, terms.service.as_deref().map(text)),
        (19, texts(&terms.codes_of_conduct)),
        (20, terms.impact_assessment.as_deref().map(text)),
        (21, texts(&terms.optional_personal_data)),
    ])
}

fn party(party: &Party) -> Item {
    let optional = |value: &Option<String>| value.as_deref().map(text);
    map([
        (1, Some(text(&party.id))),
        (2, Some(text(&party.role))),
        (3, Some(text(&party.name))),
        (4, optional(&party.address)),
        (5, optional(&party.contact)),
        (6, optional(&party.email)),
        (7, optional(&party.phone)),
        (8, optional(&party.url)),
        (9, optional(&party.country)),
    ])
}

fn delegation(delegation: &Delegation) -> Item {
    map([
        (1, Some(text(&delegation.kind))),
        (2, Some(text(&delegation.delegate))),
        (3, delegation.verified.then_some(Item::Bool(true))),
        (4, delegation.expires_at.map(time)),
        (5, delegation.verified_by.as_deref().map(text)),
        (6, delegation.content_hash.as_ref().map(|hash| bytes(hash))),
    ])
}

fn evidence(evidence: &Evidence) -> Item {
    map([
        (1, Some(text(&evidence.kind))),
        (2, Some(text(&evidence.media_type))),
        (3, Some(bytes(&evidence.content_hash))),
    ])
}

fn map<const N: usize>(members: [(u8, Option<Item>); N]) -> Item {
    Item::Map(members.into_iter().filter_map(|(key, item)| Some((key, item?))).collect::<BTreeMap<_, _>>())
}

fn list<T>(items: &[T], encode: impl Fn(&T) -> Item) -> Option<Item> {
    (!items.is_empty()).then(|| Item::Array(items.iter().map(encode).collect()))
}

fn texts(items: &[String]) -> Option<Item> {
    list(items, |item| text(item))
}

fn text(value: &str) -> Item {
    Item::Text(value.to_owned())
}

fn bytes(value: &[u8]) -> Item {
    Item::Bytes(value.to_vec())
}

/// Microseconds since the epoch.
fn time(at: Timestamp) -> Item {
    Item::Int(at.as_micros())
}

fn seconds(duration: Duration) -> Item {
    Item::Int(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}
