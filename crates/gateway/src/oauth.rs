//! OAuth 2.1 and OpenID Connect at `/oauth2/…`: HTTP in the form of the protocols here, decisions in auth.
//!
//! Two kinds of callers: applications at `token`, `introspect`, `revoke`, `par` and `userinfo`, who are answered in JSON; and
//! people's browsers at `authorize` and the pages it leads to, who are answered in HTML that works without a script.
//!
//! Invariants: a page is shown to nobody's frame and takes forms of this origin only; a browser's handles are in cookies that
//! no script reads and no other host gets; what a browser is sent to comes from auth, which compares it with what the client
//! registered.

mod browser;
pub(crate) mod cookie;
mod device;
mod discovery;
mod endpoint;
mod form;
pub(crate) mod page;

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use portal_core::Workload;
use portal_mesh::MeshChannel;
use portal_mesh::guard::CLIENT_ADDRESS_HEADER;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::o_auth_service_client::OAuthServiceClient;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::{Request as Call, Status};

use self::cookie::Renewal;
use crate::body::RequestBody;
use crate::json::DEFAULT_DEADLINE;
use crate::route::Gateway;

pub(crate) use discovery::{PATHS as DISCOVERY_PATHS, respond as discovery};

/// What stands before the path of every endpoint.
pub(crate) const PREFIX: &str = "/oauth2/";
/// The endpoints that people's browsers come to.
const PAGES: [&str; 6] = ["authorize", "sign-in", "second-factor", "consent", "device", "logout"];
/// Largest form: parameters of the protocols are short.
const MAX_FORM_BYTES: u64 = 64 * 1_024;

/// The gateway as browsers and clients know it: `https://portal.example.org`, without a slash at the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicUrl(String);

/// The text can't be the gateway's URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be https://host or https://host:port, or http on loopback, without a path")]
pub struct InvalidPublicUrl;

impl PublicUrl {
    /// Reads a configured URL.
    ///
    /// # Errors
    /// [`InvalidPublicUrl`]: without encryption it can only be the own machine's, and a path would not be served.
    pub fn parse(text: &str) -> Result<Self, InvalidPublicUrl> {
        let uri: http::Uri = text.parse().map_err(|_| InvalidPublicUrl)?;
        let (scheme, host) = uri.scheme_str().zip(uri.host()).ok_or(InvalidPublicUrl)?;
        let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        let encrypted = scheme == "https" || scheme == "http" && loopback;
        let authority = uri.authority().ok_or(InvalidPublicUrl)?;
        let same = text == format!("{scheme}://{authority}").to_ascii_lowercase();
        if encrypted && same { Ok(Self(text.to_owned())) } else { Err(InvalidPublicUrl) }
    }

    /// The configured URL, or that of a gateway that only its own machine reaches.
    ///
    /// # Errors
    /// [`InvalidPublicUrl`] if one is configured that can't be it.
    pub fn of(
        configured: Option<&str>,
        address: SocketAddr,
        secure: bool,
    ) -> Result<Option<Self>, InvalidPublicUrl> {
        let scheme = if secure { "https" } else { "http" };
        match configured {
            Some(url) => Self::parse(url).map(Some),
            None => Ok(address.ip().is_loopback().then(|| Self(format!("{scheme}://{address}")))),
        }
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What one request asks of the endpoints.
struct Asked {
    method: Method,
    endpoint: String,
    headers: HeaderMap,
    query: String,
    body: Incoming,
}

impl Gateway {
    /// Answers a request under [`PREFIX`].
    pub(crate) async fn serve_oauth(&self, request: Request<Incoming>) -> Response<Body> {
        let Some(issuer) = &self.public_url else { return endpoint::not_configured() };
        let (parts, body) = request.into_parts();
        let asked = Asked {
            endpoint: parts.uri.path().strip_prefix(PREFIX).unwrap_or_default().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            method: parts.method,
            headers: parts.headers,
            body,
        };
        let is_page = PAGES.contains(&asked.endpoint.as_str());
        let renewal = Renewal::default();
        let answered = async {
            match asked.endpoint.as_str() {
                "token" | "introspect" | "revoke" | "par" | "device_authorization" => {
                    endpoint::serve(self, issuer, asked).await
                }
                "userinfo" => endpoint::user_info(self, &asked).await,
                _ if is_page => browser::serve(self, issuer, asked, &renewal).await,
                _ => endpoint::unknown(),
            }
        };
        let answered = tokio::time::timeout(DEFAULT_DEADLINE, answered).await;
        let mut response =
            answered.unwrap_or_else(|_| if is_page { browser::overdue() } else { endpoint::overdue() });
        let headers = response.headers_mut();
        renewal.tell(self.tokens.now(), headers);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Not less: without it a browser says of our own forms that they come from nowhere.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        response
    }

    /// The endpoints of auth, called as the gateway.
    fn oauth(&self) -> OAuthServiceClient<MeshChannel> {
        OAuthServiceClient::new(self.upstreams.auth.as_workload())
    }

    /// A call to auth on behalf of whoever holds `access`, or of nobody, at the client's address.
    async fn call<T>(
        &self,
        headers: &HeaderMap,
        access: Option<&str>,
        message: T,
    ) -> Result<Call<T>, Status> {
        let authorization = match access {
            Some(access) => Some(self.tokens.bearer(access, Workload::Auth).await?),
            None => None,
        };
        Self::call_as(headers, authorization.as_ref(), message)
    }

    /// A call to auth with this token of the mesh.
    fn call_as<T>(
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
        message: T,
    ) -> Result<Call<T>, Status> {
        let mut call = Call::new(message);
        call.set_timeout(DEFAULT_DEADLINE);
        let address = headers.get(CLIENT_ADDRESS_HEADER).and_then(|value| value.to_str().ok());
        if let Some(address) = address.and_then(|address| MetadataValue::try_from(address).ok()) {
            call.metadata_mut().insert(CLIENT_ADDRESS_HEADER, address);
        }
        if let Some(bearer) = authorization {
            let bearer = bearer.to_str().ok().and_then(|bearer| MetadataValue::try_from(bearer).ok());
            let bearer = bearer.ok_or_else(|| portal_mesh::status::reason::INTERNAL.status())?;
            call.metadata_mut().insert("authorization", bearer);
        }
        Ok(call)
    }
}

impl Asked {
    /// The parameters of a form (RFC 6749, appendix B), or of the query of a GET.
    async fn parameters(self) -> Result<(HeaderMap, form::Parameters), form::Unusable> {
        if self.method != Method::POST {
            return Ok((self.headers, form::read(self.query.as_bytes())?));
        }
        if !form::is_form(&self.headers) {
            return Err(form::Unusable::ContentType);
        }
        let body = RequestBody::bounded(self.body, MAX_FORM_BYTES).read().await;
        Ok((self.headers, form::read(&body.map_err(|_| form::Unusable::TooLarge)?)?))
    }
}

/// Sends the browser on, always with GET.
fn see_other(uri: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().extend(HeaderValue::try_from(uri).map(|uri| (header::LOCATION, uri)));
    response
}

fn wire(parameters: form::Parameters) -> Vec<pb::Parameter> {
    parameters.into_iter().map(|(name, value)| pb::Parameter { name, value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_encrypted_or_of_this_machine() {
        for good in [
            "https://portal.example.org",
            "https://portal.example.org:8443",
            "http://127.0.0.1:8080",
            "http://localhost:1",
        ] {
            assert!(PublicUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://portal.example.org",
            "https://portal.example.org/",
            "https://portal.example.org/portal",
            "https://Portal.example.org",
            "portal.example.org",
            "ftp://127.0.0.1",
            "",
        ] {
            assert_eq!(PublicUrl::parse(bad), Err(InvalidPublicUrl), "{bad}");
        }
    }
}
