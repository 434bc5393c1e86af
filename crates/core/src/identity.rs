//! Who may speak: the mesh's workloads and the roles of accounts.

use std::fmt;
use std::str::FromStr;

use crate::LogSafe;

/// A process of the mesh, named by the last part of its SPIFFE id.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Workload {
    /// The authentication service.
    Auth,
    /// The consent service.
    Consent,
    /// The edge.
    Gateway,
    /// The valuation service.
    Valuation,
}

impl Workload {
    /// Every workload.
    pub const ALL: [Self; 4] = [Self::Auth, Self::Consent, Self::Gateway, Self::Valuation];

    /// The name in SPIFFE ids, commands and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Consent => "consent",
            Self::Gateway => "gateway",
            Self::Valuation => "valuation",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl LogSafe for Workload {}

/// No workload has this name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of auth, consent, gateway, valuation")]
pub struct UnknownWorkload;

impl FromStr for Workload {
    type Err = UnknownWorkload;

    fn from_str(name: &str) -> Result<Self, UnknownWorkload> {
        Self::ALL.into_iter().find(|workload| workload.name() == name).ok_or(UnknownWorkload)
    }
}

/// The part of a SPIFFE id that names whose mesh it is, for example `portal.local`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TrustDomain(String);

/// The text is not a SPIFFE trust domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be 1 to 255 characters of a-z, 0-9, '.', '-' or '_'")]
pub struct InvalidTrustDomain;

impl TrustDomain {
    /// Parses the name of a trust domain (SPIFFE-ID, section 2.1).
    ///
    /// # Errors
    /// [`InvalidTrustDomain`] if it is empty, over 255 characters, or has others than the standard allows.
    pub fn parse(text: &str) -> Result<Self, InvalidTrustDomain> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        if text.is_empty() || text.len() > 255 || !text.chars().all(allowed) {
            return Err(InvalidTrustDomain);
        }
        Ok(Self(text.to_owned()))
    }

    /// The SPIFFE id of `workload` in this domain.
    #[must_use]
    pub fn spiffe_id(&self, workload: Workload) -> String {
        format!("spiffe://{}/{workload}", self.0)
    }

    /// The workload that `spiffe_id` names, if it belongs to this domain.
    #[must_use]
    pub fn workload(&self, spiffe_id: &str) -> Option<Workload> {
        let path = spiffe_id.strip_prefix("spiffe://")?.strip_prefix(self.0.as_str())?;
        path.strip_prefix('/')?.parse().ok()
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an account may do.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Reads ledgers and audit events.
    Auditor,
    /// Manages notices, purposes and datasets; records consents on behalf of subjects.
    Controller,
    /// Privacy officer: reads all consents and requests, decides requests.
    Officer,
    /// Manages accounts, clients, keys and migrations.
    Operator,
    /// An OAuth client, limited by its scopes.
    Service,
    /// Every account: reaches its own data only.
    Subject,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Auditor, Self::Controller, Self::Officer, Self::Operator, Self::Service, Self::Subject];

    /// The name in tokens and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::Controller => "controller",
            Self::Officer => "officer",
            Self::Operator => "operator",
            Self::Service => "service",
            Self::Subject => "subject",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl LogSafe for Role {}

/// No role has this name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of auditor, controller, officer, operator, service, subject")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or(UnknownRole)
    }
}

/// What an OAuth client may ask for: a word of RFC 6749, section 3.3.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// Asks whether data may be used for a purpose.
    ConsentCheck,
    /// Reads consents, their history and their receipts.
    ConsentRead,
    /// Records consents: given, refused, renewed, withdrawn.
    ConsentRecord,
    /// The e-mail address.
    Email,
    /// Goes on when the person is away: a refresh token.
    OfflineAccess,
    /// Signs people in (OpenID Connect).
    OpenId,
    /// The name.
    Profile,
    /// Reads what data is worth.
    ValuationRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 8] = [
        Self::ConsentCheck,
        Self::ConsentRead,
        Self::ConsentRecord,
        Self::Email,
        Self::OfflineAccess,
        Self::OpenId,
        Self::Profile,
        Self::ValuationRead,
    ];

    /// The name in tokens, requests and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConsentCheck => "consent.check",
            Self::ConsentRead => "consent.read",
            Self::ConsentRecord => "consent.record",
            Self::Email => "email",
            Self::OfflineAccess => "offline_access",
            Self::OpenId => "openid",
            Self::Profile => "profile",
            Self::ValuationRead => "valuation.read",
        }
    }

    /// What a client that has it can do, as people are told who are asked for it.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::ConsentCheck => "Check whether your data may be used for a purpose",
            Self::ConsentRead => "Read your consents, their history and their receipts",
            Self::ConsentRecord => "Give, refuse, renew and withdraw consents for you",
            Self::Email => "See your e-mail address",
            Self::OfflineAccess => "Keep this access while you are away, until you end it",
            Self::OpenId => "Know that you are you when you sign in",
            Self::Profile => "See your name",
            Self::ValuationRead => "Read what your data is worth",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl LogSafe for Scope {}

/// No scope has this name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "must be one of consent.check, consent.read, consent.record, email, offline_access, openid, profile, valuation.read"
)]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.name() == name).ok_or(UnknownScope)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn scopes_are_read_by_their_names_which_their_error_lists() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert!(UnknownScope.to_string().contains(scope.name()));
        }
        assert_eq!("consent".parse::<Scope>(), Err(UnknownScope));
    }

    #[test]
    fn a_spiffe_id_is_read_in_its_own_domain_only() {
        let ours = TrustDomain::parse("portal.local").unwrap();
        assert_eq!(ours.spiffe_id(Workload::Consent), "spiffe://portal.local/consent");
        assert_eq!(ours.workload("spiffe://portal.local/consent"), Some(Workload::Consent));
        for foreign in [
            "spiffe://portal.local.evil/consent",
            "spiffe://portal.localconsent",
            "spiffe://other/consent",
            "spiffe://portal.local/consent/x",
            "spiffe://portal.local/",
            "https://portal.local/consent",
        ] {
            assert_eq!(ours.workload(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn names_round_trip() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        for workload in Workload::ALL {
            assert_eq!(workload.name().parse(), Ok(workload));
        }
        assert_eq!(TrustDomain::parse("Portal"), Err(InvalidTrustDomain));
    }
}
