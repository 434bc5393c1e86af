//! The keys that sign tokens: opened, followed, replaced.
//!
//! They are rows that all replicas share. Each reads them again after a second, so that nobody signs with a key that was ended,
//! or knows one too late; what is due is done by whichever replica looks first, under a lease. The first key is the one that
//! earlier versions derived from the service secret and signed with: they may still be running.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use portal_core::entropy::random_bytes;
use portal_core::{Entropy, Sensitive, Timestamp};
use portal_crypto::jose::{self, Algorithm, PublicKey};
use portal_crypto::kdf::Label;
use portal_crypto::token::{KeyId, TokenKey};
use portal_keys::KeysError;
use portal_mesh::Drain;
use portal_store::{ReadTx, StoreError, Tx, leases};
use portal_upkeep::audit::Happened;
use uuid::Uuid;

use super::App;
use crate::domain::signing::{self, Stage, Step};
use crate::domain::{SigningKey, Target};
use crate::error::Error;
use crate::store::signing_keys::{SigningKeys, StoredKey};

/// How long what was read is used without reading again.
const FRESH: Duration = Duration::from_secs(1);
/// How often it is looked whether a key is due.
const INTERVAL: Duration = Duration::from_secs(60);
/// Whoever changes the keys holds this lease, for as long as a transaction takes.
const LEASE: &str = "signing-keys";
const LEASE_TIME: Duration = Duration::from_secs(10);
/// The algorithms that there is always a key of: that of the mesh, and those of clients outside that know no other.
pub(crate) const WANTED: [Algorithm; 3] = [Algorithm::MlDsa65, Algorithm::Es256, Algorithm::EdDsa];

/// The keys as this replica knows them.
pub struct Signing {
    pub(crate) rows: SigningKeys,
    life: Duration,
    ring: ArcSwapOption<Ring>,
    reading: tokio::sync::Mutex<()>,
}

/// A key and its secret bytes.
type NewKey = (jose::SigningKey, Sensitive<[u8; 32]>);

/// Why the keys are changed.
enum Wish<'a> {
    /// For what is due.
    Keep,
    /// Somebody wants new ones.
    Rotate { actor: &'a str },
    /// Somebody wants an end of this one.
    End { id: &'a KeyId, actor: &'a str },
}

/// What was read at one time.
pub struct Ring {
    keys: Vec<Arc<OpenedKey>>,
    read_at: Timestamp,
}

/// A key that can sign.
pub struct OpenedKey {
    /// When it does what.
    pub key: SigningKey,
    /// For tokens that go outside.
    pub signing: Arc<jose::SigningKey>,
    /// For the tokens of the mesh, if it is one for them.
    pub token: Option<Arc<TokenKey>>,
}

impl Signing {
    /// The keys in `rows`, each of which signs for `life`.
    pub(crate) fn new(rows: SigningKeys, life: Duration) -> Self {
        Self { rows, life, ring: ArcSwapOption::empty(), reading: tokio::sync::Mutex::default() }
    }

    /// What is known is not used any longer.
    fn forget(&self) {
        self.ring.store(None);
    }

    fn fresh(&self, now: Timestamp) -> Option<Arc<Ring>> {
        let fresh = |ring: &Arc<Ring>| ring.read_at <= now && now < ring.read_at.plus(FRESH);
        self.ring.load_full().filter(fresh)
    }

    fn open(&self, found: &StoredKey, before: Option<&Ring>) -> Result<Option<OpenedKey>, Error> {
        let known = before.and_then(|ring| ring.keys.iter().find(|known| known.key.id == found.key.id));
        if let Some(known) = known {
            let (signing, token) = (Arc::clone(&known.signing), known.token.clone());
            return Ok(Some(OpenedKey { key: found.key.clone(), signing, token }));
        }
        let Some(seed) = self.rows.seed(found)? else { return Ok(None) };
        let signing = jose::SigningKey::from_seed(found.key.algorithm, seed.expose())?;
        let token = match found.key.algorithm {
            Algorithm::MlDsa65 => Some(Arc::new(TokenKey::from_seed(seed.expose())?)),
            Algorithm::Es256 | Algorithm::EdDsa | Algorithm::Ed25519 => None,
        };
        Ok(Some(OpenedKey { key: found.key.clone(), signing: Arc::new(signing), token }))
    }
}

impl Ring {
    /// The key that signs with `algorithm` now.
    fn current(&self, algorithm: Algorithm, now: Timestamp) -> Option<&Arc<OpenedKey>> {
        let of =
            |key: &&Arc<OpenedKey>| key.key.algorithm == algorithm && key.key.stage(now) == Stage::Active;
        self.keys.iter().filter(of).max_by_key(|key| (key.key.not_before, key.key.id.clone()))
    }
}

impl OpenedKey {
    /// The key that verifies.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        self.signing.public_key()
    }
}

impl App {
    /// The key that signs with `algorithm` now.
    ///
    /// # Errors
    /// [`Error::Keys`] if the configuration has switched the algorithm off; [`Error::NoSigningKey`] if there is none.
    pub(crate) async fn signing_key(&self, algorithm: Algorithm) -> Result<Arc<OpenedKey>, Error> {
        self.keys.suites().require(algorithm.suite()).map_err(KeysError::Disabled)?;
        let ring = self.ring().await?;
        ring.current(algorithm, self.now()).map(Arc::clone).ok_or(Error::NoSigningKey)
    }

    /// Every key by which something may be verified, now or soon, the oldest first.
    pub(crate) async fn verifying_keys(&self) -> Result<Vec<Arc<OpenedKey>>, Error> {
        let (ring, now) = (self.ring().await?, self.now());
        Ok(ring.keys.iter().filter(|key| key.key.verifies(now)).map(Arc::clone).collect())
    }

    async fn ring(&self) -> Result<Arc<Ring>, Error> {
        let now = self.now();
        if let Some(ring) = self.signing.fresh(now) {
            return Ok(ring);
        }
        // Whoever comes meanwhile waits for what this one reads.
        let _reading = self.signing.reading.lock().await;
        if let Some(ring) = self.signing.fresh(now) {
            return Ok(ring);
        }
        let rows = &self.signing.rows;
        let found = self.database.read("signing_keys", |tx| async move { rows.all(&tx).await }).await;
        let found = found.map_err(Error::Store)?;
        let before = self.signing.ring.load_full();
        let mut keys = Vec::with_capacity(found.len());
        for found in &found {
            match self.signing.open(found, before.as_deref()) {
                Ok(opened) => keys.extend(opened.map(Arc::new)),
                Err(Error::Store(error @ StoreError::Corrupt { .. })) => {
                    tracing::error!(%error, "a key that signs tokens is not used");
                }
                Err(error) => return Err(error),
            }
        }
        let ring = Arc::new(Ring { keys, read_at: now });
        self.signing.ring.store(Some(Arc::clone(&ring)));
        Ok(ring)
    }

    /// Does what is due, so that there is a key of every algorithm that is switched on, and the next one is known in time.
    pub(crate) async fn keep_signing_keys(&self) -> Result<(), Error> {
        self.change_signing_keys("keep_signing_keys", &Wish::Keep).await
    }

    /// Lets every key be replaced as soon as everybody can know the next one.
    pub(crate) async fn rotate_signing_keys(&self, actor: &str) -> Result<(), Error> {
        self.change_signing_keys("rotate_signing_keys", &Wish::Rotate { actor }).await
    }

    /// Ends a key now, whatever becomes of what it signed, and lets another one take its place at once.
    pub(crate) async fn end_signing_key(&self, id: &KeyId, actor: &str) -> Result<(), Error> {
        self.change_signing_keys("end_signing_key", &Wish::End { id, actor }).await?;
        self.feed.nudge();
        tracing::warn!(key = %id, "a key that signs tokens was ended by an operator");
        Ok(())
    }

    /// All keys that are kept, those that were ended too.
    pub(crate) async fn stored_signing_keys(&self) -> Result<Vec<SigningKey>, Error> {
        let rows = &self.signing.rows;
        let read = |tx: ReadTx| async move { Ok::<_, Error>(rows.all(&tx).await?) };
        let found = self.database.read("stored_signing_keys", read).await?;
        Ok(found.into_iter().map(|found| found.key).collect())
    }

    /// What was wished, then what is due, in one transaction that no other of its kind runs beside.
    async fn change_signing_keys(&self, name: &'static str, wish: &Wish<'_>) -> Result<(), Error> {
        let now = self.now();
        let change = |tx: Tx| async move {
            let holder = Uuid::from_bytes(random_bytes(self.entropy.as_ref()));
            let lease = leases::acquire(&tx, LEASE, holder, now, LEASE_TIME).await?;
            let lease = lease.ok_or(StoreError::Conflict { attempts: 1 })?;
            let life = match wish {
                Wish::Keep => Some(self.signing.life),
                Wish::Rotate { actor } => {
                    self.note(&tx, Happened::new("signing_key.rotate", *actor), now).await?;
                    None
                }
                Wish::End { id, actor } => {
                    self.end_stored(&tx, id, actor, now).await?;
                    Some(self.signing.life)
                }
            };
            self.do_what_is_due(&tx, life, now).await?;
            leases::release(&tx, &lease).await?;
            Ok(())
        };
        let changed = self.database.run_tx(name, change).await;
        self.signing.forget();
        changed
    }

    async fn end_stored(&self, tx: &Tx, id: &KeyId, actor: &str, now: Timestamp) -> Result<(), Error> {
        let rows = &self.signing.rows;
        let found = rows.all(tx).await?.into_iter().find(|found| found.key.id == *id);
        let Some(found) = found.filter(|found| found.key.ended_at.is_none()) else { return Ok(()) };
        rows.update(tx, &found, &SigningKey { ended_at: Some(now), ..found.key.clone() }).await?;
        self.revocations.append(tx, &[Target::SigningKey(id.thumbprint())], now).await?;
        self.note(tx, Happened::new("signing_key.revoke", actor).with("key_id", id), now).await
    }

    async fn do_what_is_due(&self, tx: &Tx, life: Option<Duration>, now: Timestamp) -> Result<(), Error> {
        let rows = &self.signing.rows;
        let found = rows.all(tx).await?;
        let keys: Vec<SigningKey> = found.iter().map(|found| found.key.clone()).collect();
        let suites = self.keys.suites();
        let wanted = WANTED.into_iter().filter(|algorithm| suites.has(algorithm.suite()));
        let wanted: Vec<Algorithm> = wanted.collect();
        let stored = |id: &KeyId| found.iter().find(|found| found.key.id == *id);
        for step in signing::due(&keys, &wanted, life, now) {
            match step {
                Step::Make(algorithm, at) => {
                    let (key, seed) = self.new_signing_key(tx, algorithm).await?;
                    let new = SigningKey::new(key.public_key().id(), algorithm, now, at);
                    rows.insert(tx, &new, &seed).await?;
                    tracing::info!(key = %new.id, %algorithm, "a new key signs tokens, from {at}");
                }
                Step::Retire(id, at) => {
                    if let Some(found) = stored(&id) {
                        rows.update(tx, found, &found.key.retired(at)).await?;
                    }
                }
                Step::Forget(id) => {
                    if let Some(found) = stored(&id) {
                        rows.delete(tx, found).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The first key of all is the one that earlier versions derived; the others are random. It does not come again: it may
    /// have been ended.
    async fn new_signing_key(&self, tx: &Tx, algorithm: Algorithm) -> Result<NewKey, Error> {
        if algorithm == Algorithm::MlDsa65 && self.signing.rows.is_empty(tx).await? {
            let seed = self.keys.service_secret().derive(Label::TokenSigning);
            return Ok((jose::SigningKey::from_seed(algorithm, seed.expose())?, seed));
        }
        let entropy: &dyn Entropy = self.entropy.as_ref();
        Ok(jose::SigningKey::generate(algorithm, entropy)?)
    }
}

/// Looks at intervals whether a key is due, until `drain` starts.
pub async fn run(app: Arc<App>, drain: Drain) {
    let stopping = drain.started();
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(error) = app.keep_signing_keys().await {
            tracing::warn!(%error, "the keys that sign tokens were not looked after");
        }
    }
}
