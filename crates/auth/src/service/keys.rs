//! The keys that sign tokens, as operators see them.

use futures_util::future::BoxFuture;
use portal_core::Timestamp;
use portal_crypto::jose::PublicKey;
use portal_crypto::token::{KeyId, KeySet};
use portal_keys::{KeyAlgorithm, KeyEntry, KeyState, KeyUse};
use portal_mesh::token::KeySource;
use portal_upkeep::own_keys::OwnKeys;
use portal_upkeep::reasons::KEY_NOT_FOUND;
use tonic::{Status, async_trait};

use crate::app::App;
use crate::domain::SigningKey;
use crate::domain::signing::Stage;

#[async_trait]
impl OwnKeys for App {
    async fn list(&self) -> Result<Vec<KeyEntry>, Status> {
        let now = self.now();
        Ok(self.stored_signing_keys().await?.iter().map(|key| entry(key, now)).collect())
    }

    async fn rotate(&self, actor: &str) -> Result<(), Status> {
        Ok(self.rotate_signing_keys(actor).await?)
    }

    async fn end(&self, id: &str, actor: &str) -> Result<(), Status> {
        let id = KeyId::parse(id).ok_or_else(|| KEY_NOT_FOUND.status())?;
        Ok(self.end_signing_key(&id, actor).await?)
    }
}

impl KeySource for App {
    fn keys(&self) -> BoxFuture<'_, Result<KeySet, Status>> {
        Box::pin(async move {
            let mut set = KeySet::new();
            for key in self.verifying_keys().await? {
                if let PublicKey::MlDsa65(key) = key.public() {
                    set.insert(key.clone());
                }
            }
            Ok(set)
        })
    }
}

fn entry(key: &SigningKey, now: Timestamp) -> KeyEntry {
    let state = match key.stage(now) {
        Stage::Pending => KeyState::Pending,
        Stage::Active => KeyState::Active,
        Stage::Retired | Stage::Over => KeyState::Retired,
        Stage::Ended => KeyState::Destroyed,
    };
    KeyEntry {
        id: key.id.to_string(),
        key_use: KeyUse::Token,
        algorithm: KeyAlgorithm::Suite(key.algorithm.suite()),
        state,
        created: key.created_at,
        retired: key.sign_until.filter(|until| *until <= now),
        destroyed: key.ended_at,
        root: None,
        wrapped: 0,
    }
}
