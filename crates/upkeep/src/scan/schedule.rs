//! When scans begin by themselves: five fields as in cron, in UTC. Pure.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use portal_core::Timestamp;
use serde::Deserialize;

/// A schedule, or none.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Schedule(Option<Cron>);

/// The text is not a schedule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "must be empty or five fields as in cron, such as \"17 3 * * *\": minute, hour, day, month, day of the week"
)]
pub struct InvalidSchedule;

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(cron) => write!(f, "Schedule({})", cron.as_str()),
            None => f.write_str("Schedule(never)"),
        }
    }
}

impl TryFrom<String> for Schedule {
    type Error = InvalidSchedule;

    fn try_from(text: String) -> Result<Self, InvalidSchedule> {
        Self::parse(&text)
    }
}

impl Schedule {
    /// Parses five fields; an empty text means never.
    ///
    /// # Errors
    /// [`InvalidSchedule`].
    pub fn parse(text: &str) -> Result<Self, InvalidSchedule> {
        if text.trim().is_empty() {
            return Ok(Self::never());
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        parser.parse(text).map(|cron| Self(Some(cron))).map_err(|_| InvalidSchedule)
    }

    /// 03:17 every night.
    #[must_use]
    pub fn nightly() -> Self {
        // A test parses it.
        Self::parse("17 3 * * *").unwrap_or(Self(None))
    }

    /// Never.
    #[must_use]
    pub const fn never() -> Self {
        Self(None)
    }

    /// The last time at or before `now` at which a scan was to begin.
    #[must_use]
    pub fn last(&self, now: Timestamp) -> Option<Timestamp> {
        let now = jiff::Timestamp::from_microsecond(now.as_micros()).ok()?.to_zoned(TimeZone::UTC);
        let last = self.0.as_ref()?.find_previous_occurrence(&now, true).ok()?;
        Some(Timestamp::from_micros(last.timestamp().as_microsecond()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    #[test]
    fn the_last_time_is_at_or_before_now() {
        let check = |schedule: &str, now: &str, last: &str| {
            assert_eq!(
                Schedule::parse(schedule).unwrap().last(at(now)),
                Some(at(last)),
                "{schedule} at {now}"
            );
        };
        check("17 3 * * *", "2026-11-22T03:17:00Z", "2026-11-22T03:17:00Z");
        check("17 3 * * *", "2026-11-22T03:16:59.999999Z", "2026-11-21T03:17:00Z");
        check("*/15 * * * *", "2026-11-22T10:44:31Z", "2026-11-22T10:30:00Z");
        check("0 4 * * SUN", "2026-11-24T00:00:00Z", "2026-11-22T04:00:00Z");
        check("30 1 29 2 *", "2027-06-01T00:00:00Z", "2024-02-29T01:30:00Z");
        assert_eq!(Schedule::never().last(at("2026-11-22T03:17:00Z")), None);
        assert!(Schedule::nightly().0.is_some());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["x", "* * * *", "61 * * * *", "* 24 * * *", "0 17 3 * * *", "17 3 * * * 2027", "* * 0 * *"]
        {
            assert_eq!(Schedule::parse(text).err(), Some(InvalidSchedule), "{text}");
        }
        assert!(Schedule::parse(" ").unwrap().0.is_none());
    }
}
