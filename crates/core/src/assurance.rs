//! How sure one can be of who acts: how the person of a session proved who they are, and when.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{LogSafe, Timestamp};

/// How a person proved who they are: the `acr` of their session.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Acr {
    /// By a password and a second factor.
    Mfa,
    /// By a passkey that checked who uses it: two factors in one.
    Passkey,
    /// By a password alone.
    Password,
}

impl Acr {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mfa, Self::Passkey, Self::Password];

    /// The name in rows, messages and tokens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mfa => "mfa",
            Self::Passkey => "passkey",
            Self::Password => "pwd",
        }
    }

    /// Whether it took more than one factor.
    #[must_use]
    pub const fn is_multi_factor(self) -> bool {
        match self {
            Self::Mfa | Self::Passkey => true,
            Self::Password => false,
        }
    }
}

impl fmt::Display for Acr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl LogSafe for Acr {}

/// Nobody proves who they are like this.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of mfa, passkey, pwd")]
pub struct UnknownAcr;

impl FromStr for Acr {
    type Err = UnknownAcr;

    fn from_str(name: &str) -> Result<Self, UnknownAcr> {
        Self::ALL.into_iter().find(|acr| acr.name() == name).ok_or(UnknownAcr)
    }
}

/// What a session says of its person, and what could be asked of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Assurance {
    /// How they last proved who they are, in this session.
    pub acr: Acr,
    /// When: a refresh of the session proves nothing.
    pub authenticated_at: Timestamp,
    /// Whether they have a second factor, so that a password alone is not all they can show.
    pub has_second_factor: bool,
}

impl Assurance {
    /// The ways that are good enough for somebody who has a second factor, or has none, best first.
    #[must_use]
    pub const fn good_enough(has_second_factor: bool) -> &'static [Acr] {
        if has_second_factor { &[Acr::Passkey, Acr::Mfa] } else { &[Acr::Passkey, Acr::Mfa, Acr::Password] }
    }

    /// Whether the person proved who they are at most `max_age` before `now`, by all that they have.
    #[must_use]
    pub fn suffices(&self, max_age: Duration, now: Timestamp) -> bool {
        Self::good_enough(self.has_second_factor).contains(&self.acr)
            && now.since(self.authenticated_at) <= max_age
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_second_factor_must_have_used_it() {
        let (at, age) = (Timestamp::from_seconds(1_000), Duration::from_secs(900));
        for (acr, has_second_factor, enough) in [
            (Acr::Password, false, true),
            (Acr::Password, true, false),
            (Acr::Mfa, true, true),
            (Acr::Mfa, false, true),
            (Acr::Passkey, true, true),
        ] {
            let assurance = Assurance { acr, authenticated_at: at, has_second_factor };
            assert_eq!(assurance.suffices(age, at.plus(age)), enough, "{assurance:?}");
            assert!(!assurance.suffices(age, Timestamp::from_seconds(1_901)), "{assurance:?}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for acr in Acr::ALL {
            assert_eq!(acr.to_string().parse(), Ok(acr));
            assert_eq!(acr.is_multi_factor(), Assurance::good_enough(true).contains(&acr));
        }
        assert_eq!("".parse::<Acr>(), Err(UnknownAcr));
    }
}
