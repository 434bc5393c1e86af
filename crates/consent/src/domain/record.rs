//! What a complete record of processing says beside what decisions rest on, after ISO/IEC TS 27560 as the DPV guide renders
//! it: its mandatory fields are there before a purpose is published.
//!
//! What a purpose leaves out is taken from its organisation when it is published, and stands in the revision from then on.

use crate::domain::purpose::Terms;

/// The part of a purpose that informs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Record {
    pub(crate) processing: Vec<String>,
    pub(crate) legal_basis_term: String,
    pub(crate) parties: Vec<Party>,
    pub(crate) storage_locations: Vec<String>,
    pub(crate) storage_conditions: String,
    pub(crate) retention_event: String,
    pub(crate) withdrawal_method: String,
    pub(crate) data_source: String,
    pub(crate) processing_locations: Vec<String>,
    pub(crate) geographic_restrictions: String,
    pub(crate) rights: Vec<String>,
    pub(crate) service: String,
    pub(crate) codes_of_conduct: Vec<String>,
    pub(crate) impact_assessment: String,
    pub(crate) optional_personal_data: Vec<String>,
}

/// An organisation or office with a part in the processing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Party {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: PartyRole,
    pub(crate) address: String,
    pub(crate) email: String,
    pub(crate) phone: String,
    pub(crate) url: String,
    pub(crate) country: String,
}

/// Part that a party has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PartyRole {
    Authority,
    Controller,
    DataProtectionOfficer,
    JointController,
    Processor,
    Recipient,
    Representative,
    ThirdParty,
}

/// One field of a [`Record`] with a new value.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    CodesOfConduct(Vec<String>),
    DataSource(String),
    GeographicRestrictions(String),
    ImpactAssessment(String),
    LegalBasisTerm(String),
    OptionalPersonalData(Vec<String>),
    Parties(Vec<Party>),
    Processing(Vec<String>),
    ProcessingLocations(Vec<String>),
    RetentionEvent(String),
    Rights(Vec<String>),
    Service(String),
    StorageConditions(String),
    StorageLocations(Vec<String>),
    WithdrawalMethod(String),
}

/// What holds for every purpose of an organisation that does not say otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Organisation {
    pub(crate) record: Record,
    pub(crate) jurisdiction: String,
}

impl Record {
    /// Sets a field.
    pub(crate) fn set(&mut self, field: Field) {
        match field {
            Field::CodesOfConduct(value) => self.codes_of_conduct = value,
            Field::DataSource(value) => self.data_source = value,
            Field::GeographicRestrictions(value) => self.geographic_restrictions = value,
            Field::ImpactAssessment(value) => self.impact_assessment = value,
            Field::LegalBasisTerm(value) => self.legal_basis_term = value,
            Field::OptionalPersonalData(value) => self.optional_personal_data = value,
            Field::Parties(value) => self.parties = value,
            Field::Processing(value) => self.processing = value,
            Field::ProcessingLocations(value) => self.processing_locations = value,
            Field::RetentionEvent(value) => self.retention_event = value,
            Field::Rights(value) => self.rights = value,
            Field::Service(value) => self.service = value,
            Field::StorageConditions(value) => self.storage_conditions = value,
            Field::StorageLocations(value) => self.storage_locations = value,
            Field::WithdrawalMethod(value) => self.withdrawal_method = value,
        }
    }
}

impl Organisation {
    /// `terms` with what they leave out, as the organisation has it.
    pub(crate) fn complete(&self, mut terms: Terms) -> Terms {
        let (own, record) = (&self.record, &mut terms.record);
        if !record.parties.iter().any(|party| party.role.controls()) {
            record.parties.extend(own.parties.iter().cloned());
        }
        let lists =
            [(&mut record.storage_locations, &own.storage_locations), (&mut record.rights, &own.rights)];
        for (list, default) in lists {
            if list.is_empty() {
                list.clone_from(default);
            }
        }
        if terms.retention.is_none() {
            or_default(&mut record.retention_event, &own.retention_event);
        }
        or_default(&mut record.storage_conditions, &own.storage_conditions);
        or_default(&mut record.withdrawal_method, &own.withdrawal_method);
        or_default(&mut record.data_source, &own.data_source);
        or_default(&mut terms.jurisdiction, &self.jurisdiction);
        terms
    }
}

fn or_default(text: &mut String, default: &str) {
    if text.is_empty() {
        default.clone_into(text);
    }
}

impl Party {
    /// What a complete record lacks of a controller.
    fn lacking(&self) -> Option<(&'static str, &'static str)> {
        if self.address.is_empty() {
            return Some(("address", "must be set for a controller"));
        }
        let contacts = [&self.email, &self.phone, &self.url];
        contacts
            .into_iter()
            .all(String::is_empty)
            .then_some(("email", "must be set for a controller that has no phone or url"))
    }
}

/// What `terms` lack to be a complete record: fields, and what they must be.
pub(crate) fn lacking(terms: &Terms) -> Vec<(String, &'static str)> {
    let record = &terms.record;
    let mut lacking = Vec::new();
    let fields = [
        ("personal_data", terms.personal_data.is_empty(), "must name the personal data that is used"),
        ("jurisdiction", terms.jurisdiction.is_empty(), "must be set"),
        ("storage_locations", record.storage_locations.is_empty(), "must say where the data is stored"),
        (
            "retention",
            terms.retention.is_none() && record.retention_event.is_empty(),
            "must be set, or retention_event, so that it is said how long the data is kept",
        ),
        ("withdrawal_method", record.withdrawal_method.is_empty(), "must say how consent is withdrawn"),
        (
            "parties",
            !record.parties.iter().any(|party| party.role.controls()),
            "must have a controller, or the configuration of the service an organisation",
        ),
    ];
    if !record.legal_basis_term.is_empty() && !terms.legal_basis.includes(&record.legal_basis_term) {
        lacking.push(("purpose.legal_basis_term".to_owned(), "must fall under legal_basis"));
    }
    if !record.optional_personal_data.iter().all(|category| terms.personal_data.contains(category)) {
        lacking.push(("purpose.optional_personal_data".to_owned(), "must be among personal_data"));
    }
    lacking.extend(
        fields
            .into_iter()
            .filter(|(_, lacks, _)| *lacks)
            .map(|(field, _, must)| (format!("purpose.{field}"), must)),
    );
    for (index, party) in record.parties.iter().enumerate().filter(|(_, party)| party.role.controls()) {
        lacking
            .extend(party.lacking().map(|(field, must)| (format!("purpose.parties[{index}].{field}"), must)));
    }
    lacking
}

impl PartyRole {
    const ALL: [Self; 8] = [
        Self::Authority,
        Self::Controller,
        Self::DataProtectionOfficer,
        Self::JointController,
        Self::Processor,
        Self::Recipient,
        Self::Representative,
        Self::ThirdParty,
    ];

    /// Whether the party decides why and how data is used.
    pub(crate) const fn controls(self) -> bool {
        matches!(self, Self::Controller | Self::JointController)
    }

    /// The name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Controller => "controller",
            Self::DataProtectionOfficer => "data_protection_officer",
            Self::JointController => "joint_controller",
            Self::Processor => "processor",
            Self::Recipient => "recipient",
            Self::Representative => "representative",
            Self::ThirdParty => "third_party",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}
