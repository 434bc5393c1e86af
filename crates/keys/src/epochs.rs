//! Opened epoch keys.
//!
//! Promises: an epoch key is used for no longer than the cache's time after the provider last opened it, and is wiped
//! then; however many wait for it, the provider is asked once, and all are told the same answer; after a failure it is
//! left alone for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::EpochId;
use portal_crypto::epoch::EpochKey;
use portal_crypto::wrapped::{KeyContext, WrappedKeyRecord};

use crate::error::{KeysError, Stored};
use crate::hierarchy::Hierarchy;
use crate::store::epochs as rows;
use crate::store::state::KeyState;
use crate::window::Window;
use crate::wrapping::Failure;

/// After a failure the provider is not asked again for this long.
const PAUSE: Duration = Duration::from_millis(500);

/// How much longer keys may be used at least that were made [ready](Hierarchy::ready), or half of the time that the cache
/// keeps them.
const READY: Duration = Duration::from_secs(5);

/// An epoch key that may be used while its window is open.
pub(crate) struct Opened {
    pub(crate) key: EpochKey,
    pub(crate) window: Arc<Window>,
}

/// One epoch: its key, if it is open, and the turn to open it.
#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct SlotState {
    opened: Option<Arc<Opened>>,
    /// The last answer of the provider, if it was a failure, and when it was asked.
    failed: Option<(Timestamp, Failure)>,
}

/// The epochs of one service and tenant.
#[derive(Default)]
pub(crate) struct Epochs {
    slots: Mutex<HashMap<EpochId, Arc<Slot>>>,
    active: Mutex<Option<Active>>,
}

/// The epoch that wraps new keys, as last seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Active {
    pub(crate) id: EpochId,
    pub(crate) since: Timestamp,
}

impl Slot {
    fn usable(&self, now: Timestamp) -> Option<Arc<Opened>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.opened.as_ref().filter(|opened| opened.window.is_open(now)).map(Arc::clone)
    }

    /// The failure that an attempt at or after `asked` met, or one so fresh that another attempt is no use yet.
    fn failure(&self, asked: Timestamp, now: Timestamp) -> Option<Failure> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, failure) = state.failed.as_ref()?;
        (*at >= asked || now.since(*at) < PAUSE).then(|| failure.clone())
    }

    fn set(&self, update: impl FnOnce(&mut SlotState)) {
        update(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Epochs {
    pub(crate) fn active(&self) -> Option<Active> {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_active(&self, active: Option<Active>) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = active;
    }

    fn slot(&self, id: EpochId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(id).or_default())
    }

    fn all(&self) -> Vec<(EpochId, Arc<Slot>)> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().map(|(id, slot)| (*id, Arc::clone(slot))).collect()
    }

    /// Wipes the key of `id`, and with it ends the use of all that it has opened.
    pub(crate) fn close(&self, id: EpochId) {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(slot) = slot {
            slot.set(|state| {
                if let Some(opened) = state.opened.take() {
                    opened.window.close();
                }
            });
        }
    }

    /// Wipes the keys that may not be used any more.
    pub(crate) fn sweep(&self, now: Timestamp) {
        for (_, slot) in self.all() {
            slot.set(|state| state.opened = state.opened.take().filter(|opened| opened.window.is_open(now)));
        }
    }
}

impl Hierarchy {
    /// The epoch that wraps new keys, if it is known and its key is open.
    pub(crate) fn epoch_at_hand(&self) -> Option<Arc<Opened>> {
        let active = self.epochs.active()?;
        self.epochs.slot(active.id).usable(self.clock.now())
    }

    /// The epoch key `id`, asking the provider if it is not open.
    pub(crate) async fn epoch(&self, id: EpochId) -> Result<Arc<Opened>, KeysError> {
        let slot = self.epochs.slot(id);
        let asked = self.clock.now();
        if let Some(opened) = slot.usable(asked) {
            return Ok(opened);
        }
        let _turn = slot.turn.lock().await;
        let now = self.clock.now();
        if let Some(opened) = slot.usable(now) {
            return Ok(opened);
        }
        if let Some(failure) = slot.failure(asked, now) {
            return Err(failure.of(Stored::EpochKey, id));
        }
        self.open_epoch(id, &slot).await
    }

    /// Opens every epoch key that may be used and is not open for a while yet.
    ///
    /// # Errors
    /// [`KeysError::Unavailable`], [`KeysError::Store`]. What is wrong with one key alone is told to whoever needs it.
    pub(crate) async fn ready(&self) -> Result<(), KeysError> {
        let tenant = self.scope.tenant;
        let all = self.database.read("list_epochs", |tx| async move { rows::all(&tx, tenant).await }).await?;
        let opens = |state| matches!(state, KeyState::Active | KeyState::Retired);
        for id in all.into_iter().filter(|row| opens(row.state)).map(|row| row.id) {
            match self.open_for_a_while(id).await {
                Err(error) if error.is_retryable() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn open_for_a_while(&self, id: EpochId) -> Result<(), KeysError> {
        let slot = self.epochs.slot(id);
        let (asked, ahead) = (self.clock.now(), READY.min(self.ttl / 2));
        if slot.usable(asked.plus(ahead)).is_some() {
            return Ok(());
        }
        let _turn = slot.turn.lock().await;
        let now = self.clock.now();
        if slot.usable(now.plus(ahead)).is_some() {
            return Ok(());
        }
        match slot.failure(asked, now) {
            Some(failure) => Err(failure.of(Stored::EpochKey, id)),
            None => self.open_epoch(id, &slot).await.map(drop),
        }
    }

    /// Asks the provider again for the keys whose time is half over, so that it does not end while the provider is well.
    pub(crate) async fn refresh_epochs(&self) {
        for (id, slot) in self.epochs.all() {
            let now = self.clock.now();
            let Some(opened) = slot.usable(now) else { continue };
            if now.since(opened.window.from()) < self.ttl / 2 {
                continue;
            }
            let _turn = slot.turn.lock().await;
            if slot.failure(now, now).is_some() {
                continue;
            }
            if let Err(error) = self.open_epoch(id, &slot).await {
                let cause = std::error::Error::source(&error);
                tracing::warn!(epoch = %id, %error, cause, "an epoch key could not be opened again");
            }
        }
    }

    /// Opens the epoch by the provider. The caller has the turn.
    async fn open_epoch(&self, id: EpochId, slot: &Slot) -> Result<Arc<Opened>, KeysError> {
        let now = self.clock.now();
        let record = self.epoch_record(id).await?;
        let result = self.root.unwrap(&KeyContext::epoch(self.scope, id), &record).await;
        let key = match result {
            Ok(key) => key,
            Err(failure) => {
                slot.set(|state| state.failed = Some((now, failure.clone())));
                return Err(failure.of(Stored::EpochKey, id));
            }
        };
        let key = EpochKey::of_record(&record, &key, self.scope, self.root.suites)
            .map_err(|_| KeysError::corrupt(Stored::EpochKey, id))?;
        // Time counts from before the call: what the provider said later it may have decided then.
        let opened = match slot.usable(now) {
            Some(known) => {
                known.window.extend(now, self.ttl);
                known
            }
            None => Arc::new(Opened { key, window: Arc::new(Window::new(now, self.ttl)) }),
        };
        slot.set(|state| *state = SlotState { opened: Some(Arc::clone(&opened)), failed: None });
        Ok(opened)
    }

    /// The stored record of an epoch that may open.
    async fn epoch_record(&self, id: EpochId) -> Result<WrappedKeyRecord, KeysError> {
        let tenant = self.scope.tenant;
        let found =
            self.database.read("find_epoch", |tx| async move { rows::find(&tx, tenant, id).await }).await?;
        let row = found.ok_or_else(|| KeysError::corrupt(Stored::EpochKey, id))?;
        match (row.state, row.record) {
            (KeyState::Disabled, _) => Err(KeysError::EpochDisabled(id)),
            (KeyState::Active | KeyState::Retired, Some(record)) => {
                let record = WrappedKeyRecord::from_bytes(&record).ok();
                record
                    .filter(|record| record.wrapped().root == row.root)
                    .ok_or_else(|| KeysError::corrupt(Stored::EpochKey, id))
            }
            (KeyState::Destroyed | KeyState::Pending, _) | (KeyState::Active | KeyState::Retired, None) => {
                Err(KeysError::corrupt(Stored::EpochKey, id))
            }
        }
    }
}
