//! Where people are signed in by Portal, and whom that is taken back from (OpenID Connect Back-Channel Logout 1.0).
//!
//! Invariants: a sign-in at a client ends with the session in which it was approved, and with the grant that came of it, unless the
//! client gave that back itself; its client is told once, if it is still there; what can't be told within a day is given up.

use std::collections::BTreeSet;
use std::time::Duration;

use portal_core::id::{AccountId, ClientId, OperationId, SessionId};
use portal_core::{Scope, Timestamp};

use super::mail::wait_after;

/// How long a client that does not answer is told again.
const TOLD_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How long telling it takes at most: if the process that does it ends, another one begins anew afterwards.
const HELD_FOR: Duration = Duration::from_secs(30);

/// Somebody is signed in at a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientSignIn {
    /// The session that is the grant, which the client knows as `sid`.
    pub session: SessionId,
    /// The session in which it was approved; the grant's own, where no session goes on to the client, as with a device.
    pub origin: SessionId,
    /// Who is signed in.
    pub account: AccountId,
    /// Where.
    pub client: ClientId,
    /// The issuer that the client knows.
    pub issuer: String,
}

impl ClientSignIn {
    /// How many there are at one client through one session of a person: with one more the oldest ends, and its client is told
    /// of it as of any other. Renewed every quarter of an hour, that is half a day.
    pub const KEPT: u64 = 50;

    /// Whether a grant of `scopes` signs somebody in: only an ID token does.
    #[must_use]
    pub fn is_made_by(scopes: &BTreeSet<Scope>) -> bool {
        scopes.contains(&Scope::OpenId)
    }

    /// What its client is told when it has ended.
    #[must_use]
    pub fn notice(&self, id: OperationId, now: Timestamp) -> LogoutNotice {
        LogoutNotice {
            id,
            client: self.client,
            account: self.account,
            session: self.session,
            issuer: self.issuer.clone(),
            failures: 0,
            next_at: now,
            expires_at: now.plus(TOLD_FOR),
        }
    }
}

/// What a client is to be told: that somebody is not signed in any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogoutNotice {
    /// Its id.
    pub id: OperationId,
    /// Who is told.
    pub client: ClientId,
    /// Who is signed out.
    pub account: AccountId,
    /// Of what the client knows as `sid`.
    pub session: SessionId,
    /// The issuer that the client knows.
    pub issuer: String,
    /// How often it was tried in vain.
    pub failures: u32,
    /// When it is tried next.
    pub next_at: Timestamp,
    /// When it is given up.
    pub expires_at: Timestamp,
}

impl LogoutNotice {
    /// Whether it is given up at `now`.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// The notice while it is tried: nobody else tries it for as long as that may take.
    #[must_use]
    pub fn held(self, now: Timestamp) -> Self {
        Self { next_at: now.plus(HELD_FOR), ..self }
    }

    /// The notice after it was tried in vain: again after a pause that grows.
    #[must_use]
    pub fn postponed(self, now: Timestamp) -> Self {
        let failures = self.failures.saturating_add(1);
        Self { failures, next_at: now.plus(wait_after(failures)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use portal_core::SeededEntropy;
    use portal_core::id::Id;

    use super::*;

    #[test]
    fn a_notice_is_held_tried_again_and_given_up_after_a_day() {
        let (entropy, now) = (SeededEntropy::new(1), Timestamp::from_seconds(1_000));
        let sign_in = ClientSignIn {
            session: SessionId::generate(now, &entropy),
            origin: SessionId::generate(now, &entropy),
            account: AccountId::generate(now, &entropy),
            client: ClientId::generate(now, &entropy),
            issuer: "https://portal.example.org".to_owned(),
        };
        let notice = sign_in.notice(OperationId::generate(now, &entropy), now);
        assert_eq!((notice.session, notice.next_at, notice.failures), (sign_in.session, now, 0));
        let held = notice.clone().held(now);
        assert_eq!((held.next_at, held.failures), (now.plus(HELD_FOR), 0));
        let (first, second) = (notice.clone().postponed(now), notice.clone().postponed(now).postponed(now));
        assert!(now < first.next_at && first.next_at < second.next_at);
        assert_eq!(second.failures, 2);
        assert!(!notice.is_over(now.plus(TOLD_FOR).minus(Duration::from_secs(1))));
        assert!(notice.is_over(now.plus(TOLD_FOR)));
    }
}
