//! Wire messages to and from the domain. Requests are parsed here, once, with every violation at once and under the
//! field's own path; nothing behind this module sees an unchecked value.

use std::time::Duration;

use portal_core::Invalid;
use portal_core::id::Id;
use portal_crypto::page_token::PageTokenKey;
use portal_mesh::Caller;
use portal_mesh::convert::{duration, parse_duration};
use portal_mesh::policy::Action;
use portal_proto::consent::v1 as pb;
use portal_store::idempotency::Key;

use crate::app::Once;
use crate::domain::life::State;

pub(super) mod acts;
pub(super) mod changes;
pub(super) mod consents;
pub(super) mod decisions;
pub(super) mod delegation;
pub(super) mod notices;
pub(super) mod purposes;
pub(super) mod receipts;
pub(super) mod record;
pub(super) mod records;
pub(super) mod subjects;

/// No term is longer: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// An id, which must be there.
fn id<T: Id>(invalid: &mut Invalid, field: &str, text: &str) -> Option<T> {
    invalid.check(field, T::parse(text))
}

/// An id, or nothing; the outer option is `None` after a violation.
#[expect(clippy::option_option, reason = "a violation is not an absence")]
fn optional_id<T: Id>(invalid: &mut Invalid, field: &str, text: &str) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { id(invalid, field, text).map(Some) }
}

/// An etag: the version that was read, or nothing.
fn etag(invalid: &mut Invalid, field: &str, text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    invalid.check(field, text.parse().map_err(|_| "must be an etag of this resource, unchanged"))
}

/// A term, or nothing.
fn term(invalid: &mut Invalid, field: &str, message: Option<prost_types::Duration>) -> Option<Duration> {
    let duration = invalid.check(field, parse_duration(message?))?;
    if duration.is_zero() || duration > LONGEST {
        invalid.add(field, "must be longer than 0 seconds and at most 100 years");
        return None;
    }
    Some(duration)
}

/// At most `most` texts of 1 to `length` characters, each once.
fn texts(invalid: &mut Invalid, field: &str, values: Vec<String>, most: usize, length: usize) -> Vec<String> {
    if values.len() > most {
        invalid.add(field, format_args!("must have at most {most} items"));
        return Vec::new();
    }
    let mut seen = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let path = format!("{field}[{index}]");
        let Some(value) = invalid.text(&path, value, 1, length) else { continue };
        if seen.contains(&value) {
            invalid.add(&path, "must not be a repetition");
        } else {
            seen.push(value);
        }
    }
    seen
}

fn duration_message(value: Option<Duration>) -> Option<prost_types::Duration> {
    value.map(duration)
}

fn state(state: State) -> pb::State {
    match state {
        State::Archived => pb::State::Archived,
        State::Draft => pb::State::Draft,
        State::Published => pb::State::Published,
    }
}

/// A revision as messages number it.
fn revision(revision: u32) -> i32 {
    i32::try_from(revision).unwrap_or(i32::MAX)
}

/// How the reply of `A` is kept, if the request has an id. `content` is the request in a form that is equal for equal
/// requests.
pub(super) fn once<A: Action, T>(
    caller: &Caller,
    request_id: &str,
    content: impl FnOnce() -> Vec<u8>,
    encode: fn(&T) -> Vec<u8>,
) -> Result<Option<Once<T>>, Invalid> {
    if request_id.is_empty() {
        return Ok(None);
    }
    let mut invalid = Invalid::new();
    let id = id::<portal_core::id::OperationId>(&mut invalid, "request_id", request_id);
    let id = invalid.finish(id)?;
    let key = Key { caller: caller.key(), method: A::METHOD, request_id: id.to_string() };
    Ok(Some(Once::new(key, content(), encode)))
}

/// Both, or the violations of both.
pub(super) fn both<A, B>(a: Result<A, Invalid>, b: Result<B, Invalid>) -> Result<(A, B), Invalid> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(invalid), Ok(_)) | (Ok(_), Err(invalid)) => Err(invalid),
        (Err(mut first), Err(second)) => {
            second
                .violations()
                .iter()
                .for_each(|violation| first.add(&violation.field, &violation.description));
            Err(first)
        }
    }
}

/// The page tokens of one list: only the same caller with the same filters can use them.
pub(super) struct Pages<'a> {
    key: &'a PageTokenKey,
    scope: Vec<u8>,
}

impl<'a> Pages<'a> {
    /// `filters` must be texts without line breaks, such as ids.
    pub(super) fn new<A: Action>(key: &'a PageTokenKey, caller: &Caller, filters: &[&str]) -> Self {
        let scope = format!("{}\n{}\n{}", A::METHOD, caller.key(), filters.join("\n")).into_bytes();
        Self { key, scope }
    }

    /// Where the page begins: nowhere for the first one.
    pub(super) fn open<const N: usize>(&self, token: &str) -> Result<Option<[u8; N]>, Invalid> {
        if token.is_empty() {
            return Ok(None);
        }
        let refused = |error| Invalid::field("page_token", error);
        let position = self.key.open(&self.scope, token).map_err(refused)?;
        let position =
            position.try_into().map_err(|_| refused(portal_crypto::page_token::InvalidPageToken))?;
        Ok(Some(position))
    }

    /// The token of the page that begins at `position`; empty at the end.
    pub(super) fn seal<const N: usize>(&self, position: Option<[u8; N]>) -> String {
        position.map(|position| self.key.seal(&self.scope, &position)).unwrap_or_default()
    }
}
