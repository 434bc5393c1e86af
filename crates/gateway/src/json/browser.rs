//! Sessions of web pages, with the refresh token where no script reads it.
//!
//! A page that sends `portal-session: cookie` with a call that begins, goes on with or ends a session gets the refresh token as a
//! `__Host-` cookie instead of in the body, and refreshes without naming it. Taken from the portal's own pages alone, by what the
//! browser says of a request's origin, which no script can write; the header besides makes every other origin ask first.

use http::{HeaderMap, header};
use portal_core::{Invalid, Timestamp};
use portal_mesh::status::{self, reason};
use portal_proto::auth::v1::create_session_response::Result as Entered;
use portal_proto::auth::v1::{CreateSessionResponse, Session};
use prost::Message;
use prost_reflect::{DynamicMessage, Value};
use tonic::{Code, Status};

use super::binding::Binding;
use crate::oauth::cookie;
use crate::reason as ours;
use crate::route::Gateway;

const HEADER: &str = "portal-session";
const TOKEN: &str = "refresh_token";

/// What a call does with a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    Begins,
    Ends,
    GoesOn,
}

/// A call of a page that keeps its session in cookies.
pub(super) struct Cookies {
    effect: Effect,
    refresh: Option<String>,
    now: Timestamp,
}

fn effect(rpc: &str) -> Option<Effect> {
    match rpc.strip_prefix("/portal.auth.v1.")? {
        "SessionService/CreateSession"
        | "SessionService/CompleteMfa"
        | "MfaService/FinishPasskeyAuthentication" => Some(Effect::Begins),
        "SessionService/RefreshSession" => Some(Effect::GoesOn),
        "SessionService/RevokeSession" | "AccountService/DeleteAccount" => Some(Effect::Ends),
        _ => None,
    }
}

impl Gateway {
    /// How a call treats the browser's session; `None` if it has nothing to do with it, or the page did not ask.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for another value of the header, PERMISSION_DENIED for a page of another origin.
    pub(super) fn cookies(&self, binding: &Binding, headers: &HeaderMap) -> Result<Option<Cookies>, Status> {
        let Some(asked) = headers.get(HEADER) else { return Ok(None) };
        let Some(effect) = effect(&binding.rpc) else { return Ok(None) };
        if asked != "cookie" {
            return Err(status::invalid(&Invalid::field(HEADER, "must be `cookie`, or left out")));
        }
        if !self.is_own_page(headers) {
            return Err(ours::FOREIGN_ORIGIN.status());
        }
        Ok(Some(Cookies { effect, refresh: cookie::read(headers).refresh, now: self.tokens.now() }))
    }

    fn is_own_page(&self, headers: &HeaderMap) -> bool {
        let same = headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin");
        let origin = headers.get(header::ORIGIN).map(http::HeaderValue::as_bytes);
        let own = self.public_url.as_ref().map(|url| url.as_str().as_bytes());
        same || (origin.is_some() && origin == own)
    }
}

impl Cookies {
    /// Puts the refresh token of the browser into a request that goes on with its session.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if the body has one too; UNAUTHENTICATED if the browser has none.
    pub(super) fn complete(&self, message: &mut DynamicMessage) -> Result<(), Status> {
        if self.effect != Effect::GoesOn {
            return Ok(());
        }
        let named = message.get_field_by_name(TOKEN);
        if named.is_some_and(|value| value.as_str().is_some_and(|text| !text.is_empty())) {
            return Err(status::invalid(&Invalid::field(TOKEN, "comes from the cookie: leave it out")));
        }
        let refresh = self.refresh.clone().ok_or_else(|| reason::TOKEN_MISSING.status())?;
        message.set_field_by_name(TOKEN, Value::String(refresh));
        Ok(())
    }

    /// The answer without its refresh token, which goes to `headers`.
    ///
    /// # Errors
    /// INTERNAL for an answer that can't be read.
    pub(super) fn keep(&self, answer: &[u8], rpc: &str, headers: &mut HeaderMap) -> Result<Vec<u8>, Status> {
        let unreadable = |_| reason::INTERNAL.status();
        if self.effect == Effect::Ends {
            cookie::forget(headers);
            return Ok(answer.to_vec());
        }
        if rpc.ends_with("/CreateSession") {
            let mut reply = CreateSessionResponse::decode(answer).map_err(unreadable)?;
            if let Some(Entered::Session(session)) = &mut reply.result {
                self.kept(session, headers);
            }
            return Ok(reply.encode_to_vec());
        }
        let mut session = Session::decode(answer).map_err(unreadable)?;
        self.kept(&mut session, headers);
        Ok(session.encode_to_vec())
    }

    /// A session that was only raised keeps the tokens it has.
    fn kept(&self, session: &mut Session, headers: &mut HeaderMap) {
        if !session.refresh_token.is_empty() {
            cookie::keep(session, self.now, headers);
            session.refresh_token.clear();
        }
    }

    /// What a browser is told with a refusal: to forget a session that is over.
    pub(super) fn refused(&self, status: &Status, headers: &mut HeaderMap) {
        if self.effect == Effect::GoesOn && status.code() == Code::Unauthenticated {
            cookie::forget(headers);
        }
    }
}
