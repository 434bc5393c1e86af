//! [`Sealed`]: an envelope as the type of a column.

use std::fmt;
use std::marker::PhantomData;

use portal_core::Sensitive;
use sea_orm::sea_query::{ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr};
use sea_orm::{ActiveValue, ActiveValue::Set};
use sea_orm::{ColIdx, IntoActiveValue, QueryResult, TryGetError, TryGetable, Value};

/// A value of a column that is sealed: the envelope of a `T`, in the database a `bytea` or BLOB.
///
/// `==` compares envelopes: two of the same value differ, since each has a nonce of its own.
pub struct Sealed<T> {
    envelope: Vec<u8>,
    // Neither holds nor borrows a T: a sealed value is Send and Sync whatever T is.
    value: PhantomData<fn() -> T>,
}

impl<T> Sealed<T> {
    /// The envelope that a column holds, not checked yet.
    #[must_use]
    pub const fn from_envelope(envelope: Vec<u8>) -> Self {
        Self { envelope, value: PhantomData }
    }

    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }

    /// The envelope.
    #[must_use]
    pub fn into_envelope(self) -> Vec<u8> {
        self.envelope
    }
}

/// A value that can stand in a sealed column. Its bytes are a format: they never change once data depends on them.
pub trait Sealable: Sized {
    /// The bytes that are sealed.
    fn to_plaintext(&self) -> Sensitive<Vec<u8>>;

    /// The value of these bytes; `None` if [`Self::to_plaintext`] gives no such bytes.
    fn from_plaintext(bytes: &[u8]) -> Option<Self>;
}

impl Sealable for String {
    fn to_plaintext(&self) -> Sensitive<Vec<u8>> {
        Sensitive::new(self.as_bytes().to_vec())
    }

    fn from_plaintext(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }
}

impl Sealable for Sensitive<String> {
    fn to_plaintext(&self) -> Sensitive<Vec<u8>> {
        self.expose().to_plaintext()
    }

    fn from_plaintext(bytes: &[u8]) -> Option<Self> {
        String::from_plaintext(bytes).map(Self::new)
    }
}

impl Sealable for Vec<u8> {
    fn to_plaintext(&self) -> Sensitive<Vec<u8>> {
        Sensitive::new(self.clone())
    }

    fn from_plaintext(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

impl Sealable for Sensitive<Vec<u8>> {
    fn to_plaintext(&self) -> Sensitive<Vec<u8>> {
        self.clone()
    }

    fn from_plaintext(bytes: &[u8]) -> Option<Self> {
        Some(Self::new(bytes.to_vec()))
    }
}

/// 8 bytes, big-endian.
impl Sealable for i64 {
    fn to_plaintext(&self) -> Sensitive<Vec<u8>> {
        Sensitive::new(self.to_be_bytes().to_vec())
    }

    fn from_plaintext(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

impl<T> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Self::from_envelope(self.envelope.clone())
    }
}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.envelope.len())
    }
}

impl<T> PartialEq for Sealed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.envelope == other.envelope
    }
}

impl<T> Eq for Sealed<T> {}

impl<T> From<Sealed<T>> for Value {
    fn from(sealed: Sealed<T>) -> Self {
        Self::Bytes(Some(sealed.envelope))
    }
}

impl<T> TryGetable for Sealed<T> {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        Vec::<u8>::try_get_by(row, index).map(Self::from_envelope)
    }
}

impl<T> ValueType for Sealed<T> {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        <Vec<u8> as ValueType>::try_from(value).map(Self::from_envelope)
    }

    fn type_name() -> String {
        "Sealed".to_owned()
    }

    fn array_type() -> ArrayType {
        ArrayType::Bytes
    }

    fn column_type() -> ColumnType {
        ColumnType::Blob
    }
}

impl<T> Nullable for Sealed<T> {
    fn null() -> Value {
        Value::Bytes(None)
    }
}

impl<T> IntoActiveValue<Self> for Sealed<T> {
    fn into_active_value(self) -> ActiveValue<Self> {
        Set(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_length_alone() {
        assert_eq!(format!("{:?}", Sealed::<String>::from_envelope(b"anna".to_vec())), "Sealed(4 bytes)");
    }

    #[test]
    fn values_are_their_bytes_and_others_are_none() {
        assert_eq!(
            String::from_plaintext("Žofie".to_owned().to_plaintext().expose()),
            Some("Žofie".to_owned())
        );
        assert_eq!(String::from_plaintext(b"\xff"), None);
        assert_eq!(i64::from_plaintext((-7_i64).to_plaintext().expose()), Some(-7));
        assert_eq!(i64::from_plaintext(b"1234567"), None);
        assert_eq!(Vec::from_plaintext(vec![1, 2].to_plaintext().expose()), Some(vec![1, 2]));
    }
}
