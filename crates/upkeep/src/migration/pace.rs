//! How many rows the next batch has, and when it may begin: pure.

use std::time::Duration;

use super::runner::Done;

/// Below this a batch is mostly the statements that it begins and ends with.
const SMALLEST: u32 = 64;
const FIRST: u32 = 256;
const LARGEST: u32 = 8_192;
/// A batch has at most what the rate allows in this time, so that a slow rate is not a fast burst and a long pause.
const EVEN: f64 = 0.1;

/// Finds the batch size that takes the time wanted, and keeps to a rate.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    target: Duration,
    rows: u32,
}

impl Pace {
    /// Batches that take `target`.
    pub(super) fn new(target: Duration) -> Self {
        Self { target, rows: FIRST }
    }

    /// How many rows the next batch has at most.
    pub(super) fn limit(&self, max_rows_per_second: Option<u32>) -> u32 {
        let Some(rate) = max_rows_per_second else { return self.rows };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a tenth of a u32")]
        let even = (f64::from(rate) * EVEN) as u32;
        self.rows.min(even.max(1))
    }

    /// Learns from a batch that held its rows for `held`, and says how long to wait before the next one, when it `took`
    /// so long from asking for a transaction to its end.
    pub(super) fn after(&mut self, batch: &Done, took: Duration) -> Duration {
        let Done { rows, rate, held, .. } = *batch;
        // A batch that was cut short by the rate or by the end of the table says nothing about a larger one.
        if held > self.target * 3 / 2 {
            self.rows = (self.rows / 2).max(SMALLEST);
        } else if held < self.target * 2 / 3 && rows >= u64::from(self.rows) {
            self.rows = (self.rows + self.rows / 4).min(LARGEST);
        }
        let Some(rate) = rate else { return Duration::ZERO };
        #[expect(clippy::cast_precision_loss, reason = "rows of one batch")]
        let share = Duration::try_from_secs_f64(rows as f64 / f64::from(rate.max(1)));
        share.unwrap_or_default().saturating_sub(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::Step;

    const TARGET: Duration = Duration::from_millis(20);

    fn done(rows: u32, held: Duration, rate: Option<u32>) -> Done {
        Done { migration: "d0001", step: Step::Move, rows: rows.into(), rate, held }
    }

    #[test]
    fn finds_the_size_that_takes_the_time() {
        let mut pace = Pace::new(TARGET);
        let per_row = Duration::from_micros(30);
        for _ in 0..40 {
            let rows = pace.limit(None);
            assert_eq!(pace.after(&done(rows, per_row * rows, None), TARGET * 9), Duration::ZERO);
        }
        let held = per_row * pace.limit(None);
        assert!(held > TARGET / 2 && held < TARGET * 2, "{held:?}");
        for _ in 0..20 {
            pace.after(&done(1, Duration::from_secs(1), None), Duration::ZERO);
        }
        assert_eq!(pace.limit(None), SMALLEST);
    }

    #[test]
    fn keeps_to_the_rate() {
        let mut pace = Pace::new(TARGET);
        let rate = Some(100);
        assert_eq!(pace.limit(rate), 10);
        let wait = pace.after(&done(10, TARGET, rate), Duration::from_millis(30));
        assert_eq!(wait, Duration::from_millis(70));
        assert_eq!(pace.limit(Some(1)), 1);
    }
}
