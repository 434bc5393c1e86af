//! Who decides for a subject, and whether that counts.

use portal_core::id::PurposeId;
use portal_core::{Sensitive, Timestamp};

/// The authority of somebody who decides for a subject.
#[derive(Clone, Debug)]
pub(crate) struct Delegation {
    pub(crate) delegate: Sensitive<String>,
    pub(crate) kind: Kind,
    pub(crate) verification: Option<Verification>,
    pub(crate) detail: Option<Sensitive<String>>,
    /// None means all.
    pub(crate) purposes: Vec<PurposeId>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) stated_by: StatedBy,
}

/// By what right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Guardian,
    Representative,
}

/// How that was verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verification {
    Document,
    ElectronicId,
    InPerson,
    OfficialDecision,
    Payment,
}

/// Who says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StatedBy {
    /// A controller.
    Controller,
    /// The account of the subject itself.
    Subject,
}

impl Delegation {
    /// Whether it is within its term at `at` and covers `purpose`.
    pub(crate) fn covers(&self, purpose: PurposeId, at: Timestamp) -> bool {
        let begun = self.from.is_none_or(|from| from <= at);
        let goes_on = self.until.is_none_or(|until| at < until);
        begun && goes_on && (self.purposes.is_empty() || self.purposes.contains(&purpose))
    }

    /// Whether a guardian decides whom a controller has verified: nobody verifies themselves.
    pub(crate) fn is_verified_guardian(&self) -> bool {
        self.kind == Kind::Guardian && self.verification.is_some() && self.stated_by == StatedBy::Controller
    }
}

impl Kind {
    const ALL: [Self; 2] = [Self::Guardian, Self::Representative];

    /// The name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Guardian => "guardian",
            Self::Representative => "representative",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Verification {
    const ALL: [Self; 5] =
        [Self::Document, Self::ElectronicId, Self::InPerson, Self::OfficialDecision, Self::Payment];

    /// The name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::ElectronicId => "electronic_id",
            Self::InPerson => "in_person",
            Self::OfficialDecision => "official_decision",
            Self::Payment => "payment",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

impl StatedBy {
    const ALL: [Self; 2] = [Self::Controller, Self::Subject];

    /// The name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Subject => "subject",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|who| who.name() == name)
    }
}
