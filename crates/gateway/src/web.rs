//! gRPC-Web: the same bytes as gRPC, with the trailers as a last frame of the body, and all of it in base64 in text mode.
//!
//! Messages pass through unread. Every answer carries its status in the trailer frame, also one that a service gave in
//! its headers alone, so a browser reads it the same way each time and needs no exposed header for it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use portal_mesh::status::reason;
use tonic::Status;
use tonic::body::Body;

use crate::body::{Fault, MAX_BODY_BYTES, RequestBody};
use crate::proof::Asker;
use crate::reason as ours;
use crate::route::Gateway;

/// First byte of the frame that holds the trailers.
const TRAILERS: u8 = 0x80;

/// How a gRPC-Web body is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Binary,
    Text,
}

impl Mode {
    /// The mode that a content type (without parameters) names.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        match content_type {
            "application/grpc-web" | "application/grpc-web+proto" => Some(Self::Binary),
            "application/grpc-web-text" | "application/grpc-web-text+proto" => Some(Self::Text),
            _ => None,
        }
    }

    /// The mode of the answer: what the client accepts, else as it asked.
    fn of_answer(self, headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let media_type = |part: &str| part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        accept.split(',').find_map(|part| Self::of(&media_type(part))).unwrap_or(self)
    }

    const fn content_type(self) -> HeaderValue {
        match self {
            Self::Binary => HeaderValue::from_static("application/grpc-web+proto"),
            Self::Text => HeaderValue::from_static("application/grpc-web-text+proto"),
        }
    }

    fn write(self, data: Bytes) -> Bytes {
        match self {
            Self::Binary => data,
            Self::Text => STANDARD.encode(data).into(),
        }
    }
}

impl Gateway {
    /// Answers a gRPC-Web request.
    pub(crate) async fn serve_web(&self, request: Request<Incoming>, mode: Mode) -> Response<Body> {
        let answer = mode.of_answer(request.headers());
        match self.call_web(request, mode).await {
            Ok(response) => respond(response, answer),
            Err(status) => refuse(&status, answer),
        }
    }

    async fn call_web(&self, request: Request<Incoming>, mode: Mode) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let limit = match mode {
            Mode::Binary => MAX_BODY_BYTES,
            Mode::Text => MAX_BODY_BYTES.div_ceil(3) * 4,
        };
        let body = RequestBody::bounded(body, limit);
        body.check_length()?;
        let fault = body.fault();
        let body = match mode {
            Mode::Binary => Body::new(body),
            Mode::Text => {
                Body::new(Decoded { inner: body, undecoded: BytesMut::new(), fault: fault.clone() })
            }
        };
        let asker = Asker { method: &parts.method, path: parts.uri.path(), headers: &parts.headers };
        let answered = self.forward(parts.uri.path(), asker, body).await;
        // The service sees a fault of the body as a client that went away: the fault is the better answer.
        fault.get().map_or(answered, Err)
    }
}

/// A gRPC answer as a gRPC-Web answer.
fn respond(response: Response<Body>, mode: Mode) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let mut trailers = HeaderMap::new();
    for name in [Status::GRPC_STATUS, Status::GRPC_MESSAGE, Status::GRPC_STATUS_DETAILS] {
        trailers.extend(parts.headers.remove(&name).map(|value| (name, value)));
    }
    parts.headers.insert(header::CONTENT_TYPE, mode.content_type());
    Response::from_parts(parts, Body::new(Encoded { inner: Some(body), trailers, mode }))
}

/// An error of the gateway as a gRPC-Web answer.
pub(crate) fn refuse(status: &Status, mode: Mode) -> Response<Body> {
    respond(status.clone().into_http(), mode)
}

/// An answer's body in gRPC-Web framing.
struct Encoded {
    inner: Option<Body>,
    /// What the headers already said, for the trailer frame.
    trailers: HeaderMap,
    mode: Mode,
}

impl Encoded {
    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.inner = None;
        if !self.trailers.contains_key(Status::GRPC_STATUS) {
            reason::INTERNAL.status().add_header(&mut self.trailers)?;
        }
        Poll::Ready(Some(Ok(Frame::data(self.mode.write(trailer_frame(&self.trailers))))))
    }
}

impl HttpBody for Encoded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(inner).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(status)) => {
                status.add_header(&mut self.trailers)?;
                return self.end();
            }
            None => return self.end(),
        };
        match frame.into_data() {
            Ok(data) => Poll::Ready(Some(Ok(Frame::data(self.mode.write(data))))),
            Err(frame) => {
                self.trailers.extend(frame.into_trailers().unwrap_or_default());
                self.end()
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none()
    }
}

/// `name: value` lines in a frame of their own.
fn trailer_frame(trailers: &HeaderMap) -> Bytes {
    let length: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(TRAILERS);
    // Headers are bounded by 16 KiB, far below what the prefix can count.
    frame.put_u32(u32::try_from(length).unwrap_or_default());
    for (name, value) in trailers {
        frame.put_slice(name.as_str().as_bytes());
        frame.put_slice(b": ");
        frame.put_slice(value.as_bytes());
        frame.put_slice(b"\r\n");
    }
    frame.freeze()
}

/// A request's body out of base64: groups of four characters, any of which may be padded, as a client that encodes piece
/// by piece leaves them.
struct Decoded {
    inner: RequestBody,
    /// Fewer than four characters of a group.
    undecoded: BytesMut,
    fault: Fault,
}

impl Decoded {
    fn refuse(&self) -> Status {
        let why = "must be base64 in groups of four characters";
        self.fault.set(portal_mesh::status::invalid(&portal_core::Invalid::field("", why)))
    }

    fn decode(&mut self, data: &[u8]) -> Result<Vec<u8>, Status> {
        self.undecoded.extend_from_slice(data);
        let whole = self.undecoded.len() / 4 * 4;
        let groups = self.undecoded.split_to(whole).freeze();
        let mut rest = groups.as_ref();
        let mut decoded = Vec::with_capacity(whole / 4 * 3);
        while !rest.is_empty() {
            let padded = rest.iter().position(|byte| *byte == b'=');
            let end = padded.map_or(rest.len(), |at| (at / 4 + 1) * 4);
            let (run, after) = rest.split_at(end);
            STANDARD.decode_vec(run, &mut decoded).map_err(|_| self.refuse())?;
            rest = after;
        }
        Ok(decoded)
    }
}

impl HttpBody for Decoded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else {
                let cut = !std::mem::take(&mut self.undecoded).is_empty();
                return Poll::Ready(cut.then(|| Err(self.refuse())));
            };
            let Ok(data) = frame?.into_data() else { continue };
            let decoded = self.decode(&data)?;
            if !decoded.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(decoded.into()))));
            }
        }
    }
}

/// The refusal of a request that is not of the form of an rpc: plain HTTP, since it is not known what the client speaks.
pub(crate) fn unknown_type() -> Status {
    ours::CONTENT_TYPE_UNKNOWN.status()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_answer_is_in_the_mode_that_is_accepted() {
        let check = |mode: Mode, accept: &str, expect| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(mode.of_answer(&headers), expect, "{mode:?} {accept}");
        };
        check(Mode::Binary, "*/*", Mode::Binary);
        check(Mode::Text, "*/*", Mode::Text);
        check(Mode::Binary, "application/grpc-web-text", Mode::Text);
        check(Mode::Text, "application/json, application/grpc-web+proto;q=1", Mode::Binary);
        assert_eq!(Mode::Text.of_answer(&HeaderMap::new()), Mode::Text);
    }

    #[test]
    fn trailers_are_lines_in_a_frame() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(trailer_frame(&trailers).as_ref(), b"\x80\0\0\0\x10grpc-status: 0\r\n");
    }
}
