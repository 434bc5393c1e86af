//! Records as the service issues them.

use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::Id;
use portal_receipt::record::{
    Delegation, Event, Evidence, IndicatedBy, Indication, Notice, Party, Purpose, Record, Status, Subject,
    Terms,
};

pub fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A consent to two DPV purposes by one controller, with a screenshot.
pub fn given() -> Record {
    let id = |number: u8| [number; 16];
    Record {
        id: Id::from_bytes(id(0x11)),
        consent: Id::from_bytes(id(0x22)),
        keeper: "portal.local/consent".to_owned(),
        subject: Subject {
            id: Id::from_bytes(id(0x33)),
            categories: strings(&["dpv:Adult"]),
            jurisdictions: strings(&["loc:IE"]),
        },
        event: Event {
            sequence: 1,
            previous: Status::Unknown,
            status: Status::Given,
            event_at: Timestamp::from_seconds(1_795_305_600),
            recorded_at: Timestamp::from_seconds(1_795_305_600),
            expires_at: Some(Timestamp::from_seconds(1_826_841_600)),
            indication: Some(Indication::Checkbox),
            indicated_by: IndicatedBy::Subject,
            recorded_by: Some("0198c3a4-7d1e-7cc3-98c4-dc0c0c073990".to_owned()),
        },
        notice: Notice {
            id: Id::from_bytes(id(0x44)),
            revision: 1,
            language: Some("en".to_owned()),
            content_hash: Some([0x55; 48]),
        },
        purpose: Purpose {
            id: Id::from_bytes(id(0x66)),
            revision: 3,
            terms: Some(terms()),
            content_hash: Some([0x88; 48]),
            abridged: false,
        },
        parties: vec![controller(), processor()],
        delegation: None,
        evidence: vec![Evidence {
            kind: "screenshot".to_owned(),
            media_type: "image/png".to_owned(),
            content_hash: [0x77; 48],
        }],
    }
}

fn terms() -> Terms {
    Terms {
        name: "Newsletter".to_owned(),
        purposes: strings(&["dpv:Marketing", "dpv:CommunicationManagement"]),
        legal_basis: "dpv:Consent".to_owned(),
        personal_data: strings(&["pd:EmailAddress", "pd:Name"]),
        special_category: false,
        processing: strings(&["dpv:Collect", "dpv:Store", "dpv:Use"]),
        recipients: strings(&["ex:Beta"]),
        storage: strings(&["loc:IE"]),
        retention: Some(Duration::from_secs(86_400 * 180)),
        jurisdictions: strings(&["loc:EU"]),
        withdrawal: Some("https://example.com/manage-consent".to_owned()),
        retention_event: Some("Until the account is closed".to_owned()),
        storage_conditions: Some("Encrypted, deleted with the account".to_owned()),
        data_source: Some("From the person".to_owned()),
        processing_locations: strings(&["loc:DE", "loc:IE"]),
        restrictions: Some("Not outside the EEA".to_owned()),
        rights: strings(&["eu-gdpr:A15", "eu-gdpr:A17"]),
        service: Some("Newsletter".to_owned()),
        codes_of_conduct: strings(&["https://example.com/code"]),
        impact_assessment: Some("https://example.com/dpia".to_owned()),
        optional_personal_data: strings(&["pd:Name"]),
    }
}

fn processor() -> Party {
    Party {
        id: "ex:Beta".to_owned(),
        role: "dpv:DataProcessor".to_owned(),
        name: "Beta Ltd".to_owned(),
        email: Some("privacy@beta.example".to_owned()),
        country: Some("loc:DE".to_owned()),
        ..Party::default()
    }
}

/// A guardian, verified by a document.
pub fn guardian() -> Delegation {
    Delegation {
        kind: "dpv:GuardianOfDataSubject".to_owned(),
        delegate: Delegation::pseudonym(Id::from_bytes([0x11; 16]), "guardian-1"),
        verified: true,
        expires_at: Some(Timestamp::from_seconds(1_900_000_000)),
        verified_by: Some("document".to_owned()),
        content_hash: Some([0x99; 48]),
    }
}

/// [`given`], for a child by its guardian.
pub fn for_child() -> Record {
    let given = given();
    Record {
        subject: Subject { categories: strings(&["dpv:Child"]), ..given.subject },
        event: Event { indicated_by: IndicatedBy::Delegate, ..given.event },
        delegation: Some(guardian()),
        ..given
    }
}

fn controller() -> Party {
    Party {
        id: "ex:Acme".to_owned(),
        role: "dpv:DataController".to_owned(),
        name: "Acme".to_owned(),
        address: Some("Example Avenue 1, Dublin".to_owned()),
        contact: Some("Data protection officer".to_owned()),
        email: Some("contact@example.com".to_owned()),
        phone: Some("+00-000-000".to_owned()),
        url: Some("https://example.com/".to_owned()),
        country: Some("loc:IE".to_owned()),
    }
}

/// A withdrawal of which neither notice nor purpose could be read.
pub fn withdrawn() -> Record {
    let given = given();
    Record {
        event: Event {
            sequence: 2,
            previous: Status::Given,
            status: Status::Withdrawn,
            expires_at: None,
            indication: None,
            ..given.event
        },
        notice: Notice { language: None, content_hash: None, ..given.notice },
        purpose: Purpose { terms: None, content_hash: None, ..given.purpose },
        parties: vec![],
        evidence: vec![],
        ..given
    }
}

/// [`given`] with other terms.
pub fn on(change: impl FnOnce(&mut Terms)) -> Record {
    let mut record = given();
    record.purpose.terms.as_mut().map(change).unwrap();
    record
}
