//! Every walk through the changes of a consent, up to a depth, and a million random steps, through the functions that
//! use cases call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use std::collections::BTreeSet;

use portal_core::id::Id;
use portal_core::{Entropy, SeededEntropy};

use super::tests::{DAY, NOW, World, act};
use super::*;
use crate::domain::past::When;

/// What can be done to a consent from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Call {
    Defer,
    Give,
    Invalidate,
    Refuse,
    Renew,
    Request,
    Revoke,
    /// Nobody does anything for longer than anything lasts.
    Wait,
    Withdraw,
}

const CALLS: [Call; 9] = [
    Call::Defer,
    Call::Give,
    Call::Invalidate,
    Call::Refuse,
    Call::Renew,
    Call::Request,
    Call::Revoke,
    Call::Wait,
    Call::Withdraw,
];

/// The edges of the specification.
fn specified() -> BTreeSet<(Status, Status)> {
    use Status::{
        Expired, Given, Invalidated, Refused, RenewedGiven, RequestDeferred, Requested, Revoked, Unknown,
        Withdrawn,
    };
    let mut edges = BTreeSet::from([(Unknown, Requested)]);
    edges.extend([Given, Refused, RequestDeferred, Expired].map(|to| (Requested, to)));
    for from in [Given, RenewedGiven] {
        edges.extend([RenewedGiven, Withdrawn, Revoked, Invalidated, Expired].map(|to| (from, to)));
    }
    for from in [Refused, Withdrawn, Expired, RequestDeferred] {
        edges.extend([Requested, Given].map(|to| (from, to)));
    }
    edges
}

/// Whether `from` → `to` is an edge, or two of which the first is a request: a notice that is shown is one.
fn is_legal(edges: &BTreeSet<(Status, Status)>, from: Status, to: Status) -> bool {
    let asked = edges.contains(&(from, Status::Requested)) && edges.contains(&(Status::Requested, to));
    edges.contains(&(from, to)) || (asked && matches!(to, Status::Given | Status::Refused))
}

fn call(call: Call, consent: Consent, offer: &Offer<'_>, act: Act) -> Result<Outcome, ConsentError> {
    match call {
        Call::Defer => consent.defer(act),
        Call::Give => consent.give(offer, None, act),
        Call::Invalidate => consent.invalidate(act),
        Call::Refuse => consent.refuse(offer, act),
        Call::Renew => consent.renew(offer, None, act),
        Call::Request => consent.request(offer, Some(DAY), act),
        Call::Revoke => consent.revoke(act),
        Call::Wait => Ok(Outcome::Unchanged(consent)),
        Call::Withdraw => consent.withdraw(act),
    }
}

/// A purpose under two revisions of its notice, so that consent can be renewed.
fn revisions() -> [World; 2] {
    let first = World::new();
    let mut second = World {
        entropy: SeededEntropy::new(2),
        purpose: first.purpose.clone(),
        notice: first.notice.clone(),
    };
    second.notice.life = second.notice.life.edit(None, NOW).unwrap().0.publish(None, NOW).unwrap();
    second.notice.revision = 2;
    [first, second]
}

struct Walk {
    edges: BTreeSet<(Status, Status)>,
    taken: BTreeSet<(Status, Status)>,
    steps: u64,
    entropy: SeededEntropy,
}

impl Walk {
    /// Does everything that can be done, in every order.
    fn all(&mut self, offers: &[Offer<'_>; 2], consent: &Consent, now: Timestamp, depth: usize) {
        if depth == 0 {
            return;
        }
        let next = CALLS.into_iter().flat_map(|next| offers.iter().map(move |offer| (next, offer)));
        for (next, offer) in next {
            let later = if next == Call::Wait { now.plus(DAY * 100) } else { now };
            let before = consent.status_at(later);
            let outcome = call(next, consent.clone(), offer, act(&self.entropy, later));
            self.steps += 1;
            match outcome {
                Err(_) => assert!(
                    next != Call::Withdraw || !before.permits(),
                    "what is in force could not be withdrawn from {before:?}"
                ),
                Ok(Outcome::Unchanged(after)) => {
                    assert_eq!(&after, consent);
                    if next == Call::Wait {
                        self.all(offers, &after, later, depth - 1);
                    }
                }
                Ok(Outcome::Changed(after, event)) => {
                    assert_eq!((event.previous, event.status), (before, after.facts().status));
                    assert!(is_legal(&self.edges, event.previous, event.status), "{event:?}");
                    self.taken.insert((event.previous, event.status));
                    self.all(offers, &after, later, depth - 1);
                }
            }
        }
    }
}

#[test]
fn every_walk_of_five_steps_takes_legal_edges_only_and_together_they_take_all() {
    let [first, second] = revisions();
    let offers = [first.offer().unwrap(), second.offer().unwrap()];
    let entropy = SeededEntropy::new(3);
    let mut walk = Walk { edges: specified(), taken: BTreeSet::new(), steps: 0, entropy };
    let subject = SubjectId::generate(NOW, &walk.entropy);
    let unknown = Consent::unknown(ConsentId::generate(NOW, &walk.entropy), subject, &offers[0], NOW);
    walk.all(&offers, &unknown, NOW, 5);
    assert!(walk.steps > 50_000, "{}", walk.steps);
    // That time has passed is no step of its own: it is seen in what the next one comes after.
    let edges = walk.edges.difference(&walk.taken).filter(|(_, to)| *to != Status::Expired);
    let missing: Vec<_> = edges.collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// One history.
struct History {
    consent: Consent,
    events: Vec<Event>,
}

impl History {
    fn start(offer: &Offer<'_>, entropy: &dyn Entropy) -> Self {
        let subject = SubjectId::generate(NOW, entropy);
        let consent = Consent::unknown(ConsentId::generate(NOW, entropy), subject, offer, NOW);
        Self { consent, events: Vec::new() }
    }

    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Unchanged(consent) => assert_eq!(consent, self.consent),
            Outcome::Changed(consent, event) => {
                self.check(&consent, &event);
                self.consent = consent;
                self.events.push(*event);
            }
        }
    }

    /// What each step must keep.
    fn check(&self, after: &Consent, event: &Event) {
        let when = When { decided: event.event_at, recorded: event.recorded_at };
        assert_eq!(Consent::past(std::slice::from_ref(event), when).as_ref(), Some(after));
        let (before, facts) = (self.consent.facts(), after.facts());
        assert_eq!(event.sequence, self.events.len() as u64 + 1);
        assert_eq!((facts.version, facts.status), (event.sequence, event.status));
        assert!(event.recorded_at >= before.recorded_at && event.event_at <= event.recorded_at);
        assert_eq!((facts.id, facts.subject, facts.purpose), (before.id, before.subject, before.purpose));
    }

    /// The status at `at`, of the events alone.
    fn replay(&self, at: Timestamp) -> Status {
        let last = self.events.iter().rev().find(|event| event.event_at <= at);
        last.map_or(Status::Unknown, |event| status_at(event.status, event.expires_at, at))
    }

    /// What each event comes after is what the one before it has left: so the events alone tell the status at any time.
    fn check_as_of(&self) {
        for pair in self.events.windows(2) {
            let [before, event] = pair else { panic!("a pair") };
            assert!(before.event_at <= event.event_at);
            assert_eq!(event.previous, status_at(before.status, before.expires_at, event.event_at));
            if before.event_at < event.event_at {
                let just_before = Timestamp::from_micros(event.event_at.as_micros() - 1);
                let expected = status_at(before.status, before.expires_at, just_before);
                assert_eq!(self.replay(just_before), expected);
            }
        }
    }
}

/// A small generator of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides).unwrap()
    }

    fn seconds(&mut self, most: u64) -> Duration {
        Duration::from_secs(self.roll(most) as u64)
    }
}

/// One step of one of two consents of a subject, and what holds after it.
fn step(
    histories: &mut [History; 2],
    dice: &mut Dice,
    offers: &[Offer<'_>; 2],
    (now, entropy): (Timestamp, &dyn Entropy),
) {
    let which = dice.roll(2);
    let next = CALLS[dice.roll(9)];
    // Some processes have a clock that is behind.
    let clock = now.minus(dice.seconds(3));
    let (other, consent) = (histories[1 - which].consent.clone(), histories[which].consent.clone());
    let before = consent.status_at(clock.max(consent.facts().recorded_at));
    let outcome = call(next, consent, &offers[dice.roll(2)], act(entropy, clock));
    if next == Call::Withdraw {
        assert_eq!(outcome.is_ok(), before.permits(), "{before:?}");
    }
    if let Ok(outcome) = outcome {
        histories[which].add(outcome);
    }
    assert_eq!(histories[1 - which].consent, other, "{next:?} touched another consent");
    let History { consent, .. } = &histories[which];
    for at in [consent.facts().event_at.max(now), now.plus(DAY * 40)] {
        let replayed = histories[which].replay(at);
        assert_eq!(consent.status_at(at), replayed);
        let permits = matches!(replayed, Status::Given | Status::RenewedGiven);
        assert_eq!(consent.status_at(at).permits(), permits);
    }
}

#[test]
fn a_million_random_steps_keep_what_is_promised() {
    const STEPS: u64 = 1_000_000;
    const LONGEST: usize = 40;
    let [first, second] = revisions();
    let offers = [first.offer().unwrap(), second.offer().unwrap()];
    let entropy = SeededEntropy::new(4);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut histories = [History::start(&offers[0], &entropy), History::start(&offers[0], &entropy)];
    let (mut now, mut seen) = (NOW, BTreeSet::new());
    for _ in 0..STEPS {
        now = now.plus(dice.seconds(200_000));
        step(&mut histories, &mut dice, &offers, (now, &entropy));
        for history in &mut histories {
            seen.insert(history.consent.status_at(now));
            let is_over = matches!(history.consent.facts().status, Status::Revoked | Status::Invalidated);
            if history.events.len() >= LONGEST || (is_over && dice.roll(4) == 0) {
                history.check_as_of();
                *history = History::start(&offers[0], &entropy);
            }
        }
    }
    assert_eq!(seen, BTreeSet::from(Status::ALL));
}
