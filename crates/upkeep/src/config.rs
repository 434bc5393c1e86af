//! The sections `[migrations]` and `[integrity]` of a service's configuration. Both may be left out.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::migration::Step;
use crate::scan::Schedule;

/// How fast data migrations run, and who takes over when.
///
/// ```
/// let config: portal_upkeep::MigrationConfig = toml::from_str("max_rows_per_second = 5000")?;
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MigrationConfig {
    /// Most rows per second, to spare live traffic; 0 means as fast as it goes. An operator can say another rate when
    /// a migration is started.
    max_rows_per_second: u32,
    /// How long a batch should take, in milliseconds: a live change of one of its rows waits for that long at most, and one
    /// of any other row shares the processors and the disk with a burst of that length.
    batch_milliseconds: u32,
    /// After how many seconds without a sign of life another process takes over.
    lease_seconds: u32,
    /// How many seconds a transaction can last: until then rows may be written by the rules of the state before.
    grace_seconds: u32,
}

impl Default for MigrationConfig {
    fn default() -> Self {
        Self { max_rows_per_second: 22_500, batch_milliseconds: 8, lease_seconds: 5, grace_seconds: 60 }
    }
}

impl MigrationConfig {
    /// Without a rate limit, as fast as it goes, and without waiting for transactions that began earlier: for tests and
    /// for commands that run while the service does not.
    #[must_use]
    pub fn alone() -> Self {
        Self { max_rows_per_second: 0, batch_milliseconds: 200, lease_seconds: 1, grace_seconds: 0 }
    }

    pub(crate) fn rate(&self, asked: Option<u32>) -> Option<u32> {
        asked.or((self.max_rows_per_second > 0).then_some(self.max_rows_per_second))
    }

    pub(crate) fn batch(&self) -> Duration {
        Duration::from_millis(self.batch_milliseconds.max(1).into())
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.max(1).into())
    }

    /// How long after a change of state a step that takes a form away must not end.
    pub(crate) fn grace(&self, step: Step) -> Duration {
        match step {
            Step::Commit | Step::Undo => Duration::from_secs(self.grace_seconds.into()),
            Step::Move | Step::Verify => Duration::ZERO,
        }
    }
}

/// When integrity scans run, and how fast.
///
/// ```
/// let config: portal_upkeep::IntegrityConfig = toml::from_str("schedule = \"0 4 * * SUN\"")?;
/// assert!(toml::from_str::<portal_upkeep::IntegrityConfig>("schedule = \"0 25 * * *\"").is_err());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntegrityConfig {
    /// When scans begin by themselves, in UTC: minute, hour, day of the month, month, day of the week, as in cron.
    /// Empty means never.
    schedule: Schedule,
    /// Most rows to read per second, to spare live traffic; 0 means as fast as it goes.
    max_rows_per_second: u32,
}

impl Default for IntegrityConfig {
    fn default() -> Self {
        Self { schedule: Schedule::nightly(), max_rows_per_second: 5_000 }
    }
}

impl fmt::Debug for IntegrityConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntegrityConfig")
            .field("schedule", &self.schedule)
            .field("max_rows_per_second", &self.max_rows_per_second)
            .finish()
    }
}

impl IntegrityConfig {
    /// Scans run when they are asked for, as fast as they go: for tests and commands.
    #[must_use]
    pub fn on_demand() -> Self {
        Self { schedule: Schedule::never(), max_rows_per_second: 0 }
    }

    pub(crate) const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    pub(crate) fn rate(&self, asked: Option<u32>) -> Option<u32> {
        asked.or((self.max_rows_per_second > 0).then_some(self.max_rows_per_second))
    }
}
