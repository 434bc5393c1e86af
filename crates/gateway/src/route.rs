//! Which protocol a request speaks, and what answers it.

use std::collections::HashSet;
use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use portal_mesh::Drain;
use portal_mesh::guard::CLIENT_ADDRESS_HEADER;
use tonic::Status;
use tonic::body::Body;

use crate::body::RequestBody;
use crate::client::TrustedProxies;
use crate::forward::{Target, Upstreams};
use crate::json::Transcoder;
use crate::mailbox::Mailbox;
use crate::metrics::{GatewayMetrics, Protocol};
use crate::oauth::PublicUrl;
use crate::proof::{Asker, Proofs};
use crate::tokens::Tokens;
use crate::web::Mode;
use crate::{console, cors, keyset, mailbox, oauth, reason, web};

/// A browser that was here over TLS comes back over TLS only, for a year.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Everything a request needs.
pub(crate) struct Gateway {
    pub(crate) upstreams: Upstreams,
    pub(crate) tokens: Tokens,
    pub(crate) json: Transcoder,
    pub(crate) cors: cors::Cors,
    pub(crate) proxies: TrustedProxies,
    pub(crate) metrics: GatewayMetrics,
    pub(crate) proofs: Proofs,
    pub(crate) public_url: Option<PublicUrl>,
    /// The mails that this portal does not send.
    pub(crate) mailbox: Option<Mailbox>,
    /// The methods whose calls may last.
    pub(crate) streams: HashSet<String>,
    /// Whether clients come over TLS.
    pub(crate) secure: bool,
    pub(crate) drain: Drain,
}

/// What answers a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Route {
    Asset,
    Discovery,
    Grpc,
    Json,
    KeySet,
    Mailbox,
    OAuth,
    Preflight,
    Refused(Refused),
    Web(Mode),
}

/// A request that no protocol here allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Refused {
    ContentType,
    Http1,
    Path,
    Verb(&'static str),
}

impl Route {
    fn of<B>(request: &Request<B>) -> Self {
        let (method, path) = (request.method(), request.uri().path());
        if cors::is_preflight(request) {
            return Self::Preflight;
        }
        if path.starts_with("/v1/") {
            return Self::Json;
        }
        if path.starts_with(oauth::PREFIX) {
            return Self::OAuth;
        }
        let content_type = content_type(request.headers());
        if content_type.starts_with("application/grpc") || Target::of(path).is_some() {
            return Self::rpc(method, request.version(), &content_type);
        }
        match *method {
            Method::GET if path == keyset::PATH => Self::KeySet,
            Method::GET if path.starts_with(mailbox::PATH) => Self::Mailbox,
            Method::GET if oauth::DISCOVERY_PATHS.contains(&path) => Self::Discovery,
            Method::GET | Method::HEAD => Self::Asset,
            // A path that looks like a method's, of a service that is not here.
            Method::POST if path.matches('/').count() == 2 && path.contains('.') => {
                Self::Refused(Refused::ContentType)
            }
            _ if path == "/" || path == keyset::PATH => Self::Refused(Refused::Verb("GET, HEAD")),
            _ => Self::Refused(Refused::Path),
        }
    }

    fn rpc(method: &Method, version: Version, content_type: &str) -> Self {
        if *method != Method::POST {
            return Self::Refused(Refused::Verb("POST"));
        }
        match (content_type, Mode::of(content_type)) {
            (_, Some(mode)) => Self::Web(mode),
            ("application/grpc" | "application/grpc+proto", _) if version == Version::HTTP_2 => Self::Grpc,
            ("application/grpc" | "application/grpc+proto", _) => Self::Refused(Refused::Http1),
            _ => Self::Refused(Refused::ContentType),
        }
    }

    const fn protocol(self) -> Protocol {
        match self {
            Self::Asset | Self::Discovery | Self::KeySet | Self::Mailbox => Protocol::Asset,
            Self::OAuth => Protocol::OAuth,
            Self::Grpc => Protocol::Grpc,
            Self::Json => Protocol::Json,
            Self::Preflight => Protocol::Preflight,
            Self::Refused(_) => Protocol::Refused,
            Self::Web(_) => Protocol::GrpcWeb,
        }
    }
}

/// The content type without parameters, in lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

impl Gateway {
    /// Answers a request that came from `peer`, whatever it is.
    pub(crate) async fn serve(&self, peer: IpAddr, mut request: Request<Incoming>) -> Response<Body> {
        // In the place of any that came with it.
        let client = self.proxies.client(peer, request.headers()).to_string();
        if let Ok(client) = HeaderValue::try_from(client) {
            request.headers_mut().insert(CLIENT_ADDRESS_HEADER, client);
        }
        let route = Route::of(&request);
        self.metrics.request(route.protocol());
        let origin = self.cors.allowed(request.headers());
        let mut response = match route {
            Route::Asset => self.asset(&request),
            Route::Discovery => match &self.public_url {
                Some(issuer) => oauth::discovery(issuer),
                None => self.refuse(Refused::Path),
            },
            Route::Grpc => self.serve_grpc(request).await,
            Route::Json => self.serve_json(request).await,
            Route::KeySet => {
                let answered = self.key_set().await;
                answered.unwrap_or_else(|status| self.json.refuse(&status, None))
            }
            Route::Mailbox => {
                let page = self.mailbox(peer, &request).await;
                page.unwrap_or_else(|| self.refuse(Refused::Path))
            }
            Route::OAuth => self.serve_oauth(request).await,
            Route::Preflight => cors::preflight(origin.is_some()),
            Route::Refused(refused) => self.refuse(refused),
            Route::Web(mode) => self.serve_web(request, mode).await,
        };
        let headers = response.headers_mut();
        self.cors.expose(origin, headers);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.secure {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
        }
        response
    }

    async fn serve_grpc(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = Body::new(RequestBody::unbounded(body));
        let asker = Asker { method: &parts.method, path: parts.uri.path(), headers: &parts.headers };
        let answered = self.forward(parts.uri.path(), asker, body).await;
        answered.unwrap_or_else(Status::into_http)
    }

    fn asset(&self, request: &Request<Incoming>) -> Response<Body> {
        let found = console::file(request.method(), request.uri().path(), request.headers());
        found.unwrap_or_else(|| self.refuse(Refused::Path))
    }

    fn refuse(&self, refused: Refused) -> Response<Body> {
        let answer = |status: Status, http| self.json.refuse(&status, Some(http));
        match refused {
            Refused::ContentType => answer(web::unknown_type(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Refused::Http1 => answer(reason::HTTP2_NEEDED.status(), StatusCode::BAD_REQUEST),
            Refused::Path => answer(reason::PATH_UNKNOWN.status(), StatusCode::NOT_FOUND),
            Refused::Verb(allow) => {
                let status = reason::VERB_NOT_ALLOWED.status();
                let mut response = answer(status, StatusCode::METHOD_NOT_ALLOWED);
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
                response
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn routes() {
        let rpc = "/portal.auth.v1.TokenService/GetKeySet";
        let check = |method: &str, path: &str, content_type: &str, version: Version, expect: Route| {
            let builder = Request::builder().method(method).uri(path).version(version);
            let request = builder.header(header::CONTENT_TYPE, content_type).body(()).unwrap();
            assert_eq!(Route::of(&request), expect, "{method} {path} {content_type}");
        };
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        check("POST", rpc, "application/grpc", two, Route::Grpc);
        check("POST", rpc, "application/grpc+proto", two, Route::Grpc);
        check("POST", rpc, "application/grpc", one, Route::Refused(Refused::Http1));
        check("POST", rpc, "application/grpc-web", one, Route::Web(Mode::Binary));
        check("POST", rpc, "Application/gRPC-Web-Text+proto; charset=utf-8", two, Route::Web(Mode::Text));
        check("POST", "/unknown.Service/Method", "application/grpc", two, Route::Grpc);
        check("POST", rpc, "application/grpc-web+json", one, Route::Refused(Refused::ContentType));
        check("POST", rpc, "text/plain", one, Route::Refused(Refused::ContentType));
        check("POST", "/unknown.Service/Method", "text/plain", one, Route::Refused(Refused::ContentType));
        check("GET", rpc, "", one, Route::Refused(Refused::Verb("POST")));
        check("PUT", rpc, "application/grpc-web", one, Route::Refused(Refused::Verb("POST")));
        check("POST", "/v1/sessions", "application/json", one, Route::Json);
        check("GET", "/v1/purposes", "", one, Route::Json);
        check("GET", "/", "", one, Route::Asset);
        check("POST", "/", "", one, Route::Refused(Refused::Verb("GET, HEAD")));
        check("GET", "/.well-known/jwks.json", "", one, Route::KeySet);
        check("GET", "/.well-known/openid-configuration", "", one, Route::Discovery);
        check("GET", "/oauth2/authorize", "", one, Route::OAuth);
        check("POST", "/oauth2/token", "application/x-www-form-urlencoded", two, Route::OAuth);
        check("DELETE", "/nothing", "", one, Route::Refused(Refused::Path));
    }
}
