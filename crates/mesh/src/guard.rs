//! What a request passes between the connection and the handler. `serve` is the whole stack, top to bottom.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, header};
use portal_authz::Decision;
use portal_core::{Entropy, Workload};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt};
use tracing::Instrument;

use crate::acceptor::Connection;
use crate::alias::TOKEN_ALIAS;
use crate::authorization::{Asked, Authorization};
use crate::body::{BoundedRequest, CallGuard, End, GuardedResponse};
use crate::caller::{Behalf, Caller};
use crate::context::{Context, Trace, parse_timeout};
use crate::metrics::MeshMetrics;
use crate::policy::{self, Row};
use crate::status::{Reason, reason};
use crate::token::{TokenError, TokenVerifier, Verified};
use crate::{Drain, status};

/// Header by which a workload says that it calls on its own behalf. The gateway strips every `portal-` header that
/// comes from outside, and a call without this one is an end user's.
pub const CALLER_HEADER: &str = "portal-caller";
/// Value of [`CALLER_HEADER`].
pub const CALLER_WORKLOAD: &str = "workload";
/// Header by which the gateway says from where the call came to it: an IP address.
pub const CLIENT_ADDRESS_HEADER: &str = "portal-client-address";
/// Header by which the gateway says why a token it was given is not forwarded.
pub const TOKEN_ERROR_HEADER: &str = "portal-token-error";

/// Calls under way in one server before new ones are turned away.
pub(crate) const MAX_CALLS: usize = 1_024;

pub(crate) struct GuardState {
    pub(crate) policy: &'static [Row],
    pub(crate) authorization: Authorization,
    pub(crate) tokens: TokenVerifier,
    pub(crate) metrics: MeshMetrics,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) drain: Drain,
}

/// Puts a [`Guard`] around a service.
#[derive(Clone)]
pub(crate) struct GuardLayer(pub(crate) Arc<GuardState>);

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { state: Arc::clone(&self.0), inner }
    }
}

/// The stack around the handlers.
#[derive(Clone)]
pub(crate) struct Guard<S> {
    state: Arc<GuardState>,
    inner: S,
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (state, inner) = (Arc::clone(&self.state), self.inner.clone());
        Box::pin(async move { Ok(serve(state, inner, request).await.unwrap_or_else(Status::into_http)) })
    }
}

/// The layers, outermost first.
async fn serve<S>(
    state: Arc<GuardState>,
    inner: S,
    mut request: Request<Body>,
) -> Result<Response<Body>, Status>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
    S::Future: Send,
{
    // 1. Load: turn away what can't be served soon, before any work is done for it. Never a queue.
    let slot = Arc::clone(&state.slots).try_acquire_owned().map_err(|_| reason::OVERLOADED.status())?;
    // 2. Policy row: a method that is not in the table does not exist, whoever asks.
    let row = policy::row(state.policy, request.uri().path()).ok_or_else(|| reason::NO_POLICY.status())?;
    // 3. Accounting: from here on every end of the call is counted, a reset by the client too.
    let mut call = state.account(row, slot);
    let answered = async {
        // 4. Identity: the workload from the connection, the end user from the token.
        let connection = request.extensions().get::<Connection>().ok_or_else(|| reason::INTERNAL.status())?;
        let (behalf, alias) = state.behalf(request.headers(), connection).await?;
        let client = client_address(request.headers(), connection.peer.workload);
        // 5. Permission: decided here, once, so that a handler that forgets to ask for a permit gives nothing away. Then
        // assurance: who may call a sensitive method must have proven lately who they are.
        let now = state.tokens.now();
        let workload = connection.peer.workload;
        let asked = Asked { method: row.method(), workload, behalf: &behalf, address: client, now };
        let (reach, decision) = state.authorization.decide(&asked)?;
        let caller = Caller::new((workload, client), behalf, row, reach);
        row.assured(&caller, now)?;
        // 6. Deadline: the sooner of what the caller waits and what the row allows.
        let context = state.context(request.headers(), (row, decision), call.started)?;
        // 7. Size: each message of the request is bounded before it is read.
        request.extensions_mut().insert(caller);
        let request = request.map(|body| Body::new(BoundedRequest::new(body, row.request_limit())));
        // 8. The handler, in a span of its own that every log line inside it carries.
        let span = tracing::info_span!("rpc", method = row.method(), trace_id = %context.trace.trace_id());
        let deadline = context.deadline;
        let handled = context.scope(inner.oneshot(request)).instrument(span);
        let response = match deadline {
            Some(at) => tokio::time::timeout_at(at, handled).await.map_err(|_| reason::DEADLINE.status())?,
            None => handled.await,
        };
        let Ok(mut response) = response;
        response.headers_mut().extend(alias.map(|alias| (TOKEN_ALIAS, alias)));
        Ok((deadline, response))
    };
    match answered.await {
        Ok((deadline, response)) => {
            let end =
                deadline.map_or_else(|| End::Drain(state.drain.clone()), |at| End::Deadline(sleep_until(at)));
            let (parts, body) = response.into_parts();
            let body = GuardedResponse::new(body, &parts.headers, end, call);
            Ok(Response::from_parts(parts, Body::new(body)))
        }
        Err(status) => {
            let status: Status = status;
            call.code = status.code();
            Err(status)
        }
    }
}

impl GuardState {
    fn account(&self, row: &'static Row, slot: OwnedSemaphorePermit) -> CallGuard {
        self.metrics.call_started();
        CallGuard {
            metrics: self.metrics.clone(),
            method: row.method(),
            started: Instant::now(),
            code: tonic::Code::Cancelled,
            _slot: slot,
        }
    }

    /// On whose behalf the call is, and the alias to give for its token.
    async fn behalf(
        &self,
        headers: &HeaderMap,
        connection: &Connection,
    ) -> Result<(Behalf, Option<HeaderValue>), Status> {
        let (token, alias) = (headers.get(header::AUTHORIZATION), headers.get(TOKEN_ALIAS));
        // End users come through the edge; a token that another workload holds was stolen or misused.
        if (token.is_some() || alias.is_some()) && connection.peer.workload != Workload::Gateway {
            return Err(reason::WORKLOAD_NOT_ALLOWED.status());
        }
        if let Some(token) = token {
            let verified = self.verify(token, connection.peer.workload).await?;
            let alias = connection.aliases.give(verified.clone(), self.tokens.now());
            return Ok((Behalf::User(verified.user), alias));
        }
        if let Some(alias) = alias {
            let verified = connection.aliases.verified(alias, self.tokens.now());
            let verified = verified.ok_or_else(|| reason::TOKEN_INVALID.status())?;
            if !self.tokens.still_counts(&verified).await.map_err(refusal)? {
                return Err(reason::TOKEN_INVALID.status());
            }
            return Ok((Behalf::User(verified.user), None));
        }
        if headers.get(CALLER_HEADER).is_some_and(|value| value == CALLER_WORKLOAD) {
            return Ok((Behalf::Own, None));
        }
        Ok((Behalf::Anonymous(why_no_token(headers)), None))
    }

    async fn verify(&self, authorization: &HeaderValue, peer: Workload) -> Result<Verified, Status> {
        let token = bearer(authorization.as_bytes()).ok_or_else(|| reason::TOKEN_SCHEME.status())?;
        self.tokens.verify(token, peer).await.map_err(refusal)
    }

    fn context(
        &self,
        headers: &HeaderMap,
        (row, decision): (&Row, Arc<Decision>),
        started: Instant,
    ) -> Result<Context, Status> {
        let asked = parse_timeout(headers)
            .map_err(|error| status::invalid(&portal_core::Invalid::field("grpc-timeout", error)))?;
        let allowed = match (asked, row.deadline()) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, most) => asked.or(most),
        };
        if allowed == Some(Duration::ZERO) {
            return Err(reason::DEADLINE.status());
        }
        let trace = Trace::continue_from(headers, self.entropy.as_ref());
        Ok(Context { deadline: allowed.map(|time| started + time), trace, decision })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn refusal(error: TokenError) -> Status {
    match error {
        TokenError::Refused(_) | TokenError::WrongHolder => reason::TOKEN_INVALID.status(),
        TokenError::KeysUnavailable(_) => reason::TOKEN_UNVERIFIABLE.status(),
    }
}

/// Only the gateway knows who calls it, and tells.
fn client_address(headers: &HeaderMap, peer: Workload) -> Option<IpAddr> {
    let told = headers.get(CLIENT_ADDRESS_HEADER).filter(|_| peer == Workload::Gateway)?;
    told.to_str().ok()?.parse().ok()
}

fn why_no_token(headers: &HeaderMap) -> Reason {
    match headers.get(TOKEN_ERROR_HEADER).map(HeaderValue::as_bytes) {
        Some(b"DPOP_PROOF_NEEDED") => reason::DPOP_PROOF_NEEDED,
        Some(b"DPOP_PROOF_REJECTED") => reason::DPOP_PROOF_REJECTED,
        Some(b"TOKEN_SCHEME") => reason::TOKEN_SCHEME,
        Some(b"TOKEN_INVALID") => reason::TOKEN_INVALID,
        _ => reason::TOKEN_MISSING,
    }
}

/// The token of a `Bearer` header (RFC 6750): the scheme in any case, one space, one token of visible ASCII.
#[must_use]
pub fn bearer(header: &[u8]) -> Option<&str> {
    let (scheme, token) = header.split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") || token.is_empty() || !token.iter().all(u8::is_ascii_graphic)
    {
        return None;
    }
    std::str::from_utf8(token).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_alone_says_who_calls() {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static(CLIENT_ADDRESS_HEADER),
            HeaderValue::from_static("192.0.2.1"),
        )]);
        for workload in Workload::ALL {
            let told = client_address(&headers, workload).is_some();
            assert_eq!(told, workload == Workload::Gateway, "{workload}");
        }
    }

    #[test]
    fn bearer_headers() {
        assert_eq!(bearer(b"Bearer abc"), Some("abc"));
        assert_eq!(bearer(b"bearer abc"), Some("abc"));
        for refused in [&b"Basic abc"[..], b"Bearer", b"Bearer ", b"Bearer a b", b"Bearer a\xff", b""] {
            assert_eq!(bearer(refused), None);
        }
    }
}
