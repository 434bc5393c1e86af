//! The bodies on both ways.
//!
//! Towards a service, a [`RequestBody`] is bounded, and what a service did not want to read is still read, within limits,
//! so that the client gets the answer instead of a reset. From a service, an [`Answer`] always ends in trailers: a reset,
//! a deadline that passed or a drain become the status that tells it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use portal_mesh::status::{self, reason};
use portal_mesh::{Drain, task};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::reason as ours;

/// Most bytes of a gRPC-Web or JSON request: 4 MiB and the framing around them.
pub(crate) const MAX_BODY_BYTES: u64 = 4 * 1_024 * 1_024 + 64;
/// Most bytes that are read after the answer is known, and the longest time for it.
const MAX_DRAIN_BYTES: u64 = 8 * 1_024 * 1_024;
const MAX_DRAIN_TIME: Duration = Duration::from_secs(5);

/// Why a request's body could not be used; kept beside the body, since the service only sees that it broke off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fault(Arc<OnceLock<Status>>);

impl Fault {
    /// Notes the first fault and returns it.
    pub(crate) fn set(&self, status: Status) -> Status {
        self.0.get_or_init(|| status).clone()
    }

    pub(crate) fn get(&self) -> Option<Status> {
        self.0.get().cloned()
    }
}

/// A request's body on its way to a service.
pub(crate) struct RequestBody {
    inner: Option<Incoming>,
    left: u64,
    fault: Fault,
}

impl RequestBody {
    /// A body of any length, for gRPC: services bound each message.
    pub(crate) fn unbounded(inner: Incoming) -> Self {
        Self { inner: Some(inner), left: u64::MAX, fault: Fault::default() }
    }

    /// A body of at most `limit` bytes.
    pub(crate) fn bounded(inner: Incoming, limit: u64) -> Self {
        Self { inner: Some(inner), left: limit, fault: Fault::default() }
    }

    /// Where its fault will be found.
    pub(crate) fn fault(&self) -> Fault {
        self.fault.clone()
    }

    /// Whether it says itself that it is too large.
    ///
    /// # Errors
    /// `BODY_TOO_LARGE`, before anything is read.
    pub(crate) fn check_length(&self) -> Result<(), Status> {
        if self.size_hint().lower() > self.left {
            return Err(self.fault.set(ours::BODY_TOO_LARGE.status()));
        }
        Ok(())
    }

    /// All of it.
    ///
    /// # Errors
    /// `BODY_TOO_LARGE`, or UNAVAILABLE if the client broke off.
    pub(crate) async fn read(self) -> Result<Bytes, Status> {
        self.check_length()?;
        Ok(self.collect().await?.to_bytes())
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
            let frame = match ready!(Pin::new(inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.inner = None;
                    tracing::debug!(%error, "the client broke off");
                    return Poll::Ready(Some(Err(Status::cancelled("the client broke off"))));
                }
                None => {
                    self.inner = None;
                    return Poll::Ready(None);
                }
            };
            // Trailers of a request mean nothing in gRPC and could carry what the header list does not let through.
            let Ok(data) = frame.into_data() else { continue };
            let length = data.len() as u64;
            if length > self.left {
                return Poll::Ready(Some(Err(self.fault.set(ours::BODY_TOO_LARGE.status()))));
            }
            self.left -= length;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if !inner.is_end_stream() && tokio::runtime::Handle::try_current().is_ok() {
            task::spawn("drain-body", async move {
                // Past the limit the connection or stream is closed, which is then what the client asked for.
                drop(tokio::time::timeout(MAX_DRAIN_TIME, discard(inner)).await);
            });
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > MAX_DRAIN_BYTES {
            return;
        }
    }
}

/// What ends a call from outside, with the status that tells why.
pub(crate) type EndOfAccess = Pin<Box<dyn Future<Output = Status> + Send>>;

/// A service's answer on its way to the client. Its last frame is trailers, unless the headers already had the status.
pub(crate) struct Answer {
    inner: Option<Body>,
    /// The status was in the headers: no trailers follow.
    complete: bool,
    deadline: Option<Instant>,
    /// Whether access is looked after, however much there is to read.
    watched: bool,
    end: EndOfAccess,
}

impl Answer {
    /// The body of an answer with these `headers`, cut off at the deadline or, if there is none, at the drain; and in any case
    /// when whoever asked may have no more of it.
    pub(crate) fn new(
        inner: Body,
        headers: &HeaderMap,
        deadline: Option<Instant>,
        drain: Drain,
        access: Option<EndOfAccess>,
    ) -> Self {
        let time: EndOfAccess = match deadline {
            Some(at) => Box::pin(async move {
                tokio::time::sleep_until(at).await;
                reason::DEADLINE.status()
            }),
            None => Box::pin(async move {
                drain.started().await;
                reason::UPSTREAM_UNAVAILABLE.status()
            }),
        };
        let watched = access.is_some();
        let end: EndOfAccess = match access {
            None => time,
            Some(access) => Box::pin(async move {
                tokio::select! { status = time => status, status = access => status }
            }),
        };
        Self {
            inner: Some(inner),
            complete: headers.contains_key(Status::GRPC_STATUS),
            deadline,
            watched,
            end,
        }
    }

    /// The status of an answer that broke off.
    fn broken(&self, error: &Status) -> Status {
        if self.deadline.is_some_and(|at| at <= Instant::now()) {
            return reason::DEADLINE.status();
        }
        tracing::info!(error = error.message(), "a service broke off its answer");
        // The code is the one that the gRPC specification gives the HTTP/2 error.
        let code = if error.code() == Code::Unknown { Code::Unavailable } else { error.code() };
        status::error(code, ours::UPSTREAM_BROKE_OFF.name, ours::UPSTREAM_BROKE_OFF.message)
    }

    fn end_with(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.inner = None;
        if self.complete {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.inner.is_none() {
            return Poll::Ready(None);
        }
        // A stream that always has something would else never be asked whether it may go on.
        if self.watched
            && let Poll::Ready(status) = self.end.as_mut().poll(cx)
        {
            return self.end_with(&status);
        }
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if frame.is_trailers() {
                    self.inner = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let status = self.broken(&error);
                self.end_with(&status)
            }
            Poll::Ready(None) => self.end_with(&ours::UPSTREAM_BROKE_OFF.status()),
            Poll::Pending => {
                let status = ready!(self.end.as_mut().poll(cx));
                self.end_with(&status)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| self.complete && inner.is_end_stream())
    }
}
