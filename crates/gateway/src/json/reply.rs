//! The messages of a gRPC answer, one by one, and its status.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::BodyExt;
use portal_mesh::context::ROWS_WITHHELD;
use portal_mesh::status::reason;
use prost::Message;
use tonic::body::Body;
use tonic::{Code, Status};

/// Largest message of an answer.
const MAX_MESSAGE_BYTES: usize = 16 * 1_024 * 1_024;
const PREFIX_BYTES: usize = 5;
const ROWS_WITHHELD_HEADER: HeaderName = HeaderName::from_static(ROWS_WITHHELD);

/// A message in gRPC framing.
pub(super) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    framed.put_u8(0);
    // A request of at most 4 MiB of JSON has fewer bytes in protobuf than the prefix can count.
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    framed.put_slice(&message.encode_to_vec());
    framed.freeze()
}

/// An answer that is being read.
#[derive(Debug)]
pub(super) struct Reply {
    body: Body,
    unread: BytesMut,
    /// What the service says of rows that it left out.
    withheld: Option<HeaderValue>,
}

impl Reply {
    /// # Errors
    /// The status, if the headers already tell that the call failed.
    pub(super) fn new(response: Response<Body>) -> Result<Self, Status> {
        check(response.headers())?;
        let withheld = response.headers().get(ROWS_WITHHELD).cloned();
        Ok(Self { body: response.into_body(), unread: BytesMut::new(), withheld })
    }

    /// Adds to `answer` what the service says of the whole reply in its headers.
    pub(super) fn tell(&self, answer: &mut Response<Body>) {
        answer.headers_mut().extend(self.withheld.clone().map(|rows| (ROWS_WITHHELD_HEADER, rows)));
    }

    /// The next message; `None` at an end in order.
    ///
    /// # Errors
    /// The status that the answer ended with.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.message()? {
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            match frame?.into_data() {
                Ok(data) => self.unread.extend_from_slice(&data),
                Err(frame) => {
                    check(&frame.into_trailers().unwrap_or_default())?;
                    return Ok(None);
                }
            }
        }
    }

    /// The next message if all of it is there.
    fn message(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((&[compressed, ref length @ ..], rest)) = self.unread.split_first_chunk::<PREFIX_BYTES>()
        else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        // Nothing is compressed, since the gateway accepts no encoding here.
        if compressed != 0 || length > MAX_MESSAGE_BYTES {
            return Err(reason::INTERNAL.status());
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.unread.advance(PREFIX_BYTES);
        Ok(Some(self.unread.split_to(length).freeze()))
    }
}

fn check(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}
