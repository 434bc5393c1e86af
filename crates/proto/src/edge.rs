//! What the generated servers answer by themselves, before or instead of a handler: typed like every other error.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::google::rpc;

/// Reason of a request that is not an encoding of its message.
pub const MALFORMED_MESSAGE: &str = "MALFORMED_MESSAGE";
/// Reason of a method that is declared and not built yet.
pub const NOT_IMPLEMENTED: &str = "NOT_IMPLEMENTED";

/// UNIMPLEMENTED, for methods that have no handler yet.
#[must_use]
pub fn not_implemented() -> Status {
    let message = "this method is declared and not built yet; see the README for what is";
    status(Code::Unimplemented, NOT_IMPLEMENTED, message, None)
}

/// The codec of the generated servers: prost's, but a request that can't be decoded is the client's fault and says so.
pub struct ServerCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for ServerCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for ServerCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = RequestDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> RequestDecoder<U> {
        RequestDecoder(PhantomData)
    }
}

/// Decodes requests.
pub struct RequestDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for RequestDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(buffer).map(Some).map_err(|error| malformed(&error.to_string()))
    }
}

/// Prost tells where it stopped, innermost first, as `Nested.field: Message.nested: what is wrong`, and never the value.
fn malformed(error: &str) -> Status {
    let mut path = Vec::new();
    let mut rest = error.strip_prefix("failed to decode Protobuf message: ").unwrap_or(error);
    while let Some((place, tail)) = rest.split_once(": ") {
        let Some((_, field)) = place.split_once('.').filter(|_| !place.contains(' ')) else { break };
        path.push(field);
        rest = tail;
    }
    path.reverse();
    let violation = rpc::bad_request::FieldViolation {
        field: path.join("."),
        description: rest.to_owned(),
        ..Default::default()
    };
    let message = match path.is_empty() {
        true => format!("the message can't be decoded: {rest}"),
        false => format!("{}: {rest}", violation.field),
    };
    status(Code::InvalidArgument, MALFORMED_MESSAGE, &message, Some(violation))
}

fn status(
    code: Code,
    reason: &str,
    message: &str,
    violation: Option<rpc::bad_request::FieldViolation>,
) -> Status {
    let info =
        rpc::ErrorInfo { reason: reason.to_owned(), domain: "portal".to_owned(), ..Default::default() };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if let Some(violation) = violation {
        let bad_request = rpc::BadRequest { field_violations: vec![violation] };
        details.push(any("google.rpc.BadRequest", &bad_request));
    }
    let wire = rpc::Status { code: code as i32, message: message.to_owned(), details };
    Status::with_details(code, message, wire.encode_to_vec().into())
}

fn any(type_name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{type_name}"), value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::consent::v1::CreatePurposeRequest;

    fn violation(bytes: &[u8]) -> rpc::bad_request::FieldViolation {
        let error = CreatePurposeRequest::decode(bytes).unwrap_err();
        let status = malformed(&error.to_string());
        assert_eq!(status.code(), Code::InvalidArgument);
        let wire = rpc::Status::decode(status.details()).unwrap();
        let bad_request = rpc::BadRequest::decode(wire.details[1].value.as_slice()).unwrap();
        bad_request.field_violations[0].clone()
    }

    #[test]
    fn the_field_is_named() {
        // purpose (1) { display_name (2) = invalid UTF-8 }
        assert_eq!(violation(&[0x0a, 3, 0x12, 1, 0xff]).field, "purpose.display_name");
        // purpose as a varint
        assert_eq!(violation(&[0x08, 1]).field, "purpose");
        // a length that is not there
        assert_ne!(violation(&[0x0a, 200]).description, "");
    }

    #[test]
    fn a_method_without_a_handler_is_typed() {
        let wire = rpc::Status::decode(not_implemented().details()).unwrap();
        let info = rpc::ErrorInfo::decode(wire.details[0].value.as_slice()).unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (NOT_IMPLEMENTED, "portal"));
    }
}
