//! Values out of the path and the query, put where the message has them.
//!
//! They are gathered as JSON, so that one mapping reads them all: a timestamp in a query is read as one in a body.

use percent_encoding::percent_decode;
use portal_core::Invalid;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::template::NotUtf8;

/// Most parameters of a query.
const MAX_PARAMETERS: usize = 100;

/// The parameters of a query (`application/x-www-form-urlencoded`), in their order.
pub(crate) fn parameters(query: &str) -> Result<Vec<(String, String)>, NotUtf8> {
    let decode = |text: &str| {
        let spaced: Vec<u8> = text.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }).collect();
        match percent_decode(&spaced).decode_utf8() {
            Ok(decoded) => Ok(decoded.into_owned()),
            Err(_) => Err(NotUtf8),
        }
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .take(MAX_PARAMETERS + 1)
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| Ok((decode(name)?, decode(value)?)))
        .collect()
}

/// Gathers the values of one request.
pub(crate) struct Gathered {
    message: MessageDescriptor,
    root: Map<String, Value>,
    invalid: Invalid,
    count: usize,
}

impl Gathered {
    pub(crate) fn new(message: MessageDescriptor) -> Self {
        Self { message, root: Map::new(), invalid: Invalid::new(), count: 0 }
    }

    /// Puts the value of `path`, a field or fields of fields joined by dots, by their names in the proto or in JSON.
    pub(crate) fn put(&mut self, path: &str, value: &str) {
        self.count += 1;
        if self.count == MAX_PARAMETERS + 1 {
            self.invalid.add("", format_args!("must have at most {MAX_PARAMETERS} parameters"));
        }
        if self.count <= MAX_PARAMETERS
            && let Err(problem) = put(&self.message, &mut self.root, path, value)
        {
            self.invalid.add(shown(path), problem);
        }
    }

    /// Notes a parameter that has no place here.
    pub(crate) fn refuse(&mut self, path: &str, problem: &str) {
        self.invalid.add(shown(path), problem);
    }

    /// What was gathered.
    ///
    /// # Errors
    /// Every parameter that could not be placed.
    pub(crate) fn finish(self) -> Result<Map<String, Value>, Invalid> {
        self.invalid.finish(Some(self.root))
    }
}

/// A name that came from outside, cut to a length that fits an error.
pub(crate) fn shown(name: &str) -> &str {
    name.char_indices().nth(64).map_or(name, |(end, _)| name.split_at(end).0)
}

/// The field of `message` by its name in the proto or in JSON.
pub(crate) fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

fn put(
    message: &MessageDescriptor,
    into: &mut Map<String, Value>,
    path: &str,
    value: &str,
) -> Result<(), &'static str> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = field(message, first).ok_or("no such field")?;
    let name = field.name().to_owned();
    if let Some(rest) = rest {
        let Some(nested) = plain_message(&field) else { return Err("has no fields of its own") };
        let entry = into.entry(name).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(entry) = entry else { return Err("is given both as a whole and in part") };
        return put(&nested, entry, rest, value);
    }
    if field.is_map() || plain_message(&field).is_some() || is_free_form(&field) {
        return Err("can't be given as a parameter");
    }
    let value = read(&field.kind(), value);
    if !field.is_list() {
        return match into.insert(name, value) {
            None => Ok(()),
            Some(_) => Err("must be given once"),
        };
    }
    match into.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(values) => values.push(value),
        _ => return Err("is given both as a whole and in part"),
    }
    Ok(())
}

/// The message of a singular field, unless JSON writes it as a single value.
fn plain_message(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) if !field.is_list() && !field.is_map() => {
            (message.parent_file().package_name() != "google.protobuf").then_some(message)
        }
        _ => None,
    }
}

/// Whether JSON writes the field's values as objects or as anything at all.
fn is_free_form(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(message) if message.parent_file().package_name() == "google.protobuf" => {
            matches!(message.name(), "Any" | "Empty" | "ListValue" | "Struct" | "Value")
        }
        Kind::Message(_) => true,
        _ => false,
    }
}

/// The value as JSON would have it. Numbers stay strings, which the JSON mapping takes too.
fn read(kind: &Kind, value: &str) -> Value {
    let boolean = match kind {
        Kind::Bool => true,
        Kind::Message(message) => message.full_name() == "google.protobuf.BoolValue",
        _ => false,
    };
    match (kind, value) {
        (_, "true") if boolean => Value::Bool(true),
        (_, "false") if boolean => Value::Bool(false),
        (Kind::Enum(_), number) if number.parse::<i32>().is_ok() => {
            number.parse::<i32>().map_or(Value::Null, Value::from)
        }
        (_, text) => Value::String(text.to_owned()),
    }
}
