//! Carries one call to the service whose method it is, and the answer back.
//!
//! Architecture invariant: a service sees the headers named in [`FORWARDED`], the exchanged token or the reason why there
//! is none, and nothing else from outside.

use std::collections::HashSet;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use portal_core::{Invalid, Workload};
use portal_mesh::MeshChannel;
use portal_mesh::context::{GRPC_TIMEOUT, ROWS_WITHHELD, TRACEPARENT, parse_timeout};
use portal_mesh::guard::{CLIENT_ADDRESS_HEADER, TOKEN_ERROR_HEADER};
use portal_mesh::status::{self, reason};
use prost_reflect::DescriptorPool;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::body::{Answer, EndOfAccess};
use crate::proof::{Asker, Shown};
use crate::reason as ours;
use crate::route::Gateway;
use crate::tokens::Credential;

/// The headers of a request that reach a service. The address of the client is not the one it may have sent: see
/// [`Gateway::serve`].
const FORWARDED: [HeaderName; 6] = [
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static(GRPC_TIMEOUT),
    HeaderName::from_static(CLIENT_ADDRESS_HEADER),
    HeaderName::from_static(TRACEPARENT),
    HeaderName::from_static("tracestate"),
];
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// What serves a method.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// The gateway itself: health and reflection.
    Local,
    /// A service of the mesh.
    Service(Workload),
}

impl Target {
    /// What serves the method at `path`, by the package of its service.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let method = path.strip_prefix('/')?;
        let prefixes = [
            ("portal.consent.", Self::Service(Workload::Consent)),
            ("portal.auth.", Self::Service(Workload::Auth)),
            ("portal.valuation.", Self::Service(Workload::Valuation)),
            ("google.longrunning.Operations/", Self::Service(Workload::Valuation)),
            ("grpc.health.v1.Health/", Self::Local),
            ("grpc.reflection.v1.ServerReflection/", Self::Local),
            (REFLECTION_ALPHA, Self::Local),
        ];
        prefixes.into_iter().find(|(prefix, _)| method.starts_with(prefix)).map(|(_, target)| target)
    }
}

/// The messages of v1 and v1alpha are the same on the wire, so one service answers both.
const REFLECTION_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection/";

/// The paths of the methods that stream, either way: their calls may last.
pub(crate) fn streams(pool: &DescriptorPool) -> HashSet<String> {
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let streaming = methods.filter(|method| method.is_client_streaming() || method.is_server_streaming());
    streaming.map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name())).collect()
}

/// The services behind the gateway.
pub(crate) struct Upstreams {
    pub(crate) auth: MeshChannel,
    pub(crate) consent: MeshChannel,
    pub(crate) valuation: MeshChannel,
    pub(crate) local: Routes,
}

impl Upstreams {
    /// The channel to each service.
    pub(crate) fn channels(&self) -> Vec<(Workload, MeshChannel)> {
        vec![
            (Workload::Auth, self.auth.clone()),
            (Workload::Consent, self.consent.clone()),
            (Workload::Valuation, self.valuation.clone()),
        ]
    }

    async fn send(&self, target: Target, request: Request<Body>) -> Result<Response<Body>, Status> {
        let channel = match target {
            Target::Service(Workload::Auth) => &self.auth,
            Target::Service(Workload::Consent) => &self.consent,
            Target::Service(Workload::Valuation) => &self.valuation,
            Target::Service(Workload::Gateway) => return Err(ours::METHOD_UNKNOWN.status()),
            Target::Local => {
                let Ok(response) = self.local.clone().oneshot(request).await;
                return Ok(response);
            }
        };
        channel.send(request).await
    }
}

impl Gateway {
    /// Calls the method at `path` with `body` (gRPC framing) and the headers of the request of `client`.
    ///
    /// # Errors
    /// What keeps the call from being answered by the service; the service's own errors are in the response.
    pub(crate) async fn forward(
        &self,
        path: &str,
        client: Asker<'_>,
        body: Body,
    ) -> Result<Response<Body>, Status> {
        let target = Target::of(path).ok_or_else(|| ours::METHOD_UNKNOWN.status())?;
        let deadline = timeout(client.headers)?.map(|timeout| Instant::now() + timeout);
        let shown = self.shown(client);
        let sent = async {
            let mut headers = forwarded(client.headers);
            if let Target::Service(workload) = target {
                self.authenticate(workload, &shown, &mut headers).await?;
            }
            self.upstreams.send(target, request(path, headers, body)?).await
        };
        // What stays open outlives the check of its token.
        let mut access = self.end_of_open(target, path, &shown);
        let response = tokio::select! {
            biased;
            response = sent => response?,
            () = until(deadline) => return Err(reason::DEADLINE.status()),
            status = whenever(access.as_mut()) => return Err(status),
        };
        let (mut parts, body) = response.into_parts();
        check(parts.status, &parts.headers)?;
        parts.headers = answered(&parts.headers);
        parts.version = Version::default();
        let body = Answer::new(body, &parts.headers, deadline, self.drain.clone(), access);
        Ok(Response::from_parts(parts, Body::new(body)))
    }

    fn end_of_open(&self, target: Target, path: &str, shown: &Shown<'_>) -> Option<EndOfAccess> {
        match target {
            Target::Service(workload) if self.streams.contains(path) => self.end_of_access(shown, workload),
            Target::Service(_) | Target::Local => None,
        }
    }

    async fn authenticate(
        &self,
        audience: Workload,
        shown: &Shown<'_>,
        headers: &mut HeaderMap,
    ) -> Result<(), Status> {
        match self.credential(shown, audience).await? {
            Credential::Bearer(authorization) => {
                headers.insert(header::AUTHORIZATION, authorization);
            }
            Credential::None => {}
            Credential::Unusable(why) => {
                headers.insert(TOKEN_ERROR_HEADER, HeaderValue::from_static(why.name));
            }
        }
        Ok(())
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn whenever(access: Option<&mut EndOfAccess>) -> Status {
    match access {
        Some(access) => access.await,
        None => std::future::pending().await,
    }
}

/// The time that the client gives the call.
///
/// # Errors
/// INVALID_ARGUMENT naming the header.
pub(crate) fn timeout(client: &HeaderMap) -> Result<Option<Duration>, Status> {
    parse_timeout(client).map_err(|error| status::invalid(&Invalid::field(GRPC_TIMEOUT, error)))
}

fn request(path: &str, headers: HeaderMap, body: Body) -> Result<Request<Body>, Status> {
    let path = match path.strip_prefix('/').and_then(|path| path.strip_prefix(REFLECTION_ALPHA)) {
        Some(method) => PathAndQuery::try_from(format!("/grpc.reflection.v1.ServerReflection/{method}")),
        None => PathAndQuery::try_from(path),
    };
    let path = path.map_err(|_| ours::METHOD_UNKNOWN.status())?;
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = Uri::from(path);
    *request.headers_mut() = headers;
    Ok(request)
}

fn forwarded(client: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(FORWARDED.len() + 4);
    headers.insert(header::CONTENT_TYPE, GRPC);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    for name in FORWARDED {
        if let Some(value) = client.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers
}

/// The headers of a service's answer that reach the client.
fn answered(headers: &HeaderMap) -> HeaderMap {
    let passes = |name: &HeaderName| {
        name == header::CONTENT_TYPE || name == ROWS_WITHHELD || name.as_str().starts_with("grpc-")
    };
    let kept = headers.iter().filter(|(name, _)| passes(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A service answers 200 whatever the outcome; another status is of the HTTP layer before it.
fn check(http: StatusCode, headers: &HeaderMap) -> Result<(), Status> {
    if http == StatusCode::OK || headers.contains_key(Status::GRPC_STATUS) {
        return Ok(());
    }
    tracing::warn!(status = http.as_u16(), "a service answered with an HTTP status");
    match http {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(reason::UPSTREAM_UNAVAILABLE.status()),
        _ => Err(reason::INTERNAL.status()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn targets_follow_the_package() {
        let check = |path: &str, expect| assert_eq!(Target::of(path), expect, "{path}");
        check("/portal.consent.v1.ConsentService/GiveConsent", Some(Target::Service(Workload::Consent)));
        check("/portal.auth.v1.TokenService/GetKeySet", Some(Target::Service(Workload::Auth)));
        check("/portal.valuation.v1.DatasetService/GetDataset", Some(Target::Service(Workload::Valuation)));
        check("/google.longrunning.Operations/GetOperation", Some(Target::Service(Workload::Valuation)));
        check("/grpc.health.v1.Health/Check", Some(Target::Local));
        check("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Some(Target::Local));
        check("/google.longrunning.Other/X", None);
        check("/portal.consentx/X", None);
        check("portal.consent.v1.X/Y", None);
    }

    #[test]
    fn only_listed_headers_pass() {
        let mut client = HeaderMap::new();
        for name in
            ["portal-caller", "portal-token-error", "cookie", "user-agent", "x-data-bin", "traceparent"]
        {
            client.insert(HeaderName::from_static(name), HeaderValue::from_static("workload"));
        }
        client.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer forged"));
        let headers = forwarded(&client);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "te", "traceparent"]);

        let mut service = HeaderMap::new();
        for name in ["content-type", "grpc-status", "portal-rows-withheld", "portal-caller", "server", "date"]
        {
            service.insert(HeaderName::from_static(name), HeaderValue::from_static("7"));
        }
        let headers = answered(&service);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "grpc-status", "portal-rows-withheld"]);
    }
}
