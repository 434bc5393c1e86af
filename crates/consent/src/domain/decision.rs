//! Whether a person's data may be used for a purpose. In doubt it may not.
//!
//! Invariant: a permit rests on a consent that is in force at the asked time, on what its subject was told then: the
//! revision of the purpose that was consented to says which data and which recipients are covered.

use std::collections::BTreeMap;

use portal_core::Timestamp;
use portal_core::id::{ConsentId, PurposeId, SubjectId};

use crate::domain::consent::{Basis, status_at};
use crate::domain::status::Status;

/// May this be done?
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) subject: SubjectId,
    pub(crate) purpose: PurposeId,
    /// Categories of data; none asks for those of the purpose.
    pub(crate) personal_data: Vec<String>,
    /// Who is to receive the data, if not the controller itself.
    pub(crate) recipient: Option<String>,
    pub(crate) at: Timestamp,
}

/// What is known of a purpose that was published.
#[derive(Clone, Debug)]
pub(crate) struct KnownPurpose {
    pub(crate) archived_at: Option<Timestamp>,
    pub(crate) revisions: BTreeMap<u32, Coverage>,
}

/// What one published revision of a purpose covers.
#[derive(Clone, Debug)]
pub(crate) struct Coverage {
    pub(crate) personal_data: Vec<String>,
    pub(crate) recipients: Vec<String>,
    pub(crate) published_at: Timestamp,
    /// Whether it changes the terms.
    pub(crate) material: bool,
}

/// What is recorded of the subject and the purpose as of the asked time.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    None,
    /// There is a consent, but its history begins after the asked time.
    NotYet(ConsentId),
    Recorded(Record),
}

/// The last decision before the asked time.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) consent: ConsentId,
    pub(crate) status: Status,
    pub(crate) basis: Basis,
    pub(crate) expires_at: Option<Timestamp>,
    /// When later, material revisions of the same notice were published.
    pub(crate) later_material_notices: Vec<Timestamp>,
}

/// Why a decision came out as it did.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Reason {
    ConsentExpired,
    ConsentGiven,
    ConsentInvalidated,
    ConsentRefused,
    ConsentRequested,
    ConsentRevoked,
    ConsentWithdrawn,
    NoConsent,
    NotYetGiven,
    PersonalDataNotCovered,
    PurposeArchived,
    PurposeUnknown,
    RecipientNotCovered,
    /// A record that the answer would rest on is not what was written.
    RecordCorrupt,
    RevisionOutdated,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) reason: Reason,
    pub(crate) consent: Option<ConsentId>,
    /// At the asked time.
    pub(crate) status: Status,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Answer {
    /// The answer when a record is corrupt that it would rest on.
    pub(crate) const fn corrupt() -> Self {
        Self { reason: Reason::RecordCorrupt, consent: None, status: Status::Unknown, expires_at: None }
    }
}

impl Reason {
    /// Whether it is a yes.
    pub(crate) const fn permits(self) -> bool {
        matches!(self, Self::ConsentGiven)
    }
}

/// Answers `question` from what is known.
pub(crate) fn decide(question: &Question, purpose: Option<&KnownPurpose>, standing: Standing) -> Answer {
    let reason = judge(question, purpose, &standing);
    match standing {
        Standing::None => Answer { reason, consent: None, status: Status::Unknown, expires_at: None },
        Standing::NotYet(id) => {
            Answer { reason, consent: Some(id), status: Status::Unknown, expires_at: None }
        }
        Standing::Recorded(record) => Answer {
            reason,
            consent: Some(record.consent),
            status: status_at(record.status, record.expires_at, question.at),
            expires_at: record.expires_at,
        },
    }
}

fn judge(question: &Question, purpose: Option<&KnownPurpose>, standing: &Standing) -> Reason {
    let Some(purpose) = purpose.filter(|purpose| purpose.is_known_at(question.at)) else {
        return Reason::PurposeUnknown;
    };
    if purpose.archived_at.is_some_and(|archived| archived <= question.at) {
        return Reason::PurposeArchived;
    }
    let record = match standing {
        Standing::None => return Reason::NoConsent,
        Standing::NotYet(_) => return Reason::NotYetGiven,
        Standing::Recorded(record) => record,
    };
    match status_at(record.status, record.expires_at, question.at) {
        Status::Given | Status::RenewedGiven => {}
        Status::Expired => return Reason::ConsentExpired,
        Status::Invalidated => return Reason::ConsentInvalidated,
        Status::Refused => return Reason::ConsentRefused,
        Status::RequestDeferred | Status::Requested => return Reason::ConsentRequested,
        Status::Revoked => return Reason::ConsentRevoked,
        Status::Unknown => return Reason::NoConsent,
        Status::Withdrawn => return Reason::ConsentWithdrawn,
    }
    if purpose.changed_since(record.basis.purpose_revision, question.at) {
        return Reason::RevisionOutdated;
    }
    if record.later_material_notices.iter().any(|published| *published <= question.at) {
        return Reason::RevisionOutdated;
    }
    let Some(coverage) = purpose.revisions.get(&record.basis.purpose_revision) else {
        return Reason::PurposeUnknown;
    };
    if !question.personal_data.iter().all(|category| coverage.personal_data.contains(category)) {
        return Reason::PersonalDataNotCovered;
    }
    if question.recipient.as_ref().is_some_and(|recipient| !coverage.recipients.contains(recipient)) {
        return Reason::RecipientNotCovered;
    }
    Reason::ConsentGiven
}

impl KnownPurpose {
    /// Whether a revision after `revision` that was published by `at` changed the terms.
    fn changed_since(&self, revision: u32, at: Timestamp) -> bool {
        let mut later = self.revisions.iter().filter(|(number, _)| **number > revision);
        later.any(|(_, coverage)| coverage.material && coverage.published_at <= at)
    }

    fn is_known_at(&self, at: Timestamp) -> bool {
        self.revisions.values().any(|revision| revision.published_at <= at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use portal_core::SeededEntropy;
    use portal_core::id::{Id, NoticeId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);
    const BEFORE: Timestamp = Timestamp::from_seconds(900);
    const LATER: Timestamp = Timestamp::from_seconds(1_100);

    fn question() -> Question {
        let entropy = SeededEntropy::new(1);
        Question {
            subject: SubjectId::generate(NOW, &entropy),
            purpose: PurposeId::generate(NOW, &entropy),
            personal_data: Vec::new(),
            recipient: None,
            at: NOW,
        }
    }

    fn purpose() -> KnownPurpose {
        let coverage = Coverage {
            personal_data: vec!["pd:EmailAddress".to_owned()],
            recipients: vec!["Mailer".to_owned()],
            published_at: BEFORE,
            material: false,
        };
        KnownPurpose { archived_at: None, revisions: BTreeMap::from([(1, coverage)]) }
    }

    fn record(status: Status) -> Record {
        let entropy = SeededEntropy::new(2);
        let basis =
            Basis { purpose_revision: 1, notice: NoticeId::generate(NOW, &entropy), notice_revision: 1 };
        Record {
            consent: ConsentId::generate(NOW, &entropy),
            status,
            basis,
            expires_at: None,
            later_material_notices: Vec::new(),
        }
    }

    fn check(question: &Question, purpose: Option<&KnownPurpose>, standing: Standing, expect: Reason) {
        assert_eq!(decide(question, purpose, standing).reason, expect);
    }

    #[test]
    fn only_given_permits() {
        for status in Status::ALL {
            let answer = decide(&question(), Some(&purpose()), Standing::Recorded(record(status)));
            assert_eq!(answer.reason.permits(), status.permits(), "{status:?}");
            assert_eq!(answer.status, status);
        }
    }

    #[test]
    fn the_purpose_must_be_known_and_alive_at_the_asked_time() {
        let given = || Standing::Recorded(record(Status::Given));
        check(&question(), None, given(), Reason::PurposeUnknown);
        let early = Question { at: Timestamp::from_seconds(800), ..question() };
        check(&early, Some(&purpose()), given(), Reason::PurposeUnknown);
        let archived = KnownPurpose { archived_at: Some(NOW), ..purpose() };
        check(&question(), Some(&archived), given(), Reason::PurposeArchived);
        let archived_later = KnownPurpose { archived_at: Some(LATER), ..purpose() };
        check(&question(), Some(&archived_later), given(), Reason::ConsentGiven);
    }

    #[test]
    fn expiry_is_judged_at_the_asked_time() {
        let given = Record { expires_at: Some(NOW), ..record(Status::Given) };
        check(&question(), Some(&purpose()), Standing::Recorded(given.clone()), Reason::ConsentExpired);
        let just_before = Question { at: Timestamp::from_micros(NOW.as_micros() - 1), ..question() };
        check(&just_before, Some(&purpose()), Standing::Recorded(given), Reason::ConsentGiven);
    }

    #[test]
    fn data_recipients_and_revisions() {
        let given = || Standing::Recorded(record(Status::Given));
        let other_data = Question { personal_data: vec!["pd:Health".to_owned()], ..question() };
        check(&other_data, Some(&purpose()), given(), Reason::PersonalDataNotCovered);
        let other_recipient = Question { recipient: Some("Broker".to_owned()), ..question() };
        check(&other_recipient, Some(&purpose()), given(), Reason::RecipientNotCovered);
        let covered = Question {
            personal_data: vec!["pd:EmailAddress".to_owned()],
            recipient: Some("Mailer".to_owned()),
            ..question()
        };
        check(&covered, Some(&purpose()), given(), Reason::ConsentGiven);
        let outdated = Record { later_material_notices: vec![NOW], ..record(Status::Given) };
        check(&question(), Some(&purpose()), Standing::Recorded(outdated), Reason::RevisionOutdated);
        let not_yet = Record { later_material_notices: vec![LATER], ..record(Status::Given) };
        check(&question(), Some(&purpose()), Standing::Recorded(not_yet), Reason::ConsentGiven);
    }

    #[test]
    fn a_later_material_revision_of_the_purpose_needs_consent_again() {
        let given = || Standing::Recorded(record(Status::Given));
        let with = |material: bool, published_at: Timestamp| {
            let mut known = purpose();
            let later = Coverage { material, published_at, ..known.revisions[&1].clone() };
            known.revisions.insert(2, later);
            known
        };
        check(&question(), Some(&with(true, NOW)), given(), Reason::RevisionOutdated);
        check(&question(), Some(&with(true, LATER)), given(), Reason::ConsentGiven);
        check(&question(), Some(&with(false, NOW)), given(), Reason::ConsentGiven);
        let mut again = record(Status::RenewedGiven);
        again.basis.purpose_revision = 2;
        check(&question(), Some(&with(true, NOW)), Standing::Recorded(again), Reason::ConsentGiven);
    }

    #[test]
    fn without_a_record_there_is_no_consent() {
        check(&question(), Some(&purpose()), Standing::None, Reason::NoConsent);
        let id = record(Status::Given).consent;
        check(&question(), Some(&purpose()), Standing::NotYet(id), Reason::NotYetGiven);
    }
}
