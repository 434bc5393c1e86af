//! A device without a browser, which shows a code to somebody who approves it in a browser elsewhere (RFC 8628).
//!
//! Invariants: a person decides once, and a device gets tokens once, told again for ten seconds; both codes are over after ten
//! minutes; a device that asks too often waits ever longer, up to a minute; an approval ends with the session that made it;
//! whatever was approved before counts for nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use portal_core::entropy::random_bytes;
use portal_core::id::{AccountId, ClientId, SessionId};
use portal_core::{Acr, Entropy, Scope, Sensitive, Timestamp};

use super::session::RETRY_WINDOW;

/// How long the codes live.
pub const LIFE: Duration = Duration::from_secs(10 * 60);
/// How long after their end a device is told of it.
pub const TOLD: Duration = Duration::from_secs(10 * 60);
/// How long a device waits before it asks again, at first.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// How much longer each time that it did not wait (section 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// How long it waits at most: whoever asks on and on changes nothing from then on.
const LONGEST: Duration = Duration::from_secs(60);
/// Letters that form no word and are taken for no other (section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;

/// What a device shows and a person types: eight of 20 consonants, one of 25,600,000,000. `Debug` does not show it.
#[derive(Clone)]
pub struct UserCode(Sensitive<[u8; LENGTH]>);

impl UserCode {
    /// A new code.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut code = [0; LENGTH];
        let mut left = code.iter_mut();
        let mut next = left.next();
        while next.is_some() {
            for byte in random_bytes::<16>(entropy) {
                // 240 is the last multiple of 20: beyond it some letters would be likelier than others.
                if let (Some(letter), Some(place)) =
                    (LETTERS.get(usize::from(byte % 20)).filter(|_| byte < 240), &mut next)
                {
                    **place = *letter;
                    next = left.next();
                }
            }
        }
        Self(Sensitive::new(code))
    }

    /// Reads what somebody typed: small letters are as good as large ones, and hyphens and spaces don't matter. `None` if it
    /// can't be a code.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 4 * LENGTH {
            return None;
        }
        let letters = text.bytes().filter(|byte| !b" -".contains(byte)).map(|byte| byte.to_ascii_uppercase());
        let letters: Vec<u8> = letters.collect();
        let known = letters.iter().all(|letter| LETTERS.contains(letter));
        let code: [u8; LENGTH] = letters.try_into().ok().filter(|_| known)?;
        Some(Self(Sensitive::new(code)))
    }

    /// As it is shown: `BCDF-GHJK`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let letters = self.0.expose().iter().map(|letter| char::from(*letter));
        let (head, tail): (Vec<_>, Vec<_>) = letters.enumerate().partition(|(place, _)| *place < LENGTH / 2);
        let half = |half: Vec<(usize, char)>| half.into_iter().map(|(_, letter)| letter).collect::<String>();
        format!("{}-{}", half(head), half(tail))
    }

    /// The letters.
    pub(super) fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[user code]")
    }
}

/// What has become of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeviceState {
    /// Somebody approved; the device has not come for its tokens yet.
    Approved(Approver),
    /// Somebody refused.
    Denied,
    /// The device got its tokens, of whom approved.
    Used(Approver),
    /// Nobody has decided.
    Waiting,
}

/// Who approved, and how they had proven who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Approver {
    /// Who.
    pub account: AccountId,
    /// In which session: what it approved ends with it.
    pub session: SessionId,
    /// How, and when.
    pub authentication: (Acr, Timestamp),
}

/// What a device asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceRequest {
    /// The client that runs on it.
    pub client: ClientId,
    /// Who will have issued what it gets.
    pub issuer: String,
    /// What it wants.
    pub scopes: BTreeSet<Scope>,
    /// What has become of it.
    pub state: DeviceState,
    /// How long the device waits before it asks again, at least.
    pub interval: Duration,
    /// When it asked last; of one that got its tokens, when it did.
    pub polled_at: Option<Timestamp>,
    /// When the codes end.
    pub expires_at: Timestamp,
}

/// What a device is told that comes for its tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Polled {
    /// It got them a moment ago; the reply may have been lost: it is told the same.
    Again,
    /// It gets them, of whom approved.
    Approved(Approver),
    /// Somebody refused.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Nobody has decided yet.
    Pending,
    /// It asked too soon, and waits longer from now on.
    TooSoon,
    /// Nothing any more: it got them before, whoever approved has signed out, or all that is long over.
    Gone,
}

impl DeviceRequest {
    /// A request of `client` that begins at `now`.
    #[must_use]
    pub fn start(client: ClientId, issuer: String, scopes: BTreeSet<Scope>, now: Timestamp) -> Self {
        let (interval, expires_at) = (INTERVAL, now.plus(LIFE));
        let (state, polled_at) = (DeviceState::Waiting, None);
        Self { client, issuer, scopes, state, interval, polled_at, expires_at }
    }

    /// Whether a person can decide at `now`.
    #[must_use]
    pub fn waits(&self, now: Timestamp) -> bool {
        self.state == DeviceState::Waiting && now < self.expires_at
    }

    /// The request that `approver` approved, or that was refused.
    #[must_use]
    pub fn decided(self, approver: Option<Approver>) -> Self {
        Self { state: approver.map_or(DeviceState::Denied, DeviceState::Approved), ..self }
    }

    /// The device comes for its tokens: what it is told, and what the request is from then on. A question that comes too soon
    /// changes nothing once the wait can't grow: whoever asks on and on has nothing written.
    #[must_use]
    pub fn polled(self, now: Timestamp) -> (Polled, Self) {
        match self.state {
            DeviceState::Used(_) => {
                let again = self.polled_at.is_some_and(|used| now.since(used) <= RETRY_WINDOW);
                (if again { Polled::Again } else { Polled::Gone }, self)
            }
            _ if now >= self.expires_at.plus(TOLD) => (Polled::Gone, self),
            _ if now >= self.expires_at => (Polled::Expired, self),
            DeviceState::Denied => (Polled::Denied, self),
            DeviceState::Approved(approver) => {
                let state = DeviceState::Used(approver);
                (Polled::Approved(approver), Self { state, polled_at: Some(now), ..self })
            }
            DeviceState::Waiting => {
                let too_soon = self.polled_at.is_some_and(|last| now < last.plus(self.interval));
                if too_soon && self.interval >= LONGEST {
                    return (Polled::TooSoon, self);
                }
                let (polled, slower) =
                    if too_soon { (Polled::TooSoon, SLOWER) } else { (Polled::Pending, Duration::ZERO) };
                (polled, Self { polled_at: Some(now), interval: self.interval + slower, ..self })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::SeededEntropy;
    use portal_core::id::Id;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn request() -> DeviceRequest {
        let client = ClientId::generate(NOW, &SeededEntropy::new(1));
        DeviceRequest::start(client, "https://portal.example.org".to_owned(), BTreeSet::new(), NOW)
    }

    fn approver() -> Approver {
        Approver {
            account: AccountId::generate(NOW, &SeededEntropy::new(2)),
            session: SessionId::generate(NOW, &SeededEntropy::new(3)),
            authentication: (Acr::Password, NOW),
        }
    }

    #[test]
    fn a_code_is_read_however_it_is_typed_and_nothing_else_is() {
        let code = UserCode::generate(&SeededEntropy::new(1));
        let text = code.to_text();
        assert_eq!((text.len(), text.find('-')), (9, Some(4)));
        for typed in [
            text.clone(),
            text.to_lowercase(),
            text.replace('-', ""),
            format!(" {} ", text.replace('-', " - ")),
        ] {
            assert_eq!(UserCode::parse(&typed).unwrap().to_text(), text, "{typed}");
        }
        for other in [
            "",
            "BCDF-GHJ",
            "BCDF-GHJKL",
            "ACDF-GHJK",
            "0CDF-GHJK",
            "BCDF_GHJK",
            "ßCDF-GHJK",
            &"-".repeat(40),
        ] {
            assert!(UserCode::parse(other).is_none(), "{other}");
        }
        assert!(!format!("{code:?}").contains(&text[..4]));
    }

    /// Pearson's test: with 19 degrees of freedom, 43.8 is passed by chance once in a thousand.
    #[test]
    fn every_letter_is_as_likely_as_any_other() {
        let entropy = SeededEntropy::new(1);
        let mut counts = [0_u32; 20];
        for _ in 0..5_000 {
            for letter in UserCode::generate(&entropy).expose() {
                counts[LETTERS.iter().position(|known| known == letter).unwrap()] += 1;
            }
        }
        let expected = 2_000.0;
        let chi: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        assert!(chi < 43.8, "{chi}: {counts:?}");
    }

    #[test]
    fn whoever_does_not_wait_waits_longer() {
        let mut request = request();
        let mut told = Vec::new();
        for at in [0, 5, 9, 19, 28, 29, 48] {
            let (polled, next) = request.polled(later(at));
            told.push((polled, next.interval.as_secs()));
            request = next;
        }
        let expected = [
            (Polled::Pending, 5),
            (Polled::Pending, 5),
            (Polled::TooSoon, 10),
            (Polled::Pending, 10),
            (Polled::TooSoon, 15),
            (Polled::TooSoon, 20),
            (Polled::TooSoon, 25),
        ];
        assert_eq!(told, expected);
    }

    /// A minute at most, and nothing is changed by asking on and on: no more is written than that.
    #[test]
    fn whoever_asks_on_and_on_waits_a_minute() {
        let (mut request, mut changes) = (request(), Vec::new());
        for at in 0..590 {
            let (polled, next) = request.clone().polled(later(at));
            if next != request {
                changes.push((at, polled));
            }
            request = next;
        }
        assert_eq!(request.interval.as_secs(), 60);
        // From 5 to 60 in steps of 5, and once a minute.
        let slower = changes.iter().filter(|(_, polled)| *polled == Polled::TooSoon).count();
        let pending = changes.iter().filter(|(_, polled)| *polled == Polled::Pending);
        let pending: Vec<_> = pending.map(|(at, _)| *at).collect();
        assert_eq!(slower, 11);
        assert_eq!(pending, [0, 71, 131, 191, 251, 311, 371, 431, 491, 551]);
    }

    #[test]
    fn tokens_are_given_once_and_in_time() {
        let approved = request().decided(Some(approver()));
        assert!(request().waits(later(599)) && !request().waits(later(600)) && !approved.waits(later(1)));
        let (polled, used) = approved.clone().polled(later(1));
        assert_eq!(polled, Polled::Approved(approver()));
        assert_eq!(
            used.clone().polled(later(11)),
            (Polled::Again, used.clone()),
            "the reply may have been lost"
        );
        assert_eq!(used.clone().polled(later(12)), (Polled::Gone, used));
        for over in [approved, request(), request().decided(None)] {
            assert_eq!(over.clone().polled(later(600)).0, Polled::Expired);
            assert_eq!(over.clone().polled(later(1_199)).0, Polled::Expired);
            assert_eq!(over.polled(later(1_200)).0, Polled::Gone);
        }
        assert_eq!(request().decided(None).polled(later(1)).0, Polled::Denied);
    }
}
