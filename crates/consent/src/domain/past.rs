//! What stood at an earlier time, told by the events alone.

use portal_core::Timestamp;

use super::consent::{Consent, Event, Facts};

/// A time to look back to, on both clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct When {
    /// What had been decided by then, by event time …
    pub(crate) decided: Timestamp,
    /// … as far as it had been recorded by then.
    pub(crate) recorded: Timestamp,
}

impl When {
    const fn includes(self, event: &Event) -> bool {
        event.event_at.as_micros() <= self.decided.as_micros()
            && event.recorded_at.as_micros() <= self.recorded.as_micros()
    }
}

impl Consent {
    /// As it stood at `when`, of all its events in the order in which they were recorded. None if nothing had been decided
    /// by then.
    pub(crate) fn past(events: &[Event], when: When) -> Option<Self> {
        events.iter().rfind(|event| when.includes(event)).map(Self::after)
    }

    /// As `event` has left it.
    fn after(event: &Event) -> Self {
        Self::restore(Facts {
            id: event.consent,
            subject: event.subject,
            purpose: event.purpose,
            basis: event.basis,
            status: event.status,
            event_at: event.event_at,
            recorded_at: event.recorded_at,
            expires_at: event.expires_at,
            version: event.sequence,
        })
    }
}
