//! What it means that a call did not succeed.
//!
//! Transit answers 400 to most of what it refuses, so its words decide; a test asks a real server for each of them.
//! Nothing of a body but the list `errors` is kept: what a parser could not read may be a key.

use rustify::errors::ClientError as HttpError;
use vaultrs::error::ClientError;

use super::client::not_vault;
use crate::provider::{Cause, ProviderError};

/// The longest message that is kept.
const MESSAGE: usize = 200;

pub(super) fn meaning(error: ClientError) -> ProviderError {
    match error {
        ClientError::APIError { code, errors } => answer(code, &errors.join("; ")),
        ClientError::RestClientError { source } => match source {
            HttpError::ServerResponseError { code, .. } => answer(code, ""),
            HttpError::RequestError { source, .. } => transport(source.downcast().ok()),
            HttpError::ResponseError { source } => transport(source.downcast().ok()),
            HttpError::ReqwestBuildError { source } => transport(Some(source)),
            _ => not_vault(),
        },
        _ => not_vault(),
    }
}

fn transport(error: Option<reqwest::Error>) -> ProviderError {
    ProviderError::Unreachable { cause: error.map(Cause::http) }
}

fn answer(status: u16, message: &str) -> ProviderError {
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    let shown = message.chars().filter(|c| !c.is_control()).take(MESSAGE).collect();
    let cause = Some(Cause::Answer { status, message: shown });
    let misconfigured =
        |key, problem: &str, cause| ProviderError::Misconfigured { key, problem: problem.to_owned(), cause };
    match status {
        400 if says(&["message authentication failed", "invalid ciphertext"])
            && !says(&["version is too new"]) =>
        {
            ProviderError::Refused { cause }
        }
        400 if says(&["encryption key not found", "no such key version", "version is too new"]) => {
            ProviderError::KeyMissing { cause }
        }
        400 if says(&["disallowed by policy", "soft-deleted", "less than the minimum"]) => {
            ProviderError::KeyDisabled { cause }
        }
        403 => ProviderError::Denied { cause },
        404 if says(&["no handler for route"]) => {
            misconfigured("vault_mount", "no engine is mounted there", cause)
        }
        404 => ProviderError::KeyMissing { cause },
        503 if says(&["sealed"]) => ProviderError::Sealed { cause },
        429 | 472 | 473 | 500..=599 => ProviderError::Unreachable { cause },
        300..=399 => {
            misconfigured("vault_address", "redirects: name the active server, or let it forward", cause)
        }
        _ => misconfigured("vault_key", "can't be used as it is configured", cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_typed() {
        let check = |status, message: &str, expect: &str| {
            assert_eq!(answer(status, message).name(), expect, "{status} {message}");
        };
        check(400, "cipher: message authentication failed", "refused");
        check(400, "invalid ciphertext: no prefix", "refused");
        check(400, "invalid ciphertext length", "refused");
        check(400, "invalid ciphertext: version is too new", "key_missing");
        check(400, "encryption key not found", "key_missing");
        check(400, "ciphertext or signature version is disallowed by policy (too old)", "key_disabled");
        check(400, "refusing to use soft-deleted key", "key_disabled");
        check(400, "something else", "misconfigured");
        check(403, "permission denied", "denied");
        check(404, "", "key_missing");
        check(404, "no handler for route \"x\". route entry not found.", "misconfigured");
        check(429, "request path \"transit\": rate limit quota exceeded", "unreachable");
        check(500, "internal error", "unreachable");
        check(503, "Vault is sealed", "sealed");
        check(503, "", "unreachable");
        check(307, "", "misconfigured");
        check(405, "", "misconfigured");
    }

    #[test]
    fn a_message_is_cut_and_has_no_control_characters() {
        let error = answer(400, &format!("a\nb\u{1b}[31m{}", "x".repeat(1_000)));
        let shown = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(shown.len() < 300 && !shown.contains(char::is_control), "{shown}");
    }
}
