//! Every metric of this service; names get the prefix `portal_`.
//!
//! | name | labels | counts |
//! |---|---|---|
//! | `portal_consent_events_total` | `status` | changes of consents by the status after |
//! | `portal_consent_decisions_total` | `decision`, `reason` | answers to checks |

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::domain::decision::Reason;
use crate::domain::status::Status;

/// Counts what the service did. Clones share their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    events: Family<EventLabels, Counter>,
    decisions: Family<DecisionLabels, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct EventLabels {
    status: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DecisionLabels {
    decision: &'static str,
    reason: &'static str,
}

impl Metrics {
    /// New metrics that `registry` shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "consent_events",
            "Changes of consents by the status after",
            metrics.events.clone(),
        );
        registry.register("consent_decisions", "Answers to checks by reason", metrics.decisions.clone());
        metrics
    }

    pub(crate) fn event(&self, status: Status) {
        self.events.get_or_create(&EventLabels { status: status.name() }).inc();
    }

    pub(crate) fn decision(&self, reason: Reason) {
        let decision = if reason.permits() { "permit" } else { "deny" };
        self.decisions.get_or_create(&DecisionLabels { decision, reason: name(reason) }).inc();
    }
}

const fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::ConsentExpired => "consent_expired",
        Reason::ConsentGiven => "consent_given",
        Reason::ConsentInvalidated => "consent_invalidated",
        Reason::ConsentRefused => "consent_refused",
        Reason::ConsentRequested => "consent_requested",
        Reason::ConsentRevoked => "consent_revoked",
        Reason::ConsentWithdrawn => "consent_withdrawn",
        Reason::NoConsent => "no_consent",
        Reason::NotYetGiven => "not_yet_given",
        Reason::PersonalDataNotCovered => "personal_data_not_covered",
        Reason::PurposeArchived => "purpose_archived",
        Reason::PurposeUnknown => "purpose_unknown",
        Reason::RecipientNotCovered => "recipient_not_covered",
        Reason::RecordCorrupt => "record_corrupt",
        Reason::RevisionOutdated => "revision_outdated",
    }
}
