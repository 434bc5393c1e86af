//! What travels with a call through a process and on to the next: its deadline and its W3C trace context; and what let it in,
//! which stays in the process.
//!
//! The server's guard sets it around a handler; a [`MeshChannel`](crate::MeshChannel) used inside reads it, so a deadline
//! shrinks from hop to hop and one trace spans them all without every function passing it along.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use portal_authz::Decision;
use portal_core::Entropy;
use portal_core::entropy::random_bytes;
use tokio::time::Instant;

tokio::task_local! {
    static CURRENT: Context;
}

/// Deadline and trace of the call being served, and the policies that let it in.
#[derive(Clone, Debug)]
pub struct Context {
    /// When the caller stops waiting; `None` for streams that stay open.
    pub deadline: Option<Instant>,
    /// Trace and span.
    pub trace: Trace,
    /// What let the caller in.
    pub decision: Arc<Decision>,
}

impl Context {
    /// The context of the call being served on this task, if there is one.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `future` in this context.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }
}

/// A W3C trace context (`traceparent`, version 00).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trace {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

/// Name of the header.
pub const TRACEPARENT: &str = "traceparent";

impl Trace {
    /// Starts a trace.
    #[must_use]
    pub fn start(entropy: &dyn Entropy) -> Self {
        // An id of zero is invalid; setting one bit costs less than drawing again.
        let trace_id = u128::from_be_bytes(random_bytes(entropy)) | 1;
        let span_id = u64::from_be_bytes(random_bytes(entropy)) | 1;
        Self { trace_id, span_id, sampled: false }
    }

    /// Continues the trace of `headers` with a new span, or starts one if there is none that is valid.
    #[must_use]
    pub fn continue_from(headers: &HeaderMap, entropy: &dyn Entropy) -> Self {
        let parent = headers.get(TRACEPARENT).and_then(|value| Self::parse(value.to_str().ok()?));
        parent.map_or_else(|| Self::start(entropy), |parent| parent.child(entropy))
    }

    /// A new span in the same trace.
    #[must_use]
    pub fn child(self, entropy: &dyn Entropy) -> Self {
        Self { span_id: u64::from_be_bytes(random_bytes(entropy)) | 1, ..self }
    }

    /// The trace id in hexadecimal, as logs show it.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The header that hands this span on as parent.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.to_string()).ok()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // A later version may append parts; version ff is forbidden, and version 00 has exactly these four.
        let unknown_tail = version == "00" && parts.next().is_some();
        if version.len() != 2 || version == "ff" || unknown_tail || flags.len() != 2 {
            return None;
        }
        let lower_hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if !lower_hex(version, 2) || !lower_hex(trace, 32) || !lower_hex(span, 16) || !lower_hex(flags, 2) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace_id, span_id, sampled })
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// The header of a list's reply that says how many rows were left out, since they are corrupt or their person was erased.
/// It is not sent if none was.
pub const ROWS_WITHHELD: &str = "portal-rows-withheld";

/// Name of the gRPC deadline header.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The time that a `grpc-timeout` header leaves.
///
/// # Errors
/// [`InvalidTimeout`] if there is a header that the gRPC specification does not allow.
pub fn parse_timeout(headers: &HeaderMap) -> Result<Option<Duration>, InvalidTimeout> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else { return Ok(None) };
    let text = value.to_str().map_err(|_| InvalidTimeout)?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(InvalidTimeout)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidTimeout);
    }
    let amount: u64 = digits.parse().map_err(|_| InvalidTimeout)?;
    let timeout = match unit {
        "H" => Duration::from_secs(amount * 3_600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return Err(InvalidTimeout),
    };
    Ok(Some(timeout))
}

/// The `grpc-timeout` header for `remaining`, rounded up to a unit that keeps it within eight digits.
#[must_use]
pub fn timeout_header(remaining: Duration) -> Option<HeaderValue> {
    let micros = remaining.as_micros();
    let text = if micros < 100_000_000 {
        format!("{micros}u")
    } else {
        format!("{}m", remaining.as_millis().min(99_999_999))
    };
    HeaderValue::from_str(&text).ok()
}

/// The `grpc-timeout` header is malformed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("grpc-timeout must be up to 8 digits and one of H, M, S, m, u, n")]
pub struct InvalidTimeout;

#[cfg(test)]
mod tests {
    use super::*;
    use portal_core::SeededEntropy;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn a_trace_is_continued_with_a_new_span() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let child = Trace::continue_from(&headers(TRACEPARENT, parent), &SeededEntropy::new(1)).to_string();
        assert_eq!(&child[..36], &parent[..36]);
        assert_ne!(&child[36..52], &parent[36..52]);
        assert_eq!(&child[53..], "01");
    }

    #[test]
    fn an_invalid_parent_starts_a_new_trace() {
        for invalid in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "garbage",
        ] {
            let trace = Trace::continue_from(&headers(TRACEPARENT, invalid), &SeededEntropy::new(1));
            assert!(!trace.to_string().contains("4bf92f3577b34da6"), "{invalid}");
        }
    }

    #[test]
    fn timeouts_follow_the_grpc_specification() {
        let parse = |text: &str| parse_timeout(&headers(GRPC_TIMEOUT, text));
        assert_eq!(parse("100m"), Ok(Some(Duration::from_millis(100))));
        assert_eq!(parse("2H"), Ok(Some(Duration::from_secs(7_200))));
        for invalid in ["", "m", "1", "123456789m", "-1m", "1x", "1.5S"] {
            assert_eq!(parse(invalid), Err(InvalidTimeout), "{invalid}");
        }
        assert_eq!(timeout_header(Duration::from_secs(5)).unwrap(), "5000000u");
        assert_eq!(timeout_header(Duration::from_secs(3_600)).unwrap(), "3600000m");
    }
}
