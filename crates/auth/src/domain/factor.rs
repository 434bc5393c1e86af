//! What people prove beside a password: codes of an authenticator (TOTP, RFC 6238), recovery codes, passkeys.
//!
//! Invariant: a proof is used up by its use. A code of an authenticator is good for its thirty seconds, the ones before and the
//! ones after, since clocks differ, and never for a step that is not later than the last one used (RFC 6238, section 5.2).

use std::fmt;
use std::time::Duration;

use portal_core::entropy::random_bytes;
use portal_core::id::{AccountId, FactorId};
use portal_core::{Entropy, Sensitive, Timestamp};
use totp_rs::{Builder, Secret};

use super::{Assertion, DisplayName, HandleHash, HandleKey, Passkey};

/// How long a new authenticator waits for its first code.
const PENDING: Duration = Duration::from_secs(15 * 60);
/// How many recovery codes there are at first.
pub const RECOVERY_CODES: usize = 10;
const TOTP_SECRET: usize = 20;
const RECOVERY_CODE: usize = 10;
const DIGITS: usize = 6;
/// Steps before and after the present one.
const SKEW: u16 = 1;

/// A kind of factor.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum FactorKind {
    /// A passkey (WebAuthn).
    Passkey,
    /// Codes that are good once.
    RecoveryCodes,
    /// Codes of an authenticator.
    Totp,
}

impl FactorKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Passkey, Self::RecoveryCodes, Self::Totp];

    /// The name in rows and in the audit log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::RecoveryCodes => "recovery_codes",
            Self::Totp => "totp",
        }
    }
}

/// Whether a factor counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FactorState {
    /// It does, since then.
    Confirmed(Timestamp),
    /// It waits for its first code until then.
    Pending(Timestamp),
}

/// A factor.
#[derive(Clone, Debug)]
pub struct Factor {
    /// Its id.
    pub id: FactorId,
    /// Whose it is.
    pub account: AccountId,
    /// What the person calls it.
    pub name: DisplayName,
    /// Whether it counts.
    pub state: FactorState,
    /// When it last proved something.
    pub last_used_at: Option<Timestamp>,
    /// What it is proven by.
    pub secret: FactorSecret,
    /// Counts changes.
    pub revision: i64,
}

/// What a factor is proven by.
#[derive(Clone, Debug)]
pub enum FactorSecret {
    /// An assertion of this.
    Passkey(Passkey),
    /// One of these.
    RecoveryCodes(Vec<HandleHash>),
    /// A code of this.
    Totp(Totp),
}

/// A shared secret, and the last step that was used.
#[derive(Clone, Debug)]
pub struct Totp {
    secret: Sensitive<Vec<u8>>,
    last_step: Option<u64>,
}

/// A code that is good once.
pub struct RecoveryCode(Sensitive<[u8; RECOVERY_CODE]>);

/// What is shown of a factor: itself, never its secret.
pub enum Proof {
    /// What a passkey answered.
    Passkey(Assertion),
    /// One of the recovery codes.
    RecoveryCode(RecoveryCode),
    /// A code of the authenticator, six digits.
    Totp(Sensitive<String>),
}

/// The text is no code at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidCode {
    /// Of recovery.
    #[error("must be a recovery code: 16 letters and digits, with or without hyphens")]
    Recovery,
    /// Of an authenticator.
    #[error("must be {DIGITS} digits")]
    Totp,
}

impl Factor {
    /// A new authenticator, and until when it waits for its first code.
    #[must_use]
    pub fn totp(
        (id, account): (FactorId, AccountId),
        name: DisplayName,
        totp: Totp,
        now: Timestamp,
    ) -> (Self, Timestamp) {
        let (until, secret) = (now.plus(PENDING), FactorSecret::Totp(totp));
        let state = FactorState::Pending(until);
        (Self { id, account, name, state, last_used_at: None, secret, revision: 1 }, until)
    }

    /// New recovery codes.
    #[must_use]
    pub fn recovery_codes(id: FactorId, account: AccountId, codes: Vec<HandleHash>, now: Timestamp) -> Self {
        let secret = FactorSecret::RecoveryCodes(codes);
        let (name, state) = (DisplayName::new(String::new()), FactorState::Confirmed(now));
        Self { id, account, name, state, last_used_at: None, secret, revision: 1 }
    }

    /// A new passkey.
    #[must_use]
    pub fn passkey(
        (id, account): (FactorId, AccountId),
        name: DisplayName,
        passkey: Passkey,
        now: Timestamp,
    ) -> Self {
        let (secret, state) = (FactorSecret::Passkey(passkey), FactorState::Confirmed(now));
        Self { id, account, name, state, last_used_at: None, secret, revision: 1 }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> FactorKind {
        match self.secret {
            FactorSecret::Passkey(_) => FactorKind::Passkey,
            FactorSecret::RecoveryCodes(_) => FactorKind::RecoveryCodes,
            FactorSecret::Totp(_) => FactorKind::Totp,
        }
    }

    /// Whether it counts.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        matches!(self.state, FactorState::Confirmed(_))
    }

    /// Whether it still waits for its first code.
    #[must_use]
    pub fn is_pending(&self, now: Timestamp) -> bool {
        matches!(self.state, FactorState::Pending(until) if now < until)
    }

    /// What it is after `proof` was used up on it; `None` if that is no proof of it. What a passkey answered is looked at
    /// elsewhere, with the challenge that it answers.
    #[must_use]
    pub fn proven(&self, proof: &Proof, handles: &HandleKey, now: Timestamp) -> Option<Self> {
        let secret = match (&self.secret, proof) {
            (FactorSecret::Totp(totp), Proof::Totp(code)) => FactorSecret::Totp(totp.proven(code, now)?),
            (FactorSecret::RecoveryCodes(codes), Proof::RecoveryCode(code)) => {
                let used = handles.recovery_code_hash(self.account, code);
                let left: Vec<_> = codes.iter().copied().filter(|code| *code != used).collect();
                (left.len() < codes.len()).then_some(FactorSecret::RecoveryCodes(left))?
            }
            (FactorSecret::Passkey(_) | FactorSecret::RecoveryCodes(_) | FactorSecret::Totp(_), _) => {
                return None;
            }
        };
        Some(Self { secret, last_used_at: Some(now), ..self.clone() })
    }

    /// What it is after its first code.
    #[must_use]
    pub fn confirmed(self, now: Timestamp) -> Self {
        Self { state: FactorState::Confirmed(now), last_used_at: None, ..self }
    }
}

impl Totp {
    /// A new secret, of the length that RFC 4226 recommends.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let secret: [u8; TOTP_SECRET] = random_bytes(entropy);
        Self { secret: Sensitive::new(secret.to_vec()), last_step: None }
    }

    /// What was stored; `None` if the secret is none.
    #[must_use]
    pub fn from_parts(secret: Sensitive<Vec<u8>>, last_step: Option<u64>) -> Option<Self> {
        (secret.expose().len() == TOTP_SECRET).then_some(Self { secret, last_step })
    }

    /// What is stored.
    #[must_use]
    pub const fn parts(&self) -> (&Sensitive<Vec<u8>>, Option<u64>) {
        (&self.secret, self.last_step)
    }

    /// The secret in Base32, for typing.
    #[must_use]
    pub fn to_base32(&self) -> String {
        Secret::from(self.secret.expose().clone()).to_base32()
    }

    /// What authenticators read from a picture: `otpauth://totp/…`. `None` if it can't be put into one.
    #[must_use]
    pub fn to_uri(&self, issuer: &str, account_name: &str) -> Option<String> {
        // A colon separates the two in the label.
        let name = |text: &str| text.replace(':', " ");
        let builder = self.builder().with_issuer(Some(name(issuer))).with_account_name(name(account_name));
        builder.build().ok()?.to_url().ok()
    }

    fn builder(&self) -> Builder {
        Builder::new().with_skew(SKEW).with_secret(self.secret.expose().clone())
    }

    fn proven(&self, code: &Sensitive<String>, now: Timestamp) -> Option<Self> {
        let seconds = u64::try_from(now.as_seconds()).ok()?;
        let step = self.builder().build().ok()?.check(code.expose(), seconds)?;
        let unused = self.last_step.is_none_or(|last| last < step);
        unused.then(|| Self { secret: self.secret.clone(), last_step: Some(step) })
    }
}

impl RecoveryCode {
    /// As many new ones as an account gets.
    #[must_use]
    pub fn generate_all(entropy: &dyn Entropy) -> Vec<Self> {
        (0..RECOVERY_CODES).map(|_| Self(Sensitive::new(random_bytes(entropy)))).collect()
    }

    /// Four groups of four letters and digits (Base32, 80 bits).
    #[must_use]
    pub fn to_text(&self) -> String {
        let text = Secret::from(self.0.expose().to_vec()).to_base32();
        let groups: Vec<&str> = (0..text.len()).step_by(4).filter_map(|at| text.get(at..at + 4)).collect();
        groups.join("-")
    }

    pub(super) fn expose(&self) -> &[u8; RECOVERY_CODE] {
        self.0.expose()
    }
}

impl Proof {
    /// A recovery code as people type it: in any case, with or without hyphens and spaces.
    ///
    /// # Errors
    /// [`InvalidCode::Recovery`].
    pub fn recovery_code(text: &str) -> Result<Self, InvalidCode> {
        let text = text.replace(['-', ' '], "").to_ascii_uppercase();
        let code = Secret::try_from_base32(&text).map_err(|_| InvalidCode::Recovery)?;
        let code = code.as_bytes().try_into().map_err(|_| InvalidCode::Recovery)?;
        Ok(Self::RecoveryCode(RecoveryCode(Sensitive::new(code))))
    }

    /// A code of an authenticator; many show it in two groups.
    ///
    /// # Errors
    /// [`InvalidCode::Totp`].
    pub fn totp(text: &str) -> Result<Self, InvalidCode> {
        let code = text.replace(' ', "");
        if code.len() != DIGITS || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidCode::Totp);
        }
        Ok(Self::Totp(Sensitive::new(code)))
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[proof]")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use portal_core::SeededEntropy;
    use portal_core::id::Id;
    use portal_crypto::kdf::ServiceSecret;

    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn handles() -> HandleKey {
        HandleKey::new(&ServiceSecret::new(&[7; 32]))
    }

    fn ids() -> (FactorId, AccountId) {
        let entropy = SeededEntropy::new(1);
        (FactorId::generate(at(0), &entropy), AccountId::generate(at(0), &entropy))
    }

    fn code(text: &str) -> Sensitive<String> {
        Sensitive::new(text.to_owned())
    }

    /// RFC 6238, appendix B, for SHA-1: its eight digits end in these six.
    #[test]
    fn the_codes_are_those_of_the_standard() {
        let secret = Sensitive::new(b"12345678901234567890".to_vec());
        for (time, expect) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let totp = Totp::from_parts(secret.clone(), None).unwrap();
            assert!(totp.proven(&code(expect), at(time)).is_some(), "{time}");
            assert!(totp.proven(&code(expect), at(time + 90)).is_none(), "{time}");
        }
    }

    #[test]
    fn a_code_is_good_once_and_so_is_none_before_it() {
        let secret = Sensitive::new(b"12345678901234567890".to_vec());
        let totp = Totp::from_parts(secret, None).unwrap();
        let of = |step: i64| {
            let totp = totp.builder().build().unwrap();
            code(&totp.generate(u64::try_from(step * 30).unwrap()).to_string())
        };
        // The clock of the phone may be one step off, either way.
        for (step, good) in [(98, false), (99, true), (100, true), (101, true), (102, false)] {
            assert_eq!(totp.proven(&of(step), at(3_000)).is_some(), good, "{step}");
        }
        let used = totp.proven(&of(101), at(3_000)).unwrap();
        assert!(used.proven(&of(101), at(3_000)).is_none(), "a replay");
        assert!(used.proven(&of(100), at(3_000)).is_none(), "an earlier one");
        assert!(used.proven(&of(102), at(3_030)).is_some());
    }

    #[test]
    fn a_recovery_code_is_good_once() {
        let (id, account) = ids();
        let codes = RecoveryCode::generate_all(&SeededEntropy::new(2));
        let texts: Vec<String> = codes.iter().map(RecoveryCode::to_text).collect();
        let hashes = codes.iter().map(|code| handles().recovery_code_hash(account, code)).collect();
        let factor = Factor::recovery_codes(id, account, hashes, at(0));
        let left = |factor: &Factor| match &factor.secret {
            FactorSecret::RecoveryCodes(codes) => codes.len(),
            FactorSecret::Passkey(_) | FactorSecret::Totp(_) => panic!("recovery codes"),
        };
        assert_eq!((texts.len(), left(&factor)), (RECOVERY_CODES, RECOVERY_CODES));
        let proof = |text: &str| Proof::recovery_code(text).unwrap();
        let typed = texts[3].to_lowercase().replace('-', " ");
        let used = factor.proven(&proof(&typed), &handles(), at(1)).unwrap();
        assert_eq!((left(&used), used.last_used_at), (RECOVERY_CODES - 1, Some(at(1))));
        assert!(used.proven(&proof(&texts[3]), &handles(), at(2)).is_none());
        assert!(used.proven(&proof(&texts[4]), &handles(), at(2)).is_some());
        let another = Factor { account: ids().1, ..factor };
        let another = Factor { account: AccountId::generate(at(9), &SeededEntropy::new(9)), ..another };
        assert!(another.proven(&proof(&texts[4]), &handles(), at(2)).is_none(), "of somebody else");
        assert!(used.proven(&Proof::totp("123456").unwrap(), &handles(), at(2)).is_none());
    }

    #[test]
    fn what_is_no_code_is_told() {
        for text in ["", "12345", "1234567", "12345a", "+12345", "１２３４５６"] {
            assert_eq!(Proof::totp(text).unwrap_err(), InvalidCode::Totp, "{text}");
        }
        assert!(Proof::totp("123 456").is_ok());
        for text in ["", "AAAA-BBBB-CCCC", "AAAA-BBBB-CCCC-DDD1", "AAAA-BBBB-CCCC-DDDD-EEEE"] {
            assert_eq!(Proof::recovery_code(text).unwrap_err(), InvalidCode::Recovery, "{text}");
        }
    }

    #[test]
    fn an_authenticator_reads_the_uri() {
        let totp = Totp::from_parts(Sensitive::new(b"12345678901234567890".to_vec()), None).unwrap();
        let uri = totp.to_uri("Portal", "anna+x:1@example.org").unwrap();
        assert!(uri.starts_with("otpauth://totp/Portal:anna%2Bx%201%40example.org?"), "{uri}");
        assert!(
            uri.contains("secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ") && uri.contains("issuer=Portal"),
            "{uri}"
        );
        assert_eq!(totp.to_base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let shown = format!("{:?}", Factor::totp(ids(), DisplayName::new("phone".to_owned()), totp, at(0)));
        assert!(!shown.contains("phone") && !shown.contains("49"), "{shown}");
    }
}
