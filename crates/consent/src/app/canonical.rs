//! The canonical form of a notice's text: JSON by RFC 8785 of the three fields that its subjects read or decide on,
//! `{"bodies":{<language>:<Markdown>,…},"purpose_ids":[<id>,…],"title":<title>}`.
//!
//! Keys are sorted (language tags are ASCII, so by bytes is by UTF-16 units); purposes keep the order of the notice;
//! there is no white space; strings escape only what JSON demands. The SHA-384 of it is the notice's content hash.

use portal_crypto::hash::{Sha384, sha384};

use crate::domain::notice::Text;

/// The hash of what `text` says.
pub(super) fn content_hash(text: &Text) -> Sha384 {
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

/// A JSON string; `serde_json` escapes exactly as RFC 8785, section 3.2.2.2, says.
fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use portal_core::id::{Id, PurposeId};

    use super::*;
    use crate::domain::language::Language;

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
