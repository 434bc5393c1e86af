//! A short name for a token within one connection: a token has 5 KB, and 5 KB a call cost more than a decision does.
//!
//! A server that has verified a token gives it a number in the answer, and from then on takes the number for the token on
//! this connection ([ADR 0014](../../../docs/adr/0014-a-token-crosses-a-connection-once.md)). Invariants: a number stands for
//! what was verified on the same connection and for nothing else, never for two tokens, and never longer than the token is
//! valid; a server gives few of them, and a client that has none sends the token.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use portal_core::Timestamp;

use crate::token::Verified;

/// In an answer: the alias of the token that came with the call. In a call: the alias, in the place of the token.
pub(crate) const TOKEN_ALIAS: HeaderName = HeaderName::from_static("portal-token-alias");

/// Aliases of one connection; who comes later sends the token each time, until the connection is as old as it may be.
const MAX_ALIASES: usize = 1_024;

/// What a server knows of a connection: whom its aliases stand for.
#[derive(Default)]
pub(crate) struct Given(Mutex<Users>);

#[derive(Default)]
struct Users {
    last: u32,
    known: HashMap<u32, Verified>,
}

impl Given {
    /// An alias for a token that was verified on this connection; none if there are enough.
    pub(crate) fn give(&self, verified: Verified, now: Timestamp) -> Option<HeaderValue> {
        let mut users = lock(&self.0);
        if users.known.len() >= MAX_ALIASES {
            users.known.retain(|_, verified| verified.expires_at > now);
        }
        if users.known.len() >= MAX_ALIASES {
            return None;
        }
        // Never a number again: a call that is under way may still carry it.
        users.last = users.last.checked_add(1)?;
        let alias = users.last;
        users.known.insert(alias, verified);
        Some(HeaderValue::from(alias))
    }

    /// Whom an alias of this connection stands for; nobody once the token has expired.
    pub(crate) fn verified(&self, alias: &HeaderValue, now: Timestamp) -> Option<Verified> {
        let alias = alias.to_str().ok()?.parse().ok()?;
        let users = lock(&self.0);
        users.known.get(&alias).filter(|verified| verified.expires_at > now).cloned()
    }
}

/// What a client knows of a connection: the aliases it was given.
#[derive(Default)]
pub(crate) struct Known(Mutex<HashMap<Token, HeaderValue>>);

/// The whole header. Its end is a signature, which is as good as a hash of it.
#[derive(Eq, PartialEq)]
struct Token(HeaderValue);

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes = self.0.as_bytes();
        state.write(bytes.get(bytes.len().saturating_sub(32)..).unwrap_or(bytes));
    }
}

impl Known {
    /// Puts the alias in the place of the token, if there is one. Returns the token.
    pub(crate) fn shorten(&self, headers: &mut HeaderMap) -> Option<HeaderValue> {
        let token = Token(headers.get(header::AUTHORIZATION)?.clone());
        if let Some(alias) = lock(&self.0).get(&token) {
            headers.insert(TOKEN_ALIAS, alias.clone());
            headers.remove(header::AUTHORIZATION);
        }
        Some(token.0)
    }

    /// Takes the alias out of an answer and keeps it for the token that came with the call.
    pub(crate) fn learn(&self, token: Option<HeaderValue>, answer: &mut HeaderMap) {
        let (Some(alias), Some(token)) = (answer.remove(TOKEN_ALIAS), token) else { return };
        let mut known = lock(&self.0);
        if known.len() >= MAX_ALIASES {
            // Most have expired; whoever has not is given another one.
            known.clear();
        }
        known.insert(Token(token), alias);
    }
}

/// Puts the token back into a call that is sent on another connection.
pub(crate) fn restore(headers: &mut HeaderMap, token: Option<&HeaderValue>) {
    headers.remove(TOKEN_ALIAS);
    headers.extend(token.map(|token| (header::AUTHORIZATION, token.clone())));
}

/// Nothing here is left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use portal_core::id::{AccountId, Id, SessionId, SubjectId};
    use portal_core::{Entropy, SeededEntropy};
    use portal_crypto::token::KeyId;

    use super::*;
    use crate::{EndUser, Via};

    const NOW: Timestamp = Timestamp::from_micros(1_000);

    fn verified(seed: u64, expires_at: i64) -> Verified {
        let entropy: &dyn Entropy = &SeededEntropy::new(seed);
        let user = EndUser {
            account: AccountId::generate(NOW, entropy),
            subject: SubjectId::generate(NOW, entropy),
            session: SessionId::generate(NOW, entropy),
            roles: BTreeSet::new(),
            via: Via::FirstParty,
            assurance: None,
        };
        Verified {
            user,
            expires_at: Timestamp::from_micros(expires_at),
            holder: None,
            key: Arc::new(KeyId::from_thumbprint(&[7; 32])),
        }
    }

    fn user(given: &Given, alias: &HeaderValue, now: Timestamp) -> Option<EndUser> {
        given.verified(alias, now).map(|verified| verified.user)
    }

    fn call(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(token).unwrap())])
    }

    #[test]
    fn a_alias_stands_for_its_token_until_that_expires() {
        let given = Given::default();
        let (ada, ben) = (verified(1, 2_000), verified(2, 3_000));
        let (a, b) = (given.give(ada.clone(), NOW).unwrap(), given.give(ben.clone(), NOW).unwrap());
        assert_eq!(user(&given, &a, NOW), Some(ada.user));
        assert_eq!(user(&given, &b, NOW), Some(ben.user.clone()));
        let later = Timestamp::from_micros(2_000);
        assert_eq!((user(&given, &a, later), user(&given, &b, later)), (None, Some(ben.user)));
        for other in ["0", "3", "-1", "", "1x", "4294967296"] {
            assert_eq!(user(&given, &HeaderValue::from_static(other), NOW), None, "{other}");
        }
        assert_eq!(user(&Given::default(), &a, NOW), None, "another connection");
    }

    #[test]
    fn a_server_gives_so_many_and_no_number_twice() {
        let given = Given::default();
        let some = verified(1, 2_000);
        let aliases: BTreeSet<_> = (0..MAX_ALIASES)
            .map(|_| given.give(some.clone(), NOW).unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(aliases.len(), MAX_ALIASES);
        assert_eq!(given.give(some.clone(), NOW), None);
        let later = Timestamp::from_micros(2_000);
        let next = given.give(verified(2, 3_000), later).unwrap();
        assert!(
            !aliases.contains(next.to_str().unwrap()),
            "the expired ones are gone, their numbers are not"
        );
    }

    #[test]
    fn a_client_puts_in_the_alias_of_the_very_token() {
        let known = Known::default();
        let mut first = call("Bearer one");
        let token = known.shorten(&mut first);
        assert_eq!(first, call("Bearer one"), "nothing is known yet");
        let mut answer = HeaderMap::from_iter([(TOKEN_ALIAS, HeaderValue::from(7))]);
        known.learn(token.clone(), &mut answer);
        assert!(answer.is_empty(), "the alias stays within the mesh");

        let mut second = call("Bearer one");
        assert_eq!(known.shorten(&mut second), token);
        assert_eq!(second, HeaderMap::from_iter([(TOKEN_ALIAS, HeaderValue::from(7))]));
        restore(&mut second, token.as_ref());
        assert_eq!(second, call("Bearer one"));
        let mut other = call("Bearer two");
        known.shorten(&mut other);
        assert_eq!(other, call("Bearer two"));
    }
}
