//! JSON over HTTP by the `google.api.http` rules of the protos, and the proto3 JSON mapping.
//!
//! The rules are read once from the descriptors; each request becomes one gRPC call with the same checks, token and
//! deadline as any other. A server stream is answered as newline-delimited JSON; if it breaks off, its last line is
//! `{"error": …}` with the status.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use hyper::body::Incoming;
use portal_core::Invalid;
use portal_mesh::context::{GRPC_TIMEOUT, timeout_header};
use portal_mesh::status::{self, reason};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, Value};
use serde_json::json;
use tonic::Status;
use tonic::body::Body;

use crate::body::{MAX_BODY_BYTES, RequestBody};
use crate::forward::timeout;
use crate::proof::Asker;
use crate::reason as ours;
use crate::route::{Gateway, content_type};
use crate::service::StartError;

mod binding;
mod body;
mod browser;
mod error;
mod query;
mod reply;
pub(crate) mod template;

use binding::{Binding, BodyRule};
use browser::Cookies;
use query::Gathered;
use reply::Reply;
use template::Path;

/// How long a JSON call may take if the client does not say.
pub(crate) const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// The rules of all methods, in the order in which they are tried.
pub(crate) struct Transcoder {
    pool: DescriptorPool,
    bindings: Vec<Binding>,
}

/// What answers a path.
enum Found<'a> {
    Binding(&'a Binding),
    /// Other HTTP methods do; those.
    Other(String),
    Nothing,
}

impl Transcoder {
    pub(crate) fn new(pool: DescriptorPool) -> Result<Self, StartError> {
        let bindings = binding::read(&pool)?;
        Ok(Self { pool, bindings })
    }

    fn find(&self, method: &Method, path: &Path<'_>) -> Found<'_> {
        let mut others: Vec<&str> = Vec::new();
        for binding in self.bindings.iter().filter(|binding| binding.template.matches(path)) {
            if binding.method == *method {
                return Found::Binding(binding);
            }
            if !others.contains(&binding.method.as_str()) {
                others.push(binding.method.as_str());
            }
        }
        if others.is_empty() { Found::Nothing } else { Found::Other(others.join(", ")) }
    }

    /// An error as JSON.
    pub(crate) fn refuse(&self, status: &Status, http: Option<StatusCode>) -> Response<Body> {
        let too_large = status::reason_of(status).is_some_and(|reason| reason == ours::BODY_TOO_LARGE.name);
        error::respond(&self.pool, status, http.or(too_large.then_some(StatusCode::PAYLOAD_TOO_LARGE)))
    }
}

impl Gateway {
    /// Answers a request under `/v1/`.
    pub(crate) async fn serve_json(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let path = Path::parse(&path);
        let binding = match self.json.find(request.method(), &path) {
            Found::Binding(binding) => binding,
            Found::Other(allow) => {
                let status = ours::VERB_NOT_ALLOWED.status();
                let mut response = self.json.refuse(&status, Some(StatusCode::METHOD_NOT_ALLOWED));
                response
                    .headers_mut()
                    .extend(HeaderValue::try_from(allow).map(|allow| (header::ALLOW, allow)));
                return response;
            }
            Found::Nothing => return self.json.refuse(&ours::PATH_UNKNOWN.status(), None),
        };
        if binding.body != BodyRule::None && !is_json(request.headers()) {
            let status = ours::CONTENT_TYPE_UNKNOWN.status();
            return self.json.refuse(&status, Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let cookies = match self.cookies(binding, request.headers()) {
            Ok(cookies) => cookies,
            Err(status) => return self.json.refuse(&status, None),
        };
        match self.call_json((binding, cookies.as_ref()), &path, request).await {
            Ok(response) => response,
            Err(status) => {
                let mut response = self.json.refuse(&status, None);
                if let Some(cookies) = &cookies {
                    cookies.refused(&status, response.headers_mut());
                }
                response
            }
        }
    }

    async fn call_json(
        &self,
        (binding, cookies): (&Binding, Option<&Cookies>),
        path: &Path<'_>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Status> {
        let (mut parts, incoming) = request.into_parts();
        let asked = timeout(&parts.headers)?;
        // The reply is read here, so how it may be compressed is not the client's to say.
        parts.headers.remove("grpc-encoding");
        parts.headers.remove("grpc-accept-encoding");
        // A stream stays open until its end; what goes before its first byte is bounded like any call.
        let limit = asked.unwrap_or(DEFAULT_DEADLINE);
        if !binding.streaming
            && let Some(value) = timeout_header(limit)
        {
            parts.headers.insert(GRPC_TIMEOUT, value);
        }
        let called = async {
            let body = RequestBody::bounded(incoming, MAX_BODY_BYTES).read().await?;
            let mut message = binding.message(path, parts.uri.query(), &body)?;
            if let Some(cookies) = cookies {
                cookies.complete(&mut message)?;
            }
            let framed = Body::new(Full::new(reply::frame(&message)));
            let asker = Asker { method: &parts.method, path: parts.uri.path(), headers: &parts.headers };
            let response = self.forward(&binding.rpc, asker, framed).await?;
            let reply = Reply::new(response)?;
            if binding.streaming {
                Ok(self.stream(binding, reply))
            } else {
                unary(binding, reply, cookies).await
            }
        };
        tokio::time::timeout(limit, called).await.map_err(|_| reason::DEADLINE.status())?
    }

    fn stream(&self, binding: &Binding, reply: Reply) -> Response<Body> {
        let (output, pool) = (binding.output.clone(), self.json.pool.clone());
        let lines = stream::unfold(Some(reply), move |reply| {
            let (output, pool) = (output.clone(), pool.clone());
            async move {
                let mut reply = reply?;
                let line = match reply.next().await {
                    Ok(None) => return None,
                    Ok(Some(message)) => to_json(&output, &message, None),
                    Err(status) => Err(status),
                };
                let (mut line, rest) = match line {
                    Ok(line) => (line, Some(reply)),
                    Err(status) => {
                        (json!({ "error": error::to_json(&pool, &status) }).to_string().into_bytes(), None)
                    }
                };
                line.push(b'\n');
                Some((Ok::<_, Status>(Frame::data(Bytes::from(line))), rest))
            }
        });
        answer("application/x-ndjson", Body::new(StreamBody::new(Box::pin(lines))))
    }
}

/// A body may come without a type, but not with another one.
fn is_json(headers: &HeaderMap) -> bool {
    matches!(content_type(headers).as_str(), "" | "application/json")
}

async fn unary(
    binding: &Binding,
    mut reply: Reply,
    cookies: Option<&Cookies>,
) -> Result<Response<Body>, Status> {
    let mut message = reply.next().await?.ok_or_else(|| reason::INTERNAL.status())?;
    // The status is in the trailers: an error there makes the message void.
    if reply.next().await?.is_some() {
        return Err(reason::INTERNAL.status());
    }
    let mut kept = HeaderMap::new();
    if let Some(cookies) = cookies {
        message = cookies.keep(&message, &binding.rpc, &mut kept)?.into();
    }
    let json = to_json(&binding.output, &message, binding.response_body.as_deref())?;
    let mut answer = answer("application/json", Body::new(Full::from(json)));
    answer.headers_mut().extend(kept);
    reply.tell(&mut answer);
    Ok(answer)
}

fn answer(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A message of a service as JSON, or one field of it.
fn to_json(message: &MessageDescriptor, bytes: &[u8], field: Option<&str>) -> Result<Vec<u8>, Status> {
    let unreadable = |error: &dyn std::error::Error| {
        tracing::error!(message = message.full_name(), %error, "an answer can't be written as JSON");
        reason::INTERNAL.status()
    };
    let message = DynamicMessage::decode(message.clone(), bytes).map_err(|error| unreadable(&error))?;
    let field = field.and_then(|field| message.get_field_by_name(field));
    let json = match field.as_deref() {
        Some(Value::Message(field)) => serde_json::to_vec(field),
        _ => serde_json::to_vec(&message),
    };
    json.map_err(|error| unreadable(&error))
}

impl Binding {
    /// The request's message, from path, query and body.
    fn message(&self, path: &Path<'_>, query: Option<&str>, body: &[u8]) -> Result<DynamicMessage, Status> {
        let not_utf8 = |_| ours::UTF8_INVALID.status();
        let mut gathered = Gathered::new(self.input.clone());
        for (field, value) in self.template.values(path).map_err(not_utf8)? {
            gathered.put(field, &value);
        }
        for (name, value) in query::parameters(query.unwrap_or_default()).map_err(not_utf8)? {
            match self.place(&name) {
                Ok(()) => gathered.put(&name, &value),
                Err(problem) => gathered.refuse(&name, problem),
            }
        }
        let parameters = gathered.finish().map_err(|invalid| status::invalid(&invalid))?;
        let parameters = body::from_parameters(&self.input, parameters)?;
        let mut message = self.body(body)?;
        self.check_agreement(&message, &parameters)?;
        message.merge(parameters.encode_to_vec().as_slice()).map_err(|_| reason::INTERNAL.status())?;
        Ok(message)
    }

    /// Whether the parameter `name` may be in the query: not what the path or the body gives.
    fn place(&self, name: &str) -> Result<(), &'static str> {
        let first = name.split('.').next().unwrap_or_default();
        let canonical = query::field(&self.input, first);
        let canonical = canonical.as_ref().map_or(first, |field| field.name());
        if self.template.fields().any(|field| field == name || field == canonical) {
            return Err("is given in the path");
        }
        match &self.body {
            BodyRule::Whole => Err("belongs in the body"),
            BodyRule::Field(field) if field.name() == canonical => Err("belongs in the body"),
            BodyRule::Field(_) | BodyRule::None => Ok(()),
        }
    }

    fn body(&self, body: &[u8]) -> Result<DynamicMessage, Status> {
        match &self.body {
            BodyRule::Whole => body::parse(&self.input, body),
            BodyRule::None if body.is_empty() => Ok(DynamicMessage::new(self.input.clone())),
            BodyRule::None => Err(status::invalid(&Invalid::field(
                "",
                "this method takes no body; use the path and the query",
            ))),
            BodyRule::Field(field) => {
                let mut message = DynamicMessage::new(self.input.clone());
                if let prost_reflect::Kind::Message(inner) = field.kind() {
                    message.set_field(field, Value::Message(body::parse(&inner, body)?));
                }
                Ok(message)
            }
        }
    }

    /// A field that both the path and the body give must be the same in both.
    fn check_agreement(&self, body: &DynamicMessage, parameters: &DynamicMessage) -> Result<(), Status> {
        for path in self.template.fields() {
            if let (Some(in_body), Some(in_path)) = (value_at(body, path), value_at(parameters, path))
                && in_body != in_path
            {
                return Err(status::invalid(&Invalid::field(
                    path,
                    "must be the same in the path and the body",
                )));
            }
        }
        Ok(())
    }
}

/// The value of a field or field of fields, if it is set.
fn value_at(message: &DynamicMessage, path: &str) -> Option<Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message.descriptor().get_field_by_name(first)?;
    if !message.has_field(&field) {
        return None;
    }
    let value = message.get_field(&field);
    match (rest, value.as_ref()) {
        (None, value) => Some(value.clone()),
        (Some(rest), Value::Message(inner)) => value_at(inner, rest),
        (Some(_), _) => None,
    }
}
