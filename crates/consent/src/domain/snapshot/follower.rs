//! How a snapshot follows the ledger: what it has heard of, and what it has to read next.
//!
//! A change stands among those that wait for their place, then in the ledger itself. Both are read at once, in one
//! transaction with the consents that they are about: so what was committed before it is never missed, and what is read
//! twice is only read twice.

use std::collections::HashMap;

use portal_core::id::{PurposeId, SubjectId};
use uuid::Uuid;

use super::{Snapshot, Terms};
use crate::domain::consent::Facts;

/// What a change in the ledger is about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum About {
    /// A consent: the reference is the event.
    Consent,
    /// Nothing that decisions rest on.
    Other,
    /// A purpose or a notice.
    Terms,
}

/// A change, as the ledger names it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Change {
    pub(crate) about: About,
    pub(crate) reference: Uuid,
}

/// What one look at the ledger found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// The entries from the follower's place on.
    pub(crate) entries: Vec<Change>,
    /// Those that wait for their place. All of them, if `entries` are the last ones.
    pub(crate) waiting: Vec<Change>,
}

/// What has to be read in the same transaction.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct News {
    /// These events, and their consents.
    pub(crate) events: Vec<Uuid>,
    /// All purposes and notices.
    pub(crate) terms: bool,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    pub(crate) events: Vec<(Uuid, Step)>,
    pub(crate) consents: Vec<Facts>,
    /// Whose consents are corrupt.
    pub(crate) corrupt: Vec<(SubjectId, PurposeId)>,
    pub(crate) terms: Option<Terms>,
}

/// Which state of which consent an event led to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) subject: SubjectId,
    pub(crate) purpose: PurposeId,
    pub(crate) version: u64,
}

/// How far a snapshot has come.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    next: u64,
    /// What was waiting and has been read: events by what they led to.
    read: HashMap<Change, Option<Step>>,
}

impl Follower {
    /// Of a snapshot that has everything up to the ledger's entry `next`, or will have it when it is loaded.
    pub(crate) fn new(next: u64) -> Self {
        Self { next, read: HashMap::new() }
    }

    /// The first entry that it has not heard of.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// What has to be read after `heard`.
    pub(crate) fn news(&self, heard: &Heard) -> News {
        let mut news = News::default();
        for change in heard.entries.iter().chain(&heard.waiting) {
            if self.read.contains_key(change) {
                continue;
            }
            match change.about {
                About::Consent => news.events.push(change.reference),
                About::Other => {}
                About::Terms => news.terms = true,
            }
        }
        news
    }

    /// Brings `snapshot` to what was heard and read.
    pub(crate) fn take(&mut self, snapshot: &Snapshot, heard: Heard, read: Read) {
        read.consents.iter().for_each(|facts| snapshot.apply(facts, None));
        read.corrupt.iter().for_each(|(subject, purpose)| snapshot.doubt(*subject, *purpose));
        if let Some(terms) = read.terms {
            snapshot.know(terms);
        }
        let steps: HashMap<Uuid, Step> = read.events.into_iter().collect();
        for (position, change) in (self.next..).zip(&heard.entries) {
            let known = self.read.remove(change).flatten();
            if let Some(step) = known.or_else(|| steps.get(&change.reference).copied()) {
                snapshot.sequenced((step.subject, step.purpose), step.version, position);
            }
        }
        self.next = self.next.saturating_add(u64::try_from(heard.entries.len()).unwrap_or(u64::MAX));
        for change in heard.waiting {
            let step = steps.get(&change.reference).copied();
            self.read.entry(change).or_insert(step);
        }
    }
}
