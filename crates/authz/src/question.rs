//! Who asks for what, and what is known of them: everything that a policy can look at.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use portal_core::id::{AccountId, ClientId};
use portal_core::{Acr, Role, Scope, Workload};

/// On whose behalf a call is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Principal<'a> {
    /// A person who signed in.
    Account(AccountId, &'a BTreeSet<Role>),
    /// Nobody.
    Anonymous,
    /// An OAuth client, for itself.
    Client(ClientId, &'a BTreeSet<Role>),
    /// A process of the mesh, for itself.
    Workload(Workload),
}

/// How a person proved who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Proof {
    /// How.
    pub acr: Acr,
    /// Whether they have a second factor.
    pub second_factor: bool,
    /// How long ago.
    pub age: Duration,
}

/// A question to the policies.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The gRPC path, for example `/portal.consent.v1.ConsentService/GiveConsent`.
    pub method: &'a str,
    /// On whose behalf the call is.
    pub principal: Principal<'a>,
    /// Whose connection it is.
    pub workload: Workload,
    /// The OAuth client that holds the token, and its scopes.
    pub client: Option<(ClientId, &'a BTreeSet<Scope>)>,
    /// How the person proved who they are, if that is known.
    pub proof: Option<Proof>,
    /// From where the call came to the gateway. Personal data: it is looked at and forgotten.
    pub address: Option<IpAddr>,
}

impl fmt::Debug for Question<'_> {
    /// Without the address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Question");
        debug.field("method", &self.method).field("principal", &self.principal);
        debug.field("client", &self.client).field("proof", &self.proof).finish_non_exhaustive()
    }
}

/// What decides, if no policy looks closer: equal keys have equal decisions.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key {
    method: u16,
    kind: u8,
    workload: Workload,
    roles: u8,
    /// The scopes, one bit each; of who calls through no client, none at all.
    scopes: Option<u16>,
}

impl Key {
    pub(crate) fn of(method: u16, question: &Question<'_>) -> Self {
        let (kind, roles) = match question.principal {
            Principal::Account(_, roles) => (0, Some(roles)),
            Principal::Anonymous => (1, None),
            Principal::Client(_, roles) => (2, Some(roles)),
            Principal::Workload(workload) => (3 + workload as u8, None),
        };
        Self {
            method,
            kind,
            workload: question.workload,
            roles: roles.into_iter().flatten().fold(0, |bits, role| bits | 1 << *role as u8),
            scopes: question
                .client
                .map(|(_, scopes)| scopes.iter().fold(0, |bits, scope| bits | 1 << *scope as u16)),
        }
    }
}
