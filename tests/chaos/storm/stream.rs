//! What the followers of the stream have written down, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use portal_proto::consent::v1::ConsentEvent;

use super::journal;

/// A change as it was seen.
struct Change {
    event: String,
    subject: String,
    position: i64,
}

/// All changes, in the order in which they were seen.
pub struct Seen(Vec<Change>);

impl Seen {
    /// What is in `file`.
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        let change = |line: &str| {
            let [_, event, subject, position, _] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("not a change: {line}")
            };
            Change {
                event: event.to_owned(),
                subject: subject.to_owned(),
                position: position.parse().unwrap(),
            }
        };
        Self(journal::whole(&text).lines().map(change).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn has(&self, event: &str) -> bool {
        self.0.iter().any(|change| change.event == event)
    }

    /// Everything came, nothing else did, and each subject's changes in their order, as often as they came.
    pub fn check(&self, events: &BTreeMap<String, ConsentEvent>) {
        let mut first = BTreeSet::new();
        let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
        for change in &self.0 {
            let event = events.get(&change.event).unwrap_or_else(|| panic!("{} is no event", change.event));
            assert_eq!((&change.subject, Some(change.position)), (&event.subject_id, event.ledger_index));
            // One that comes again may be behind; one that is new may not.
            if first.insert(&change.event) {
                let before = newest.insert(&change.subject, change.position);
                assert!(
                    before.is_none_or(|before| before < change.position),
                    "out of order: {}",
                    change.event
                );
            }
        }
        assert_eq!(first.len(), events.len(), "not every change came");
    }
}
