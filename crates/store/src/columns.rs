//! The column types every schema uses, so that a value means the same on both databases.
//!
//! | value | helper | SQLite | PostgreSQL | entity field |
//! |---|---|---|---|---|
//! | an id | [`id`] | 16-byte BLOB | `uuid` | `sea_orm::prelude::Uuid`, by `Id::uuid` and `Id::from_uuid` |
//! | a time | [`timestamp`] | INTEGER | `bigint` | `i64`, by `Timestamp::as_micros` and `Timestamp::from_micros` |
//! | bytes | [`bytes`] | BLOB | `bytea` | `Vec<u8>` |
//! | text | [`text`] | TEXT | `text` | `String` |
//! | a count or sequence | [`integer`] | INTEGER | `bigint` | `i64` |
//! | yes or no | [`boolean`] | 0 or 1 | `boolean` | `bool` |
//! | a measurement | [`float`] | REAL | `double precision` | `f64` |
//!
//! All are NOT NULL; add `.null()` where nothing is a value.

use sea_orm_migration::sea_query::{ColumnDef, IntoIden};

/// A 128-bit id.
pub fn id(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).uuid().not_null().take()
}

/// A time in microseconds since the epoch: not `timestamptz`, which SQLite has no equal of.
pub fn timestamp(name: impl IntoIden) -> ColumnDef {
    integer(name)
}

/// Bytes, among them everything sealed.
pub fn bytes(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).blob().not_null().take()
}

/// Text that is not personal.
pub fn text(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).text().not_null().take()
}

/// A signed 64-bit number.
pub fn integer(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

/// Yes or no.
pub fn boolean(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).boolean().not_null().take()
}

/// A floating-point number, 64 bits.
pub fn float(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).double().not_null().take()
}
