//! A stream of records that may be cut anywhere and go on later.
//!
//! Invariants: every record is in once, whether it was recorded or refused; those that are in are the first
//! [`Import::next`] ones; the first refusals are kept, the others counted.

use portal_core::Timestamp;
use portal_core::id::OperationId;

/// Refusals that are kept.
const KEPT: usize = 1_000;

/// How far an import is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Import {
    pub(crate) id: OperationId,
    /// Who began it: nobody else goes on with it.
    pub(crate) caller: String,
    /// The first record that is not in yet.
    pub(crate) next: u64,
    pub(crate) recorded: u64,
    pub(crate) refused: u64,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// A record that was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) index: u64,
    /// Why, as callers are told it.
    pub(crate) status: Vec<u8>,
}

/// Why records can't be added.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("records before these are missing")]
    Gap,
    #[error("another caller began the import")]
    OtherCaller,
}

impl Import {
    /// Nothing is in yet.
    pub(crate) const fn begin(id: OperationId, caller: String, now: Timestamp) -> Self {
        Self {
            id,
            caller,
            next: 0,
            recorded: 0,
            refused: 0,
            refusals: Vec::new(),
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// How many of the records from `first` on are in already.
    pub(crate) fn skip(&self, caller: &str, first: u64) -> Result<u64, ImportError> {
        if self.caller != caller {
            return Err(ImportError::OtherCaller);
        }
        self.next.checked_sub(first).ok_or(ImportError::Gap)
    }

    /// The next records, each with why it was refused, if it was. Says whether refusals are to be kept.
    pub(crate) fn add(&mut self, records: impl Iterator<Item = Option<Vec<u8>>>, now: Timestamp) -> bool {
        let kept = self.refusals.len();
        for refused in records {
            match refused {
                None => self.recorded += 1,
                Some(status) => {
                    self.refused += 1;
                    if self.refusals.len() < KEPT {
                        self.refusals.push(Refusal { index: self.next, status });
                    }
                }
            }
            self.next += 1;
        }
        self.version += 1;
        self.updated_at = now.max(self.updated_at);
        self.refusals.len() > kept
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::SeededEntropy;
    use portal_core::id::Id;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_305_600);

    fn import() -> Import {
        Import::begin(OperationId::generate(NOW, &SeededEntropy::new(1)), "account/a".to_owned(), NOW)
    }

    #[test]
    fn what_is_in_is_skipped_and_a_gap_is_refused() {
        let mut import = import();
        assert_eq!(import.skip("account/b", 0), Err(ImportError::OtherCaller));
        assert_eq!(
            (import.skip("account/a", 0), import.skip("account/a", 1)),
            (Ok(0), Err(ImportError::Gap))
        );
        assert!(import.add([None, Some(vec![1]), None].into_iter(), NOW));
        assert_eq!((import.next, import.recorded, import.refused, import.version), (3, 2, 1, 2));
        assert_eq!(import.refusals, [Refusal { index: 1, status: vec![1] }]);
        assert_eq!((import.skip("account/a", 1), import.skip("account/a", 3)), (Ok(2), Ok(0)));
        assert_eq!(import.skip("account/a", 4), Err(ImportError::Gap));
        assert!(!import.add([None].into_iter(), NOW));
    }

    #[test]
    fn refusals_are_kept_up_to_a_bound_and_counted_beyond() {
        let mut import = import();
        assert!(import.add((0..1_500).map(|_| Some(Vec::new())), NOW));
        assert_eq!((import.refusals.len(), import.refused), (1_000, 1_500));
        assert!(!import.add([Some(Vec::new())].into_iter(), NOW));
        assert_eq!((import.refused, import.next), (1_501, 1_501));
    }
}
