#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use std::collections::BTreeMap;

use portal_core::id::Id;
use portal_core::{Entropy, SeededEntropy};

use super::*;
use crate::domain::life::Life;
use crate::domain::notice::Text;
use crate::domain::purpose::{LegalBasis, Terms};

const NOW: Timestamp = Timestamp::from_seconds(1_795_305_600);
const DAY: Duration = Duration::from_secs(86_400);

struct World {
    entropy: SeededEntropy,
    purpose: Purpose,
    notice: Notice,
}

impl World {
    fn new() -> Self {
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

    fn offer(&self) -> Result<Offer<'_>, ConsentError> {
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

fn act(entropy: &dyn Entropy, now: Timestamp) -> Act {
    let method = Some(Indication::Button);
    Act { event: EventId::generate(now, entropy), actor: "account".to_owned(), method, reason: None, now }
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
