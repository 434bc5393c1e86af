//! Cross-origin calls: the origins that the configuration names, and no other.
//!
//! The console comes from the gateway's own origin and needs nothing of this. Cookies are read by the pages under `/oauth2/` alone,
//! and no answer allows them across origins, so a page of another origin that is not named here can neither use a visitor's
//! session nor read an answer.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tonic::body::Body;

/// How long a browser may remember a preflight's answer, in seconds.
const MAX_AGE: &str = "7200";
const ALLOW_METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
const ALLOW_HEADERS: &str = "authorization, content-type, dpop, grpc-timeout, traceparent, tracestate, x-grpc-web, \
                             x-user-agent, connect-protocol-version, connect-timeout-ms";
const EXPOSE_HEADERS: &str = "dpop-nonce, grpc-status, grpc-message, grpc-status-details-bin, portal-rows-withheld, retry-after, www-authenticate";

/// An entry of `edge.cors_origins` is no origin.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "'{0}' is not an origin: scheme, host and port if it is not the usual one, such as https://app.example.org"
)]
pub struct InvalidOrigin(String);

/// The origins that may call.
pub(crate) struct Cors(Vec<HeaderValue>);

impl Cors {
    pub(crate) fn new(origins: &[String]) -> Result<Self, InvalidOrigin> {
        let parse = |text: &String| {
            let invalid = || InvalidOrigin(text.clone());
            let uri: Uri = text.parse().map_err(|_| invalid())?;
            let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
            let (scheme, authority) = scheme.zip(uri.authority()).ok_or_else(invalid)?;
            // Browsers send exactly this form: no path, no slash at the end, lower case.
            if *text != format!("{scheme}://{authority}").to_ascii_lowercase() {
                return Err(invalid());
            }
            HeaderValue::from_str(text).map_err(|_| invalid())
        };
        Ok(Self(origins.iter().map(parse).collect::<Result<_, _>>()?))
    }

    /// The request's origin, if it may call.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.0.iter().find(|allowed| *allowed == origin).cloned()
    }

    /// Lets a page of `origin` read the answer.
    pub(crate) fn expose(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSE_HEADERS));
        }
    }
}

/// Whether the request is a preflight.
pub(crate) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight: what an allowed origin may send; nothing for another.
pub(crate) fn preflight(allowed: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if allowed {
        let headers: [(HeaderName, &'static str); 3] = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ];
        response.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_origins_are_origins() {
        let check = |text: &str, ok| assert_eq!(Cors::new(&[text.to_owned()]).is_ok(), ok, "{text}");
        check("https://app.example.org", true);
        check("http://localhost:5173", true);
        check("https://app.example.org/", false);
        check("https://app.example.org/x", false);
        check("https://App.example.org", false);
        check("app.example.org", false);
        check("*", false);
        check("ftp://app.example.org", false);
    }
}
