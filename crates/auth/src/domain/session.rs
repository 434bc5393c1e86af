//! A signed-in device.
//!
//! Invariant: a session that is remembered stays so: each refresh gives it the full life it was started with.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portal_core::id::{AccountId, ClientId, SessionId};
use portal_core::{Acr, Sensitive, Timestamp};

use super::Account;

/// How long an access token lives.
const ACCESS_LIFE: Duration = Duration::from_secs(15 * 60);
/// How long a session lives without use.
const REFRESH_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The same, if it is to be remembered.
const REMEMBERED_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a spent refresh token still gets its successor: as long as a client may retry after a lost reply.
pub(super) const RETRY_WINDOW: Duration = Duration::from_secs(10);

/// The name a device gave itself. `Debug` does not show it.
#[derive(Clone)]
pub struct DeviceName(Sensitive<String>);

impl DeviceName {
    /// A name whose length was checked.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self(Sensitive::new(name))
    }

    /// The name.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl From<Sensitive<String>> for DeviceName {
    fn from(name: Sensitive<String>) -> Self {
        Self(name)
    }
}

impl fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[device]")
    }
}

/// The network that an address is in, as far as a person should see where their session was used: a /24 of IPv4, a /48 of
/// IPv6. `Debug` does not show it.
#[derive(Clone)]
pub struct Network(Sensitive<String>);

impl Network {
    /// The network of `address`.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let text = match address.to_canonical() {
            IpAddr::V4(address) => format!("{}/24", Ipv4Addr::from_bits(address.to_bits() & !0xff)),
            IpAddr::V6(address) => format!("{}/48", Ipv6Addr::from_bits(address.to_bits() >> 80 << 80)),
        };
        Self(Sensitive::new(text))
    }

    /// The network, such as `192.0.2.0/24`.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl From<Sensitive<String>> for Network {
    fn from(network: Sensitive<String>) -> Self {
        Self(network)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[network]")
    }
}

/// How the person of a session proved who they are, and from where it was used last.
#[derive(Clone, Debug)]
pub struct Context {
    /// How.
    pub acr: Acr,
    /// When.
    pub authenticated_at: Timestamp,
    /// From where, if that is known.
    pub last_network: Option<Network>,
}

impl Context {
    /// Of a session that nothing else is known of.
    #[must_use]
    pub const fn by_password(at: Timestamp) -> Self {
        Self { acr: Acr::Password, authenticated_at: at, last_network: None }
    }

    /// Whether there is something to keep.
    #[must_use]
    pub const fn says_something(&self) -> bool {
        !matches!((self.acr, &self.last_network), (Acr::Password, None))
    }

    /// The same, used from `network`; `None` if that changes nothing.
    #[must_use]
    pub fn used_from(&self, network: Option<Network>) -> Option<Self> {
        let network = network?;
        let same = self.last_network.as_ref().is_some_and(|last| last.expose() == network.expose());
        (!same).then(|| Self { last_network: Some(network), ..self.clone() })
    }
}

/// How long a second factor may take.
const CHALLENGE_LIFE: Duration = Duration::from_secs(5 * 60);

/// A sign-in whose password was right, and which waits for a second factor.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Who wants to sign in.
    pub account: AccountId,
    /// Their account as it was when the password was right: whatever changes it ends the challenge.
    pub account_revision: i64,
    /// Whether the session is to outlive seven days without use.
    pub remember_me: bool,
    /// What the device calls itself.
    pub device_name: DeviceName,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Challenge {
    /// A challenge that begins.
    #[must_use]
    pub fn start(account: &Account, wanted: (bool, DeviceName), now: Timestamp) -> Self {
        let (remember_me, device_name) = wanted;
        let expires_at = now.plus(CHALLENGE_LIFE);
        Self {
            account: account.id(),
            account_revision: account.revision(),
            remember_me,
            device_name,
            expires_at,
        }
    }
}

/// A session with what is personal about it.
#[derive(Clone, Debug)]
pub struct NamedSession {
    /// What decides.
    pub session: Session,
    /// What the device calls itself.
    pub device_name: DeviceName,
    /// How it began, and from where it was used last.
    pub context: Context,
    /// The client that it was given to; `None` after a sign-in at Portal itself.
    pub client: Option<ClientId>,
}

/// A session, without anything personal.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who is signed in.
    pub account: AccountId,
    /// Whether it outlives seven days without use.
    pub remember_me: bool,
    /// When the person signed in.
    pub created_at: Timestamp,
    /// When it last gave tokens.
    pub last_used_at: Timestamp,
    /// When its newest access token ends.
    pub access_expires_at: Timestamp,
    /// When it ends unless it is refreshed.
    pub refresh_expires_at: Timestamp,
    /// When it was ended before its time.
    pub revoked_at: Option<Timestamp>,
}

impl Session {
    /// A session that begins.
    #[must_use]
    pub fn start(id: SessionId, account: AccountId, remember_me: bool, now: Timestamp) -> Self {
        let session = Self {
            id,
            account,
            remember_me,
            created_at: now,
            last_used_at: now,
            access_expires_at: now,
            refresh_expires_at: now,
            revoked_at: None,
        };
        session.renewed(now)
    }

    /// The session with its full life ahead of it again.
    #[must_use]
    pub fn renewed(self, now: Timestamp) -> Self {
        let life = if self.remember_me { REMEMBERED_LIFE } else { REFRESH_LIFE };
        Self {
            last_used_at: now,
            access_expires_at: now.plus(ACCESS_LIFE),
            refresh_expires_at: now.plus(life),
            ..self
        }
    }

    /// The session after its person proved anew who they are: with another access token, and the life it had.
    #[must_use]
    pub fn raised(self, now: Timestamp) -> Self {
        let access_expires_at = now.plus(ACCESS_LIFE).min(self.refresh_expires_at);
        Self { last_used_at: now, access_expires_at, ..self }
    }

    /// Whether it has been neither ended nor left to expire.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.refresh_expires_at
    }
}

/// What is stored of one pair of tokens.
#[derive(Clone, Debug)]
pub struct StoredPair {
    /// The session they belong to.
    pub session: SessionId,
    /// When the access token ends.
    pub access_expires_at: Timestamp,
    /// When the refresh token ends.
    pub refresh_expires_at: Timestamp,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When the refresh token was spent.
    pub spent_at: Option<Timestamp>,
}

/// What a refresh token is good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefreshUse {
    /// Its first use: it gets a successor.
    First,
    /// Nothing any more.
    Expired,
    /// The reply to its first use may have been lost: it is told the same successor.
    Retry,
    /// It was spent long ago: somebody has a copy.
    Replay,
}

impl StoredPair {
    /// What the refresh token is good for at `now`.
    #[must_use]
    pub fn refresh_use(&self, now: Timestamp) -> RefreshUse {
        match self.spent_at {
            _ if self.refresh_expires_at <= now => RefreshUse::Expired,
            None => RefreshUse::First,
            Some(spent_at) if now.since(spent_at) <= RETRY_WINDOW => RefreshUse::Retry,
            Some(_) => RefreshUse::Replay,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::SeededEntropy;
    use portal_core::id::Id;

    use super::*;

    #[test]
    fn a_remembered_session_stays_remembered() {
        let start = Timestamp::from_seconds(1_000);
        let entropy = SeededEntropy::new(1);
        for (remember_me, days) in [(false, 7), (true, 30)] {
            let (id, account) = (SessionId::generate(start, &entropy), AccountId::generate(start, &entropy));
            let session = Session::start(id, account, remember_me, start);
            let life = Duration::from_secs(days * 86_400);
            assert_eq!(session.refresh_expires_at, start.plus(life));
            let later = start.plus(Duration::from_secs(3_600));
            let session = session.renewed(later);
            assert_eq!(session.refresh_expires_at, later.plus(life));
            assert!(session.is_live(later) && !session.is_live(later.plus(life)));
        }
    }

    #[test]
    fn of_an_address_the_network_is_kept() {
        for (address, network) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ] {
            let found = Network::of(address.parse().unwrap());
            assert_eq!(found.expose(), network);
            assert!(!format!("{found:?}").contains("192"));
        }
        let at = Timestamp::from_seconds(1);
        let known = |text: &str| Some(Network::of(text.parse().unwrap()));
        let context = Context::by_password(at);
        assert!(!context.says_something() && context.used_from(None).is_none());
        let context = context.used_from(known("192.0.2.1")).unwrap();
        assert!(context.says_something() && context.used_from(known("192.0.2.9")).is_none());
        assert!(context.used_from(known("192.0.3.9")).is_some());
    }

    #[test]
    fn a_spent_token_may_be_retried_for_ten_seconds() {
        let at = Timestamp::from_seconds;
        let id = SessionId::generate(at(0), &SeededEntropy::new(1));
        let pair = StoredPair {
            session: id,
            access_expires_at: at(900),
            refresh_expires_at: at(1_000),
            issued_at: at(0),
            spent_at: None,
        };
        assert_eq!(pair.refresh_use(at(500)), RefreshUse::First);
        assert_eq!(pair.refresh_use(at(1_000)), RefreshUse::Expired);
        let spent = StoredPair { spent_at: Some(at(500)), ..pair };
        assert_eq!(spent.refresh_use(at(510)), RefreshUse::Retry);
        assert_eq!(spent.refresh_use(at(511)), RefreshUse::Replay);
        assert_eq!(spent.refresh_use(at(1_001)), RefreshUse::Expired);
    }
}
