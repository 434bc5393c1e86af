//! Subjects: what is known of people, sealed under their keys, found by a keyed hash of the controller's reference.
//!
//! Each key of the index has a generation. A new one takes over for new rows at once; the others are found by the older
//! keys, which can't be destroyed as long as rows are found by them.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use portal_core::id::{Id, SubjectId};
use portal_core::{PageSize, Sensitive, Timestamp};
use portal_crypto::blind_index::IndexBits;
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_keys::IndexKeys;
use portal_store::sealed::{DigestedRow, SealedColumn};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use portal_upkeep::indexes::BlindIndex;
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, PaginatorTrait, QueryOrder, QuerySelect};

use crate::domain::subject::{Details, Subject};
use crate::store::decisions::{Read, separate};
use crate::store::entity::subject;
use crate::store::rows::RowName;
use crate::store::{Page, Reading, Seals, Writing, documents};

/// How much is known of somebody is telling: it is padded to the next 256 bytes.
const DETAILS: SealedColumn<Sensitive<String>> =
    SealedColumn::new("subject", "sealed_details", Padding::To256);
/// The column that is found: the table, and its name.
pub(crate) const REFERENCE: (&str, &str) = ("subject", "reference");
/// The generation of what is not an index: by it nobody is found.
const NOBODY: u32 = 0;

/// The indexes of one reference, under all keys in use; the first is of the active one.
#[derive(Clone)]
pub(crate) struct References {
    generation: u32,
    active: Vec<u8>,
    retired: Vec<Vec<u8>>,
}

/// A subject as it is stored, checked and not opened.
pub(crate) struct StoredSubject(subject::Model);

impl References {
    pub(crate) fn of(keys: &IndexKeys, reference: &str) -> Self {
        let index = reference.as_bytes();
        Self {
            generation: keys.active().generation(),
            active: keys.active().index(index, IndexBits::FULL),
            retired: keys.retired().iter().map(|key| key.index(index, IndexBits::FULL)).collect(),
        }
    }
}

impl StoredSubject {
    pub(crate) fn id(&self) -> SubjectId {
        SubjectId::from_uuid(self.0.subject_id)
    }

    /// What is known of the person.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it does not open.
    pub(crate) fn open(&self, seals: &Seals, key: &SubjectKey) -> Result<Subject, StoreError> {
        Ok(self.with(details(&self.0, seals, key)?))
    }

    /// The subject of whom nothing is known any more, since its key is destroyed.
    pub(crate) fn forgotten(&self) -> Subject {
        let reference = Sensitive::new(String::new());
        self.with(Details { reference, categories: Vec::new(), age: None, jurisdictions: Vec::new() })
    }

    fn with(&self, details: Details) -> Subject {
        Subject { id: self.id(), details, created_at: Timestamp::from_micros(self.0.created_at) }
    }

    /// What is told of details whose key is not there, though nobody destroyed it.
    pub(crate) fn without_key(&self) -> StoreError {
        name(&self.0).corrupt_by(DETAILS.column(), Corruption::KeyMissing)
    }
}

fn name(model: &subject::Model) -> RowName {
    RowName { table: DETAILS.table(), row: model.subject_id }
}

/// What is sealed in `model`.
pub(in crate::store) fn details(
    model: &subject::Model,
    seals: &Seals,
    key: &SubjectKey,
) -> Result<Details, StoreError> {
    let json = DETAILS.open(&seals.sealing, key, model.row(), &model.sealed_details)?;
    documents::read_details(json.expose()).ok_or_else(|| name(model).corrupt(DETAILS.column()))
}

fn read(tx: &Reading<'_>, model: subject::Model) -> Result<StoredSubject, StoreError> {
    // No version of the service writes one without a digest.
    tx.seals().verify(&model)?;
    Ok(StoredSubject(model))
}

pub(crate) async fn find(tx: &Reading<'_>, id: SubjectId) -> Result<Option<StoredSubject>, StoreError> {
    let model = subject::Entity::find_by_id(id.uuid()).one(tx.conn()).await?;
    model.map(|model| read(tx, model)).transpose()
}

/// Of `ids`, those that are registered.
pub(crate) async fn find_all(
    tx: &Reading<'_>,
    ids: &BTreeSet<SubjectId>,
) -> Result<BTreeMap<SubjectId, Read<StoredSubject>>, StoreError> {
    let ids = ids.iter().map(|id| id.uuid());
    let models = tx.find_ids::<subject::Entity>(subject::Column::SubjectId, ids.collect()).await?;
    let read =
        |model: subject::Model| Ok((SubjectId::from_uuid(model.subject_id), separate(read(tx, model))?));
    models.into_iter().map(read).collect()
}

/// The subject with this reference.
pub(crate) async fn lookup(
    tx: &Reading<'_>,
    references: &References,
) -> Result<Option<StoredSubject>, StoreError> {
    let one_of = std::iter::once(&references.active).chain(&references.retired).cloned();
    let found = subject::Entity::find().filter(subject::Column::ReferenceIndex.is_in(one_of));
    found.one(tx.conn()).await?.map(|model| read(tx, model)).transpose()
}

/// One page, newest first.
pub(crate) async fn page(
    tx: &Reading<'_>,
    after: Option<SubjectId>,
    size: PageSize,
) -> Result<Page<StoredSubject, SubjectId>, StoreError> {
    use subject::Column::SubjectId as Key;
    let mut query = subject::Entity::find().order_by_desc(Key).limit(u64::from(size.get()) + 1);
    if let Some(after) = after {
        query = query.filter(Key.lt(after.uuid()));
    }
    let models = query.all(tx.conn()).await?;
    let position = |model: &subject::Model| SubjectId::from_uuid(model.subject_id);
    Page::cut(models, size.get(), position, |model| read(tx, model))
}

/// Adds a subject, found by `references` if it has a reference.
pub(crate) async fn insert(
    tx: &Writing<'_>,
    subject: &Subject,
    references: Option<&References>,
    key: &SubjectKey,
) -> Result<(), StoreError> {
    let id = subject.id.uuid();
    let (index, generation) = references
        .map_or_else(|| (id.into_bytes().to_vec(), NOBODY), |found| (found.active.clone(), found.generation));
    let row = portal_store::sealed::Row { id: id.into_bytes(), version: 1 };
    let details = documents::details(&subject.details);
    let mut model = subject::Model {
        subject_id: id,
        reference_index: index,
        reference_generation: generation.into(),
        sealed_details: DETAILS.seal(&tx.seals().sealing, key, row, &details)?,
        created_at: subject.created_at.as_micros(),
        row_digest: None,
    };
    tx.seals().stamp(&mut model)?;
    let row: subject::ActiveModel = model.into_active_model().reset_all();
    subject::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// The index as a whole: what its keys still find, and what they must not find any more.
pub(crate) struct ReferenceIndex(pub(crate) Seals);

impl ReferenceIndex {
    /// Takes the index from a row. One that is corrupt stays so: it gets no digest that would hide it.
    async fn forget_one(&self, tx: &Tx, mut row: subject::Model) -> Result<(), StoreError> {
        let sound = self.0.verify(&row).is_ok();
        row.reference_index = row.subject_id.into_bytes().to_vec();
        row.reference_generation = NOBODY.into();
        if sound {
            self.0.stamp(&mut row)?;
        }
        let id = row.subject_id;
        let result = subject::Entity::update_many()
            .set(row.into_active_model().reset_all())
            .filter(subject::Column::SubjectId.eq(id))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, result.rows_affected)
    }
}

#[async_trait]
impl BlindIndex for ReferenceIndex {
    fn table(&self) -> &'static str {
        REFERENCE.0
    }

    fn column(&self) -> &'static str {
        REFERENCE.1
    }

    fn migration(&self) -> &'static str {
        super::moving::NAME
    }

    async fn found_by(&self, tx: &ReadTx, generation: u32) -> Result<u64, StoreError> {
        let of = subject::Column::ReferenceGeneration.eq(i64::from(generation));
        Ok(subject::Entity::find().filter(of).count(tx.conn()).await?)
    }

    async fn people(
        &self,
        tx: &ReadTx,
        after: Option<SubjectId>,
        limit: u64,
    ) -> Result<Vec<SubjectId>, StoreError> {
        use subject::Column::{ReferenceGeneration, SubjectId as Key};
        let found = ReferenceGeneration.ne(i64::from(NOBODY));
        let mut query = subject::Entity::find().select_only().column(Key).filter(found);
        if let Some(after) = after {
            query = query.filter(Key.gt(after.uuid()));
        }
        let people: Vec<Uuid> = query.order_by_asc(Key).limit(limit).into_tuple().all(tx.conn()).await?;
        Ok(people.into_iter().map(SubjectId::from_uuid).collect())
    }

    async fn forget(&self, tx: &Tx, people: &[SubjectId]) -> Result<u64, StoreError> {
        let of = subject::Column::SubjectId.is_in(people.iter().map(|person| person.uuid()));
        let found = subject::Column::ReferenceGeneration.ne(i64::from(NOBODY));
        let rows = subject::Entity::find().filter(of).filter(found).all(tx.conn()).await?;
        let count = rows.len() as u64;
        for row in rows {
            self.forget_one(tx, row).await?;
        }
        Ok(count)
    }
}
