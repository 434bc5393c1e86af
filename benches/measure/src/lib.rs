//! What the programs share: how operations are timed, and the field that is sealed.
//!
//! Each operation is timed by itself, so percentiles are of operations and not of averages. Reading the clock twice
//! costs some 50 ns, which is part of what is shown; the rate without it is taken in a loop of its own.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use portal_core::id::{EpochId, Id, SubjectId, TenantId};
use portal_core::{SystemEntropy, Timestamp, Workload};
use portal_crypto::envelope::{Padding, Place, Scope, SubjectKey};
use portal_crypto::epoch::EpochKey;
use portal_crypto::key::KeyBytes;
use portal_crypto::suite::Suites;

/// The length of the field, in bytes.
pub const FIELD: usize = 64;

/// How long operations took, sorted.
pub struct Times(Vec<Duration>);

impl Times {
    /// Of operations that were timed elsewhere.
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// Does `operation` so often, after a tenth of that to warm up.
    pub fn of(count: usize, mut operation: impl FnMut()) -> Self {
        (0..count / 10).for_each(|_| operation());
        let mut time = || {
            let begin = Instant::now();
            operation();
            begin.elapsed()
        };
        Self::new((0..count).map(|_| time()).collect())
    }

    /// The time that `percent` of the operations did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(at).copied().unwrap_or_default()
    }
}

/// Operations a second, one after the other, without reading the clock in between.
pub fn rate(count: usize, mut operation: impl FnMut()) -> f64 {
    let begin = Instant::now();
    (0..count).for_each(|_| operation());
    per_second(count, begin.elapsed())
}

/// Operations a second.
pub fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// A line of the table.
pub fn row(name: &str, rate: f64, times: &Times) {
    let micros = |percent| times.percentile(percent).as_secs_f64() * 1e6;
    println!("{name:<44} {rate:>12.0} {:>11.2} {:>11.2}", micros(50), micros(99));
}

/// The heading of the table.
pub fn heading() {
    println!("{:<44} {:>12} {:>11} {:>11}", "", "operations/s", "p50 µs", "p99 µs");
}

/// Says whether a budget is kept: `value` is at least `least`.
pub fn budget(name: &str, value: f64, least: f64) -> bool {
    let kept = value >= least;
    println!("{:<4} {name}: {value:.1} (at least {least})", if kept { "ok" } else { "FAIL" });
    kept
}

/// A field of Portal with a key that is at hand, as it is in a service whose key cache holds the person's key.
pub struct Field {
    key: SubjectKey,
    subject: SubjectId,
    plaintext: [u8; FIELD],
}

const SCOPE: Scope = Scope { service: Workload::Consent, tenant: TenantId::DEFAULT };

impl Field {
    /// A new key and 64 random bytes.
    pub fn new() -> Self {
        let epoch = EpochId::from_bytes([1; 16]);
        let epoch = EpochKey::new(&KeyBytes::generate(&SystemEntropy), epoch, SCOPE, Suites::ALL);
        let subject = SubjectId::from_bytes([2; 16]);
        let made = epoch.new_subject_key(subject, 1, Timestamp::default(), &SystemEntropy);
        let (key, _) = made.expect("AES-256-GCM is on");
        Self { key, subject, plaintext: portal_core::entropy::random_bytes(&SystemEntropy) }
    }

    /// What is sealed.
    pub const fn plaintext(&self) -> &[u8; FIELD] {
        &self.plaintext
    }

    fn place(&self) -> Place<'static> {
        let owner = SCOPE.owner(self.subject);
        Place { owner, table: "preference", column: "value", row: [3; 16], row_version: 4 }
    }

    /// An envelope.
    pub fn seal(&self) -> Vec<u8> {
        let sealed = self.key.seal(&self.place(), Padding::None, &self.plaintext, &SystemEntropy);
        black_box(sealed.expect("it seals"))
    }

    /// Opens an envelope.
    pub fn open(&self, envelope: &[u8]) {
        let opened = self.key.open(&self.place(), Padding::None, envelope).expect("it opens");
        assert_eq!(black_box(opened.expose()).len(), FIELD);
    }
}

impl Default for Field {
    fn default() -> Self {
        Self::new()
    }
}
