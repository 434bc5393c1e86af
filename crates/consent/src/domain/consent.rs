//! A subject's standing towards one purpose, and the rules for changing it.
//!
//! Invariants: a change is an event or nothing; deciding again what stands already under the same revisions is nothing;
//! withdrawing asks for no purpose, no notice and no form; events of one consent are numbered without a gap.
//!
//! Two times are kept. The record time is when it was written here, and never goes back within a consent. The event time is
//! when the subject decided: now, unless the caller tells an earlier one of a decision that was made elsewhere; terms
//! count from it, and what a decision is possible after is judged at it. What comes late, after a later decision was
//! recorded:
//! - A withdrawal is recorded with its own event time and takes effect: whoever recorded the later decision may not have
//!   known of it, and in doubt there is no consent. Giving it again is one call. So it is also if the consent has ended
//!   by itself meanwhile.
//! - Anything else is refused: the present state would rest on the older of two decisions.

use std::time::Duration;

use portal_core::id::{ConsentId, EventId, NoticeId, PurposeId, SubjectId};
use portal_core::{Sensitive, Timestamp};

use crate::domain::delegation::Delegation;
use crate::domain::language::Language;
use crate::domain::life::State;
use crate::domain::notice::Notice;
use crate::domain::purpose::Purpose;
use crate::domain::status::{Change, IllegalChange, Status};
use crate::domain::subject::Capacity;

mod acts;

/// One subject's standing towards one purpose. Read it through [`Consent::facts`]; only transitions change it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Consent(Facts);

/// What is stored of a [`Consent`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Facts {
    pub(crate) id: ConsentId,
    pub(crate) subject: SubjectId,
    pub(crate) purpose: PurposeId,
    pub(crate) basis: Basis,
    /// As recorded; [`Consent::status_at`] tells it at a time.
    pub(crate) status: Status,
    /// Of the latest decision, by event time.
    pub(crate) event_at: Timestamp,
    pub(crate) recorded_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    /// The number of events so far: the etag.
    pub(crate) version: u64,
}

/// What exactly was decided on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Basis {
    pub(crate) purpose_revision: u32,
    pub(crate) notice: NoticeId,
    pub(crate) notice_revision: u32,
}

/// One step of a consent's history.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: EventId,
    pub(crate) consent: ConsentId,
    pub(crate) subject: SubjectId,
    pub(crate) purpose: PurposeId,
    pub(crate) basis: Basis,
    pub(crate) language: Option<Language>,
    pub(crate) previous: Status,
    pub(crate) status: Status,
    pub(crate) method: Option<Indication>,
    pub(crate) reason: Option<Sensitive<String>>,
    pub(crate) actor: String,
    pub(crate) event_at: Timestamp,
    pub(crate) recorded_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    /// From 1, without a gap within a consent.
    pub(crate) sequence: u64,
    /// Who decided for the subject, if somebody did.
    pub(crate) delegation: Option<Delegation>,
}

/// How the subject expressed the will.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Indication {
    AutomatedSignal,
    Button,
    Checkbox,
    ExplicitStatement,
    Signature,
    Spoken,
    Written,
}

/// Who acted, when and how.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) event: EventId,
    pub(crate) actor: String,
    pub(crate) method: Option<Indication>,
    pub(crate) reason: Option<Sensitive<String>>,
    /// When the subject decided, if that was told; otherwise now.
    pub(crate) event_at: Option<Timestamp>,
    pub(crate) now: Timestamp,
}

/// A document kept as proof of an indication.
#[derive(Clone)]
pub(crate) struct Evidence {
    pub(crate) kind: EvidenceKind,
    pub(crate) media_type: String,
    pub(crate) content: Sensitive<Vec<u8>>,
    pub(crate) content_hash: [u8; 48],
}

/// What a piece of evidence shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EvidenceKind {
    Delegation,
    Form,
    Log,
    Recording,
    Screenshot,
}

/// What came of a decision.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Changed(Consent, Box<Event>),
    /// It stands already: there is no event.
    Unchanged(Consent),
}

/// Why a decision can't be recorded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ConsentError {
    #[error("the delegation does not cover this purpose now")]
    DelegationNotCovering,
    #[error("the purpose concerns special categories and needs an explicit statement")]
    ExplicitStatementNeeded,
    #[error("a child needs a verified guardian to consent")]
    GuardianNeeded,
    #[error(transparent)]
    Illegal(#[from] IllegalChange),
    #[error("the notice has no body in this language")]
    LanguageMissing,
    #[error("the notice is not published")]
    NoticeNotPublished,
    #[error("the notice does not explain the purpose")]
    OtherPurpose,
    #[error("a later decision is recorded already")]
    OutOfOrder,
    #[error("the purpose is archived")]
    PurposeArchived,
    #[error("the purpose is not published")]
    PurposeNotPublished,
    #[error("the purpose does not allow a consent for so long")]
    TooLong,
}

/// What a subject was shown and asked: a published purpose, explained by a published notice, in a language it has.
#[derive(Clone, Debug)]
pub(crate) struct Offer<'a> {
    purpose: &'a Purpose,
    basis: Basis,
    language: Language,
    capacity: Capacity,
    delegation: Option<Delegation>,
}

impl<'a> Offer<'a> {
    /// Checks that `purpose` could be put to somebody by `notice` in `language`.
    pub(crate) fn new(
        purpose: &'a Purpose,
        notice: &Notice,
        language: Language,
    ) -> Result<Self, ConsentError> {
        match purpose.state() {
            State::Archived => return Err(ConsentError::PurposeArchived),
            State::Draft => return Err(ConsentError::PurposeNotPublished),
            State::Published => {}
        }
        if notice.state() != State::Published {
            return Err(ConsentError::NoticeNotPublished);
        }
        if !notice.text.purposes.contains(&purpose.id) {
            return Err(ConsentError::OtherPurpose);
        }
        if !notice.text.bodies.contains_key(&language) {
            return Err(ConsentError::LanguageMissing);
        }
        let basis =
            Basis { purpose_revision: purpose.revision, notice: notice.id, notice_revision: notice.revision };
        Ok(Self { purpose, basis, language, capacity: Capacity::Full, delegation: None })
    }

    /// The same, put to somebody of this capacity, for whom another decides if there is a delegation.
    pub(crate) fn put_to(self, capacity: Capacity, delegation: Option<Delegation>) -> Self {
        Self { capacity, delegation, ..self }
    }

    /// Whether who decides may do so at `now`.
    fn decider(&self, now: Timestamp) -> Result<(), ConsentError> {
        match &self.delegation {
            Some(delegation) if !delegation.covers(self.purpose.id, now) => {
                Err(ConsentError::DelegationNotCovering)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether who decides may consent at `now`.
    fn consenter(&self, now: Timestamp) -> Result<(), ConsentError> {
        self.decider(now)?;
        let guarded = self.delegation.as_ref().is_some_and(Delegation::is_verified_guardian);
        match self.capacity {
            Capacity::NeedsGuardian if !guarded => Err(ConsentError::GuardianNeeded),
            Capacity::Full | Capacity::NeedsGuardian => Ok(()),
        }
    }

    /// When what is given at `decided` in this way ends, if it ends.
    fn term(
        &self,
        valid_for: Option<Duration>,
        method: Option<Indication>,
        decided: Timestamp,
    ) -> Result<Option<Timestamp>, ConsentError> {
        if self.purpose.terms.special_category && method != Some(Indication::ExplicitStatement) {
            return Err(ConsentError::ExplicitStatementNeeded);
        }
        self.purpose.expiry(valid_for, decided).ok_or(ConsentError::TooLong)
    }

    fn ground(&self, expires_at: Option<Timestamp>) -> Ground {
        Ground { basis: self.basis, language: Some(self.language.clone()), expires_at }
    }
}

/// What a step rests on, and until when it holds.
struct Ground {
    basis: Basis,
    language: Option<Language>,
    expires_at: Option<Timestamp>,
}

impl Consent {
    /// Nothing recorded yet: the state before the first decision.
    pub(crate) fn unknown(id: ConsentId, subject: SubjectId, offer: &Offer<'_>, now: Timestamp) -> Self {
        Self(Facts {
            id,
            subject,
            purpose: offer.purpose.id,
            basis: offer.basis,
            status: Status::Unknown,
            event_at: now,
            recorded_at: now,
            expires_at: None,
            version: 0,
        })
    }

    /// What was stored.
    pub(crate) const fn restore(facts: Facts) -> Self {
        Self(facts)
    }

    pub(crate) const fn facts(&self) -> &Facts {
        &self.0
    }

    /// The status at `now`: what was given ends by itself.
    pub(crate) fn status_at(&self, now: Timestamp) -> Status {
        status_at(self.0.status, self.0.expires_at, now)
    }

    /// The subject consents.
    pub(crate) fn give(
        self,
        offer: &Offer<'_>,
        valid_for: Option<Duration>,
        act: Act,
    ) -> Result<Outcome, ConsentError> {
        let decided = self.decided_in_order(&act)?;
        offer.consenter(decided)?;
        let expires_at = offer.term(valid_for, act.method, decided)?;
        if self.status_at(decided).permits() && self.0.basis == offer.basis {
            return Ok(Outcome::Unchanged(self));
        }
        Ok(self.step(Change::Give, offer.ground(expires_at), act)?.by(offer.delegation.clone()))
    }

    /// The subject consents again, for a new term, to what is in force.
    pub(crate) fn renew(
        self,
        offer: &Offer<'_>,
        valid_for: Option<Duration>,
        act: Act,
    ) -> Result<Outcome, ConsentError> {
        let decided = self.decided_in_order(&act)?;
        offer.consenter(decided)?;
        let expires_at = offer.term(valid_for, act.method, decided)?;
        Ok(self.step(Change::Renew, offer.ground(expires_at), act)?.by(offer.delegation.clone()))
    }

    /// The subject refuses.
    pub(crate) fn refuse(self, offer: &Offer<'_>, act: Act) -> Result<Outcome, ConsentError> {
        offer.decider(self.decided_in_order(&act)?)?;
        if self.0.status == Status::Refused && self.0.basis == offer.basis {
            return Ok(Outcome::Unchanged(self));
        }
        Ok(self.step(Change::Refuse, offer.ground(None), act)?.by(offer.delegation.clone()))
    }

    /// The subject takes the consent back.
    pub(crate) fn withdraw(self, act: Act) -> Result<Outcome, ConsentError> {
        let ground = Ground { basis: self.0.basis, language: None, expires_at: None };
        Ok(self.step(Change::Withdraw, ground, act)?)
    }

    /// The term is over: recorded as of its end, if that has come.
    pub(crate) fn expire(self, act: Act) -> Result<Outcome, ConsentError> {
        let Some(end) = self.0.expires_at.filter(|end| *end <= act.now) else {
            return Ok(Outcome::Unchanged(self));
        };
        let previous = self.0.status;
        let status = previous.after(Change::Expire)?;
        let ground = Ground { basis: self.0.basis, language: None, expires_at: Some(end) };
        let act = Act { event_at: Some(end), ..act };
        Ok(self.record((previous, status), ground, act))
    }

    /// When this is recorded. Clocks of two replicas may differ; history still never goes back.
    fn recorded(&self, act: &Act) -> Timestamp {
        act.now.max(self.0.recorded_at)
    }

    /// When the subject decided. Nothing is recorded before it is decided.
    fn decided(&self, act: &Act) -> Timestamp {
        let recorded = self.recorded(act);
        act.event_at.map_or(recorded, |told| told.min(recorded))
    }

    /// When the subject decided, if nothing later is recorded.
    fn decided_in_order(&self, act: &Act) -> Result<Timestamp, ConsentError> {
        let decided = self.decided(act);
        if self.0.version > 0 && decided < self.0.event_at {
            return Err(ConsentError::OutOfOrder);
        }
        Ok(decided)
    }

    /// What a decision of the time `decided` comes after. That a consent has ended since does not count.
    fn before(&self, decided: Timestamp) -> Status {
        match self.0.status {
            // Only what was given has an end.
            Status::Expired if self.0.expires_at.is_some_and(|end| decided < end) => Status::Given,
            status => status_at(status, self.0.expires_at, decided),
        }
    }

    fn step(self, change: Change, ground: Ground, act: Act) -> Result<Outcome, IllegalChange> {
        let previous = self.before(self.decided(&act));
        let status = previous.after(change)?;
        Ok(self.record((previous, status), ground, act))
    }

    fn record(self, (previous, status): (Status, Status), ground: Ground, act: Act) -> Outcome {
        let Ground { basis, language, expires_at } = ground;
        let (now, decided) = (self.recorded(&act), self.decided(&act));
        let version = self.0.version.saturating_add(1);
        let event_at = if self.0.version > 0 { decided.max(self.0.event_at) } else { decided };
        let facts = Facts { basis, status, event_at, recorded_at: now, expires_at, version, ..self.0 };
        let event = Event {
            id: act.event,
            consent: facts.id,
            subject: facts.subject,
            purpose: facts.purpose,
            basis,
            language,
            previous,
            status,
            method: act.method,
            reason: act.reason,
            actor: act.actor,
            event_at: decided,
            recorded_at: now,
            expires_at,
            sequence: version,
            delegation: None,
        };
        Outcome::Changed(Self(facts), Box::new(event))
    }
}

impl Event {
    /// The consent as the event left it.
    pub(crate) fn consent_after(&self) -> Consent {
        Consent(Facts {
            id: self.consent,
            subject: self.subject,
            purpose: self.purpose,
            basis: self.basis,
            status: self.status,
            event_at: self.event_at,
            recorded_at: self.recorded_at,
            expires_at: self.expires_at,
            version: self.sequence,
        })
    }
}

impl Outcome {
    /// The same, decided by a delegate if there is one.
    pub(crate) fn by(mut self, delegation: Option<Delegation>) -> Self {
        if let Self::Changed(_, event) = &mut self {
            event.delegation = delegation;
        }
        self
    }

    /// The consent after the decision.
    pub(crate) fn consent(&self) -> &Consent {
        match self {
            Self::Changed(consent, _) | Self::Unchanged(consent) => consent,
        }
    }
}

/// The status at `now` of what was recorded as `status`.
pub(crate) fn status_at(status: Status, expires_at: Option<Timestamp>, now: Timestamp) -> Status {
    if expires_at.is_some_and(|end| end <= now) {
        status.after(Change::Expire).unwrap_or(status)
    } else {
        status
    }
}

impl Indication {
    const ALL: [Self; 7] = [
        Self::AutomatedSignal,
        Self::Button,
        Self::Checkbox,
        Self::ExplicitStatement,
        Self::Signature,
        Self::Spoken,
        Self::Written,
    ];

    /// The name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AutomatedSignal => "automated_signal",
            Self::Button => "button",
            Self::Checkbox => "checkbox",
            Self::ExplicitStatement => "explicit_statement",
            Self::Signature => "signature",
            Self::Spoken => "spoken",
            Self::Written => "written",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

impl EvidenceKind {
    const ALL: [Self; 5] = [Self::Delegation, Self::Form, Self::Log, Self::Recording, Self::Screenshot];

    /// The name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Delegation => "delegation",
            Self::Form => "form",
            Self::Log => "log",
            Self::Recording => "recording",
            Self::Screenshot => "screenshot",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;
