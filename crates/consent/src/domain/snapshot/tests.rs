#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
//! What a snapshot answers, and that it never answers with what it must not rest on any more.

mod interleavings;

use portal_core::SeededEntropy;

use super::*;
use crate::domain::decision::{Coverage, Reason};

const NOW: Timestamp = Timestamp::from_seconds(1_000);

fn facts(seed: u64, purpose: PurposeId, status: Status, version: u64) -> Facts {
    let entropy = SeededEntropy::new(seed);
    Facts {
        id: ConsentId::generate(NOW, &entropy),
        subject: SubjectId::generate(NOW, &entropy),
        purpose,
        basis: Basis { purpose_revision: 1, notice: NoticeId::generate(NOW, &entropy), notice_revision: 1 },
        status,
        event_at: NOW,
        recorded_at: NOW,
        expires_at: None,
        version,
    }
}

fn terms(purpose: PurposeId) -> Terms {
    let coverage =
        Coverage { personal_data: Vec::new(), recipients: Vec::new(), published_at: NOW, material: false };
    let known = KnownPurpose { archived_at: None, revisions: BTreeMap::from([(1, coverage)]) };
    Terms { purposes: BTreeMap::from([(purpose, Some(known))]), notices: BTreeMap::new() }
}

fn question(facts: &Facts, at: Timestamp) -> Question {
    Question {
        subject: facts.subject,
        purpose: facts.purpose,
        personal_data: Vec::new(),
        recipient: None,
        at,
    }
}

fn purpose() -> PurposeId {
    PurposeId::generate(NOW, &SeededEntropy::new(7))
}

fn reason(snapshot: &Snapshot, facts: &Facts) -> Option<Reason> {
    snapshot.answer(&question(facts, NOW), NOW).map(|answered| answered.answer.reason)
}

#[test]
fn a_consent_only_goes_forward() {
    let snapshot = Snapshot::default();
    snapshot.know(terms(purpose()));
    let given = facts(1, purpose(), Status::Given, 1);
    assert_eq!(reason(&snapshot, &given), Some(Reason::NoConsent));
    snapshot.apply(&given, None);
    assert_eq!(reason(&snapshot, &given), Some(Reason::ConsentGiven));
    let withdrawn = Facts { status: Status::Withdrawn, version: 2, ..given.clone() };
    for facts in [&withdrawn, &given, &withdrawn] {
        snapshot.apply(facts, None);
        assert_eq!(reason(&snapshot, &given), Some(Reason::ConsentWithdrawn));
    }
    assert_eq!(snapshot.len(), 1);
    snapshot.clear();
    assert_eq!((snapshot.len(), reason(&snapshot, &given)), (0, Some(Reason::PurposeUnknown)));
}

#[test]
fn the_place_in_the_ledger_is_that_of_the_version() {
    let snapshot = Snapshot::default();
    snapshot.know(terms(purpose()));
    let given = facts(1, purpose(), Status::Given, 1);
    let whose = (given.subject, given.purpose);
    let position = || snapshot.answer(&question(&given, NOW), NOW).unwrap().position;
    snapshot.sequenced(whose, 1, 3);
    snapshot.apply(&given, None);
    assert_eq!(position(), None);
    snapshot.sequenced(whose, 1, 0);
    assert_eq!(position(), Some(0));
    snapshot.apply(&given, None);
    assert_eq!(position(), Some(0), "the same again says no less");
    snapshot.apply(&Facts { version: 2, ..given.clone() }, None);
    assert_eq!(position(), None);
    snapshot.sequenced(whose, 1, 0);
    assert_eq!(position(), None);
    snapshot.sequenced(whose, 2, 1 << 40);
    assert_eq!(position(), Some(1 << 40));
}

#[test]
fn what_is_not_known_for_sure_is_not_answered() {
    let snapshot = Snapshot::default();
    snapshot.know(terms(purpose()));
    let given = facts(1, purpose(), Status::Given, 1);
    snapshot.apply(&given, None);
    let (before, later) = (Timestamp::from_seconds(900), Timestamp::from_seconds(1_100));
    assert!(snapshot.answer(&question(&given, before), later).is_none(), "the past");
    assert!(snapshot.answer(&question(&given, NOW), later).is_some());
    assert!(snapshot.answer(&question(&given, before), before).is_some(), "now, by a clock that is slow");

    let other = facts(2, purpose(), Status::Given, 1);
    snapshot.apply(&other, None);
    snapshot.doubt(given.subject, given.purpose);
    assert_eq!(reason(&snapshot, &given), None, "a corrupt consent");
    assert_eq!(reason(&snapshot, &other), Some(Reason::ConsentGiven));

    let outdated = BTreeMap::from([(other.basis.notice, Some(vec![(1, NOW), (2, NOW)]))]);
    snapshot.know(Terms { notices: outdated, ..terms(purpose()) });
    assert_eq!(reason(&snapshot, &other), Some(Reason::RevisionOutdated));
    let corrupt = BTreeMap::from([(other.basis.notice, None)]);
    snapshot.know(Terms { notices: corrupt, ..terms(purpose()) });
    assert_eq!(reason(&snapshot, &other), None, "a corrupt notice");
    snapshot.know(Terms { purposes: BTreeMap::from([(purpose(), None)]), ..Terms::default() });
    assert_eq!(reason(&snapshot, &other), None, "a corrupt purpose");
}

#[test]
fn every_status_comes_back() {
    for status in Status::ALL {
        let facts =
            Facts { expires_at: Some(Timestamp::from_seconds(2_000)), ..facts(1, purpose(), status, 1) };
        let key = Key { subject: facts.subject.uuid().into_bytes(), purpose: 0 };
        let row = Row::new(key, &facts, 0, Some(Row::PLACE - 1));
        let back = (row.status(), row.expires_at(), row.position());
        assert_eq!(back, (status, facts.expires_at, Some(Row::PLACE - 1)));
    }
}

/// Three million rows: with tables that are at least 7/16 full, as after they were grown, less than 400 MB.
#[test]
fn rows_are_small() {
    assert!(size_of::<Row>() <= 72);
    let snapshot = Snapshot::default();
    snapshot.reserve(3_000_000);
    let room: usize = snapshot.shards.iter().map(|shard| read(shard).capacity()).sum();
    // A table has a byte more per row, and is full at 7/8.
    let bytes = room / 7 * 8 * (size_of::<Row>() + 1);
    assert!(room >= 3_000_000 && bytes < 320_000_000, "{room} rows in {bytes} bytes");
}
