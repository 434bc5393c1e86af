//! A JSON body as a message, by the proto3 JSON mapping; what does not fit is told by field, never by value.

use portal_core::Invalid;
use portal_mesh::status;
use prost_reflect::{DeserializeOptions, DynamicMessage, Kind, MessageDescriptor};
use serde::Deserializer;
use serde_path_to_error::{Segment, Track};
use tonic::Status;

use super::query::{field, shown};
use crate::reason;

const STRICT: DeserializeOptions = DeserializeOptions::new().deny_unknown_fields(true);

/// Reads `body` as a `message`. An empty body is an empty message.
///
/// # Errors
/// INVALID_ARGUMENT: with the position if it is not JSON or not UTF-8, with the field if it is not such a message.
pub(crate) fn parse(message: &MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, Status> {
    if body.is_empty() {
        return Ok(DynamicMessage::new(message.clone()));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        let problem = format!("the body is not valid UTF-8 at byte {at}");
        status::error(reason::UTF8_INVALID.code, reason::UTF8_INVALID.name, problem)
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = match read(message, &mut json) {
        Ok(parsed) => parsed,
        Err(Unread { error, .. }) if !error.is_data() => return Err(malformed(&error)),
        Err(unread) => return Err(status::invalid(&unread.violation(message))),
    };
    json.end().map_err(|error| malformed(&error))?;
    Ok(parsed)
}

/// Reads what path and query gave.
///
/// # Errors
/// INVALID_ARGUMENT with the field.
pub(crate) fn from_parameters(
    message: &MessageDescriptor,
    parameters: serde_json::Map<String, serde_json::Value>,
) -> Result<DynamicMessage, Status> {
    read(message, serde_json::Value::Object(parameters))
        .map_err(|unread| status::invalid(&unread.violation(message)))
}

fn malformed(error: &serde_json::Error) -> Status {
    let (line, column) = (error.line(), error.column());
    let problem = format!("the body is not valid JSON at line {line}, column {column}");
    status::error(reason::JSON_MALFORMED.code, reason::JSON_MALFORMED.name, problem)
}

/// What could not be read, and where.
struct Unread {
    error: serde_json::Error,
    path: Vec<String>,
}

fn read<'de, D>(message: &MessageDescriptor, from: D) -> Result<DynamicMessage, Unread>
where
    D: Deserializer<'de, Error = serde_json::Error>,
{
    let mut track = Track::new();
    let tracked = serde_path_to_error::Deserializer::new(from, &mut track);
    DynamicMessage::deserialize_with_options(message.clone(), tracked, &STRICT).map_err(|error| {
        let name = |segment: &Segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        Unread { error, path: track.path().iter().filter_map(name).collect() }
    })
}

impl Unread {
    /// The field and what it must be. The error's own text repeats the value, so only names are taken from it.
    fn violation(&self, message: &MessageDescriptor) -> Invalid {
        let (mut path, kind) = self.locate(message);
        let text = self.error.to_string();
        let position = match self.error.line() {
            0 => String::new(),
            line => format!(" (line {line}, column {})", self.error.column()),
        };
        let problem = if let Some(unknown) = quoted(&text, "unrecognized field name '") {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(shown(unknown));
            "no such field".to_owned()
        } else if let Some(oneof) = quoted(&text, "multiple fields provided for oneof '") {
            format!("must have one field of '{oneof}'")
        } else {
            kind.as_ref().map_or_else(|| "must be a JSON object".to_owned(), expected)
        };
        Invalid::field(&path, format_args!("{problem}{position}"))
    }

    /// The path in the proto's names, and the kind of what is there; `None` for the message itself.
    fn locate(&self, message: &MessageDescriptor) -> (String, Option<Kind>) {
        let mut path = String::new();
        let mut kind = None;
        let mut inside = Some(message.clone());
        for name in &self.path {
            let found = inside.as_ref().and_then(|message| field(message, name));
            let shown_name = found.as_ref().map_or(shown(name), |field| field.name()).to_owned();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&shown_name);
            if let Some(found) = found {
                kind = Some(found.kind());
                inside = match found.kind() {
                    Kind::Message(message) => Some(message),
                    _ => None,
                };
            }
        }
        (path, kind)
    }
}

fn quoted<'text>(text: &'text str, before: &str) -> Option<&'text str> {
    text.strip_prefix(before)?.split('\'').next()
}

/// What JSON must have for a field of `kind`.
fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "must be true or false".to_owned(),
        Kind::Bytes => "must be base64 in a string".to_owned(),
        Kind::Double | Kind::Float => "must be a number".to_owned(),
        Kind::Enum(values) => {
            let names: Vec<_> = values.values().map(|value| value.name().to_owned()).collect();
            format!("must be one of {}", names.join(", "))
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "must be an integer of 32 bits".to_owned(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "must be an integer of 64 bits".to_owned(),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Duration" => "must be a duration in a string such as \"3.5s\"".to_owned(),
            "google.protobuf.FieldMask" => "must be field names in a string, with commas between".to_owned(),
            "google.protobuf.Timestamp" => {
                "must be a time of RFC 3339 in a string such as \"2026-11-22T00:00:00Z\"".to_owned()
            }
            name => format!("must be a JSON object of {name}"),
        },
        Kind::String => "must be a string".to_owned(),
        Kind::Uint32 | Kind::Fixed32 => "must be an integer from 0 of 32 bits".to_owned(),
        Kind::Uint64 | Kind::Fixed64 => "must be an integer from 0 of 64 bits".to_owned(),
    }
}
