//! Epochs and keys of indexes: begun, replaced, switched off, destroyed.

use portal_core::id::EpochId;
use portal_store::Tx;

use crate::KeysError;
use crate::epochs::Active;
use crate::error::Stored;
use crate::hierarchy::Hierarchy;
use crate::store::secrets::{self, SecretName};
use crate::store::state::{KeyEvent, KeyState, Purpose};
use crate::store::{epochs, events, head, subjects};

/// A new epoch, and the one it replaces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rotation {
    /// Wraps new subject keys from now on.
    pub active: EpochId,
    /// Opens what it has wrapped until that is rewrapped.
    pub retired: EpochId,
}

impl Hierarchy {
    /// Begins a new epoch. With `instead_of`, only if that one is still the active one.
    pub(crate) async fn rotate_epoch(
        &self,
        instead_of: Option<EpochId>,
    ) -> Result<Option<Rotation>, KeysError> {
        let row = &self.base().new_epoch().await?;
        let (created, retired) =
            (&self.event(KeyEvent::Created, row.id), &self.event(KeyEvent::Retired, "epoch"));
        let (tenant, now) = (self.scope.tenant, row.created);
        let rotate = |tx: Tx| async move {
            let old = epochs::active(&tx, tenant).await?;
            let old = old.ok_or_else(|| KeysError::corrupt(Stored::EpochKey, "active"))?.id;
            if instead_of.is_some_and(|expected| expected != old) {
                return Ok(None);
            }
            epochs::set_state(&tx, tenant, old, (KeyState::Active, KeyState::Retired), now).await?;
            epochs::insert(&tx, tenant, row).await?;
            events::add(&tx, tenant, &retired.about(old), 1).await?;
            events::add(&tx, tenant, created, 1).await?;
            head::announce(&tx, tenant).await?;
            Ok::<_, KeysError>(Some(Rotation { active: row.id, retired: old }))
        };
        let rotation = self.database.run_tx("rotate_epoch", rotate).await?;
        if let Some(rotation) = rotation {
            self.epochs.set_active(Some(Active { id: rotation.active, since: now }));
            tracing::info!(active = %rotation.active, retired = %rotation.retired, "a new epoch has begun");
        }
        Ok(rotation)
    }

    /// Switches a retired epoch off, or on again.
    pub(crate) async fn switch_epoch(&self, id: EpochId, on: bool) -> Result<(), KeysError> {
        let (from, to, kind) = if on {
            (KeyState::Disabled, KeyState::Retired, KeyEvent::Enabled)
        } else {
            (KeyState::Retired, KeyState::Disabled, KeyEvent::Disabled)
        };
        let event = &self.event(kind, id);
        let (tenant, now) = (self.scope.tenant, self.clock.now());
        let switch = |tx: Tx| async move {
            let row = epochs::find(&tx, tenant, id).await?;
            let row = row.ok_or_else(|| KeysError::NoSuchKey(id.to_string()))?;
            if row.state != from {
                return Err(KeysError::State { key: id.to_string(), state: row.state });
            }
            epochs::set_state(&tx, tenant, id, (from, to), now).await?;
            events::add(&tx, tenant, event, 1).await?;
            head::announce(&tx, tenant).await?;
            Ok(())
        };
        self.database.run_tx("switch_epoch", switch).await?;
        self.epochs.close(id);
        Ok(())
    }

    /// Destroys an epoch key that nothing is wrapped under any more.
    pub(crate) async fn destroy_epoch(&self, id: EpochId) -> Result<(), KeysError> {
        let event = &self.event(KeyEvent::Destroyed, id);
        let (tenant, now) = (self.scope.tenant, self.clock.now());
        let destroy = |tx: Tx| async move {
            let row = epochs::find(&tx, tenant, id).await?;
            let row = row.ok_or_else(|| KeysError::NoSuchKey(id.to_string()))?;
            match row.state {
                KeyState::Retired | KeyState::Disabled => {}
                KeyState::Active | KeyState::Destroyed | KeyState::Pending => {
                    return Err(KeysError::State { key: id.to_string(), state: row.state });
                }
            }
            let keys = subjects::count_of_epoch(&tx, tenant, id).await?;
            if keys > 0 {
                return Err(KeysError::InUse { epoch: id, keys });
            }
            epochs::set_state(&tx, tenant, id, (row.state, KeyState::Destroyed), now).await?;
            events::add(&tx, tenant, event, 1).await?;
            head::announce(&tx, tenant).await?;
            Ok(())
        };
        self.database.run_tx("destroy_epoch", destroy).await?;
        self.epochs.close(id);
        self.scrub_later();
        self.scrub().await;
        Ok(())
    }

    /// A new key for a column's index, if `active` is still the active one; that still finds what it has indexed.
    pub(crate) async fn rotate_index_key(
        &self,
        table: &str,
        column: &str,
        active: u32,
    ) -> Result<u32, KeysError> {
        let scope = format!("{table}.{column}");
        let name = |generation| SecretName { purpose: Purpose::BlindIndex, scope: scope.clone(), generation };
        let (old, new) = (&name(active), &name(active + 1));
        let key = portal_crypto::key::KeyBytes::generate(&*self.entropy);
        let row = &self.base().wrap_secret(new, &key).await?;
        let (created, retired) = (&self.event(KeyEvent::Created, new), &self.event(KeyEvent::Retired, old));
        let (tenant, now) = (self.scope.tenant, self.clock.now());
        let rotate = |tx: Tx| async move {
            // Somebody else may have done so meanwhile: that is then the rotation that was asked for.
            if secrets::insert(&tx, tenant, row).await? {
                secrets::set_state(&tx, tenant, old, (KeyState::Active, KeyState::Retired), now).await?;
                events::add(&tx, tenant, retired, 1).await?;
                events::add(&tx, tenant, created, 1).await?;
                head::announce(&tx, tenant).await?;
            }
            Ok::<_, KeysError>(())
        };
        self.database.run_tx("rotate_index_key", rotate).await?;
        self.reload_index_keys().await?;
        Ok(active + 1)
    }

    /// Destroys a retired key of a column's index by which no row is found any more.
    pub(crate) async fn destroy_index_key(
        &self,
        table: &str,
        column: &str,
        (generation, found): (u32, u64),
    ) -> Result<(), KeysError> {
        let scope = format!("{table}.{column}");
        let name = &SecretName { purpose: Purpose::BlindIndex, scope, generation };
        let event = &self.event(KeyEvent::Destroyed, name);
        let (tenant, now) = (self.scope.tenant, self.clock.now());
        let destroy = |tx: Tx| async move {
            let rows = secrets::all(&tx, tenant).await?;
            let row = rows.into_iter().find(|row| row.name == *name);
            let state = row.ok_or_else(|| KeysError::NoSuchKey(name.to_string()))?.state;
            if state != KeyState::Retired {
                return Err(KeysError::State { key: name.to_string(), state });
            }
            if found > 0 {
                return Err(KeysError::IndexInUse { key: name.to_string(), rows: found });
            }
            secrets::set_state(&tx, tenant, name, (KeyState::Retired, KeyState::Destroyed), now).await?;
            events::add(&tx, tenant, event, 1).await?;
            head::announce(&tx, tenant).await?;
            Ok(())
        };
        self.database.run_tx("destroy_index_key", destroy).await?;
        self.reload_index_keys().await?;
        self.scrub_later();
        self.scrub().await;
        Ok(())
    }
}
