//! The use cases: load, decide, save, in one transaction each.

pub mod append;
pub mod consent;
pub mod datasets;
pub mod once;
pub mod valuations;

use std::sync::Arc;

use portal_core::id::AccountId;
use portal_core::{Clock, Entropy, Timestamp};
use portal_keys::{Keys, Replies, RequestHashes};
use portal_mesh::policy::{Action, Permit};
use portal_store::Database;
use portal_upkeep::audit::{Audit, Happened};
use tokio::sync::{Notify, mpsc, watch};

use crate::domain::id::AppendId;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::{Seals, Writing};
use consent::Consent;

/// What use cases and workers share.
pub struct App {
    pub(crate) database: Database,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) consent: Consent,
    pub(crate) keys: Keys,
    pub(crate) seals: Seals,
    pub(crate) replies: Replies,
    pub(crate) requests: RequestHashes,
    pub(crate) metrics: Metrics,
    pub(crate) signals: Signals,
}

impl App {
    /// Records what happens, in the transaction in which it does.
    pub(crate) async fn note(
        &self,
        writing: &Writing<'_>,
        happened: Happened,
        now: Timestamp,
    ) -> Result<(), Error> {
        Ok(self.audit.append(writing.tx(), happened, now).await?)
    }
}

/// What `action`, by `actor`, does to what is `owner`'s.
pub(crate) fn happened(action: &'static str, actor: impl Into<String>, owner: AccountId) -> Happened {
    Happened::new(action, actor).on(owner)
}

/// What tasks of this process tell each other. Only ever a hint: other processes work on the same database, so whoever
/// waits for a signal also looks for itself now and then.
pub struct Signals {
    /// A valuation came or changed.
    pub(crate) changed: watch::Sender<()>,
    /// A valuation was cancelled.
    pub(crate) cancelled: Notify,
    /// Appends whose callers are gone.
    pub(crate) abandoned: mpsc::UnboundedSender<AppendId>,
}

impl Signals {
    /// Signals, and where abandoned appends come out.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<AppendId>) {
        let (abandoned, receiver) = mpsc::unbounded_channel();
        (Self { changed: watch::Sender::new(()), cancelled: Notify::new(), abandoned }, receiver)
    }
}

/// The account that a permit was given to: what it may see of datasets and valuations is what it owns.
fn account<A: Action>(permit: &Permit<A>) -> Result<AccountId, Error> {
    permit.caller().user().map(|user| user.account).ok_or(Error::NoAccount)
}
