//! Verified tokens, by their hashes.

use std::collections::HashMap;

use super::Verified;

/// A bounded memory of two generations: once the younger is full it takes the place of the older, which is forgotten. What is
/// asked for moves to the younger, so that what is in use stays; nothing is ever searched for something to forget.
pub(super) struct Memory {
    young: HashMap<[u8; 32], Verified>,
    old: HashMap<[u8; 32], Verified>,
    /// Of each generation.
    most: usize,
}

impl Memory {
    /// Of `most` tokens at most.
    pub(super) fn of(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), most: most / 2 }
    }

    pub(super) fn insert(&mut self, hash: [u8; 32], verified: Verified) {
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, verified);
    }

    /// What is remembered under `hash`, if it still `counts`; otherwise it is forgotten.
    pub(super) fn recall(&mut self, hash: &[u8; 32], counts: impl Fn(&Verified) -> bool) -> Option<Verified> {
        if let Some(verified) = self.young.get(hash) {
            if counts(verified) {
                return Some(verified.clone());
            }
            self.young.remove(hash);
            return None;
        }
        let verified = self.old.remove(hash).filter(counts)?;
        self.insert(*hash, verified.clone());
        Some(verified)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;
    use std::sync::Arc;

    use portal_core::Timestamp;
    use portal_core::id::{AccountId, Id, SessionId, SubjectId};
    use portal_crypto::token::TokenKey;

    use super::*;
    use crate::{EndUser, Via};

    fn verified() -> Verified {
        let nil = [0; 16];
        let user = EndUser {
            via: Via::FirstParty,
            account: AccountId::from_bytes(nil),
            subject: SubjectId::from_bytes(nil),
            session: SessionId::from_bytes(nil),
            roles: BTreeSet::new(),
            assurance: None,
        };
        let key = Arc::new(TokenKey::from_seed(&[7; 32]).unwrap().id().clone());
        Verified { user, expires_at: Timestamp::default(), holder: None, key }
    }

    #[test]
    fn what_is_in_use_stays_and_the_rest_is_forgotten_within_bounds() {
        let (mut memory, one) = (Memory::of(4), verified());
        for number in 1..=9 {
            memory.insert([number; 32], one.clone());
            assert!(memory.recall(&[1; 32], |_| true).is_some(), "in use");
            assert!(memory.recall(&[number; 32], |_| true).is_some(), "whoever is new is remembered");
            assert!(memory.young.len() + memory.old.len() <= 4);
        }
        assert!(memory.recall(&[2; 32], |_| true).is_none());
    }

    #[test]
    fn what_no_longer_counts_is_forgotten() {
        let (mut memory, one) = (Memory::of(4), verified());
        memory.insert([1; 32], one);
        assert!(memory.recall(&[1; 32], |_| false).is_none());
        assert!(memory.recall(&[1; 32], |_| true).is_none());
    }
}
