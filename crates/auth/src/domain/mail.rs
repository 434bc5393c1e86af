//! What is mailed to people, and the tokens in it.

use std::time::Duration;

use portal_core::id::AccountId;
use portal_core::{Sensitive, Timestamp};

use super::{Email, Handle};

/// How long an e-mail address can be confirmed.
const VERIFY_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// How long an account can be recovered.
const RECOVER_LIFE: Duration = Duration::from_secs(30 * 60);
/// How long there is between two mails with which an address is to be confirmed.
const PAUSE: Duration = Duration::from_secs(60);
/// How long it is tried to send what has no token.
const NOTICE_LIFE: Duration = Duration::from_secs(3 * 24 * 3_600);
/// How long after a failure a mail is tried again; after each further one twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// What the token of a mail is good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To set a new password.
    Recover,
    /// To confirm an e-mail address.
    Verify,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Recover, Self::Verify];

    /// The name in rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recover => "recover",
            Self::Verify => "verify",
        }
    }

    /// How long a token lives.
    const fn life(self) -> Duration {
        match self {
            Self::Recover => RECOVER_LIFE,
            Self::Verify => VERIFY_LIFE,
        }
    }
}

/// A token that was mailed to somebody.
#[derive(Clone, Debug)]
pub struct MailToken {
    /// Whose account it is about.
    pub account: AccountId,
    /// What it is good for.
    pub purpose: Purpose,
    /// Where it was sent, and so what it confirms.
    pub email: Email,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl MailToken {
    /// A token that is sent now.
    #[must_use]
    pub fn sent(account: AccountId, purpose: Purpose, email: Email, now: Timestamp) -> Self {
        Self { account, purpose, email, expires_at: now.plus(purpose.life()) }
    }
}

/// What a mail says.
#[derive(Clone, Debug)]
pub enum Letter {
    /// That the address is to change, to the one it is at present.
    AddressAsked,
    /// That it has changed, to the one it was.
    AddressChanged,
    /// That a password was set by recovery.
    PasswordSet,
    /// A token.
    Token(Purpose, Handle),
}

/// A mail that waits to be sent. `Debug` shows nothing of it.
#[derive(Clone, Debug)]
pub struct Mail {
    /// To whom.
    pub recipient: Email,
    /// What it is about.
    pub subject: &'static str,
    /// What it says.
    pub body: Sensitive<String>,
    /// When it is of no more use.
    pub expires_at: Timestamp,
}

impl Letter {
    /// The mail to `recipient`, with links to the console at `public_url`. The token is behind a `#`: no server is asked for
    /// it, and none logs it.
    #[must_use]
    pub fn to(&self, recipient: Email, public_url: &str, now: Timestamp) -> Mail {
        let (subject, body) = match self {
            Self::AddressAsked => ("Your e-mail address is to change", ADDRESS_ASKED.to_owned()),
            Self::AddressChanged => ("Your e-mail address was changed", ADDRESS_CHANGED.to_owned()),
            Self::PasswordSet => ("Your password was set anew", PASSWORD_SET.to_owned()),
            Self::Token(Purpose::Recover, token) => {
                let token = token.to_text();
                let link = format!("{public_url}/#recover={token}");
                ("Set a new password", RECOVER.replace("{link}", &link).replace("{token}", &token))
            }
            Self::Token(Purpose::Verify, token) => {
                let token = token.to_text();
                let link = format!("{public_url}/#verify-email={token}");
                ("Confirm your e-mail address", VERIFY.replace("{link}", &link).replace("{token}", &token))
            }
        };
        let life = match self {
            Self::Token(purpose, _) => purpose.life(),
            Self::AddressAsked | Self::AddressChanged | Self::PasswordSet => NOTICE_LIFE,
        };
        Mail { recipient, subject, body: Sensitive::new(body), expires_at: now.plus(life) }
    }
}

/// How long nobody gets another mail to confirm an address, at `now`, if the token of the last one ends at `end`: whoever is
/// signed in fills nobody's mailbox.
#[must_use]
pub fn pause(end: Timestamp, now: Timestamp) -> Option<Duration> {
    let next = end.minus(VERIFY_LIFE).plus(PAUSE);
    (next > now).then(|| next.since(now))
}

/// How long to wait after so many failures.
#[must_use]
pub fn wait_after(failures: u32) -> Duration {
    let doubled = failures.saturating_sub(1);
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doubled)).min(LONGEST_WAIT)
}

const VERIFY: &str = "\
Somebody gave this e-mail address to Portal. If that was you, confirm it:

{link}

Or enter this code where you are asked for it:

{token}

It is good once, for 24 hours. If it was not you, do nothing.
";
const RECOVER: &str = "\
Somebody asked for a new password of the Portal account with this e-mail
address. If that was you, set one:

{link}

Or enter this code where you are asked for it:

{token}

It is good once, for 30 minutes. Second factors are still asked for. If it
was not you, do nothing: your password is what it was.
";
const ADDRESS_ASKED: &str = "\
Somebody who is signed in to your Portal account asked for it to have
another e-mail address. It changes when the new one is confirmed.

If that was not you, change your password and sign all devices out.
";
const ADDRESS_CHANGED: &str = "\
Your Portal account has another e-mail address now, and this one no longer
signs in.

If that was not you, tell whoever runs this Portal.
";
const PASSWORD_SET: &str = "\
A new password was set for your Portal account by a mail to this address,
and all devices were signed out.

If that was not you, tell whoever runs this Portal.
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::SeededEntropy;

    use super::*;

    #[test]
    fn a_token_is_behind_the_address_of_the_page_and_in_no_debug() {
        let token = Handle::generate(&SeededEntropy::new(1));
        let anna = || Email::parse("anna@example.org").unwrap();
        let now = Timestamp::from_seconds(1);
        for (purpose, page) in [(Purpose::Recover, "recover"), (Purpose::Verify, "verify-email")] {
            let mail = Letter::Token(purpose, token.clone()).to(anna(), "https://portal.example", now);
            let link = format!("https://portal.example/#{page}={}\n", token.to_text());
            assert!(mail.body.expose().contains(&link));
            assert!(!mail.body.expose().contains('{'));
            assert_eq!(mail.expires_at, now.plus(purpose.life()));
            let shown = format!("{mail:?}");
            assert!(!shown.contains("anna") && !shown.contains(&token.to_text()), "{shown}");
        }
    }

    #[test]
    fn a_minute_is_between_two_mails() {
        let now = Timestamp::from_seconds(1_000_000);
        let end = now.plus(VERIFY_LIFE);
        assert_eq!(pause(end, now), Some(PAUSE));
        assert_eq!(pause(end, now.plus(PAUSE / 2)), Some(PAUSE / 2));
        assert_eq!(pause(end, now.plus(PAUSE)), None);
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_an_hour() {
        let waits: Vec<_> = (1..=12).map(|failures| wait_after(failures).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600]);
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    }
}
