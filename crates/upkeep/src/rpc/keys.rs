//! `KeyService`.

use std::cmp::Reverse;
use std::sync::Arc;

use portal_core::Invalid;
use portal_core::id::{EpochId, Id, RootId};
use portal_crypto::suite::Algorithm;
use portal_keys::{Inventory, KeyAlgorithm, KeyEntry, KeyState, KeyUse, KeysError, Purpose};
use portal_mesh::convert::timestamp;
use portal_mesh::policy::Action;
use portal_proto::common::v1 as pb;
use portal_store::Tx;
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::failure::Failure;
use super::once::Once;
use super::pages::Pages;
use super::{Answer, Inner, Operators, asked, count, refused};
use crate::indexes::BlindIndex;
use crate::own_keys::OwnKeys;
use crate::reasons::KEY_NOT_FOUND;

/// What has keys that can be replaced by a call.
enum Rotatable {
    Epoch,
    Index(Arc<dyn BlindIndex>),
    Root,
    Token(Arc<dyn OwnKeys>),
}

impl Operators {
    /// A page of the keys, newest first; never key material.
    ///
    /// # Errors
    /// INVALID_FIELD; what the keys failed with.
    pub async fn list_keys<A: Action>(
        &self,
        request: Request<pb::ListKeysRequest>,
    ) -> Answer<pb::ListKeysResponse> {
        let (caller, request) = asked::<A, _>(request)?;
        let pb::ListKeysRequest { page_size, page_token, r#use, state } = request;
        let page = (page_size, page_token.as_str());
        let pages = Pages::parse::<A>(&self.0.page_tokens, &caller, [r#use, state], page);
        let mut invalid = Invalid::new();
        invalid.check("use", pb::KeyUse::try_from(r#use).map_err(|_| "must be a use of keys"));
        invalid.check("state", pb::KeyState::try_from(state).map_err(|_| "must be a state of keys"));
        let pages = invalid.finish(Some(())).and(pages).map_err(refused)?;
        let Inventory { mut keys, .. } = self.0.inventory().await?;
        keys.sort_by(|a, b| (Reverse(a.created), &a.id).cmp(&(Reverse(b.created), &b.id)));
        let wanted = keys
            .iter()
            .map(message)
            .filter(|key| (r#use == 0 || r#use == key.r#use) && (state == 0 || state == key.state));
        let (keys, next_page_token) = pages.cut(wanted, |key| key.key_id.clone().into_bytes());
        Ok(Response::new(pb::ListKeysResponse { keys, next_page_token }))
    }

    /// Puts a new key in force and retires the one before.
    ///
    /// # Errors
    /// INVALID_FIELD; CONFLICT while another rotation is under way; what the keys failed with.
    pub async fn rotate_keys<A: Action>(
        &self,
        request: Request<pb::RotateKeysRequest>,
    ) -> Answer<pb::RotateKeysResponse> {
        let (caller, request) = asked::<A, _>(request)?;
        let mut invalid = Invalid::new();
        let id = (request.request_id.as_str(), self.0.host.clock.now());
        let once = Once::parse::<A>(&mut invalid, &caller, &request, id);
        let what = self.0.rotatable(&mut invalid, request.r#use(), &request.column);
        let what = invalid.finish(what).map_err(refused)?;
        if let Rotatable::Token(own) = &what {
            // A successor that is on its way stays the one: whoever asks again changes nothing.
            return Ok(Response::new(self.0.rotate_tokens(&**own, &caller.key()).await?));
        }
        Ok(Response::new(self.0.rotate(&what, request.rewrap, once.as_ref()).await?))
    }

    /// Destroys a key that nothing depends on any more; one that is destroyed already stays so.
    ///
    /// # Errors
    /// INVALID_FIELD; KEY_NOT_FOUND, KEY_IN_USE, KEY_NOT_RETIRED; what the keys failed with.
    pub async fn destroy_key<A: Action>(
        &self,
        request: Request<pb::DestroyKeyRequest>,
    ) -> Answer<pb::CryptoKey> {
        let (caller, pb::DestroyKeyRequest { key_id }) = asked::<A, _>(request)?;
        let key = self.0.key(&key_id).await?;
        if key.state == KeyState::Destroyed {
            return Ok(Response::new(message(&key)));
        }
        match (&self.0.own_keys, key.key_use) {
            (Some(own), KeyUse::Token) => own.end(&key_id, &caller.key()).await?,
            _ => self.0.destroy(&key).await?,
        }
        Ok(Response::new(message(&self.0.key(&key_id).await?)))
    }

    /// The cryptography in use, as a CycloneDX bill of materials.
    ///
    /// # Errors
    /// What the keys failed with.
    pub async fn get_crypto_inventory<A: Action>(
        &self,
        request: Request<pb::GetCryptoInventoryRequest>,
    ) -> Answer<pb::CryptoInventory> {
        asked::<A, _>(request)?;
        let inventory = self.0.inventory().await?;
        Ok(Response::new(pb::CryptoInventory {
            create_time: Some(timestamp(inventory.taken)),
            backend: portal_crypto::BACKEND.to_owned(),
            algorithms: inventory.algorithms().into_iter().map(|known| algorithm(known).into()).collect(),
            cyclonedx_json: inventory.to_cyclonedx(),
        }))
    }
}

impl Inner {
    /// All keys of the service.
    async fn inventory(&self) -> Result<Inventory, Status> {
        let mut inventory = self.keys.inventory().await.map_err(Failure::from)?;
        if let Some(own) = &self.own_keys {
            inventory.keys.extend(own.list().await?);
        }
        Ok(inventory)
    }

    /// Lets the keys that sign tokens be replaced: what follows the one of now is answered, which does not sign yet.
    async fn rotate_tokens(&self, own: &dyn OwnKeys, actor: &str) -> Result<pb::RotateKeysResponse, Status> {
        let signs = |keys: &[KeyEntry], state| {
            let of_mesh = |key: &&KeyEntry| key.algorithm == KeyAlgorithm::Suite(Algorithm::MlDsa65);
            let key =
                keys.iter().filter(of_mesh).filter(|key| key.state == state).max_by_key(|key| key.created);
            key.map(message)
        };
        own.rotate(actor).await?;
        let keys = own.list().await?;
        Ok(pb::RotateKeysResponse {
            active_key: signs(&keys, KeyState::Pending),
            retired_key: signs(&keys, KeyState::Active),
            rewrap_pending_count: 0,
        })
    }

    /// What `RotateKeys` is asked to replace a key of.
    fn rotatable(&self, invalid: &mut Invalid, key_use: pb::KeyUse, column: &str) -> Option<Rotatable> {
        if !column.is_empty() && key_use != pb::KeyUse::BlindIndex {
            return invalid.check("column", Err("is of KEY_USE_BLIND_INDEX only"));
        }
        match key_use {
            pb::KeyUse::BlindIndex if column.is_empty() => {
                let only = self.indexes.only().ok_or("must name one of the service's blind indexes");
                invalid.check("column", only).map(|index| Rotatable::Index(Arc::clone(index)))
            }
            pb::KeyUse::BlindIndex => {
                let index = self.indexes.of(column).ok_or("must name a blind index of the service");
                invalid.check("column", index).map(|index| Rotatable::Index(Arc::clone(index)))
            }
            pb::KeyUse::Epoch => Some(Rotatable::Epoch),
            pb::KeyUse::Root => Some(Rotatable::Root),
            pb::KeyUse::Token => {
                let own = self.own_keys.as_ref().ok_or("is of a service that signs tokens");
                invalid.check("use", own).map(|own| Rotatable::Token(Arc::clone(own)))
            }
            _ => {
                let uses =
                    "must be KEY_USE_ROOT, KEY_USE_EPOCH, KEY_USE_BLIND_INDEX or, of auth, KEY_USE_TOKEN";
                invalid.check("use", Err(uses))
            }
        }
    }

    /// The key with this id.
    async fn key(&self, id: &str) -> Result<KeyEntry, Status> {
        let keys = self.inventory().await?.keys;
        keys.into_iter().find(|key| key.id == id).ok_or_else(|| KEY_NOT_FOUND.status())
    }

    async fn destroy(&self, key: &KeyEntry) -> Result<(), Status> {
        let not_by_hand = || refused(Invalid::field("key_id", "must be of a root, epoch or blind index key"));
        let destroyed = match key.key_use {
            KeyUse::Epoch => {
                let epoch = EpochId::parse(&key.id).map_err(|_| KEY_NOT_FOUND.status())?;
                self.keys.destroy_epoch(epoch).await
            }
            KeyUse::Root => {
                let root = RootId::parse(&key.id).map_err(|_| KEY_NOT_FOUND.status())?;
                self.keys.destroy_root(root).await
            }
            KeyUse::Service(Purpose::BlindIndex) => {
                let key = self.indexes.key(&key.id).ok_or_else(|| KEY_NOT_FOUND.status())?;
                self.indexes.destroy(&key).await
            }
            KeyUse::Service(_) | KeyUse::Token => return Err(not_by_hand()),
        };
        Ok(destroyed.map_err(Failure::from)?)
    }

    /// Replaces the key that is active when the request comes first; a repetition only ends what that began.
    async fn rotate(
        &self,
        what: &Rotatable,
        rewrap: bool,
        once: Option<&Once>,
    ) -> Result<pb::RotateKeysResponse, Status> {
        if let Rotatable::Index(index) = what {
            // The first key is made when it is first needed: that may be now.
            self.keys.index_keys(index.table(), index.column()).await.map_err(Failure::from)?;
        }
        let keys = self.keys.inventory().await.map_err(Failure::from)?.keys;
        let active = what.active(&keys).ok_or_else(|| none_active(what))?;
        let replaced = self.intend(active.id.clone(), once).await?;
        match what {
            Rotatable::Epoch => {
                let epoch = EpochId::parse(&replaced).map_err(|_| none_active(what))?;
                self.keys.replace_epoch(epoch).await.map_err(Failure::from)?;
            }
            Rotatable::Index(index) => {
                let key = self.indexes.key(&replaced).ok_or_else(|| none_active(what))?;
                self.indexes.rotate(&**index, Some(key.generation)).await.map_err(Failure::from)?;
            }
            Rotatable::Root => {
                let root = RootId::parse(&replaced).map_err(|_| none_active(what))?;
                // Another one is active already: made by this request before it was cut off, or by somebody else's.
                if self.keys.replace_root(root).await.map_err(Failure::from)?.is_none() {
                    self.keys.rewrap_under_root().await.map_err(Failure::from)?;
                }
            }
            // Answered before: what it replaces is in the data of the service, and not in the key database.
            Rotatable::Token(_) => {}
        }
        if rewrap {
            self.keys.request_rewrap().await.map_err(Failure::from)?;
        }
        let keys = self.keys.inventory().await.map_err(Failure::from)?.keys;
        let retired = keys.iter().find(|key| key.id == replaced);
        Ok(pb::RotateKeysResponse {
            active_key: what.successor(&keys, retired).map(message),
            retired_key: retired.map(message),
            rewrap_pending_count: count(self.keys.rewrap_pending().await.map_err(Failure::from)?),
        })
    }

    /// Keeps which key the request replaces, or says which one it was when it came first.
    async fn intend(&self, active: String, once: Option<&Once>) -> Result<String, Status> {
        let key = pb::CryptoKey { key_id: active, ..pb::CryptoKey::default() };
        let (key, intent) = (&key, &key.encode_to_vec());
        let intend = |tx: Tx| async move {
            let before = self.before(&tx, once).await?;
            if before.is_none() {
                self.keep(&tx, once, intent).await?;
            }
            Ok::<_, Failure>(before)
        };
        match self.host.database.run_tx("intend_rotation", intend).await? {
            Some(kept) => Ok(self.open::<pb::CryptoKey>(once, kept).await?.key_id),
            None => Ok(key.key_id.clone()),
        }
    }
}

impl Rotatable {
    /// Whether `key` is one of those that follow each other here.
    fn has(&self, key: &KeyEntry) -> bool {
        match self {
            Self::Epoch => key.key_use == KeyUse::Epoch,
            Self::Index(index) => {
                let column = [index.table(), index.column()].join(".");
                let of = |id: &str| id.split('/').nth(1) == Some(&column);
                key.key_use == KeyUse::Service(Purpose::BlindIndex) && of(&key.id)
            }
            Self::Root => key.key_use == KeyUse::Root,
            Self::Token(_) => key.key_use == KeyUse::Token,
        }
    }

    fn active<'a>(&self, keys: &'a [KeyEntry]) -> Option<&'a KeyEntry> {
        keys.iter().find(|key| self.has(key) && key.state == KeyState::Active)
    }

    /// The key that took the place of `retired`, which may have been replaced itself since.
    fn successor<'a>(&self, keys: &'a [KeyEntry], retired: Option<&KeyEntry>) -> Option<&'a KeyEntry> {
        let retired_at = retired.and_then(|key| key.retired);
        let next = keys.iter().filter(|key| self.has(key) && Some(key.created) >= retired_at);
        let next = retired_at.and_then(|_| next.min_by_key(|key| key.created));
        next.or_else(|| self.active(keys))
    }
}

/// There is nothing that could be replaced, and no answer that would be true.
fn none_active(what: &Rotatable) -> Failure {
    let id = match what {
        Rotatable::Epoch => "epoch/active",
        Rotatable::Index(_) => "blind-index/active",
        Rotatable::Root => "root/active",
        Rotatable::Token(_) => "token/active",
    };
    KeysError::NoSuchKey(id.to_owned()).into()
}

fn message(key: &KeyEntry) -> pb::CryptoKey {
    pb::CryptoKey {
        key_id: key.id.clone(),
        r#use: key_use(key.key_use).into(),
        algorithm: algorithm(key.algorithm).into(),
        state: state(key.state).into(),
        create_time: Some(timestamp(key.created)),
        retire_time: key.retired.map(timestamp),
        destroy_time: key.destroyed.map(timestamp),
        wrapped_key_count: count(key.wrapped),
    }
}

const fn key_use(key_use: KeyUse) -> pb::KeyUse {
    match key_use {
        KeyUse::Epoch => pb::KeyUse::Epoch,
        KeyUse::Root => pb::KeyUse::Root,
        KeyUse::Token => pb::KeyUse::Token,
        KeyUse::Service(Purpose::BlindIndex) => pb::KeyUse::BlindIndex,
        KeyUse::Service(Purpose::Ledger) => pb::KeyUse::Ledger,
        KeyUse::Service(Purpose::RowDigest) => pb::KeyUse::RowDigest,
        KeyUse::Service(Purpose::ServiceSecret) => pb::KeyUse::ServiceSecret,
        KeyUse::Service(Purpose::Shred) => pb::KeyUse::ShredLedger,
        KeyUse::Service(Purpose::Statement) => pb::KeyUse::Receipt,
    }
}

const fn state(state: KeyState) -> pb::KeyState {
    match state {
        KeyState::Active => pb::KeyState::Active,
        KeyState::Destroyed => pb::KeyState::Destroyed,
        KeyState::Disabled => pb::KeyState::Disabled,
        KeyState::Pending => pb::KeyState::Pending,
        KeyState::Retired => pb::KeyState::Retired,
    }
}

const fn algorithm(algorithm: KeyAlgorithm) -> pb::Algorithm {
    match algorithm {
        KeyAlgorithm::HkdfSha256 => pb::Algorithm::HkdfSha256,
        KeyAlgorithm::HmacSha256 => pb::Algorithm::HmacSha256,
        KeyAlgorithm::Suite(suite) => match suite {
            Algorithm::Aes256Gcm => pb::Algorithm::Aes256Gcm,
            Algorithm::Cobblestone256 => pb::Algorithm::Cobblestone256,
            Algorithm::Dilithium3Round3 => pb::Algorithm::Dilithium3R3,
            Algorithm::EcdsaP256 => pb::Algorithm::EcdsaP256,
            Algorithm::Ed25519 => pb::Algorithm::Ed25519,
            Algorithm::Kyber768Round3 => pb::Algorithm::Kyber768R3,
            Algorithm::MlDsa65 => pb::Algorithm::MlDsa65,
            Algorithm::MlDsa65Ed25519 => pb::Algorithm::MlDsa65Ed25519,
            Algorithm::MlKem1024 => pb::Algorithm::MlKem1024,
            Algorithm::MlKem768 => pb::Algorithm::MlKem768,
            Algorithm::ProviderWrap => pb::Algorithm::ProviderWrap,
            Algorithm::XAes256Gcm => pb::Algorithm::Xaes256Gcm,
            Algorithm::XWing => pb::Algorithm::XWing,
        },
    }
}
