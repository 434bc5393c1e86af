//! By what an account is found: keyed hashes of its e-mail address.
//!
//! Each key of the index has a generation. A new one takes over for new rows at once; the others are found by the older
//! keys until they were indexed anew. Before there were generations the key came from the service secret and the hash had
//! 32 bytes: rows have it until their e-mail address is sealed only, since earlier versions know no other.

use std::sync::Arc;

use portal_crypto::blind_index::IndexBits;
use portal_crypto::kdf::{Label, ServiceSecret};
use portal_crypto::mac::MacKey;
use portal_keys::{IndexKeys, Keys, KeysError};
use portal_upkeep::migration::Mode;
use sea_orm::ColumnTrait;
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::SimpleExpr;

use super::account::Column;
use crate::domain::Email;

/// Makes indexes of e-mail addresses.
#[derive(Clone)]
pub struct EmailIndexer {
    keys: Keys,
    legacy: Arc<MacKey>,
}

/// The indexes of one e-mail address.
#[derive(Clone, Debug)]
pub struct EmailIndexes {
    legacy: [u8; 32],
    active: KeyedIndex,
    retired: Vec<Vec<u8>>,
}

/// The generation of what is not an index: by it nobody is found.
const NOBODY: u32 = 0;

/// An index and the generation of its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyedIndex {
    /// The index.
    pub index: Vec<u8>,
    /// The generation; `None` for the key of before there were any.
    pub generation: Option<u32>,
}

impl EmailIndexer {
    /// With the keys of the column, and the one that came from `secret`.
    #[must_use]
    pub fn new(keys: Keys, secret: &ServiceSecret) -> Self {
        let legacy = MacKey::new(secret.derive(Label::BlindIndex).expose());
        Self { keys, legacy: Arc::new(legacy) }
    }

    /// The indexes of `email` under all keys in use.
    ///
    /// # Errors
    /// [`KeysError`] if the keys can't be had.
    pub async fn of(&self, email: &Email) -> Result<EmailIndexes, KeysError> {
        Ok(self.with(&*self.column_keys().await?, email))
    }

    /// The keys of the column.
    ///
    /// # Errors
    /// [`KeysError`] if the keys can't be had.
    pub async fn column_keys(&self) -> Result<Arc<IndexKeys>, KeysError> {
        self.keys.index_keys("account", "email").await
    }

    /// The indexes of `email` under these keys.
    #[must_use]
    pub fn with(&self, keys: &IndexKeys, email: &Email) -> EmailIndexes {
        let email = email.expose().as_bytes();
        let active = keys.active();
        EmailIndexes {
            legacy: self.legacy.tag(&[b"email\0", email].concat()),
            active: KeyedIndex {
                index: active.index(email, IndexBits::FULL),
                generation: Some(active.generation()),
            },
            retired: keys.retired().iter().map(|key| key.index(email, IndexBits::FULL)).collect(),
        }
    }
}

impl KeyedIndex {
    /// What the row `id` has in the place of an index once its person was erased.
    #[must_use]
    pub fn of_nobody(id: Uuid) -> Self {
        Self { index: id.into_bytes().to_vec(), generation: Some(NOBODY) }
    }

    /// Rows with an index that was made with a key of some generation.
    #[must_use]
    pub fn has_generation() -> SimpleExpr {
        Column::EmailIndexGeneration.gt(i64::from(NOBODY))
    }
}

impl EmailIndexes {
    /// What rows get that are written in `mode`.
    #[must_use]
    pub fn written(&self, mode: Mode) -> KeyedIndex {
        match mode {
            Mode::Old | Mode::Both => KeyedIndex { index: self.legacy.to_vec(), generation: None },
            Mode::New => self.active.clone(),
        }
    }

    /// Whether a row has one of them.
    pub(super) fn found(&self) -> SimpleExpr {
        let one_of =
            [self.active.index.clone(), self.legacy.to_vec()].into_iter().chain(self.retired.clone());
        Column::EmailIndex.is_in(one_of)
    }
}
