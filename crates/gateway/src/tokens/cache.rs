//! What was exchanged, by token and audience, and the exchanges under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use http::HeaderValue;
use portal_core::Timestamp;
use portal_proto::auth::v1::revocation::Target;

use super::{Exchanged, Key};

/// Most exchanges remembered; each holds a signed token of about 5 KB.
const MAX_GRANTS: usize = 4_096;

/// A signed token and whose it is.
pub(super) struct Grant {
    pub(super) authorization: HeaderValue,
    pub(super) usable_until: Timestamp,
    pub(super) session_id: String,
    pub(super) account_id: String,
    pub(super) token_family_id: String,
    pub(super) client_id: String,
}

impl Grant {
    fn is_of(&self, target: &Target) -> bool {
        match target {
            Target::Heartbeat(_) => false,
            Target::SessionId(id) => self.session_id == *id,
            Target::AccountId(id) => self.account_id == *id,
            Target::TokenFamilyId(id) => self.token_family_id == *id,
            Target::ClientId(id) => self.client_id == *id,
            // Which key signed is not kept; keys are revoked once in years.
            Target::SigningKeyId(_) => true,
        }
    }
}

/// An exchange that is done, or that one can wait for.
pub(super) enum Flight {
    Landed(Arc<Grant>),
    UnderWay(Shared<BoxFuture<'static, Exchanged>>),
}

#[derive(Default)]
pub(super) struct Cache(Mutex<State>);

#[derive(Default)]
struct State {
    grants: HashMap<Key, Arc<Grant>>,
    /// Weak: an exchange that nobody waits for any more is given up, not kept.
    flights: HashMap<Key, WeakShared<BoxFuture<'static, Exchanged>>>,
    /// Counts revocations. An exchange that began in an earlier epoch may have missed one, so it is not remembered.
    epoch: u64,
}

impl Cache {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The grant for `key`, or the exchange that will give it: the one under way, or the one that `start` makes.
    pub(super) fn grant(
        &self,
        key: Key,
        now: Timestamp,
        start: impl FnOnce() -> BoxFuture<'static, Exchanged>,
    ) -> Flight {
        let mut state = self.state();
        if let Some(grant) = state.grants.get(&key).filter(|grant| now < grant.usable_until) {
            return Flight::Landed(Arc::clone(grant));
        }
        if let Some(flight) = state.flights.get(&key).and_then(WeakShared::upgrade) {
            return Flight::UnderWay(flight);
        }
        if state.flights.len() >= MAX_GRANTS {
            state.flights.retain(|_, flight| flight.upgrade().is_some());
        }
        let flight = start().shared();
        state.flights.extend(flight.downgrade().map(|weak| (key, weak)));
        Flight::UnderWay(flight)
    }

    /// The current epoch, to be noted before an exchange begins.
    pub(super) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Ends the exchange for `key` that began in `epoch`; remembers its grant if nothing was revoked meanwhile.
    pub(super) fn land(&self, key: Key, epoch: u64, grant: Option<Arc<Grant>>, now: Timestamp) {
        let mut state = self.state();
        state.flights.remove(&key);
        let Some(grant) = grant.filter(|grant| epoch == state.epoch && now < grant.usable_until) else {
            return;
        };
        if state.grants.len() >= MAX_GRANTS {
            state.grants.retain(|_, grant| now < grant.usable_until);
        }
        // Still full: any one has to go, it costs its owner one exchange.
        if state.grants.len() >= MAX_GRANTS
            && let Some(victim) = state.grants.keys().next().copied()
        {
            state.grants.remove(&victim);
        }
        state.grants.insert(key, grant);
    }

    /// Forgets what `target` was given.
    pub(super) fn revoke(&self, target: &Target) {
        if matches!(target, Target::Heartbeat(_)) {
            return;
        }
        let mut state = self.state();
        state.epoch += 1;
        state.flights.clear();
        state.grants.retain(|_, grant| !grant.is_of(target));
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.epoch += 1;
        state.flights.clear();
        state.grants.clear();
    }
}
