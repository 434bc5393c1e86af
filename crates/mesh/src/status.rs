//! Errors on the wire: `google.rpc.Status` with an `ErrorInfo` whose reason is stable and documented in `docs/errors/`.

use std::time::Duration;

use portal_core::{Acr, Invalid};
use portal_proto::google::rpc;
use prost::Message;
use tonic::{Code, Status};

/// The `domain` of every `ErrorInfo` of ours.
pub const DOMAIN: &str = "portal";

/// A documented cause of an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reason {
    /// The gRPC code it has.
    pub code: Code,
    /// The stable name, for example `TOKEN_MISSING`.
    pub name: &'static str,
    /// What it means and what to do next.
    pub message: &'static str,
}

impl Reason {
    /// A reason.
    #[must_use]
    pub const fn new(code: Code, name: &'static str, message: &'static str) -> Self {
        Self { code, name, message }
    }

    /// The status that tells it.
    #[must_use]
    pub fn status(self) -> Status {
        error(self.code, self.name, self.message)
    }
}

/// The reasons that the mesh itself gives. Services add their own.
pub mod reason {
    use super::{Code, Reason};

    /// The call took longer than its deadline.
    pub const DEADLINE: Reason =
        Reason::new(Code::DeadlineExceeded, "DEADLINE", "the call took longer than its deadline; try again");
    /// The token is bound to a key, and came without a proof of it.
    pub const DPOP_PROOF_NEEDED: Reason = Reason::new(
        Code::Unauthenticated,
        "DPOP_PROOF_NEEDED",
        "this token is bound to a key: send it as 'authorization: DPoP …', with a proof in the header 'dpop'",
    );
    /// The proof of possession beside a token is not one for this token and this call.
    pub const DPOP_PROOF_REJECTED: Reason = Reason::new(
        Code::Unauthenticated,
        "DPOP_PROOF_REJECTED",
        "the header 'dpop' must hold one proof, fresh and not used before, for this token, method and URL",
    );
    /// Something that must not happen did; details are in the service's log only.
    pub const INTERNAL: Reason =
        Reason::new(Code::Internal, "INTERNAL", "an internal error; it is in the service's log");
    /// A message of the request is larger than its method takes.
    pub const MESSAGE_TOO_LARGE: Reason = Reason::new(
        Code::ResourceExhausted,
        "MESSAGE_TOO_LARGE",
        "a message of the request is larger than this method takes; send less at a time",
    );
    /// The policy table has no row for the method.
    pub const NO_POLICY: Reason = Reason::new(
        Code::PermissionDenied,
        "NO_POLICY",
        "no policy allows this method; check the service and method name",
    );
    /// The data belongs to somebody else.
    pub const NOT_YOUR_DATA: Reason =
        Reason::new(Code::PermissionDenied, "NOT_YOUR_DATA", "this account reaches its own data only");
    /// Too many calls are under way.
    pub const OVERLOADED: Reason =
        Reason::new(Code::ResourceExhausted, "OVERLOADED", "too many calls are under way; try again shortly");
    /// A policy of the operator says no. It is told by [`super::policy_denied`] alone.
    pub const POLICY_DENIED: Reason = Reason::new(
        Code::PermissionDenied,
        "POLICY_DENIED",
        "a policy of this installation does not allow this call; ask whoever runs it, and name the policy",
    );
    /// None of the account's roles may call the method.
    pub const ROLE_NOT_ALLOWED: Reason = Reason::new(
        Code::PermissionDenied,
        "ROLE_NOT_ALLOWED",
        "none of this account's roles may call this method",
    );
    /// The token is an OAuth client's, and does not carry the scope of the method.
    pub const SCOPE_MISSING: Reason = Reason::new(
        Code::PermissionDenied,
        "SCOPE_MISSING",
        "this token was given to an OAuth client without the scope that this method takes",
    );
    /// The caller has to prove again, or better, who they are. It is told by [`super::step_up`] alone.
    pub const STEP_UP_REQUIRED: Reason = Reason::new(
        Code::Unauthenticated,
        "STEP_UP_REQUIRED",
        "this method wants a fresh proof of who you are, by a second factor if you have one; sign in again with raise_session",
    );
    /// The token can't be verified.
    pub const TOKEN_INVALID: Reason = Reason::new(
        Code::Unauthenticated,
        "TOKEN_INVALID",
        "the token is not valid, has expired or was revoked; sign in again or refresh the session",
    );
    /// There is no token.
    pub const TOKEN_MISSING: Reason = Reason::new(
        Code::Unauthenticated,
        "TOKEN_MISSING",
        "sign in and send the access token as 'authorization: Bearer …'",
    );
    /// The `authorization` header is not a bearer token.
    pub const TOKEN_SCHEME: Reason = Reason::new(
        Code::Unauthenticated,
        "TOKEN_SCHEME",
        "the authorization header must be 'Bearer' and one token",
    );
    /// A token could not be checked because its keys can't be had.
    pub const TOKEN_UNVERIFIABLE: Reason = Reason::new(
        Code::Unavailable,
        "TOKEN_UNVERIFIABLE",
        "the token can't be checked at the moment; try again shortly",
    );
    /// The service does not answer.
    pub const UPSTREAM_UNAVAILABLE: Reason = Reason::new(
        Code::Unavailable,
        "UPSTREAM_UNAVAILABLE",
        "a service behind this one does not answer; try again shortly",
    );
    /// The process may not call the method.
    pub const WORKLOAD_NOT_ALLOWED: Reason =
        Reason::new(Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED", "this workload may not call this method");

    /// All of them, for documentation tests.
    pub const ALL: [Reason; 18] = [
        DEADLINE,
        DPOP_PROOF_NEEDED,
        DPOP_PROOF_REJECTED,
        INTERNAL,
        MESSAGE_TOO_LARGE,
        NO_POLICY,
        NOT_YOUR_DATA,
        OVERLOADED,
        POLICY_DENIED,
        ROLE_NOT_ALLOWED,
        SCOPE_MISSING,
        STEP_UP_REQUIRED,
        TOKEN_INVALID,
        TOKEN_MISSING,
        TOKEN_SCHEME,
        TOKEN_UNVERIFIABLE,
        UPSTREAM_UNAVAILABLE,
        WORKLOAD_NOT_ALLOWED,
    ];
}

/// Reason of a request with field violations.
pub const INVALID_FIELD: &str = "INVALID_FIELD";

/// A status with an `ErrorInfo`.
#[must_use]
pub fn error(code: Code, reason: &'static str, message: impl Into<String>) -> Status {
    with_details(code, message.into(), vec![error_info(reason)])
}

/// INVALID_ARGUMENT with every violated field.
#[must_use]
pub fn invalid(invalid: &Invalid) -> Status {
    let violation = |violation: &portal_core::Violation| rpc::bad_request::FieldViolation {
        field: violation.field.clone(),
        description: violation.description.clone(),
        ..Default::default()
    };
    let bad_request =
        rpc::BadRequest { field_violations: invalid.violations().iter().map(violation).collect() };
    with_details(
        Code::InvalidArgument,
        invalid.to_string(),
        vec![error_info(INVALID_FIELD), any("google.rpc.BadRequest", &bad_request)],
    )
}

/// A status that also says when to try again.
#[must_use]
pub fn retry_after(reason: Reason, delay: Duration) -> Status {
    let retry = rpc::RetryInfo { retry_delay: Some(crate::convert::duration(delay)) };
    with_details(
        reason.code,
        reason.message.to_owned(),
        vec![error_info(reason.name), any("google.rpc.RetryInfo", &retry)],
    )
}

/// The status of a call that wants the person to prove who they are in one of these ways, best first, and not longer ago than
/// this: what RFC 9470 calls `insufficient_user_authentication`, in its words.
#[must_use]
pub fn step_up(ways: &[Acr], max_age: Duration) -> Status {
    let Reason { code, name, message } = reason::STEP_UP_REQUIRED;
    let ways: Vec<_> = ways.iter().map(|acr| acr.name()).collect();
    let metadata = [("acr_values", ways.join(" ")), ("max_age", max_age.as_secs().to_string())];
    with_details(code, message.to_owned(), vec![error_info_with(name, metadata)])
}

/// The status of a call that policies of the operator refuse, by their names.
#[must_use]
pub fn policy_denied(policies: &str) -> Status {
    let Reason { code, name, message } = reason::POLICY_DENIED;
    with_details(code, message.to_owned(), vec![error_info_with(name, [("policy", policies.to_owned())])])
}

/// The reason in a status of ours.
#[must_use]
pub fn reason_of(status: &Status) -> Option<String> {
    let status = rpc::Status::decode(status.details()).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.ErrorInfo"))?;
    Some(rpc::ErrorInfo::decode(info.value.as_slice()).ok()?.reason)
}

fn error_info(reason: &str) -> prost_types::Any {
    error_info_with(reason, [])
}

fn error_info_with<const N: usize>(reason: &str, metadata: [(&str, String); N]) -> prost_types::Any {
    let info = rpc::ErrorInfo {
        reason: reason.to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    any("google.rpc.ErrorInfo", &info)
}

fn any(type_name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{type_name}"), value: message.encode_to_vec() }
}

fn with_details(code: Code, message: String, details: Vec<prost_types::Any>) -> Status {
    let status = rpc::Status { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, status.encode_to_vec().into())
}
