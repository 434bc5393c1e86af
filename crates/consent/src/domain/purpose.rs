//! Purposes: what personal data is to be used for, and on what terms.

use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::PurposeId;

use crate::domain::life::{Life, State};
use crate::domain::record::{Field, Record};
use crate::domain::terms::List;

/// One revision of a purpose.
#[derive(Clone, Debug)]
pub(crate) struct Purpose {
    pub(crate) id: PurposeId,
    pub(crate) life: Life,
    pub(crate) revision: u32,
    pub(crate) terms: Terms,
}

/// What a revision says. Any combination is a valid draft; the edge checks each field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Terms {
    pub(crate) display_name: String,
    pub(crate) description: String,
    pub(crate) dpv_purposes: Vec<String>,
    pub(crate) legal_basis: LegalBasis,
    pub(crate) personal_data: Vec<String>,
    pub(crate) special_category: bool,
    pub(crate) recipients: Vec<String>,
    pub(crate) retention: Option<Duration>,
    pub(crate) validity: Option<Duration>,
    pub(crate) jurisdiction: String,
    pub(crate) record: Record,
    /// Whether the revision changes the terms, so that consents must be given again.
    pub(crate) material_change: bool,
}

/// The fields of [`Terms`] that an update changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    pub(crate) display_name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) dpv_purposes: Option<Vec<String>>,
    pub(crate) legal_basis: Option<LegalBasis>,
    pub(crate) personal_data: Option<Vec<String>>,
    pub(crate) special_category: Option<bool>,
    pub(crate) recipients: Option<Vec<String>>,
    pub(crate) retention: Option<Option<Duration>>,
    pub(crate) validity: Option<Option<Duration>>,
    pub(crate) jurisdiction: Option<String>,
    pub(crate) record: Vec<Field>,
    pub(crate) material_change: Option<bool>,
}

/// Legal basis, after GDPR Art. 6(1) and DPV.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LegalBasis {
    Consent,
    Contract,
    ExplicitConsent,
    LegalObligation,
    LegitimateInterest,
    PublicInterest,
    VitalInterest,
}

impl Purpose {
    pub(crate) fn state(&self) -> State {
        self.life.state(self.revision)
    }

    /// When a consent given at `now` for `asked` ends, or `None` if `asked` is longer than the purpose allows.
    pub(crate) fn expiry(&self, asked: Option<Duration>, now: Timestamp) -> Option<Option<Timestamp>> {
        match (asked, self.terms.validity) {
            (Some(asked), Some(most)) if asked > most => None,
            (Some(term), _) | (None, Some(term)) => Some(Some(now.plus(term))),
            (None, None) => Some(None),
        }
    }
}

impl Terms {
    /// These terms with the changes of `patch`.
    pub(crate) fn with(self, patch: Patch) -> Self {
        let mut record = self.record;
        patch.record.into_iter().for_each(|field| record.set(field));
        Self {
            display_name: patch.display_name.unwrap_or(self.display_name),
            description: patch.description.unwrap_or(self.description),
            dpv_purposes: patch.dpv_purposes.unwrap_or(self.dpv_purposes),
            legal_basis: patch.legal_basis.unwrap_or(self.legal_basis),
            personal_data: patch.personal_data.unwrap_or(self.personal_data),
            special_category: patch.special_category.unwrap_or(self.special_category),
            recipients: patch.recipients.unwrap_or(self.recipients),
            retention: patch.retention.unwrap_or(self.retention),
            validity: patch.validity.unwrap_or(self.validity),
            jurisdiction: patch.jurisdiction.unwrap_or(self.jurisdiction),
            record,
            material_change: patch.material_change.unwrap_or(self.material_change),
        }
    }
}

impl LegalBasis {
    const ALL: [Self; 7] = [
        Self::Consent,
        Self::Contract,
        Self::ExplicitConsent,
        Self::LegalObligation,
        Self::LegitimateInterest,
        Self::PublicInterest,
        Self::VitalInterest,
    ];

    /// What DPV calls it.
    const fn terms(self) -> &'static [&'static str] {
        match self {
            Self::Consent => &["Consent"],
            Self::Contract => &["Contract"],
            Self::ExplicitConsent => &["ExplicitlyExpressedConsent"],
            Self::LegalObligation => &["LegalObligation"],
            Self::LegitimateInterest => &["LegitimateInterest"],
            Self::PublicInterest => &["PublicInterest", "OfficialAuthorityOfController"],
            Self::VitalInterest => &["VitalInterest"],
        }
    }

    /// Whether the DPV term says the same more exactly.
    pub(crate) fn includes(self, term: &str) -> bool {
        self.terms().iter().any(|ancestor| List::LegalBases.is_under(term, ancestor))
    }

    /// The name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Contract => "contract",
            Self::ExplicitConsent => "explicit_consent",
            Self::LegalObligation => "legal_obligation",
            Self::LegitimateInterest => "legitimate_interest",
            Self::PublicInterest => "public_interest",
            Self::VitalInterest => "vital_interest",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|basis| basis.name() == name)
    }
}
