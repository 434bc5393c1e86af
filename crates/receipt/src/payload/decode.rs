//! CBOR as records: the counterpart of `encode`, strict in every member.

use std::collections::BTreeMap;
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::Id;

use super::InvalidPayload;
use crate::cbor::Item;
use crate::record::{
    Delegation, Event, Evidence, IndicatedBy, Indication, Notice, Party, Purpose, Record, Status, Subject,
    Terms,
};

type Read<T> = Result<T, InvalidPayload>;

pub(super) fn record(item: Item) -> Read<Record> {
    Members::all(item, |map| {
        Ok(Record {
            id: map.id(1)?,
            consent: map.id(2)?,
            keeper: map.text(3)?,
            subject: subject(map.must(4)?)?,
            event: event(map.must(5)?)?,
            notice: notice(map.must(6)?)?,
            purpose: purpose(map.must(7)?)?,
            parties: map.list(8, party)?,
            delegation: map.may(9, delegation)?,
            evidence: map.list(10, evidence)?,
        })
    })
}

fn subject(item: Item) -> Read<Subject> {
    Members::all(item, |map| {
        Ok(Subject { id: map.id(1)?, categories: map.list(2, text)?, jurisdictions: map.list(3, text)? })
    })
}

fn event(item: Item) -> Read<Event> {
    Members::all(item, |map| {
        Ok(Event {
            sequence: u64::try_from(map.int(1)?).map_err(|_| InvalidPayload)?,
            previous: one_of(&Status::ALL, map.int(2)?, |status| *status as i64)?,
            status: one_of(&Status::ALL, map.int(3)?, |status| *status as i64)?,
            event_at: Timestamp::from_micros(map.int(4)?),
            recorded_at: Timestamp::from_micros(map.int(5)?),
            expires_at: map.may(6, |item| time(&item))?,
            indication: map.may(7, |item| one_of(&Indication::ALL, int(&item)?, |way| *way as i64))?,
            indicated_by: one_of(&IndicatedBy::ALL, map.int(8)?, |side| *side as i64)?,
            recorded_by: map.may(9, text)?,
        })
    })
}

fn notice(item: Item) -> Read<Notice> {
    Members::all(item, |map| {
        Ok(Notice {
            id: map.id(1)?,
            revision: map.revision(2)?,
            language: map.may(3, text)?,
            content_hash: map.may(4, fixed)?,
        })
    })
}

fn purpose(item: Item) -> Read<Purpose> {
    Members::all(item, |map| {
        Ok(Purpose {
            id: map.id(1)?,
            revision: map.revision(2)?,
            terms: map.may(3, terms)?,
            content_hash: map.may(4, fixed)?,
            abridged: map.flag(5)?,
        })
    })
}

fn terms(item: Item) -> Read<Terms> {
    Members::all(item, |map| {
        Ok(Terms {
            name: map.text(1)?,
            purposes: map.list(2, text)?,
            legal_basis: map.text(3)?,
            personal_data: map.list(4, text)?,
            special_category: map.flag(5)?,
            processing: map.list(6, text)?,
            recipients: map.list(7, text)?,
            storage: map.list(8, text)?,
            retention: map.may(9, |item| seconds(&item))?,
            jurisdictions: map.list(10, text)?,
            withdrawal: map.may(11, text)?,
            retention_event: map.may(12, text)?,
            storage_conditions: map.may(13, text)?,
            data_source: map.may(14, text)?,
            processing_locations: map.list(15, text)?,
            restrictions: map.may(16, text)?,
            rights: map.list(17, text)?,
            service: map.may(18, text)?,
            codes_of_conduct: map.list(19, text)?,
            impact_assessment: map.may(20, text)?,
            optional_personal_data: map.list(21, text)?,
        })
    })
}

fn party(item: Item) -> Read<Party> {
    Members::all(item, |map| {
        Ok(Party {
            id: map.text(1)?,
            role: map.text(2)?,
            name: map.text(3)?,
            address: map.may(4, text)?,
            contact: map.may(5, text)?,
            email: map.may(6, text)?,
            phone: map.may(7, text)?,
            url: map.may(8, text)?,
            country: map.may(9, text)?,
        })
    })
}

fn delegation(item: Item) -> Read<Delegation> {
    Members::all(item, |map| {
        Ok(Delegation {
            kind: map.text(1)?,
            delegate: map.text(2)?,
            verified: map.flag(3)?,
            expires_at: map.may(4, |item| time(&item))?,
            verified_by: map.may(5, text)?,
            content_hash: map.may(6, fixed)?,
        })
    })
}

fn evidence(item: Item) -> Read<Evidence> {
    Members::all(item, |map| {
        Ok(Evidence { kind: map.text(1)?, media_type: map.text(2)?, content_hash: fixed(map.must(3)?)? })
    })
}

/// The members of a map that are not read yet.
struct Members(BTreeMap<u8, Item>);

impl Members {
    /// What `read` makes of all members of a map: none may be left.
    fn all<T>(item: Item, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        let Item::Map(members) = item else { return Err(InvalidPayload) };
        let mut members = Self(members);
        let value = read(&mut members)?;
        if members.0.is_empty() { Ok(value) } else { Err(InvalidPayload) }
    }

    fn must(&mut self, key: u8) -> Read<Item> {
        self.0.remove(&key).ok_or(InvalidPayload)
    }

    fn may<T>(&mut self, key: u8, read: impl FnOnce(Item) -> Read<T>) -> Read<Option<T>> {
        self.0.remove(&key).map(read).transpose()
    }

    fn list<T>(&mut self, key: u8, read: impl Fn(Item) -> Read<T>) -> Read<Vec<T>> {
        match self.0.remove(&key) {
            None => Ok(Vec::new()),
            Some(Item::Array(items)) => items.into_iter().map(read).collect(),
            Some(_) => Err(InvalidPayload),
        }
    }

    fn id<I: Id>(&mut self, key: u8) -> Read<I> {
        Ok(I::from_bytes(fixed(self.must(key)?)?))
    }

    fn text(&mut self, key: u8) -> Read<String> {
        text(self.must(key)?)
    }

    fn int(&mut self, key: u8) -> Read<i64> {
        int(&self.must(key)?)
    }

    fn revision(&mut self, key: u8) -> Read<u32> {
        u32::try_from(self.int(key)?).map_err(|_| InvalidPayload)
    }

    fn flag(&mut self, key: u8) -> Read<bool> {
        match self.0.remove(&key) {
            None => Ok(false),
            Some(Item::Bool(true)) => Ok(true),
            Some(_) => Err(InvalidPayload),
        }
    }
}

fn one_of<T: Copy>(all: &[T], number: i64, of: impl Fn(&T) -> i64) -> Read<T> {
    all.iter().copied().find(|value| of(value) == number).ok_or(InvalidPayload)
}

fn text(item: Item) -> Read<String> {
    match item {
        Item::Text(text) => Ok(text),
        _ => Err(InvalidPayload),
    }
}

fn int(item: &Item) -> Read<i64> {
    match item {
        Item::Int(number) => Ok(*number),
        _ => Err(InvalidPayload),
    }
}

fn time(item: &Item) -> Read<Timestamp> {
    int(item).map(Timestamp::from_micros)
}

fn seconds(item: &Item) -> Read<Duration> {
    u64::try_from(int(item)?).map(Duration::from_secs).map_err(|_| InvalidPayload)
}

fn fixed<const N: usize>(item: Item) -> Read<[u8; N]> {
    match item {
        Item::Bytes(bytes) => bytes.try_into().map_err(|_| InvalidPayload),
        _ => Err(InvalidPayload),
    }
}
