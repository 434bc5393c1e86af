#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use std::collections::BTreeMap;

use portal_core::id::Id;
use portal_core::{Entropy, SeededEntropy};

use super::*;
use crate::domain::delegation::{Kind, StatedBy, Verification};
use crate::domain::life::Life;
use crate::domain::notice::Text;
use crate::domain::purpose::{LegalBasis, Terms};

pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_795_305_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) struct World {
    pub(super) entropy: SeededEntropy,
    pub(super) purpose: Purpose,
    pub(super) notice: Notice,
}

impl World {
    pub(super) fn new() -> Self {
        let entropy = SeededEntropy::new(1);
        let life = Life::begin(NOW).publish(None, NOW).unwrap();
        let terms = Terms {
            display_name: "Newsletter".to_owned(),
            description: String::new(),
            dpv_purposes: Vec::new(),
            legal_basis: LegalBasis::Consent,
            personal_data: Vec::new(),
            special_category: false,
            recipients: Vec::new(),
            retention: None,
            validity: Some(DAY * 30),
            jurisdiction: String::new(),
            record: crate::domain::record::Record::default(),
            material_change: false,
        };
        let purpose = Purpose { id: PurposeId::generate(NOW, &entropy), life, revision: 1, terms };
        let text = Text {
            title: "Notice".to_owned(),
            bodies: BTreeMap::from([(english(), "body".to_owned())]),
            purposes: vec![purpose.id],
            material_change: false,
        };
        let notice = Notice {
            id: NoticeId::generate(NOW, &entropy),
            life,
            revision: 1,
            text,
            content_hash: Some(vec![0; 48]),
        };
        Self { entropy, purpose, notice }
    }

    pub(super) fn offer(&self) -> Result<Offer<'_>, ConsentError> {
        Offer::new(&self.purpose, &self.notice, english())
    }

    fn unknown(&self) -> Consent {
        let subject = SubjectId::generate(NOW, &self.entropy);
        Consent::unknown(ConsentId::generate(NOW, &self.entropy), subject, &self.offer().unwrap(), NOW)
    }

    fn act(&self, now: Timestamp) -> Act {
        act(&self.entropy, now)
    }
}

pub(super) fn act(entropy: &dyn Entropy, now: Timestamp) -> Act {
    let method = Some(Indication::Button);
    let event = EventId::generate(now, entropy);
    Act { event, actor: "account".to_owned(), method, reason: None, event_at: None, now }
}

fn english() -> Language {
    Language::parse("en").unwrap()
}

fn changed(outcome: Outcome) -> (Consent, Event) {
    match outcome {
        Outcome::Changed(consent, event) => (consent, *event),
        Outcome::Unchanged(_) => panic!("nothing changed"),
    }
}

#[test]
fn give_expire_give_withdraw_refuse() {
    let world = World::new();
    let offer = world.offer().unwrap();
    let (given, event) = changed(world.unknown().give(&offer, None, world.act(NOW)).unwrap());
    assert_eq!((event.previous, event.status, event.sequence), (Status::Unknown, Status::Given, 1));
    assert_eq!(given.facts().expires_at, Some(NOW.plus(DAY * 30)));
    assert_eq!(given.status_at(NOW.plus(DAY * 30).minus(Duration::from_micros(1))), Status::Given);

    let late = NOW.plus(DAY * 30);
    assert_eq!(given.status_at(late), Status::Expired);
    let nothing = given.clone().withdraw(world.act(late)).unwrap_err();
    assert_eq!(
        nothing,
        ConsentError::Illegal(IllegalChange { from: Status::Expired, change: Change::Withdraw })
    );
    let (again, event) = changed(given.give(&offer, Some(DAY), world.act(late)).unwrap());
    assert_eq!((event.previous, event.status, event.sequence), (Status::Expired, Status::Given, 2));

    let (withdrawn, event) = changed(again.withdraw(world.act(late)).unwrap());
    assert_eq!((event.previous, event.status, event.expires_at), (Status::Given, Status::Withdrawn, None));
    assert!(withdrawn.clone().withdraw(world.act(late)).is_err());
    let (refused, event) = changed(withdrawn.refuse(&offer, world.act(late)).unwrap());
    assert_eq!((event.previous, event.status, event.sequence), (Status::Withdrawn, Status::Refused, 4));
    assert!(matches!(refused.refuse(&offer, world.act(late)).unwrap(), Outcome::Unchanged(_)));
}

#[test]
fn a_first_record_may_be_a_refusal_and_a_refusal_never_ends_a_consent() {
    let world = World::new();
    let offer = world.offer().unwrap();
    let (_, event) = changed(world.unknown().refuse(&offer, world.act(NOW)).unwrap());
    assert_eq!((event.previous, event.status), (Status::Unknown, Status::Refused));
    let (given, _) = changed(world.unknown().give(&offer, None, world.act(NOW)).unwrap());
    assert!(matches!(given.refuse(&offer, world.act(NOW)), Err(ConsentError::Illegal(_))));
}

#[test]
fn giving_again_is_nothing_unless_the_terms_are_new() {
    let mut world = World::new();
    let (given, _) = changed(world.unknown().give(&world.offer().unwrap(), None, world.act(NOW)).unwrap());
    let same = given.clone().give(&world.offer().unwrap(), Some(DAY), world.act(NOW)).unwrap();
    assert!(matches!(&same, Outcome::Unchanged(consent) if *consent == given));
    world.notice.life = world.notice.life.edit(None, NOW).unwrap().0.publish(None, NOW).unwrap();
    world.notice.revision = 2;
    let (_, event) = changed(given.give(&world.offer().unwrap(), None, world.act(NOW)).unwrap());
    assert_eq!((event.status, event.basis.notice_revision), (Status::RenewedGiven, 2));
}

#[test]
fn withdrawal_needs_neither_purpose_nor_notice_and_history_never_goes_back() {
    let world = World::new();
    let (given, _) = changed(world.unknown().give(&world.offer().unwrap(), None, world.act(NOW)).unwrap());
    let earlier = NOW.minus(DAY);
    let (_, event) = changed(given.withdraw(world.act(earlier)).unwrap());
    assert_eq!(event.recorded_at, NOW);
}

#[test]
fn what_can_be_offered() {
    let mut world = World::new();
    let french = Language::parse("fr").unwrap();
    assert_eq!(Offer::new(&world.purpose, &world.notice, french).unwrap_err(), ConsentError::LanguageMissing);
    let published = world.purpose.life;
    world.purpose.life = published.archive(None, NOW).unwrap();
    assert_eq!(world.offer().unwrap_err(), ConsentError::PurposeArchived);
    world.purpose.life = Life::begin(NOW);
    assert_eq!(world.offer().unwrap_err(), ConsentError::PurposeNotPublished);
    world.purpose.life = published;
    world.notice.life = Life::begin(NOW);
    assert_eq!(world.offer().unwrap_err(), ConsentError::NoticeNotPublished);
    world.notice.life = published;
    world.notice.text.purposes.clear();
    assert_eq!(world.offer().unwrap_err(), ConsentError::OtherPurpose);
}

#[test]
fn no_longer_than_the_purpose_allows_and_explicit_where_needed() {
    let mut world = World::new();
    let too_long = world.unknown().give(&world.offer().unwrap(), Some(DAY * 31), world.act(NOW));
    assert_eq!(too_long.unwrap_err(), ConsentError::TooLong);
    world.purpose.terms.special_category = true;
    let implicit = world.unknown().give(&world.offer().unwrap(), None, world.act(NOW));
    assert_eq!(implicit.unwrap_err(), ConsentError::ExplicitStatementNeeded);
    let act = Act { method: Some(Indication::ExplicitStatement), ..world.act(NOW) };
    assert!(world.unknown().give(&world.offer().unwrap(), None, act).is_ok());
}

#[test]
fn renewing_needs_a_consent_in_force_and_begins_a_new_term() {
    let world = World::new();
    let offer = world.offer().unwrap();
    let nothing = world.unknown().renew(&offer, None, world.act(NOW)).unwrap_err();
    let illegal = |from| ConsentError::Illegal(IllegalChange { from, change: Change::Renew });
    assert_eq!(nothing, illegal(Status::Unknown));
    let (given, _) = changed(world.unknown().give(&offer, None, world.act(NOW)).unwrap());
    let later = NOW.plus(DAY * 20);
    let (renewed, event) = changed(given.clone().renew(&offer, Some(DAY * 25), world.act(later)).unwrap());
    assert_eq!((event.previous, event.status), (Status::Given, Status::RenewedGiven));
    assert_eq!(renewed.facts().expires_at, Some(later.plus(DAY * 25)));
    assert_eq!(
        given.clone().renew(&offer, Some(DAY * 31), world.act(later)).unwrap_err(),
        ConsentError::TooLong
    );
    let late = given.renew(&offer, None, world.act(NOW.plus(DAY * 30))).unwrap_err();
    assert_eq!(late, illegal(Status::Expired));
    let (withdrawn, _) = changed(renewed.withdraw(world.act(later)).unwrap());
    assert_eq!(withdrawn.renew(&offer, None, world.act(later)).unwrap_err(), illegal(Status::Withdrawn));
}

/// A decision that was made `ago` before `now` and is told now.
fn told(world: &World, ago: Duration, now: Timestamp) -> Act {
    Act { event_at: Some(now.minus(ago)), ..world.act(now) }
}

#[test]
fn terms_count_from_the_event_and_records_from_now() {
    let world = World::new();
    let offer = world.offer().unwrap();
    let (given, event) = changed(world.unknown().give(&offer, None, told(&world, DAY * 29, NOW)).unwrap());
    assert_eq!((event.event_at, event.recorded_at), (NOW.minus(DAY * 29), NOW));
    assert_eq!(given.facts().expires_at, Some(NOW.plus(DAY)));
    // What was decided elsewhere before it ended by itself is still recorded, in its order.
    let now = NOW.plus(DAY * 100);
    let (renewed, event) = changed(given.clone().renew(&offer, None, told(&world, DAY * 100, now)).unwrap());
    assert_eq!((event.previous, event.status), (Status::Given, Status::RenewedGiven));
    assert_eq!(
        (renewed.facts().expires_at, renewed.status_at(now)),
        (Some(NOW.plus(DAY * 30)), Status::Expired)
    );
    let ahead = Act { event_at: Some(now.plus(DAY)), ..world.act(now) };
    let (_, event) = changed(world.unknown().give(&offer, None, ahead).unwrap());
    assert_eq!((event.event_at, event.recorded_at), (now, now));
}

#[test]
fn a_late_withdrawal_takes_effect_and_nothing_else_that_is_late_does() {
    let world = World::new();
    let offer = world.offer().unwrap();
    let (given, _) = changed(world.unknown().give(&offer, None, world.act(NOW)).unwrap());
    let now = NOW.plus(DAY);
    assert_eq!(
        given.clone().renew(&offer, None, told(&world, DAY * 2, now)).unwrap_err(),
        ConsentError::OutOfOrder
    );
    assert_eq!(
        given.clone().give(&offer, None, told(&world, DAY * 2, now)).unwrap_err(),
        ConsentError::OutOfOrder
    );
    assert_eq!(
        given.clone().refuse(&offer, told(&world, DAY * 2, now)).unwrap_err(),
        ConsentError::OutOfOrder
    );
    let (withdrawn, event) = changed(given.withdraw(told(&world, DAY * 2, now)).unwrap());
    assert_eq!((event.previous, event.status), (Status::Given, Status::Withdrawn));
    assert_eq!((event.event_at, event.recorded_at), (NOW.minus(DAY), now));
    // Order is still judged by the latest decision.
    assert_eq!(withdrawn.facts().event_at, NOW);
    let between =
        withdrawn.clone().give(&offer, None, Act { event_at: Some(NOW.minus(DAY / 2)), ..world.act(now) });
    assert_eq!(between.unwrap_err(), ConsentError::OutOfOrder);
    assert!(withdrawn.give(&offer, None, world.act(now)).is_ok());
}

#[test]
fn an_end_is_recorded_as_of_the_end_and_once() {
    let world = World::new();
    let offer = world.offer().unwrap();
    let (given, _) = changed(world.unknown().give(&offer, None, world.act(NOW)).unwrap());
    let end = NOW.plus(DAY * 30);
    assert!(matches!(given.clone().expire(world.act(end.minus(DAY))).unwrap(), Outcome::Unchanged(_)));
    let now = end.plus(DAY);
    let (expired, event) = changed(given.expire(world.act(now)).unwrap());
    assert_eq!((event.previous, event.status, event.language), (Status::Given, Status::Expired, None));
    assert_eq!((event.event_at, event.recorded_at, event.expires_at), (end, now, Some(end)));
    assert_eq!((expired.status_at(NOW), expired.facts().event_at), (Status::Expired, end));
    assert!(expired.clone().expire(world.act(now)).is_err());
    // A withdrawal of before the end is not lost.
    let (withdrawn, event) = changed(expired.clone().withdraw(told(&world, DAY * 2, now)).unwrap());
    assert_eq!((event.previous, withdrawn.facts().status), (Status::Given, Status::Withdrawn));
    assert!(expired.clone().withdraw(world.act(now)).is_err());
    assert_eq!(
        expired.clone().renew(&offer, None, told(&world, DAY * 2, now)).unwrap_err(),
        ConsentError::OutOfOrder
    );
    let (given, event) = changed(expired.give(&offer, None, world.act(now)).unwrap());
    assert_eq!((event.previous, given.facts().expires_at), (Status::Expired, Some(now.plus(DAY * 30))));
}

fn guardian(kind: Kind, verification: Option<Verification>, stated_by: StatedBy) -> Delegation {
    let delegate = Sensitive::new("parent".to_owned());
    Delegation {
        delegate,
        kind,
        verification,
        detail: None,
        purposes: Vec::new(),
        from: None,
        until: None,
        stated_by,
    }
}

#[test]
fn a_child_consents_by_a_verified_guardian_alone() {
    use StatedBy::{Controller, Subject};
    use Verification::Document;
    let world = World::new();
    let give = |capacity: Capacity, delegation: Option<Delegation>| {
        let offer = world.offer().unwrap().put_to(capacity, delegation);
        world.unknown().give(&offer, None, world.act(NOW))
    };
    let needed =
        |result: Result<Outcome, ConsentError>| assert_eq!(result.unwrap_err(), ConsentError::GuardianNeeded);
    let child = Capacity::NeedsGuardian;
    needed(give(child, None));
    needed(give(child, Some(guardian(Kind::Guardian, None, Controller))));
    needed(give(child, Some(guardian(Kind::Guardian, Some(Document), Subject))));
    needed(give(child, Some(guardian(Kind::Representative, Some(Document), Controller))));
    let verified = guardian(Kind::Guardian, Some(Document), Controller);
    let (_, event) = changed(give(child, Some(verified.clone())).unwrap());
    assert_eq!(event.delegation.unwrap().delegate.expose(), "parent");
    assert!(give(Capacity::Full, None).is_ok());

    let elsewhere = PurposeId::generate(NOW, &world.entropy);
    for wrong in [
        Delegation { purposes: vec![elsewhere], ..verified.clone() },
        Delegation { from: Some(NOW.plus(DAY)), ..verified.clone() },
        Delegation { until: Some(NOW), ..verified.clone() },
    ] {
        for capacity in [child, Capacity::Full] {
            let refused = give(capacity, Some(wrong.clone())).unwrap_err();
            assert_eq!(refused, ConsentError::DelegationNotCovering);
        }
    }
    let within = Delegation {
        purposes: vec![world.purpose.id],
        from: Some(NOW),
        until: Some(NOW.plus(DAY)),
        ..verified
    };
    assert!(give(child, Some(within)).is_ok());
}

#[test]
fn nobody_needs_a_guardian_to_refuse_or_withdraw() {
    let world = World::new();
    let offer = || world.offer().unwrap().put_to(Capacity::NeedsGuardian, None);
    let (given, _) = changed(world.unknown().give(&world.offer().unwrap(), None, world.act(NOW)).unwrap());
    let renewed = given.renew(&offer(), None, world.act(NOW));
    assert_eq!(renewed.unwrap_err(), ConsentError::GuardianNeeded);
    assert!(world.unknown().refuse(&offer(), world.act(NOW)).is_ok());
    let (given, _) = changed(world.unknown().give(&world.offer().unwrap(), None, world.act(NOW)).unwrap());
    let (withdrawn, _) = changed(given.withdraw(world.act(NOW)).unwrap());
    assert_eq!(withdrawn.facts().status, Status::Withdrawn);
}

#[test]
fn a_request_is_put_off_answered_or_ends() {
    let world = World::new();
    let offer = world.offer().unwrap();
    let (asked, event) = changed(world.unknown().request(&offer, Some(DAY), world.act(NOW)).unwrap());
    assert_eq!((event.status, event.expires_at), (Status::Requested, Some(NOW.plus(DAY))));
    assert!(matches!(asked.clone().request(&offer, None, world.act(NOW)).unwrap(), Outcome::Unchanged(_)));
    assert_eq!(asked.status_at(NOW.plus(DAY)), Status::Expired);
    let late = asked.clone().defer(world.act(NOW.plus(DAY))).unwrap_err();
    assert_eq!(late, ConsentError::Illegal(IllegalChange { from: Status::Expired, change: Change::Defer }));
    let (deferred, event) = changed(asked.defer(world.act(NOW)).unwrap());
    assert_eq!((event.status, event.expires_at), (Status::RequestDeferred, None));
    assert!(matches!(deferred.clone().defer(world.act(NOW)).unwrap(), Outcome::Unchanged(_)));
    let (given, _) = changed(deferred.give(&offer, None, world.act(NOW)).unwrap());
    assert!(given.clone().request(&offer, None, world.act(NOW)).is_err());
    let (revoked, event) = changed(given.clone().revoke(world.act(NOW)).unwrap());
    assert_eq!(event.status, Status::Revoked);
    assert!(revoked.give(&offer, None, world.act(NOW)).is_err());
    let (invalid, event) = changed(given.invalidate(world.act(NOW)).unwrap());
    assert_eq!(event.status, Status::Invalidated);
    assert!(invalid.withdraw(world.act(NOW)).is_err());
}
