//! Adding the rows up. The order of the validation records is the order of the sums, so the same input gives the
//! same bits.

use super::error::EngineError;

/// The values of all training records, in their order.
#[derive(Clone, Debug)]
pub struct Values {
    values: Vec<f64>,
    standard_errors: Option<Vec<f64>>,
    gain: f64,
}

impl Values {
    /// Each record's value: the mean over the validation records.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Each value's standard error over the validation records; nothing if there was only one.
    #[must_use]
    pub fn standard_errors(&self) -> Option<&[f64]> {
        self.standard_errors.as_deref()
    }

    /// What the values share: `U(all) − U(none)`, the mean over the validation records.
    #[must_use]
    pub fn gain(&self) -> f64 {
        self.gain
    }
}

/// Sums over the validation records seen so far.
pub(super) struct Totals {
    /// For each training record: Σ and Σ² of its values.
    sums: Vec<(f64, f64)>,
    gain: f64,
    count: usize,
}

impl Totals {
    pub(super) fn new(records: usize) -> Self {
        Self { sums: vec![(0.0, 0.0); records], gain: 0.0, count: 0 }
    }

    /// Adds one validation record's row of values and the utility they share.
    pub(super) fn add(&mut self, values: &[f64], gain: f64) {
        for ((sum, square), value) in self.sums.iter_mut().zip(values) {
            *sum += value;
            *square += value * value;
        }
        self.gain += gain;
        self.count += 1;
    }

    /// Means and standard errors, if the means add up to the utility within `tolerance`.
    pub(super) fn finish(self, tolerance: f64) -> Result<Values, EngineError> {
        let count = self.count as f64;
        let values: Vec<f64> = self.sums.iter().map(|(sum, _)| sum / count).collect();
        let (sum, gain) = (compensated_sum(&values), self.gain / count);
        let within = (sum - gain).abs() <= tolerance;
        if !within {
            return Err(EngineError::Inefficient { sum, gain });
        }
        let standard_errors = (self.count > 1).then(|| {
            let error = |&(sum, square): &(f64, f64)| {
                let variance = (square - sum * sum / count).max(0.0) / (count - 1.0);
                (variance / count).sqrt()
            };
            self.sums.iter().map(error).collect()
        });
        Ok(Values { values, standard_errors, gain })
    }
}

/// Neumaier's sum: a million small values must not lose the digits the efficiency check looks at.
fn compensated_sum(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for &value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    sum + lost
}
