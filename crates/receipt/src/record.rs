//! What a receipt says: one event of a consent with all it rests on, in the terms of ISO/IEC TS 27560.

use std::fmt;
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::{ConsentId, Id, NoticeId, PurposeId, ReceiptId, SubjectId};
use portal_crypto::hash::sha256;

/// The roles of controllers.
const CONTROLLERS: [&str; 2] = ["dpv:DataController", "dpv:JointDataControllers"];

/// The content of a receipt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The receipt, and the event it is of.
    pub id: ReceiptId,
    /// The consent: the record in the terms of the standard.
    pub consent: ConsentId,
    /// Who keeps the record: the name of the ledger, `<trust-domain>/<service>`.
    pub keeper: String,
    /// The person.
    pub subject: Subject,
    /// The event.
    pub event: Event,
    /// What the person was shown.
    pub notice: Notice,
    /// What the data is for.
    pub purpose: Purpose,
    /// Those who take part: controllers, processors, recipients.
    pub parties: Vec<Party>,
    /// Who acted for the person, if somebody did.
    pub delegation: Option<Delegation>,
    /// What shows that the person did what the event says.
    pub evidence: Vec<Evidence>,
}

/// A person, by an id that says nothing to others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// The id.
    pub id: SubjectId,
    /// Categories in DPV terms, such as `dpv:Adult`.
    pub categories: Vec<String>,
    /// Where the person's law is from, such as `loc:IE`.
    pub jurisdictions: Vec<String>,
}

/// One change of the consent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Its number within the consent, from 1.
    pub sequence: u64,
    /// The status before.
    pub previous: Status,
    /// The status since.
    pub status: Status,
    /// When it happened.
    pub event_at: Timestamp,
    /// When it was recorded: when the receipt was issued.
    pub recorded_at: Timestamp,
    /// When what was given ends by itself.
    pub expires_at: Option<Timestamp>,
    /// How the will was expressed.
    pub indication: Option<Indication>,
    /// On which side whoever acted was.
    pub indicated_by: IndicatedBy,
    /// Who made the call that recorded it: an account, a client or a service.
    pub recorded_by: Option<String>,
}

/// Where a person stands towards a purpose: DPV `ConsentStatus`. The numbers stand in payloads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the vocabulary")]
pub enum Status {
    Unknown = 0,
    Requested = 1,
    RequestDeferred = 2,
    Refused = 3,
    Given = 4,
    RenewedGiven = 5,
    Withdrawn = 6,
    Revoked = 7,
    Invalidated = 8,
    Expired = 9,
}

/// How a will was expressed. The numbers stand in payloads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Indication {
    AutomatedSignal = 1,
    Button = 2,
    Checkbox = 3,
    ExplicitStatement = 4,
    Signature = 5,
    Spoken = 6,
    Written = 7,
}

/// On whose side somebody acted. The numbers stand in payloads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IndicatedBy {
    /// The person.
    Subject = 1,
    /// Somebody for the person: see [`Delegation`].
    Delegate = 2,
    /// The controller, or somebody for it.
    Controller = 3,
    /// Time, by a rule that was agreed before.
    Rule = 4,
}

/// The revision of a notice that was shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// The notice.
    pub id: NoticeId,
    /// The revision, from 1. Published revisions never change.
    pub revision: u32,
    /// The language it was shown in (BCP 47). A withdrawal is under no notice anew.
    pub language: Option<String>,
    /// SHA-384 of the revision as canonical JSON, unless it could not be read.
    pub content_hash: Option<[u8; 48]>,
}

/// The revision of a purpose that was decided on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Purpose {
    /// The purpose.
    pub id: PurposeId,
    /// The revision, from 1. Published revisions never change.
    pub revision: u32,
    /// What it says. A withdrawal stands without them, should they not be readable.
    pub terms: Option<Terms>,
    /// SHA-384 of the revision as canonical JSON, unless it could not be read.
    pub content_hash: Option<[u8; 48]>,
    /// Whether terms or parties are not all here, because they are too long: see [`Record::fitted`].
    pub abridged: bool,
}

/// What a purpose says of the use of data.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Terms {
    /// Its name.
    pub name: String,
    /// Purposes in DPV terms.
    pub purposes: Vec<String>,
    /// The legal basis in DPV terms, such as `dpv:Consent`.
    pub legal_basis: String,
    /// Personal data in DPV terms.
    pub personal_data: Vec<String>,
    /// Whether it is of special categories.
    pub special_category: bool,
    /// What is done with it, in DPV terms.
    pub processing: Vec<String>,
    /// Who gets it.
    pub recipients: Vec<String>,
    /// Where it is stored.
    pub storage: Vec<String>,
    /// For how long.
    pub retention: Option<Duration>,
    /// Whose law applies, such as `loc:IE`.
    pub jurisdictions: Vec<String>,
    /// Where or how to withdraw.
    pub withdrawal: Option<String>,
    /// What ends the time for which it is stored.
    pub retention_event: Option<String>,
    /// How it is stored.
    pub storage_conditions: Option<String>,
    /// Where it comes from.
    pub data_source: Option<String>,
    /// Where it is processed.
    pub processing_locations: Vec<String>,
    /// Where it may not go.
    pub restrictions: Option<String>,
    /// The rights of the person, in DPV terms.
    pub rights: Vec<String>,
    /// The service that it is for.
    pub service: Option<String>,
    /// Codes of conduct that are followed.
    pub codes_of_conduct: Vec<String>,
    /// Where the impact assessment is.
    pub impact_assessment: Option<String>,
    /// Of the personal data, what the person may leave out.
    pub optional_personal_data: Vec<String>,
}

/// Somebody who takes part in the processing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Party {
    /// How other fields name it.
    pub id: String,
    /// Its role in DPV terms, such as `dpv:DataController`.
    pub role: String,
    /// Its name.
    pub name: String,
    /// Where it is, in one line.
    pub address: Option<String>,
    /// Who answers for it.
    pub contact: Option<String>,
    /// Its e-mail address.
    pub email: Option<String>,
    /// Its telephone number.
    pub phone: Option<String>,
    /// Its website.
    pub url: Option<String>,
    /// Its country, such as `loc:IE`.
    pub country: Option<String>,
}

/// That somebody acted for the person.
#[derive(Clone, Eq, PartialEq)]
pub struct Delegation {
    /// In DPV terms, such as `dpv:GuardianOfDataSubject`.
    pub kind: String,
    /// Who acted, by a name that ties them to nothing else: see [`Delegation::pseudonym`].
    pub delegate: String,
    /// Whether it was verified that they may.
    pub verified: bool,
    /// Until when they may.
    pub expires_at: Option<Timestamp>,
    /// How it was verified, such as `document`.
    pub verified_by: Option<String>,
    /// SHA-384 of all that was said of it.
    pub content_hash: Option<[u8; 48]>,
}

/// A document that is kept as proof.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// What it shows, such as `screenshot`.
    pub kind: String,
    /// Its media type.
    pub media_type: String,
    /// SHA-384 of it.
    pub content_hash: [u8; 48],
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 10] = [
        Self::Unknown,
        Self::Requested,
        Self::RequestDeferred,
        Self::Refused,
        Self::Given,
        Self::RenewedGiven,
        Self::Withdrawn,
        Self::Revoked,
        Self::Invalidated,
        Self::Expired,
    ];

    /// The term of the vocabulary.
    #[must_use]
    pub const fn term(self) -> &'static str {
        match self {
            Self::Unknown => "dpv:ConsentUnknown",
            Self::Requested => "dpv:ConsentRequested",
            Self::RequestDeferred => "dpv:ConsentRequestDeferred",
            Self::Refused => "dpv:ConsentRefused",
            Self::Given => "dpv:ConsentGiven",
            Self::RenewedGiven => "dpv:RenewedConsentGiven",
            Self::Withdrawn => "dpv:ConsentWithdrawn",
            Self::Revoked => "dpv:ConsentRevoked",
            Self::Invalidated => "dpv:ConsentInvalidated",
            Self::Expired => "dpv:ConsentExpired",
        }
    }

    /// Whether data may be used.
    #[must_use]
    pub const fn permits(self) -> bool {
        matches!(self, Self::Given | Self::RenewedGiven)
    }
}

impl Indication {
    /// Every way.
    pub const ALL: [Self; 7] = [
        Self::AutomatedSignal,
        Self::Button,
        Self::Checkbox,
        Self::ExplicitStatement,
        Self::Signature,
        Self::Spoken,
        Self::Written,
    ];

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::AutomatedSignal => "Automated signal",
            Self::Button => "Button",
            Self::Checkbox => "Checkbox",
            Self::ExplicitStatement => "Explicit statement",
            Self::Signature => "Signature",
            Self::Spoken => "Spoken",
            Self::Written => "Written",
        }
    }
}

impl IndicatedBy {
    /// Every side.
    pub const ALL: [Self; 4] = [Self::Subject, Self::Delegate, Self::Controller, Self::Rule];
}

impl Delegation {
    /// The name under which the receipt `of` an event has the delegate with this reference: another one in each, so that
    /// receipts say of nobody what else they decided. Who knows the reference can confirm it.
    #[must_use]
    pub fn pseudonym(of: ReceiptId, reference: &str) -> String {
        let hash = sha256(&[b"portal/delegate/v1\0", of.bytes().as_slice(), reference.as_bytes()].concat());
        hash.iter().fold("urn:portal:delegate:".to_owned(), |name, byte| format!("{name}{byte:02x}"))
    }
}

impl Record {
    /// The record as it fits into `most` bytes of [`content`](crate::payload::content). What does not fit is left out, the
    /// longest texts first, and is still there as the hash of the revision of the purpose.
    #[must_use]
    pub fn fitted(mut self, most: usize) -> Self {
        let shorter: [fn(&mut Self); 4] =
            [Self::without_texts, Self::without_other_parties, Self::without_terms, Self::without_categories];
        for step in shorter {
            if crate::payload::content(&self).len() <= most {
                break;
            }
            step(&mut self);
            self.purpose.abridged = true;
        }
        self
    }

    fn without_texts(&mut self) {
        if let Some(terms) = &mut self.purpose.terms {
            terms.storage_conditions = None;
            terms.data_source = None;
            terms.restrictions = None;
            terms.codes_of_conduct.clear();
            terms.impact_assessment = None;
        }
    }

    fn without_other_parties(&mut self) {
        self.parties.retain(|party| CONTROLLERS.contains(&party.role.as_str()));
    }

    fn without_terms(&mut self) {
        self.purpose.terms = None;
        self.parties.clear();
    }

    fn without_categories(&mut self) {
        self.subject.categories.clear();
        self.subject.jurisdictions.clear();
    }

    /// Those who decide why and how data is used.
    pub fn controllers(&self) -> impl Iterator<Item = &Party> {
        self.parties.iter().filter(|party| CONTROLLERS.contains(&party.role.as_str()))
    }

    /// The parties of this role.
    pub fn parties_as(&self, role: &str) -> impl Iterator<Item = &Party> {
        self.parties.iter().filter(move |party| party.role == role)
    }
}

impl fmt::Debug for Delegation {
    /// Not who: they are a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delegation").field("kind", &self.kind).finish_non_exhaustive()
    }
}
