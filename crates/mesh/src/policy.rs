//! The policy table: one row per method, which says how it may be called; and the permit. Who may call it, the policies of
//! `portal-authz` decide.
//!
//! Invariants: a method without a row is refused, and so is one that no policy permits; a [`Permit`] can't be made outside
//! this crate, so a use case that asks for one can't be reached without the policies having said yes.

use std::marker::PhantomData;
use std::time::Duration;

use portal_core::id::SubjectId;
use portal_core::{Assurance, Timestamp};
use tonic::Status;

use crate::caller::Caller;
use crate::status::{self, reason};

/// A method of a service as a type. Made by [`actions!`](crate::actions).
pub trait Action: Send + Sync + 'static {
    /// The gRPC path, for example `/portal.consent.v1.ConsentService/GiveConsent`.
    const METHOD: &'static str;
}

/// Declares one unit type per method of a service; each is an [`Action`].
///
/// ```
/// portal_mesh::actions! { "portal.consent.v1.ConsentService" => GiveConsent, WithdrawConsent }
/// # use portal_mesh::policy::Action;
/// assert_eq!(GiveConsent::METHOD, "/portal.consent.v1.ConsentService/GiveConsent");
/// ```
#[macro_export]
macro_rules! actions {
    ($($service:literal => $($method:ident),+ $(,)?);+ $(;)?) => {$($(
        #[doc = concat!("`", $service, "/", stringify!($method), "`")]
        #[derive(Clone, Copy, Debug)]
        pub struct $method;

        impl $crate::policy::Action for $method {
            const METHOD: &'static str = concat!("/", $service, "/", stringify!($method));
        }
    )+)+};
}

/// How a method counts against the caller's rate limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RateClass {
    /// Large transfers.
    Bulk,
    /// Verifies a password or sends mail: expensive for us, or a way to guess.
    Login,
    /// Reads.
    Read,
    /// Stays open.
    Stream,
    /// Changes something.
    Write,
}

/// What the audit log keeps of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Audit {
    /// Reads of personal data.
    Access,
    /// Changes of records.
    Change,
    /// Nothing: public or about no person.
    None,
    /// Sign-in, keys, roles.
    Security,
}

/// Whether a failed call may be sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// Never by itself.
    Never,
    /// Always: the method has no side effects.
    Safe,
    /// When the request has a `request_id`.
    WithRequestId,
}

/// How one method may be called.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    method: &'static str,
    rate: RateClass,
    audit: Audit,
    retry: Retry,
    deadline: Option<Duration>,
    max_request_bytes: usize,
    step_up: Option<Duration>,
}

/// Longest time for a call whose row says nothing else.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
/// Largest request message for a method whose row says nothing else.
pub const DEFAULT_MAX_REQUEST_BYTES: usize = 256 * 1_024;

/// How long ago, in seconds, the caller of a sensitive method may have proven who they are: of one that gives or takes rights,
/// ends what can't be brought back, or adds a factor. Methods that take a password or the proof of a factor need no more.
pub const FRESH: u64 = 15 * 60;

impl Row {
    /// A row for `A`: not to be sent again, with the defaults of this module.
    #[must_use]
    pub const fn of<A: Action>() -> Self {
        Self {
            method: A::METHOD,
            rate: RateClass::Write,
            audit: Audit::Access,
            retry: Retry::Never,
            deadline: Some(DEFAULT_DEADLINE),
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
            step_up: None,
        }
    }

    /// Reads only: may be sent again.
    #[must_use]
    pub const fn read(mut self) -> Self {
        self.rate = RateClass::Read;
        self.retry = Retry::Safe;
        self
    }

    /// Changes something, once per `request_id`.
    #[must_use]
    pub const fn write(mut self) -> Self {
        self.rate = RateClass::Write;
        self.retry = Retry::WithRequestId;
        self
    }

    /// Sets the rate class.
    #[must_use]
    pub const fn rate(mut self, rate: RateClass) -> Self {
        self.rate = rate;
        self
    }

    /// Sets the audit class.
    #[must_use]
    pub const fn audit(mut self, audit: Audit) -> Self {
        self.audit = audit;
        self
    }

    /// Longest time the call may take, in seconds.
    #[must_use]
    pub const fn deadline_seconds(mut self, seconds: u64) -> Self {
        self.deadline = Some(Duration::from_secs(seconds));
        self
    }

    /// A stream that stays open until either side ends it.
    #[must_use]
    pub const fn open_ended(mut self) -> Self {
        self.deadline = None;
        self.rate = RateClass::Stream;
        self
    }

    /// Largest request message, in bytes.
    #[must_use]
    pub const fn max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// An end user must have proven who they are in the last `max_age_seconds`: by a second factor too, if they have one.
    #[must_use]
    pub const fn step_up(mut self, max_age_seconds: u64) -> Self {
        self.step_up = Some(Duration::from_secs(max_age_seconds));
        self
    }

    /// The gRPC path.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        self.method
    }

    /// The longest time the call may take; `None` for a stream that stays open.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// The largest request message, in bytes.
    #[must_use]
    pub const fn request_limit(&self) -> usize {
        self.max_request_bytes
    }

    /// The rate class.
    #[must_use]
    pub const fn rate_class(&self) -> RateClass {
        self.rate
    }

    /// The audit class.
    #[must_use]
    pub const fn audit_class(&self) -> Audit {
        self.audit
    }

    /// Whether a failed call may be sent again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        self.retry
    }

    /// How long ago an end user may have proven who they are; `None` if it does not matter.
    #[must_use]
    pub const fn step_up_age(&self) -> Option<Duration> {
        self.step_up
    }

    /// Refuses an end user of whom one can't be sure enough. Processes prove who they are with each connection.
    pub(crate) fn assured(&self, caller: &Caller, now: Timestamp) -> Result<(), Status> {
        let (Some(max_age), Some(user)) = (self.step_up, caller.user()) else { return Ok(()) };
        if user.assurance.is_some_and(|assurance| assurance.suffices(max_age, now)) {
            return Ok(());
        }
        // Of whom nothing is known it is not known either that they have no second factor.
        let has_second_factor = user.assurance.is_none_or(|assurance| assurance.has_second_factor);
        Err(status::step_up(Assurance::good_enough(has_second_factor), max_age))
    }
}

actions! { "grpc.health.v1.Health" => Check, List, Watch }

/// Methods that every service answers.
static EVERYWHERE: [Row; 3] = [
    Row::of::<Check>().read().audit(Audit::None),
    Row::of::<List>().read().audit(Audit::None),
    Row::of::<Watch>().open_ended().audit(Audit::None),
];

/// The row of `method` in `table`, or among those that hold everywhere.
#[must_use]
pub fn row(table: &'static [Row], method: &str) -> Option<&'static Row> {
    table.iter().chain(&EVERYWHERE).find(|row| row.method == method)
}

/// Whose data a permit reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    Any,
    Own(SubjectId),
}

/// The policies' yes to one call of `A`: the only key to the use case.
pub struct Permit<A: Action> {
    caller: Caller,
    action: PhantomData<A>,
}

impl<A: Action> Permit<A> {
    pub(crate) fn new(caller: Caller) -> Self {
        Self { caller, action: PhantomData }
    }

    /// Who was let in.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The one subject whose data may be touched, or `None` if anybody's may.
    #[must_use]
    pub fn only(&self) -> Option<SubjectId> {
        match self.caller.reach() {
            Reach::Any => None,
            Reach::Own(subject) => Some(subject),
        }
    }

    /// Checks data whose subject is known only after it was loaded.
    ///
    /// # Errors
    /// PERMISSION_DENIED, reason `NOT_YOUR_DATA`, if the permit does not reach `subject`'s data.
    pub fn covers(&self, subject: SubjectId) -> Result<(), Status> {
        match self.caller.reach() {
            Reach::Own(own) if own != subject => Err(reason::NOT_YOUR_DATA.status()),
            Reach::Any | Reach::Own(_) => Ok(()),
        }
    }
}
