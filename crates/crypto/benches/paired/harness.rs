//! Two ways of doing the same, timed in turns in one run; a bench ends with an error if a budget is not kept.
//!
//! In turns and by processor time, so that what disturbs the machine disturbs both sides alike: their ratio in a round is
//! steadier than two runs that are compared later.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 101;
/// How long one side of a round takes.
const SLICE_NANOS: f64 = 2e6;

static OVER: AtomicBool = AtomicBool::new(false);

/// What a line measured.
pub struct Measured {
    nanos: f64,
    raw: Option<f64>,
    ratio: f64,
}

impl Measured {
    /// A budget of time, in nanoseconds a call. Where the raw side alone takes longer, the machine is too slow for it, which
    /// is told and is no error.
    pub fn nanos_at_most(self, most: f64) -> Self {
        match self.raw.filter(|raw| *raw > most) {
            Some(raw) if self.nanos > most => {
                println!("{:<34} not here: the budget is {most}, and raw alone takes {raw:.0}", "");
            }
            _ => budget(self.nanos <= most, self.nanos, most),
        }
        self
    }

    /// A budget of our time next to the raw one.
    pub fn ratio_at_most(self, most: f64) -> Self {
        budget(self.ratio <= most, self.ratio, most);
        self
    }
}

/// Notes whether a budget is kept.
pub fn budget(kept: bool, value: f64, limit: f64) {
    if !kept {
        OVER.store(true, Ordering::Relaxed);
        println!("{:<34} FAIL: {value:.3}, the budget is {limit}", "");
    }
}

/// Whether all budgets were kept.
pub fn verdict() -> ExitCode {
    if OVER.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What the columns are.
pub fn title() {
    println!("{:<34} {:>12} {:>12} {:>7}", "", "ours ns", "raw ns", "ratio");
}

/// The processor time of this thread in nanoseconds: a busy machine disturbs it less than the time of day.
fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
    let nanos = (time.tv_sec * 1_000_000_000 + time.tv_nsec) as f64;
    nanos
}

/// Nanoseconds a call, of `calls` calls.
fn time<T>(calls: u32, work: &mut impl FnMut() -> T) -> f64 {
    let start = now();
    for _ in 0..calls {
        drop(black_box(work()));
    }
    (now() - start) / f64::from(calls)
}

/// As many calls as fill a slice.
fn calls<T>(work: &mut impl FnMut() -> T) -> u32 {
    let mut calls = 1;
    loop {
        if time(calls, work) * f64::from(calls) > SLICE_NANOS {
            return calls;
        }
        calls *= 2;
    }
}

/// The value that `part` in four of the values are below.
fn quartile(part: usize, mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * part / 4).copied().unwrap()
}

/// One line without a counterpart.
pub fn alone<T>(name: &str, mut ours: impl FnMut() -> T) -> Measured {
    let n = calls(&mut ours);
    let nanos = quartile(1, (0..ROUNDS).map(|_| time(n, &mut ours)).collect());
    println!("{name:<34} {nanos:>12.0}");
    Measured { nanos, raw: None, ratio: f64::NAN }
}

/// One line with one.
pub fn pair<A, B>(name: &str, mut ours: impl FnMut() -> A, mut raw: impl FnMut() -> B) -> Measured {
    let (n, m) = (calls(&mut ours), calls(&mut raw));
    let (mut left, mut right, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (a, b) = (time(n, &mut ours), time(m, &mut raw));
        left.push(a);
        right.push(b);
        ratios.push(a / b);
    }
    let (left, right, ratio) = (quartile(1, left), quartile(1, right), quartile(2, ratios));
    println!("{name:<34} {left:>12.0} {right:>12.0} {ratio:>7.3}");
    Measured { nanos: left, raw: Some(right), ratio }
}
