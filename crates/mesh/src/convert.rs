//! Well-known protobuf types to and from ours.

use std::time::Duration;

use portal_core::Timestamp;

/// To `google.protobuf.Timestamp`.
#[must_use]
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_seconds(), nanos: i32::try_from(at.subsec_nanos()).unwrap_or(0) }
}

/// The message is out of the range or form that `google.protobuf` defines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTime {
    /// Not between 0001-01-01 and 9999-12-31, or nanoseconds outside 0..10^9.
    #[error("must be a time between the years 1 and 9999")]
    Timestamp,
    /// Negative, or longer than 10,000 years.
    #[error("must be a duration from 0 seconds to 10,000 years")]
    Duration,
}

/// From `google.protobuf.Timestamp`, cut to microseconds.
///
/// # Errors
/// [`InvalidTime::Timestamp`].
pub fn parse_timestamp(message: prost_types::Timestamp) -> Result<Timestamp, InvalidTime> {
    const FIRST: i64 = -62_135_596_800;
    const LAST: i64 = 253_402_300_799;
    if !(FIRST..=LAST).contains(&message.seconds) || !(0..1_000_000_000).contains(&message.nanos) {
        return Err(InvalidTime::Timestamp);
    }
    Ok(Timestamp::from_micros(message.seconds * 1_000_000 + i64::from(message.nanos) / 1_000))
}

/// To `google.protobuf.Duration`.
#[must_use]
pub fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// From `google.protobuf.Duration`; negative ones are refused.
///
/// # Errors
/// [`InvalidTime::Duration`].
pub fn parse_duration(message: prost_types::Duration) -> Result<Duration, InvalidTime> {
    const LONGEST: u64 = 315_576_000_000;
    let seconds = u64::try_from(message.seconds).map_err(|_| InvalidTime::Duration)?;
    let nanos = u32::try_from(message.nanos).map_err(|_| InvalidTime::Duration)?;
    if seconds > LONGEST || nanos >= 1_000_000_000 {
        return Err(InvalidTime::Duration);
    }
    Ok(Duration::new(seconds, nanos))
}
