//! Callers, in few words.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use portal_authz::{Answer, Authority, Decision, Principal, Proof, Question, Refusal};
use portal_core::id::{AccountId, ClientId, Id};
use portal_core::{Acr, Role, Scope, Workload};

pub const GIVE: &str = "/portal.consent.v1.ConsentService/GiveConsent";
pub const SIGN_UP: &str = "/portal.auth.v1.AccountService/CreateAccount";
pub const LIST_SUBJECTS: &str = "/portal.consent.v1.SubjectService/ListSubjects";
pub const ROTATE_KEYS: &str = "/portal.consent.v1.KeyService/RotateKeys";

/// Somebody with roles.
#[derive(Clone, Default)]
pub struct Who {
    pub roles: BTreeSet<Role>,
    pub scopes: Option<BTreeSet<Scope>>,
    pub proof: Option<Proof>,
    pub address: Option<IpAddr>,
    pub account: u8,
}

pub fn who(roles: &[Role]) -> Who {
    Who { roles: roles.iter().copied().collect(), ..Who::default() }
}

impl Who {
    pub fn at(self, address: &str) -> Self {
        Self { address: Some(address.parse().unwrap()), ..self }
    }

    pub fn through(self, scopes: &[Scope]) -> Self {
        Self { scopes: Some(scopes.iter().copied().collect()), ..self }
    }

    pub fn proven(self, acr: Acr, seconds: u64) -> Self {
        let proof = Proof { acr, second_factor: true, age: Duration::from_secs(seconds) };
        Self { proof: Some(proof), ..self }
    }

    pub fn asks<'a>(&'a self, method: &'a str) -> Question<'a> {
        Question {
            method,
            principal: Principal::Account(AccountId::from_bytes([self.account; 16]), &self.roles),
            workload: Workload::Gateway,
            client: self.scopes.as_ref().map(|scopes| (ClientId::from_bytes([9; 16]), scopes)),
            proof: self.proof,
            address: self.address,
        }
    }

    /// What they are told; remembered and anew alike.
    pub fn told(&self, authority: &Authority, method: &str) -> Decision {
        told(authority, &self.asks(method))
    }
}

pub fn told(authority: &Authority, question: &Question<'_>) -> Decision {
    let first = authority.decide(question);
    assert_eq!(first, authority.decide(question), "{question:?} is told two things");
    assert_eq!(*first, authority.decide_anew(question), "{question:?} is told what was decided of another");
    Decision::clone(&first)
}

pub fn nobody(method: &str) -> Question<'_> {
    let (principal, workload) = (Principal::Anonymous, Workload::Gateway);
    Question { method, principal, workload, client: None, proof: None, address: None }
}

pub fn process(workload: Workload, method: &str) -> Question<'_> {
    let principal = Principal::Workload(workload);
    Question { method, principal, workload, client: None, proof: None, address: None }
}

pub fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(refusal)
}
