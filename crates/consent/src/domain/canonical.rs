//! The canonical forms of what has a hash: of a notice's text, of what a purpose says, of a delegation.
//!
//! That of a notice's text is JSON by RFC 8785 of the three fields that its subjects read or decide on,
//! `{"bodies":{<language>:<Markdown>,…},"purpose_ids":[<id>,…],"title":<title>}`.
//!
//! Keys are sorted (language tags are ASCII, so by bytes is by UTF-16 units); purposes keep the order of the notice;
//! there is no white space; strings escape only what JSON demands. The SHA-384 of it is the notice's content hash.
//!
//! The others are JSON in the same manner, with one member for each field that says something: see [`terms`] and
//! [`delegation`]. Times are in microseconds since 1970, durations in seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::ReceiptId;
use portal_crypto::hash::{Sha384, sha384};
use serde_json::{Value, json};

use crate::domain::delegation::{Delegation, Verification};
use crate::domain::notice::Text;
use crate::domain::purpose::Terms;
use crate::domain::record::Party;

/// The hash of what `text` says.
pub(crate) fn content_hash(text: &Text) -> Sha384 {
    sha384(canonical(text).as_bytes())
}

fn canonical(text: &Text) -> String {
    let bodies: Vec<String> = text
        .bodies
        .iter()
        .map(|(language, body)| format!("{}:{}", string(language.as_str()), string(body)))
        .collect();
    let purposes: Vec<String> = text.purposes.iter().map(|id| string(&id.to_string())).collect();
    format!(
        r#"{{"bodies":{{{}}},"purpose_ids":[{}],"title":{}}}"#,
        bodies.join(","),
        purposes.join(","),
        string(&text.title)
    )
}

/// The hash of what a revision of a purpose says.
pub(crate) fn terms_hash(of: &Terms) -> Sha384 {
    sha384(object(&terms(of)).as_bytes())
}

/// The hash of what was said of who decides, in the event `of`: another one in each event.
pub(crate) fn delegation_hash(of: ReceiptId, said: &Delegation) -> Sha384 {
    sha384(object(&delegation(of, said)).as_bytes())
}

/// The members of an object: those that say something, by their names.
type Members = BTreeMap<&'static str, Value>;

fn members<const N: usize>(all: [(&'static str, Value); N]) -> Members {
    let nothing = [json!(""), json!([]), json!(false), Value::Null];
    all.into_iter().filter(|(_, value)| !nothing.contains(value)).collect()
}

fn object(members: &Members) -> String {
    json!(members).to_string()
}

fn terms(of: &Terms) -> Members {
    let record = &of.record;
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    members([
        ("codes_of_conduct", json!(record.codes_of_conduct)),
        ("data_source", json!(record.data_source)),
        ("description", json!(of.description)),
        ("display_name", json!(of.display_name)),
        ("dpv_purposes", json!(of.dpv_purposes)),
        ("geographic_restrictions", json!(record.geographic_restrictions)),
        ("impact_assessment", json!(record.impact_assessment)),
        ("jurisdiction", json!(of.jurisdiction)),
        ("legal_basis", json!(of.legal_basis.name())),
        ("legal_basis_term", json!(record.legal_basis_term)),
        ("optional_personal_data", json!(record.optional_personal_data)),
        ("parties", record.parties.iter().map(|one| json!(party(one))).collect()),
        ("personal_data", json!(of.personal_data)),
        ("processing", json!(record.processing)),
        ("processing_locations", json!(record.processing_locations)),
        ("recipients", json!(of.recipients)),
        ("retention", json!(seconds(of.retention))),
        ("retention_event", json!(record.retention_event)),
        ("rights", json!(record.rights)),
        ("service", json!(record.service)),
        ("special_category", json!(of.special_category)),
        ("storage_conditions", json!(record.storage_conditions)),
        ("storage_locations", json!(record.storage_locations)),
        ("validity", json!(seconds(of.validity))),
        ("withdrawal_method", json!(record.withdrawal_method)),
    ])
}

fn party(of: &Party) -> Members {
    members([
        ("address", json!(of.address)),
        ("country", json!(of.country)),
        ("email", json!(of.email)),
        ("name", json!(of.name)),
        ("party_id", json!(of.id)),
        ("phone", json!(of.phone)),
        ("role", json!(of.role.name())),
        ("url", json!(of.url)),
    ])
}

fn delegation(of: ReceiptId, said: &Delegation) -> Members {
    let detail = said.detail.as_ref().map(|detail| detail.expose().as_str());
    let purposes: Vec<String> = said.purposes.iter().map(ToString::to_string).collect();
    members([
        ("delegate_id", json!(said.delegate.expose())),
        ("event_id", json!(of.to_string())),
        ("kind", json!(said.kind.name())),
        ("purpose_ids", json!(purposes)),
        ("stated_by", json!(said.stated_by.name())),
        ("valid_from", json!(said.from.map(Timestamp::as_micros))),
        ("valid_until", json!(said.until.map(Timestamp::as_micros))),
        ("verification", json!(said.verification.map(Verification::name))),
        ("verification_detail", json!(detail)),
    ])
}

/// A JSON string; `serde_json` escapes exactly as RFC 8785, section 3.2.2.2, says.
fn string(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use portal_core::Sensitive;
    use portal_core::id::{Id, PurposeId};

    use super::*;
    use crate::domain::delegation::{Kind, StatedBy};
    use crate::domain::language::Language;
    use crate::domain::purpose::LegalBasis;
    use crate::domain::record::{PartyRole, Record};

    fn text() -> Text {
        let body = |tag: &str, body: &str| (Language::parse(tag).unwrap(), body.to_owned());
        Text {
            title: "A \"notice\"\u{7}\n€".to_owned(),
            bodies: BTreeMap::from([body("en", "Hello\\"), body("de-AT", "Servus/")]),
            purposes: vec![PurposeId::parse("0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f").unwrap()],
            material_change: true,
        }
    }

    #[test]
    fn the_form_is_rfc_8785() {
        let expect = concat!(
            r#"{"bodies":{"de-AT":"Servus/","en":"Hello\\"},"#,
            r#""purpose_ids":["0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f"],"title":"A \"notice\"\u0007\n€"}"#
        );
        assert_eq!(canonical(&text()), expect);
    }

    #[test]
    fn delegations_have_one_form_and_another_hash_in_each_event() {
        let said = Delegation {
            delegate: Sensitive::new("mother".to_owned()),
            kind: Kind::Guardian,
            verification: Some(Verification::Document),
            detail: None,
            purposes: Vec::new(),
            from: Some(Timestamp::from_micros(7)),
            until: None,
            stated_by: StatedBy::Controller,
        };
        let event = |number: u8| ReceiptId::from_bytes([number; 16]);
        let expect = concat!(
            r#"{"delegate_id":"mother","event_id":"01010101-0101-0101-0101-010101010101","kind":"guardian","#,
            r#""stated_by":"controller","valid_from":7,"verification":"document"}"#
        );
        assert_eq!(object(&delegation(event(1), &said)), expect);
        let hash = delegation_hash(event(1), &said);
        assert_ne!(delegation_hash(event(2), &said), hash);
        assert_ne!(delegation_hash(event(1), &Delegation { stated_by: StatedBy::Subject, ..said }), hash);
    }

    #[test]
    fn terms_have_one_form() {
        let party = Party {
            id: "ex:A".to_owned(),
            name: "A".to_owned(),
            role: PartyRole::Controller,
            address: String::new(),
            email: String::new(),
            phone: String::new(),
            url: String::new(),
            country: "DE".to_owned(),
        };
        let of = Terms {
            display_name: "Letters".to_owned(),
            description: String::new(),
            dpv_purposes: vec!["dpv:Marketing".to_owned()],
            legal_basis: LegalBasis::Consent,
            personal_data: Vec::new(),
            special_category: false,
            recipients: Vec::new(),
            retention: Some(Duration::from_secs(60)),
            validity: None,
            jurisdiction: "DE".to_owned(),
            record: Record { parties: vec![party], service: "S".to_owned(), ..Record::default() },
            material_change: true,
        };
        let expect = concat!(
            r#"{"display_name":"Letters","dpv_purposes":["dpv:Marketing"],"jurisdiction":"DE","legal_basis":"consent","#,
            r#""parties":[{"country":"DE","name":"A","party_id":"ex:A","role":"controller"}],"retention":60,"service":"S"}"#
        );
        assert_eq!(object(&terms(&of)), expect);
        assert_eq!(terms_hash(&Terms { material_change: false, ..of.clone() }), terms_hash(&of));
        assert_ne!(terms_hash(&Terms { special_category: true, ..of.clone() }), terms_hash(&of));
    }

    #[test]
    fn every_field_that_is_read_counts() {
        let hash = content_hash(&text());
        let title = Text { title: "Another".to_owned(), ..text() };
        let purposes = Text { purposes: Vec::new(), ..text() };
        let mut bodies = text();
        bodies.bodies.pop_first();
        for changed in [title, purposes, bodies] {
            assert_ne!(content_hash(&changed), hash);
        }
        assert_eq!(content_hash(&Text { material_change: false, ..text() }), hash);
    }
}
