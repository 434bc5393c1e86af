//! How many passwords are looked at: from one client, with one e-mail address, and in all, by the generic cell rate algorithm
//! (ITU-T I.371). Nothing is hashed without an [`Attempt`], and there is none beyond these limits.
//!
//! Each replica counts by itself, so that a limit costs no call: several let through that much more. What must hold for all of
//! them together, the lock-out after failures, is in the database.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use portal_core::Clock;

use crate::error::Error;
use crate::store::failures::AddressHash;

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
    /// In a minute, all of them at once if need be, with one e-mail address.
    pub account_per_minute: NonZeroU32,
    /// The same from one client: an IPv4 address, or a /64 of IPv6.
    pub client_per_minute: NonZeroU32,
    /// In a second, from everybody.
    pub per_second: NonZeroU32,
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

/// Clients, and e-mail addresses, that are remembered at a time; whoever has so many networks that there would be more is kept
/// from filling the memory instead.
const MOST_KEYS: usize = 500_000;
/// When to come back then.
const FULL: Duration = Duration::from_secs(10);

/// The limits, and what was asked of them lately.
pub struct Attempts {
    time: Time,
    clients: Keyed<IpAddr>,
    everybody: Limiter<NotKeyed, InMemoryState>,
    accounts: Keyed<AddressHash>,
    /// Of clients, by those that have not said who they are: each is kept for a while.
    questions: Keyed<IpAddr>,
}

impl Attempts {
    /// Limits by the time of `clock`.
    pub fn new(quotas: Quotas, clock: &Arc<dyn Clock>) -> Self {
        let time = Time(Arc::clone(clock));
        Self {
            clients: Keyed::hashmap_with_clock(Quota::per_minute(quotas.client_per_minute), time.clone()),
            everybody: RateLimiter::direct_with_clock(Quota::per_second(quotas.per_second), time.clone()),
            accounts: Keyed::hashmap_with_clock(Quota::per_minute(quotas.account_per_minute), time.clone()),
            questions: Keyed::hashmap_with_clock(Quota::per_minute(quotas.client_per_minute), time.clone()),
            time,
        }
    }

    /// An attempt of `client`, if it is known, with the e-mail address of `account`. The client is asked about first: what
    /// one of them is refused takes nothing from the others.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`] with the time until the next one.
    pub fn admit(&self, client: Option<IpAddr>, account: &AddressHash) -> Result<Attempt, Error> {
        if self.clients.len().max(self.accounts.len()) >= MOST_KEYS {
            return Err(Error::TooManyAttempts(FULL));
        }
        let refused = |until: NotUntil<Nanos>| Error::TooManyAttempts(self.wait(&until));
        if let Some(client) = client {
            self.clients.check_key(&network(client)).map_err(refused)?;
        }
        self.everybody.check().map_err(refused)?;
        self.accounts.check_key(account).map_err(refused)?;
        Ok(Attempt(()))
    }

    /// A question of a client of OAuth that nobody has proven, from the network of `client`, if that is known.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_question(&self, client: Option<IpAddr>) -> Result<(), Error> {
        let Some(client) = client else { return Ok(()) };
        if self.questions.len() >= MOST_KEYS {
            return Err(Error::TooManyAttempts(FULL));
        }
        let refused = |until: NotUntil<Nanos>| Error::TooManyAttempts(self.wait(&until));
        self.questions.check_key(&network(client)).map_err(refused)
    }

    /// Forgets who has not asked for so long that it makes no difference.
    pub fn forget(&self) {
        forget(&self.clients);
        forget(&self.accounts);
        forget(&self.questions);
    }

    /// Until when a refusal holds, from now.
    fn wait(&self, until: &NotUntil<Nanos>) -> Duration {
        until.wait_time_from(self.time.now())
    }
}

fn forget<K: Clone + Eq + Hash>(limiter: &Keyed<K>) {
    limiter.retain_recent();
    limiter.shrink_to_fit();
}

/// What counts as one client: whoever has one IPv6 address has the 2⁶⁴ of its network.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::{ManualClock, Timestamp};

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
        (Attempts::new(quotas, &(Arc::clone(&clock) as Arc<dyn Clock>)), clock)
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

    #[test]
    fn the_memory_is_bounded() {
        let (attempts, clock) = attempts([10, 10, u32::MAX]);
        let client = |number: usize| {
            let network = 0x2001_0db8_0000_0000 + number as u128;
            Some(IpAddr::from(Ipv6Addr::from_bits(network << 64)))
        };
        for number in 0..MOST_KEYS {
            // Refused or not, for the sake of the one account: the client is remembered.
            drop(attempts.admit(client(number), &[1; 32]));
        }
        assert_eq!(attempts.clients.len(), MOST_KEYS);
        assert_eq!(wait(attempts.admit(client(0), &[2; 32])), Some(FULL));
        clock.advance(Duration::from_secs(121));
        attempts.forget();
        assert_eq!(wait(attempts.admit(client(0), &[2; 32])), None);
    }

    #[test]
    fn what_makes_no_difference_is_forgotten() {
        let (attempts, clock) = attempts([1, 10, 10]);
        assert_eq!(wait(attempts.admit(ip("192.0.2.1"), &[1; 32])), None);
        attempts.forget();
        assert!(wait(attempts.admit(ip("192.0.2.1"), &[1; 32])).is_some());
        clock.advance(Duration::from_secs(121));
        attempts.forget();
        assert!(attempts.accounts.is_empty() && attempts.clients.is_empty());
        assert_eq!(wait(attempts.admit(ip("192.0.2.1"), &[1; 32])), None);
    }
}
