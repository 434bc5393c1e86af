//! What an account and a session are, and what may become of them. No IO, no time, no randomness of its own.

pub mod account;
pub mod client;
pub mod contact;
pub mod email;
pub mod factor;
pub mod failures;
pub mod grant;
pub mod handle;
pub mod logout;
pub mod mail;
pub mod passkey;
pub mod password;
pub mod proof;
pub mod revocation;
pub mod session;
pub mod signing;
pub mod strength;
pub mod tombstone;

pub use account::{Account, DisplayName, Etag, Lock, Profile, Profiled, Roles};
pub use client::{Client, ClientKind, ClientOptions, ClientSettings, GrantType};
pub use contact::{Confirmed, Contact};
pub use email::Email;
pub use factor::{Factor, FactorKind, FactorSecret, FactorState, Proof, RecoveryCode, Totp};
pub use failures::Failures;
pub use grant::{AuthorizationCode, AuthorizationRequest, Grant, Prompt};
pub use handle::{Handle, HandleHash, HandleKey, TokenPair};
pub use logout::{ClientSignIn, LogoutNotice};
pub use mail::{Letter, Mail, MailToken, Purpose};
pub use passkey::{Assertion, Awaited, Ceremony, CredentialId, Passkey};
pub use password::{NewPassword, OfferedPassword};
pub use proof::ProofKey;
pub use revocation::{Revocation, Target};
pub use session::{Challenge, Context, DeviceName, NamedSession, Network, Session};
pub use signing::SigningKey;
pub use strength::{Strength, WeakPassword};
pub use tombstone::Tombstone;
