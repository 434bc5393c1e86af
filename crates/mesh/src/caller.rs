//! Who is calling: the workload that its certificate proves, and the end user that the token proves.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use portal_core::id::{AccountId, ClientId, SessionId, SubjectId};
use portal_core::{Assurance, Role, Scope, Workload};
use tonic::{Request, Status};

use crate::policy::{Action, Permit, Reach, Row};
use crate::status::{Reason, reason};

/// What stands between an account and the client that acts for it, in [`Caller::key`].
pub const VIA: &str = " via client/";

/// The account behind a call, from a verified token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndUser {
    /// The account.
    pub account: AccountId,
    /// The person the account belongs to.
    pub subject: SubjectId,
    /// The session the token was issued for.
    pub session: SessionId,
    /// What the account may do.
    pub roles: BTreeSet<Role>,
    /// How sure one can be of the person; `None` if the token does not say.
    pub assurance: Option<Assurance>,
    /// By what the account acts, which may be allowed less.
    pub via: Via,
}

/// By what an account acts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Via {
    /// An OAuth client to which its holder gave these scopes.
    Client(ClientId, BTreeSet<Scope>),
    /// Portal's own sign-in.
    FirstParty,
    /// Nothing: the account is an OAuth client, which acts for itself with these scopes.
    Itself(ClientId, BTreeSet<Scope>),
}

impl EndUser {
    /// The OAuth client that holds the token, if one does, and its scopes.
    #[must_use]
    pub const fn client(&self) -> Option<(ClientId, &BTreeSet<Scope>)> {
        match &self.via {
            Via::Client(id, scopes) | Via::Itself(id, scopes) => Some((*id, scopes)),
            Via::FirstParty => None,
        }
    }
}

/// On whose behalf a workload calls.
#[derive(Clone, Debug)]
pub(crate) enum Behalf {
    /// Nobody signed in; the reason to give if somebody must be.
    Anonymous(Reason),
    /// The workload's own.
    Own,
    /// A signed-in person's.
    User(EndUser),
}

/// The caller of one request, whom the policies let in. Made by the server's guard, which put beside it which method it was
/// let in to, and how far.
#[derive(Clone)]
pub struct Caller {
    workload: Workload,
    client: Option<IpAddr>,
    behalf: Behalf,
    row: &'static Row,
    reach: Reach,
}

impl fmt::Debug for Caller {
    /// Without the address of the client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Caller");
        debug.field("workload", &self.workload).field("behalf", &self.behalf).finish_non_exhaustive()
    }
}

impl Caller {
    pub(crate) const fn new(
        (workload, client): (Workload, Option<IpAddr>),
        behalf: Behalf,
        row: &'static Row,
        reach: Reach,
    ) -> Self {
        Self { workload, client, behalf, row, reach }
    }

    /// The caller of `request`.
    ///
    /// # Errors
    /// INTERNAL if the request did not come through the guard: a mis-wired server answers nothing.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| reason::INTERNAL.status())
    }

    /// The process at the other end of the connection.
    #[must_use]
    pub const fn workload(&self) -> Workload {
        self.workload
    }

    /// From where the call came to the gateway, if it did and was told. Personal data: it may bound what somebody does, and
    /// is neither logged nor stored as it is.
    #[must_use]
    pub const fn client_address(&self) -> Option<IpAddr> {
        self.client
    }

    /// The end user, if one is signed in.
    #[must_use]
    pub const fn user(&self) -> Option<&EndUser> {
        match &self.behalf {
            Behalf::User(user) => Some(user),
            Behalf::Anonymous(_) | Behalf::Own => None,
        }
    }

    /// The end user, who has to be one.
    ///
    /// # Errors
    /// UNAUTHENTICATED without a token that can be used.
    pub fn signed_in(&self) -> Result<&EndUser, Status> {
        self.user().ok_or_else(|| self.missing_token())
    }

    pub(crate) const fn reach(&self) -> Reach {
        self.reach
    }

    pub(crate) fn missing_token(&self) -> Status {
        match &self.behalf {
            Behalf::Anonymous(why) => why.status(),
            Behalf::Own | Behalf::User(_) => reason::TOKEN_MISSING.status(),
        }
    }

    /// A stable name of the caller: the owner of idempotency keys and page tokens, and who did what is recorded. What a client
    /// does for somebody is told from what they do themselves.
    #[must_use]
    pub fn key(&self) -> String {
        match &self.behalf {
            Behalf::Anonymous(_) => "anonymous".to_owned(),
            Behalf::Own => format!("workload/{}", self.workload),
            Behalf::User(EndUser { via: Via::Itself(client, _), .. }) => format!("client/{client}"),
            Behalf::User(user @ EndUser { via: Via::Client(client, _), .. }) => {
                format!("account/{}{VIA}{client}", user.account)
            }
            Behalf::User(user) => format!("account/{}", user.account),
        }
    }

    /// A permit for `A`, as wide as the policy allows this caller.
    ///
    /// # Errors
    /// PERMISSION_DENIED if the caller was let in to another method.
    pub fn permit<A: Action>(&self) -> Result<Permit<A>, Status> {
        if self.row.method() != A::METHOD {
            return Err(reason::NO_POLICY.status());
        }
        Ok(Permit::new(self.clone()))
    }

    /// A permit for `A` on `subject`'s data.
    ///
    /// # Errors
    /// As [`Self::permit`]; PERMISSION_DENIED if the caller reaches its own data only and `subject` is someone else.
    pub fn permit_for<A: Action>(&self, subject: SubjectId) -> Result<Permit<A>, Status> {
        let permit = self.permit::<A>()?;
        permit.covers(subject)?;
        Ok(permit)
    }
}
