//! Every example of the guide is read without loss; what the guide demands is named where it is missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use portal_receipt::dpv::{Document, InvalidDocument, validate};
use portal_receipt::{Record, export};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::records::{for_child, given, on, withdrawn};

fn examples() -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/dpv27560");
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect()
}

/// JSON where a key that stands twice has an array of all its values: what a reading without loss must come to, by a
/// reader that shares nothing with the one under test.
struct Lossless(Value);

impl<'de> Deserialize<'de> for Lossless {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Lossless;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an example")
            }
            fn visit_str<E>(self, text: &str) -> Result<Lossless, E> {
                Ok(Lossless(Value::from(text)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Lossless, A::Error> {
                let mut all = Vec::new();
                while let Some(Lossless(item)) = items.next_element()? {
                    all.push(item);
                }
                Ok(Lossless(Value::from(all)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Lossless, A::Error> {
                let mut all = serde_json::Map::new();
                while let Some((key, Lossless(value))) = members.next_entry::<String, Lossless>()? {
                    let both = match all.remove(&key) {
                        None => value,
                        Some(Value::Array(mut earlier)) => {
                            earlier.extend(value.as_array().cloned().unwrap_or_else(|| vec![value]));
                            Value::from(earlier)
                        }
                        Some(earlier) => json!([earlier, value]),
                    };
                    all.insert(key, both);
                }
                Ok(Lossless(Value::Object(all)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[test]
fn every_example_comes_back_equal() {
    let examples = examples();
    assert_eq!(examples.len(), 76);
    let mut repeating = 0;
    for (name, bytes) in &examples {
        let Lossless(expect) = serde_json::from_slice(bytes).unwrap();
        repeating += usize::from(expect != serde_json::from_slice::<Value>(bytes).unwrap());
        let document = Document::parse(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(document.to_json(), expect, "{name}");
        let again = Document::parse(document.to_json().to_string().as_bytes()).unwrap();
        assert_eq!(again.to_json(), expect, "{name}, again");
    }
    assert_eq!(repeating, 6, "examples that an ordinary parser would cut");
}

#[test]
fn other_documents_are_refused() {
    let check = |text: &str, why| assert_eq!(Document::parse(text.as_bytes()).err(), Some(why), "{text}");
    check("", InvalidDocument::Malformed);
    check("{", InvalidDocument::Malformed);
    check("[]", InvalidDocument::Other);
    check("{}", InvalidDocument::Other);
    check(r#"{"@type": "dpv:Process"}"#, InvalidDocument::Other);
    check(r#"{"@type": "dpv:ConsentRecord", "@id": 1}"#, InvalidDocument::Other);
    check(r#"{"@type": "dpv:ConsentRecord", "@id": "a", "@id": "b"}"#, InvalidDocument::Other);
    check(r#"{"@type": "dpv:ConsentRecord", "a": null}"#, InvalidDocument::Other);
    check(r#"{"@type": "dpv:ConsentRecord", "a": [["b"]]}"#, InvalidDocument::Other);
    check(r#"{"@type": ["dpv:ConsentRecord", {}]}"#, InvalidDocument::Other);
    check(&" ".repeat((1 << 20) + 1), InvalidDocument::TooLong);
    let deep = format!(r#"{{"@type": "dpv:ConsentRecord", "a": {}1{}}}"#, "[".repeat(500), "]".repeat(500));
    check(&deep, InvalidDocument::Malformed);
}

fn lacking(bytes: &[u8]) -> Vec<String> {
    validate(&Document::parse(bytes).unwrap()).into_iter().map(|lack| lack.field).collect()
}

#[test]
fn the_complete_example_lacks_what_it_lacks() {
    let examples = examples();
    let record = "dpv:hasRecordOfActivity[0]/";
    let expect =
        ["dpv:hasProcess[0]/dpv:hasLegalBasis", "dpv:hasProcess[1]/dpv:hasLegalBasis", "dpv:hasEntity"];
    assert_eq!(lacking(&examples["ex75.json"]), expect.map(|field| format!("{record}{field}")));
    let fields = lacking(&examples["ex01.json"]);
    let expect = [
        "dct:identifier",
        "dpv:hasDataSubject",
        "dpv:hasNotice",
        "dpv:hasProcess",
        "dpv:hasConsentStatus",
        "dpv:hasEntity",
    ];
    assert_eq!(fields, expect);
    assert_eq!(lacking(&examples["ex68.json"]), ["dct:identifier", "dpv:hasRecordOfActivity"]);
    let nested = lacking(&examples["ex13.json"]);
    let inner = |nth: u8, property: &str| format!("dpv:hasProcess[0]/dpv:hasProcess[{nth}]/dpv:{property}");
    assert!(nested.contains(&inner(0, "hasLegalBasis")) && nested.contains(&inner(1, "hasLegalBasis")));
    assert!(!nested.contains(&inner(0, "hasPurpose")), "inherited from the process around it");
    assert!(!nested.contains(&inner(0, "hasRecipient")));
}

#[test]
fn every_example_is_complete_or_told_what_it_lacks() {
    for (name, bytes) in examples() {
        let lacks = validate(&Document::parse(&bytes).unwrap());
        assert!(!lacks.is_empty(), "{name} is a fragment");
        for lack in lacks {
            assert!(!lack.meaning.is_empty() && lack.to_string().starts_with(&lack.field), "{name}: {lack}");
        }
    }
}

/// Our own are complete, and each field that is taken away from them is named.
#[test]
fn ours_are_complete() {
    assert_eq!(validate(&export::document(&given())), []);
    assert_eq!(validate(&export::document(&for_child())), []);
    let alone = Record { parties: given().parties[..1].to_vec(), ..given() };
    let json = export::dpv_json_ld(&alone);
    let fields = [
        "dct:conformsTo",
        "dct:identifier",
        "dpv:hasRecordOfActivity",
        "dpv:hasRecordOfActivity/dct:conformsTo",
        "dpv:hasRecordOfActivity/dct:identifier",
        "dpv:hasRecordOfActivity/dpv:hasConsentStatus",
        "dpv:hasRecordOfActivity/dpv:hasConsentStatus/@type",
        "dpv:hasRecordOfActivity/dpv:hasConsentStatus/dpv:isIndicatedAtTime",
        "dpv:hasRecordOfActivity/dpv:hasConsentStatus/dpv:isIndicatedBy",
        "dpv:hasRecordOfActivity/dpv:hasDataController",
        "dpv:hasRecordOfActivity/dpv:hasDataSubject",
        "dpv:hasRecordOfActivity/dpv:hasEntity",
        "dpv:hasRecordOfActivity/dpv:hasEntity/dpv:hasName",
        "dpv:hasRecordOfActivity/dpv:hasEntity/schema:contactPoint",
        "dpv:hasRecordOfActivity/dpv:hasNotice",
        "dpv:hasRecordOfActivity/dpv:hasNotice/dct:language",
        "dpv:hasRecordOfActivity/dpv:hasProcess",
        "dpv:hasRecordOfActivity/dpv:hasProcess/dpv:hasConsentControl",
        "dpv:hasRecordOfActivity/dpv:hasProcess/dpv:hasJurisdiction",
        "dpv:hasRecordOfActivity/dpv:hasProcess/dpv:hasLegalBasis",
        "dpv:hasRecordOfActivity/dpv:hasProcess/dpv:hasPersonalData",
        "dpv:hasRecordOfActivity/dpv:hasProcess/dpv:hasPurpose",
        "dpv:hasRecordOfActivity/dpv:hasProcess/dpv:hasRecipient",
        "dpv:hasRecordOfActivity/dpv:hasProcess/dpv:hasStorageCondition",
    ];
    for field in fields {
        let mut cut = json.clone();
        let (around, name) =
            field.rsplit_once('/').map_or((None, field), |(around, name)| (Some(around), name));
        let pointer = around
            .map_or_else(String::new, |around| format!("/{}", around.replace('/', "~s").replace("~s", "/")));
        let gone = cut.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().remove(name);
        assert!(gone.is_some(), "{field} was there");
        let lacks = lacking(cut.to_string().as_bytes());
        assert!(!lacks.is_empty(), "{field} is missed");
        let told = lacks.iter().any(|lack| lack.contains(name) || name == "@type");
        assert!(told, "{field}: {lacks:?}");
    }
}

#[test]
fn what_a_record_does_not_say_is_named() {
    let fields = |record| {
        let lacks = validate(&export::document(&record));
        lacks.into_iter().map(|lack| lack.meaning).collect::<Vec<_>>()
    };
    assert_eq!(fields(on(|terms| terms.storage.clear())), ["the storage location"]);
    let kept_for_good = on(|terms| {
        terms.retention = None;
        terms.retention_event = None;
    });
    assert_eq!(fields(kept_for_good), ["the retention period"]);
    assert_eq!(fields(on(|terms| terms.withdrawal = None)), ["the method of withdrawal"]);
    assert!(fields(withdrawn()).contains(&"the purpose"));
}
