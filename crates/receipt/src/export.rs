//! A record in the formats of others.

mod dpv27560;
mod fhir;
mod kantara;

use std::time::Duration;

use portal_core::Timestamp;
use serde_json::Value;

pub use dpv27560::document;

use crate::record::Record;

/// Media type of [`dpv_json_ld`].
pub const DPV_JSON_LD: &str = "application/ld+json";
/// Media type of [`kantara_1_1`].
pub const KANTARA_1_1: &str = "application/json";
/// Media type of [`fhir_r5`].
pub const FHIR_R5: &str = "application/fhir+json";
/// Media type of a signed receipt with its receipt of inclusion inside.
pub const COSE: &str = "application/cose; cose-type=\"cose-sign1\"";

/// The record as ISO/IEC TS 27560 in DPV JSON-LD.
#[must_use]
pub fn dpv_json_ld(record: &Record) -> Value {
    document(record).to_json()
}

/// The record as a Kantara Consent Receipt 1.1.
#[must_use]
pub fn kantara_1_1(record: &Record) -> Value {
    kantara::receipt(record)
}

/// The record as a Consent of FHIR R5.
#[must_use]
pub fn fhir_r5(record: &Record) -> Value {
    fhir::consent(record)
}

/// A duration of ISO 8601 in days, hours, minutes and seconds.
fn iso_8601(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = [(rest / 3_600, 'H'), (rest / 60 % 60, 'M'), (rest % 60, 'S')];
    let clock: String = clock
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    match (days, clock.is_empty()) {
        (0, true) => "PT0S".to_owned(),
        (0, false) => format!("PT{clock}"),
        (_, true) => format!("P{days}D"),
        (_, false) => format!("P{days}DT{clock}"),
    }
}

/// The day in UTC.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take_while(|letter| *letter != 'T').collect()
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        let check = |seconds, expect| assert_eq!(iso_8601(Duration::from_secs(seconds)), expect);
        check(0, "PT0S");
        check(59, "PT59S");
        check(3_600, "PT1H");
        check(86_400 * 365, "P365D");
        check(86_400 + 3_661, "P1DT1H1M1S");
        assert_eq!(day(Timestamp::from_seconds(1_795_305_601)), "2026-11-22");
    }
}
