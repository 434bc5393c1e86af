//! What came back from a gRPC call, as the wire has it.

use bytes::Bytes;
use http::StatusCode;
use portal_mesh::status::reason_of;
use portal_proto::google::rpc;
use prost::Message;
use tonic::{Code, Status};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status: 200 for everything that gRPC itself answered.
    pub http: StatusCode,
    /// The gRPC status. `None` if there was none: the answer is not gRPC's, or a stream was still open.
    pub status: Option<Status>,
    /// Bytes of the body, framing included.
    pub body: Bytes,
}

impl Answer {
    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.status.as_ref().map(Status::code)
    }

    /// The reason in the status.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        reason_of(self.status.as_ref()?)
    }

    /// The violated fields in the status.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        self.status.as_ref().map(fields).unwrap_or_default()
    }
}

/// The violated fields in a status.
#[must_use]
pub fn fields(status: &Status) -> Vec<String> {
    let details = rpc::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    let requests = details.iter().filter(|any| any.type_url.ends_with("/google.rpc.BadRequest"));
    requests
        .flat_map(|any| rpc::BadRequest::decode(any.value.as_slice()).unwrap().field_violations)
        .map(|violation| violation.field)
        .collect()
}
