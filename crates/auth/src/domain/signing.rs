//! The keys that sign tokens, and how they follow each other.
//!
//! ```text
//! made        not_before        sign_until        verify_until
//!  | published |      signs      |    verifies     |  gone
//!  `- AHEAD --´                   `--- OVERLAP ----´
//! ```
//! A key signs only after everybody can know it, and verifies for as long as what it signed is valid. Its successor begins when
//! it ends. One that an operator has ended does neither from then on, and its record stays.

use std::time::Duration;

use portal_core::Timestamp;
use portal_crypto::jose::Algorithm;
use portal_crypto::token::KeyId;

/// How long readers may keep the published keys.
pub const MAX_AGE: Duration = Duration::from_secs(300);
/// How long a key is published before it signs: twice as long as whoever reads the keys may keep them.
pub const AHEAD: Duration = Duration::from_secs(600);
/// How long it verifies after it has signed for the last time: an hour, the longest life of what it signs (an ID token), and what
/// clocks and caches may differ by.
pub const OVERLAP: Duration = Duration::from_secs(3_600 + 300);

/// A key, without what is secret of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SigningKey {
    /// Its thumbprint, the `kid` of tokens.
    pub id: KeyId,
    /// How it signs.
    pub algorithm: Algorithm,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it signs.
    pub not_before: Timestamp,
    /// Until when; `None` while no other key is to take its place.
    pub sign_until: Option<Timestamp>,
    /// Until when it verifies; `None` as for `sign_until`.
    pub verify_until: Option<Timestamp>,
    /// When an operator ended it.
    pub ended_at: Option<Timestamp>,
    /// Counts changes of the row.
    pub revision: i64,
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Published, does not sign yet.
    Pending,
    /// Signs and verifies.
    Active,
    /// Verifies.
    Retired,
    /// Nothing that it signed is valid any more.
    Over,
    /// Ended by an operator.
    Ended,
}

impl SigningKey {
    /// A new key that signs from `not_before`.
    #[must_use]
    pub const fn new(id: KeyId, algorithm: Algorithm, now: Timestamp, not_before: Timestamp) -> Self {
        let (sign_until, verify_until, ended_at) = (None, None, None);
        Self { id, algorithm, created_at: now, not_before, sign_until, verify_until, ended_at, revision: 1 }
    }

    /// Where it is in its life.
    #[must_use]
    pub fn stage(&self, now: Timestamp) -> Stage {
        let past = |end: Option<Timestamp>| end.is_some_and(|end| end <= now);
        match self {
            _ if self.ended_at.is_some() => Stage::Ended,
            _ if past(self.verify_until) => Stage::Over,
            _ if past(self.sign_until) => Stage::Retired,
            _ if self.not_before > now => Stage::Pending,
            _ => Stage::Active,
        }
    }

    /// Whether what it signed is valid.
    #[must_use]
    pub fn verifies(&self, now: Timestamp) -> bool {
        matches!(self.stage(now), Stage::Pending | Stage::Active | Stage::Retired)
    }

    /// The same key, which signs until `at` and no longer.
    #[must_use]
    pub fn retired(&self, at: Timestamp) -> Self {
        Self { sign_until: Some(at), verify_until: Some(at.plus(OVERLAP)), ..self.clone() }
    }
}

/// The one of `keys` that signs with `algorithm` now: the newest.
#[must_use]
pub fn current(keys: &[SigningKey], algorithm: Algorithm, now: Timestamp) -> Option<&SigningKey> {
    let active = keys.iter().filter(|key| key.algorithm == algorithm && key.stage(now) == Stage::Active);
    active.max_by(|a, b| (a.not_before, &a.id).cmp(&(b.not_before, &b.id)))
}

/// What is to be done to the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Make a key that signs from this time.
    Make(Algorithm, Timestamp),
    /// Let this one sign until this time.
    Retire(KeyId, Timestamp),
    /// Forget this one.
    Forget(KeyId),
}

/// What is due now, so that each of the `wanted` algorithms has one key that signs, for `life`. Without one each key is replaced
/// as soon as it may be, unless its successor is known already.
#[must_use]
pub fn due(keys: &[SigningKey], wanted: &[Algorithm], life: Option<Duration>, now: Timestamp) -> Vec<Step> {
    let mut steps = Vec::new();
    for algorithm in wanted.iter().copied() {
        let of_algorithm = |key: &&SigningKey| key.algorithm == algorithm;
        let Some(newest) = current(keys, algorithm, now) else {
            steps.push(Step::Make(algorithm, now));
            continue;
        };
        // One that had to be made at once, beside one that was on its way.
        let others = keys.iter().filter(of_algorithm).filter(|key| key.stage(now) == Stage::Active);
        let others = others.filter(|key| key.id != newest.id && key.sign_until.is_none());
        steps.extend(others.map(|key| Step::Retire(key.id.clone(), newest.not_before)));
        let earliest = now.plus(AHEAD);
        // One that has its end, and lost who was to follow: that one was ended before it began.
        let life = life.filter(|_| newest.sign_until.is_none());
        let at = life.map_or(earliest, |life| newest.not_before.plus(life).max(earliest));
        let awaited = keys.iter().filter(of_algorithm).any(|key| key.stage(now) == Stage::Pending);
        if !awaited && at == earliest {
            steps.push(Step::Make(algorithm, at));
            steps.push(Step::Retire(newest.id.clone(), at));
        }
    }
    let over = keys.iter().filter(|key| key.stage(now) == Stage::Over);
    steps.extend(over.map(|key| Step::Forget(key.id.clone())));
    steps
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ALL: [Algorithm; 2] = [Algorithm::MlDsa65, Algorithm::Es256];
    const LIFE: Duration = Duration::from_secs(30 * 86_400);
    const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// Does what is due, with keys that are named by numbers.
    fn step(keys: &mut Vec<SigningKey>, life: Option<Duration>, now: Timestamp) -> Vec<Step> {
        let steps = due(keys, &ALL, life, now);
        for step in &steps {
            match step {
                Step::Make(algorithm, at) => {
                    let mut name = [*algorithm as u8; 32];
                    name[..8].copy_from_slice(&(now.as_micros() + at.as_micros()).to_be_bytes());
                    keys.push(SigningKey::new(KeyId::from_thumbprint(&name), *algorithm, now, *at));
                }
                Step::Retire(id, at) => {
                    let key = keys.iter_mut().find(|key| key.id == *id).unwrap();
                    *key = key.retired(*at);
                }
                Step::Forget(id) => keys.retain(|key| key.id != *id),
            }
        }
        steps
    }

    #[test]
    fn a_key_follows_another_without_a_gap_and_verifies_as_long_as_what_it_signed() {
        let mut keys = Vec::new();
        assert_eq!(step(&mut keys, Some(LIFE), START).len(), 2, "one of each algorithm, at once");
        let first = current(&keys, Algorithm::MlDsa65, START).unwrap().id.clone();
        let day = Duration::from_secs(86_400);
        let mut now = START;
        let mut signed = Vec::new();
        while now < START.plus(4 * LIFE) {
            step(&mut keys, Some(LIFE), now);
            for algorithm in ALL {
                let key = current(&keys, algorithm, now).unwrap().clone();
                assert!(key.not_before == START || key.created_at.plus(AHEAD) <= key.not_before);
                signed.push((key.id, now));
            }
            // Whatever was signed within an hour is still verified.
            signed.retain(|(_, at)| at.plus(Duration::from_secs(3_600)) > now);
            for (id, _) in &signed {
                assert!(keys.iter().any(|key| key.id == *id && key.verifies(now)));
            }
            assert!(keys.len() <= 4, "{keys:?}");
            now = now.plus(Duration::from_secs(300));
        }
        assert_ne!(current(&keys, Algorithm::MlDsa65, now).unwrap().id, first);
        assert!(keys.iter().all(|key| now.since(key.not_before) < LIFE + day));
        assert!(keys.iter().all(|key| key.id != first));
    }

    #[test]
    fn who_comes_late_and_who_asks_waits_for_the_new_key_to_be_known() {
        let mut keys = Vec::new();
        step(&mut keys, Some(LIFE), START);
        let late = START.plus(3 * LIFE);
        step(&mut keys, Some(LIFE), late);
        assert_eq!(current(&keys, Algorithm::Es256, late).unwrap().not_before, START);
        let then = late.plus(AHEAD);
        assert_eq!(current(&keys, Algorithm::Es256, then).unwrap().not_before, then);
        assert_eq!(step(&mut keys, Some(LIFE), then), []);
        assert_eq!(step(&mut keys, None, then).len(), 4, "somebody asks");
        assert_eq!(step(&mut keys, None, then), [], "and again, while it is under way");
        let over = then.plus(OVERLAP);
        assert!(matches!(step(&mut keys, Some(LIFE), over)[..], [Step::Forget(_), Step::Forget(_)]));
    }

    #[test]
    fn one_that_was_ended_before_it_signed_is_replaced_and_the_one_of_now_signs_until_then() {
        let mut keys = Vec::new();
        step(&mut keys, Some(LIFE), START);
        step(&mut keys, None, START);
        let now = START.plus(Duration::from_secs(60));
        let next =
            |key: &&mut SigningKey| key.algorithm == Algorithm::Es256 && key.stage(now) == Stage::Pending;
        keys.iter_mut().find(next).unwrap().ended_at = Some(now);
        assert_eq!(step(&mut keys, Some(LIFE), now).len(), 2);
        assert_eq!(step(&mut keys, Some(LIFE), now), [], "and once");
        let mut then = now;
        while then < now.plus(2 * AHEAD) {
            let signs = current(&keys, Algorithm::Es256, then).unwrap();
            assert!(signs.not_before == START || signs.created_at.plus(AHEAD) <= signs.not_before);
            then = then.plus(Duration::from_secs(1));
        }
        assert_eq!(current(&keys, Algorithm::Es256, then).unwrap().not_before, now.plus(AHEAD));
    }

    #[test]
    fn one_that_was_ended_is_replaced_at_once_and_stays_known() {
        let mut keys = Vec::new();
        step(&mut keys, Some(LIFE), START);
        step(&mut keys, None, START);
        let now = START.plus(Duration::from_secs(60));
        let ended = keys.iter_mut().find(|key| key.algorithm == Algorithm::Es256).unwrap();
        ended.ended_at = Some(now);
        assert_eq!(step(&mut keys, Some(LIFE), now), [Step::Make(Algorithm::Es256, now)]);
        assert_eq!(current(&keys, Algorithm::Es256, now).unwrap().not_before, now);
        // The one that was on its way takes over, and no two sign for ever.
        let then = START.plus(AHEAD);
        assert_eq!(step(&mut keys, Some(LIFE), then).len(), 1);
        let sign = |key: &&SigningKey| key.algorithm == Algorithm::Es256 && key.stage(then) == Stage::Active;
        assert_eq!(keys.iter().filter(sign).count(), 1);
        let later = then.plus(LIFE).plus(LIFE);
        step(&mut keys, Some(LIFE), later);
        assert!(keys.iter().any(|key| key.stage(later) == Stage::Ended));
    }
}
