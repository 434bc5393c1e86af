//! JSON as nodes. Keys that stand twice in an object are both heard.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{MAX_DOCUMENT, Node, Property, Value, Values};

/// Why bytes are no document.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidDocument {
    /// Not JSON in UTF-8, or nested too deeply.
    #[error("not JSON")]
    Malformed,
    /// JSON, but not of a consent record or receipt.
    #[error("not a dpv:ConsentRecord or dpv:ConsentReceipt in JSON-LD")]
    Other,
    /// Longer than [`MAX_DOCUMENT`].
    #[error("the document is too long")]
    TooLong,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Node, InvalidDocument> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(InvalidDocument::TooLong);
    }
    let raw: Raw = serde_json::from_slice(bytes).map_err(|_| InvalidDocument::Malformed)?;
    match raw {
        Raw::Object(members) => node(members),
        Raw::Array(_) | Raw::Bool(_) | Raw::Null | Raw::Number(_) | Raw::Text(_) => {
            Err(InvalidDocument::Other)
        }
    }
}

/// JSON as it stands there.
enum Raw {
    Array(Vec<Self>),
    Bool(bool),
    Null,
    Number(serde_json::Number),
    Object(Vec<(String, Self)>),
    Text(String),
}

fn node(members: Vec<(String, Raw)>) -> Result<Node, InvalidDocument> {
    let mut node = Node::default();
    for (name, raw) in members {
        match (name.as_str(), raw) {
            ("@id", Raw::Text(id)) if node.id.is_none() => node.id = Some(id),
            ("@id", _) => return Err(InvalidDocument::Other),
            ("@type", raw) => {
                let mut types = values(raw)?;
                if types.items.iter().any(|value| !matches!(value, Value::Text(_))) {
                    return Err(InvalidDocument::Other);
                }
                if node.types.items.is_empty() { node.types = types } else { node.types.append(&mut types) }
            }
            (name, raw) => node.say(Property::named(name), values(raw)?),
        }
    }
    Ok(node)
}

fn values(raw: Raw) -> Result<Values, InvalidDocument> {
    match raw {
        Raw::Array(items) => {
            Ok(Values { items: items.into_iter().map(value).collect::<Result<_, _>>()?, array: true })
        }
        one => Ok(Values { items: vec![value(one)?], array: false }),
    }
}

/// JSON-LD has neither arrays in arrays nor null here.
fn value(raw: Raw) -> Result<Value, InvalidDocument> {
    match raw {
        Raw::Array(_) | Raw::Null => Err(InvalidDocument::Other),
        Raw::Bool(value) => Ok(Value::Bool(value)),
        Raw::Number(number) => Ok(Value::Number(number)),
        Raw::Object(members) => Ok(node(members)?.into()),
        Raw::Text(text) => Ok(Value::Text(text)),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Raw, E> {
        serde_json::Number::from_f64(value).map(Raw::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Raw::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Raw::Object(members))
    }
}
