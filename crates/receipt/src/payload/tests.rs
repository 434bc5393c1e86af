#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::Id;
use proptest::prelude::*;

use super::*;
use crate::record::{
    Delegation, Event, Evidence, IndicatedBy, Indication, Notice, Party, Purpose, Status, Subject, Terms,
};

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A record with something in every field.
pub(crate) fn full() -> Record {
    let some = |text: &str| Some(text.to_owned());
    Record {
        id: Id::from_bytes([1; 16]),
        consent: Id::from_bytes([2; 16]),
        keeper: "portal.local/consent".to_owned(),
        subject: Subject {
            id: Id::from_bytes([3; 16]),
            categories: strings(&["dpv:Adult"]),
            jurisdictions: strings(&["loc:IE"]),
        },
        event: Event {
            sequence: 3,
            previous: Status::Requested,
            status: Status::Given,
            event_at: Timestamp::from_micros(1_795_305_600_000_001),
            recorded_at: Timestamp::from_micros(1_795_305_600_500_000),
            expires_at: Some(Timestamp::from_seconds(1_826_841_600)),
            indication: Some(Indication::ExplicitStatement),
            indicated_by: IndicatedBy::Delegate,
            recorded_by: None,
        },
        notice: Notice {
            id: Id::from_bytes([4; 16]),
            revision: 2,
            language: some("en"),
            content_hash: Some([5; 48]),
        },
        purpose: Purpose {
            id: Id::from_bytes([6; 16]),
            revision: 7,
            terms: Some(terms()),
            content_hash: None,
            abridged: false,
        },
        parties: vec![Party {
            id: "ex:Acme".to_owned(),
            role: "dpv:DataController".to_owned(),
            name: "Acme".to_owned(),
            address: some("Example Avenue 1"),
            contact: some("Data protection officer"),
            email: some("contact@example.com"),
            phone: some("+00-000-000"),
            url: some("https://example.com/"),
            country: None,
        }],
        delegation: Some(Delegation {
            kind: "dpv:GuardianOfDataSubject".to_owned(),
            delegate: "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f".to_owned(),
            verified: true,
            expires_at: Some(Timestamp::from_seconds(1_900_000_000)),
            verified_by: None,
            content_hash: None,
        }),
        evidence: vec![Evidence {
            kind: "screenshot".to_owned(),
            media_type: "image/png".to_owned(),
            content_hash: [8; 48],
        }],
    }
}

fn terms() -> Terms {
    let some = |text: &str| Some(text.to_owned());
    Terms {
        name: "Newsletter".to_owned(),
        purposes: strings(&["dpv:Marketing", "dpv:CommunicationManagement"]),
        legal_basis: "dpv:ExplicitlyExpressedConsent".to_owned(),
        personal_data: strings(&["pd:EmailAddress"]),
        special_category: true,
        processing: strings(&["dpv:Collect", "dpv:Store"]),
        recipients: strings(&["ex:Beta"]),
        storage: strings(&["loc:IE"]),
        retention: Some(Duration::from_secs(86_400 * 180)),
        jurisdictions: strings(&["loc:EU"]),
        withdrawal: some("https://example.com/manage-consent"),
        ..Terms::default()
    }
}

/// [`full`] with what came to receipts later.
pub(crate) fn whole() -> Record {
    let (full, some) = (full(), |text: &str| Some(text.to_owned()));
    let terms = Terms {
        retention_event: some("Until the account is closed"),
        storage_conditions: some("Encrypted"),
        data_source: some("From the person"),
        processing_locations: strings(&["loc:DE"]),
        restrictions: some("Not outside the EEA"),
        rights: strings(&["eu-gdpr:A17"]),
        service: some("Newsletter"),
        codes_of_conduct: strings(&["https://example.com/code"]),
        impact_assessment: some("https://example.com/dpia"),
        optional_personal_data: strings(&["pd:EmailAddress"]),
        ..terms()
    };
    let party = |party| Party { country: some("loc:IE"), ..party };
    let delegation =
        |delegation| Delegation { verified_by: some("document"), content_hash: Some([10; 48]), ..delegation };
    Record {
        event: Event { recorded_by: some("0198c3a4-7d1e-7cc3-98c4-dc0c0c073990"), ..full.event },
        purpose: Purpose { terms: Some(terms), content_hash: Some([11; 48]), abridged: true, ..full.purpose },
        parties: full.parties.into_iter().map(party).collect(),
        delegation: full.delegation.map(delegation),
        ..full
    }
}

/// A record with nothing in every field that can be without.
pub(crate) fn bare() -> Record {
    let full = full();
    Record {
        subject: Subject { categories: vec![], jurisdictions: vec![], ..full.subject },
        event: Event { expires_at: None, indication: None, ..full.event },
        notice: Notice { language: None, content_hash: None, ..full.notice },
        purpose: Purpose { terms: None, ..full.purpose },
        parties: vec![],
        delegation: None,
        evidence: vec![],
        ..full
    }
}

#[test]
fn records_survive() {
    let empty_terms = Purpose { terms: Some(Terms::default()), ..full().purpose };
    for record in [full(), whole(), bare(), Record { purpose: empty_terms, ..full() }] {
        let bytes = payload(content(&record), &[9; 32]);
        let read = decode(&bytes).unwrap();
        assert_eq!(read.record, record);
        assert_eq!(read.salt.expose(), &[9; 32]);
    }
    for status in Status::ALL {
        let record = Record { event: Event { status, ..full().event }, ..full() };
        assert_eq!(decode(&payload(content(&record), &[9; 32])).unwrap().record.event.status, status);
    }
}

/// The bytes of version 1: kept receipts have them.
#[test]
fn the_form_never_changes() {
    let golden = include_str!("../../tests/data/payload-v1.hex");
    let made = [bare(), full(), whole()].map(|record| {
        payload(content(&record), &[9; 32]).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    });
    assert_eq!(made.join("\n"), golden.trim_end());
}

#[test]
fn the_leaf_is_the_ledgers() {
    use portal_ledger::leaf::{Commitment, Leaf, Salt};
    let content = content(&full());
    let leaf = Leaf { kind: KIND, content: &content };
    let expect = Commitment::of(leaf, &Salt::new([9; 32])).leaf_hash();
    assert_eq!(leaf_hash(&payload(content, &[9; 32])), Ok(expect));
}

#[test]
fn other_forms_are_refused() {
    let Item::Map(good) = encode::record(&full()) else { unreachable!() };
    let refused = |members: std::collections::BTreeMap<u8, Item>| {
        assert!(decode(&payload(Item::Map(members).encode(), &[9; 32])).is_err());
    };
    for key in 1..=7 {
        let mut less = good.clone();
        less.remove(&key).unwrap();
        refused(less);
    }
    for key in good.keys() {
        let mut other = good.clone();
        other.insert(*key, Item::Bool(true));
        refused(other);
    }
    let with = |key, item| {
        let mut more = good.clone();
        more.insert(key, item);
        more
    };
    refused(with(11, Item::Int(1)));
    refused(with(0, Item::Int(1)));
    refused(with(8, Item::Array(vec![])));
    refused(with(10, Item::Array(vec![])));
    let Item::Map(event) = good[&5].clone() else { unreachable!() };
    for (key, number) in [(2, 10), (2, -1), (3, 10), (7, 0), (7, 8), (8, 0), (8, 5), (1, -1)] {
        let mut event = event.clone();
        event.insert(key, Item::Int(number));
        refused(with(5, Item::Map(event)));
    }
    let content = content(&full());
    let outer = |items: Vec<Item>| assert!(decode(&Item::Array(items).encode()).is_err());
    let (one, salt, record) = (Item::Int(1), Item::Bytes(vec![9; 32]), Item::Bytes(content));
    outer(vec![Item::Int(2), salt.clone(), record.clone()]);
    outer(vec![one.clone(), Item::Bytes(vec![9; 31]), record.clone()]);
    outer(vec![one.clone(), salt.clone()]);
    outer(vec![one, salt, record.clone(), record]);
    assert!(decode(&vec![0; MAX_PAYLOAD + 1]).is_err());
}

proptest! {
    /// Whatever is read is written the same: there is one form only.
    #[test]
    fn a_changed_byte_is_another_record_or_none(at: prop::sample::Index, bit in 0_u8..8) {
        let good = payload(content(&full()), &[9; 32]);
        let mut bytes = good.clone();
        bytes[at.index(good.len())] ^= 1 << bit;
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(payload(content(&read.record), read.salt.expose()), bytes.clone());
            prop_assert_ne!(leaf_hash(&bytes), leaf_hash(&good));
        }
    }
}
