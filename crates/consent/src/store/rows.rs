//! Values of columns to and from the domain. What does not fit is [`StoreError::Corrupt`].

use std::time::Duration;

use portal_core::Sensitive;
use portal_core::Timestamp;
use portal_core::id::{ConsentId, EventId, Id, NoticeId, PurposeId, SubjectId};
use portal_store::{Corruption, StoreError};
use sea_orm::prelude::{Expr, Uuid};
use sea_orm::sea_query::Func;
use sea_orm::{ColumnTrait, Condition, DynIden, ExprTrait};

use crate::domain::consent::{Basis, Consent, Event, Evidence, EvidenceKind, Facts, Indication};
use crate::domain::language::Language;
use crate::domain::life::{self, Life};
use crate::domain::notice::Text;
use crate::domain::purpose::{LegalBasis, Terms};
use crate::domain::record::Record;
use crate::domain::status::Status;
use crate::store::documents;
use crate::store::entity::{consent, consent_event, evidence, notice_revision, purpose_revision};

/// A row being read, for errors that say where the damage is.
#[derive(Clone, Copy)]
pub(super) struct RowName {
    pub(super) table: &'static str,
    pub(super) row: Uuid,
}

impl RowName {
    pub(super) fn corrupt(self, column: &'static str) -> StoreError {
        self.corrupt_by(column, Corruption::ValueInvalid)
    }

    pub(super) fn corrupt_by(self, column: &'static str, cause: Corruption) -> StoreError {
        StoreError::Corrupt { table: self.table, column, row: self.row.to_string(), cause }
    }

    fn number<T: TryFrom<i64>>(self, column: &'static str, value: i64) -> Result<T, StoreError> {
        T::try_from(value).map_err(|_| self.corrupt(column))
    }

    fn strings(self, column: &'static str, json: &str) -> Result<Vec<String>, StoreError> {
        serde_json::from_str(json).map_err(|_| self.corrupt(column))
    }

    fn duration(self, column: &'static str, micros: Option<i64>) -> Result<Option<Duration>, StoreError> {
        micros.map(|micros| self.number(column, micros).map(Duration::from_micros)).transpose()
    }
}

/// What joins a purpose or notice to the revision that is offered: the published one, or the newest if none ever was.
pub(super) fn is_offered<L: ColumnTrait, R: ColumnTrait>(
    (published, newest): (L, L),
    revision: R,
) -> impl Fn(DynIden, DynIden) -> Condition + Send + Sync + 'static {
    move |life, revisions| {
        let offered = Func::coalesce([Expr::col((life.clone(), published)), Expr::col((life, newest))]);
        Condition::all().add(Expr::col((revisions, revision)).eq(offered))
    }
}

/// A count or version as a column holds it.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A duration as a column holds it.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A list as a column holds it. Strings can't fail to serialise.
pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The columns that purposes and notices share.
pub(super) struct LifeColumns {
    pub(super) newest: i64,
    pub(super) published: Option<i64>,
    pub(super) archived_at: Option<i64>,
    pub(super) version: i64,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

pub(super) fn life(name: RowName, columns: &LifeColumns) -> Result<Life, StoreError> {
    let published =
        columns.published.map(|revision| name.number("published_revision", revision)).transpose()?;
    let facts = life::Facts {
        newest: name.number("newest_revision", columns.newest)?,
        published,
        archived_at: columns.archived_at.map(Timestamp::from_micros),
        version: name.number("version", columns.version)?,
        created_at: Timestamp::from_micros(columns.created_at),
        updated_at: Timestamp::from_micros(columns.updated_at),
    };
    Life::restore(facts).ok_or_else(|| name.corrupt("newest_revision"))
}

pub(super) fn terms(model: purpose_revision::Model) -> Result<Terms, StoreError> {
    let name = RowName { table: "purpose_revision", row: model.purpose_id };
    Ok(Terms {
        dpv_purposes: name.strings("dpv_purposes", &model.dpv_purposes)?,
        legal_basis: LegalBasis::from_name(&model.legal_basis).ok_or_else(|| name.corrupt("legal_basis"))?,
        personal_data: name.strings("personal_data", &model.personal_data)?,
        recipients: name.strings("recipients", &model.recipients)?,
        retention: name.duration("retention", model.retention)?,
        validity: name.duration("validity", model.validity)?,
        display_name: model.display_name,
        description: model.description,
        special_category: model.special_category,
        jurisdiction: model.jurisdiction,
        record: match &model.record {
            Some(json) => documents::read_record(json).ok_or_else(|| name.corrupt("record"))?,
            None => Record::default(),
        },
        material_change: model.material_change.unwrap_or_default(),
    })
}

/// The lists of a purpose's revision that decisions need.
pub(super) fn coverage(model: &purpose_revision::Model) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let name = RowName { table: "purpose_revision", row: model.purpose_id };
    let personal_data = name.strings("personal_data", &model.personal_data)?;
    Ok((personal_data, name.strings("recipients", &model.recipients)?))
}

/// A revision number from its column.
pub(super) fn revision(table: &'static str, row: Uuid, value: i64) -> Result<u32, StoreError> {
    RowName { table, row }.number("revision", value)
}

/// The purposes that a notice's revision explains.
pub(super) fn purposes(model: &notice_revision::Model) -> Result<Vec<PurposeId>, StoreError> {
    let name = RowName { table: "notice_revision", row: model.notice_id };
    let purposes = name.strings("purposes", &model.purposes)?;
    purposes.iter().map(|id| PurposeId::parse(id).map_err(|_| name.corrupt("purposes"))).collect()
}

pub(super) fn text(model: notice_revision::Model) -> Result<(Text, Option<Vec<u8>>), StoreError> {
    let name = RowName { table: "notice_revision", row: model.notice_id };
    let bodies: std::collections::BTreeMap<String, String> =
        serde_json::from_str(&model.bodies).map_err(|_| name.corrupt("bodies"))?;
    let bodies = bodies
        .into_iter()
        .map(|(language, body)| Ok((Language::parse(&language).map_err(|_| name.corrupt("bodies"))?, body)))
        .collect::<Result<_, StoreError>>()?;
    let purposes = purposes(&model)?;
    let text = Text { title: model.title, bodies, purposes, material_change: model.material_change };
    Ok((text, model.content_hash))
}

fn status(name: RowName, column: &'static str, value: &str) -> Result<Status, StoreError> {
    Status::from_name(value).ok_or_else(|| name.corrupt(column))
}

pub(super) fn consent(model: &consent::Model) -> Result<Consent, StoreError> {
    let name = RowName { table: "consent", row: model.consent_id };
    let basis = Basis {
        purpose_revision: name.number("purpose_revision", model.purpose_revision)?,
        notice: NoticeId::from_uuid(model.notice_id),
        notice_revision: name.number("notice_revision", model.notice_revision)?,
    };
    Ok(Consent::restore(Facts {
        id: ConsentId::from_uuid(model.consent_id),
        subject: SubjectId::from_uuid(model.subject_id),
        purpose: PurposeId::from_uuid(model.purpose_id),
        basis,
        status: status(name, "status", &model.status)?,
        event_at: Timestamp::from_micros(model.event_at),
        recorded_at: Timestamp::from_micros(model.recorded_at),
        expires_at: model.expires_at.map(Timestamp::from_micros),
        version: name.number("version", model.version)?,
    }))
}

pub(super) fn event(model: consent_event::Model) -> Result<Event, StoreError> {
    let name = RowName { table: "consent_event", row: model.event_id };
    let basis = Basis {
        purpose_revision: name.number("purpose_revision", model.purpose_revision)?,
        notice: NoticeId::from_uuid(model.notice_id),
        notice_revision: name.number("notice_revision", model.notice_revision)?,
    };
    let language = model.language.map(|tag| Language::parse(&tag).map_err(|_| name.corrupt("language")));
    let method =
        model.method.map(|method| Indication::from_name(&method).ok_or_else(|| name.corrupt("method")));
    Ok(Event {
        id: EventId::from_uuid(model.event_id),
        consent: ConsentId::from_uuid(model.consent_id),
        subject: SubjectId::from_uuid(model.subject_id),
        purpose: PurposeId::from_uuid(model.purpose_id),
        basis,
        language: language.transpose()?,
        previous: status(name, "previous_status", &model.previous_status)?,
        status: status(name, "status", &model.status)?,
        method: method.transpose()?,
        reason: model.reason.map(Sensitive::new),
        actor: model.actor,
        event_at: Timestamp::from_micros(model.event_at),
        recorded_at: Timestamp::from_micros(model.recorded_at),
        expires_at: model.expires_at.map(Timestamp::from_micros),
        sequence: name.number("sequence", model.sequence)?,
        delegation: None,
    })
}

pub(super) fn consent_model(facts: &Facts) -> consent::Model {
    consent::Model {
        consent_id: facts.id.uuid(),
        subject_id: facts.subject.uuid(),
        purpose_id: facts.purpose.uuid(),
        purpose_revision: facts.basis.purpose_revision.into(),
        notice_id: facts.basis.notice.uuid(),
        notice_revision: facts.basis.notice_revision.into(),
        status: facts.status.name().to_owned(),
        event_at: facts.event_at.as_micros(),
        recorded_at: facts.recorded_at.as_micros(),
        expires_at: facts.expires_at.map(Timestamp::as_micros),
        version: integer(facts.version),
        row_digest: None,
    }
}

/// The event in the clear.
pub(super) fn event_model(event: &Event) -> consent_event::Model {
    consent_event::Model {
        event_id: event.id.uuid(),
        consent_id: event.consent.uuid(),
        sequence: integer(event.sequence),
        subject_id: event.subject.uuid(),
        purpose_id: event.purpose.uuid(),
        purpose_revision: event.basis.purpose_revision.into(),
        notice_id: event.basis.notice.uuid(),
        notice_revision: event.basis.notice_revision.into(),
        language: event.language.as_ref().map(ToString::to_string),
        previous_status: event.previous.name().to_owned(),
        status: event.status.name().to_owned(),
        method: event.method.map(|method| method.name().to_owned()),
        reason: event.reason.as_ref().map(|reason| reason.expose().clone()),
        actor: event.actor.clone(),
        event_at: event.event_at.as_micros(),
        recorded_at: event.recorded_at.as_micros(),
        expires_at: event.expires_at.map(Timestamp::as_micros),
        sealed_reason: None,
        sealed_delegation: None,
        row_digest: None,
    }
}

/// The evidence in the clear.
pub(super) fn evidence_model(event: EventId, position: i64, evidence: &Evidence) -> evidence::Model {
    evidence::Model {
        event_id: event.uuid(),
        position,
        kind: evidence.kind.name().to_owned(),
        media_type: evidence.media_type.clone(),
        content: evidence.content.expose().clone(),
        content_hash: evidence.content_hash.to_vec(),
        sealed_content: None,
        row_digest: None,
    }
}

/// Whether `model` says what a piece of evidence is.
pub(super) fn evidence_kind(model: &evidence::Model) -> Result<EvidenceKind, StoreError> {
    let name = RowName { table: "evidence", row: model.event_id };
    EvidenceKind::from_name(&model.kind).ok_or_else(|| name.corrupt("kind"))
}
