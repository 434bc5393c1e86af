//! Until when a snapshot may be answered from: for two seconds after it was last known to be complete.
//!
//! Invariant: time is measured from before the database was asked, and by two clocks, of which the one counts that says
//! more: the one of the process may stand still while the machine sleeps, the other may be set.

use std::time::Duration;

use portal_core::Timestamp;

/// A snapshot that has not heard of its database for so long is not answered from.
pub(crate) const LONGEST: Duration = Duration::from_secs(2);

/// A moment by two clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Since the process began; never goes back.
    pub(crate) elapsed: Duration,
    pub(crate) clock: Timestamp,
}

/// What a snapshot was last complete by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Freshness {
    complete: Option<Moment>,
    distrusted: Option<Duration>,
}

impl Freshness {
    /// The snapshot has everything that was committed before `asked`.
    pub(crate) fn complete(&mut self, asked: Moment) {
        self.complete = Some(asked);
    }

    /// Something was committed by `now` that the snapshot may not have: the database answers until it is asked after it.
    pub(crate) fn distrust(&mut self, now: Moment) {
        self.distrusted = self.distrusted.max(Some(now.elapsed));
    }

    /// The snapshot is not complete at all.
    pub(crate) fn lost(&mut self) {
        self.complete = None;
    }

    /// Whether to answer from the snapshot.
    pub(crate) fn is_fresh(&self, now: Moment) -> bool {
        self.complete.is_some_and(|complete| {
            self.distrusted.is_none_or(|distrusted| distrusted < complete.elapsed)
                && age(complete, now) < LONGEST
        })
    }

    /// How long ago the snapshot was complete for sure.
    pub(crate) fn age(&self, now: Moment) -> Option<Duration> {
        self.complete.map(|complete| age(complete, now))
    }
}

fn age(then: Moment, now: Moment) -> Duration {
    now.elapsed.saturating_sub(then.elapsed).max(now.clock.since(then.clock))
}
