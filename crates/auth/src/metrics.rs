//! Every metric of auth; names get the prefix `portal_`.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// How an attempt to get tokens ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// Without: the password was right, and a second factor is asked for. How that ends is counted beside it.
    Challenged,
    /// Without: the password was right, and the account's row is corrupt. Counted beside `Refused`.
    Corrupt,
    /// With tokens.
    Granted,
    /// Without, since there were too many attempts lately. No password was looked at.
    Limited,
    /// Without, since too many failed before. No password was looked at.
    LockedOut,
    /// Without.
    Refused,
    /// Without, and the session was ended: a copy of its token was used.
    Replayed,
    /// With the tokens of an attempt shortly before.
    Repeated,
}

/// What became of a mail.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Posting {
    /// It could not be sent, and is tried again.
    Delayed,
    /// It was sent.
    Sent,
    /// It was of no more use, or not what was written, before it could be sent.
    Void,
}

/// What became of telling a client that somebody is signed out.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Telling {
    /// It did not take it, and is told again.
    Delayed,
    /// It has not taken it for a day.
    GivenUp,
    /// It refused it.
    Refused,
    /// It knows.
    Told,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LogoutLabel {
    outcome: Telling,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct MailLabel {
    outcome: Posting,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Label {
    outcome: Outcome,
}

/// Counts of what auth does.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    sign_ins: Family<Label, Counter>,
    refreshes: Family<Label, Counter>,
    mails: Family<MailLabel, Counter>,
    logouts: Family<LogoutLabel, Counter>,
}

impl Metrics {
    /// New metrics that `registry` shows.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("auth_sign_ins", "Sign-ins by outcome", metrics.sign_ins.clone());
        registry.register("auth_refreshes", "Refreshes of sessions by outcome", metrics.refreshes.clone());
        registry.register("auth_mails", "Attempts to send a mail by outcome", metrics.mails.clone());
        let help = "Attempts to tell a client of a sign-out by outcome";
        registry.register("auth_client_logouts", help, metrics.logouts.clone());
        metrics
    }

    pub(crate) fn sign_in(&self, outcome: Outcome) {
        self.sign_ins.get_or_create(&Label { outcome }).inc();
    }

    pub(crate) fn posting(&self, outcome: Posting) {
        self.mails.get_or_create(&MailLabel { outcome }).inc();
    }

    pub(crate) fn telling(&self, outcome: Telling) {
        self.logouts.get_or_create(&LogoutLabel { outcome }).inc();
    }

    pub(crate) fn refresh(&self, outcome: Outcome) {
        self.refreshes.get_or_create(&Label { outcome }).inc();
    }
}
