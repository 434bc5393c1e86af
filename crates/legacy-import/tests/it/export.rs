//! The file that an earlier system leaves, line by line.

use std::io::{self, BufReader, Read};

use portal_legacy_import::export::{Export, ExportError, InvalidLine};
use portal_legacy_import::record::MAX_SEALED;
use proptest::prelude::*;
use serde_json::Value as Json;

use crate::writer::{Value, Writer, line};

fn good() -> (Writer, String) {
    let writer = Writer::new(20);
    let good = line(&writer.parts(&Value::new(20, 0)));
    (writer, good)
}

/// Why the only line of this export is no record.
fn cause(text: &str) -> InvalidLine {
    let mut results = Export::new(text.as_bytes());
    let ExportError { line, cause } = results.next().unwrap().expect_err(text);
    assert_eq!(line, 1);
    cause
}

#[test]
fn lines_become_records() {
    let writer = Writer::new(21);
    let values: Vec<_> = (0..5).map(|number| Value::new(21, number)).collect();
    let lines: Vec<_> = values.iter().map(|value| line(&writer.parts(value))).collect();
    // Unix and DOS ends, empty lines, no end after the last.
    let text = format!("{}\n\n{}\r\n \n{}\n{}\n{}", lines[0], lines[1], lines[2], lines[3], lines[4]);
    let reader = writer.reader();
    let read: Vec<_> = Export::new(text.as_bytes())
        .map(|record| reader.read(&record.unwrap()).unwrap().expose().clone())
        .collect();
    assert_eq!(read, values.into_iter().map(|value| value.plaintext).collect::<Vec<_>>());
    assert_eq!(Export::new(&b""[..]).count(), 0);
    assert_eq!(Export::new(&b"\n\n"[..]).count(), 0);
}

#[test]
fn a_bad_line_is_told_by_its_number_and_the_next_one_is_read() {
    let (_, good) = good();
    let text = format!("{good}\n\n{{}}\n{good}\n");
    let results: Vec<_> = Export::new(text.as_bytes()).collect();
    assert!(results[0].is_ok() && results[2].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().line, 3);
    assert_eq!(results.len(), 3);
}

#[test]
fn every_wrong_line_has_its_cause() {
    let (_, good) = good();
    let with = |member: &str, value: &str| {
        let mut json: Json = serde_json::from_str(&good).unwrap();
        json[member] = value.into();
        json.to_string()
    };
    assert!(matches!(cause("{"), InvalidLine::Json { .. }));
    assert!(matches!(cause("[]"), InvalidLine::Json { .. }));
    assert!(matches!(cause("\u{0}"), InvalidLine::Json { .. }));
    assert!(matches!(cause(&format!("{good}{good}")), InvalidLine::Json { .. }));
    assert!(matches!(cause(&with("note", "x")), InvalidLine::Json { .. }));
    let twice = good.replacen('{', r#"{"table":"account","#, 1);
    assert!(matches!(cause(&twice), InvalidLine::Json { .. }), "a member that stands twice");
    for member in ["record_id", "subject_id"] {
        assert!(matches!(cause(&with(member, "1")), InvalidLine::Id { field, .. } if field == member));
    }
    for member in ["kem_key_id", "signer_key_id"] {
        assert!(matches!(cause(&with(member, "1")), InvalidLine::KeyId { field, .. } if field == member));
    }
    for member in ["kem_ciphertext", "nonce", "sealed", "signature"] {
        // Not the alphabet, no padding, of the URL alphabet.
        for text in ["?", "AAAAA", "A", "__8="] {
            let cause = cause(&with(member, text));
            assert!(matches!(cause, InvalidLine::Base64(field) if field == member), "{member} {cause:?}");
        }
        assert!(matches!(cause(&with(member, "AAAA")), InvalidLine::Record(_)));
    }
    assert!(matches!(cause(&with("table", "")), InvalidLine::Record(_)));
    for member in serde_json::from_str::<Json>(&good).unwrap().as_object().unwrap().keys() {
        let mut json: Json = serde_json::from_str(&good).unwrap();
        json.as_object_mut().unwrap().remove(member);
        assert!(matches!(cause(&json.to_string()), InvalidLine::Json { .. }), "without {member}");
    }
}

#[test]
fn an_endless_line_is_not_read_to_its_end() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b' ');
            self.0 += buffer.len() as u64;
            assert!(self.0 < 4 * MAX_SEALED as u64, "it goes on reading");
            Ok(buffer.len())
        }
    }
    let first = Export::new(BufReader::new(Endless(0))).next().unwrap();
    assert!(matches!(first, Err(ExportError { line: 1, cause: InvalidLine::Long })));
}

#[test]
fn no_error_shows_a_value() {
    let (_, good) = good();
    for text in
        [good.replace("account", "CANARY"), good.replace("{", "{\"CANARY\":1,"), "\"CANARY\"".to_owned()]
    {
        let error = Export::new(text.as_bytes()).next().unwrap().unwrap_err();
        let shown = format!("{error} {error:?} {}", error.cause);
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Whatever stands in the file, each line is a record or an error, and there is an end.
    #[test]
    fn anything_is_read_to_its_end(bytes: Vec<u8>, insert in 0_usize..8_000) {
        let lines = Export::new(bytes.as_slice()).count();
        prop_assert!(lines <= bytes.len());
        let (_, good) = good();
        let mut damaged = good.into_bytes();
        let at = insert.min(damaged.len());
        damaged.splice(at..at, bytes);
        prop_assert!(Export::new(damaged.as_slice()).count() >= 1);
    }
}
