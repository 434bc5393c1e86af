//! The state machine of a consent, in the terms of DPV `ConsentStatus`. Only [`Status::Given`] and
//! [`Status::RenewedGiven`] permit.
//!
//! To show a notice is to ask: giving or refusing under a notice passes through [`Status::Requested`] in one step, which
//! is how a first record can be a refusal and how someone who withdrew can refuse when asked anew.

/// Where a subject stands towards a purpose.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Status {
    Expired,
    Given,
    Invalidated,
    Refused,
    RenewedGiven,
    RequestDeferred,
    Requested,
    Revoked,
    Unknown,
    Withdrawn,
}

/// What can happen to a consent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Defer,
    Expire,
    Give,
    Invalidate,
    Refuse,
    Renew,
    Request,
    Revoke,
    Withdraw,
}

/// The change is not possible from this status.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a consent that is {} can't take this change", from.name())]
pub(crate) struct IllegalChange {
    pub(crate) from: Status,
    pub(crate) change: Change,
}

impl Status {
    pub(crate) const ALL: [Self; 10] = [
        Self::Expired,
        Self::Given,
        Self::Invalidated,
        Self::Refused,
        Self::RenewedGiven,
        Self::RequestDeferred,
        Self::Requested,
        Self::Revoked,
        Self::Unknown,
        Self::Withdrawn,
    ];

    /// The name in the database and in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Given => "given",
            Self::Invalidated => "invalidated",
            Self::Refused => "refused",
            Self::RenewedGiven => "renewed_given",
            Self::RequestDeferred => "request_deferred",
            Self::Requested => "requested",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether data may be used.
    pub(crate) const fn permits(self) -> bool {
        matches!(self, Self::Given | Self::RenewedGiven)
    }

    /// The status after `change`: the whole table.
    pub(crate) const fn after(self, change: Change) -> Result<Self, IllegalChange> {
        use Status::{
            Expired, Given, Invalidated, Refused, RenewedGiven, RequestDeferred, Requested, Revoked, Unknown,
            Withdrawn,
        };
        match (self, change) {
            (Unknown | Requested | RequestDeferred | Refused | Withdrawn | Expired, Change::Give) => {
                Ok(Given)
            }
            (Given | RenewedGiven, Change::Give | Change::Renew) => Ok(RenewedGiven),
            (Unknown | Requested | RequestDeferred | Refused | Withdrawn | Expired, Change::Refuse) => {
                Ok(Refused)
            }
            (Unknown | RequestDeferred | Refused | Withdrawn | Expired, Change::Request) => Ok(Requested),
            (Requested, Change::Defer) => Ok(RequestDeferred),
            (Requested | Given | RenewedGiven, Change::Expire) => Ok(Expired),
            (Given | RenewedGiven, Change::Withdraw) => Ok(Withdrawn),
            (Given | RenewedGiven, Change::Revoke) => Ok(Revoked),
            (Given | RenewedGiven, Change::Invalidate) => Ok(Invalidated),
            (
                Expired | Given | Invalidated | Refused | RenewedGiven | RequestDeferred | Requested
                | Revoked | Unknown | Withdrawn,
                _,
            ) => Err(IllegalChange { from: self, change }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::Status::{
        Expired, Given, Invalidated, Refused, RenewedGiven, RequestDeferred, Requested, Revoked, Unknown,
        Withdrawn,
    };
    use super::*;

    const CHANGES: [Change; 9] = [
        Change::Defer,
        Change::Expire,
        Change::Give,
        Change::Invalidate,
        Change::Refuse,
        Change::Renew,
        Change::Request,
        Change::Revoke,
        Change::Withdraw,
    ];

    /// The edges of the specification, as it lists them.
    fn specified() -> BTreeSet<(Status, Status)> {
        let mut edges = BTreeSet::from([(Unknown, Requested)]);
        edges.extend([Given, Refused, RequestDeferred, Expired].map(|to| (Requested, to)));
        for from in [Given, RenewedGiven] {
            edges.extend([RenewedGiven, Withdrawn, Revoked, Invalidated, Expired].map(|to| (from, to)));
        }
        for from in [Refused, Withdrawn, Expired, RequestDeferred] {
            edges.extend([Requested, Given].map(|to| (from, to)));
        }
        edges
    }

    #[test]
    fn every_edge_is_specified_or_passes_through_a_request() {
        let specified = specified();
        let mut taken = BTreeSet::new();
        for from in Status::ALL {
            for change in CHANGES {
                let Ok(to) = from.after(change) else { continue };
                let direct = specified.contains(&(from, to));
                let asked = matches!(change, Change::Give | Change::Refuse)
                    && specified.contains(&(from, Requested))
                    && specified.contains(&(Requested, to));
                assert!(direct || asked, "{from:?} {change:?} → {to:?}");
                taken.insert((from, to));
            }
        }
        assert!(specified.is_subset(&taken), "missing: {:?}", specified.difference(&taken));
    }

    #[test]
    fn the_whole_table() {
        let golden = [
            (Expired, [None, None, Some(Given), None, Some(Refused), None, Some(Requested), None, None]),
            (
                Given,
                [
                    None,
                    Some(Expired),
                    Some(RenewedGiven),
                    Some(Invalidated),
                    None,
                    Some(RenewedGiven),
                    None,
                    Some(Revoked),
                    Some(Withdrawn),
                ],
            ),
            (Invalidated, [None; 9]),
            (Refused, [None, None, Some(Given), None, Some(Refused), None, Some(Requested), None, None]),
            (
                RenewedGiven,
                [
                    None,
                    Some(Expired),
                    Some(RenewedGiven),
                    Some(Invalidated),
                    None,
                    Some(RenewedGiven),
                    None,
                    Some(Revoked),
                    Some(Withdrawn),
                ],
            ),
            (
                RequestDeferred,
                [None, None, Some(Given), None, Some(Refused), None, Some(Requested), None, None],
            ),
            (
                Requested,
                [
                    Some(RequestDeferred),
                    Some(Expired),
                    Some(Given),
                    None,
                    Some(Refused),
                    None,
                    None,
                    None,
                    None,
                ],
            ),
            (Revoked, [None; 9]),
            (Unknown, [None, None, Some(Given), None, Some(Refused), None, Some(Requested), None, None]),
            (Withdrawn, [None, None, Some(Given), None, Some(Refused), None, Some(Requested), None, None]),
        ];
        assert_eq!(golden.map(|(from, _)| from), Status::ALL);
        for (from, row) in golden {
            for (change, to) in CHANGES.into_iter().zip(row) {
                assert_eq!(from.after(change), to.ok_or(IllegalChange { from, change }));
            }
        }
    }

    #[test]
    fn names_are_unique_and_only_given_permits() {
        for status in Status::ALL {
            assert_eq!(Status::from_name(status.name()), Some(status));
        }
        let permitting: Vec<_> = Status::ALL.into_iter().filter(|status| status.permits()).collect();
        assert_eq!(permitting, [Given, RenewedGiven]);
    }
}
