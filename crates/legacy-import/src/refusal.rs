//! Records that can't be imported: which, why, and since when. They stay where they are, and are in nobody's way.
//!
//! Invariants: a cause never says anything about the content; a record has one cause, that of the last look at it.

use portal_core::Timestamp;
use portal_core::id::Id;
use portal_store::{Corruption, ReadTx, StoreError, Tx, bulk};
use sea_orm::entity::prelude::*;
use sea_orm::{PaginatorTrait, QueryOrder, QuerySelect};

use crate::open::OpenError;
use crate::reader::Unreadable;
use crate::record::RecordId;

pub(crate) mod entity {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel, PartialEq)]
    #[sea_orm(table_name = "legacy_refusal")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub record_id: Uuid,
        pub cause: String,
        pub refused_at: i64,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
use entity::{Column, Entity};

/// What it is called.
pub const TABLE: &str = "legacy_refusal";

/// Why a record can't be imported.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
pub enum Cause {
    /// The two implementations of Kyber-768 do not agree.
    #[error("two implementations of Kyber-768 disagree about it")]
    Disagreement,
    /// The row is no record.
    #[error("the row has not the shape of a record")]
    Malformed,
    /// The signature is not one of the key that it names.
    #[error("its signature does not verify")]
    Signature,
    /// The person whom it is about was erased. The commit deletes it.
    #[error("the person whom it is about was erased")]
    SubjectErased,
    /// The tag of AES-256-GCM does not match.
    #[error("its value does not open")]
    Tag,
    /// It is sealed to a key that was not given.
    #[error("it is sealed to a key that was not given")]
    UnknownKemKey,
    /// It is signed by a key that was not given.
    #[error("it is signed by a key that was not given")]
    UnknownSigner,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::Disagreement,
        Self::Malformed,
        Self::Signature,
        Self::SubjectErased,
        Self::Tag,
        Self::UnknownKemKey,
        Self::UnknownSigner,
    ];

    /// The name in the table and in what is told; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disagreement => "disagreement",
            Self::Malformed => "malformed",
            Self::Signature => "bad_signature",
            Self::SubjectErased => "subject_erased",
            Self::Tag => "wrong_tag",
            Self::UnknownKemKey => "unknown_kem_key",
            Self::UnknownSigner => "unknown_signer",
        }
    }

    /// The cause of this [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }

    /// Whether a commit leaves the record where it is. That of a person who was erased it deletes.
    #[must_use]
    pub const fn stays(self) -> bool {
        !matches!(self, Self::SubjectErased)
    }
}

impl From<Unreadable> for Cause {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Open(OpenError::Disagreement(_)) => Self::Disagreement,
            Unreadable::Open(OpenError::Refused(_)) => Self::Tag,
            Unreadable::Signature(_) => Self::Signature,
            Unreadable::UnknownKemKey(_) => Self::UnknownKemKey,
            Unreadable::UnknownSigner(_) => Self::UnknownSigner,
        }
    }
}

/// A record that can't be imported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Which.
    pub record_id: RecordId,
    /// Why.
    pub cause: Cause,
    /// When it was last looked at.
    pub refused_at: Timestamp,
}

/// Those of `ids` that are refused.
pub(crate) async fn among(tx: &ReadTx, ids: &[RecordId]) -> Result<Vec<Refusal>, StoreError> {
    let rows = Entity::find().filter(Column::RecordId.is_in(ids.iter().map(|id| id.uuid())));
    rows.all(tx.conn()).await?.iter().map(to_refusal).collect()
}

/// At most `limit` of them after this one, in the order of their ids.
///
/// # Errors
/// [`StoreError`].
pub async fn page(tx: &ReadTx, after: Option<RecordId>, limit: u32) -> Result<Vec<Refusal>, StoreError> {
    let mut query = Entity::find();
    if let Some(after) = after {
        query = query.filter(Column::RecordId.gt(after.uuid()));
    }
    let rows = query.order_by_asc(Column::RecordId).limit(u64::from(limit)).all(tx.conn()).await?;
    rows.iter().map(to_refusal).collect()
}

/// How many there are of each cause that there is.
///
/// # Errors
/// [`StoreError`].
pub async fn counts(tx: &ReadTx) -> Result<Vec<(Cause, u64)>, StoreError> {
    let mut counts = Vec::new();
    for cause in Cause::ALL {
        let rows = Entity::find().filter(Column::Cause.eq(cause.name())).count(tx.conn()).await?;
        if rows > 0 {
            counts.push((cause, rows));
        }
    }
    Ok(counts)
}

/// Forgets all of them, so that the records are looked at once more.
///
/// # Errors
/// [`StoreError`].
pub async fn clear(tx: &Tx) -> Result<(), StoreError> {
    Entity::delete_many().exec(tx.conn()).await?;
    Ok(())
}

/// Notes `refusals`, in the place of what was noted about these records before.
pub(crate) async fn note(tx: &Tx, refusals: &[Refusal]) -> Result<(), StoreError> {
    let ids: Vec<RecordId> = refusals.iter().map(|refusal| refusal.record_id).collect();
    forget(tx, &ids).await?;
    let values = |refusal: &Refusal| -> Vec<Value> {
        let Refusal { record_id, cause, refused_at } = refusal;
        vec![record_id.uuid().into(), cause.name().into(), refused_at.as_micros().into()]
    };
    let columns = [Column::RecordId, Column::Cause, Column::RefusedAt];
    bulk::insert::<Entity>(tx, &columns, refusals.iter().map(values).collect()).await
}

/// Forgets what was noted about these records, if anything.
pub(crate) async fn forget(tx: &Tx, ids: &[RecordId]) -> Result<(), StoreError> {
    let keys = ids.iter().map(|id| vec![id.uuid().into()]).collect();
    bulk::delete::<Entity>(tx, &[Column::RecordId], keys).await.map(drop)
}

fn to_refusal(row: &entity::Model) -> Result<Refusal, StoreError> {
    let corrupt = || StoreError::Corrupt {
        table: TABLE,
        column: "cause",
        row: row.record_id.to_string(),
        cause: Corruption::ValueInvalid,
    };
    Ok(Refusal {
        record_id: RecordId::from_uuid(row.record_id),
        cause: Cause::parse(&row.cause).ok_or_else(corrupt)?,
        refused_at: Timestamp::from_micros(row.refused_at),
    })
}
