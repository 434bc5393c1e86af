//! What was measured, and whether the budgets were kept.

use std::process::ExitCode;
use std::time::Duration;

use crate::cpu::Used;

/// Budgets that were not kept.
#[derive(Default)]
pub struct Report {
    missed: Vec<String>,
}

/// What became of some operations.
pub struct Measured {
    pub latencies: Vec<Duration>,
    pub elapsed: Duration,
    pub used: Used,
}

impl Measured {
    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that `share` of the operations kept.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let index = (sorted.len() as f64 * share) as usize;
        sorted[index.min(sorted.len() - 1)]
    }
}

/// A line for `measured`, whose operations were of `size` things each.
pub fn line(name: &str, measured: &Measured, size: usize) {
    let things = measured.latencies.len() * size;
    let rate = measured.rate() * size as f64;
    let [median, high] = [0.5, 0.99].map(|share| measured.quantile(share).as_secs_f64() * 1e3);
    let each = measured.used.each(Used::default(), things);
    let [service, database] = [each.service, each.database].map(|time| time.as_secs_f64() * 1e6);
    println!(
        "{name:<44} {rate:>9.0} /s  p50 {median:>7.3} ms  p99 {high:>7.3} ms  \
         CPU of each: service {service:>6.1} us, database {database:>6.1} us"
    );
}

impl Report {
    /// A budget: `kept`, or missed.
    pub fn budget(&mut self, name: &str, kept: bool) {
        println!("  {} {name}", if kept { "kept  " } else { "MISSED" });
        if !kept {
            self.missed.push(name.to_owned());
        }
    }

    /// The exit code.
    pub fn end(self) -> ExitCode {
        for name in &self.missed {
            println!("MISSED: {name}");
        }
        if self.missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
