//! What an account and a session are, and what may become of them. No IO, no time, no randomness of its own.

pub mod account;
pub mod email;
pub mod factor;
pub mod failures;
pub mod handle;
pub mod password;
pub mod revocation;
pub mod session;
pub mod strength;

pub use account::{Account, DisplayName, Etag, Lock, Profile, Profiled, Roles};
pub use email::Email;
pub use factor::{Factor, FactorKind, FactorSecret, FactorState, Proof, RecoveryCode, Totp};
pub use failures::Failures;
pub use handle::{Handle, HandleHash, HandleKey, TokenPair};
pub use password::{NewPassword, OfferedPassword};
pub use revocation::{Revocation, Target};
pub use session::{Acr, Challenge, Context, DeviceName, NamedSession, Network, Session};
pub use strength::{Strength, WeakPassword};
