//! Sign-ins that failed for one e-mail address, one after the other, and how long nobody may try since.
//!
//! Counted for addresses without an account too: whoever tries learns nothing from being locked out.

use std::time::Duration;

use portal_core::Timestamp;

/// Failures that cost nothing but the time they take.
const FREE: u32 = 4;
/// How long the next one locks. Each further one locks twice as long.
const FIRST_LOCK: Duration = Duration::from_secs(60);
const LONGEST_LOCK: Duration = Duration::from_secs(3_600);
/// When failures are forgotten.
pub const FORGOTTEN: Duration = Duration::from_secs(86_400);

/// Failures since the last success.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Failures {
    /// How many.
    pub count: u32,
    /// When the last one was.
    pub last_at: Timestamp,
    /// Until when nobody may try.
    pub locked_until: Option<Timestamp>,
}

impl Failures {
    /// None so far.
    #[must_use]
    pub const fn none(now: Timestamp) -> Self {
        Self { count: 0, last_at: now, locked_until: None }
    }

    /// One more at `now`, after those `before`. What fails while nobody may try is not counted: a lock ends, whoever goes on
    /// trying.
    #[must_use]
    pub fn one_more(before: Option<Self>, now: Timestamp) -> Self {
        let before = before.filter(|before| now < before.last_at.plus(FORGOTTEN));
        match before {
            Some(locked) if locked.locked_at(now).is_some() => locked,
            _ => {
                let count = before.map_or(0, |before| before.count).saturating_add(1);
                Self { count, last_at: now, locked_until: lock_after(count).map(|lock| now.plus(lock)) }
            }
        }
    }

    /// How long nobody may try, at `now`.
    #[must_use]
    pub fn locked_at(&self, now: Timestamp) -> Option<Duration> {
        self.locked_until.filter(|end| *end > now).map(|end| end.since(now))
    }
}

/// How long the failure with this number locks.
fn lock_after(count: u32) -> Option<Duration> {
    let doubled = count.checked_sub(FREE + 1)?;
    Some(FIRST_LOCK.saturating_mul(2_u32.saturating_pow(doubled)).min(LONGEST_LOCK))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_000_000);

    #[test]
    fn the_fifth_locks_and_each_further_one_for_twice_as_long() {
        let (mut now, mut failures, mut locks) = (START, None, Vec::new());
        for _ in 0..14 {
            let after = Failures::one_more(failures, now);
            let lock = after.locked_at(now).unwrap_or_default();
            locks.push(lock.as_secs() / 60);
            now = now.plus(lock);
            assert_eq!(after.locked_at(now), None, "a lock ends by itself");
            failures = Some(after);
        }
        assert_eq!(locks, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(failures.unwrap().count, 14);
    }

    #[test]
    fn trying_on_does_not_prolong_a_lock() {
        let locked = (0..5).fold(None, |before, _| Some(Failures::one_more(before, START)));
        let again = Failures::one_more(locked, START.plus(FIRST_LOCK / 2));
        assert_eq!(Some(again), locked);
        assert_eq!(again.locked_at(START.plus(FIRST_LOCK / 2)), Some(FIRST_LOCK / 2));
    }

    #[test]
    fn a_day_later_they_are_forgotten() {
        let failed = (0..9).fold(None, |before, _| Some(Failures::one_more(before, START)));
        let last = failed.unwrap().last_at;
        assert_eq!(Failures::one_more(failed, last.plus(FORGOTTEN)).count, 1);
        let before = last.plus(FORGOTTEN - Duration::from_secs(1));
        assert!(Failures::one_more(failed, before).count > 1);
    }
}
