//! The digest of a row: who changes, adds or removes a cell in the database has to know the integrity key.
//!
//! ```text
//! digest = HMAC-SHA-256(key, "portal/row-digest/v1\0" | length 4 | table | row 16 | row version 8 | fields)
//! field  = length 4 | name | type 1 | length 4 | value            sorted by name
//! ```
//! Integers are big-endian. Types: 0 null, 1 bytes, 2 text, 3 integer (8 bytes), 4 float (IEEE 754 binary64), 5 boolean
//! (1 byte). Sealed cells go in as the bytes of their envelopes, parts of a nested value each under its own path, for
//! example `address.city` or `items[2].price`. Each row has one encoding: the order of the calls does not matter, −0.0
//! is taken as 0.0 and every NaN as the same one, since not every database keeps those apart.

use std::borrow::Cow;
use std::ops::Range;

use crate::backend;
use crate::mac::{MacKey, Tag};

const LABEL: &[u8] = b"portal/row-digest/v1\0";

/// The integrity key of a service, see [`crate::kdf::Label::RowDigest`]. Wiped on drop; has no `Debug`.
#[derive(Clone)]
pub struct RowDigestKey(MacKey);

impl RowDigestKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(MacKey::new(key))
    }
}

/// The digest of one row, being made. A field that is named twice counts twice.
#[must_use = "a digest is made by `finish` or compared by `verify`"]
pub struct RowDigest<'a> {
    key: &'a RowDigestKey,
    head: Vec<u8>,
    fields: Vec<u8>,
    names: Vec<(Cow<'a, str>, Range<usize>)>,
}

/// The type of a field, so that a text of eight bytes is not an integer.
#[derive(Clone, Copy)]
enum Kind {
    Null = 0,
    Bytes = 1,
    Text = 2,
    Int = 3,
    Float = 4,
    Bool = 5,
}

impl<'a> RowDigest<'a> {
    /// Begins the digest of version `row_version` of the row `row` of `table`.
    pub fn new(key: &'a RowDigestKey, table: &str, row: &[u8; 16], row_version: u64) -> Self {
        let head = [LABEL, &length(table.len()), table.as_bytes(), row, &row_version.to_be_bytes()].concat();
        Self { key, head, fields: Vec::with_capacity(512), names: Vec::with_capacity(16) }
    }

    /// Bytes, an envelope for example.
    pub fn bytes(self, name: impl Into<Cow<'a, str>>, value: &[u8]) -> Self {
        self.field(name.into(), Kind::Bytes, value)
    }

    /// A text.
    pub fn text(self, name: impl Into<Cow<'a, str>>, value: &str) -> Self {
        self.field(name.into(), Kind::Text, value.as_bytes())
    }

    /// An integer; a time goes in as its microseconds.
    pub fn int(self, name: impl Into<Cow<'a, str>>, value: i64) -> Self {
        self.field(name.into(), Kind::Int, &value.to_be_bytes())
    }

    /// A floating-point number.
    pub fn float(self, name: impl Into<Cow<'a, str>>, value: f64) -> Self {
        let one_encoding = if value.is_nan() {
            f64::NAN.abs()
        } else if value == 0.0 {
            0.0
        } else {
            value
        };
        self.field(name.into(), Kind::Float, &one_encoding.to_bits().to_be_bytes())
    }

    /// A boolean.
    pub fn bool(self, name: impl Into<Cow<'a, str>>, value: bool) -> Self {
        self.field(name.into(), Kind::Bool, &[value.into()])
    }

    /// A cell without a value, which is not the same as no cell.
    pub fn null(self, name: impl Into<Cow<'a, str>>) -> Self {
        self.field(name.into(), Kind::Null, &[])
    }

    /// The digest.
    #[must_use]
    pub fn finish(mut self) -> Tag {
        self.names.sort_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
        let fields = self.names.iter().filter_map(|(_, range)| self.fields.get(range.clone()));
        let parts: Vec<&[u8]> = std::iter::once(self.head.as_slice()).chain(fields).collect();
        self.key.0.tag_parts(&parts)
    }

    /// Whether `digest` is the digest of this row, compared in constant time.
    #[must_use]
    pub fn verify(self, digest: &[u8]) -> bool {
        backend::equal(&self.finish(), digest)
    }

    fn field(mut self, name: Cow<'a, str>, kind: Kind, value: &[u8]) -> Self {
        let start = self.fields.len();
        self.fields.extend_from_slice(&length(name.len()));
        self.fields.extend_from_slice(name.as_bytes());
        self.fields.push(kind as u8);
        self.fields.extend_from_slice(&length(value.len()));
        self.fields.extend_from_slice(value);
        self.names.push((name, start..self.fields.len()));
        self
    }
}

/// No database has a cell of 4 GiB: PostgreSQL ends at 1 GiB, SQLite at 2.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests;
