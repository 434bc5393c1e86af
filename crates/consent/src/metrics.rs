//! Every metric of this service; names get the prefix `portal_`.
//!
//! | name | labels | counts |
//! |---|---|---|
//! | `portal_consent_events_total` | `status` | changes of consents by the status after |
//! | `portal_consent_decisions_total` | `decision`, `reason` | answers to checks |
//! | `portal_consent_answers_total` | `source` | answers to checks by what they came from: `snapshot` or `database` |
//! | `portal_consent_changes_withheld_total` | | changes streamed without their record, which is corrupt |
//! | `portal_consent_snapshot_consents` | | consents in the snapshot |
//! | `portal_consent_snapshot_age_seconds` | | how long ago the snapshot was complete for sure; -1 while it is loaded |
//! | `portal_consent_snapshot_followed_total` | | consents read again because the ledger named them |

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::decision::Reason;
use crate::domain::status::Status;

/// Counts what the service did. Clones share their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    events: Family<EventLabels, Counter>,
    decisions: Family<DecisionLabels, Counter>,
    answers: Family<SourceLabels, Counter>,
    consents: Gauge,
    age: Gauge<f64, AtomicU64>,
    followed: Counter,
    withheld: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct SourceLabels {
    source: &'static str,
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
        registry.register(
            "consent_answers",
            "Answers to checks by what they came from",
            metrics.answers.clone(),
        );
        registry.register(
            "consent_changes_withheld",
            "Changes streamed without their record, which is corrupt",
            metrics.withheld.clone(),
        );
        registry.register("consent_snapshot_consents", "Consents in the snapshot", metrics.consents.clone());
        registry.register(
            "consent_snapshot_age_seconds",
            "How long ago the snapshot was complete for sure; -1 while it is loaded",
            metrics.age.clone(),
        );
        registry.register(
            "consent_snapshot_followed",
            "Consents read again because the ledger named them",
            metrics.followed.clone(),
        );
        // Nothing is loaded yet.
        metrics.snapshot(0, None);
        metrics
    }

    pub(crate) fn event(&self, status: Status) {
        self.events.get_or_create(&EventLabels { status: status.name() }).inc();
    }

    /// Counts answers by what they came from.
    pub(crate) fn answers(&self, source: AnswerSource, count: usize) {
        let source = match source {
            AnswerSource::Database => "database",
            AnswerSource::Snapshot => "snapshot",
        };
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.answers.get_or_create(&SourceLabels { source }).inc_by(count);
    }

    /// Shows how much the snapshot has, and how old it is.
    pub(crate) fn snapshot(&self, consents: usize, age: Option<Duration>) {
        self.consents.set(i64::try_from(consents).unwrap_or(i64::MAX));
        self.age.set(age.map_or(-1.0, |age| age.as_secs_f64()));
    }

    /// Counts a change that is streamed without its record.
    pub(crate) fn change_withheld(&self) {
        self.withheld.inc();
    }

    /// Counts consents that were read again.
    pub(crate) fn followed(&self, count: usize) {
        self.followed.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(crate) fn decision(&self, reason: Reason) {
        let decision = if reason.permits() { "permit" } else { "deny" };
        self.decisions.get_or_create(&DecisionLabels { decision, reason: name(reason) }).inc();
    }
}

/// What answers came from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AnswerSource {
    Database,
    Snapshot,
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
