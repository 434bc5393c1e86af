//! What keys there are: ids, uses, algorithms, states and times; no key material.

use std::collections::BTreeSet;

use portal_core::Timestamp;
use portal_core::id::{EpochId, EventId, Id, RootId};
use portal_crypto::envelope::Scope;
use portal_crypto::inventory::KeyInfo;
use portal_crypto::suite::Algorithm;
use portal_store::ReadTx;

use crate::hierarchy::Hierarchy;
use crate::store::secrets::SecretRow;
use crate::store::state::{KeyState, Purpose};
use crate::store::{epochs, secrets, subjects};
use crate::{KeysError, cbom};

/// What a key is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyUse {
    /// Wraps the epoch and service keys; held by the provider.
    Root,
    /// Wraps subject keys.
    Epoch,
    /// A key of the service itself.
    Service(Purpose),
    /// Signs tokens; kept in the data of the service.
    Token,
}

/// What a key is used with.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyAlgorithm {
    /// One that records name.
    Suite(Algorithm),
    /// HKDF-SHA-256 (RFC 5869): other keys are derived from it.
    HkdfSha256,
    /// HMAC-SHA-256 (RFC 2104).
    HmacSha256,
}

impl KeyAlgorithm {
    /// The name in its standard.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Suite(algorithm) => algorithm.name(),
            Self::HkdfSha256 => "HKDF-SHA-256",
            Self::HmacSha256 => "HMAC-SHA-256",
        }
    }
}

/// One key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyEntry {
    /// The id: a UUID of roots and epochs, `purpose/column/generation` of the service's own keys.
    pub id: String,
    /// What it is for.
    pub key_use: KeyUse,
    /// What it is used with.
    pub algorithm: KeyAlgorithm,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created: Timestamp,
    /// When another one took its place.
    pub retired: Option<Timestamp>,
    /// When it was destroyed.
    pub destroyed: Option<Timestamp>,
    /// The root key that it is wrapped under; `None` of root keys.
    pub root: Option<RootId>,
    /// How many keys are wrapped under it.
    pub wrapped: u64,
}

/// All keys of a service, at one time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inventory {
    /// Of this inventory.
    pub id: EventId,
    /// Whose keys.
    pub scope: Scope,
    /// When it was taken.
    pub taken: Timestamp,
    /// Roots, epochs, the service's own keys; the newest of a kind first. Subject keys are counted on their epochs.
    pub keys: Vec<KeyEntry>,
}

impl Inventory {
    /// The algorithms that keys are used with, each once; that of fields too, since subject keys are not listed.
    #[must_use]
    pub fn algorithms(&self) -> BTreeSet<KeyAlgorithm> {
        let fields = KeyAlgorithm::Suite(Algorithm::Aes256Gcm);
        self.keys.iter().map(|key| key.algorithm).chain([fields]).collect()
    }

    /// The inventory as a CycloneDX 1.6 cryptography bill of materials, in JSON.
    #[must_use]
    pub fn to_cyclonedx(&self) -> String {
        cbom::document(self)
    }
}

impl Hierarchy {
    /// All keys but subject keys.
    pub(crate) async fn inventory(&self) -> Result<Inventory, KeysError> {
        let tenant = self.scope.tenant;
        let read = |tx: ReadTx| async move {
            let epochs = epochs::all(&tx, tenant).await?;
            let counts = subjects::count_by_epoch(&tx, tenant).await?;
            Ok::<_, KeysError>((epochs, counts, secrets::all(&tx, tenant).await?))
        };
        let (epoch_rows, counts, secret_rows) = self.database.read("inventory", read).await?;
        let under = |root: RootId| {
            let epochs = epoch_rows.iter().filter(|row| row.record.is_some() && row.root == root).count();
            let secrets = secret_rows.iter().filter(|row| row.record.is_some() && row.root == root).count();
            u64::try_from(epochs + secrets).unwrap_or(u64::MAX)
        };
        let mut keys = self.root_entries(under).await?;
        keys.extend(epoch_rows.iter().map(|row| KeyEntry {
            id: row.id.to_string(),
            key_use: KeyUse::Epoch,
            algorithm: KeyAlgorithm::Suite(Algorithm::Aes256Gcm),
            state: row.state,
            created: row.created,
            retired: row.retired,
            destroyed: row.destroyed,
            root: row.record.is_some().then_some(row.root),
            wrapped: wrapped_under(row.id, &counts),
        }));
        keys.extend(secret_rows.iter().map(service_entry));
        let taken = self.clock.now();
        Ok(Inventory { id: EventId::generate(taken, &*self.entropy), scope: self.scope, taken, keys })
    }

    async fn root_entries(&self, under: impl Fn(RootId) -> u64) -> Result<Vec<KeyEntry>, KeysError> {
        let roots = self.root.all().await?;
        let entry = |root: KeyInfo<RootId>| KeyEntry {
            id: root.id().to_string(),
            key_use: KeyUse::Root,
            algorithm: KeyAlgorithm::Suite(root.algorithm()),
            state: root.state().into(),
            created: root.created(),
            retired: root.retired(),
            destroyed: root.destroyed(),
            root: None,
            wrapped: under(*root.id()),
        };
        Ok(roots.into_iter().map(entry).collect())
    }
}

fn wrapped_under(id: EpochId, counts: &[(EpochId, u64)]) -> u64 {
    counts.iter().find(|(epoch, _)| *epoch == id).map_or(0, |(_, count)| *count)
}

fn service_entry(row: &SecretRow) -> KeyEntry {
    let algorithm = match row.name.purpose {
        Purpose::ServiceSecret => KeyAlgorithm::HkdfSha256,
        Purpose::RowDigest | Purpose::Shred | Purpose::BlindIndex => KeyAlgorithm::HmacSha256,
        Purpose::Ledger | Purpose::Statement if row.name.scope == Algorithm::Ed25519.name() => {
            KeyAlgorithm::Suite(Algorithm::Ed25519)
        }
        Purpose::Ledger | Purpose::Statement => KeyAlgorithm::Suite(Algorithm::MlDsa65),
    };
    KeyEntry {
        id: row.name.to_string(),
        key_use: KeyUse::Service(row.name.purpose),
        algorithm,
        state: row.state,
        created: row.created,
        retired: row.retired,
        destroyed: row.destroyed,
        root: row.record.is_some().then_some(row.root),
        wrapped: 0,
    }
}
