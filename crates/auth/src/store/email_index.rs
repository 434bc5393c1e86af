//! By what an account is found: keyed hashes of its e-mail address.
//!
//! Each key of the index has a generation. A new one takes over for new rows at once; the others are found by the older
//! keys until they were indexed anew. Before there were generations the key came from the service secret and the hash had
//! 32 bytes: rows have it until their e-mail address is sealed only, since earlier versions know no other.

use std::sync::Arc;

use async_trait::async_trait;
use portal_core::id::{Id, SubjectId};
use portal_crypto::blind_index::IndexBits;
use portal_crypto::kdf::{Label, ServiceSecret};
use portal_crypto::mac::MacKey;
use portal_keys::{IndexKeys, Keys, KeysError};
use portal_store::{ReadTx, StoreError, Tx, bulk};
use portal_upkeep::indexes::BlindIndex;
use portal_upkeep::migration::Mode;
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::SimpleExpr;
use sea_orm::{ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

use super::account::{Column, Entity, Model};
use super::accounts::Accounts;
use super::moving::REINDEX;
use crate::domain::Email;

/// The column that is found: the table, and its name.
const EMAIL: (&str, &str) = ("account", "email");

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
        self.keys.index_keys(EMAIL.0, EMAIL.1).await
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

/// The index as a whole: what its keys still find, and what they must not find any more.
pub struct EmailIndex(pub Accounts);

impl EmailIndex {
    /// Gives rows the index that they become, and says how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write(tx: &Tx, rows: Vec<Model>) -> Result<u64, StoreError> {
        let values = |row: Model| {
            let Model { id, email_index, email_index_generation, row_digest, .. } = row;
            vec![id.into(), email_index.into(), email_index_generation.into(), row_digest.into()]
        };
        let (expected, rows) = (rows.len() as u64, rows.into_iter().map(values).collect());
        let columns = [Column::EmailIndex, Column::EmailIndexGeneration, Column::RowDigest];
        StoreError::check_rows(expected, bulk::update::<Entity>(tx, &[Column::Id], &columns, rows).await?)?;
        Ok(expected)
    }

    /// Takes the index from a row. One that is corrupt stays so: it gets no digest that would hide it.
    fn forgotten(&self, mut row: Model) -> Result<Model, StoreError> {
        let sound = self.0.seals.digests.check(&row).is_ok();
        let nobody = KeyedIndex::of_nobody(row.id);
        Accounts::index(&mut row, nobody);
        if sound {
            self.0.seals.digests.stamp(&mut row)?;
        }
        Ok(row)
    }

    /// Rows that are found by a key, also by the one of before there were several.
    fn found() -> Condition {
        Condition::any().add(KeyedIndex::has_generation()).add(Column::EmailIndexGeneration.is_null())
    }
}

#[async_trait]
impl BlindIndex for EmailIndex {
    fn table(&self) -> &'static str {
        EMAIL.0
    }

    fn column(&self) -> &'static str {
        EMAIL.1
    }

    fn migration(&self) -> &'static str {
        REINDEX
    }

    async fn found_by(&self, tx: &ReadTx, generation: u32) -> Result<u64, StoreError> {
        let of = Column::EmailIndexGeneration.eq(i64::from(generation));
        Ok(Entity::find().filter(of).count(tx.conn()).await?)
    }

    async fn people(
        &self,
        tx: &ReadTx,
        after: Option<SubjectId>,
        limit: u64,
    ) -> Result<Vec<SubjectId>, StoreError> {
        let mut query = Entity::find().select_only().column(Column::SubjectId).filter(Self::found());
        if let Some(after) = after {
            query = query.filter(Column::SubjectId.gt(after.uuid()));
        }
        let query = query.order_by_asc(Column::SubjectId).limit(limit);
        let people: Vec<Uuid> = query.into_tuple().all(tx.conn()).await?;
        Ok(people.into_iter().map(SubjectId::from_uuid).collect())
    }

    async fn forget(&self, tx: &Tx, people: &[SubjectId]) -> Result<u64, StoreError> {
        let of = Column::SubjectId.is_in(people.iter().map(|person| person.uuid()));
        let rows = Entity::find().filter(Self::found()).filter(of).lock_exclusive();
        let rows = rows.all(tx.conn()).await?.into_iter().map(|row| self.forgotten(row));
        Self::write(tx, rows.collect::<Result<_, _>>()?).await
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
