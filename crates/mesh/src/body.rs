//! The bodies around a handler: a request whose messages are bounded, a response that knows how it ended.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::Drain;
use crate::metrics::MeshMetrics;
use crate::status::reason;

/// Refuses a message that says it is longer than the method allows, before any of it is kept.
pub(crate) struct BoundedRequest {
    inner: Body,
    limit: usize,
    /// Bytes of the current message still to come.
    message: usize,
    prefix: [u8; 5],
    prefix_len: usize,
}

impl BoundedRequest {
    pub(crate) const fn new(inner: Body, limit: usize) -> Self {
        Self { inner, limit, message: 0, prefix: [0; 5], prefix_len: 0 }
    }

    /// Follows the gRPC framing: 1 byte flag, 4 bytes length, message.
    fn check(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            if self.message > 0 {
                let (_, rest) = data.split_at(self.message.min(data.len()));
                self.message -= data.len() - rest.len();
                data = rest;
                continue;
            }
            let Some((first, rest)) = data.split_first() else { break };
            if let Some(byte) = self.prefix.get_mut(self.prefix_len) {
                *byte = *first;
            }
            self.prefix_len += 1;
            data = rest;
            if self.prefix_len == self.prefix.len() {
                self.prefix_len = 0;
                let [_, length @ ..] = self.prefix;
                self.message = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                if self.message > self.limit {
                    return Err(crate::status::error(
                        reason::MESSAGE_TOO_LARGE.code,
                        reason::MESSAGE_TOO_LARGE.name,
                        format!("a message of this method may have at most {} bytes", self.limit),
                    ));
                }
            }
        }
        Ok(())
    }
}

impl HttpBody for BoundedRequest {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else { return Poll::Ready(None) };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            self.check(data)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Counts a call when it ends, however it ends: finished, failed, reset by the client.
pub(crate) struct CallGuard {
    pub(crate) metrics: MeshMetrics,
    pub(crate) method: &'static str,
    pub(crate) started: Instant,
    pub(crate) code: Code,
    pub(crate) _slot: OwnedSemaphorePermit,
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.metrics.call_ended(self.method, self.code, self.started.elapsed());
    }
}

/// A response that ends at the call's deadline or, for a stream that stays open, when the server drains.
pub(crate) struct GuardedResponse {
    inner: Option<Body>,
    end: Pin<Box<dyn Future<Output = Status> + Send>>,
    call: CallGuard,
}

impl GuardedResponse {
    pub(crate) fn new(inner: Body, headers: &HeaderMap, end: End, mut call: CallGuard) -> Self {
        // No grpc-status yet means that the trailers will tell; until then the call counts as cancelled.
        call.code = code_in(headers).unwrap_or(Code::Cancelled);
        let end: Pin<Box<dyn Future<Output = Status> + Send>> = match end {
            End::Deadline(sleep) => Box::pin(async move {
                sleep.await;
                reason::DEADLINE.status()
            }),
            End::Drain(drain) => Box::pin(async move {
                drain.started().await;
                reason::UPSTREAM_UNAVAILABLE.status()
            }),
        };
        Self { inner: Some(inner), end, call }
    }
}

/// What ends a response from outside.
pub(crate) enum End {
    Deadline(Sleep),
    Drain(Drain),
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

impl HttpBody for GuardedResponse {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            if let Some(Ok(frame)) = &frame
                && let Some(code) = frame.trailers_ref().and_then(code_in)
            {
                self.call.code = code;
            }
            return Poll::Ready(frame);
        }
        let status = ready!(self.end.as_mut().poll(cx));
        self.inner = None;
        self.call.code = status.code();
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend(std::iter::repeat_n(7, length));
        bytes
    }

    #[test]
    fn messages_are_bounded_however_they_are_cut() {
        let bytes = [framed(10), framed(0), framed(10)].concat();
        for size in 1..=bytes.len() {
            let mut body = BoundedRequest::new(Body::empty(), 10);
            assert!(bytes.chunks(size).all(|chunk| body.check(chunk).is_ok()), "cut in {size}");
        }
        let bytes = [framed(10), framed(11)].concat();
        for size in 1..=bytes.len() {
            let mut body = BoundedRequest::new(Body::empty(), 10);
            let refused = bytes.chunks(size).find_map(|chunk| body.check(chunk).err());
            assert_eq!(refused.map(|status| status.code()), Some(Code::ResourceExhausted), "cut in {size}");
        }
    }
}
