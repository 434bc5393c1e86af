//! The reasons of errors that the gateway itself gives, beside those of [`portal_mesh::status::reason`].

use portal_mesh::status::Reason;
use tonic::Code;

/// The body is larger than the gateway takes.
pub const BODY_TOO_LARGE: Reason = Reason::new(
    Code::ResourceExhausted,
    "BODY_TOO_LARGE",
    "a gRPC-Web or JSON body may have at most 4 MiB; send more in several calls or by gRPC streaming",
);
/// The content type is none that the gateway speaks.
pub const CONTENT_TYPE_UNKNOWN: Reason = Reason::new(
    Code::InvalidArgument,
    "CONTENT_TYPE_UNKNOWN",
    "the content type must be application/grpc, application/grpc-web or application/grpc-web-text (each with +proto \
     or without) on a method's path, application/json under /v1/",
);
/// The call keeps a browser's session in cookies, and does not come from a page of this portal.
pub const FOREIGN_ORIGIN: Reason = Reason::new(
    Code::PermissionDenied,
    "FOREIGN_ORIGIN",
    "a session in cookies is for this portal's own pages; leave `portal-session` out, and keep the tokens yourself",
);
/// gRPC came over HTTP/1.1.
pub const HTTP2_NEEDED: Reason = Reason::new(
    Code::InvalidArgument,
    "HTTP2_NEEDED",
    "gRPC needs HTTP/2; over HTTP/1.1 use gRPC-Web or JSON",
);
/// The body is not JSON.
pub const JSON_MALFORMED: Reason =
    Reason::new(Code::InvalidArgument, "JSON_MALFORMED", "the body is not valid JSON");
/// No service has the method.
pub const METHOD_UNKNOWN: Reason = Reason::new(
    Code::Unimplemented,
    "METHOD_UNKNOWN",
    "no service here has this method; list them by server reflection",
);
/// Nothing is at the path.
pub const PATH_UNKNOWN: Reason =
    Reason::new(Code::NotFound, "PATH_UNKNOWN", "there is nothing at this path; check its spelling");
/// A service ended its answer before it was complete.
pub const UPSTREAM_BROKE_OFF: Reason = Reason::new(
    Code::Unavailable,
    "UPSTREAM_BROKE_OFF",
    "a service ended its answer before it was complete; try again shortly",
);
/// The text is not UTF-8.
pub const UTF8_INVALID: Reason =
    Reason::new(Code::InvalidArgument, "UTF8_INVALID", "the request is not valid UTF-8");
/// The path takes other HTTP methods.
pub const VERB_NOT_ALLOWED: Reason = Reason::new(
    Code::Unimplemented,
    "VERB_NOT_ALLOWED",
    "this path does not take this HTTP method; the allow header names those it takes",
);

/// All of them, for documentation tests.
pub const ALL: [Reason; 10] = [
    BODY_TOO_LARGE,
    CONTENT_TYPE_UNKNOWN,
    FOREIGN_ORIGIN,
    HTTP2_NEEDED,
    JSON_MALFORMED,
    METHOD_UNKNOWN,
    PATH_UNKNOWN,
    UPSTREAM_BROKE_OFF,
    UTF8_INVALID,
    VERB_NOT_ALLOWED,
];
