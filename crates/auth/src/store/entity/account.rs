//! Accounts. The `Debug` of a row shows its id only: the rest is personal data.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub struct Model {
    /// Account id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Subject id; unique.
    pub subject_id: Uuid,
    /// Keyed hash of the e-mail address; unique.
    pub email_index: Vec<u8>,
    /// The e-mail address.
    pub email: String,
    /// The name shown to people.
    pub display_name: String,
    /// PHC string.
    pub password_hash: String,
    /// One bit per role, see `rows.rs`.
    pub roles: i64,
    /// When a lock ends; the greatest number for one without end.
    pub locked_until: Option<i64>,
    /// Counts changes.
    pub revision: i64,
    /// When it was created.
    pub created_at: i64,
    /// When it last changed.
    pub updated_at: i64,
}

/// None: rows are joined by hand.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("id", &self.id).finish_non_exhaustive()
    }
}
