//! The export of an earlier system: a file with one record a line, as JSON.

use std::io::{self, BufRead, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portal_core::id::{Id, InvalidId, SubjectId};
use serde::Deserialize;

use crate::key_id::{InvalidKeyId, KeyId};
use crate::record::{InvalidRecord, LegacyRecord, MAX_SEALED, Parts};

/// Bytes of the longest line: the longest value in Base64, and room for the rest.
const MAX_LINE: usize = MAX_SEALED / 3 * 4 + 16_384;

/// Why a line can't be read. Shows nothing of the line.
#[derive(Debug, thiserror::Error)]
pub enum InvalidLine {
    /// A value is not Base64 (RFC 4648, section 4) with its padding.
    #[error("{0} is not base64")]
    Base64(&'static str),
    /// An id is not a UUID.
    #[error("{field} {source}")]
    Id {
        /// Which.
        field: &'static str,
        /// Why not.
        source: InvalidId,
    },
    /// The file can't be read.
    #[error("the file can't be read")]
    Io(#[source] io::Error),
    /// It is not JSON, or does not have the members of a record and no other ones.
    #[error("it is not a JSON object with the members of a record (column {column})")]
    Json {
        /// Where in the line.
        column: usize,
    },
    /// The id of a key is not one.
    #[error("{field}: {source}")]
    KeyId {
        /// Which.
        field: &'static str,
        /// Why not.
        source: InvalidKeyId,
    },
    /// It is longer than any record.
    #[error("it is too long")]
    Long,
    /// It is no record.
    #[error(transparent)]
    Record(#[from] InvalidRecord),
}

/// A line that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the export is no record")]
pub struct ExportError {
    /// Which, from 1.
    pub line: u64,
    /// Why.
    #[source]
    pub cause: InvalidLine,
}

/// The members of a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    record_id: String,
    subject_id: String,
    table: String,
    field: String,
    kem_key_id: String,
    kem_ciphertext: String,
    nonce: String,
    sealed: String,
    signer_key_id: String,
    signature: String,
}

/// The records of an export, one after the other. Empty lines are passed over.
pub struct Export<R> {
    reader: R,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Export<R> {
    /// The export that `reader` gives.
    pub fn new(reader: R) -> Self {
        Self { reader, line: 0, buffer: Vec::new() }
    }

    /// The next line that is not empty, without its end; nothing at the end.
    fn advance(&mut self) -> Result<bool, InvalidLine> {
        loop {
            self.buffer.clear();
            let limit = u64::try_from(MAX_LINE + 1).unwrap_or(u64::MAX);
            let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.buffer);
            if read.map_err(InvalidLine::Io)? == 0 {
                return Ok(false);
            }
            self.line += 1;
            if self.buffer.last() == Some(&b'\n') {
                self.buffer.pop();
            }
            if self.buffer.len() > MAX_LINE {
                return Err(InvalidLine::Long);
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }
}

impl<R: BufRead> Iterator for Export<R> {
    type Item = Result<LegacyRecord, ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match self.advance() {
            Ok(false) => return None,
            Ok(true) => parse(&self.buffer),
            Err(cause) => Err(cause),
        };
        Some(record.map_err(|cause| ExportError { line: self.line.max(1), cause }))
    }
}

fn parse(line: &[u8]) -> Result<LegacyRecord, InvalidLine> {
    // The message of the parser may show a value.
    let line: Line =
        serde_json::from_slice(line).map_err(|error| InvalidLine::Json { column: error.column() })?;
    let parts = Parts {
        record_id: id("record_id", &line.record_id)?,
        subject_id: id::<SubjectId>("subject_id", &line.subject_id)?,
        table: line.table,
        field: line.field,
        kem_key: key_id("kem_key_id", &line.kem_key_id)?,
        kem_ciphertext: bytes("kem_ciphertext", &line.kem_ciphertext)?,
        nonce: bytes("nonce", &line.nonce)?,
        sealed: bytes("sealed", &line.sealed)?,
        signer: key_id("signer_key_id", &line.signer_key_id)?,
        signature: bytes("signature", &line.signature)?,
    };
    Ok(LegacyRecord::try_from(parts)?)
}

fn id<I: Id>(field: &'static str, text: &str) -> Result<I, InvalidLine> {
    I::parse(text).map_err(|source| InvalidLine::Id { field, source })
}

fn key_id(field: &'static str, text: &str) -> Result<KeyId, InvalidLine> {
    text.parse().map_err(|source| InvalidLine::KeyId { field, source })
}

fn bytes(field: &'static str, text: &str) -> Result<Vec<u8>, InvalidLine> {
    // Its error may show a byte of the value.
    BASE64.decode(text).map_err(|_| InvalidLine::Base64(field))
}
