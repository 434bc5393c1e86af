//! JSON objects that say each thing once.
//!
//! Parsers differ in which of two members of one name they keep; a token that means one thing to us and another to
//! someone else is refused instead.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

/// Why the bytes are not an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum JsonError {
    /// An object, at any depth, repeats a member.
    Duplicate,
    /// Not JSON in UTF-8, more than one value, or not an object.
    Malformed,
}

/// The object that `bytes` are.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match serde_json::from_slice::<Once>(bytes) {
        Ok(Once(Value::Object(members))) => Ok(members),
        Ok(_) => Err(JsonError::Malformed),
        // The visitor takes every type, so its only complaint about well-formed data is a repeated member.
        Err(error) if error.classify() == Category::Data => Err(JsonError::Duplicate),
        Err(_) => Err(JsonError::Malformed),
    }
}

/// A value none of whose objects repeats a member.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor).map(Self)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Once(value))) = entries.next_entry::<String, Once>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("repeated member"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_repeated_members_at_any_depth_and_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":{"c":null,"c":null}}"#,
            r#"{"b":[{"c":1,"c":2}]}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert_eq!(object(text.as_bytes()).unwrap_err(), JsonError::Duplicate, "{text}");
        }
        assert!(object(br#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
    }

    #[test]
    fn refuses_what_is_not_one_object() {
        let deep = "[".repeat(5_000);
        for text in [
            "",
            " ",
            "1",
            "null",
            "[]",
            "{",
            "{}{}",
            "{} x",
            "{a:1}",
            "{'a':1}",
            "{\"a\":01}",
            "\u{feff}{}",
            &deep,
        ] {
            assert_eq!(object(text.as_bytes()).unwrap_err(), JsonError::Malformed, "{text:.20}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}").unwrap_err(), JsonError::Malformed);
    }

    proptest! {
        #[test]
        fn reads_what_serde_json_reads(bytes in prop::collection::vec(any::<u8>(), 0..64), text in r#"[{}\[\]",:a-c0-9. ]{0,24}"#) {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                if let Ok(members) = object(bytes) {
                    prop_assert_eq!(Value::Object(members), serde_json::from_slice::<Value>(bytes).unwrap());
                }
            }
        }
    }
}
