//! The service's own keys: random, each wrapped by the provider under an id that says what it is for.
//!
//! They are opened once and kept as long as the process lives, an exception to what holds for the keys of persons and
//! epochs: the provider is not asked for them again, and when it is gone they stay. What they open is no person's data, and
//! without them nobody could sign in, and no row be told from a forged one. Those of blind indexes are made when their
//! column is first asked for; a column has one active key, and the retired ones for the rows that are not indexed anew yet.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use portal_core::id::{Id, SubjectId};
use portal_core::{Sensitive, Timestamp};
use portal_crypto::blind_index::{BlindIndexKey, IndexedColumn};
use portal_crypto::hash::sha256;
use portal_crypto::kdf::ServiceSecret;
use portal_crypto::key::KeyBytes;
use portal_crypto::mac::MacKey;
use portal_crypto::pair::{PairSigningKey, SEED_LEN};
use portal_crypto::row_digest::RowDigestKey;
use portal_crypto::wrapped::{KeyContext, WrappedKeyRecord};
use zeroize::Zeroizing;

use crate::error::{ImportProblem, Stored};
use crate::hierarchy::{Base, Hierarchy};
use crate::statement::StatementKey;
use crate::store::events::Event;
use crate::store::secrets::{SecretName, SecretRow};
use crate::store::shreds::SubjectTag;
use crate::store::state::{KeyEvent, KeyState, Purpose};
use crate::store::{events, head, secrets};
use crate::{KeysError, store};

const ID_LABEL: &[u8] = b"portal/service-key-id/v1\0";
const SUBJECT_LABEL: &[u8] = b"portal/shred-subject/v1\0";
const LINK_LABEL: &[u8] = b"portal/shred-link/v1\0";

/// The opened keys.
pub(crate) struct Secrets {
    pub(crate) service_secret: ServiceSecret,
    pub(crate) row_digest: RowDigestKey,
    pub(crate) shred: ShredKey,
    pub(crate) statement: StatementKey,
    pub(crate) ledger: Arc<PairSigningKey>,
    pub(crate) ledger_since: Option<Timestamp>,
    indexes: RwLock<HashMap<String, Arc<IndexKeys>>>,
}

/// The keys of one column's blind index.
pub struct IndexKeys {
    active: BlindIndexKey,
    retired: Vec<BlindIndexKey>,
}

impl IndexKeys {
    /// The key that new rows are indexed under.
    #[must_use]
    pub const fn active(&self) -> &BlindIndexKey {
        &self.active
    }

    /// The keys that older rows may still be indexed under, the newest first.
    #[must_use]
    pub fn retired(&self) -> &[BlindIndexKey] {
        &self.retired
    }

    /// All of them, the active one first: a look-up asks for the index under each.
    pub fn all(&self) -> impl Iterator<Item = &BlindIndexKey> {
        std::iter::once(&self.active).chain(&self.retired)
    }
}

/// The key of the shred ledger: it names subjects there and links the entries.
pub(crate) struct ShredKey(MacKey);

impl ShredKey {
    /// The name of `subject` in the ledger.
    pub(crate) fn tag(&self, subject: SubjectId) -> SubjectTag {
        let mut message = [0; SUBJECT_LABEL.len() + 16];
        let (label, id) = message.split_at_mut(SUBJECT_LABEL.len());
        label.copy_from_slice(SUBJECT_LABEL);
        id.copy_from_slice(&subject.bytes());
        self.0.tag(&message)
    }

    /// What authenticates `row` and all entries before it, of which `before` is the last one's link.
    pub(crate) fn link(&self, before: &[u8], row: &store::shreds::ShredRow) -> Vec<u8> {
        let (position, keys) = (row.position.to_be_bytes(), row.keys.to_be_bytes());
        let at = row.at.as_micros().to_be_bytes();
        let length = u64::try_from(before.len()).unwrap_or(u64::MAX).to_be_bytes();
        self.0.tag(&[LINK_LABEL, &position, &length, before, &row.tag, &keys, &at].concat()).to_vec()
    }
}

impl SecretName {
    pub(crate) fn first(purpose: Purpose, scope: &str) -> Self {
        Self { purpose, scope: scope.to_owned(), generation: 1 }
    }

    /// The id of the key: it is authenticated with the wrapped key, so that a record in another row does not open.
    pub(crate) fn id(&self) -> [u8; 16] {
        let (purpose, generation) = (self.purpose.id().to_be_bytes(), self.generation.to_be_bytes());
        let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            sha256(&[ID_LABEL, &purpose, &generation, self.scope.as_bytes()].concat());
        id
    }
}

impl std::fmt::Display for SecretName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.purpose.name())?;
        if !self.scope.is_empty() {
            write!(f, "/{}", self.scope)?;
        }
        write!(f, "/{}", self.generation)
    }
}

/// The two keys of `purpose` that sign together.
async fn pair(base: &Base<'_>, purpose: Purpose) -> Result<PairSigningKey, KeysError> {
    let mut seed = Zeroizing::new([0; SEED_LEN]);
    let (classical, quantum_safe) = seed.split_at_mut(32);
    classical.copy_from_slice(base.secret(&SecretName::first(purpose, "Ed25519"), None).await?.expose());
    quantum_safe.copy_from_slice(base.secret(&SecretName::first(purpose, "ML-DSA-65"), None).await?.expose());
    PairSigningKey::from_seed(&seed).map_err(|_| KeysError::corrupt(Stored::ServiceKey, purpose.name()))
}

impl Secrets {
    /// Opens the keys, after making those that are not there yet. `import` names the file with the service secret of an
    /// earlier version.
    pub(crate) async fn open(base: &Base<'_>, import: Option<&Path>) -> Result<Self, KeysError> {
        let plain = |purpose| SecretName::first(purpose, "");
        let secret = match import {
            None => base.secret(&plain(Purpose::ServiceSecret), None).await?,
            Some(path) => base.import(&plain(Purpose::ServiceSecret), path).await?,
        };
        let row_digest = base.secret(&plain(Purpose::RowDigest), None).await?;
        let shred = base.secret(&plain(Purpose::Shred), None).await?;
        let statement = pair(base, Purpose::Statement).await?;
        let ledger = pair(base, Purpose::Ledger).await?;
        let rows = base.secret_rows().await?;
        let of_ledger = rows.iter().find(|row| row.name.purpose == Purpose::Ledger);
        Ok(Self {
            service_secret: ServiceSecret::new(secret.expose()),
            row_digest: RowDigestKey::new(row_digest.expose()),
            shred: ShredKey(MacKey::new(shred.expose())),
            statement: StatementKey::new(statement, base.root.suites),
            ledger: Arc::new(ledger),
            ledger_since: of_ledger.map(|row| row.created),
            indexes: RwLock::default(),
        })
    }

    fn index(&self, scope: &str) -> Option<Arc<IndexKeys>> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner).get(scope).map(Arc::clone)
    }

    fn set_index(&self, scope: String, keys: Arc<IndexKeys>) {
        self.indexes.write().unwrap_or_else(PoisonError::into_inner).insert(scope, keys);
    }

    fn index_scopes(&self) -> Vec<String> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl Base<'_> {
    /// The key of this name, after making it, of `bytes` if they are given, if there is none.
    async fn secret(&self, name: &SecretName, bytes: Option<KeyBytes>) -> Result<KeyBytes, KeysError> {
        let mut bytes = bytes;
        loop {
            let rows = self.secret_rows().await?;
            if let Some(row) = rows.into_iter().find(|row| row.name == *name) {
                return self.open_secret(&row).await;
            }
            let kind = if bytes.is_some() { KeyEvent::Imported } else { KeyEvent::Created };
            let key = bytes.take().unwrap_or_else(|| KeyBytes::generate(self.entropy));
            self.add_secret(name, &key, kind).await?;
        }
    }

    /// Takes over the service secret in the file, or checks that it is the one that was taken over before.
    async fn import(&self, name: &SecretName, path: &Path) -> Result<KeyBytes, KeysError> {
        let problem = |problem| KeysError::Import { path: path.to_owned(), problem };
        let text = tokio::fs::read(path).await.map_err(|_| problem(ImportProblem::Unreadable))?;
        let given = from_hex(&Sensitive::new(text)).ok_or_else(|| problem(ImportProblem::Malformed))?;
        let copy = KeyBytes::copy_of(given.expose());
        // Read back from the database and opened by the provider: the file may be deleted after that.
        let sealed = self.secret(name, copy).await?;
        if !sealed.same_as(&given) {
            return Err(problem(ImportProblem::Differs));
        }
        tracing::info!(file = %path.display(), "the service secret is sealed in the key database; delete the file");
        Ok(sealed)
    }

    pub(crate) async fn secret_rows(&self) -> Result<Vec<SecretRow>, KeysError> {
        let tenant = self.scope.tenant;
        let rows =
            self.database.read("service_keys", |tx| async move { secrets::all(&tx, tenant).await }).await?;
        Ok(rows)
    }

    /// Opens a stored key of the service.
    pub(crate) async fn open_secret(&self, row: &SecretRow) -> Result<KeyBytes, KeysError> {
        let corrupt = || KeysError::corrupt(Stored::ServiceKey, &row.name);
        let record = WrappedKeyRecord::from_bytes(row.record.as_deref().unwrap_or_default());
        let record = record.ok().filter(|record| record.wrapped().root == row.root).ok_or_else(corrupt)?;
        let opened = self.root.unwrap(&self.secret_context(&row.name), &record).await;
        opened.map_err(|failure| failure.of(Stored::ServiceKey, &row.name))
    }

    /// Wraps and stores a key of the service, if there is none of this name.
    async fn add_secret(&self, name: &SecretName, key: &KeyBytes, kind: KeyEvent) -> Result<(), KeysError> {
        let row = &self.wrap_secret(name, key).await?;
        let event = &Event::new(kind, name, self.now(), self.entropy);
        let tenant = self.scope.tenant;
        self.database
            .run_tx("add_service_key", |tx| async move {
                if secrets::insert(&tx, tenant, row).await? {
                    events::add(&tx, tenant, event, 1).await?;
                    head::announce(&tx, tenant).await?;
                }
                Ok(())
            })
            .await
    }

    pub(crate) async fn wrap_secret(
        &self,
        name: &SecretName,
        key: &KeyBytes,
    ) -> Result<SecretRow, KeysError> {
        let wrapped = self.root.wrap(&self.secret_context(name), key).await;
        let (root, record) = wrapped.map_err(|failure| failure.of(Stored::ServiceKey, name))?;
        Ok(SecretRow {
            name: name.clone(),
            state: KeyState::Active,
            root,
            record: Some(record),
            created: self.now(),
            retired: None,
            destroyed: None,
        })
    }

    pub(crate) fn secret_context(&self, name: &SecretName) -> KeyContext {
        KeyContext::service_secret(self.scope, name.id())
    }
}

impl Hierarchy {
    /// The keys of a column's index, after making the first one if there is none.
    pub(crate) async fn index_keys(&self, table: &str, column: &str) -> Result<Arc<IndexKeys>, KeysError> {
        let scope = format!("{table}.{column}");
        match self.secrets.index(&scope) {
            Some(keys) => Ok(keys),
            None => self.load_index_keys(scope).await,
        }
    }

    async fn load_index_keys(&self, scope: String) -> Result<Arc<IndexKeys>, KeysError> {
        let base = self.base();
        let of_column = |row: &SecretRow| row.name.purpose == Purpose::BlindIndex && row.name.scope == scope;
        let mut rows = base.secret_rows().await?;
        if !rows.iter().any(of_column) {
            base.secret(&SecretName::first(Purpose::BlindIndex, &scope), None).await?;
            rows = base.secret_rows().await?;
        }
        let (mut active, mut retired) = (None, Vec::new());
        for row in rows.iter().filter(|row| of_column(row)) {
            match row.state {
                KeyState::Active => active = Some(self.index_key(row).await?),
                KeyState::Retired => retired.push(self.index_key(row).await?),
                KeyState::Disabled | KeyState::Destroyed | KeyState::Pending => {}
            }
        }
        let active = active.ok_or_else(|| KeysError::NoSuchKey(format!("blind-index/{scope}")))?;
        let keys = Arc::new(IndexKeys { active, retired });
        self.secrets.set_index(scope, Arc::clone(&keys));
        Ok(keys)
    }

    async fn index_key(&self, row: &SecretRow) -> Result<BlindIndexKey, KeysError> {
        let key = self.base().open_secret(row).await?;
        let (table, column) = row.name.scope.split_once('.').unwrap_or((&row.name.scope, ""));
        let column = IndexedColumn { tenant: self.scope.tenant, table, column };
        Ok(BlindIndexKey::derive(&ServiceSecret::new(key.expose()), &column, row.name.generation))
    }

    /// Reads the index keys in use again, since some may have been rotated elsewhere.
    pub(crate) async fn reload_index_keys(&self) -> Result<(), KeysError> {
        for scope in self.secrets.index_scopes() {
            self.load_index_keys(scope).await?;
        }
        Ok(())
    }
}

/// The 32 bytes of 64 hexadecimal digits, white space around them ignored.
fn from_hex(text: &Sensitive<Vec<u8>>) -> Option<KeyBytes> {
    let (pairs, rest) = text.expose().trim_ascii().as_chunks::<2>();
    let mut bytes = Zeroizing::new([0_u8; 32]);
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    KeyBytes::copy_of(bytes.as_slice())
}
