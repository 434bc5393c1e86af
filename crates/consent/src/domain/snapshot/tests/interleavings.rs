//! A million random steps of three replicas on one database: changes, commits, acknowledgements, polls that are late or
//! fail, and checks. A permit is stale if no state that the replica may still answer with would permit.
//!
//! The replicas run the very code of the service; the database is a list of everything that was ever committed.

use std::time::Duration;

use super::super::follower::{About, Change, Follower, Heard, Read, Step};
use super::super::freshness::{Freshness, LONGEST, Moment};
use super::*;

const REPLICAS: usize = 3;
const PURPOSES: usize = 2;
const CONSENTS: usize = 6;
const STEPS: usize = 1_000_000;

/// What is left out of the service, to see that it would be noticed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LeftOut {
    Nothing,
    /// Replicas apply what they commit before they say so.
    OwnCommits,
    /// What is older does not replace what is newer.
    Versions,
    /// What a replica says without having committed it, it knows.
    Distrust,
    /// Snapshots that lost their database are not answered from.
    Freshness,
    /// What waits for its place in the ledger is read too.
    Waiting,
}

/// Everything that was ever committed: the last of each list is what the database says.
struct Database {
    consents: Vec<Vec<Facts>>,
    terms: Vec<Terms>,
    waiting: Vec<(Change, Option<Step>)>,
    entries: Vec<(Change, Option<Step>)>,
}

/// How much of each list somebody must know.
#[derive(Clone, Debug)]
struct Known {
    consents: Vec<usize>,
    terms: usize,
}

/// A change that was committed and is not answered yet.
enum Committed {
    Consent(usize, usize),
    Terms(usize),
    /// Committed by another replica; this one answers a repetition of the request.
    Repeated(usize, usize),
}

struct Poll {
    asked: Moment,
    heard: Heard,
    read: Read,
    known: Known,
}

struct Replica {
    snapshot: Snapshot,
    follower: Follower,
    freshness: Freshness,
    poll: Option<Poll>,
    unanswered: Vec<Committed>,
    must_know: Known,
}

struct World {
    random: u64,
    left_out: LeftOut,
    now: Duration,
    database: Database,
    replicas: Vec<Replica>,
    /// What had been committed when.
    history: Vec<(Duration, Known)>,
    stale: usize,
    permits: usize,
    from_database: usize,
}

impl Known {
    fn nothing() -> Self {
        Self { consents: vec![0; CONSENTS], terms: 0 }
    }

    fn raise(&mut self, to: &Self) {
        self.consents.iter_mut().zip(&to.consents).for_each(|(known, to)| *known = (*known).max(*to));
        self.terms = self.terms.max(to.terms);
    }
}

impl Database {
    fn known(&self) -> Known {
        let last = |states: &Vec<Facts>| states.len() - 1;
        Known { consents: self.consents.iter().map(last).collect(), terms: self.terms.len() - 1 }
    }
}

impl World {
    fn new(left_out: LeftOut) -> Self {
        let purposes: Vec<PurposeId> = (0..PURPOSES as u64)
            .map(|seed| PurposeId::generate(NOW, &SeededEntropy::new(100 + seed)))
            .collect();
        let first = |number: usize| {
            let facts = facts(number as u64, purposes[number % PURPOSES], Status::Unknown, 0);
            vec![facts]
        };
        let consents: Vec<Vec<Facts>> = (0..CONSENTS).map(first).collect();
        let mut known = Terms::default();
        for purpose in &purposes {
            known.purposes.extend(terms(*purpose).purposes);
        }
        for states in &consents {
            known.notices.insert(states[0].basis.notice, Some(Vec::new()));
        }
        let replica = || {
            let snapshot = Snapshot::default();
            snapshot.know(known.clone());
            Replica {
                snapshot,
                follower: Follower::new(0),
                freshness: Freshness::default(),
                poll: None,
                unanswered: Vec::new(),
                must_know: Known::nothing(),
            }
        };
        let replicas = (0..REPLICAS).map(|_| replica()).collect();
        let database = Database { consents, terms: vec![known], waiting: Vec::new(), entries: Vec::new() };
        Self {
            random: 0x9E37_79B9_7F4A_7C15,
            left_out,
            now: Duration::from_secs(1),
            database,
            replicas,
            history: vec![(Duration::ZERO, Known::nothing())],
            stale: 0,
            permits: 0,
            from_database: 0,
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % end as u64).unwrap()
    }

    fn moment(&self) -> Moment {
        Moment { elapsed: self.now, clock: self.clock() }
    }

    fn clock(&self) -> Timestamp {
        NOW.plus(self.now)
    }

    fn step(&mut self) {
        let replica = self.below(REPLICAS);
        match self.below(100) {
            0..=17 => self.change(replica),
            18 => self.change_terms(replica),
            19..=36 => self.answer(replica),
            37..=44 => self.sequence(),
            45..=56 => self.ask(replica),
            57..=68 => self.asked(replica),
            69..=78 => self.pass(60_000),
            79 if self.below(20) == 0 => self.pass(3_000_000),
            _ => self.check(replica),
        }
    }

    fn pass(&mut self, at_most_micros: usize) {
        let micros = self.below(at_most_micros) as u64;
        self.now += Duration::from_micros(micros);
    }

    /// Somebody gives, refuses or withdraws; or what was given ends by itself, which is recorded.
    fn change(&mut self, replica: usize) {
        let number = self.below(CONSENTS);
        let (now, draw) = (self.clock(), self.below(8));
        let states = &mut self.database.consents[number];
        let last = states.last().unwrap();
        let notice = self.database.terms.last().unwrap().notices[&last.basis.notice].as_ref().unwrap();
        let revision = notice.last().map_or(1, |(revision, _)| *revision);
        let (status, expires_at) = match draw {
            0..=2 => (Status::Given, None),
            3 => (Status::Given, Some(now.plus(Duration::from_millis(400)))),
            4 => (Status::Refused, None),
            5 => (Status::Expired, last.expires_at),
            _ => (Status::Withdrawn, None),
        };
        let basis = Basis { notice_revision: revision, ..last.basis };
        let version = last.version + 1;
        let next =
            Facts { status, expires_at, basis, version, event_at: now, recorded_at: now, ..last.clone() };
        let step = Step { subject: next.subject, purpose: next.purpose, version };
        states.push(next);
        let state = states.len() - 1;
        self.wait(About::Consent, Some(step));
        self.replicas[replica].unanswered.push(Committed::Consent(number, state));
        if draw == 6 {
            let other = (replica + 1) % REPLICAS;
            self.replicas[other].unanswered.push(Committed::Repeated(number, state));
        }
    }

    /// A purpose is archived, or one that is takes its place anew; or a notice is published that changed the terms.
    fn change_terms(&mut self, replica: usize) {
        let (draw, now) = (self.below(CONSENTS + PURPOSES), self.clock());
        let mut terms = self.database.terms.last().unwrap().clone();
        if draw < PURPOSES {
            let purpose = terms.purposes.values_mut().nth(draw).unwrap().as_mut().unwrap();
            purpose.archived_at = if purpose.archived_at.is_some() { None } else { Some(now) };
        } else {
            let notice = terms.notices.values_mut().nth(draw - PURPOSES).unwrap().as_mut().unwrap();
            // One is enough: only the last is of interest.
            let revision = notice.last().map_or(1, |(revision, _)| *revision) + 1;
            *notice = vec![(revision, now)];
        }
        self.database.terms.push(terms);
        self.wait(About::Terms, None);
        let state = self.database.terms.len() - 1;
        self.replicas[replica].unanswered.push(Committed::Terms(state));
    }

    fn wait(&mut self, about: About, step: Option<Step>) {
        let reference = Uuid::from_u128(self.history.len() as u128);
        self.database.waiting.push((Change { about, reference }, step));
        self.history.push((self.now, self.database.known()));
    }

    /// A replica answers whoever asked for a change. From then on it must know it.
    fn answer(&mut self, replica: usize) {
        let now = self.moment();
        let left_out = self.left_out;
        let Replica { snapshot, freshness, unanswered, must_know, .. } = &mut self.replicas[replica];
        let Some(committed) = unanswered.pop() else { return };
        match committed {
            Committed::Consent(number, state) => {
                if left_out != LeftOut::OwnCommits {
                    snapshot.apply(&self.database.consents[number][state], None);
                }
                must_know.consents[number] = must_know.consents[number].max(state);
            }
            Committed::Repeated(number, state) => {
                if left_out != LeftOut::Distrust {
                    freshness.distrust(now);
                }
                must_know.consents[number] = must_know.consents[number].max(state);
            }
            Committed::Terms(state) => {
                if left_out != LeftOut::Distrust {
                    freshness.distrust(now);
                }
                must_know.terms = must_know.terms.max(state);
            }
        }
    }

    fn sequence(&mut self) {
        let some = self.below(8).min(self.database.waiting.len());
        let sequenced = self.database.waiting.drain(..some);
        self.database.entries.extend(sequenced);
    }

    /// A replica asks the database: it reads one state of it, and gets the answer later.
    fn ask(&mut self, replica: usize) {
        let asked = self.moment();
        if self.replicas[replica].poll.is_some() {
            return;
        }
        self.now += Duration::from_micros(1);
        let (follower, database) = (&self.replicas[replica].follower, &self.database);
        let next = usize::try_from(follower.next()).unwrap();
        let mut heard = Heard {
            entries: database.entries[next..].iter().map(|(change, _)| *change).collect(),
            waiting: database.waiting.iter().map(|(change, _)| *change).collect(),
        };
        if self.left_out == LeftOut::Waiting {
            heard.waiting.clear();
        }
        let news = follower.news(&heard);
        let all = database.entries[next..].iter().chain(&database.waiting);
        let events: Vec<(Uuid, Step)> = all
            .filter(|(change, _)| news.events.contains(&change.reference))
            .filter_map(|(change, step)| Some((change.reference, (*step)?)))
            .collect();
        let last = database.consents.iter().map(|states| states.last().unwrap());
        let changed = |facts: &&Facts| events.iter().any(|(_, step)| step.subject == facts.subject);
        let consents = last.filter(changed).cloned().collect();
        let terms = news.terms.then(|| database.terms.last().unwrap().clone());
        let read = Read { events, consents, corrupt: Vec::new(), terms };
        let known = database.known();
        self.replicas[replica].poll = Some(Poll { asked, heard, read, known });
    }

    fn asked(&mut self, replica: usize) {
        let (lost, left_out) = (self.below(10) == 0, self.left_out);
        let Replica { snapshot, follower, freshness, poll, must_know, .. } = &mut self.replicas[replica];
        let Some(Poll { asked, heard, read, known }) = poll.take().filter(|_| !lost) else { return };
        if left_out == LeftOut::Versions {
            for facts in &read.consents {
                let key = Key {
                    subject: facts.subject.uuid().into_bytes(),
                    purpose: snapshot.purposes.intern(facts.purpose),
                };
                snapshot.shard_mut(&key).unwrap().take(&key);
            }
        }
        follower.take(snapshot, heard, read);
        freshness.complete(asked);
        must_know.raise(&known);
    }

    fn check(&mut self, replica: usize) {
        let (number, now) = (self.below(CONSENTS), self.clock());
        let fresh = self.replicas[replica].freshness.is_fresh(self.moment());
        let last = self.database.consents[number].last().unwrap();
        let question = question(last, now);
        let answered = if fresh || self.left_out == LeftOut::Freshness {
            self.replicas[replica].snapshot.answer(&question, now)
        } else {
            None
        };
        let Some(Answered { answer, .. }) = answered else {
            self.from_database += 1;
            return;
        };
        // What is older than the longest time, everybody knows.
        let old = self.history.partition_point(|(at, _)| *at + LONGEST < self.now);
        let mut must_know = self.replicas[replica].must_know.clone();
        must_know.raise(&self.history[old.saturating_sub(1)].1);
        let may_be = |facts: &Facts, terms: &Terms| {
            let purpose = terms.purposes[&facts.purpose].as_ref();
            decide(&question, purpose, standing(facts, terms)).reason == answer.reason
        };
        let consents = &self.database.consents[number][must_know.consents[number]..];
        let terms = &self.database.terms[must_know.terms..];
        let right = consents.iter().any(|facts| terms.iter().any(|terms| may_be(facts, terms)));
        self.permits += usize::from(answer.reason.permits());
        self.stale += usize::from(!right && answer.reason.permits());
        assert!(right || answer.reason.permits() || self.left_out != LeftOut::Nothing, "{answer:?}");
    }
}

fn standing(facts: &Facts, terms: &Terms) -> Standing {
    if facts.version == 0 {
        return Standing::None;
    }
    let later = terms.notices[&facts.basis.notice].as_ref().unwrap().iter();
    let later = later.filter(|(revision, _)| *revision > facts.basis.notice_revision);
    Standing::Recorded(Record {
        consent: facts.id,
        status: facts.status,
        basis: facts.basis,
        expires_at: facts.expires_at,
        later_material_notices: later.map(|(_, at)| *at).collect(),
    })
}

fn run(left_out: LeftOut, steps: usize) -> World {
    let mut world = World::new(left_out);
    (0..steps).for_each(|_| world.step());
    world
}

#[test]
fn no_permit_is_stale() {
    let world = run(LeftOut::Nothing, STEPS);
    assert_eq!(world.stale, 0);
    // It was put to the test: permits from snapshots, and questions that snapshots did not answer.
    assert!(world.permits > STEPS / 50, "{}", world.permits);
    assert!(world.from_database > STEPS / 100, "{}", world.from_database);
}

#[test]
fn whatever_is_left_out_is_noticed() {
    use LeftOut::{Distrust, Freshness, OwnCommits, Versions, Waiting};
    for left_out in [Distrust, Freshness, OwnCommits, Versions, Waiting] {
        assert!(run(left_out, STEPS / 10).stale > 0, "{left_out:?}");
    }
}
