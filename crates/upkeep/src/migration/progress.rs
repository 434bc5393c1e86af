//! How far a migration is, and how fast: pure.

use std::time::Duration;

use portal_core::Timestamp;

use super::Batch;
use super::state::Step;

/// How far the present step of a migration is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The key of the last row that was looked at; `None` at the beginning of a pass.
    pub cursor: Option<Vec<u8>>,
    /// Whether the present pass has seen the last row.
    pub at_end: bool,
    /// Whether the rows of the present step were counted.
    pub counted: bool,
    /// Rows that the present step has to do, as counted when it began.
    pub step_total: u64,
    /// Rows that it has done.
    pub step_done: u64,
    /// Rows to move in all.
    pub rows_total: u64,
    /// Rows in the new form.
    pub rows_done: u64,
    /// Rows opened and compared after the move.
    pub rows_verified: u64,
    /// The present rate, pauses between batches included; 0 when a step begins.
    pub rows_per_second: f64,
    /// When the last batch was committed.
    pub updated_at: Timestamp,
}

/// How much of the new measurement goes into the rate.
const SMOOTHING: f64 = 0.2;

impl Progress {
    /// At the beginning of `step`, whose rows are not counted yet.
    #[must_use]
    pub fn begin(self, step: Step, now: Timestamp) -> Self {
        let rows_verified = if matches!(step, Step::Move | Step::Verify) { 0 } else { self.rows_verified };
        Self {
            cursor: None,
            at_end: false,
            counted: false,
            step_total: 0,
            step_done: 0,
            rows_verified,
            rows_per_second: 0.0,
            updated_at: now,
            ..self
        }
    }

    /// `step` has `count` rows to do.
    #[must_use]
    pub fn count(self, step: Step, count: u64, now: Timestamp) -> Self {
        let rows_total = if step == Step::Move { self.rows_done + count } else { self.rows_total };
        Self { counted: true, step_total: count, rows_total, updated_at: now, ..self }
    }

    /// Going on after a pause, which does not count as slowness.
    #[must_use]
    pub fn resume(self, now: Timestamp) -> Self {
        Self { rows_per_second: 0.0, updated_at: now, ..self }
    }

    /// After `batch` of `step`.
    #[must_use]
    pub fn advance(self, step: Step, batch: Batch, now: Timestamp) -> Self {
        let rows_per_second = self.rate(batch.rows, now);
        let moved = |done: u64| match step {
            Step::Move => done + batch.rows,
            Step::Undo => done.saturating_sub(batch.rows),
            Step::Verify => done + batch.moved,
            Step::Commit => done,
        };
        let rows_done = moved(self.rows_done);
        Self {
            at_end: batch.next.is_none(),
            cursor: batch.next,
            step_done: self.step_done + batch.rows,
            // Rows that came while it ran belong to it too.
            step_total: self.step_total.max(self.step_done + batch.rows),
            rows_total: self.rows_total.max(rows_done),
            rows_done,
            rows_verified: self.rows_verified + if step == Step::Verify { batch.rows } else { 0 },
            rows_per_second,
            updated_at: now,
            counted: self.counted,
        }
    }

    /// At the beginning of another pass of the same step, for `count` rows that came meanwhile.
    #[must_use]
    pub fn another_pass(self, step: Step, count: u64) -> Self {
        let more = if step == Step::Move { count } else { 0 };
        Self {
            cursor: None,
            at_end: false,
            step_total: self.step_done + count,
            rows_total: self.rows_total.max(self.rows_done + more),
            ..self
        }
    }

    /// The time that is left at the present rate; `None` if nothing is known of it yet.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.step_total.saturating_sub(self.step_done);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = left as f64 / self.rows_per_second;
        Duration::try_from_secs_f64(seconds).ok()
    }

    fn rate(&self, rows: u64, now: Timestamp) -> f64 {
        let took = now.since(self.updated_at).as_secs_f64();
        if rows == 0 || took <= 0.0 {
            return self.rows_per_second;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let measured = rows as f64 / took;
        if self.rows_per_second > 0.0 {
            self.rows_per_second + SMOOTHING * (measured - self.rows_per_second)
        } else {
            measured
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn batch(rows: u64) -> Batch {
        Batch { rows, moved: 0, next: Some(vec![1]) }
    }

    #[test]
    fn counts_what_was_moved_and_taken_back() {
        let start = Timestamp::from_seconds(100);
        let moved = Progress::default().begin(Step::Move, start).count(Step::Move, 10, start).advance(
            Step::Move,
            batch(4),
            start.plus(SECOND),
        );
        assert_eq!((moved.rows_total, moved.rows_done, moved.step_done), (10, 4, 4));
        assert_eq!(moved.time_left(), Some(SECOND * 6 / 4));
        let undone = moved.begin(Step::Undo, start).count(Step::Undo, 4, start).advance(
            Step::Undo,
            batch(3),
            start.plus(SECOND),
        );
        assert_eq!((undone.rows_total, undone.rows_done, undone.step_done, undone.step_total), (10, 1, 3, 4));
        let verified = undone.begin(Step::Verify, start).count(Step::Verify, 1, start).advance(
            Step::Verify,
            batch(1),
            start.plus(SECOND),
        );
        assert_eq!((verified.rows_done, verified.rows_verified), (1, 1));
    }

    #[test]
    fn rows_that_came_meanwhile_are_added() {
        let start = Timestamp::from_seconds(100);
        let more = Progress::default().begin(Step::Move, start).count(Step::Move, 1, start).advance(
            Step::Move,
            batch(5),
            start,
        );
        assert_eq!((more.rows_total, more.step_total), (5, 5));
        let again = more.another_pass(Step::Move, 2);
        assert_eq!((again.rows_total, again.step_total, again.cursor, again.at_end), (7, 7, None, false));
    }

    #[test]
    fn no_rate_no_estimate() {
        assert_eq!(Progress { step_total: 5, ..Progress::default() }.time_left(), None);
        assert_eq!(Progress::default().time_left(), None);
    }
}
