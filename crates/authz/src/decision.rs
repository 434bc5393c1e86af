//! What is decided, and by what.

use std::fmt;
use std::sync::Arc;

use portal_core::LogSafe;

/// The `@id` of a policy: what logs, metrics and audit events name it by.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PolicyName(Arc<str>);

/// Longest name of a policy.
const LONGEST: usize = 64;
/// What the names of our own policies begin with.
const OURS: &str = "portal.";

impl PolicyName {
    /// The name, if it is one: 1 to 64 characters of a-z, 0-9, `.`, `-` and `_`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        let fits = !text.is_empty() && text.len() <= LONGEST && text.chars().all(allowed);
        fits.then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one of Portal's own, and not an operator's.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.0.starts_with(OURS)
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LogSafe for PolicyName {}

/// Why somebody is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// A policy of an operator forbids what would be permitted without it, or can't be evaluated.
    PolicyDenied,
    /// No policy permits it to the account's roles.
    RoleNotAllowed,
    /// The OAuth client was not given the scope.
    ScopeMissing,
    /// Nobody signed in.
    TokenMissing,
    /// The question could not be put: the method is not in the schema.
    Unknown,
    /// No policy permits it to the process.
    WorkloadNotAllowed,
}

impl Refusal {
    /// The reason that the caller is told.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::PolicyDenied => "POLICY_DENIED",
            Self::RoleNotAllowed => "ROLE_NOT_ALLOWED",
            Self::ScopeMissing => "SCOPE_MISSING",
            Self::TokenMissing => "TOKEN_MISSING",
            Self::Unknown => "NO_POLICY",
            Self::WorkloadNotAllowed => "WORKLOAD_NOT_ALLOWED",
        }
    }
}

/// Whose records are reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Everybody's.
    Everybodys,
    /// The caller's own alone.
    Own,
    /// Nobody's.
    Refused(Refusal),
}

impl Answer {
    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Everybodys => "everybody",
            Self::Own => "own",
            Self::Refused(_) => "refused",
        }
    }
}

/// A decision, and the policies that made it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// What was decided.
    pub answer: Answer,
    /// The permits that let the caller in, or the forbids that kept it out; none if nothing permitted it. Sorted.
    pub policies: Vec<PolicyName>,
    /// The operator's forbids that kept a caller who is let in from everybody's records. Sorted.
    pub narrowed_by: Vec<PolicyName>,
    /// Policies that could not be evaluated. None of them permits, each of them refuses. Sorted.
    pub failed: Vec<PolicyName>,
}

impl Decision {
    /// The names of the policies that made it, with a space between them.
    #[must_use]
    pub fn names(&self) -> String {
        let refused = matches!(self.answer, Answer::Refused(_));
        let failed = self.failed.iter().filter(|_| refused);
        let names: Vec<_> = self.policies.iter().chain(failed).map(PolicyName::as_str).collect();
        names.join(" ")
    }
}
