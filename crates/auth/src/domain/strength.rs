//! Whether a password that somebody wants to set is too easy to guess.

use std::sync::LazyLock;

use zxcvbn::feedback::Feedback;
use zxcvbn::zxcvbn;

use super::NewPassword;

/// Passwords that breaches have made known, in lower case and in the order of their bytes: `data/README.md` says whence.
static BREACHED: LazyLock<Vec<&str>> =
    LazyLock::new(|| include_str!("../../data/breached-passwords.txt").lines().collect());

/// Passwords of so many characters are taken whatever they are made of: what makes them easy to remember is in no list.
const LONG: usize = 64;

/// The least strength of a password: a score of zxcvbn, from 0 (anything but what breaches have made known) to 4 (more than
/// 10^10 guesses).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Strength(u8);

impl Strength {
    /// More than 10^6 guesses: more than anybody gets at a sign-in, where five failures lock.
    pub const DEFAULT: Self = Self(2);

    /// A score from 0 to 4; `None` beyond.
    #[must_use]
    pub fn new(score: u8) -> Option<Self> {
        (score <= 4).then_some(Self(score))
    }
}

/// Why a password is not taken. Says nothing of the password itself but what anybody who guesses it knows.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WeakPassword {
    /// It is among those that are tried first.
    #[error("is known from breaches of other services, and tried first; choose another")]
    Breached,
    /// It is guessed too soon.
    #[error("is too easy to guess{0}")]
    Guessable(String),
}

impl NewPassword {
    /// Checks that the password has `least` strength against somebody who knows `about` its owner: e-mail address, name. Takes
    /// some milliseconds.
    ///
    /// # Errors
    /// [`WeakPassword`].
    pub fn strong(self, about: &[&str], least: Strength) -> Result<Self, WeakPassword> {
        // Any bytes are a password; only text is guessed by dictionaries, and all but text comes from a machine.
        let Ok(text) = std::str::from_utf8(self.expose()) else { return Ok(self) };
        if BREACHED.binary_search(&text.to_lowercase().as_str()).is_ok() {
            return Err(WeakPassword::Breached);
        }
        if text.chars().count() >= LONG {
            return Ok(self);
        }
        let guess = zxcvbn(text, about);
        if guess.score() as u8 >= least.0 {
            return Ok(self);
        }
        Err(WeakPassword::Guessable(guess.feedback().map(advice).unwrap_or_default()))
    }
}

fn advice(feedback: &Feedback) -> String {
    let warning = feedback.warning().map(|warning| warning.to_string());
    let suggestions = feedback.suggestions().iter().map(ToString::to_string);
    let said: Vec<String> = warning.into_iter().chain(suggestions).collect();
    if said.is_empty() { String::new() } else { format!(": {}", said.join(" ")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::{DisplayName, Email, Profile};

    fn judge(text: &str) -> Result<(), WeakPassword> {
        let profile = Profile {
            email: Email::parse("anna.schmidt@example.org").unwrap(),
            display_name: DisplayName::new("Anna Schmidt".to_owned()),
        };
        NewPassword::parse(text.to_owned()).unwrap().strong(&profile.words(), Strength::DEFAULT).map(drop)
    }

    #[test]
    fn the_list_is_in_order_and_all_of_it_is_found() {
        assert!(BREACHED.is_sorted() && BREACHED.len() > 8_000);
        for password in BREACHED.iter() {
            assert_eq!(judge(&password.to_ascii_uppercase()), Err(WeakPassword::Breached), "{password}");
        }
    }

    #[test]
    fn what_is_guessed_soon_is_refused_with_advice() {
        for text in [
            "aaaaaaaaaaaa",
            "abcdefghijkl",
            "qwertyuiop12",
            "P@ssword2024",
            "anna.schmidt1",
            "AnnaSchmidt",
            "20012001",
        ] {
            let refused = judge(text).expect_err(text);
            let said = refused.to_string();
            assert!(said.len() > 20 && !said.contains(text), "{text}: {said}");
        }
    }

    #[test]
    fn how_strong_it_must_be_is_said() {
        let takes = |least| {
            let password = NewPassword::parse("boatwindow".to_owned()).unwrap();
            password.strong(&[], Strength::new(least).unwrap()).is_ok()
        };
        assert_eq!([0, 1, 2, 3, 4].map(takes), [true, true, true, false, false]);
        assert_eq!(Strength::new(5), None);
    }

    #[test]
    fn what_takes_long_to_guess_is_taken_whatever_it_is_made_of() {
        for text in [
            "it's; AND 1=1 --",
            "correct horse battery staple!",
            "🔑 zwölf Boxkämpfer 🔑",
            "x7#kQ9$mZ2@p",
            &"a".repeat(64),
            &"Aa1!".repeat(32),
            "\0\u{7f} tab\tand null",
        ] {
            assert_eq!(judge(text), Ok(()), "{text}");
        }
    }
}
