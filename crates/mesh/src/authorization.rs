//! Puts the question who may to the policies of `portal-authz`: reads those of the operators, counts and logs what is decided.
//!
//! Invariants: a decision is made once for a call, before its handler runs; logs and metrics name policies, kinds of callers and
//! accounts by their ids, never an address.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use portal_authz::{
    Answer, Authority, Decision, Faults, PolicyName, Principal, Proof, Question, Refusal, Source,
};
use portal_core::{Timestamp, Workload};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tonic::Status;

use crate::Metrics;
use crate::caller::{Behalf, Via};
use crate::config::{AuthorizationConfig, ConfigError};
use crate::policy::Reach;
use crate::status::{self, Reason, reason};

/// The policies in force in a service. Clones share them.
#[derive(Clone)]
pub struct Authorization {
    authority: Arc<Authority>,
    counted: Counted,
}

/// The folder of an operator's policies can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is nothing in it. Whoever names a folder relies on what is in it.
    #[error("{folder} holds no file that ends with .cedar: put policies there, or take the setting away")]
    Empty {
        /// The folder.
        folder: String,
    },
    /// Policies in it are wrong.
    #[error("policies that can't be used\n{0}")]
    Faults(#[from] Faults),
    /// It, or a file in it, can't be read.
    #[error("{path} can't be read ({error})")]
    Read {
        /// The folder or the file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

impl Authorization {
    /// Portal's policies and those of the folder that `config` names.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with everything that is wrong with the folder.
    pub fn load(config: &AuthorizationConfig, metrics: &Metrics) -> Result<Self, ConfigError> {
        let authority = authority(config)?;
        let operators = authority.policies().filter(|policy| !policy.name.is_ours()).count();
        if operators > 0 {
            tracing::info!(policies = operators, "policies of the operator are in force");
        }
        Ok(Self::of(authority, metrics))
    }

    /// These policies.
    #[must_use]
    pub fn of(authority: Authority, metrics: &Metrics) -> Self {
        Self { authority: Arc::new(authority), counted: metrics.shared(Counted::register) }
    }

    /// Policies of a test's own in the place of Portal's. Their names begin with `portal.`.
    ///
    /// # Errors
    /// [`Faults`] with everything that is wrong with them.
    pub fn made_of(policies: &str, metrics: &Metrics) -> Result<Self, Faults> {
        let source = Source { name: "test.cedar".to_owned(), text: policies.to_owned() };
        Ok(Self::of(Authority::of(&[source], &[])?, metrics))
    }

    /// Whether a caller may, and whose data it reaches.
    pub(crate) fn decide(&self, asked: &Asked<'_>) -> Result<(Reach, Arc<Decision>), Status> {
        let question = asked.question();
        let decision = self.authority.decide(&question);
        self.counted.count(&decision);
        tell(&question, &decision);
        let refusal = match (decision.answer, asked.behalf) {
            (Answer::Everybodys, _) => return Ok((Reach::Any, decision)),
            (Answer::Own, Behalf::User(user)) => return Ok((Reach::Own(user.subject), decision)),
            // Who is nobody is not asked for their own.
            (Answer::Own, Behalf::Anonymous(_) | Behalf::Own) => Refusal::RoleNotAllowed,
            (Answer::Refused(refusal), _) => refusal,
        };
        Err(match (refusal, asked.behalf) {
            (Refusal::TokenMissing, Behalf::Anonymous(why)) => why.status(),
            (Refusal::PolicyDenied, _) => status::policy_denied(&decision.names()),
            (refusal, _) => reason_of(refusal).status(),
        })
    }
}

/// Portal's policies and those of the folder that `config` names.
///
/// # Errors
/// [`ConfigError::Invalid`] with everything that is wrong with the folder.
pub fn authority(config: &AuthorizationConfig) -> Result<Authority, ConfigError> {
    let sources = config.policies.as_deref().map(folder).transpose();
    let authority = sources.and_then(|sources| Ok(Authority::new(&sources.unwrap_or_default())?));
    authority
        .map_err(|error| ConfigError::Invalid { key: "authorization.policies", problem: error.to_string() })
}

/// The files of a folder that end with `.cedar`, in the order of their names.
fn folder(path: &Path) -> Result<Vec<Source>, FolderError> {
    let unreadable = |path: &Path, error| FolderError::Read { path: path.display().to_string(), error };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| unreadable(path, error))? {
        let file = entry.map_err(|error| unreadable(path, error))?.path();
        if file.extension() == Some(OsStr::new("cedar")) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(FolderError::Empty { folder: path.display().to_string() });
    }
    let read = |file: std::path::PathBuf| match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Source { name: file.display().to_string(), text }),
        Err(error) => Err(unreadable(&file, error)),
    };
    files.into_iter().map(read).collect()
}

/// Who calls a method, as the guard verified it.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'static str,
    pub(crate) workload: Workload,
    pub(crate) behalf: &'a Behalf,
    pub(crate) address: Option<std::net::IpAddr>,
    pub(crate) now: Timestamp,
}

impl<'a> Asked<'a> {
    fn question(&self) -> Question<'a> {
        let user = match self.behalf {
            Behalf::User(user) => Some(user),
            Behalf::Anonymous(_) | Behalf::Own => None,
        };
        let principal = match self.behalf {
            Behalf::Anonymous(_) => Principal::Anonymous,
            Behalf::Own => Principal::Workload(self.workload),
            Behalf::User(user) => match &user.via {
                Via::Itself(client, _) => Principal::Client(*client, &user.roles),
                Via::Client(..) | Via::FirstParty => Principal::Account(user.account, &user.roles),
            },
        };
        let proof = user.and_then(|user| user.assurance).map(|assurance| Proof {
            acr: assurance.acr,
            second_factor: assurance.has_second_factor,
            age: self.now.since(assurance.authenticated_at),
        });
        Question {
            method: self.method,
            principal,
            workload: self.workload,
            client: user.and_then(crate::EndUser::client),
            proof,
            address: self.address,
        }
    }
}

const fn reason_of(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::PolicyDenied => reason::POLICY_DENIED,
        Refusal::RoleNotAllowed => reason::ROLE_NOT_ALLOWED,
        Refusal::ScopeMissing => reason::SCOPE_MISSING,
        Refusal::TokenMissing => reason::TOKEN_MISSING,
        Refusal::Unknown => reason::NO_POLICY,
        Refusal::WorkloadNotAllowed => reason::WORKLOAD_NOT_ALLOWED,
    }
}

/// Writes the decision to the log: who, by kind and id; what; by which policies.
fn tell(question: &Question<'_>, decision: &Decision) {
    let method = question.method;
    for policy in &decision.failed {
        tracing::error!(method, %policy, "a policy could not be evaluated, and refuses");
    }
    let who = question.principal;
    match decision.answer {
        Answer::Everybodys | Answer::Own => {
            let reach = decision.answer.name();
            tracing::debug!(method, caller = caller(who), reach, policies = decision.names(), "permitted");
            for policy in &decision.narrowed_by {
                tracing::debug!(method, caller = caller(who), %policy, "kept from everybody's records");
            }
        }
        // Anybody can send these, as often as they like.
        Answer::Refused(refusal) if matches!(who, Principal::Anonymous) => {
            tracing::debug!(method, reason = refusal.reason(), policies = decision.names(), "refused");
        }
        Answer::Refused(refusal) => {
            let reason = refusal.reason();
            tracing::info!(method, caller = caller(who), reason, policies = decision.names(), "refused");
        }
    }
}

fn caller(principal: Principal<'_>) -> String {
    match principal {
        Principal::Account(id, _) => format!("account/{id}"),
        Principal::Anonymous => "anonymous".to_owned(),
        Principal::Client(id, _) => format!("client/{id}"),
        Principal::Workload(workload) => format!("workload/{workload}"),
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Counts {
    decision: &'static str,
    policy: Policy,
}

/// A policy as a label; `none` where none made the decision.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Policy(Option<PolicyName>);

impl EncodeLabelValue for Policy {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.as_ref().map_or("none", PolicyName::as_str).encode(encoder)
    }
}

/// Decisions by what was decided and by which policy: as many labels as there are policies.
#[derive(Clone)]
struct Counted(Family<Counts, Counter>);

impl Counted {
    fn register(registry: &mut Registry) -> Self {
        let counted = Self(Family::default());
        let help = "Decisions who may call, by what was decided and by each policy that made it";
        registry.register("authorization_decisions", help, counted.0.clone());
        counted
    }

    fn count(&self, decision: &Decision) {
        let count = |decision: &'static str, policy: Option<&PolicyName>| {
            self.0.get_or_create(&Counts { decision, policy: Policy(policy.cloned()) }).inc();
        };
        if decision.policies.is_empty() && decision.failed.is_empty() {
            count(decision.answer.name(), None);
        }
        decision.policies.iter().for_each(|policy| count(decision.answer.name(), Some(policy)));
        decision.narrowed_by.iter().for_each(|policy| count("narrowed", Some(policy)));
        decision.failed.iter().for_each(|policy| count("failed", Some(policy)));
    }
}
