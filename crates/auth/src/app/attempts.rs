//! How many passwords are looked at: from one client, with one e-mail address, and in all, by the generic cell rate algorithm
//! (ITU-T I.371). Nothing is hashed without an [`Attempt`], and there is none beyond these limits. And how much is written for
//! applications, in the same way.
//!
//! What is remembered is bounded. Beyond that those who come are counted by a wider network, or with others: whoever has a great
//! many addresses stands in their own way first, and never in everybody's.
//!
//! Each replica counts by itself, so that a limit costs no call: several let through that much more. What must hold for all of
//! them together, the lock-out after failures, is in the database.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use portal_core::Clock;
use portal_core::id::ClientId;

use crate::domain::HandleHash;
use crate::error::Error;
use crate::store::failures::AddressHash;

/// How often one device asks for its tokens in a minute: twice as often as it should.
const POLLS_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(23);

/// The permit to have one password hashed.
#[must_use]
pub struct Attempt(());

impl Attempt {
    /// For the service itself, at its start.
    pub(super) const fn of_service() -> Self {
        Self(())
    }
}

/// How many attempts there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quotas {
    /// In a minute, all of them at once if need be, with one e-mail address; as many codes of devices with one account.
    pub account_per_minute: NonZeroU32,
    /// The same from one client: an IPv4 address, or a /64 of IPv6.
    pub client_per_minute: NonZeroU32,
    /// In a second, from everybody.
    pub per_second: NonZeroU32,
}

/// How much is done for applications.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ApplicationQuotas {
    /// In a minute, requests that are kept for applications that have not said who they are, from one client.
    pub questions_per_minute: NonZeroU32,
    /// In a minute, tokens that one application gets for itself, and devices that it begins to connect.
    pub grants_per_minute: NonZeroU32,
    /// In a minute, codes of devices that are typed by people of one client.
    pub user_codes_per_minute: NonZeroU32,
}

struct Time(Arc<dyn Clock>);

impl Clone for Time {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl GovernorClock for Time {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let micros = self.0.now().as_micros();
        Nanos::new(u64::try_from(micros).unwrap_or_default().saturating_mul(1_000))
    }
}

type Limiter<K, S> = RateLimiter<K, S, Time, NoOpMiddleware<Nanos>>;
type Keyed<K> = Limiter<K, HashMapStateStore<K>>;

/// What is remembered at a time of one kind, before those who come are counted in wider circles.
const MOST_KEYS: usize = 500_000;

/// What is counted for each of many, and in circles that get wider when they are too many.
struct Counted<K: Clone + Eq + Hash> {
    each: Keyed<K>,
    circles: Keyed<K>,
    circle: fn(&K) -> K,
}

impl<K: Clone + Eq + Hash> Counted<K> {
    fn new(quota: Quota, time: &Time, circle: fn(&K) -> K) -> Self {
        let keyed = || Keyed::hashmap_with_clock(quota, time.clone());
        Self { each: keyed(), circles: keyed(), circle }
    }

    fn check(&self, key: &K) -> Result<(), NotUntil<Nanos>> {
        if self.each.len() < MOST_KEYS {
            return self.each.check_key(key);
        }
        self.circles.check_key(&(self.circle)(key))
    }

    fn forget(&self) {
        for limiter in [&self.each, &self.circles] {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// The limits, and what was asked of them lately.
pub struct Attempts {
    time: Time,
    clients: Counted<IpAddr>,
    everybody: Limiter<NotKeyed, InMemoryState>,
    accounts: Counted<AddressHash>,
    questions: Counted<IpAddr>,
    /// Of applications that have proven who they are: no more than are registered.
    grants: Keyed<ClientId>,
    user_codes: Counted<IpAddr>,
    /// Of devices that there are.
    polls: Counted<[u8; 32]>,
}

impl Attempts {
    /// Limits by the time of `clock`.
    pub fn new(quotas: Quotas, applications: ApplicationQuotas, clock: &Arc<dyn Clock>) -> Self {
        let time = &Time(Arc::clone(clock));
        let by_network = |limit| Counted::new(Quota::per_minute(limit), time, wider);
        Self {
            clients: by_network(quotas.client_per_minute),
            everybody: RateLimiter::direct_with_clock(Quota::per_second(quotas.per_second), time.clone()),
            accounts: Counted::new(Quota::per_minute(quotas.account_per_minute), time, shared),
            questions: by_network(applications.questions_per_minute),
            grants: Keyed::hashmap_with_clock(
                Quota::per_minute(applications.grants_per_minute),
                time.clone(),
            ),
            user_codes: by_network(applications.user_codes_per_minute),
            polls: Counted::new(Quota::per_minute(POLLS_PER_MINUTE), time, shared),
            time: time.clone(),
        }
    }

    /// An attempt of `client`, if it is known, with the e-mail address of `account`. The client is asked about first: what
    /// one of them is refused takes nothing from the others.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`] with the time until the next one.
    pub fn admit(&self, client: Option<IpAddr>, account: &AddressHash) -> Result<Attempt, Error> {
        self.of_network(&self.clients, client)?;
        self.everybody.check().map_err(|until| self.refused(&until))?;
        self.accounts.check(account).map_err(|until| self.refused(&until))?;
        Ok(Attempt(()))
    }

    /// A question of an application that nobody has proven, from the network of `client`, if that is known.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_question(&self, client: Option<IpAddr>) -> Result<(), Error> {
        self.of_network(&self.questions, client)
    }

    /// Something that is kept for an application that has proven who it is.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_grant(&self, client: ClientId) -> Result<(), Error> {
        self.grants.check_key(&client).map_err(|until| self.refused(&until))
    }

    /// A code of a device that somebody typed, from the network of `client`, if that is known; as often as somebody may try a
    /// password.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_user_code(&self, client: Option<IpAddr>, account: &AddressHash) -> Result<(), Error> {
        self.of_network(&self.user_codes, client)?;
        self.accounts.check(account).map_err(|until| self.refused(&until))
    }

    /// Whether the device with this code may ask for its tokens.
    pub fn admits_poll(&self, device: &HandleHash) -> bool {
        self.polls.check(device.as_bytes()).is_ok()
    }

    fn of_network(&self, counted: &Counted<IpAddr>, client: Option<IpAddr>) -> Result<(), Error> {
        let Some(client) = client else { return Ok(()) };
        counted.check(&network(client)).map_err(|until| self.refused(&until))
    }

    /// Forgets who has not asked for so long that it makes no difference.
    pub fn forget(&self) {
        for counted in [&self.clients, &self.questions, &self.user_codes] {
            counted.forget();
        }
        for counted in [&self.accounts, &self.polls] {
            counted.forget();
        }
        self.grants.retain_recent();
        self.grants.shrink_to_fit();
    }

    /// A refusal, until when it holds.
    fn refused(&self, until: &NotUntil<Nanos>) -> Error {
        Error::TooManyAttempts(until.wait_time_from(self.time.now()))
    }
}

/// What counts as one client: whoever has one IPv6 address has the 2⁶⁴ of its network.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// The network around a network: what one owner has at most, a /16 or a /32 of IPv6.
fn wider(network: &IpAddr) -> IpAddr {
    match network {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() >> 16 << 16).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 96 << 96).into(),
    }
}

/// What about 65,536 groups of hashes have in common; which one something is in nobody knows without the key of its hash.
fn shared(address: &[u8; 32]) -> [u8; 32] {
    let mut shared = [0; 32];
    shared.iter_mut().zip(address).take(2).for_each(|(shared, byte)| *shared = *byte);
    shared
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use portal_core::id::Id;
    use portal_core::{ManualClock, SeededEntropy, Timestamp};

    use super::*;

    const fn at_most(limit: u32) -> NonZeroU32 {
        NonZeroU32::new(limit).unwrap()
    }

    fn attempts([account, client, all]: [u32; 3]) -> (Attempts, Arc<ManualClock>) {
        let quotas = Quotas {
            account_per_minute: at_most(account),
            client_per_minute: at_most(client),
            per_second: at_most(all),
        };
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_900_000_000_000_000)));
        let applications = ApplicationQuotas {
            questions_per_minute: at_most(2),
            grants_per_minute: at_most(2),
            user_codes_per_minute: at_most(2),
        };
        (Attempts::new(quotas, applications, &(Arc::clone(&clock) as Arc<dyn Clock>)), clock)
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn wait(admitted: Result<Attempt, Error>) -> Option<Duration> {
        match admitted {
            Ok(Attempt(())) => None,
            Err(Error::TooManyAttempts(wait)) => Some(wait),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn each_account_has_its_own_limit_whoever_asks() {
        let (attempts, clock) = attempts([3, 100, 100]);
        for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            assert_eq!(wait(attempts.admit(ip(client), &[1; 32])), None);
        }
        assert_eq!(wait(attempts.admit(ip("192.0.2.4"), &[1; 32])), Some(Duration::from_secs(20)));
        assert_eq!(wait(attempts.admit(None, &[2; 32])), None);
        clock.advance(Duration::from_secs(20));
        assert_eq!(wait(attempts.admit(None, &[1; 32])), None);
        assert!(wait(attempts.admit(None, &[1; 32])).is_some());
    }

    #[test]
    fn a_client_that_is_refused_takes_nothing_from_others() {
        let (attempts, _) = attempts([100, 2, 3]);
        let admitted = |client, n| wait(attempts.admit(ip(client), &[n; 32])).is_none();
        assert!(admitted("192.0.2.1", 1) && admitted("192.0.2.1", 2));
        assert!(!admitted("192.0.2.1", 3) && !admitted("::ffff:192.0.2.1", 4));
        assert!(admitted("192.0.2.2", 5));
        assert!(!admitted("192.0.2.3", 6), "three a second in all");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let (attempts, _) = attempts([100, 1, 100]);
        assert_eq!(wait(attempts.admit(ip("2001:db8:1:2::1"), &[1; 32])), None);
        assert!(wait(attempts.admit(ip("2001:db8:1:2:ffff::9"), &[2; 32])).is_some());
        assert_eq!(wait(attempts.admit(ip("2001:db8:1:3::1"), &[3; 32])), None);
    }

    /// Whoever has so many networks that they are not remembered one by one keeps out themselves, and nobody else.
    #[test]
    fn the_memory_is_bounded() {
        let (attempts, clock) = attempts([10, 10, u32::MAX]);
        let client = |number: usize| {
            let network = 0x2001_0db8_0000_0000 + number as u128;
            Some(IpAddr::from(Ipv6Addr::from_bits(network << 64)))
        };
        for number in 0..MOST_KEYS + 20 {
            // Refused or not, for the sake of the one account: the client is remembered.
            drop(attempts.admit(client(number), &[1; 32]));
        }
        assert_eq!((attempts.clients.each.len(), attempts.clients.circles.len()), (MOST_KEYS, 1));
        assert_eq!(wait(attempts.admit(client(MOST_KEYS + 20), &[2; 32])), Some(Duration::from_secs(6)));
        for other in ["2001:db9::1", "192.0.2.1"] {
            assert_eq!(wait(attempts.admit(ip(other), &[2; 32])), None, "{other}");
        }
        clock.advance(Duration::from_secs(121));
        attempts.forget();
        assert_eq!((attempts.clients.each.len(), attempts.clients.circles.len()), (0, 0));
        assert_eq!(wait(attempts.admit(client(0), &[2; 32])), None);
    }

    #[test]
    fn what_is_asked_for_applications_is_counted_by_itself() {
        let (attempts, clock) = attempts([2, 1, 1]);
        let entropy = SeededEntropy::new(1);
        let [one, other] = [1, 2].map(|_| ClientId::generate(clock.now(), &entropy));
        assert_eq!(wait(attempts.admit(ip("192.0.2.1"), &[1; 32])), None);
        let asks: [&dyn Fn() -> Result<(), Error>; 3] =
            [&|| attempts.admit_question(ip("192.0.2.1")), &|| attempts.admit_grant(one), &|| {
                attempts.admit_user_code(ip("192.0.2.1"), &[2; 32])
            }];
        for ask in asks {
            assert!(ask().is_ok() && ask().is_ok() && ask().is_err());
        }
        assert!(attempts.admit_question(ip("192.0.2.2")).is_ok() && attempts.admit_grant(other).is_ok());
        let typed = |network, account: u8| attempts.admit_user_code(ip(network), &[account; 32]).is_ok();
        assert!(
            typed("192.0.2.2", 3) && typed("192.0.2.3", 3) && !typed("192.0.2.4", 3),
            "wherever they are"
        );
        clock.advance(Duration::from_secs(30));
        assert!(asks.iter().all(|ask| ask().is_ok()));
    }

    #[test]
    fn what_makes_no_difference_is_forgotten() {
        let (attempts, clock) = attempts([1, 10, 10]);
        assert_eq!(wait(attempts.admit(ip("192.0.2.1"), &[1; 32])), None);
        attempts.forget();
        assert!(wait(attempts.admit(ip("192.0.2.1"), &[1; 32])).is_some());
        clock.advance(Duration::from_secs(121));
        attempts.forget();
        assert!(attempts.accounts.each.is_empty() && attempts.clients.each.is_empty());
        assert_eq!(wait(attempts.admit(ip("192.0.2.1"), &[1; 32])), None);
    }
}
